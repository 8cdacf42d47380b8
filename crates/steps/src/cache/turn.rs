//! The turn to build one key: one builder has it, the others wait. What it builds is written aside and renamed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::LayerCache;
use super::aside::{Aside, sweep};
use super::entry;
use super::error::{CacheError, CacheErrorKind};
use super::layer::CachedLayer;
use super::lock;
use super::meta::{ABOUT, About, FRAMES, INDEX, LayerMeta, META, to_bytes};
use crate::event::{Event, OnEvent};

/// How often a turn that another has is tried.
const LOOK: Duration = Duration::from_millis(50);

/// The right to build one key, until it is dropped or its layer is kept.
#[derive(Debug)]
pub struct Turn {
    cache: LayerCache,
    key: String,
    // Before the lock, so that it is removed first.
    aside: Aside,
    lock: TurnLock,
}

/// A locked file named by the key. It is removed when the turn ends, so that none stays for ever.
#[derive(Debug)]
struct TurnLock {
    path: PathBuf,
    _file: File,
    waited: bool,
}

impl Drop for TurnLock {
    fn drop(&mut self) {
        // While it is locked: who waits for it sees that its path names nothing any more, and makes a new one.
        let _ = fs::remove_file(&self.path);
    }
}

impl Turn {
    pub(super) fn take(
        cache: &LayerCache,
        key: &str,
        cancel: &AtomicBool,
        on_event: OnEvent<'_>,
    ) -> Result<Self, CacheError> {
        let lock = TurnLock::take(cache.turns().join(key), key, cancel, on_event)?;
        let dir = cache.asides();
        sweep(&dir);
        let aside = Aside::create(&dir, &format!("{}-", &key[..16]))?;
        Ok(Self {
            cache: cache.clone(),
            key: key.to_owned(),
            aside,
            lock,
        })
    }

    /// Where the layer's files are to be written: on the cache's file system, removed with the turn.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.aside.path()
    }

    /// Whether another builder had the turn before: what it made is there now, to be had by
    /// [`LayerCache::find`](crate::LayerCache::find).
    #[must_use]
    pub fn waited(&self) -> bool {
        self.lock.waited
    }

    /// Takes the layer that was written into [`Turn::dir`] into the cache, under the turn's key, and holds it. Its files get
    /// their names here; what else is in the directory is removed. When another build holds an entry under the key (this one
    /// was to start from nothing, or found it damaged), or nothing can be written there (see [`CachedLayer::not_kept`]), the new
    /// layer serves this build alone.
    ///
    /// # Errors
    /// When the files are not what `meta` says, or cannot be brought to the disk. Nothing half-written stays.
    pub fn keep(self, mut meta: LayerMeta) -> Result<CachedLayer, CacheError> {
        if meta.key.key != self.key {
            let why = format!(
                "the turn is of the key {}, the layer of {}",
                self.key, meta.key.key
            );
            return Err(CacheError::Key { why });
        }
        let made = self.dir().join("entry");
        let failed = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| CacheError::io(action, &path, source)
        };
        fs::create_dir(&made).map_err(failed("make the directory", &made))?;
        for (file, name) in [(&mut meta.sealed.frames, FRAMES), (&mut meta.sealed.index, INDEX)] {
            let target = made.join(name);
            fs::rename(&*file, &target).map_err(failed("move into the cache", file))?;
            sync(&target)?;
            *file = target;
        }
        write_meta(&meta, &made)?;
        sync(&made)?;
        match entry::check(&made, &self.key)? {
            Ok(meta) => self.put(&made, meta),
            Err(why) => Err(CacheError::Damaged { dir: made, why }),
        }
    }

    fn put(self, made: &Path, meta: LayerMeta) -> Result<CachedLayer, CacheError> {
        let Self {
            cache, key, aside, ..
        } = self;
        let dir = cache.entry(&key)?;
        let handle = entry::hold(made)?
            .ok_or_else(|| CacheError::io("open", made, io::Error::from(io::ErrorKind::NotFound)))?;
        // The bytes of what is there are not read: it may be damaged, so that it is not taken even when it says the same.
        let not_kept = match cache.put(made, &dir) {
            Ok(true) => return Ok(layer(cache, dir, handle, meta)),
            Ok(false) => None,
            // Another user's part of a shared cache: what was made is good all the same.
            Err(error) if error.kind() == CacheErrorKind::Unusable => Some(error),
            Err(error) => return Err(error),
        };
        let layer = layer(cache, made.to_path_buf(), handle, meta);
        Ok(CachedLayer {
            aside: Some(aside),
            not_kept,
            ..layer
        })
    }
}

/// A layer whose files lie in `dir`.
fn layer(cache: LayerCache, dir: PathBuf, handle: File, mut meta: LayerMeta) -> CachedLayer {
    meta.sealed.frames = dir.join(FRAMES);
    meta.sealed.index = dir.join(INDEX);
    meta.sealed.key = Some(meta.key.key.clone());
    CachedLayer {
        meta,
        not_kept: None,
        cache,
        dir,
        handle,
        aside: None,
    }
}

impl TurnLock {
    fn take(
        path: PathBuf,
        key: &str,
        cancel: &AtomicBool,
        on_event: OnEvent<'_>,
    ) -> Result<Self, CacheError> {
        let failed = |source| CacheError::io("lock", &path, source);
        let started = Instant::now();
        let mut waited = false;
        loop {
            // Opened anew each time: who has the turn removes the file at its end.
            let options = File::options().create(true).append(true).clone();
            let file = options.open(&path).map_err(failed)?;
            if lock::try_alone(&file).map_err(failed)? {
                if !lock::is_at(&file, &path).map_err(failed)? {
                    continue;
                }
                if waited {
                    on_event(Event::LayerTurn {
                        key: key.to_owned(),
                        seconds: started.elapsed().as_secs_f64(),
                    });
                }
                return Ok(Self {
                    path,
                    _file: file,
                    waited,
                });
            }
            if cancel.load(Ordering::Relaxed) {
                return Err(CacheError::Cancelled);
            }
            if !waited {
                waited = true;
                on_event(Event::LayerAwaited { key: key.to_owned() });
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Writes both of an entry's small files.
fn write_meta(meta: &LayerMeta, dir: &Path) -> Result<(), CacheError> {
    let write = |name: &str, bytes: serde_json::Result<Vec<u8>>| {
        let path = dir.join(name);
        let write = || -> io::Result<u64> {
            let bytes = bytes?;
            let mut file = File::create(&path)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            Ok(bytes.len() as u64)
        };
        write().map_err(|source| CacheError::io("write", &path, source))
    };
    let size = write(META, to_bytes(meta))?;
    write(ABOUT, About::of(meta, size).to_bytes()).map(drop)
}

/// Brings a file or directory to the disk: a name must never stand for less than what was written.
pub(super) fn sync(path: &Path) -> Result<(), CacheError> {
    let sync = || File::open(path)?.sync_all();
    sync().map_err(|source| CacheError::io("bring to the disk", path, source))
}
