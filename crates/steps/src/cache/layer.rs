//! A layer in the cache, held as long as a build needs it, and put into a workspace.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use shipit_artifact::{ExtractOptions, Extracted, FileFrames, Index, extract};

use super::LayerCache;
use super::aside::Aside;
use super::entry;
use super::error::CacheError;
use super::lock;
use super::meta::LayerMeta;

/// A layer of the cache. As long as it lives no prune takes it; its files never change.
#[derive(Debug)]
pub struct CachedLayer {
    /// What it is; the paths of its `sealed` lie in the cache.
    pub meta: LayerMeta,
    /// Why it could not take its place in the cache, which then cannot be written to there: it serves this build alone.
    pub not_kept: Option<CacheError>,
    pub(super) cache: LayerCache,
    pub(super) dir: PathBuf,
    pub(super) handle: File,
    /// Where it lies when it could not take its place, since another build holds the entry there, or nothing can be
    /// written there: gone with this value.
    pub(super) aside: Option<Aside>,
}

impl CachedLayer {
    /// Its directory in the cache.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its index, checked against its digest.
    ///
    /// # Errors
    /// [`CacheError::Damaged`] when it is not what it was when it was kept.
    pub fn index(&self) -> Result<Index, CacheError> {
        let bytes = entry::read_index(&self.meta)?.map_err(|why| self.damaged(why))?;
        Index::parse(&bytes).map_err(|error| self.damaged(format!("its index cannot be used: {error}")))
    }

    /// Writes all its files below `dest`, an existing directory: fresh files, never links to the cache, for a step may write
    /// in place. `dest` is the packed tree's root (that of `build.root`, where there is one). Each frame and each file is
    /// checked. `on_event` is told of progress, from any of the `jobs` threads.
    ///
    /// # Errors
    /// Of kind [`CacheErrorKind::Damaged`](crate::CacheErrorKind::Damaged) when the layer is not what it was: then
    /// [`CachedLayer::discard`] it, remove what was written, and let its step run.
    pub fn place(
        &self,
        dest: &Path,
        jobs: NonZeroUsize,
        cancel: &AtomicBool,
        on_event: &(dyn Fn(shipit_artifact::Event) + Sync),
    ) -> Result<Extracted, CacheError> {
        let index = self.index()?;
        let failed = |source| CacheError::Place {
            dir: self.dir.clone(),
            dest: dest.to_path_buf(),
            source: Box::new(source),
        };
        let frames = match File::open(&self.meta.sealed.frames) {
            Ok(file) => FileFrames::new(file, 0),
            Err(error) if entry::is_damage(&error) => {
                return Err(self.damaged(format!("its frames cannot be read: {error}")));
            }
            Err(error) => return Err(CacheError::io("read", &self.meta.sealed.frames, error)),
        };
        let wanted: Vec<usize> = (0..index.entries().len()).collect();
        let options = ExtractOptions {
            jobs,
            cancel,
            on_event,
        };
        extract(&index, &frames, &wanted, dest, &options).map_err(failed)
    }

    /// Removes it from the cache: something that reads more of it than [`LayerCache::find`] does saw that it is damaged.
    /// When somebody else holds it (this build in another value, or another build), it stays, but is no hit any more, and
    /// [`Turn::keep`](crate::Turn::keep) replaces it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(self) -> Result<(), CacheError> {
        let is_there = lock::is_at(&self.handle, &self.dir);
        let is_there = is_there.map_err(|source| CacheError::io("look at", &self.dir, source))?;
        if self.aside.is_none() && is_there {
            let why = "its frames or files are not what its index says";
            self.cache.take_away_damaged(&self.dir, &self.handle, why)?;
        }
        Ok(())
    }

    pub(super) fn damaged(&self, why: String) -> CacheError {
        CacheError::Damaged {
            dir: self.dir.clone(),
            why,
        }
    }
}
