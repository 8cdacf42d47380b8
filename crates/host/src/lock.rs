//! One handler at a time per dest: an advisory lock on a file named by the dest, which goes with its process.
//!
//! The file stands in a directory of its own, never in a synced tree, and is never removed: a removed lock file lets
//! two handlers in. Commands do not inherit the lock, so a daemon that one leaves behind holds nobody up.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use sha2::{Digest, Sha256};

use crate::checksum::hex;
use crate::error::Error;
use crate::event::Event;
use crate::log::Recorder;

/// How often a held lock is tried.
const POLL: Duration = Duration::from_millis(100);

/// Where the lock is and how long it is waited for.
pub(crate) struct LockRequest<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) dest: &'a Path,
    pub(crate) wait: Option<Duration>,
}

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct DestLock {
    _file: File,
    key: String,
}

impl DestLock {
    /// The name of what is locked, the same for every handler of it.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

/// Takes the lock, waiting for another handler when there is one.
pub(crate) fn take(
    request: &LockRequest<'_>,
    cancel: &AtomicBool,
    recorder: &Recorder,
) -> Result<DestLock, Error> {
    let key = dest_key(request.dest);
    let path = request.dir.join(format!("{key}.lock"));
    let file = open(request.dir, &path)?;
    let start = Instant::now();
    let mut said = false;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::disk("locking", path, error)),
        }
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        if request.wait.is_some_and(|wait| start.elapsed() >= wait) {
            return Err(Error::Locked {
                dest: request.dest.to_owned(),
                lock: path,
                waited: start.elapsed(),
            });
        }
        if !said {
            recorder.say(Event::LockWaiting {
                dest: request.dest.to_owned(),
                lock: path.clone(),
            });
            said = true;
        }
        std::thread::sleep(POLL);
    }
    if said {
        recorder.say(Event::LockTaken {
            waited_seconds: start.elapsed().as_secs_f64(),
        });
    }
    Ok(DestLock { _file: file, key })
}

fn open(dir: &Path, path: &Path) -> Result<File, Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| Error::disk("making the directory of locks", dir, error))?;
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)
        .map_err(|error| Error::disk("opening the lock", path, error))
}

/// A name for dest that is the same however dest is spelled, and whether or not it is there yet.
fn dest_key(dest: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let digest = Sha256::digest(canonical(dest).as_os_str().as_bytes());
    hex(&digest[..12])
}

/// Dest with the links on its way resolved as far as it exists.
fn canonical(dest: &Path) -> PathBuf {
    let mut rest: Vec<OsString> = Vec::new();
    let plain: PathBuf = dest
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    for ancestor in plain.ancestors() {
        if let Ok(mut found) = ancestor.canonicalize() {
            found.extend(rest.iter().rev());
            return found;
        }
        rest.extend(ancestor.file_name().map(ToOwned::to_owned));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn one_dest_has_one_key_however_it_is_spelled() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let key = dest_key(&dir.path().join("real/app"));
        assert_eq!(dest_key(&dir.path().join("link/./app/")), key);
        std::fs::create_dir(dir.path().join("real/app")).unwrap();
        assert_eq!(dest_key(&dir.path().join("link/app")), key);
        assert_ne!(dest_key(&dir.path().join("real/other")), key);
    }

    #[test]
    fn a_second_handler_waits_and_says_so_and_gives_up() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("app");
        let locks = dir.path().join("locks");
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = events.clone();
        let recorder = Recorder::new(Arc::new(move |event| sink.lock().unwrap().push(event)));
        let request = LockRequest {
            dir: &locks,
            dest: &dest,
            wait: Some(Duration::from_millis(150)),
        };
        let cancel = AtomicBool::new(false);
        let held = take(&request, &cancel, &recorder).unwrap();
        assert!(events.lock().unwrap().is_empty());
        assert!(matches!(
            take(&request, &cancel, &recorder),
            Err(Error::Locked { .. })
        ));
        assert!(matches!(events.lock().unwrap()[..], [Event::LockWaiting { .. }]));
        cancel.store(true, Ordering::Relaxed);
        assert!(matches!(
            take(&request, &cancel, &recorder),
            Err(Error::Cancelled)
        ));
        drop(held);
        take(&request, &cancel, &recorder).unwrap();
    }
}
