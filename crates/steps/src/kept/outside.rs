//! What a step made, changed or removed outside of the paths that are its own.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroUsize;

use shipit_artifact::EntryPath;

use super::crawl::{Directory, crawl, newest};
use super::descent::{Found, Root, is_within, join, split};
use super::error::KeptError;
use super::standing::{Standing, Time};

/// Where build tools write as a matter of course; it is never packed.
const CACHE: &[u8] = b"node_modules/.cache";

/// How all files of the tree stood at one time, by stat.
#[derive(Debug, Clone)]
pub struct Stand {
    skip: Vec<EntryPath>,
    directories: Vec<Directory>,
}

impl Stand {
    pub(super) fn take(root: &Root, skip: &[EntryPath], jobs: NonZeroUsize) -> Result<Self, KeptError> {
        let skipped = |path: &[u8]| {
            let cache = path
                .strip_suffix(CACHE)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with(b"/"));
            cache || skip.iter().any(|skip| skip.as_bytes() == path)
        };
        Ok(Self {
            directories: crawl(root, vec![Vec::new()], jobs, &skipped)?,
            skip: skip.to_vec(),
        })
    }

    pub(super) fn newest(&self) -> Time {
        newest(&self.directories)
    }

    /// What differs from `self` now, outside of `owned`, sorted. A directory that was made or removed stands for all in it.
    pub(super) fn changed_outside(
        &self,
        root: &Root,
        owned: &[EntryPath],
        jobs: NonZeroUsize,
    ) -> Result<Vec<EntryPath>, KeptError> {
        let now = Self::take(root, &self.skip, jobs)?;
        // Directories that steps may keep are theirs to make as well.
        let mut differs = Differs {
            owned: [owned, &self.skip].concat(),
            paths: BTreeSet::new(),
            whole: HashSet::new(),
        };
        let mut before = self.directories.iter().peekable();
        for directory in &now.directories {
            while let Some(gone) = before.next_if(|before| before.path < directory.path) {
                differs.directories(&gone.path, &gone.entries, &[]);
            }
            let same = before.next_if(|before| before.path == directory.path);
            let entries = same.map_or(&[][..], |same| &same.entries);
            differs.directories(&directory.path, entries, &directory.entries);
        }
        for gone in before {
            differs.directories(&gone.path, &gone.entries, &[]);
        }
        Ok(differs.topmost())
    }
}

/// Differences that were found.
struct Differs {
    owned: Vec<EntryPath>,
    paths: BTreeSet<Vec<u8>>,
    /// Of these the directories that were made or removed.
    whole: HashSet<Vec<u8>>,
}

impl Differs {
    fn directories(&mut self, path: &[u8], before: &[Found], now: &[Found]) {
        let mut before = before.iter().peekable();
        for entry in now {
            while let Some(gone) = before.next_if(|before| before.name < entry.name) {
                self.entry(path, &gone.name, Some(&gone.standing), None);
            }
            let same = before.next_if(|before| before.name == entry.name);
            self.entry(
                path,
                &entry.name,
                same.map(|same| &same.standing),
                Some(&entry.standing),
            );
        }
        for gone in before {
            self.entry(path, &gone.name, Some(&gone.standing), None);
        }
    }

    fn entry(&mut self, directory: &[u8], name: &[u8], before: Option<&Standing>, now: Option<&Standing>) {
        if before == now {
            return;
        }
        let path = join(directory, name);
        // Made or removed, as opposed to changed.
        let whole = [before, now].map(|standing| standing.is_some_and(Standing::is_directory));
        let only_directory =
            before.or(now).is_some_and(Standing::is_directory) && before.is_none() != now.is_none();
        let own = |owned: &EntryPath| {
            let owned = owned.as_bytes();
            is_within(&path, owned) || only_directory && is_within(owned, &path)
        };
        if self.owned.iter().any(own) {
            return;
        }
        if whole[0] != whole[1] {
            self.whole.insert(path.clone());
        }
        self.paths.insert(path);
    }

    /// Without what lies in a directory that is itself among them.
    fn topmost(self) -> Vec<EntryPath> {
        let Self { paths, whole, .. } = self;
        let inner = |path: &&Vec<u8>| !whole.contains(split(path).0);
        paths
            .iter()
            .filter(inner)
            .filter_map(|path| EntryPath::new(path.as_slice()).ok())
            .collect()
    }
}
