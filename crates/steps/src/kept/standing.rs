//! How a file stands, by stat; and the wait after which no further change can go unseen.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Stat};

/// Seconds and nanoseconds.
pub(super) type Time = (i64, u32);

/// The coarsest time stamps that a file system gives, and a little more.
const COARSEST: Duration = Duration::from_millis(2100);
const LOOK: Duration = Duration::from_millis(1);

/// What changes when a file does. Of a directory it is the mode alone: its entries are looked at themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// With the file type's bits.
    pub mode: u32,
    pub inode: u64,
    pub size: u64,
    pub modified: Time,
    /// Set by the kernel at each change of content, mode, owner or name, and by nobody else.
    pub changed: Time,
}

impl Standing {
    pub(super) fn of(stat: &Stat) -> Self {
        let mode = stat.st_mode;
        if FileType::from_raw_mode(mode) == FileType::Directory {
            return Self::directory(mode);
        }
        Self {
            mode,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: modified(stat),
            changed: (stat.st_ctime, u32::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }

    pub(super) fn directory(mode: u32) -> Self {
        Self {
            mode,
            inode: 0,
            size: 0,
            modified: (0, 0),
            changed: (0, 0),
        }
    }

    pub(super) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    /// The mode without the file type's bits.
    pub(super) fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }
}

/// When it was last written to, or told to have been.
pub(super) fn modified(stat: &Stat) -> Time {
    (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

/// Waits until the file system's clock has left `newest`, the newest time of change that was noted. The clock goes in
/// ticks of some milliseconds: a file that is changed in the tick in which it was looked at would look as before.
///
/// `probe` is a file to try the clock with. A time that lies far ahead (the clock was set back) is not waited for.
pub(super) fn let_clock_pass(probe: &Path, newest: Time) -> io::Result<()> {
    let began = Instant::now();
    loop {
        fs::write(probe, [])?;
        let metadata = fs::symlink_metadata(probe)?;
        let now = (
            metadata.ctime(),
            u32::try_from(metadata.ctime_nsec()).unwrap_or(0),
        );
        if now > newest || newest.0 > now.0.saturating_add(2) || began.elapsed() > COARSEST {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_wait_a_change_has_another_time() {
        let dir = tempfile::tempdir().unwrap();
        let (file, probe) = (dir.path().join("file"), dir.path().join("probe"));
        for _ in 0..20 {
            fs::write(&file, "1").unwrap();
            let before = rustix::fs::stat(&file).map(|stat| Standing::of(&stat)).unwrap();
            let_clock_pass(&probe, before.changed).unwrap();
            fs::write(&file, "2").unwrap();
            assert_ne!(Standing::of(&rustix::fs::stat(&file).unwrap()), before);
        }
    }

    #[test]
    fn a_time_far_ahead_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        // A machine that is busy may take its time over a file, now and then.
        let at_once = (0..20).any(|_| {
            let began = Instant::now();
            let_clock_pass(&dir.path().join("probe"), (i64::MAX, 0)).unwrap();
            began.elapsed() < COARSEST
        });
        assert!(at_once);
    }
}
