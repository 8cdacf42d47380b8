//! Manifests beyond stretcher's own tests, followed by stretcher and by `apply` on hosts in the same state: order,
//! commands, the log on standard input, checksums, modes, owners, excludes, strategies, kinds of archives.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use shipit_host::{ErrorKind, Event, Method, Phase};
use shipit_testbed::{Ran, Testbed};

use crate::cases::{CASES, Case, dated, nothing};
use crate::support::{Outcome, Sandbox, Seen, as_under_the_umask, difference, holds, pack, shown, sum};

/// The tree of the archives: modes, links, names, an empty directory, hard links.
fn archive(sandbox: &Sandbox, name: &str) -> PathBuf {
    if name == "noise" {
        return sandbox.write("noise", vec![0x5a; 3000]);
    }
    for (path, text) in [
        ("file", "new content"),
        ("same", "same"),
        ("run", "a script"),
        ("sub/deep/inner", "inner"),
        ("sub/keep.pid", "shipped"),
        ("directory/a", "a"),
        ("odd name\n*?[", "odd"),
        ("rules", "# comment\n\n; comment\n+ /sub/keep.pid\n*.pid\n"),
    ] {
        dated(&sandbox.write(&format!("tree/{path}"), text));
    }
    let tree = sandbox.join("tree");
    fs::create_dir_all(tree.join("empty")).unwrap();
    symlink("file", tree.join("link")).unwrap();
    symlink("../../etc", tree.join("dangling")).unwrap();
    fs::hard_link(tree.join("file"), tree.join("twin")).unwrap();
    for (path, mode) in [
        ("run", 0o755),
        ("same", 0o640),
        ("sub", 0o555),
        ("file", 0o4755),
        ("directory", 0o1777),
    ] {
        fs::set_permissions(tree.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    pack(sandbox, name, &tree)
}

fn fill(case: &Case, sandbox: &Sandbox) -> String {
    let archive = archive(sandbox, case.archive);
    let sha1 = sum("sha1sum", &archive);
    case.manifest
        .replace("@SRC", &format!("file://{}", archive.display()))
        .replace("@MD5", &sum("md5sum", &archive))
        .replace("@SHA256", &sum("sha256sum", &archive))
        .replace("@SHA512", &sum("sha512sum", &archive))
        .replace("@SHA1", &sha1)
        .replace("@UPPER", &sha1.to_uppercase())
        .replace("@DEST", &sandbox.join("dest").display().to_string())
        .replace("@DIR", &sandbox.path().display().to_string())
}

fn host(case: &Case) -> (Sandbox, String) {
    let mut sandbox = Sandbox::new("manifest");
    sandbox.set("GREETING", "hello");
    (case.before)(&sandbox);
    let manifest = fill(case, &sandbox);
    (sandbox, manifest)
}

/// What a manifest can have changed. `order` holds the sandbox's own path.
fn files(sandbox: &Sandbox) -> BTreeMap<PathBuf, Seen> {
    let mut all = BTreeMap::new();
    for top in ["dest", "real", "cwd"] {
        let part = holds(&sandbox.join(top));
        all.extend(
            part.into_iter()
                .map(|(path, seen)| (Path::new(top).join(path), seen)),
        );
    }
    let path = sandbox.path().display().to_string();
    for seen in all.values_mut() {
        if let Ok(text) = std::str::from_utf8(&seen.content) {
            seen.content = text.replace(&path, "@DIR").into_bytes();
        }
    }
    as_under_the_umask(&mut all);
    all
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn each_manifest_has_stretchers_outcome_and_leaves_stretchers_files() {
    for case in CASES {
        let ((real, for_real), (ours, for_ours)) = (host(case), host(case));
        let ran = real.stretcher(&for_real, &[]);
        let outcome = ours.apply(&for_ours);
        let error = outcome.result.as_ref().err().map(|error| shown(error));
        assert_eq!(ran.code() == Some(0), case.ok, "{}: stretcher: {ran}", case.name);
        assert_eq!(error.is_none(), case.ok, "{}: apply: {error:?}", case.name);
        let differs = difference(&files(&real), &files(&ours));
        assert!(
            differs.is_empty(),
            "{}: stretcher / apply\n{}",
            case.name,
            differs.join("\n")
        );
        assert!(!ours.join("cwd/never").exists(), "{}", case.name);
        ours.assert_clean();
        again(case, &real, &ours, &for_real, &for_ours);
    }
}

/// A second run of the same manifest, for the sync into what the first one left.
fn again(case: &Case, real: &Sandbox, ours: &Sandbox, for_real: &str, for_ours: &str) {
    let ran: Ran = real.stretcher(for_real, &[]);
    let outcome: Outcome = ours.apply(for_ours);
    assert_eq!(
        ran.code() == Some(0),
        outcome.result.is_ok(),
        "{} again: {ran}",
        case.name
    );
    let differs = difference(&files(real), &files(ours));
    assert!(
        differs.is_empty(),
        "{} again: stretcher / apply\n{}",
        case.name,
        differs.join("\n")
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_log_on_standard_input_tells_what_stretchers_tells() {
    let manifest = "src: '@SRC'\nchecksum: '@SHA1'\ndest: '@DEST'\ncommands:\n  pre: ['echo from pre; echo to err >&2']\n  post: ['false']\n  failure: ['cat >log']\n";
    let case = Case {
        name: "log",
        archive: "tree.tar",
        before: nothing,
        manifest,
        ok: false,
    };
    let ((real, for_real), (ours, for_ours)) = (host(&case), host(&case));
    let _ = real.stretcher(&for_real, &[]).exits(1);
    let error = ours.apply(&for_ours).result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Command);
    for sandbox in [&real, &ours] {
        let log = fs::read_to_string(sandbox.join("cwd/log")).unwrap();
        for part in [
            "Loading manifest",
            "invoking command: echo from pre",
            "\nfrom pre\nto err\n",
            "Checksum ok: ",
            "Deploy manifest failed: ",
            "false",
        ] {
            assert!(
                log.contains(part) || log.contains(&part.replacen('\n', " ", 1)),
                "no {part:?} in {log}"
            );
        }
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_new_dest_on_the_same_file_system_is_one_rename() {
    let sandbox = Sandbox::new("rename");
    let tree = sandbox.join("plain");
    dated(&sandbox.write("plain/a", "a"));
    let archive = pack(&sandbox, "plain.tar", &tree);
    let manifest = format!(
        "src: 'file://{}'\nchecksum: '{}'\ndest: '{}'\n",
        archive.display(),
        sum("sha256sum", &archive),
        sandbox.join("dest").display()
    );
    assert_eq!(
        sandbox.apply(&manifest).ok().synced.unwrap().method,
        Method::Renamed
    );
    let again = sandbox.apply(&manifest).ok().synced.unwrap();
    assert_eq!(
        (again.method, again.unchanged, again.created, again.deleted),
        (Method::Synced, 1, 0, 0)
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_secret_taken_from_the_environment_is_not_in_what_is_said_of_the_command() {
    let mut sandbox = Sandbox::new("secret");
    sandbox.set("NOTIFY_TOKEN", "s3cr3t-value");
    let manifest = "commands:\n  pre: ['test -n \"{{ must_env \"NOTIFY_TOKEN\" }}\"; exit 1']\n  failure: ['cat >log']\n";
    let outcome = sandbox.apply(manifest);
    let started = outcome.events.iter().any(|event| {
        matches!(
            event,
            Event::CommandStarted {
                phase: Phase::Pre,
                ..
            }
        )
    });
    assert!(started);
    let log = fs::read_to_string(sandbox.join("cwd/log")).unwrap();
    let all = format!("{log}{:?}{:?}", outcome.events, outcome.error());
    assert!(all.contains("***") && !all.contains("s3cr3t"), "{all}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_secret_in_other_values_than_commands_is_not_shown_either() {
    let mut sandbox = Sandbox::new("secret");
    sandbox.set("NOTIFY_TOKEN", "s3cr3t-value");
    let secret = "{{ must_env \"NOTIFY_TOKEN\" }}";
    for checksum in [secret, &"0".repeat(64)] {
        let manifest = format!(
            "src: 'file://@DIR/{secret}.tar'\nchecksum: '{checksum}'\ndest: '@DIR/{secret}'\ncommands:\n  failure: ['cat >log']\n"
        )
        .replace("@DIR", &sandbox.join("some").display().to_string());
        let outcome = sandbox.apply(&manifest);
        let log = fs::read_to_string(sandbox.join("cwd/log")).unwrap();
        let all = format!("{log}{:?}{}", outcome.events, outcome.error());
        assert!(all.contains("***") && !all.contains("s3cr3t"), "{all}");
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn commands_find_sh_on_the_path_that_was_handed_in() {
    let mut sandbox = Sandbox::new("path");
    sandbox.environment = vec![("PATH".into(), sandbox.path().into())];
    let error = sandbox.apply("commands:\n  pre: ['true']\n").result.unwrap_err();
    assert!(error.hint().unwrap().contains("PATH"), "{}", shown(&error));
    let _ = Testbed::get().program("sh");
}
