//! Bringing a release onto a host, against `tar xf` and rsync, and the whole way from a pushed line to the host.

use std::path::{Path, PathBuf};
use std::process::Command;

use shipit_testbed::Testbed;

use crate::compare::{Measured, ROUNDS, in_turn};
use crate::inputs::{BUCKET, Inputs, SERVED};
use crate::run::{pipeline, printed, program, run};
use crate::worker::VENDORED;

/// The whole loop's commits come after those that the other cases bring to hosts.
const LOOP: usize = 8;

/// A release onto a host that has nothing yet.
pub fn first_apply(inputs: &Inputs) -> Measured {
    let shop = inputs.shop();
    let release = shop.local(&inputs.repository().commits.main);
    let dir = inputs.dir("first-apply");
    let measured = in_turn(
        ROUNDS,
        |_| {
            shop.empty_host("web");
            let command = shop.apply(&release.urls["web"]);
            || run(command)
        },
        |round| {
            let command = unpacked(
                &release.artifact,
                &dir.join(format!("{round}")),
                &dir.join(format!("dest-{round}")),
            );
            || run(command)
        },
    );
    assert_same(
        &shop.host("web").join("current"),
        &dir.join(format!("dest-{ROUNDS}")),
    );
    measured
}

/// A release whose dependencies the host has, one changed line after the other.
pub fn unchanged(inputs: &Inputs) -> Measured {
    further(inputs, "web")
}

/// The same where the role links its layers.
pub fn unchanged_linked(inputs: &Inputs) -> Measured {
    further(inputs, "linked")
}

fn further(inputs: &Inputs, role: &str) -> Measured {
    let (shop, commits) = (inputs.shop(), &inputs.repository().commits);
    let first = shop.local(&commits.main);
    let releases: Vec<_> = commits.lines[..=ROUNDS]
        .iter()
        .map(|line| shop.local(line))
        .collect();
    shop.empty_host(role);
    run(shop.apply(&first.urls[role]));
    let dir = inputs.dir(&format!("further-{role}"));
    let dest = dir.join("dest");
    run(unpacked(&first.artifact, &dir.join("first"), &dest));
    let measured = in_turn(
        ROUNDS,
        |round| {
            let command = shop.apply(&releases[round].urls[role]);
            || run(command)
        },
        |round| {
            let command = unpacked(&releases[round].artifact, &dir.join(format!("{round}")), &dest);
            || run(command)
        },
    );
    assert_same(&shop.host(role).join("current"), &dest);
    measured
}

/// The peer: unpacked into a temporary directory, synced to dest.
fn unpacked(artifact: &Path, temp: &Path, dest: &Path) -> Command {
    std::fs::create_dir_all(temp).expect("a directory of ours");
    pipeline(
        r#"tar xf "$ARTIFACT" -C "$TEMP"; rsync -a --delete "$TEMP/" "$DEST/""#,
        &[
            ("ARTIFACT", artifact.as_os_str()),
            ("TEMP", temp.as_os_str()),
            ("DEST", dest.as_os_str()),
        ],
    )
}

/// Both hold the same contents; links are followed, for a layer may be one.
fn assert_same(ours: &Path, peer: &Path) {
    let mut diff = program("diff");
    diff.args(["-rq", "--no-dereference", "--exclude", VENDORED])
        .arg(ours.canonicalize().expect("the release in service"))
        .arg(peer);
    assert_eq!(printed(diff), "", "both hosts hold the same code");
    let count = |dir: &Path| {
        let packages = dir.join(VENDORED);
        printed(pipeline(
            r#"find -L "$DIR" -type f | wc -l"#,
            &[("DIR", packages.as_os_str())],
        ))
    };
    assert_eq!(count(ours), count(peer), "both hosts hold the same dependencies");
}

/// One changed line, from the repository to the host. Each round deploys another line.
pub fn whole_loop(inputs: &Inputs) -> Measured {
    let (shop, repository) = (inputs.shop(), inputs.repository());
    let commits = &repository.commits;
    let lines = &commits.lines[LOOP..];
    repository.show(&commits.main);
    let first = shop.remote(&commits.main);
    shop.empty_host("web");
    run(shop.apply(&first.urls["web"]));
    let script = Script::new(inputs, &first.artifact);
    let measured = in_turn(
        ROUNDS,
        |round| {
            repository.show(&lines[round]);
            let revision = lines[round].clone();
            move || {
                run(shop.shipit(&["build", "--rev", &revision]));
                let published = printed(shop.shipit(&["publish", "--stage", "remote"]));
                let url = published.lines().find_map(|line| line.strip_prefix("web\t"));
                run(shop.apply(url.expect("the role's manifest")));
            }
        },
        |round| {
            repository.show(&lines[round]);
            let command = script.command(round, &lines[round]);
            || run(command)
        },
    );
    repository.show(&commits.main);
    measured
}

/// The pipeline that scripts have for it. The installed packages are kept by their lockfile and come by hard links, which is
/// less than any installer does.
struct Script {
    dir: PathBuf,
    endpoint: String,
    account: Vec<(String, String)>,
}

impl Script {
    /// Everything is there from the deploy before: the mirror, the packages, the host's dest.
    fn new(inputs: &Inputs, artifact: &Path) -> Self {
        let shop = inputs.shop();
        let dir = inputs.dir("loop");
        let mut clone = program("git");
        clone
            .args(["clone", "--quiet", "--mirror"])
            .arg(shop.git.url(SERVED))
            .arg(dir.join("mirror.git"));
        run(clone);
        let dest = dir.join("dest");
        run(unpacked(artifact, &dir.join("packages"), &dest));
        Self {
            dir,
            endpoint: shop.s3.endpoint(),
            account: shop.s3.env(),
        }
    }

    fn command(&self, round: usize, revision: &str) -> Command {
        let name = |what: &str| self.dir.join(format!("{what}-{round}"));
        let (tree, temp, artifact) = (name("tree"), name("temp"), name("artifact.tar.zst"));
        for dir in [&tree, &temp] {
            std::fs::create_dir(dir).expect("a directory of ours");
        }
        let (mirror, packages) = (
            self.dir.join("mirror.git"),
            self.dir.join("packages").join(VENDORED),
        );
        let (dest, aws) = (self.dir.join("dest"), Testbed::get().aws());
        let object = format!("s3://{BUCKET}/script-{round}");
        let script = r#"
            git --git-dir "$MIRROR" -c gc.auto=0 fetch --quiet
            git --git-dir "$MIRROR" -c tar.umask=0022 archive "$REVISION" | tar x -C "$TREE"
            cp -al "$PACKAGES" "$TREE/"
            tar --sort=name -C "$TREE" -cf - . | zstd -q -T2 -3 >"$ARTIFACT"
            "$AWS" --endpoint-url "$ENDPOINT" s3 cp --only-show-errors "$ARTIFACT" "$OBJECT"
            tar xf "$ARTIFACT" -C "$TEMP"
            rsync -a --delete "$TEMP/" "$DEST/""#;
        let mut command = pipeline(
            script,
            &[
                ("MIRROR", mirror.as_os_str()),
                ("REVISION", revision.as_ref()),
                ("TREE", tree.as_os_str()),
                ("PACKAGES", packages.as_os_str()),
                ("ARTIFACT", artifact.as_os_str()),
                ("AWS", aws.as_os_str()),
                ("ENDPOINT", self.endpoint.as_ref()),
                ("OBJECT", object.as_ref()),
                ("TEMP", temp.as_os_str()),
                ("DEST", dest.as_os_str()),
            ],
        );
        command.envs(self.account.iter().cloned());
        command
    }
}
