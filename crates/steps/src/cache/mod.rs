//! The layers that builds on this machine made, kept for the next ones. `docs/cache.md` says what lies where.
//!
//! An entry is a directory named by its layer's key. It is written aside, brought to the disk and renamed, and never changed
//! then; it goes as a whole, by a rename too. Several builders at once are safe: one [`Turn`] a key, entries that are in use
//! [held](CachedLayer), all else under one lock that is held for a few system calls. A process that is killed leaves no
//! lock, and what it wrote aside is removed by the next one.
//!
//! Not done here: what a key is made of, packing and unpacking, asking the store, saying anything to anybody.

mod aside;
mod entry;
mod error;
mod layer;
mod lock;
mod meta;
mod prune;
#[cfg(test)]
mod tests;
mod turn;
mod verify;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use shipit_artifact::Digest;

use crate::event::OnEvent;
use crate::key::LayerKey;

use aside::Aside;
use meta::About;

pub use error::{CacheError, CacheErrorKind};
pub use layer::CachedLayer;
pub use meta::{LayerMeta, LayerTree};
pub use prune::{Bounds, CacheEntry, CacheEntryLayer, CacheSize, Pruned, PrunedEntry, Why};
pub use turn::Turn;
pub use verify::{DamagedEntry, Verified};

/// The layers below one directory.
#[derive(Debug, Clone)]
pub struct LayerCache {
    dir: PathBuf,
}

/// How old a layer may be that [`LayerCache::find`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxAge {
    /// The most; none for any age.
    pub limit: Option<Duration>,
    /// Now, in unix seconds.
    pub now: i64,
}

/// What is there under a key.
#[derive(Debug)]
#[must_use]
pub enum Found {
    /// The layer.
    Hit(Box<CachedLayer>),
    /// Nothing.
    Miss,
    /// Nothing any more: what was there is damaged or too old.
    Removed {
        /// What was wrong with it.
        why: String,
        /// Whether it was damaged, and not merely too old.
        damaged: bool,
    },
}

/// What became of an entry that was to be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is gone.
    Away,
    /// It was gone before.
    Gone,
    /// A build holds it, so it stays.
    Held,
}

impl LayerCache {
    /// Opens the cache in `dir` for builds; the directory is made where it is missing.
    ///
    /// # Errors
    /// Of kind [`CacheErrorKind::Unusable`] when nothing can be written there.
    pub fn open(dir: &Path) -> Result<Self, CacheError> {
        let cache = Self {
            dir: dir.to_path_buf(),
        };
        cache.make_directories()?;
        // Directories that are there say nothing of whether they can be written to.
        drop(Aside::create(&cache.asides(), "open-")?);
        cache.changes_file()?;
        Ok(cache)
    }

    /// Opens the cache in `dir` to look at it; nothing is made. `None` when there is none yet.
    ///
    /// # Errors
    /// When `dir` cannot be read.
    pub fn existing(dir: &Path) -> Result<Option<Self>, CacheError> {
        match fs::read_dir(dir) {
            Ok(_) => Ok(Some(Self {
                dir: dir.to_path_buf(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CacheError::io("read the directory", dir, error)),
        }
    }

    /// The layer of a key. Checked are its meta data, its files' sizes and its index's digest; a layer that fails this, or is
    /// too old, is removed.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn find(&self, key: &LayerKey, age: MaxAge) -> Result<Found, CacheError> {
        let dir = self.entry(&key.key)?;
        let Some(handle) = entry::hold(&dir)? else {
            return Ok(Found::Miss);
        };
        let meta = match entry::check(&dir, &key.key)? {
            Ok(meta) => meta,
            Err(why) => {
                self.take_away_damaged(&dir, &handle, &why)?;
                let why = format!("it is damaged: {why}");
                return Ok(Found::Removed { why, damaged: true });
            }
        };
        if let Some(why) = age.exceeded_by(meta.made) {
            self.take_away(&dir, &handle)?;
            return Ok(Found::Removed { why, damaged: false });
        }
        entry::touch(&handle);
        Ok(Found::Hit(Box::new(self.layer(meta, dir, handle))))
    }

    /// Waits until nobody else builds this key. Look again by [`LayerCache::find`] when it was [waited](Turn::waited) for. Who
    /// has the turn must not take it again.
    ///
    /// # Errors
    /// [`CacheError::Cancelled`], or of kind [`CacheErrorKind::Unusable`] when nothing can be written.
    pub fn turn(
        &self,
        key: &LayerKey,
        cancel: &AtomicBool,
        on_event: OnEvent<'_>,
    ) -> Result<Turn, CacheError> {
        self.entry(&key.key)?;
        // Somebody may have removed all layers since it was opened.
        self.make_directories()?;
        Turn::take(self, &key.key, cancel, on_event)
    }

    /// The layer that was used last of those of a step: for its frames, and to say what changed since. What cannot be used is
    /// passed over. It does not count as a use.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn latest(&self, app: &str, step: &str, tree: LayerTree) -> Result<Option<CachedLayer>, CacheError> {
        let mut of_step = Vec::new();
        for (key, dir) in self.entries()? {
            let Ok(Ok(About { layer, .. })) = entry::about(&dir) else {
                continue;
            };
            if layer.app == app && layer.step == step && layer.tree == tree {
                of_step.push((entry::used(&dir), layer.made, key, dir));
            }
        }
        of_step.sort();
        for (_, _, key, dir) in of_step.into_iter().rev() {
            if let Some(handle) = entry::hold(&dir)?
                && let Ok(meta) = entry::check(&dir, &key)?
            {
                return Ok(Some(self.layer(meta, dir, handle)));
            }
        }
        Ok(None)
    }

    fn layer(&self, meta: LayerMeta, dir: PathBuf, handle: File) -> CachedLayer {
        CachedLayer {
            meta,
            not_kept: None,
            cache: self.clone(),
            dir,
            handle,
            aside: None,
        }
    }

    fn make_directories(&self) -> Result<(), CacheError> {
        for dir in [self.asides(), self.turns()] {
            fs::create_dir_all(&dir).map_err(|source| CacheError::io("make the directory", &dir, source))?;
        }
        Ok(())
    }

    /// Where the entry of a key lies.
    fn entry(&self, key: &str) -> Result<PathBuf, CacheError> {
        if key.parse::<Digest>().is_err() {
            let why = format!("`{}` is no layer key", key.escape_debug());
            return Err(CacheError::Key { why });
        }
        Ok(self.dir.join(&key[..2]).join(key))
    }

    /// Every entry's key and directory, in no order.
    fn entries(&self) -> Result<Vec<(String, PathBuf)>, CacheError> {
        let mut found = Vec::new();
        for (name, dir) in names(&self.dir)? {
            if name.len() != 2 {
                continue;
            }
            for (key, path) in names(&dir)? {
                if key.starts_with(&name) && self.entry(&key).is_ok() {
                    found.push((key, path));
                }
            }
        }
        Ok(found)
    }

    /// What is being written or removed.
    fn asides(&self) -> PathBuf {
        self.dir.join("aside")
    }

    /// The turns' locks.
    fn turns(&self) -> PathBuf {
        self.dir.join("turns")
    }

    fn changes_file(&self) -> Result<File, CacheError> {
        let path = self.dir.join("lock");
        let mut options = File::options();
        let options = options.create(true).append(true);
        options
            .open(&path)
            .map_err(|source| CacheError::io("open", &path, source))
    }

    /// The lock on all changes of entries' places, until it is dropped.
    fn changes(&self) -> Result<File, CacheError> {
        let file = self.changes_file()?;
        lock::alone(&file).map_err(|source| CacheError::io("lock", &self.dir.join("lock"), source))?;
        Ok(file)
    }

    /// Takes the entry away that `handle` is open on, unless somebody else holds it. A share that the handle has is lost.
    fn take_away(&self, dir: &Path, handle: &File) -> Result<Taken, CacheError> {
        let changes = self.changes()?;
        let (taken, moved) = self.move_aside(dir, handle, false)?;
        drop(changes);
        if let Some(moved) = moved {
            // Out of everybody's way. What stays of it is left over, and swept later.
            let _ = fs::remove_dir_all(moved);
        }
        Ok(taken)
    }

    /// As `take_away`, for an entry that must not be used again even when somebody holds it now.
    fn take_away_damaged(&self, dir: &Path, handle: &File, why: &str) -> Result<Taken, CacheError> {
        let taken = self.take_away(dir, handle)?;
        if taken == Taken::Held {
            entry::mark(handle, why);
        }
        Ok(taken)
    }

    /// Under the lock on all changes: renames the entry, so that it is gone at once; one that somebody holds only when it is
    /// asked for.
    fn move_aside(
        &self,
        dir: &Path,
        handle: &File,
        held_too: bool,
    ) -> Result<(Taken, Option<PathBuf>), CacheError> {
        let failed = |source| CacheError::io("remove", dir, source);
        if !lock::is_at(handle, dir).map_err(failed)? {
            return Ok((Taken::Gone, None));
        }
        if !lock::try_alone(handle).map_err(failed)? && !held_too {
            return Ok((Taken::Held, None));
        }
        use std::os::unix::fs::MetadataExt as _;
        // No other directory there can have this number.
        let number = handle.metadata().map_err(failed)?.ino();
        let moved = self.asides().join(format!("removed-{number}"));
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let renamed = fs::rename(dir, &moved).or_else(|error| {
            // Somebody who heeds no lock removed the one or the other.
            if is_missing(&error) {
                fs::create_dir_all(self.asides())?;
                return fs::rename(dir, &moved);
            }
            Err(error)
        });
        match renamed {
            Err(error) if is_missing(&error) => return Ok((Taken::Gone, None)),
            renamed => renamed.map_err(failed)?,
        }
        // Who waits for a share may go on, and sees that it is gone.
        handle.unlock().map_err(failed)?;
        Ok((Taken::Away, Some(moved)))
    }

    /// Renames what was made to its place. `false` when a build holds another entry there, which stays, unless it is known to
    /// be damaged: then what was made is what its holder needs, too.
    fn put(&self, made: &Path, dir: &Path) -> Result<bool, CacheError> {
        let parent = dir.parent().unwrap_or(&self.dir);
        fs::create_dir_all(parent).map_err(|source| CacheError::io("make the directory", parent, source))?;
        let changes = self.changes()?;
        let mut old = None;
        match File::open(dir) {
            Ok(handle) => match self.move_aside(dir, &handle, entry::marked(dir).is_some())? {
                (Taken::Held, _) => return Ok(false),
                (_, moved) => old = moved,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(CacheError::io("open", dir, error)),
        }
        fs::rename(made, dir)
            .map_err(|source| CacheError::io("rename the finished layer to", dir, source))?;
        drop(changes);
        if let Some(old) = old {
            let _ = fs::remove_dir_all(old);
        }
        turn::sync(parent)?;
        Ok(true)
    }
}

impl MaxAge {
    /// A layer of any age.
    pub const ANY: Self = Self { limit: None, now: 0 };

    /// Why a layer that was made then is too old, if it is.
    fn exceeded_by(self, made: i64) -> Option<String> {
        let age = self.now.saturating_sub(made).max(0).unsigned_abs();
        let limit = self.limit?.as_secs();
        (age > limit).then(|| {
            format!(
                "it was made {} ago, and may become {} old",
                days(age),
                days(limit)
            )
        })
    }
}

/// Seconds for people.
fn days(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The entries of a directory that have UTF-8 names. One that is gone has none.
fn names(dir: &Path) -> Result<Vec<(String, PathBuf)>, CacheError> {
    let failed = |source| CacheError::io("read the directory", dir, source);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, entry.path()));
        }
    }
    Ok(names)
}
