//! Releases applied by their difference: the same files as from the whole artifact, and little fetched.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use shipit_host::{Applied, Event, LayersNew, Method};
use shipit_manifest::Link;

use crate::shop::{App, Node, Published, Shop, app, file, noise, seen};
use crate::support::{Outcome, Sandbox, Seen, difference};

pub const IDS: [&str; 4] = [
    "20261121T101500Z-aaaaaaa",
    "20261121T111500Z-bbbbbbb",
    "20261121T121500Z-ccccccc",
    "20261121T131500Z-ddddddd",
];

#[track_caller]
pub fn assert_current(sandbox: &Sandbox, published: &Published) {
    let current = fs::canonicalize(sandbox.join("dest/current")).unwrap();
    assert!(
        current.ends_with(&published.input.release),
        "{}",
        current.display()
    );
    let mut there = seen(&current);
    resolve(&current, &mut there);
    let lines = difference(&published.unpacked(), &there);
    assert!(lines.is_empty(), "whole / by difference\n{}", lines.join("\n"));
    assert!(
        !sandbox.join("dest/.layers/.new").exists(),
        "nothing unfinished is left"
    );
    sandbox.assert_clean();
}

/// Puts what links into `.layers` lead to in their places.
fn resolve(root: &Path, all: &mut BTreeMap<PathBuf, Seen>) {
    let links: Vec<_> = all
        .iter()
        .filter(|(_, seen)| {
            seen.kind == "link" && String::from_utf8_lossy(&seen.content).contains(".layers/")
        })
        .map(|(path, _)| path.clone())
        .collect();
    for link in links {
        all.remove(&link);
        let target = fs::canonicalize(root.join(&link)).unwrap();
        let meta = target.metadata().unwrap();
        let top = seen(target.parent().unwrap()).remove(Path::new(target.file_name().unwrap()));
        assert!(meta.is_dir());
        all.insert(link.clone(), top.unwrap());
        for (path, seen) in seen(&target) {
            all.insert(link.join(path), seen);
        }
    }
}

#[track_caller]
fn by_difference(outcome: Outcome) -> Applied {
    let whole = outcome
        .events
        .iter()
        .find(|event| matches!(event, Event::WholeInstead { .. }));
    assert!(whole.is_none(), "{whole:?}");
    outcome.ok()
}

fn new_of(applied: &Applied) -> (u64, u64) {
    let LayersNew { new, total } = applied.layers.unwrap();
    (new, total)
}

/// One line of the code.
fn change_a_line(app: &mut App, text: &str) {
    app.time += 60;
    app.code.insert("REVISION".into(), file(text));
    app.code.insert(
        "app/part-3/source-3.rb".into(),
        file(format!("{text} is new\n").repeat(300)),
    );
}

fn a_history(link: Link) {
    let (shop, host) = (Shop::new(), Sandbox::new("difference"));
    let dest = host.join("dest");
    let apply = |app: &App, id: usize| {
        let mut published = shop.publish(app, IDS[id], &dest);
        published.input.link = link;
        published.input.shared = Vec::new();
        let applied = by_difference(host.apply(&published.manifest()));
        assert_current(&host, &published);
        (applied, published)
    };
    let mut app = app();
    let (applied, first) = apply(&app, 0);
    assert_eq!(new_of(&applied), (3, 3));
    assert!(
        applied.fetched_bytes <= applied.total_bytes.unwrap(),
        "{applied:?}"
    );
    assert_eq!(applied.synced.unwrap().method, Method::Assembled);
    // Again: nothing is fetched, nothing changes.
    let again = by_difference(host.apply(&{
        let mut first = first;
        first.input.link = link;
        first.manifest()
    }));
    assert_eq!(
        (again.fetched_bytes, again.synced.unwrap().method),
        (0, Method::InPlace)
    );

    change_a_line(&mut app, "second");
    let (applied, published) = apply(&app, 1);
    assert_eq!(new_of(&applied), (1, 3));
    assert!(
        applied.fetched_bytes < published.artifact.record.size / 20,
        "{applied:?}"
    );

    // A dependency bumped, one renamed, one gone, one of another type, a mode.
    app.npm
        .insert("pkg-07/lib/file-7.js".into(), file(noise(7777, 5000)));
    let moved = app.npm.remove("pkg-08/lib/file-8.js").unwrap();
    app.npm.insert("pkg-08/lib/renamed.js".into(), moved);
    app.npm.remove("pkg-09/lib/file-9.js");
    app.npm
        .insert("pkg-10/lib/file-10.js".into(), Node::Link("file-33.js".into()));
    app.npm
        .insert("pkg-11/lib/file-11.js/now-a-directory".into(), file("x"));
    app.npm.remove("pkg-11/lib/file-11.js");
    if let Some(Node::File(_, executable)) = app.npm.get_mut("pkg-12/lib/file-12.js") {
        *executable = true;
    }
    change_a_line(&mut app, "third");
    let (applied, published) = apply(&app, 2);
    assert_eq!(new_of(&applied), (2, 3));
    assert!(
        applied.fetched_bytes < published.artifact.record.size / 2,
        "{applied:?}"
    );

    // Back to the first release's files under a new id; its layer of npm may be gone or not.
    let (_, published) = apply(&crate::shop::app(), 3);
    let layers = fs::read_dir(dest.join(".layers")).unwrap().count();
    assert!(layers <= 3 + 3 + 3, "unused layers are removed: {layers}");
    // What is used by the releases that are there, is there.
    for layer in &published.artifact.record.layers {
        assert!(
            dest.join(".layers")
                .join(&layer.index_sha256)
                .join("index")
                .exists()
        );
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_host_that_follows_a_history_has_what_the_whole_artifacts_hold() {
    a_history(Link::Auto);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn so_it_has_by_copies() {
    a_history(Link::Copy);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn so_it_has_by_links_to_the_layers() {
    a_history(Link::Symlink);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn gzip_is_applied_by_difference_too() {
    let (shop, host) = (Shop::new(), Sandbox::new("difference"));
    let mut app = app();
    app.compression = shipit_artifact::Compression::Gzip;
    for id in 0..2 {
        let published = shop.publish(&app, IDS[id], &host.join("dest"));
        let applied = by_difference(host.apply(&published.manifest()));
        assert_eq!(new_of(&applied).0, [3, 1][id]);
        assert_current(&host, &published);
        change_a_line(&mut app, "next");
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn how_much_is_fetched_follows_the_change() {
    let (shop, host) = (Shop::new(), Sandbox::new("difference"));
    let mut app = app();
    for n in 0..400_u64 {
        app.npm
            .insert(format!("more-{n}/index.js"), file(noise(5000 + n, 70_000)));
    }
    for n in 0..500_u64 {
        let lines = noise(90_000 + n, 120)
            .into_iter()
            .map(|byte| format!("    value_{byte} = compute(argument)\n"));
        app.code.insert(
            format!("app/more-{}/source-{n}.rb", n % 30),
            file(lines.collect::<String>()),
        );
    }
    let base = shop.publish(&app, IDS[0], &host.join("dest"));
    let _ = by_difference(host.apply(&base.manifest()));
    change_a_line(&mut app, "second");
    let second = shop.publish(&app, IDS[1], &host.join("dest"));
    let applied = by_difference(host.apply(&second.manifest()));
    let size = second.artifact.record.size as f64;
    let share = applied.fetched_bytes as f64 / size;
    assert!(size > 25e6 && share < 0.02, "{share} of {size}");
    app.npm.insert("more-3/index.js".into(), file(noise(1, 70_000)));
    let third = shop.publish(&app, IDS[2], &host.join("dest"));
    let applied = by_difference(host.apply(&third.manifest()));
    let share = applied.fetched_bytes as f64 / third.artifact.record.size as f64;
    assert!(share < 0.25, "{share}");
    assert_current(&host, &third);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_host_whose_layers_lost_files_gets_them_again() {
    let (shop, host) = (Shop::new(), Sandbox::new("difference"));
    let mut app = app();
    let first = shop.publish(&app, IDS[0], &host.join("dest"));
    let _ = by_difference(host.apply(&first.manifest()));
    let npm = host
        .join("dest/.layers")
        .join(&first.artifact.record.layers[0].index_sha256);
    type Harm<'a> = (&'a str, &'a dyn Fn());
    let cut = |name: &str| {
        let path = npm.join("files/node_modules").join(name);
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(3)
            .unwrap();
    };
    let harms: [Harm<'_>; 6] = [
        ("a file", &|| {
            fs::remove_file(npm.join("files/node_modules/pkg-03/lib/file-3.js")).unwrap();
        }),
        ("a directory", &|| {
            fs::remove_dir_all(npm.join("files/node_modules/pkg-04")).unwrap();
        }),
        ("the end of one", &|| cut("pkg-05/large.node")),
        ("its index", &|| fs::write(npm.join("index"), "x").unwrap()),
        ("the layer", &|| fs::remove_dir_all(&npm).unwrap()),
        ("all", &|| fs::remove_dir_all(host.join("dest/.layers")).unwrap()),
    ];
    for (at, (what, harm)) in harms.into_iter().enumerate() {
        harm();
        change_a_line(&mut app, &format!("change {at}"));
        let id = format!("20261122T10{at:02}00Z-abcdefa");
        let published = shop.publish(&app, &id, &host.join("dest"));
        let outcome = host.apply(&published.manifest());
        let damaged = outcome
            .events
            .iter()
            .any(|event| matches!(event, Event::LayerDamaged { .. }));
        let applied = by_difference(outcome);
        assert_eq!(damaged, at < 3, "{what}");
        // What is left of the layer, and the release in service, have nearly all of it.
        let share = applied.fetched_bytes as f64 / published.artifact.record.size as f64;
        assert!(share < 0.85, "{what}: {share}");
        assert_current(&host, &published);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_the_app_did_to_its_files_does_not_get_into_the_next_release() {
    let (shop, host) = (Shop::new(), Sandbox::new("difference"));
    let mut app = app();
    let first = shop.publish(&app, IDS[0], &host.join("dest"));
    let _ = by_difference(host.apply(&first.manifest()));
    let current = fs::canonicalize(host.join("dest/current")).unwrap();
    // Of the same size and time: only its content tells.
    let path = current.join("app/part-1/source-1.rb");
    let time = path.metadata().unwrap().modified().unwrap();
    let content = fs::read_to_string(&path).unwrap().replace("line", "LINE");
    fs::write(&path, content).unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    fs::remove_file(current.join("app/part-2/source-2.rb")).unwrap();
    fs::remove_dir_all(current.join("app/part-4")).unwrap();
    std::os::unix::fs::symlink("/etc", current.join("app/part-4")).unwrap();
    fs::set_permissions(current.join("bin/app"), fs::Permissions::from_mode(0o700)).unwrap();
    app.time += 60;
    let second = shop.publish(&app, IDS[1], &host.join("dest"));
    let _ = by_difference(host.apply(&second.manifest()));
    assert_current(&host, &second);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_layers_files_stay_roots_and_are_shared_between_releases() {
    let (shop, host) = (Shop::new(), Sandbox::new("difference"));
    let mut app = app();
    let root = rustix::process::geteuid().is_root();
    let mut inodes = Vec::new();
    for id in IDS.iter().take(2) {
        let mut published = shop.publish(&app, id, &host.join("dest"));
        published.input.owner = root.then(|| "1:1".to_owned());
        let _ = by_difference(host.apply(&published.manifest()));
        let current = fs::canonicalize(host.join("dest/current")).unwrap();
        let vendored = current
            .join("node_modules/pkg-03/lib/file-3.js")
            .metadata()
            .unwrap();
        let code = current.join("REVISION").metadata().unwrap();
        let dir = current.join("node_modules/pkg-03").metadata().unwrap();
        assert_eq!(code.nlink(), 1);
        inodes.push(vendored.ino());
        if root {
            assert_eq!((code.uid(), dir.uid()), (1, 1));
            // A file system with reflinks has one of its own in each release, and that is the app's.
            assert_eq!(vendored.uid(), u32::from(vendored.nlink() == 1));
        }
        change_a_line(&mut app, "next");
    }
    let layer = host.join("dest/.layers").read_dir().unwrap().flatten();
    let layer = layer.map(|entry| entry.path().join("files/node_modules/pkg-03/lib/file-3.js"));
    let there = layer.filter_map(|path| path.metadata().ok()).next().unwrap();
    assert_eq!(
        there.uid(),
        rustix::process::geteuid().as_raw(),
        "the layer is not given away"
    );
    if there.nlink() > 1 {
        assert_eq!(inodes, [there.ino(); 2]);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn excluded_paths_are_left_out_in_every_way() {
    for link in [Link::Auto, Link::Copy, Link::Symlink] {
        let (shop, host) = (Shop::new(), Sandbox::new("difference"));
        let mut published = shop.publish(&app(), IDS[0], &host.join("dest"));
        published.input.link = link;
        published.input.excludes = vec!["*.node".into(), "/app/part-2/".into(), "gem-7".into()];
        let _ = by_difference(host.apply(&published.manifest()));
        let mut expected = published.unpacked();
        expected.retain(|path, _| {
            let text = path.to_string_lossy();
            !(text.ends_with(".node")
                || text.starts_with("app/part-2")
                || text.contains("gem-7/")
                || text.ends_with("gem-7"))
        });
        let current = fs::canonicalize(host.join("dest/current")).unwrap();
        let lines = difference(&expected, &seen(&current));
        assert!(lines.is_empty(), "{link:?}\n{}", lines.join("\n"));
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn stretcher_applies_the_same_manifest_and_both_take_turns() {
    let (shop, host) = (Shop::new(), Sandbox::new("difference"));
    let mut app = app();
    for (at, id) in IDS.iter().enumerate() {
        let mut published = shop.publish(&app, id, &host.join("dest"));
        published.input.owner = rustix::process::geteuid().is_root().then(|| "1:1".to_owned());
        if at % 2 == 1 {
            let ran = host.stretcher(&published.manifest(), &[]);
            assert_eq!(ran.code(), Some(0), "{ran}");
        } else {
            let applied = by_difference(host.apply(&published.manifest()));
            let share = applied.fetched_bytes as f64 / published.artifact.record.size as f64;
            assert!(at == 0 || share < 0.1, "{share}");
        }
        assert_current(&host, &published);
        change_a_line(&mut app, id);
    }
}
