//! shipit's own manifests, layouts `releases` and `plain`, followed by stretcher on one host and by `apply` on another:
//! forth, again, back, with the same result on disk after each.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use shipit_host::Method;
use shipit_manifest::{Hooks, Layout, RenderInput, render};

use crate::cases::dated;
use crate::support::{Sandbox, Seen, difference, holds, pack, sum};

pub const RELEASES: [&str; 3] = [
    "20261121T101500Z-aaaaaaa",
    "20261121T111500Z-bbbbbbb",
    "20261121T121500Z-ccccccc",
];

fn manifest(sandbox: &Sandbox, release: &str, layout: Layout) -> String {
    render(&input(sandbox, release, layout), None).unwrap()
}

/// A release whose tree names it; each release has a file of its own, and one that all share.
pub fn input(sandbox: &Sandbox, release: &str, layout: Layout) -> RenderInput {
    let name = format!("tree-{release}");
    // Of another size in each release: rsync's quick check takes files of equal size and second for the same.
    let lines = RELEASES.iter().position(|known| *known == release).unwrap();
    let revision = format!("{release}{}", "\n".repeat(lines));
    for (path, text) in [
        ("REVISION", revision.as_str()),
        ("bin/app", "#!/bin/sh\n"),
        ("log/.keep", ""),
        ("lib/same", "never changes"),
        (release, "own"),
    ] {
        dated(&sandbox.write(&format!("{name}/{path}"), text));
    }
    let archive = pack(sandbox, &format!("{name}.tar.zst"), &sandbox.join(&name));
    let releases = layout == Layout::Releases;
    RenderInput {
        src: Some(format!("file://{}", archive.display())),
        checksum: Some(sum("sha256sum", &archive)),
        record_sha256: Some("0".repeat(64)),
        app: "shop".into(),
        stage: "test".into(),
        role: "web".into(),
        release: release.into(),
        revision: "a".repeat(40),
        dest: Some(sandbox.join("dest").display().to_string()),
        layout,
        shared: if releases { vec!["log".into()] } else { Vec::new() },
        hooks: Hooks {
            before_switch: vec!["test -e REVISION && echo before >>built".into()],
            after_switch: vec![format!("cat REVISION >>{}/switched", sandbox.path().display())],
            check: Some("test -x bin/app || test -e bin/app".into()),
            ..Hooks::default()
        },
        keep_releases: 1,
        ..RenderInput::default()
    }
}

/// The host's files, the sandbox's own path and the times in logs taken out.
fn files(sandbox: &Sandbox) -> BTreeMap<PathBuf, Seen> {
    let mut all = holds(sandbox.path());
    all.retain(|path, _| {
        let text = path.to_string_lossy();
        text.starts_with("dest") || text.starts_with(".dest") || text == "switched"
    });
    let path = sandbox.path().display().to_string();
    for seen in all.values_mut() {
        if let Ok(text) = std::str::from_utf8(&seen.content) {
            seen.content = text.replace(&path, "@DIR").into_bytes();
        }
    }
    all
}

fn follow(layout: Layout) {
    let (real, ours) = (Sandbox::new("releases"), Sandbox::new("releases"));
    // Forth, the same again, forth, back, and on: pruning and `previous` included.
    for (at, number) in [0, 0, 1, 0, 2, 2].into_iter().enumerate() {
        let release = RELEASES[number];
        let ran = real.stretcher(&manifest(&real, release, layout), &[]);
        assert_eq!(ran.code(), Some(0), "step {at}: {ran}");
        let applied = ours.apply(&manifest(&ours, release, layout)).ok();
        assert_eq!(applied.release.as_deref(), Some(release));
        assert_eq!(
            (applied.app.as_deref(), applied.role.as_deref()),
            (Some("shop"), Some("web"))
        );
        let method = applied.synced.unwrap().method;
        let there = matches!(at, 1 | 3 | 5);
        let expected = if there { Method::InPlace } else { Method::Renamed };
        assert!(
            layout == Layout::Plain || method == expected,
            "step {at}: {method:?}"
        );
        let differs = difference(&files(&real), &files(&ours));
        assert!(
            differs.is_empty(),
            "step {at}: stretcher / apply\n{}",
            differs.join("\n")
        );
        let top = if layout == Layout::Releases {
            "dest/current/REVISION"
        } else {
            "dest/REVISION"
        };
        assert_eq!(fs::read_to_string(ours.join(top)).unwrap().trim_end(), release);
        ours.assert_clean();
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn releases_are_switched_as_stretcher_switches_them() {
    follow(Layout::Releases);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_plain_dest_is_synced_as_stretcher_syncs_it() {
    follow(Layout::Plain);
}
