//! What of a tree is as planned, and what has to go: one walk, by stat alone.
//!
//! The tree is not changed, but for directories that stay and have another mode than 0755: they get it back at once, since
//! one that may not be read cannot be looked into.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, chmodat, readlinkat};
use rustix::io::Errno;
use shipit_artifact::Kind;

use super::descent::{Descent, Found, Lister, Root, ancestors, join, open_directory, split, standing};
use super::error::KeptError;
use super::request::PlannedFile;
use super::standing::Standing;

/// The mode of every directory of a tree.
pub(super) const DIRECTORY_MODE: u32 = 0o755;

/// What a path is to the tree, beside what is planned there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A layer in place, which is looked at elsewhere.
    Layer,
    /// A wanted layer that is not in place: nothing stays there.
    Cleared,
    /// All beneath survives.
    Keep,
}

/// The roles of paths, and which directories lead to them.
#[derive(Debug, Default)]
pub(super) struct Roles<'a> {
    of: HashMap<&'a [u8], Role>,
    through: HashMap<&'a [u8], ()>,
}

impl<'a> Roles<'a> {
    /// Adds a role; of two for one path the one that was there stays.
    pub(super) fn add(&mut self, path: &'a [u8], role: Role) {
        self.of.entry(path).or_insert(role);
        for ancestor in ancestors(path) {
            self.through.insert(ancestor, ());
        }
    }
}

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What has to go, none beneath another.
    pub remove: Vec<Vec<u8>>,
    /// For each planned entry how it stands, when it is as planned.
    pub present: Vec<Option<Standing>>,
}

/// A scan under way.
pub(super) struct Scan<'a> {
    root: &'a Root,
    planned: &'a [PlannedFile],
    /// Where in `planned` a path stands.
    at: &'a HashMap<&'a [u8], usize>,
    /// How each planned file stood after the last update, when its content has not changed since.
    known: &'a [Option<Standing>],
    roles: &'a Roles<'a>,
    cancel: &'a AtomicBool,
    lister: Lister,
    plan: Plan,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        root: &'a Root,
        (planned, at): (&'a [PlannedFile], &'a HashMap<&'a [u8], usize>),
        known: &'a [Option<Standing>],
        roles: &'a Roles<'a>,
        cancel: &'a AtomicBool,
    ) -> Self {
        Self {
            root,
            planned,
            at,
            known,
            roles,
            cancel,
            lister: Lister::new(),
            plan: Plan {
                remove: Vec::new(),
                present: vec![None; planned.len()],
            },
        }
    }

    /// Walks over the tree, then looks at what was found beneath layers in place without being theirs.
    pub(super) fn run(mut self, extra: &[Vec<u8>]) -> Result<Plan, KeptError> {
        let root = self.root;
        self.directory(root.as_fd(), &mut Vec::new(), false)?;
        let mut descent = Descent::new(root);
        for path in extra {
            let (directory, name) = split(path);
            let failed = |error| root.failed("look at", path, error);
            let parent = descent.enter(directory).map_err(failed)?;
            if let Some(standing) = standing(parent, name).map_err(failed)? {
                self.entry(parent, name, &mut path.clone(), standing, false)?;
            }
        }
        Ok(self.plan)
    }

    /// Whether anything in the directory stays.
    fn directory(&mut self, open: BorrowedFd<'_>, path: &mut Vec<u8>, kept: bool) -> Result<bool, KeptError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(KeptError::Cancelled);
        }
        let entries = self
            .lister
            .list(open)
            .map_err(|error| self.root.failed("list", path, error))?;
        let mut stays = false;
        for Found { name, standing } in entries {
            let length = path.len();
            *path = join(path, &name);
            stays |= self.entry(open, &name, path, standing, kept)?;
            path.truncate(length);
        }
        Ok(stays)
    }

    /// Looks at `name` of `parent`, whose path is `path`; `kept` when it lies in a directory that steps may keep. Whether
    /// it stays.
    fn entry(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &mut Vec<u8>,
        found: Standing,
        kept: bool,
    ) -> Result<bool, KeptError> {
        let role = self.roles.of.get(path.as_slice()).copied();
        if role == Some(Role::Layer) {
            return Ok(true);
        }
        let kept = match role {
            Some(Role::Keep) => true,
            Some(Role::Cleared) => false,
            _ => kept,
        };
        if let Some(&at) = self.at.get(path.as_slice()) {
            return self.planned(parent, name, path, (found, at), kept);
        }
        if found.is_directory() && self.roles.through.contains_key(path.as_slice()) {
            let before = self.plan.remove.len();
            let stays = self.enter(parent, name, path, (found, kept))?;
            if !stays && !kept {
                // It goes as a whole.
                self.plan.remove.truncate(before);
                self.plan.remove.push(path.clone());
            }
            return Ok(stays || kept);
        }
        if !kept {
            self.plan.remove.push(path.clone());
        }
        Ok(kept)
    }

    fn planned(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &mut Vec<u8>,
        (found, at): (Standing, usize),
        kept: bool,
    ) -> Result<bool, KeptError> {
        let same = match (&self.planned[at].kind, found.file_type()) {
            (Kind::Directory, FileType::Directory) => {
                self.enter(parent, name, path, (found, kept))?;
                true
            }
            (Kind::File { .. }, FileType::RegularFile) => self.known[at] == Some(found),
            (Kind::Symlink { target }, FileType::Symlink) => {
                let link = readlinkat(parent, name, Vec::new())
                    .map_err(|error| self.root.failed("read the symlink", path, error))?;
                link.as_bytes() == target.as_slice()
            }
            _ => false,
        };
        if same {
            self.plan.present[at] = Some(found);
        } else {
            self.plan.remove.push(path.clone());
        }
        Ok(true)
    }

    /// Looks into a directory that stays.
    fn enter(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &mut Vec<u8>,
        (found, kept): (Standing, bool),
    ) -> Result<bool, KeptError> {
        if found.permissions() != DIRECTORY_MODE {
            restore_mode(parent, name).map_err(|error| self.root.failed("set the mode of", path, error))?;
        }
        let open = open_directory(parent, name).map_err(|error| self.root.failed("open", path, error))?;
        self.directory(open.as_fd(), path, kept)
    }
}

/// Gives a directory the mode that all have. `name` is known to be a directory, and no symlink.
pub(super) fn restore_mode(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    chmodat(
        parent,
        name,
        Mode::from_raw_mode(DIRECTORY_MODE),
        AtFlags::empty(),
    )
}
