//! The directories of a directory store: made when something is put there, removed when nothing is left in them, and swept.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{RESERVED, STALE_SECONDS};
use crate::Error;

/// The directories `<what>/<app>` stay, for somebody may have made them with permissions of their own.
const STAY: usize = 2;

/// The directories above an object that may go when nothing is left in them, the inmost first.
pub(super) fn removable(root: &Path, key: &str) -> Vec<PathBuf> {
    let above = key.matches('/').count().saturating_sub(STAY);
    let directories = Path::new(key).ancestors().skip(1).take(above);
    directories.map(|directory| root.join(directory)).collect()
}

/// Whether nothing is in a directory that is there.
pub(super) fn is_empty(directory: &Path) -> bool {
    directory
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_none())
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_directory),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(())
        }
        Err(source) => Err(Error::io("delete", path, source)),
    }
}

/// Makes what is missing of a path, readable for all, writable for the group where the directory above is.
pub(super) fn make_directories(path: &Path) -> Result<(), Error> {
    let changed = make_unsynced(path)?;
    changed.iter().try_for_each(|above| sync_directory(above))
}

/// As [`make_directories`]; the directories in which something was made are yet to be synced. Whoever puts a file there syncs
/// that anyway, and file systems mostly write all of it at once.
pub(super) fn make_unsynced(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if path.is_dir() {
        return Ok(Vec::new());
    }
    let Some(parent) = path.parent() else {
        return Ok(Vec::new());
    };
    let mut changed = make_unsynced(parent)?;
    let failed = |source| Error::io("create the directory", path, source);
    match DirBuilder::new().create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(changed),
        Err(source) => return Err(failed(source)),
    }
    let above = parent.metadata().map_err(failed)?.mode();
    fs::set_permissions(path, Permissions::from_mode(0o755 | (above & 0o2020))).map_err(failed)?;
    changed.push(parent.to_owned());
    Ok(changed)
}

/// One that is gone, for it was empty, needs none.
pub(super) fn sync_directory(path: &Path) -> Result<(), Error> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    match synced {
        // A directory that may be written but not read, and file systems that know no such call.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::NotFound
            ) =>
        {
            Ok(())
        }
        other => other.map_err(|source| Error::io("sync", path, source)),
    }
}

/// Removes temporary files that are a day old.
pub(super) fn sweep(root: &Path, now: i64) -> Result<Vec<PathBuf>, Error> {
    let directory = root.join(format!("{RESERVED}.tmp"));
    let failed = |source| Error::io("clean", &directory, source);
    let reader = match directory.read_dir() {
        Ok(reader) => reader,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut removed = Vec::new();
    for entry in reader {
        let entry = entry.map_err(failed)?;
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() && metadata.mtime() <= now - STALE_SECONDS {
            remove(&entry.path())?;
            removed.push(entry.path());
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::{Body, PutOptions, Store, StoreOptions, StoreUrl};

    fn store(root: &Path) -> Store {
        let url = StoreUrl::parse(&format!("file://{}", root.display())).unwrap();
        Store::open(&url, StoreOptions::default()).unwrap()
    }

    #[tokio::test]
    async fn a_directory_goes_with_the_last_that_lies_in_it() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        let keys = [
            "releases/shop/test/1/a.yml",
            "releases/shop/test/1/b.yml",
            "artifacts/shop/x",
        ];
        for key in keys {
            store
                .put_if_absent(key, Body::Bytes("x".into()), &PutOptions::default())
                .await
                .unwrap();
        }
        store.delete(keys[0]).await.unwrap();
        assert!(root.path().join(keys[1]).exists());
        store.delete(keys[1]).await.unwrap();
        store.delete(keys[1]).await.unwrap();
        assert!(!root.path().join("releases/shop/test").exists());
        assert!(root.path().join("releases/shop").exists());
        store.delete(keys[2]).await.unwrap();
        assert!(root.path().join("artifacts/shop").exists());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn what_is_put_where_all_is_removed_stays() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        let done = std::sync::Arc::new(AtomicBool::new(false));
        let removing = tokio::spawn({
            let (store, done) = (store.clone(), done.clone());
            async move {
                while !done.load(Ordering::Relaxed) {
                    store.delete("releases/shop/test/1/gone").await.unwrap();
                }
            }
        });
        for _ in 0..60 {
            let key = "releases/shop/test/1/stays";
            let options = PutOptions::default();
            store
                .put_if_absent(key, Body::Bytes("x".into()), &options)
                .await
                .unwrap();
            store.head(key).await.unwrap().unwrap();
            let etag = store
                .put_if_match("releases/shop/test/1/lock", "x".into(), None)
                .await
                .unwrap();
            store
                .delete_if_match("releases/shop/test/1/lock", &etag)
                .await
                .unwrap();
            store.delete(key).await.unwrap();
        }
        done.store(true, Ordering::Relaxed);
        removing.await.unwrap();
    }
}
