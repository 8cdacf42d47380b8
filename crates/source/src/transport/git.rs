//! Fetching with the git program: its argv, and what its words mean.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use git2::Oid;

use super::{Depth, Failure, Head, Request, Wire, peeled, scrubbed};
use crate::error::{Error, disk_error};
use crate::event::Event;
use crate::git_program::{Ended, Git, supervise};
use crate::remote::Remote;

pub(super) fn list(wire: &Wire<'_>, remote: &Remote) -> Result<Vec<Head>, Failure> {
    let output = run(
        wire,
        remote,
        &[
            "ls-remote".to_owned(),
            "--quiet".to_owned(),
            "--".to_owned(),
            remote.url(),
        ],
    )?;
    let lines = String::from_utf8_lossy(&output).into_owned();
    let listed = lines.lines().filter_map(|line| {
        let (id, name) = line.split_once('\t')?;
        Some((name.to_owned(), Oid::from_str(id).ok()?))
    });
    Ok(peeled(listed.collect()))
}

pub(super) fn fetch(wire: &Wire<'_>, remote: &Remote, request: &Request) -> Result<(), Failure> {
    let mut args: Vec<String> = [
        "fetch",
        "--progress",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--force",
    ]
    .map(str::to_owned)
    .into();
    match request.depth {
        Depth::One => args.push("--depth=1".to_owned()),
        Depth::Missing => {}
        // git refuses --unshallow where nothing is shallow.
        Depth::Everything if wire.mirror.path.join("shallow").exists() => args.push("--unshallow".to_owned()),
        Depth::Everything => {}
    }
    if request.prune {
        args.push("--prune".to_owned());
    }
    args.push("--".to_owned());
    args.push(remote.url());
    args.extend(request.refspecs.iter().cloned());
    run(wire, remote, &args).map(|_| ())
}

fn run(wire: &Wire<'_>, remote: &Remote, args: &[String]) -> Result<Vec<u8>, Failure> {
    let git = Git::new(wire.source, remote);
    let mut command = git.command(args);
    command
        .env("GIT_DIR", &wire.mirror.path)
        .current_dir(&wire.mirror.path);
    command.stdin(Stdio::from(wire.mirror.lock_for_child()?));
    let child = git.spawn(&mut command)?;
    let mut shown = Instant::now();
    let mut on_line = |line: &str| {
        let Some((received_objects, total_objects)) = received(line) else {
            return;
        };
        if shown.elapsed() >= Duration::from_millis(100) || received_objects == total_objects {
            shown = Instant::now();
            let remote = remote.to_string();
            (wire.on_event)(Event::Progress {
                remote,
                received_objects,
                total_objects,
                received_bytes: bytes(line),
            });
        }
    };
    match supervise(child, wire.cancel, wire.source.timeouts, &mut on_line)? {
        Ended::Stalled(limit) => Err(Failure::Unreachable(format!(
            "nothing came for {} s",
            limit.as_secs()
        ))),
        Ended::Exited { status, stdout, .. } if status.success() => Ok(stdout),
        Ended::Exited { status, said, .. } => {
            let said = if said.is_empty() {
                vec![format!("git ended with {status}")]
            } else {
                said
            };
            let said: Vec<String> = said.iter().map(|line| scrubbed(wire.source, line)).collect();
            Err(classify(&said, remote, &wire.mirror.path))
        }
    }
}

/// `Receiving objects:  12% (34/280), 1.50 MiB | …`
fn received(line: &str) -> Option<(u64, u64)> {
    let counts = line
        .strip_prefix("Receiving objects:")?
        .split_once('(')?
        .1
        .split_once(')')?
        .0;
    let (done, total) = counts.split_once('/')?;
    Some((done.parse().ok()?, total.parse().ok()?))
}

fn bytes(line: &str) -> u64 {
    let mut words = line
        .split("), ")
        .nth(1)
        .unwrap_or_default()
        .split_ascii_whitespace();
    let number = words
        .next()
        .and_then(|word| word.parse::<f64>().ok())
        .unwrap_or(0.0);
    let unit = match words.next() {
        Some("bytes") => 1.0,
        Some("KiB") => 1024.0,
        Some("MiB") => 1024.0 * 1024.0,
        Some("GiB") => 1024.0 * 1024.0 * 1024.0,
        _ => 0.0,
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a size for people, never negative"
    )]
    let bytes = (number * unit) as u64;
    bytes
}

fn classify(said: &[String], remote: &Remote, mirror: &Path) -> Failure {
    let text = said.join("; ");
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if has(&[
        "Host key verification failed",
        "HOST IDENTIFICATION HAS CHANGED",
        "host key is known for",
    ]) {
        return host_key(&text, remote);
    }
    if has(&[
        "Permission denied (",
        "Authentication failed",
        "could not read Username",
        "could not read Password",
    ]) || has(&[
        "terminal prompts disabled",
        "error: 401",
        "error: 403",
        "Access denied",
    ]) {
        return Failure::Auth(text);
    }
    // A server that hands out what its refs reach says this of what they do not reach.
    if has(&["not our ref"]) {
        return Failure::Absent(text);
    }
    if has(&[
        "unadvertised object",
        "not allowed to fetch",
        "couldn't find remote ref",
    ]) {
        return Failure::NotGiven(text);
    }
    // What the server says of its own disk and its own objects is no news of the mirror's.
    let mut own = said.iter().filter(|line| !line.starts_with("remote: "));
    if let Some(error) = own.clone().find_map(|line| disk_error(line)) {
        return Failure::Other(Error::Io {
            doing: "fetching into",
            path: mirror.to_path_buf(),
            source: error,
        });
    }
    if !is_unanswered(&text) && own.any(|line| tells_of_damage(line)) {
        return Failure::Damaged(text);
    }
    Failure::Unreachable(text)
}

/// Whether the remote did not answer, or broke off. git says so in the end, whatever else it says before.
fn is_unanswered(text: &str) -> bool {
    [
        "Could not read from remote repository",
        "does not appear to be a git repository",
        "unable to access",
        "hung up unexpectedly",
        "early EOF",
        "RPC failed",
    ]
    .iter()
    .any(|part| text.contains(part))
}

/// Whether a line says that objects are missing or damaged. The caller makes sure whose they are.
fn tells_of_damage(line: &str) -> bool {
    let unreadable = line
        .split_once("Could not read ")
        .is_some_and(|(_, what)| Oid::from_str(what.trim()).is_ok());
    unreadable
        || [
            "bad object",
            "did not send all necessary objects",
            "shallow file has changed",
            "is corrupt",
            "unresolved delta",
            "error in object",
            "loose object",
            "not a git repository: '",
        ]
        .iter()
        .any(|part| line.contains(part))
}

fn host_key(said: &str, remote: &Remote) -> Failure {
    let host = remote.host().unwrap_or_default();
    let (reason, advice) = if said.contains("HAS CHANGED") {
        (
            "ssh was shown another key than known_hosts has",
            format!("if the server's key was really changed, remove the old one: ssh-keygen -R {host}"),
        )
    } else {
        (
            "ssh finds it in no known_hosts file, or it does not match",
            format!("compare the key's fingerprint with the server's, then add it: ssh-keyscan {host}"),
        )
    };
    Failure::HostKey {
        reason: reason.to_owned(),
        advice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines() {
        let line = "Receiving objects:  12% (34/280), 1.50 MiB | 2.00 MiB/s";
        assert_eq!(received(line), Some((34, 280)));
        assert_eq!(bytes(line), 1_572_864);
        assert_eq!(received("Resolving deltas: 100% (1/1), done."), None);
    }

    #[test]
    fn words_of_git() {
        let remote = Remote::parse("git@h.example:a.git").unwrap();
        let of = |said: &str| {
            let said: Vec<String> = said.lines().map(str::to_owned).collect();
            classify(&said, &remote, Path::new("/mirror"))
        };
        assert!(matches!(
            of("Host key verification failed."),
            Failure::HostKey { .. }
        ));
        assert!(matches!(
            of("git@h: Permission denied (publickey)."),
            Failure::Auth(_)
        ));
        assert!(matches!(
            of("fatal: remote error: upload-pack: not our ref 1234"),
            Failure::Absent(_)
        ));
        assert!(matches!(
            of("error: Could not read 0123456789abcdef0123456789abcdef01234567"),
            Failure::Damaged(_)
        ));
        for disk in [
            "fatal: write error: No space left on device",
            "error: insufficient permission for adding an object to repository database ./objects",
        ] {
            assert!(matches!(of(disk), Failure::Other(Error::Io { .. })), "{disk}");
        }
    }

    #[test]
    fn a_remote_that_gives_nothing_is_no_damage_of_the_mirror() {
        let remote = Remote::parse("git@h.example:a.git").unwrap();
        for said in [
            "ssh: Could not resolve hostname h",
            "fatal: '/srv/a.git' does not appear to be a git repository\nfatal: Could not read from remote repository.",
            "fatal: unable to access 'https://h.example/a.git/': The requested URL returned error: 503",
            "remote: fatal: bad object 0123\nremote: aborting due to possible repository corruption",
            "remote: error: object file ./objects/01/23 is corrupt",
            "error: Could not read 0123456789abcdef0123456789abcdef01234567\nfatal: the remote end hung up unexpectedly",
            "remote: fatal: write error: No space left on device",
        ] {
            let said_lines: Vec<String> = said.lines().map(str::to_owned).collect();
            let failure = classify(&said_lines, &remote, Path::new("/mirror"));
            assert!(matches!(failure, Failure::Unreachable(_)), "{said}: {failure:?}");
        }
    }
}
