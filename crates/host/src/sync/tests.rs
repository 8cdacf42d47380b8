use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(bench.tree()).unwrap();
        bench
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn dest(&self) -> PathBuf {
        self.dir.path().join("dest")
    }

    fn sync(&self, rules: &[&str]) -> Result<Synced, Error> {
        let mut filter = Filter::default();
        for rule in rules {
            filter.add(rule.as_bytes()).unwrap();
        }
        let (tree, dest) = (self.tree(), self.dest());
        let survey = survey(&tree).unwrap();
        let request = SyncRequest {
            tree: &tree,
            dest: &dest,
            filter: &filter,
            survey,
            incoming: false,
            verbose: false,
        };
        sync(
            &request,
            &AtomicBool::new(false),
            &Recorder::new(Arc::new(|_| {})),
        )
    }
}

fn write(path: impl AsRef<Path>, text: &str, seconds: u64) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_dest_that_is_not_there_is_made_by_a_rename() {
    let bench = Bench::new();
    write(bench.tree().join("a/b"), "x", 1);
    let inode = fs::metadata(bench.tree().join("a/b")).unwrap().ino();
    let done = bench.sync(&[]).unwrap();
    assert_eq!((done.method, done.created), (Method::Renamed, 3));
    assert_eq!(fs::metadata(bench.dest().join("a/b")).unwrap().ino(), inode);
    assert!(!bench.tree().exists());
}

#[test]
fn dest_gets_what_the_tree_has_and_loses_what_it_has_not() {
    let bench = Bench::new();
    write(bench.dest().join("same"), "old!", 5);
    write(bench.dest().join("changed"), "old", 5);
    write(bench.dest().join("gone/deep/file"), "x", 5);
    write(bench.tree().join("same"), "new!", 5);
    write(bench.tree().join("changed"), "newer", 5);
    write(bench.tree().join("fresh"), "x", 5);
    fs::set_permissions(bench.tree().join("same"), fs::Permissions::from_mode(0o751)).unwrap();
    let done = bench.sync(&[]).unwrap();
    assert_eq!(
        read(bench.dest().join("same")),
        "old!",
        "the quick check goes by size and second"
    );
    assert_eq!(
        fs::metadata(bench.dest().join("same")).unwrap().mode() & 0o777,
        0o751
    );
    assert_eq!(read(bench.dest().join("changed")), "newer");
    assert!(!bench.dest().join("gone").exists());
    assert_eq!(
        (done.created, done.updated, done.deleted, done.unchanged),
        (1, 1, 3, 1)
    );
}

#[test]
fn each_kind_replaces_each_other_kind_and_no_link_is_followed() {
    let bench = Bench::new();
    let outside = bench.dir.path().join("outside");
    write(outside.join("keep"), "keep", 5);
    fs::create_dir(bench.dest()).unwrap();
    symlink(&outside, bench.dest().join("dir")).unwrap();
    symlink(outside.join("keep"), bench.dest().join("file")).unwrap();
    write(bench.dest().join("link/in/it"), "x", 5);
    write(bench.tree().join("dir/keep"), "mine", 6);
    write(bench.tree().join("file"), "file", 5);
    symlink("file", bench.tree().join("link")).unwrap();
    bench.sync(&[]).unwrap();
    assert_eq!(read(outside.join("keep")), "keep");
    assert_eq!(read(bench.dest().join("dir/keep")), "mine");
    assert!(fs::symlink_metadata(bench.dest().join("file")).unwrap().is_file());
    assert_eq!(
        fs::read_link(bench.dest().join("link")).unwrap(),
        Path::new("file")
    );
}

#[test]
fn what_is_excluded_is_neither_copied_nor_deleted_and_holds_its_directory() {
    let bench = Bench::new();
    write(bench.dest().join("old/x.pid"), "1", 5);
    write(bench.dest().join("old/other"), "1", 5);
    write(bench.tree().join("new.pid"), "2", 5);
    write(bench.tree().join("new"), "2", 5);
    bench.sync(&["*.pid"]).unwrap();
    assert!(bench.dest().join("old/x.pid").exists() && !bench.dest().join("old/other").exists());
    assert!(!bench.dest().join("new.pid").exists() && bench.dest().join("new").exists());
}

#[test]
fn an_excluded_file_in_the_way_is_an_error_that_names_it() {
    let bench = Bench::new();
    write(bench.dest().join("a/b/x.pid"), "1", 5);
    write(bench.tree().join("a/b"), "file", 5);
    let error = bench.sync(&["*.pid"]).unwrap_err();
    assert!(error.to_string().contains("dest/a/b"), "{error}");
}

#[test]
fn hard_links_become_files_of_their_own() {
    let bench = Bench::new();
    write(bench.tree().join("a"), "x", 5);
    fs::hard_link(bench.tree().join("a"), bench.tree().join("b")).unwrap();
    bench.sync(&[]).unwrap();
    assert_eq!(fs::metadata(bench.dest().join("a")).unwrap().nlink(), 1);
    assert_eq!(fs::metadata(bench.dest().join("b")).unwrap().nlink(), 1);
}

#[test]
fn dest_may_be_a_link_to_a_directory_and_may_have_a_slash_behind_it() {
    let bench = Bench::new();
    let real = bench.dir.path().join("real");
    fs::create_dir(&real).unwrap();
    symlink(&real, bench.dest()).unwrap();
    write(bench.tree().join("a"), "x", 5);
    bench.sync(&[]).unwrap();
    assert_eq!(read(real.join("a")), "x");
    assert!(fs::symlink_metadata(bench.dest()).unwrap().is_symlink());
}

#[test]
fn a_missing_parent_is_an_error_that_says_what_to_do() {
    let bench = Bench::new();
    let (tree, dest) = (bench.tree(), bench.dir.path().join("no/dest"));
    let filter = Filter::default();
    let request = SyncRequest {
        tree: &tree,
        dest: &dest,
        filter: &filter,
        survey: Survey {
            entries: 1,
            must_be_copied: false,
        },
        incoming: false,
        verbose: false,
    };
    let error = sync(
        &request,
        &AtomicBool::new(false),
        &Recorder::new(Arc::new(|_| {})),
    )
    .unwrap_err();
    assert!(error.hint().unwrap().contains("parent directory"), "{error}");
}

#[test]
fn mv_wants_a_dest_that_is_not_there() {
    let bench = Bench::new();
    write(bench.tree().join("a"), "x", 5);
    fs::create_dir(bench.dest()).unwrap();
    assert!(mv(&bench.tree(), &bench.dest(), survey(&bench.tree()).unwrap()).is_err());
    fs::remove_dir(bench.dest()).unwrap();
    mv(
        &bench.tree(),
        &bench.dest().join(""),
        survey(&bench.tree()).unwrap(),
    )
    .unwrap();
    assert!(bench.dest().join("a").exists());
}
