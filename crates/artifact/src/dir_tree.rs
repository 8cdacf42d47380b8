//! A directory as a [`Tree`]: the workspace's code, or what a step vendored in it.
//!
//! Symlinks are listed, never followed, not even on the way to a file. What changes between listing and reading is the
//! packer's to find. How a directory is listed stands in [`crate::walk`].

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::buffer::spare_capacity;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::beneath::{Handles, Root};
use crate::globs::GlobError;
use crate::path::{EntryPath, PathError, escape};
use crate::rules::Rules;
use crate::tree::{Tree, TreeEntry, TreeError};
use crate::walk;

/// A directory, whole or in part. The paths given to [`DirTree::only`], [`DirTree::without`] and [`DirTree::rooted`] count
/// from the directory; entries and exclude patterns from the packed root, which is the directory or what `rooted` names.
#[derive(Debug)]
pub struct DirTree {
    top: Top,
    rules: Rules,
    /// Directories that files were read from lately, since the last listing.
    handles: Handles,
    skipped: Mutex<Vec<EntryPath>>,
}

/// How files are opened. A fifo that took a file's place must not block.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK);

/// The packed root on disk, and what an error about a path beneath it needs.
#[derive(Debug)]
pub(crate) struct Top {
    path: PathBuf,
    root: Root,
}

impl DirTree {
    /// The whole of the directory at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, TreeError> {
        let path = path.into();
        let root = Root::open(&path).map_err(|source| io_error("open", &path, None, source))?;
        Ok(Self {
            top: Top { path, root },
            rules: Rules::default(),
            handles: Handles::default(),
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
        let opened = self.top.root.sub_root(&base);
        self.top.root = opened.map_err(|source| self.top.failed("open", Some(&base), source))?;
        self.top.path.push(base.as_path());
        let base = self.rules.in_tree(base);
        self.rules
            .root_is(base.map_err(|source| self.top.path_error(source))?);
        Ok(self)
    }
}

impl Top {
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn failed(
        &self,
        action: &'static str,
        path: Option<&EntryPath>,
        source: impl Into<io::Error>,
    ) -> TreeError {
        io_error(action, &self.path, path, source.into())
    }

    pub(crate) fn path_error(&self, source: PathError) -> TreeError {
        TreeError::Path {
            tree: self.path.display().to_string(),
            source,
        }
    }
}

fn io_error(action: &'static str, root: &Path, path: Option<&EntryPath>, source: io::Error) -> TreeError {
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
        self.entries_by(NonZeroUsize::MIN)
    }

    fn entries_by(&self, jobs: NonZeroUsize) -> Result<Vec<TreeEntry>, TreeError> {
        self.handles.forget();
        let listed = walk::list(&self.top, &self.rules.filter(), jobs)?;
        if let Ok(mut list) = self.skipped.lock() {
            *list = listed.skipped;
        }
        Ok(listed.entries)
    }

    fn open(&self, path: &EntryPath) -> Result<Box<dyn Read + Send + '_>, TreeError> {
        let fd = self.top.root.open_at(Some(path), READ);
        Ok(Box::new(File::from(fd.map_err(|source| {
            self.top.failed("open", Some(path), source)
        })?)))
    }

    fn read(&self, path: &EntryPath, size: u64, into: &mut Vec<u8>) -> Result<(), TreeError> {
        // By way of its directory, which the files before it were likely in, too.
        let file = self.handles.open(&self.top.root, path, READ);
        let file = file.map_err(|source| self.top.failed("open", Some(path), source))?;
        let begin = into.len();
        let size = size as usize;
        loop {
            let got = into.len() - begin;
            if got > size {
                return Ok(());
            }
            into.reserve(size - got + 1);
            match rustix::io::read(&file, spare_capacity(into)) {
                Ok(0) => return Ok(()),
                // A file that had room for more in the buffer has no more.
                Ok(_) if into.len() - begin == size => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(source) => return Err(self.top.failed("read", Some(path), source)),
            }
        }
    }

    fn skipped(&self) -> Vec<EntryPath> {
        self.skipped.lock().map(|list| list.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::tree::Kind;

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
    fn any_number_of_threads_lists_the_same_and_finds_errors() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..300 {
            let at = dir.path().join(format!("{}/{}/{n}", n % 7, n % 31));
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join("file"), n.to_string()).unwrap();
        }
        let tree = DirTree::new(dir.path()).unwrap().exclude(&["17"]).unwrap();
        let one = tree.entries().unwrap();
        assert!(one.len() > 700 && one.windows(2).all(|pair| pair[0].path < pair[1].path));
        for jobs in [2, 8] {
            let jobs = NonZeroUsize::new(jobs).unwrap();
            assert_eq!(tree.entries_by(jobs).unwrap(), one);
        }
        let long = EntryPath::new(vec![b'x'; 4095]).unwrap();
        let tree = DirTree::new(dir.path()).unwrap().only(vec![long]);
        assert!(tree.entries_by(NonZeroUsize::new(3).unwrap()).is_err());
    }

    #[test]
    fn a_file_is_read_whole_and_a_longer_one_is_seen() {
        let dir = sample();
        let tree = DirTree::new(dir.path()).unwrap();
        let read = |name: &str, size| {
            let mut bytes = b"before".to_vec();
            tree.read(&path(name), size, &mut bytes).map(|()| bytes)
        };
        assert_eq!(read("src/main", 8).unwrap(), b"beforesrc/main");
        assert_eq!(read("src/main", 100).unwrap(), b"beforesrc/main");
        assert!(read("src/main", 3).unwrap().len() > 6 + 3);
        assert!(
            read("src/link", 4).is_err() && read("src/link/passwd", 4).is_err() && read("src", 0).is_err()
        );
        // The directory that was there is gone, and another one has its name.
        fs::rename(dir.path().join("src"), dir.path().join("old")).unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        fs::write(dir.path().join("src/new"), "new").unwrap();
        assert_eq!(read("src/new", 3).unwrap(), b"beforenew");
        tree.entries().unwrap();
        assert!(read("src/main", 8).is_err());
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
