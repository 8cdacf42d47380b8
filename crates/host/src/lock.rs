//! One handler at a time per dest: an advisory lock on a file named by the dest, which goes with its process.
//!
//! The file stands in a directory of its own, never in a synced tree, and is never removed: a removed lock file lets
//! two handlers in. Commands do not inherit the lock, so a daemon that one leaves behind holds nobody up.
//!
//! The directory's usual place is writable for all users and empty after each boot: one that another user made, or may
//! write to, is refused.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
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
    let failed = |doing, cause| Error::Unusable {
        doing,
        path: dir.to_owned(),
        named_by: "--lock-dir",
        cause,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| failed("making the directory of locks", error))?;
    let unsafe_lock = |path: &Path, reason| {
        Err(Error::UnsafeLock {
            path: path.to_owned(),
            reason,
        })
    };
    // The link, if it is one: what it leads to could be changed by who owns it.
    let link = dir
        .symlink_metadata()
        .map_err(|error| failed("looking at the directory of locks", error))?;
    let opened = File::open(dir).map_err(|error| failed("opening the directory of locks", error))?;
    let found = opened
        .metadata()
        .map_err(|error| failed("looking at the directory of locks", error))?;
    if !is_ours(&link) || !is_ours(&found) {
        return unsafe_lock(dir, "its directory belongs to another user");
    }
    // In a sticky directory others may add files, but not take ours away.
    if found.mode() & 0o022 != 0 && found.mode() & 0o1000 == 0 {
        return unsafe_lock(dir, "other users may write to its directory");
    }
    // A fifo under its name must not block.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let name = path.file_name().unwrap_or_default();
    let lock = rustix::fs::openat(&opened, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| Error::disk("opening the lock", path, error))?;
    let lock = File::from(lock);
    let found = lock
        .metadata()
        .map_err(|error| Error::disk("looking at the lock", path, error))?;
    if !found.is_file() || !is_ours(&found) {
        return unsafe_lock(path, "it is no file of this user");
    }
    Ok(lock)
}

/// Whether it is this user's or root's.
fn is_ours(found: &Metadata) -> bool {
    found.uid() == 0 || found.uid() == rustix::process::geteuid().as_raw()
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

    fn silent() -> Recorder {
        Recorder::new(Arc::new(|_| {}))
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let locks = dir.path().join("locks");
        std::fs::create_dir(&locks).unwrap();
        let request = LockRequest {
            dir: &locks,
            dest: &dir.path().join("app"),
            wait: None,
        };
        for (mode, fits) in [(0o777, false), (0o770, false), (0o1777, true), (0o755, true)] {
            std::fs::set_permissions(&locks, std::fs::Permissions::from_mode(mode)).unwrap();
            let taken = take(&request, &AtomicBool::new(false), &silent());
            assert_eq!(taken.is_ok(), fits, "{mode:o} {taken:?}");
            assert!(
                fits || matches!(taken, Err(Error::UnsafeLock { .. })),
                "{taken:?}"
            );
        }
    }

    #[test]
    fn another_users_directory_or_link_is_refused() {
        if !rustix::process::geteuid().is_root() {
            // Nobody else gives files away; then all that is not root's or ours is another user's as it is.
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (theirs, real, link) = (
            dir.path().join("theirs"),
            dir.path().join("real"),
            dir.path().join("link"),
        );
        std::fs::create_dir(&theirs).unwrap();
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        std::os::unix::fs::chown(&theirs, Some(65534), None).unwrap();
        std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
        for locks in [&theirs, &link] {
            let request = LockRequest {
                dir: locks,
                dest: &dir.path().join("app"),
                wait: None,
            };
            let taken = take(&request, &AtomicBool::new(false), &silent());
            assert!(matches!(taken, Err(Error::UnsafeLock { .. })), "{taken:?}");
        }
    }

    #[test]
    fn a_fifo_in_the_locks_place_is_an_error_and_no_wait() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("app");
        let fifo = dir.path().join(format!("{}.lock", dest_key(&dest)));
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        let request = LockRequest {
            dir: dir.path(),
            dest: &dest,
            wait: None,
        };
        let taken = take(&request, &AtomicBool::new(false), &silent());
        assert!(matches!(taken, Err(Error::Disk { .. })), "{taken:?}");
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
