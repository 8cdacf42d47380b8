//! Brings the tree to what is planned: what has to go is moved aside, then directories are made, then files are written.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Mode, Timespec, Timestamps, futimens, mkdirat, utimensat};
use rustix::io::Errno;
use shipit_artifact::{EntryPath, Kind};

use super::aside::Aside;
use super::codec::Recorded;
use super::descent::{Descent, Lister, Root, ancestors, is_within, split};
use super::error::{KeptError, UpdateError};
use super::layer::{Check, Layer};
use super::planned::{is_as, positions, written};
use super::request::{PlannedFile, UpdateRequest, Updated};
use super::scan::{DIRECTORY_MODE, Plan, Role, Roles, Scan, restore_mode};
use super::standing::{Standing, Time};
use super::state::Lies;
use super::{Kept, layer, parked};

/// An update under way.
pub(super) struct Update<'a, E> {
    kept: &'a Kept,
    request: &'a UpdateRequest<'a, E>,
    cancel: &'a AtomicBool,
    /// Where in what is planned a path stands.
    at: HashMap<&'a [u8], usize>,
    aside: Option<Aside>,
    begun: bool,
}

/// The layers that were found in place, and what lies there besides.
struct Layers {
    in_place: Vec<Layer>,
    extra: Vec<Vec<u8>>,
}

impl<'a, E: std::error::Error + 'static> Update<'a, E> {
    pub(super) fn new(
        kept: &'a Kept,
        request: &'a UpdateRequest<'a, E>,
        cancel: &'a AtomicBool,
    ) -> Result<Self, KeptError> {
        Ok(Self {
            kept,
            request,
            cancel,
            at: positions(request.planned)?,
            aside: None,
            begun: false,
        })
    }

    /// What it did, and what is known of the planned files now.
    pub(super) fn run(mut self) -> Result<(Updated, Vec<Recorded>), UpdateError<E>> {
        let root = self.root()?;
        let layers = self.layers(&root)?;
        self.park(&root)?;
        let known = self.known();
        let roles = self.roles(&layers);
        let planned = (self.request.planned, &self.at);
        let plan = Scan::new(&root, planned, &known, &roles, self.cancel).run(&layers.extra)?;
        drop(roles);

        let mut updated = self.counts(&plan);
        updated.in_place = layers.in_place.iter().map(|layer| layer.key.clone()).collect();
        self.forget_layers(&updated.in_place)?;
        self.move_aside(&root, &plan)?;
        self.make_directories(&root, &plan)?;
        self.write(&plan)?;
        let recorded = self.settle(&root, &plan)?;
        self.settle_directories(&root)?;
        if self.kept.known.as_ref() == Some(&recorded) && !self.begun {
            return Ok((updated, recorded));
        }
        let newest = recorded.iter().map(|file| file.standing.changed).max();
        let recorded = self.kept.state.write_tree(recorded)?;
        self.kept.state.let_clock_pass(newest.unwrap_or_default())?;
        self.kept.state.ends()?;
        Ok((updated, recorded))
    }

    /// To be called before each change of the tree: from the first one on, only an update that ends well makes what is
    /// known count again.
    fn begins(&mut self) -> Result<(), KeptError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(KeptError::Cancelled);
        }
        if !self.begun {
            self.kept.state.begins()?;
            self.begun = true;
        }
        Ok(())
    }

    /// The tree's root, made when it is not there. A tree of which nothing is known goes as a whole, unless some of it is
    /// to be kept.
    fn root(&mut self) -> Result<Root, KeptError> {
        let path = self.kept.root();
        let unknown = self.kept.known.is_none() && self.request.keep.is_empty();
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() && !(unknown && holds_something(path)) => {}
            Ok(_) => {
                self.begins()?;
                self.aside()?.take_path(path)?;
                make_root(path)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.begins()?;
                make_root(path)?;
            }
            Err(error) => return Err(KeptError::io("look at", path, error)),
        }
        let mode = Mode::from_raw_mode(DIRECTORY_MODE);
        rustix::fs::chmod(path, mode).map_err(|error| KeptError::io("set the mode of", path, error))?;
        Root::open(path)
    }

    /// The wanted layers that stand in place unchanged.
    fn layers(&self, root: &Root) -> Result<Layers, KeptError> {
        let mut found = Layers {
            in_place: Vec::new(),
            extra: Vec::new(),
        };
        if self.kept.known.is_none() {
            return Ok(found);
        }
        for wanted in self.request.layers {
            let Some(known) = self.kept.state.read_layer(Lies::InTree, &wanted.key)? else {
                continue;
            };
            if known.owned != layer::sorted(&wanted.owned) || self.collides(&known) {
                continue;
            }
            let keep = || self.request.keep.iter().map(EntryPath::as_bytes);
            let in_layer = |keep: &[u8]| known.owned.iter().any(|own| is_within(keep, own.as_bytes()));
            let inside: Vec<&[u8]> = keep().filter(|keep| in_layer(keep)).collect();
            let ignored = |path: &[u8]| inside.iter().any(|keep| is_within(path, keep));
            if let Check::Whole { mut extra } = known.check(root, self.kept.jobs, &ignored)? {
                found.extra.append(&mut extra);
                found.in_place.push(known);
            }
        }
        Ok(found)
    }

    /// Parks the layers that stand in the tree and are not asked for.
    fn park(&mut self, root: &Root) -> Result<(), KeptError> {
        for key in self.kept.state.layers(Lies::InTree)? {
            if self.request.layers.iter().any(|wanted| wanted.key == key) {
                continue;
            }
            let Some(layer) = self.kept.state.read_layer(Lies::InTree, &key)? else {
                continue;
            };
            let mut owned = layer.owned.iter();
            // What is to be kept stays in the tree.
            let meets = |own: &EntryPath| {
                let mut keep = self.request.keep.iter();
                keep.any(|keep| keep.starts_with(own) || own.starts_with(keep))
            };
            if !owned.any(meets) {
                self.begins()?;
                parked::park(self.kept, root, layer)?;
            }
        }
        Ok(())
    }

    /// Whether something is planned where the layer lies, or a file where a directory leads to it.
    fn collides(&self, layer: &Layer) -> bool {
        layer.owned.iter().map(EntryPath::as_bytes).any(|own| {
            let planned = self.request.planned;
            let from = planned.partition_point(|planned| planned.path.as_bytes() < own);
            // What lies beneath stands behind it, with others that begin alike in between.
            let alike = planned[from..].iter().map(|planned| planned.path.as_bytes());
            let beneath = alike
                .take_while(|path| path.starts_with(own))
                .any(|path| is_within(path, own));
            let on_the_way = |path: &[u8]| {
                let at = self.at.get(path);
                at.is_some_and(|at| planned[*at].kind != Kind::Directory)
            };
            beneath || ancestors(own).any(on_the_way)
        })
    }

    /// For each planned file how it stood after the last update, when its content is still the same.
    fn known(&self) -> Vec<Option<Standing>> {
        let mut known = vec![None; self.request.planned.len()];
        for file in self.kept.known.iter().flatten() {
            if let Some(&at) = self.at.get(file.path.as_slice())
                && self.request.planned[at].identity == file.identity
            {
                known[at] = Some(file.standing).filter(|standing| is_as(&self.request.planned[at], standing));
            }
        }
        known
    }

    fn roles<'r>(&'r self, layers: &'r Layers) -> Roles<'r> {
        let mut roles = Roles::default();
        for layer in &layers.in_place {
            for top in &layer.tops {
                roles.add(&top.path, Role::Layer);
            }
            for absent in layer.absent() {
                roles.add(absent.as_bytes(), Role::Cleared);
            }
        }
        for own in self.request.layers.iter().flat_map(|layer| &layer.owned) {
            roles.add(own.as_bytes(), Role::Cleared);
        }
        for keep in self.request.keep {
            roles.add(keep.as_bytes(), Role::Keep);
        }
        roles
    }

    fn counts(&self, plan: &Plan) -> Updated {
        let files = self.request.planned.iter().zip(&plan.present);
        let files = files.filter(|(planned, _)| planned.kind != Kind::Directory);
        let (unchanged, written): (Vec<_>, Vec<_>) = files.partition(|(_, present)| present.is_some());
        Updated {
            written: written.len(),
            removed: plan.remove.len(),
            unchanged: unchanged.len(),
            in_place: Vec::new(),
        }
    }

    /// What is known of layers that are not in place goes before their files do.
    fn forget_layers(&mut self, in_place: &[String]) -> Result<(), KeptError> {
        for key in self.kept.state.layers(Lies::InTree)? {
            if !in_place.contains(&key) {
                self.begins()?;
                self.kept.state.remove_layer(Lies::InTree, &key)?;
            }
        }
        Ok(())
    }

    fn move_aside(&mut self, root: &Root, plan: &Plan) -> Result<(), KeptError> {
        let mut descent = Descent::new(root);
        for path in &plan.remove {
            self.begins()?;
            let (directory, name) = split(path);
            let open = descent
                .enter(directory)
                .map_err(|error| root.failed("open", directory, error))?;
            self.aside()?.take(root, (directory, open), name)?;
        }
        Ok(())
    }

    fn aside(&mut self) -> Result<&mut Aside, KeptError> {
        let aside = match self.aside.take() {
            Some(aside) => aside,
            None => Aside::create(&self.kept.dir)?,
        };
        Ok(self.aside.insert(aside))
    }

    fn make_directories(&mut self, root: &Root, plan: &Plan) -> Result<(), KeptError> {
        let mut descent = Descent::new(root);
        for (planned, present) in self.request.planned.iter().zip(&plan.present) {
            if planned.kind != Kind::Directory || present.is_some() {
                continue;
            }
            self.begins()?;
            let path = planned.path.as_bytes();
            let (directory, name) = split(path);
            let make = |parent: BorrowedFd<'_>| -> Result<(), Errno> {
                mkdirat(parent, name, Mode::from_raw_mode(DIRECTORY_MODE))?;
                // Under any umask.
                restore_mode(parent, name)
            };
            descent
                .enter(directory)
                .and_then(make)
                .map_err(|error| root.failed("make the directory", path, error))?;
        }
        Ok(())
    }

    fn write(&mut self, plan: &Plan) -> Result<(), UpdateError<E>> {
        let entries = self.request.planned.iter().zip(&plan.present);
        let missing = |(planned, present): &(&PlannedFile, &Option<Standing>)| {
            planned.kind != Kind::Directory && present.is_none()
        };
        let paths: Vec<EntryPath> = entries
            .filter(missing)
            .map(|(planned, _)| planned.path.clone())
            .collect();
        if paths.is_empty() {
            return Ok(());
        }
        self.begins()?;
        (self.request.write)(&paths).map_err(UpdateError::Write)
    }

    /// Gives planned files and symlinks their times, sees to it that what was written is there, and notes how the files
    /// stand.
    fn settle(&mut self, root: &Root, plan: &Plan) -> Result<Vec<Recorded>, KeptError> {
        let mut descent = Descent::new(root);
        let mut recorded = Vec::new();
        for (planned, present) in self.request.planned.iter().zip(&plan.present) {
            if planned.kind == Kind::Directory {
                continue;
            }
            let path = planned.path.as_bytes();
            let (directory, name) = split(path);
            let enter = |error| root.failed("open", directory, error);
            let mut standing = match present {
                Some(standing) => *standing,
                None => written(planned, descent.enter(directory).map_err(enter)?)?,
            };
            if let Some(time) = self.differing_time(standing.modified) {
                self.begins()?;
                let parent = descent.enter(directory).map_err(enter)?;
                utimensat(parent, name, &time, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| root.failed("set the time of", path, error))?;
                standing = written(planned, parent)?;
            }
            if matches!(planned.kind, Kind::File { .. }) {
                recorded.push(Recorded {
                    path: path.to_vec(),
                    identity: planned.identity,
                    standing,
                });
            }
        }
        Ok(recorded)
    }

    /// Directories last: writing into one changes its time.
    fn settle_directories(&mut self, root: &Root) -> Result<(), KeptError> {
        if self.request.mtime.is_none() {
            return Ok(());
        }
        let mut descent = Descent::new(root);
        let planned = self.request.planned.iter();
        let directories = planned.filter(|planned| planned.kind == Kind::Directory);
        for path in directories
            .map(|planned| planned.path.as_bytes())
            .chain([&b""[..]])
        {
            let open = descent
                .enter(path)
                .map_err(|error| root.failed("open", path, error))?;
            let failed = |error| root.failed("set the time of", path, error);
            let stat = rustix::fs::fstat(open).map_err(failed)?;
            // Their times are nothing that is known: no mark.
            if let Some(time) = self.differing_time(super::standing::modified(&stat)) {
                futimens(open, &time).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// What the time is to be set to, unless it is that already.
    fn differing_time(&self, modified: Time) -> Option<Timestamps> {
        let seconds = self.request.mtime.filter(|wanted| modified != (*wanted, 0))?;
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        Some(Timestamps {
            last_access: time,
            last_modification: time,
        })
    }
}

fn make_root(path: &Path) -> Result<(), KeptError> {
    DirBuilder::new()
        .mode(DIRECTORY_MODE)
        .create(path)
        .map_err(|error| KeptError::io("make the directory", path, error))
}

/// Whether anything is in the directory; one that cannot be read may hold something.
fn holds_something(path: &Path) -> bool {
    let held = || -> Result<bool, KeptError> {
        let root = Root::open(path)?;
        let entries = Lister::new().list(root.as_fd());
        Ok(!entries
            .map_err(|error| root.failed("list", b"", error))?
            .is_empty())
    };
    held().unwrap_or(true)
}
