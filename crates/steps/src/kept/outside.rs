//! What a step made, changed or removed outside of the paths that are its own; and what later steps changed in a layer.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroUsize;

use shipit_artifact::EntryPath;

use super::crawl::{Directory, crawl, newest};
use super::descent::{Found, Root, is_within, join, split};
use super::error::KeptError;
use super::layer::{Check, Layer};
use super::request::InPlace;
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
        let mut differs = Differs::outside([owned, &self.skip].concat());
        differs.trees(&self.directories, &now.directories);
        Ok(differs.topmost())
    }
}

/// What differs in a layer from how it was left, sorted; not what lies in a build tool's cache.
pub(super) fn changed_inside(
    layer: &Layer,
    root: &Root,
    jobs: NonZeroUsize,
) -> Result<Vec<EntryPath>, KeptError> {
    let mut paths = match layer.check(root, jobs, &|_| false)? {
        Check::Whole { extra } => extra,
        Check::Changed => {
            let placed = InPlace {
                key: layer.key.clone(),
                owned: layer.owned.clone(),
            };
            let now = Layer::take(root, &placed, jobs)?;
            let mut differs = Differs::outside(Vec::new());
            differs.tops(layer, &now);
            differs.trees(&layer.directories, &now.directories);
            let topmost = differs.topmost();
            topmost.iter().map(|path| path.as_bytes().to_vec()).collect()
        }
    };
    paths.retain(|path| !in_cache(path));
    let paths = paths.into_iter();
    Ok(paths.filter_map(|path| EntryPath::new(path).ok()).collect())
}

/// Whether a path is, or lies in, a `node_modules/.cache`.
fn in_cache(path: &[u8]) -> bool {
    let ends = |at: usize| path.get(at + CACHE.len()).is_none_or(|next| *next == b'/');
    let begins = |at: usize| at == 0 || path[at - 1] == b'/';
    path.windows(CACHE.len())
        .enumerate()
        .any(|(at, window)| window == CACHE && begins(at) && ends(at))
}

/// Differences that were found.
struct Differs {
    owned: Vec<EntryPath>,
    paths: BTreeSet<Vec<u8>>,
    /// Of these the directories that were made or removed.
    whole: HashSet<Vec<u8>>,
}

impl Differs {
    /// None yet; what lies at or beneath `owned` does not count.
    fn outside(owned: Vec<EntryPath>) -> Self {
        Self {
            owned,
            paths: BTreeSet::new(),
            whole: HashSet::new(),
        }
    }

    /// A layer's own paths themselves.
    fn tops(&mut self, before: &Layer, now: &Layer) {
        let standing = |layer: &Layer, path: &[u8]| {
            let top = layer.tops.iter().find(|top| top.path == path);
            top.map(|top| top.standing)
        };
        for top in before.tops.iter().chain(&now.tops) {
            let (directory, name) = split(&top.path);
            let stood = standing(before, &top.path);
            let stands = standing(now, &top.path);
            self.entry(directory, name, stood.as_ref(), stands.as_ref());
        }
    }

    /// Two listings, each sorted by path.
    fn trees(&mut self, before: &[Directory], now: &[Directory]) {
        let mut before = before.iter().peekable();
        for directory in now {
            while let Some(gone) = before.next_if(|before| before.path < directory.path) {
                self.directories(&gone.path, &gone.entries, &[]);
            }
            let same = before.next_if(|before| before.path == directory.path);
            let entries = same.map_or(&[][..], |same| &same.entries);
            self.directories(&directory.path, entries, &directory.entries);
        }
        for gone in before {
            self.directories(&gone.path, &gone.entries, &[]);
        }
    }

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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::super::{InPlace, Kept};
    use super::*;

    #[test]
    fn changes_additions_removals_and_modes_of_a_layer_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let modules = dir.path().join("tree/node_modules");
        fs::create_dir_all(modules.join(".cache")).unwrap();
        for name in ["same", "touched", "gone", "mode"] {
            fs::write(modules.join(name), "1").unwrap();
        }
        symlink("same", modules.join("link")).unwrap();
        let mut kept = Kept::open(dir.path(), NonZeroUsize::MIN).unwrap();
        let owned = ["node_modules", "vendor"].map(|path| EntryPath::new(path).unwrap());
        let layer = InPlace {
            key: "k".to_owned(),
            owned: owned.to_vec(),
        };
        kept.placed(&layer).unwrap();
        let changes = || -> Vec<String> {
            let changed = kept.changes("k").unwrap();
            changed.iter().map(ToString::to_string).collect()
        };
        assert!(changes().is_empty());
        fs::write(modules.join(".cache/x"), "").unwrap();
        assert!(changes().is_empty());
        fs::create_dir_all(modules.join("new/inner")).unwrap();
        assert_eq!(changes(), ["node_modules/new"]);
        fs::write(modules.join("touched"), "22").unwrap();
        fs::remove_file(modules.join("gone")).unwrap();
        fs::set_permissions(modules.join("mode"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(modules.join("link")).unwrap();
        symlink("new", modules.join("link")).unwrap();
        fs::create_dir_all(dir.path().join("tree/vendor/x")).unwrap();
        let expected = ["gone", "link", "mode", "new", "touched"].map(|name| format!("node_modules/{name}"));
        assert_eq!(changes(), [&expected[..], &["vendor".to_owned()]].concat());
        assert!(kept.changes("other").unwrap().is_empty());
    }

    #[test]
    fn a_tools_cache_is_found_at_any_depth() {
        for (path, is) in [
            ("node_modules/.cache", true),
            ("a/node_modules/.cache/x", true),
            ("xnode_modules/.cache", false),
            ("node_modules/.cacheable", false),
        ] {
            assert_eq!(in_cache(path.as_bytes()), is, "{path}");
        }
    }
}
