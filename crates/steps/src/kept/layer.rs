//! A layer that stands in the tree: how it was left, and whether it still stands so.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::io::Errno;
use shipit_artifact::EntryPath;

use super::crawl::{Directory, crawl, locked, newest};
use super::descent::{Descent, Found, Lister, Root, is_within, join, split, standing};
use super::error::KeptError;
use super::request::InPlace;
use super::standing::{Standing, Time};

/// How many directories a thread looks at before it takes further ones.
const SHARE: usize = 64;

/// A layer as it was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    pub key: String,
    /// Its paths, sorted.
    pub owned: Vec<EntryPath>,
    /// Those of its paths that were there, sorted.
    pub tops: Vec<Top>,
    /// All its directories, sorted by path.
    pub directories: Vec<Directory>,
}

/// One of a layer's own paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Top {
    pub path: Vec<u8>,
    pub standing: Standing,
}

/// How a layer was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// All of it as it was left, and in its directories these paths too, sorted.
    Whole { extra: Vec<Vec<u8>> },
    /// A file or directory is missing, or differs.
    Changed,
}

impl Layer {
    /// Notes how the layer stands. Of owned paths that lie within others only the outer ones count.
    pub(super) fn take(root: &Root, layer: &InPlace, jobs: NonZeroUsize) -> Result<Self, KeptError> {
        let owned = sorted(&layer.owned);
        let mut tops: Vec<Top> = Vec::new();
        let mut descent = Descent::new(root);
        for path in owned.iter().map(EntryPath::as_bytes) {
            if tops.iter().any(|top| is_within(path, &top.path)) {
                continue;
            }
            let found = stands(&mut descent, path).map_err(|error| root.failed("look at", path, error))?;
            if let Some(standing) = found {
                tops.push(Top {
                    path: path.to_vec(),
                    standing,
                });
            }
        }
        let starts = tops.iter().filter(|top| top.standing.is_directory());
        let directories = crawl(root, starts.map(|top| top.path.clone()).collect(), jobs, &|_| {
            false
        })?;
        Ok(Self {
            key: layer.key.clone(),
            owned,
            tops,
            directories,
        })
    }

    /// Those of its paths where nothing was.
    pub(super) fn absent(&self) -> impl Iterator<Item = &EntryPath> {
        let there = |own: &EntryPath| self.tops.iter().any(|top| is_within(own.as_bytes(), &top.path));
        self.owned.iter().filter(move |own| !there(own))
    }

    /// The newest time of change of its files.
    pub(super) fn newest(&self) -> Time {
        let tops = self.tops.iter().map(|top| top.standing.changed);
        tops.chain([newest(&self.directories)]).max().unwrap_or_default()
    }

    /// Looks whether the layer stands as it was left. What lies at or beneath a path that `ignored` names does not count.
    pub(super) fn check(
        &self,
        root: &Root,
        jobs: NonZeroUsize,
        ignored: &(dyn Fn(&[u8]) -> bool + Sync),
    ) -> Result<Check, KeptError> {
        let mut descent = Descent::new(root);
        for path in self.owned.iter().map(EntryPath::as_bytes) {
            let top = self.tops.iter().find(|top| is_within(path, &top.path));
            match (top, stands(&mut descent, path)) {
                (Some(top), _) if top.path != path => {}
                (Some(top), Ok(Some(found))) if found == top.standing => {}
                // Nothing was there; if something is now, the walk over the tree finds it.
                (None, Ok(_)) => {}
                _ => return Ok(Check::Changed),
            }
        }
        let looked = Look {
            layer: self,
            root,
            ignored,
            next: AtomicUsize::new(0),
            changed: AtomicBool::new(false),
            extra: Mutex::new(Vec::new()),
            failure: Mutex::new(None),
        };
        std::thread::scope(|scope| {
            for _ in 1..jobs.get() {
                scope.spawn(|| looked.work());
            }
            looked.work();
        });
        looked.result()
    }
}

/// How what lies at the path stands; `None` when nothing does, or something else than a directory is on the way.
pub(super) fn stands(descent: &mut Descent<'_>, path: &[u8]) -> Result<Option<Standing>, Errno> {
    let (directory, name) = split(path);
    match descent.enter(directory) {
        Ok(directory) => standing(directory, name),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn sorted(paths: &[EntryPath]) -> Vec<EntryPath> {
    let mut paths = paths.to_vec();
    paths.sort();
    paths.dedup();
    paths
}

/// A check under way.
struct Look<'a> {
    layer: &'a Layer,
    root: &'a Root,
    ignored: &'a (dyn Fn(&[u8]) -> bool + Sync),
    next: AtomicUsize,
    changed: AtomicBool,
    extra: Mutex<Vec<Vec<u8>>>,
    failure: Mutex<Option<KeptError>>,
}

impl Look<'_> {
    fn work(&self) {
        let (mut descent, mut lister) = (Descent::new(self.root), Lister::new());
        let directories = &self.layer.directories;
        while !self.changed.load(Ordering::Relaxed) {
            let from = self.next.fetch_add(SHARE, Ordering::Relaxed);
            let Some(share) = directories.get(from..directories.len().min(from + SHARE)) else {
                return;
            };
            for directory in share {
                if (self.ignored)(&directory.path) {
                    continue;
                }
                let found = descent.enter(&directory.path).and_then(|open| lister.list(open));
                match found {
                    Ok(found) => self.compare(directory, &found),
                    // It is no longer what it was; that one cannot read it any more is a change as well.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => self.is_changed(),
                    Err(error) => {
                        *locked(&self.failure) = Some(self.root.failed("list", &directory.path, error));
                        self.is_changed();
                    }
                }
            }
        }
    }

    fn compare(&self, directory: &Directory, found: &[Found]) {
        let mut known = directory.entries.iter().peekable();
        let ignored = |name: &[u8]| (self.ignored)(&join(&directory.path, name));
        let gone = |entry: &Found| {
            if !ignored(&entry.name) {
                self.is_changed();
            }
        };
        for entry in found {
            while let Some(missing) = known.next_if(|known| known.name < entry.name) {
                gone(missing);
            }
            match known.next_if(|known| known.name == entry.name) {
                Some(same) if same.standing == entry.standing => {}
                Some(other) => gone(other),
                None => locked(&self.extra).push(join(&directory.path, &entry.name)),
            }
        }
        known.for_each(gone);
    }

    fn is_changed(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    fn result(self) -> Result<Check, KeptError> {
        if let Some(error) = self.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        if self.changed.load(Ordering::Relaxed) {
            return Ok(Check::Changed);
        }
        let mut extra = self.extra.into_inner().unwrap_or_else(PoisonError::into_inner);
        extra.sort_unstable();
        Ok(Check::Whole { extra })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use super::super::standing::let_clock_pass;
    use super::*;

    const JOBS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    struct Case {
        dir: tempfile::TempDir,
        root: Root,
        layer: Layer,
    }

    impl Case {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let modules = dir.path().join("tree/web/node_modules");
            for at in 0..200 {
                fs::create_dir_all(modules.join(format!("p{at}/lib"))).unwrap();
                fs::write(modules.join(format!("p{at}/lib/index.js")), "1").unwrap();
            }
            symlink("p1", modules.join("link")).unwrap();
            fs::write(dir.path().join("tree/.config"), "1").unwrap();
            let root = Root::open(&dir.path().join("tree")).unwrap();
            let owned = ["web/node_modules", ".config", "lib/node_modules"];
            let placed = InPlace {
                key: "k".to_owned(),
                owned: owned.map(|path| EntryPath::new(path).unwrap()).to_vec(),
            };
            let layer = Layer::take(&root, &placed, JOBS).unwrap();
            let_clock_pass(&dir.path().join("probe"), layer.newest()).unwrap();
            Self { dir, root, layer }
        }

        fn at(&self, path: &str) -> std::path::PathBuf {
            self.dir.path().join("tree").join(path)
        }

        fn check(&self) -> Check {
            self.layer.check(&self.root, JOBS, &|_| false).unwrap()
        }

        fn is_changed_by(change: impl Fn(&dyn Fn(&str) -> std::path::PathBuf)) {
            let case = Self::new();
            assert_eq!(case.check(), Check::Whole { extra: vec![] });
            change(&|path| case.at(path));
            assert_eq!(case.check(), Check::Changed);
        }
    }

    #[test]
    fn each_change_is_noticed() {
        Case::is_changed_by(|at| fs::write(at("web/node_modules/p7/lib/index.js"), "2").unwrap());
        Case::is_changed_by(|at| fs::remove_file(at("web/node_modules/p7/lib/index.js")).unwrap());
        Case::is_changed_by(|at| fs::remove_dir_all(at("web/node_modules/p199")).unwrap());
        Case::is_changed_by(|at| fs::remove_file(at(".config")).unwrap());
        Case::is_changed_by(|at| fs::write(at(".config"), "2").unwrap());
        Case::is_changed_by(|at| {
            let mode = fs::Permissions::from_mode(0o700);
            fs::set_permissions(at("web/node_modules/p7/lib"), mode).unwrap();
        });
        Case::is_changed_by(|at| {
            let link = at("web/node_modules/link");
            fs::remove_file(&link).unwrap();
            symlink("p1", link).unwrap();
        });
        Case::is_changed_by(|at| fs::rename(at("web"), at("other")).unwrap());
        Case::is_changed_by(|at| {
            fs::rename(at("web"), at("other")).unwrap();
            symlink("other", at("web")).unwrap();
        });
        Case::is_changed_by(|at| {
            fs::rename(at("web/node_modules/p8"), at("p8")).unwrap();
            symlink(at("p8"), at("web/node_modules/p8")).unwrap();
        });
        Case::is_changed_by(|at| {
            let swap = |from: &str, to: &str| fs::rename(at(from), at(to)).unwrap();
            swap("web/node_modules/p8", "p8");
            swap("web/node_modules/p9", "web/node_modules/p8");
            swap("p8", "web/node_modules/p9");
        });
    }

    #[test]
    fn extra_files_are_told_and_kept_ones_are_not_looked_at() {
        let case = Case::new();
        fs::create_dir_all(case.at("web/node_modules/.cache/x")).unwrap();
        // Where nothing of it was: that is found by whoever walks over the whole tree.
        fs::create_dir_all(case.at("lib/node_modules")).unwrap();
        fs::write(case.at("web/node_modules/p3/new"), "1").unwrap();
        fs::write(case.at("web/other"), "1").unwrap();
        let extra = ["web/node_modules/.cache", "web/node_modules/p3/new"];
        let extra = extra.map(|path| path.as_bytes().to_vec()).to_vec();
        assert_eq!(case.check(), Check::Whole { extra: extra.clone() });
        let ignored = |path: &[u8]| is_within(path, b"web/node_modules/p4");
        let check = || case.layer.check(&case.root, JOBS, &ignored).unwrap();
        fs::write(case.at("web/node_modules/p4/lib/index.js"), "22").unwrap();
        assert_eq!(check(), Check::Whole { extra: extra.clone() });
        fs::remove_dir_all(case.at("web/node_modules/p4")).unwrap();
        assert_eq!(check(), Check::Whole { extra });
        assert_eq!(case.check(), Check::Changed);
        assert!(Path::new(&case.at("web/node_modules/p3/new")).exists());
    }
}
