//! Fetching and exporting, against git.

use std::ffi::OsStr;
use std::path::Path;

use shipit_testbed::GitHttp;

use crate::compare::{Measured, ROUNDS, in_turn};
use crate::inputs::{Inputs, SERVED};
use crate::run::{git, pipeline, printed, program, run};
use crate::worker::worker;

/// The history that a mirror holds and a fetch at depth 1 does without; less would make the case too easy for neither.
const LEAST_HISTORY: u64 = 20;

/// One commit into a mirror that is not there, against the whole repository.
pub fn first_fetch(inputs: &Inputs) -> Measured {
    let repository = inputs.repository();
    repository.show(&repository.commits.main);
    let server = GitHttp::start(&repository.root);
    let dir = inputs.dir("first-fetch");
    let measured = in_turn(
        ROUNDS,
        |round| {
            let command = fetch(
                &server,
                &dir.join(format!("ours-{round}")),
                &repository.commits.main,
            );
            || run(command)
        },
        |round| {
            let command = mirror(&server, &dir.join(format!("peer-{round}")));
            || run(command)
        },
    );
    let (ours, peer) = (packs(&dir.join("ours-0")), packs(&dir.join("peer-0")));
    assert!(
        peer >= LEAST_HISTORY * ours,
        "the mirror's packs have {peer} bytes, those of the one commit {ours}"
    );
    measured
}

/// The commits that were pushed since, into a mirror that has the history, as the peer's has.
pub fn next_fetch(inputs: &Inputs) -> Measured {
    let repository = inputs.repository();
    // A name that only the history answers brings it.
    let first = format!("{}~1", repository.commits.main);
    next(inputs, "next-fetch", &first, &["fetch", "--quiet"])
}

/// The same into the mirror of single commits that a build makes, against the program asked for as little.
pub fn next_fetch_alone(inputs: &Inputs) -> Measured {
    let repository = inputs.repository();
    let newer = repository.commits.newer.clone();
    let refspec = format!("{newer}:refs/next");
    let peer = ["fetch", "--quiet", "--depth=1", "origin", &refspec];
    next(inputs, "next-fetch-alone", &repository.commits.main, &peer)
}

fn next(inputs: &Inputs, name: &str, first: &str, theirs: &[&str]) -> Measured {
    let repository = inputs.repository();
    repository.show(&repository.commits.main);
    let server = GitHttp::start(&repository.root);
    let dir = inputs.dir(name);
    let (ours, peer) = (dir.join("ours"), dir.join("peer"));
    run(fetch(&server, &ours, first));
    if theirs.contains(&"--depth=1") {
        let mut init = program("git");
        init.args(["init", "--quiet", "--bare"]).arg(&peer);
        run(init);
        run(git(&peer, &["remote", "add", "origin", &server.url(SERVED)]));
        let main = format!("{}:refs/first", repository.commits.main);
        run(git(&peer, &["fetch", "--quiet", "--depth=1", "origin", &main]));
    } else {
        run(mirror(&server, &peer));
    }
    repository.show(&repository.commits.newer);
    let measured = in_turn(
        ROUNDS,
        |round| {
            let command = fetch(&server, &copy(&ours, round), &repository.commits.newer);
            || run(command)
        },
        |round| {
            let command = git(&copy(&peer, round), theirs);
            || run(command)
        },
    );
    for mirror in [copy_of(&ours, 0), copy_of(&peer, 0)] {
        run(git(
            &mirror,
            &[
                "cat-file",
                "-e",
                &format!("{}^{{tree}}", repository.commits.newer),
            ],
        ));
    }
    measured
}

/// The files of a commit, from the same bare repository.
pub fn export(inputs: &Inputs) -> Measured {
    let repository = inputs.repository();
    let bare = repository.bare();
    let dir = inputs.dir("export");
    let measured = in_turn(
        ROUNDS,
        |round| {
            let mut command = worker("export");
            command
                .arg(&bare)
                .arg(&repository.commits.main)
                .arg(dir.join(format!("ours-{round}")));
            || run(command)
        },
        |round| {
            let dest = dir.join(format!("peer-{round}"));
            let command = pipeline(
                r#"mkdir "$DEST"; git --git-dir "$REPOSITORY" -c tar.umask=0022 archive "$REVISION" | tar x -C "$DEST""#,
                &[
                    ("DEST", dest.as_os_str()),
                    ("REPOSITORY", bare.as_os_str()),
                    ("REVISION", OsStr::new(&repository.commits.main)),
                ],
            );
            || run(command)
        },
    );
    let mut diff = program("diff");
    diff.args(["-r", "--no-dereference"])
        .arg(dir.join("ours-0"))
        .arg(dir.join("peer-0"));
    assert_eq!(printed(diff), "", "both exports are the same tree");
    measured
}

/// The code's layer out of the object database, without a tree on disk.
pub fn code(inputs: &Inputs) -> Measured {
    let repository = inputs.repository();
    let bare = repository.bare();
    let dir = inputs.dir("code");
    in_turn(
        ROUNDS,
        |round| {
            let mut command = worker("code");
            command
                .arg(&bare)
                .arg(&repository.commits.main)
                .arg(dir.join(format!("ours-{round}")));
            || run(command)
        },
        |_| {
            let command = pipeline(
                r#"git --git-dir "$REPOSITORY" archive "$REVISION" | zstd -q -T2 -3 | sha256sum"#,
                &[
                    ("REPOSITORY", bare.as_os_str()),
                    ("REVISION", OsStr::new(&repository.commits.main)),
                ],
            );
            || run(command)
        },
    )
}

fn fetch(server: &GitHttp, mirror: &Path, revision: &str) -> std::process::Command {
    let mut command = worker("fetch");
    command.arg(server.url(SERVED)).arg(mirror).arg(revision);
    command
}

fn mirror(server: &GitHttp, to: &Path) -> std::process::Command {
    let mut command = program("git");
    command
        .args(["clone", "--quiet", "--mirror"])
        .arg(server.url(SERVED))
        .arg(to);
    command
}

/// A copy of a mirror for one round.
fn copy(mirror: &Path, round: usize) -> std::path::PathBuf {
    let to = copy_of(mirror, round);
    let mut command = program("cp");
    command.arg("-a").arg(mirror).arg(&to);
    run(command);
    to
}

fn copy_of(mirror: &Path, round: usize) -> std::path::PathBuf {
    mirror.with_extension(round.to_string())
}

/// The bytes of a repository's packs.
fn packs(repository: &Path) -> u64 {
    let dir = repository.join("objects/pack");
    let entries =
        std::fs::read_dir(&dir).unwrap_or_else(|err| panic!("cannot list {}: {err}", dir.display()));
    entries
        .map(|entry| entry.expect("an entry of a directory"))
        .filter(|entry| entry.path().extension() == Some(OsStr::new("pack")))
        .map(|entry| entry.metadata().expect("a file that nobody removes").len())
        .sum()
}
