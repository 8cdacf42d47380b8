//! A directory as a [`Tree`]: the workspace's code, or what a step vendored in it.
//!
//! Symlinks are listed, never followed, not even on the way to a file. What changes between listing and reading is the
//! packer's to find.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat, readlinkat, statat};

use crate::beneath::{DIRECTORY, Root};
use crate::globs::GlobError;
use crate::path::{EntryPath, escape};
use crate::rules::{Filter, Rules};
use crate::tree::{Kind, Tree, TreeEntry, TreeError};

/// A directory, whole or in part. The paths given to [`DirTree::only`], [`DirTree::without`] and [`DirTree::rooted`] count
/// from the directory; entries and exclude patterns from the packed root, which is the directory or what `rooted` names.
#[derive(Debug)]
pub struct DirTree {
    path: PathBuf,
    root: Root,
    rules: Rules,
    skipped: Mutex<Vec<EntryPath>>,
}

impl DirTree {
    /// The whole of the directory at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, TreeError> {
        let path = path.into();
        let root = Root::open(&path).map_err(|source| io_error("open", &path, None, source))?;
        Ok(Self {
            path,
            root,
            rules: Rules::default(),
            skipped: Mutex::new(Vec::new()),
        })
    }

    /// These files and directories alone, with all beneath them. One that does not exist contributes nothing.
    #[must_use]
    pub fn only(mut self, paths: Vec<EntryPath>) -> Self {
        self.rules.only(paths);
        self
    }

    /// Leaves these files and directories out, with all beneath them.
    #[must_use]
    pub fn without(mut self, paths: Vec<EntryPath>) -> Self {
        self.rules.without(paths);
        self
    }

    /// Leaves out what matches a pattern, as in a `.gitignore`: a name alone at any depth, a pattern with a slash from
    /// the packed root, with a slash at the end directories only. Negated patterns are refused.
    pub fn exclude<S: AsRef<str>>(mut self, patterns: &[S]) -> Result<Self, GlobError> {
        self.rules.exclude(patterns)?;
        Ok(self)
    }

    /// Packs this directory beneath the directory alone; entries count from it.
    pub fn rooted(mut self, base: EntryPath) -> Result<Self, TreeError> {
        let opened = self.root.sub_root(&base);
        self.root = opened.map_err(|source| io_error("open", &self.path, Some(&base), source))?;
        let base = self
            .rules
            .in_tree(base)
            .map_err(|source| self.path_error(source))?;
        self.rules.root_is(base);
        Ok(self)
    }

    fn failed(
        &self,
        action: &'static str,
        path: Option<&EntryPath>,
        source: impl Into<io::Error>,
    ) -> TreeError {
        let shown = match (self.rules.base(), path) {
            (Some(base), Some(path)) => base.join(path).unwrap_or_else(|_| path.clone()),
            (Some(base), None) => base.clone(),
            (None, Some(path)) => path.clone(),
            (None, None) => return io_error(action, &self.path, None, source.into()),
        };
        io_error(action, &self.path, Some(&shown), source.into())
    }

    fn path_error(&self, source: crate::path::PathError) -> TreeError {
        TreeError::Path {
            tree: self.path.display().to_string(),
            source,
        }
    }
}

fn io_error(action: &'static str, root: &Path, path: Option<&EntryPath>, source: io::Error) -> TreeError {
    use std::os::unix::ffi::OsStrExt;
    let mut shown = escape(root.as_os_str().as_bytes());
    if let Some(path) = path {
        shown.push('/');
        shown.push_str(&path.to_string());
    }
    TreeError::Io {
        action,
        path: shown,
        source,
    }
}

impl Tree for DirTree {
    fn entries(&self) -> Result<Vec<TreeEntry>, TreeError> {
        let filter = self.rules.filter();
        let mut walk = Walk {
            tree: self,
            filter: &filter,
            pending: Vec::new(),
            entries: Vec::new(),
            skipped: Vec::new(),
        };
        match filter.starts() {
            None => walk.directory(None)?,
            Some(starts) => {
                for path in starts {
                    walk.start(path.clone())?;
                }
            }
        }
        while let Some(path) = walk.pending.pop() {
            walk.directory(Some(&path))?;
        }
        let Walk {
            mut entries,
            mut skipped,
            ..
        } = walk;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries.dedup_by(|a, b| a.path == b.path);
        skipped.sort();
        skipped.dedup();
        if let Ok(mut list) = self.skipped.lock() {
            *list = skipped;
        }
        Ok(entries)
    }

    fn open(&self, path: &EntryPath) -> Result<Box<dyn Read + Send + '_>, TreeError> {
        // A fifo that took the file's place must not block.
        let fd = self.root.open_at(Some(path), OFlags::RDONLY | OFlags::NONBLOCK);
        Ok(Box::new(File::from(
            fd.map_err(|source| self.failed("open", Some(path), source))?,
        )))
    }

    fn skipped(&self) -> Vec<EntryPath> {
        self.skipped.lock().map(|list| list.clone()).unwrap_or_default()
    }
}

/// A listing under way.
struct Walk<'a> {
    tree: &'a DirTree,
    filter: &'a Filter<'a>,
    pending: Vec<EntryPath>,
    entries: Vec<TreeEntry>,
    skipped: Vec<EntryPath>,
}

impl Walk<'_> {
    fn start(&mut self, path: EntryPath) -> Result<(), TreeError> {
        let parent = match path.parent() {
            None => self.tree.root.open_at(None, DIRECTORY),
            Some(parent) => self.tree.root.open_at(Some(&parent), DIRECTORY),
        };
        let directory = match parent {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            parent => parent.map_err(|source| self.tree.failed("list", Some(&path), source))?,
        };
        match statat(&directory, path.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(source) => Err(self.tree.failed("list", Some(&path), source)),
            Ok(stat) => self.add(&directory, path, &stat),
        }
    }

    fn directory(&mut self, path: Option<&EntryPath>) -> Result<(), TreeError> {
        let failed = |source: io::Error| self.tree.failed("list", path, source);
        let directory = self.tree.root.open_at(path, DIRECTORY).map_err(failed)?;
        let listing = Dir::read_from(&directory).map_err(|errno| failed(errno.into()))?;
        for found in listing {
            let found = found.map_err(|source| self.tree.failed("list", path, source))?;
            let name = found.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let child = match path {
                None => EntryPath::new(name),
                Some(path) => path.join_bytes(name),
            };
            let child = child.map_err(|source| self.tree.path_error(source))?;
            let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|source| self.tree.failed("list", Some(&child), source))?;
            self.add(&directory, child, &stat)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        directory: &std::os::fd::OwnedFd,
        path: EntryPath,
        stat: &Stat,
    ) -> Result<(), TreeError> {
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if self.filter.leaves_out(&path, file_type == FileType::Directory) {
            return Ok(());
        }
        let (kind, size) = match file_type {
            FileType::RegularFile => (
                Kind::File {
                    executable: stat.st_mode & 0o100 != 0,
                },
                stat.st_size as u64,
            ),
            FileType::Directory => {
                self.pending.push(path.clone());
                (Kind::Directory, 0)
            }
            FileType::Symlink => {
                let target = readlinkat(directory, path.file_name(), Vec::new())
                    .map_err(|source| self.tree.failed("read the symlink", Some(&path), source))?;
                (
                    Kind::Symlink {
                        target: target.into_bytes(),
                    },
                    0,
                )
            }
            _ => {
                self.skipped.push(path);
                return Ok(());
            }
        };
        self.entries.push(TreeEntry { path, kind, size });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::new(text).unwrap()
    }

    fn sample() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["src/deep", "vendor/bundle/gem", ".bundle", "empty"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for name in [
            "src/main",
            "src/deep/a.log",
            "vendor/bundle/gem/x",
            ".bundle/config",
            "src.txt",
        ] {
            fs::write(at(name), name).unwrap();
        }
        fs::set_permissions(at("src/main"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("/etc", at("src/link")).unwrap();
        dir
    }

    fn list(tree: &DirTree) -> Vec<String> {
        tree.entries()
            .unwrap()
            .iter()
            .map(|entry| entry.path.to_string())
            .collect()
    }

    #[test]
    fn whole_and_in_part() {
        let dir = sample();
        let tree = || DirTree::new(dir.path()).unwrap();
        let all = [
            ".bundle",
            ".bundle/config",
            "empty",
            "src",
            "src.txt",
            "src/deep",
            "src/deep/a.log",
            "src/link",
            "src/main",
            "vendor",
            "vendor/bundle",
            "vendor/bundle/gem",
            "vendor/bundle/gem/x",
        ];
        assert_eq!(list(&tree()), all);
        let vendored = ["vendor/bundle", ".bundle/config", "no/such"].map(path).to_vec();
        let expected = [
            ".bundle/config",
            "vendor/bundle",
            "vendor/bundle/gem",
            "vendor/bundle/gem/x",
        ];
        assert_eq!(list(&tree().only(vendored.clone())), expected);
        let code = tree().without(vendored).exclude(&["*.log", "/empty/"]).unwrap();
        assert_eq!(
            list(&code),
            [
                ".bundle", "src", "src.txt", "src/deep", "src/link", "src/main", "vendor"
            ]
        );
    }

    #[test]
    fn rooted_strips_and_drops() {
        let dir = sample();
        let tree = || DirTree::new(dir.path()).unwrap().rooted(path("vendor")).unwrap();
        assert_eq!(list(&tree()), ["bundle", "bundle/gem", "bundle/gem/x"]);
        let only = |name: &str| list(&tree().only(vec![path(name)]));
        assert_eq!(only("vendor/bundle/gem"), ["bundle/gem", "bundle/gem/x"]);
        assert_eq!(only("vendor").len(), 3);
        assert!(only("src").is_empty());
        assert_eq!(list(&tree().without(vec![path("vendor/bundle/gem")])), ["bundle"]);
        assert!(
            DirTree::new(dir.path())
                .unwrap()
                .rooted(path("src/link"))
                .is_err()
        );
    }

    #[test]
    fn kinds_and_contents() {
        let dir = sample();
        let _listener = UnixListener::bind(dir.path().join("app.sock")).unwrap();
        let tree = DirTree::new(dir.path()).unwrap();
        let entries = tree.entries().unwrap();
        assert_eq!(tree.skipped(), [path("app.sock")]);
        let find = |name: &str| entries.iter().find(|entry| entry.path == path(name)).unwrap();
        assert_eq!(find("src/main").kind, Kind::File { executable: true });
        assert_eq!(
            (find("src.txt").kind.clone(), find("src.txt").size),
            (Kind::File { executable: false }, 7)
        );
        assert_eq!(
            find("src/link").kind,
            Kind::Symlink {
                target: b"/etc".to_vec()
            }
        );
        let mut text = String::new();
        tree.open(&path("src/main"))
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "src/main");
        assert!(tree.open(&path("src/link")).is_err());
        assert!(tree.open(&path("src/link/passwd")).is_err());
    }
}
