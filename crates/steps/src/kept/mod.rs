//! The kept workspace: one tree per app that is brought from revision to revision by what differs, so that a build costs
//! in proportion to what changed.
//!
//! What an update left is known by stat: a file that a step wrote to, replaced, renamed or gave another mode has another
//! time of change, which nobody but the kernel sets. No content is read. The tree is the same afterwards as one made from
//! nothing: what is neither planned nor a layer's nor declared to be kept is removed. No symlink is followed beneath the
//! root. See `docs/workspace.md`.
//!
//! A layer that stands in the tree and is not asked for is parked: renamed out of it, for it may be asked for as soon as its
//! key is known, when steps have run that must not see it.
//!
//! An update that was killed is found by its mark: then nothing is known, and all is made anew.
//!
//! Not done here: locking (whoever opens a workspace holds the app's lock), the content of planned files, putting layers
//! into the tree.

mod aside;
mod codec;
mod crawl;
mod descent;
mod error;
#[cfg(test)]
mod history;
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod kill_tests;
mod layer;
#[cfg(test)]
mod layer_tests;
mod outside;
mod parked;
#[cfg(test)]
mod parked_tests;
mod planned;
mod request;
mod scan;
mod standing;
mod state;
#[cfg(test)]
mod test_tree;
mod update;
#[cfg(test)]
mod update_tests;

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use shipit_artifact::EntryPath;

use aside::Aside;
use codec::Recorded;
use descent::Root;
use layer::Layer;
use state::{Lies, State};
use update::Update;

pub use error::{KeptError, UpdateError};
pub use outside::Stand;
pub use request::{InPlace, PlannedFile, UpdateRequest, Updated};
pub use state::Distrust;

/// The workspace of an app, kept from build to build. Whoever opens one holds the app's lock.
#[derive(Debug)]
pub struct Kept {
    dir: PathBuf,
    root: PathBuf,
    jobs: NonZeroUsize,
    state: State,
    /// The planned files as the last update left them; `None` when nothing is known.
    known: Option<Vec<Recorded>>,
    distrust: Option<Distrust>,
}

impl Kept {
    /// Opens the workspace in `dir`, which is there: the tree lies in `dir/tree`, its state in `dir/state`, what has to go
    /// in `dir/old-…`. Files are looked at by up to `jobs` threads.
    ///
    /// # Errors
    /// [`KeptError::Io`].
    pub fn open(dir: &Path, jobs: NonZeroUsize) -> Result<Self, KeptError> {
        let (state, known, distrust) = State::open(dir.join("state"))?;
        Ok(Self {
            dir: dir.to_path_buf(),
            root: dir.join("tree"),
            jobs,
            state,
            known,
            distrust,
        })
    }

    /// Where the tree lies: always the same place, since native extensions record it.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Why the tree that was found is made anew; `None` when it is trusted, or when there was none.
    #[must_use]
    pub fn distrust(&self) -> Option<&Distrust> {
        self.distrust.as_ref()
    }

    /// Brings the tree to what is planned. When it fails, the next one makes all of the tree anew, as far as it had begun
    /// to change it. Where something in the tree is another user's and cannot be moved (a step that ran a container as
    /// root leaves such files), the tree as a whole makes way, `keep` included.
    ///
    /// # Errors
    /// See [`KeptError`], and what `write` answers.
    pub fn update<E: std::error::Error + 'static>(
        &mut self,
        request: &UpdateRequest<'_, E>,
        cancel: &AtomicBool,
    ) -> Result<Updated, UpdateError<E>> {
        match self.try_update(request, cancel) {
            Err(UpdateError::Kept(error)) if error.is_refusal() => {
                self.forget_all()?;
                self.try_update(request, cancel)
            }
            result => result,
        }
    }

    fn try_update<E: std::error::Error + 'static>(
        &mut self,
        request: &UpdateRequest<'_, E>,
        cancel: &AtomicBool,
    ) -> Result<Updated, UpdateError<E>> {
        let done = Update::new(self, request, cancel).map_err(UpdateError::from);
        match done.and_then(Update::run) {
            Ok((updated, recorded)) => {
                self.known = Some(recorded);
                Ok(updated)
            }
            Err(error) => {
                if self.state.is_begun() {
                    self.known = None;
                }
                Err(error)
            }
        }
    }

    /// Notes that the layer stands complete at its paths, as it does right after it was put there, or after its step ran.
    /// To be called after an update, before anything else changes it.
    ///
    /// # Errors
    /// [`KeptError::Io`], [`KeptError::Key`].
    pub fn placed(&mut self, layer: &InPlace) -> Result<(), KeptError> {
        let layer = Layer::take(&Root::open(&self.root)?, layer, self.jobs)?;
        self.state.write_layer(Lies::InTree, &layer)?;
        self.state.let_clock_pass(layer.newest())
    }

    /// Puts a layer back that an [update](Kept::update) parked, and notes that it stands in the tree. `false` when it is not
    /// parked, or not as it was left: then nothing of it is in the tree. To be called as [`Kept::placed`] is.
    ///
    /// # Errors
    /// [`KeptError::Io`], [`KeptError::Key`].
    pub fn unpark(&mut self, layer: &InPlace) -> Result<bool, KeptError> {
        parked::unpark(self, layer)
    }

    /// Forgets all parked layers but those with these keys.
    ///
    /// # Errors
    /// [`KeptError::Io`].
    pub fn forget_parked(&mut self, except: &[String]) -> Result<(), KeptError> {
        parked::forget_except(self, except)
    }

    /// What was made, changed or removed in a layer since it was [noted](Kept::placed), or found in place, sorted; what lies in
    /// `node_modules/.cache` is left out. By stat alone: hashing a node_modules again after each step would cost more than
    /// the step.
    ///
    /// # Errors
    /// [`KeptError::Io`], [`KeptError::Key`].
    pub fn changes(&self, key: &str) -> Result<Vec<EntryPath>, KeptError> {
        match self.state.read_layer(Lies::InTree, key)? {
            Some(layer) => outside::changed_inside(&layer, &Root::open(&self.root)?, self.jobs),
            None => Ok(Vec::new()),
        }
    }

    /// Notes how the tree stands before a step runs. What lies at or beneath `skip` (directories that steps may keep) is
    /// not looked at.
    ///
    /// # Errors
    /// [`KeptError::Io`].
    pub fn stand(&self, skip: &[EntryPath]) -> Result<Stand, KeptError> {
        let stand = Stand::take(&Root::open(&self.root)?, skip, self.jobs)?;
        self.state.let_clock_pass(stand.newest())?;
        Ok(stand)
    }

    /// What was made, changed or removed since `before` outside of `owned`, sorted. By stat: a file that was written anew
    /// with the same content is among it. A directory that was made or removed stands for all in it; those on the way to
    /// an owned path are the step's to make; `node_modules/.cache` is left out, as build tools write there as a matter of
    /// course.
    ///
    /// # Errors
    /// [`KeptError::Io`].
    pub fn changed_outside(&self, before: &Stand, owned: &[EntryPath]) -> Result<Vec<EntryPath>, KeptError> {
        before.changed_outside(&Root::open(&self.root)?, owned, self.jobs)
    }

    /// Moves the whole tree aside, `keep` included: for a build from nothing in this place.
    ///
    /// # Errors
    /// [`KeptError::Io`].
    pub fn forget_all(&mut self) -> Result<(), KeptError> {
        self.known = None;
        self.state.forget()?;
        self.set_aside(&self.root)
    }

    /// Moves aside what lies at these paths of the tree.
    ///
    /// # Errors
    /// [`KeptError::Io`].
    pub fn clear(&self, paths: &[EntryPath]) -> Result<(), KeptError> {
        let paths = paths.iter().map(EntryPath::as_bytes);
        aside::clear(&self.dir, &Root::open(&self.root)?, paths)
    }

    /// Moves aside what lies at `path`, on the tree's file system and not in the tree.
    ///
    /// # Errors
    /// [`KeptError::Io`].
    pub fn set_aside(&self, path: &Path) -> Result<(), KeptError> {
        match std::fs::symlink_metadata(path) {
            Ok(_) => Aside::create(&self.dir)?.take_path(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(KeptError::io("look at", path, error)),
        }
    }

    /// Deletes what was moved aside, also what killed updates left, and parked layers that were forgotten. To be called last: files that are made right after a
    /// large tree was deleted take longer.
    ///
    /// # Errors
    /// [`KeptError::Io`].
    pub fn remove_old(&self) -> Result<(), KeptError> {
        let parked = self.state.layers(Lies::Parked)?;
        aside::remove_all(&self.dir, &|name| parked::is_forgotten(name, &parked))
    }
}
