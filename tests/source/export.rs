//! What an export leaves when it does not come to its end, and repositories of other users.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use shipit_source::{Error, ErrorKind, Event, Source, SourceOptions, TreeOptions};
use shipit_testbed::{Cmd, GitHttp, Repo, Tmp, Tmpfs, random_hex};

use crate::support::{JOBS, Told, both, export, options, resolve, told};

fn export_until(options: &SourceOptions, dest: &Path, cancel: &AtomicBool) -> Told<()> {
    told(|on_event| {
        let never = AtomicBool::new(false);
        let source = Source::open(options.clone())?;
        let commit = source.resolve("HEAD", &never, on_event)?;
        let tree = source.tree(&commit, TreeOptions::default(), &never, on_event)?;
        tree.export(dest, JOBS, cancel, on_event).map(|_| ())
    })
}

fn left_in(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn cancelled() {
    let tmp = Tmp::new("export");
    let repo = Repo::new();
    repo.write("a/b", "x").commit("first");
    let options = options(&tmp, &[repo.path().to_str().unwrap()]);
    let out = tmp.mkdir("out");
    let told = export_until(&options, &out.join("tree"), &AtomicBool::new(true));
    assert!(matches!(told.err(), Error::Cancelled));
    assert_eq!(left_in(&out), 0);
    // What a killed one left does not mix with the next, and a destination that is made already is fine when empty.
    std::fs::create_dir_all(out.join(".tree.partial/stale")).unwrap();
    std::fs::create_dir(out.join("tree")).unwrap();
    export_until(&options, &out.join("tree"), &AtomicBool::new(false)).ok();
    assert_eq!(left_in(&out), 1);
    assert!(out.join("tree/a/b").exists() && !out.join("tree/stale").exists());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_full_disk() {
    let tmp = Tmp::new("export");
    let repo = Repo::new();
    repo.write("small", "x")
        .write("zbig", random_hex(2_000_000))
        .commit("first");
    let options = options(&tmp, &[repo.path().to_str().unwrap()]);
    let small = Tmpfs::mount(1 << 20);
    let error = export_until(&options, &small.path().join("tree"), &AtomicBool::new(false)).err();
    let Error::Io { path, source, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    assert!(path.ends_with("zbig"), "{error:?}");
    assert_eq!(left_in(small.path()), 0);
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.hint().unwrap().contains("SHIPIT_CACHE_DIR"));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_full_disk_under_the_mirror_is_no_fault_of_the_remote() {
    let tmp = Tmp::new("export");
    let repo = Repo::new();
    repo.write("small", "x").commit("first");
    let tip = repo.write("zbig", random_hex(2_000_000)).commit("second");
    repo.bare_clone(&tmp.join("served/shop.git"));
    let http = GitHttp::start(&tmp.join("served"));
    let small = Tmpfs::mount(1 << 20);
    let url = http.url("shop.git");
    for mut options in both(&options(&tmp, &[&url, &url])) {
        options.mirror = small.path().join("mirror.git");
        let told = resolve(&options, &tip);
        // The second remote would fill the disk no less.
        assert!(
            !told
                .events
                .iter()
                .any(|event| matches!(event, Event::RemoteFailed { .. }))
        );
        let error = told.err();
        assert_eq!(error.kind(), ErrorKind::Io, "{:?}: {error:?}", options.fetch);
        assert!(error.hint().unwrap().contains("SHIPIT_CACHE_DIR"), "{error:?}");
        std::fs::remove_dir_all(&options.mirror).unwrap();
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_umask_does_not_matter() {
    let tmp = Tmp::new("export");
    let repo = Repo::new();
    repo.script("run", "x").write("dir/file", "x").commit("first");
    let options = options(&tmp, &[repo.path().to_str().unwrap()]);
    export(&options, "HEAD", &tmp.join("out"), TreeOptions::default()).ok();
    let mode = |name: &str| {
        let meta = std::fs::metadata(tmp.join("out").join(name)).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o7777
    };
    assert_eq!(
        ["", "run", "dir", "dir/file", "REVISION"].map(mode),
        [0o755, 0o755, 0o755, 0o644, 0o644]
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_filter_that_is_not_run_is_said() {
    let tmp = Tmp::new("export");
    let repo = Repo::new();
    repo.write(".gitattributes", "*.secret filter=git-crypt\n")
        .write("a.secret", "x")
        .write("b.secret", "y")
        .commit("first");
    let told = export(
        &options(&tmp, &[repo.path().to_str().unwrap()]),
        "HEAD",
        &tmp.join("out"),
        TreeOptions::default(),
    );
    let said: Vec<_> = told
        .events
        .iter()
        .filter(|event| matches!(event, Event::FilterIgnored { .. }))
        .collect();
    assert_eq!(
        said,
        [&Event::FilterIgnored {
            path: "a.secret".into(),
            filter: "git-crypt".into()
        }]
    );
    told.ok();
}

/// Gives all of a repository to a user; as root, or by sudo without a password, as the small disks above are mounted.
fn give(repo: &Repo, user: u32) {
    let chown =
        format!("if [ $(id -u) = 0 ]; then sudo=; else sudo='sudo -n'; fi; $sudo chown -R {user} \"$1\"");
    let _ = Cmd::new("sh")
        .args(["-c", &chown, "sh"])
        .arg(repo.path())
        .run()
        .ok();
}

#[test]
#[ignore = "needs the testbed, and root or sudo; run make test"]
fn a_repository_of_another_user_is_refused_with_the_way_out() {
    let tmp = Tmp::new("export");
    let repo = Repo::new();
    repo.write("a", "x").commit("first");
    let me = std::fs::metadata(repo.path()).unwrap().uid();
    give(&repo, 12_345);
    let told = resolve(&options(&tmp, &[repo.path().to_str().unwrap()]), "HEAD");
    // Back, so that it can be removed.
    give(&repo, me);
    let error = told.err();
    assert!(matches!(error, Error::Owner { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("safe.directory"));
}
