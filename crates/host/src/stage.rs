//! The temporary directory of one apply: where the archive is unpacked until its tree is in dest.
//!
//! Its name holds the key of dest. Who holds dest's lock knows that every other directory with that key is a killed
//! handler's, and removes it. The archive itself has no name and goes with the process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::event::Event;
use crate::log::Recorder;

/// A directory that is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    dir: PathBuf,
}

impl Stage {
    /// Makes the directory, with the directory `tree` in it, which the archive is unpacked into.
    pub(crate) fn new(temp_dir: &Path, key: &str) -> Result<Self, Error> {
        let dir = temp_dir.join(format!("{}{:016x}", prefix(key), fastrand::u64(..)));
        let stage = Self { dir };
        make_private(&stage.dir)
            .map_err(|error| Error::temporary("making the directory", &stage.dir, error))?;
        let tree = stage.tree();
        make_private(&tree).map_err(|error| Error::temporary("making the directory", &tree, error))?;
        Ok(stage)
    }

    /// Where the archive is unpacked.
    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    /// Removes it; that this fails changes nothing of what was done, so it is only said.
    pub(crate) fn remove(self, recorder: &Recorder) {
        if let Err(error) = remove_tree(&self.dir) {
            recorder.say(Event::NotRemoved {
                path: self.dir.clone(),
                reason: error.to_string(),
            });
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Where this matters it was done before, by `remove`.
        let _ = remove_tree(&self.dir);
    }
}

/// A file without a name, for the archive.
pub(crate) fn unnamed_file(temp_dir: &Path) -> Result<File, Error> {
    tempfile::tempfile_in(temp_dir)
        .map_err(|error| Error::temporary("making a temporary file in", temp_dir, error))
}

/// Removes the directories that killed handlers of the same dest left. The caller holds dest's lock.
pub(crate) fn remove_leftovers(temp_dir: &Path, key: &str, recorder: &Recorder) -> Result<(), Error> {
    let me = rustix::process::geteuid().as_raw();
    let failed = |error| Error::temporary("reading the temporary directory", temp_dir, error);
    for entry in fs::read_dir(temp_dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let named_so = entry.file_name().to_string_lossy().starts_with(&prefix(key));
        // Others may write to a temporary directory too: only what is a directory of ours is taken for ours.
        let ours = named_so
            && entry
                .metadata()
                .is_ok_and(|meta| meta.is_dir() && meta.uid() == me);
        if !ours {
            continue;
        }
        let path = entry.path();
        recorder.say(match remove_tree(&path) {
            Ok(()) => Event::LeftoverRemoved { path },
            Err(error) => Event::NotRemoved {
                path,
                reason: error.to_string(),
            },
        });
    }
    Ok(())
}

fn prefix(key: &str) -> String {
    format!("shipit-apply-{key}-")
}

fn make_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(dir)
}

/// Removes a tree, directories without the write bit included; that it is gone already is as good.
pub(crate) fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(dir)?;
            fs::remove_dir_all(dir)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn make_writable(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn what_a_killed_handler_of_the_same_dest_left_is_removed_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let killed = Stage::new(temp.path(), "aaaa").unwrap();
        fs::create_dir(killed.tree().join("sub")).unwrap();
        fs::set_permissions(killed.tree().join("sub"), fs::Permissions::from_mode(0o500)).unwrap();
        let path = killed.dir.clone();
        std::mem::forget(killed);
        let other = Stage::new(temp.path(), "bbbb").unwrap();
        std::os::unix::fs::symlink(&other.dir, temp.path().join("shipit-apply-aaaa-link")).unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = events.clone();
        let recorder = Recorder::new(Arc::new(move |event| sink.lock().unwrap().push(event)));
        remove_leftovers(temp.path(), "aaaa", &recorder).unwrap();
        assert!(!path.exists() && other.tree().exists());
        assert!(
            matches!(&events.lock().unwrap()[..], [Event::LeftoverRemoved { path: said }] if *said == path)
        );
    }

    #[test]
    fn a_stage_goes_when_it_is_dropped_and_a_file_has_no_name() {
        let temp = tempfile::tempdir().unwrap();
        let file = unnamed_file(temp.path()).unwrap();
        drop(Stage::new(temp.path(), "k").unwrap());
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        drop(file);
    }
}
