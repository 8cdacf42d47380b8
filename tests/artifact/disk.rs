//! A disk that is full: an error of the right kind with a hint, nothing half-written, and the next run works.

use std::fs;
use std::sync::atomic::AtomicBool;

use shipit_artifact::{Compression, DirTree, EntryPath, Error, ErrorKind, UnpackOptions, unpack};
use shipit_testbed::Tmpfs;

use crate::support::{build, try_pack, workspace};

fn assert_full(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Disk, "{error:?}");
    assert!(error.hint().expect("a hint").contains("make room"), "{error:?}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_full_disk_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("workspace");
    workspace(&root);
    let vendored = vec![EntryPath::new("vendor/bundle").unwrap()];
    let dependencies = DirTree::new(&root).unwrap().only(vendored.clone());
    let code = DirTree::new(&root).unwrap().without(vendored);
    let small = Tmpfs::mount(1 << 20);
    let roomy = dir.path().join("roomy");
    for (sealed, out) in [(small.path(), roomy.as_path()), (roomy.as_path(), small.path())] {
        let error = try_pack(&dependencies, &code, [sealed, out], Compression::Zstd, 2).unwrap_err();
        assert_full(&error);
        assert_eq!(fs::read_dir(small.path()).unwrap().count(), 0);
    }
    let artifact = build(&root, dir.path(), Compression::Zstd, 2);
    let cancel = AtomicBool::new(false);
    let file = fs::File::open(&artifact.path).unwrap();
    let error = unpack(file, small.path(), &UnpackOptions::new(&cancel, &|_| {})).unwrap_err();
    assert_full(&error);
}
