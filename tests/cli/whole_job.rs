//! A repository with four package managers, to a real S3 server, by a real Consul, to hosts with the real stretcher and with
//! `shipit apply`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shipit_testbed::fixtures::{cpan::CpanMirror, gems::GemSource, go, npm, registry_env};
use shipit_testbed::{Cmd, ConsulCluster, Process, S3Server, Testbed, Tmp, until};

use crate::project::{Project, binary, release_of};
use crate::trees::{Entry, differences, tree, untar};

const SHARED: &str = "log";

/// The shop: what each of its four languages says, with its vendored dependency, goes to the log when it is started.
const START: &str = r#"#!/bin/sh
set -eu
bundle exec ruby -e 'require "testbed_hello"; require "testbed_native"; puts TestbedHello.hello, TestbedNative.answer'
perl -Ilocal/lib/perl5 -MAcme::Hello -e 'print Acme::Hello::hello(), "\n"'
node -e 'console.log(require("semver").inc("1.2.3", "minor"))'
bin/app
cat REVISION VERSION
"#;

struct Shop {
    project: Project,
    s3: S3Server,
    // Where a role's dest is on each host: a directory that is mounted over it.
    dest: PathBuf,
    _gems: GemSource,
    _cpan: CpanMirror,
}

impl Shop {
    fn new(consul: &str) -> Self {
        let (gems, cpan, s3) = (GemSource::build(), CpanMirror::build(), S3Server::start());
        s3.create_bucket("shop-deploy");
        let mut project = Project::new();
        let repo = &project.repo;
        gems.write_app(repo.path());
        cpan.write_app(repo.path());
        npm::write_app(repo.path());
        go::write_app(repo.path());
        repo.script("start", START);
        repo.write("VERSION", "one\n")
            .link("latest", "VERSION")
            .write("spec/a_spec.rb", "excluded\n");
        repo.write(
            ".gitignore",
            "/.shipit/\n/vendor/\n/local/\nnode_modules/\n/bin/\n",
        );
        let dest = project.tmp.mkdir("srv/shop");
        project.config(&config(&dest, &s3, consul, &cpan));
        project.env(s3.env());
        Shop {
            project,
            s3,
            dest,
            _gems: gems,
            _cpan: cpan,
        }
    }
}

fn config(dest: &Path, s3: &S3Server, consul: &str, cpan: &CpanMirror) -> String {
    let pairs = |env: Vec<(String, String)>| {
        let pairs: Vec<_> = env
            .iter()
            .map(|(name, value)| format!("{name} = {value:?}"))
            .collect();
        pairs.join(", ")
    };
    let (registry, mirror) = (pairs(registry_env()), pairs(cpan.env()));
    format!(
        r#"
app = "shop"

[build]
exclude = ["spec"]
[[build.step]]
use = "bundle"
[[build.step]]
use = "carton"
env = {{ {mirror} }}
[[build.step]]
use = "npm"
production = true
env = {{ {registry} }}
[[build.step]]
use = "go"
packages = {{ "." = "bin/app" }}
env = {{ {registry} }}
[[build.test]]
run = "sh start | grep -q hello"

[store]
url = "s3://shop-deploy/shipit"
region = "{region}"
endpoint = "{endpoint}"

[consul]
address = "{consul}"

[role.web]
dest = "{dest}"
shared = ["{SHARED}"]
after_switch = ["./start >>{SHARED}/started"]
check = "test -s REVISION"

[role.batch]
dest = "{dest}"

[stage.staging]
"#,
        region = s3.region(),
        endpoint = s3.endpoint(),
        dest = dest.display(),
    )
}

/// A host: a directory that its handler sees at the role's dest, and nobody else.
struct Host {
    node: &'static str,
    disk: Tmp,
    watch: Option<Process>,
}

impl Host {
    fn new(node: &'static str) -> Self {
        Host {
            node,
            disk: Tmp::new(node),
            watch: None,
        }
    }

    /// What runs on an event: in a mount namespace of its own, under the lock that docs/hosts.md asks for.
    fn handler(&self, shop: &Shop, follow: &[&str]) -> Cmd {
        let script = format!(
            "mount --bind {disk} {dest} && exec 9>>{disk}.lock && flock 9 && exec \"$@\" 2>>{disk}.log",
            disk = self.disk.path().display(),
            dest = shop.dest.display()
        );
        Cmd::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                &script,
                "handler",
            ])
            .args(follow)
            .envs(shop.s3.env())
            .home(shop.project.tmp.join("home"))
            .cwd(shop.project.tmp.path())
    }

    fn watch(&mut self, cluster: &ConsulCluster, role: &str, handler: &Cmd) {
        self.watch = Some(
            cluster
                .client(self.node)
                .watch(&format!("deploy_shop_{role}_staging"), handler),
        );
    }

    fn current(&self) -> Option<PathBuf> {
        fs::read_link(self.disk.join("current")).ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(format!("{}.log", self.disk.path().display())).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for_release(&self, release: &str) {
        let done = self.disk.join(format!(".shipit/{release}.done.web"));
        let wanted = PathBuf::from(format!("releases/{release}"));
        let until = Instant::now() + Duration::from_secs(60);
        while self.current().as_ref() != Some(&wanted) || !done.exists() {
            let watch = self.watch.as_ref().map(Process::log).unwrap_or_default();
            let log = self.log();
            assert!(
                Instant::now() < until,
                "{} did not switch to {release}\n{watch}\n{log}",
                self.node
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.watch = None;
        for name in ["lock", "log"] {
            let _ = fs::remove_file(format!("{}.{name}", self.disk.path().display()));
        }
    }
}

/// The release on a host is the artifact as tar reads it, but for the link of the shared path.
#[track_caller]
fn assert_holds(shop: &Shop, host: &Host, release: &str, artifact: &Path) {
    let mut wanted = untar(artifact);
    wanted.insert(SHARED.into(), Entry::Link(shop.dest.join("shared").join(SHARED)));
    let found = tree(&host.disk.join("releases").join(release));
    assert_eq!(
        differences(&wanted, &found),
        Vec::<PathBuf>::new(),
        "{}\n{}",
        host.node,
        host.log()
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn web_hosts_alone_get_the_release_byte_for_byte() {
    let cluster = ConsulCluster::start(&["web1", "web2", "batch1"]);
    let shop = Shop::new(&cluster.server().url());
    let one = shop.project.repo.commit("one");
    shop.project.repo.write("VERSION", "two\n");
    let two = shop.project.repo.commit("two");

    let stretcher = Testbed::get().stretcher();
    let stretcher = [stretcher.to_str().unwrap()];
    let apply = [binary().to_str().unwrap(), "apply"];
    let (mut web1, mut web2, mut batch1) = (Host::new("web1"), Host::new("web2"), Host::new("batch1"));
    let handlers = [
        web1.handler(&shop, &stretcher),
        web2.handler(&shop, &apply),
        batch1.handler(&shop, &stretcher),
    ];
    web1.watch(&cluster, "web", &handlers[0]);
    web2.watch(&cluster, "web", &handlers[1]);
    batch1.watch(&cluster, "batch", &handlers[2]);

    let first = deploy(&shop, &one, &[&web1, &web2]);
    let second = deploy(&shop, &two, &[&web1, &web2]);
    assert_eq!(batch1.current(), None, "{}", batch1.log());
    assert!(!batch1.disk.join("releases").exists());

    // stretcher and apply leave the same on disk, the host's own state included.
    let states = [&web1, &web2].map(|host| {
        let mut state = tree(host.disk.path());
        // Empty marks and logs carry the time at which they were made.
        // The layers that apply keeps, and what it knows of its releases, are its own.
        let own = |path: &Path| path.starts_with(".shipit") || path.starts_with(".layers");
        state.retain(|path, _| !own(path) && path != Path::new("shared/log/started"));
        state
    });
    assert_eq!(differences(&states[0], &states[1]), Vec::<PathBuf>::new());
    let is_mark = |path: &PathBuf| {
        !matches!(
            path.extension().and_then(|e| e.to_str()),
            Some("json" | "excludes")
        )
    };
    // Which events it followed, apply notes for itself.
    let is_mark = |path: &PathBuf| is_mark(path) && !path.starts_with("events");
    let marks = [&web1, &web2].map(|host| {
        let all = tree(&host.disk.join(".shipit")).into_keys();
        all.filter(is_mark).collect::<Vec<_>>()
    });
    assert_eq!(marks[0], marks[1]);

    // Started from the release, by each of its languages, once per release.
    let started = fs::read_to_string(web1.disk.join("shared/log/started")).unwrap();
    let said = |revision: &str, version: &str| {
        format!(
            "hello 1.0.0\n42\nhello 0.01\n1.3.0\n{}{revision}\n{version}\n",
            go::OUTPUT
        )
    };
    assert_eq!(started, format!("{}{}", said(&one, "one"), said(&two, "two")));
    assert_eq!(
        fs::read_to_string(web2.disk.join("shared/log/started")).unwrap(),
        started
    );

    // Back to the first, then a watch that is restarted replays the last event: nothing changes.
    let _ = shop
        .project
        .shipit(&[
            "kick",
            "web",
            "--stage",
            "staging",
            "--release",
            &first,
            "--no-wait",
        ])
        .run()
        .ok();
    for host in [&web1, &web2] {
        host.wait_for_release(&first);
    }
    for (host, handler) in [(&mut web1, &handlers[0]), (&mut web2, &handlers[1])] {
        let before = fingerprint(host.disk.path());
        let log = host.log().len();
        host.watch = None;
        host.watch(&cluster, "web", handler);
        until(
            "the restarted watch to replay its event",
            Duration::from_secs(30),
            || {
                let log = host.log()[log..].to_owned();
                ["Done", "applied ", "handled well before"]
                    .iter()
                    .any(|end| log.contains(end))
            },
        );
        assert_eq!(fingerprint(host.disk.path()), before, "{}", host.log());
    }
    assert_ne!(first, second);
}

/// Builds, publishes and kicks a revision, and waits for the hosts.
#[track_caller]
fn deploy(shop: &Shop, revision: &str, hosts: &[&Host]) -> String {
    let artifact = shop.project.build(revision);
    let url = shop.project.publish("staging", "web");
    assert!(
        url.starts_with("s3://shop-deploy/shipit/releases/shop/staging/"),
        "{url}"
    );
    let kicked = shop
        .project
        .shipit(&["kick", "web", "--stage", "staging", "--no-wait"])
        .run()
        .ok();
    assert_eq!(kicked.line().len(), 36, "the event's id\n{kicked}");
    let release = release_of(&url);
    for host in hosts {
        host.wait_for_release(&release);
        assert_holds(shop, host, &release, &artifact);
    }
    release
}

/// Names, inodes and change times of all that is on a host: what a replay must leave alone. The state directory's own time and
/// that of `.incoming`, through which a replay passes, are no part of it.
fn fingerprint(root: &Path) -> Vec<(PathBuf, u64, i64)> {
    tree(root)
        .into_keys()
        .filter(|path| {
            !path.starts_with(".incoming")
                && path != Path::new(".shipit")
                && path != Path::new(".shipit/lock")
        })
        .map(|path| {
            let meta = fs::symlink_metadata(root.join(&path)).unwrap();
            let ctime = if meta.is_dir() { 0 } else { meta.ctime_nsec() };
            (path, meta.ino(), ctime)
        })
        .collect()
}
