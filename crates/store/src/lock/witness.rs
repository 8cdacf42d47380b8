//! What tells other processes of this machine that a lock's holder was killed: a file in a temporary directory, which the holder keeps locked.
//!
//! The system unlocks it when the process ends, however it ends. A file that bears a holder's id and that nobody locks can only be
//! left by that holder, here: then its lock need not run out first. No such file says nothing: the holder may be on another machine.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::geteuid;

/// A holder's file, locked. Dropped, it is unlocked and stays: as when the process is killed.
#[derive(Debug)]
pub(super) struct Witness {
    id: String,
    path: PathBuf,
    _locked: File,
}

impl Witness {
    /// Nothing where it cannot be made: the lock then has to run out.
    pub(super) fn make(dir: &Path, id: &str) -> Option<Self> {
        let path = path(dir, id)?;
        let machine = machine()?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .ok()?;
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
        if locked.is_err() || file.write_all(machine.as_bytes()).is_err() {
            // Unlocked, it would say that we are dead.
            let _ = std::fs::remove_file(&path);
            return None;
        }
        Some(Self {
            id: id.to_owned(),
            path,
            _locked: file,
        })
    }

    pub(super) fn is_of(&self, id: &str) -> bool {
        self.id == id
    }

    /// The lock was given back, or never taken.
    pub(super) fn remove(self) {
        // A file that stays is empty, and says nothing about a lock that is gone.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether the holder of this id was a process of this machine that has ended.
pub(super) fn is_dead(dir: &Path, id: &str) -> bool {
    let Some(path) = path(dir, id) else {
        return false;
    };
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path);
    let Ok(mut file) = opened else { return false };
    // In a directory that is everybody's, another user may have made a file to mislead us.
    let own = file
        .metadata()
        .is_ok_and(|found| found.is_file() && found.uid() == geteuid().as_raw());
    // A directory may be shared by machines whose file locks are each one's own.
    let mut text = String::new();
    let here =
        own && file.read_to_string(&mut text).is_ok() && machine().is_some_and(|machine| machine == text);
    // Shared: others who look at the same moment are not in the way.
    here && flock(&file, FlockOperation::NonBlockingLockShared).is_ok()
}

/// This machine, since it was started.
fn machine() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
}

/// Removes what a dead holder left.
pub(super) fn clear(dir: &Path, id: &str) {
    if let Some(path) = path(dir, id) {
        // Another one may have been faster.
        let _ = std::fs::remove_file(path);
    }
}

/// Nothing for an id that shipit has not made: it comes from the store.
fn path(dir: &Path, id: &str) -> Option<PathBuf> {
    let made = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    made.then(|| dir.join(format!("shipit-lock-{id}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Holder;

    #[test]
    fn a_file_that_nobody_locks_tells_that_its_holder_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let id = Holder::new_id();
        assert!(!is_dead(dir.path(), &id), "nothing is known of it");
        let witness = Witness::make(dir.path(), &id).unwrap();
        assert!(!is_dead(dir.path(), &id));
        assert!(Witness::make(dir.path(), &id).is_none());
        drop(witness);
        assert!(is_dead(dir.path(), &id) && is_dead(dir.path(), &id));
        clear(dir.path(), &id);
        assert!(!is_dead(dir.path(), &id));
        Witness::make(dir.path(), &id).unwrap().remove();
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        for odd in ["", "../x", "x", &"/".repeat(32)] {
            assert!(Witness::make(dir.path(), odd).is_none() && !is_dead(dir.path(), odd));
        }
        assert!(Witness::make(Path::new("/nowhere"), &id).is_none());
    }

    #[test]
    fn another_machines_file_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let id = Holder::new_id();
        let path = dir.path().join(format!("shipit-lock-{id}"));
        std::fs::write(&path, "3a0cdd8b-0000-4000-8000-000000000000\n").unwrap();
        assert!(!is_dead(dir.path(), &id));
        std::fs::write(&path, machine().unwrap()).unwrap();
        assert!(is_dead(dir.path(), &id));
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let id = Holder::new_id();
        let target = dir.path().join("target");
        std::fs::write(&target, machine().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, dir.path().join(format!("shipit-lock-{id}"))).unwrap();
        assert!(!is_dead(dir.path(), &id));
    }
}
