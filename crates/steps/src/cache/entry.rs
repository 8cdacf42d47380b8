//! One entry: how a build holds it, and what is checked of it at each use.
//!
//! An entry is held by a share of the flock on its directory. Whoever takes an entry away does so under the lock on all
//! changes, and only when it gets the directory's lock alone; whoever holds it looks, once it has its share, whether the
//! directory is still in its place. So an entry is either held in its place or not held at all, and there is no lock file
//! that would have to stay for ever. The lock goes with its process, and an entry can be held where nothing can be written.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use shipit_artifact::sha256;

use super::error::CacheError;
use super::lock;
use super::meta::{ABOUT, About, DAMAGED, FRAMES, INDEX, LayerMeta, META, parse};

/// No meta.json is larger: a key of a whole repository's files is some megabytes.
const LARGEST_META: u64 = 256 << 20;

/// Holds the entry at `dir`, if there is one.
pub(super) fn hold(dir: &Path) -> Result<Option<File>, CacheError> {
    let failed = |action| move |source| CacheError::io(action, dir, source);
    loop {
        let handle = match File::open(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed("open"))?,
        };
        lock::share(&handle).map_err(failed("lock"))?;
        // It may have been taken away between the two calls, and another put in its place.
        if lock::is_at(&handle, dir).map_err(failed("look at"))? {
            return Ok(Some(handle));
        }
    }
}

/// Reads meta.json of the entry at `dir`: what is wrong with it stands in the inner error.
pub(super) fn read_meta(dir: &Path) -> Result<Result<LayerMeta, String>, CacheError> {
    let path = dir.join(META);
    let read = || -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        File::open(&path)?
            .take(LARGEST_META + 1)
            .read_to_end(&mut bytes)?;
        Ok((bytes.len() as u64 <= LARGEST_META).then_some(bytes))
    };
    match read() {
        Ok(Some(bytes)) => Ok(parse(&bytes, dir)),
        Ok(None) => Ok(Err(format!("{META} is larger than any may be"))),
        Err(error) if is_damage(&error) => Ok(Err(format!("{META} cannot be read: {error}"))),
        Err(error) => Err(CacheError::io("read", &path, error)),
    }
}

/// What the entry at `dir` holds, without all of its key. Of meta.json the length alone is looked at, unless there is no
/// about.json that can be used.
pub(super) fn about(dir: &Path) -> Result<Result<About, String>, CacheError> {
    if let Ok(Some(about)) = read_about(dir)
        && meta_size(dir) == Some(about.meta_size)
    {
        return Ok(Ok(about));
    }
    Ok(read_meta(dir)?.map(|meta| About::of(&meta, 0)))
}

/// about.json; nothing when there is none, or one of another version. What is wrong with it otherwise, in words.
fn read_about(dir: &Path) -> Result<Option<About>, String> {
    match fs::read(dir.join(ABOUT)) {
        Ok(bytes) => About::parse(&bytes),
        Err(error) if error.kind() != io::ErrorKind::NotFound && is_damage(&error) => {
            Err(format!("{ABOUT} cannot be read: {error}"))
        }
        // It spares time and nothing else.
        Err(_) => Ok(None),
    }
}

fn check_about(dir: &Path, meta: &LayerMeta) -> Result<(), String> {
    let Some(about) = read_about(dir)? else {
        return Ok(());
    };
    if meta_size(dir).is_some_and(|size| About::of(meta, size) == about) {
        return Ok(());
    }
    Err(format!("{ABOUT} is not of its {META}"))
}

fn meta_size(dir: &Path) -> Option<u64> {
    let meta = fs::symlink_metadata(dir.join(META)).ok()?;
    meta.is_file().then_some(meta.len())
}

/// What is checked at each use: that meta.json is whole and of this key, that about.json says the same, that both other files
/// have their sizes, and the index its digest. Reading the frames too would cost as much as what the cache spares.
pub(super) fn check(dir: &Path, key: &str) -> Result<Result<LayerMeta, String>, CacheError> {
    if let Some(why) = marked(dir) {
        return Ok(Err(why));
    }
    let meta = match read_meta(dir)? {
        Ok(meta) => meta,
        Err(why) => return Ok(Err(why)),
    };
    if meta.key.key != key {
        return Ok(Err(format!("{META} is of the key {}", meta.key.key)));
    }
    if let Err(why) = check_about(dir, &meta) {
        return Ok(Err(why));
    }
    if let Err(why) = check_size(&meta)? {
        return Ok(Err(why));
    }
    Ok(read_index(&meta)?.map(|_| meta))
}

fn check_size(meta: &LayerMeta) -> Result<Result<(), String>, CacheError> {
    let path = &meta.sealed.frames;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => Ok(Err(format!("{FRAMES} is no file"))),
        Ok(found) if found.len() != meta.sealed.size => Ok(Err(format!(
            "{FRAMES} has {} bytes, and {META} says {}",
            found.len(),
            meta.sealed.size
        ))),
        Ok(_) => Ok(Ok(())),
        Err(error) if is_damage(&error) => Ok(Err(format!("{FRAMES} cannot be read: {error}"))),
        Err(error) => Err(CacheError::io("read", path, error)),
    }
}

/// The index's stored bytes, when they have their digest.
pub(super) fn read_index(meta: &LayerMeta) -> Result<Result<Vec<u8>, String>, CacheError> {
    let path = &meta.sealed.index;
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if is_damage(&error) => return Ok(Err(format!("{INDEX} cannot be read: {error}"))),
        Err(error) => return Err(CacheError::io("read", path, error)),
    };
    Ok(if sha256(&bytes).to_string() == meta.sealed.index_sha256 {
        Ok(bytes)
    } else {
        Err(format!("{INDEX} does not have the digest that {META} says"))
    })
}

/// Marks the entry that `handle` is open on: it is damaged, and cannot be taken away yet. Where nothing can be written, the
/// next one that reads it sees the damage again.
pub(super) fn mark(handle: &File, why: &str) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o666);
    if let Ok(file) = rustix::fs::openat(handle, DAMAGED, flags, mode) {
        let _ = File::from(file).write_all(why.as_bytes());
    }
}

/// Why the entry at `dir` is marked as damaged, if it is.
pub(super) fn marked(dir: &Path) -> Option<String> {
    let why = fs::read(dir.join(DAMAGED)).ok()?;
    Some(String::from_utf8_lossy(&why).into_owned())
}

/// Whether a failed read says that the entry is damaged: something of it is missing or is no file, or the disk cannot give it
/// back. Who may not read an entry knows nothing of its state.
pub(super) fn is_damage(error: &io::Error) -> bool {
    let unreadable = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    unreadable
        || matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory
        )
}

/// Notes that the entry is used now: the time of meta.json. Where nothing can be written, the time stays as it is.
pub(super) fn touch(handle: &File) {
    let now = |nanoseconds| Timespec {
        tv_sec: 0,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: now(UTIME_OMIT),
        last_modification: now(UTIME_NOW),
    };
    let _ = rustix::fs::utimensat(handle, META, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// When the entry was used last.
pub(super) fn used(dir: &Path) -> SystemTime {
    fs::symlink_metadata(dir.join(META))
        .and_then(|metadata| metadata.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The same in unix seconds.
pub(super) fn seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
