//! The files of a [`Tree`] by their paths, as a program in the exported tree would find them: symlinks inside of the tree
//! are followed. Nothing is read from a disk here.

use std::collections::VecDeque;
use std::io::Read as _;

use shipit_artifact::{EntryPath, Kind, Tree, TreeEntry, TreeError};

/// How many symlinks are followed on the way to one file; as many as Linux does.
const MOST_LINKS: usize = 40;

/// Where a path leads, links followed. There need be nothing at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The tree's root.
    Root,
    At(EntryPath),
    /// Out of the tree, or round in circles.
    Outside,
}

/// A tree, listed once.
pub(crate) struct TreeFiles<'a> {
    tree: &'a dyn Tree,
    /// Sorted by path.
    entries: Vec<TreeEntry>,
}

impl<'a> TreeFiles<'a> {
    pub(crate) fn new(tree: &'a dyn Tree) -> Result<Self, TreeError> {
        let entries = tree.entries()?;
        Ok(Self { tree, entries })
    }

    /// The file that is read at `path`.
    pub(crate) fn file(&self, path: &EntryPath) -> Option<&TreeEntry> {
        let entry = self.find(&self.resolve(path)?)?;
        matches!(entry.kind, Kind::File { .. }).then_some(entry)
    }

    /// Whether `path` is a directory, or leads to one; `None` is the tree's root.
    pub(crate) fn is_dir(&self, path: Option<&EntryPath>) -> bool {
        let Some(path) = path else { return true };
        match self.resolve(path).as_deref() {
            Some([]) => true,
            Some(real) => self.find(real).is_some_and(|entry| entry.kind == Kind::Directory),
            None => false,
        }
    }

    /// The content of the file at `path`; `None` when there is none.
    pub(crate) fn read(&self, path: &EntryPath) -> Result<Option<Vec<u8>>, TreeError> {
        let Some(entry) = self.file(path) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = self.tree.open(&entry.path)?.read_to_end(&mut bytes);
        match read {
            Ok(_) => Ok(Some(bytes)),
            Err(source) => Err(TreeError::Io {
                action: "read",
                path: entry.path.to_string(),
                source,
            }),
        }
    }

    /// Everything beneath a directory, sorted; `None` is the whole tree. Symlinks are not followed.
    pub(crate) fn beneath(&self, dir: Option<&EntryPath>) -> &[TreeEntry] {
        let Some(dir) = dir else { return &self.entries };
        // What lies between `dir/` and `dir0`, which follows it: `0` is the byte after `/`.
        let bound = |end: u8| {
            let bound = [dir.as_bytes(), &[end]].concat();
            self.entries
                .partition_point(|entry| entry.path.as_bytes() < bound.as_slice())
        };
        self.entries.get(bound(b'/')..bound(b'/' + 1)).unwrap_or_default()
    }

    /// What is directly in a directory, sorted; `None` is the root. Symlinks are not followed.
    pub(crate) fn children<'s>(
        &'s self,
        dir: Option<&EntryPath>,
    ) -> impl Iterator<Item = &'s TreeEntry> + use<'s, 'a> {
        let start = dir.map_or(0, |dir| dir.as_bytes().len() + 1);
        let mut rest = self.beneath(dir);
        std::iter::from_fn(move || {
            loop {
                let (entry, after) = rest.split_first()?;
                let path = entry.path.as_bytes();
                let name = path.get(start..).unwrap_or_default();
                let Some(slash) = name.iter().position(|b| *b == b'/') else {
                    rest = after;
                    return Some(entry);
                };
                // The rest of a directory that was seen: all that begins like this.
                let same = path.get(..start + slash + 1).unwrap_or_default();
                rest = rest
                    .get(rest.partition_point(|entry| entry.path.as_bytes().starts_with(same))..)
                    .unwrap_or_default();
            }
        })
    }

    /// Where `path` leads.
    pub(crate) fn end(&self, path: &EntryPath) -> End {
        match self.resolve(path) {
            Some(real) if real.is_empty() => End::Root,
            Some(real) => EntryPath::new(real).map_or(End::Outside, End::At),
            None => End::Outside,
        }
    }

    /// The directory that `dir` leads to; `None` is the root.
    pub(crate) fn real_dir(&self, dir: &EntryPath) -> Option<EntryPath> {
        match self.resolve(dir) {
            Some(real) => EntryPath::new(real).ok(),
            None => Some(dir.clone()),
        }
    }

    /// Whether what `path` leads to is `dir` or lies beneath it.
    pub(crate) fn leads_into(&self, path: &EntryPath, dir: &EntryPath) -> bool {
        let real = self.resolve(path).and_then(|real| EntryPath::new(real).ok());
        real.is_some_and(|real| real.starts_with(dir))
    }

    /// Where `path` leads once all symlinks are followed, without the last slash; empty for the root. `None` when it leaves
    /// the tree or goes round in circles.
    fn resolve(&self, path: &EntryPath) -> Option<Vec<u8>> {
        let mut rest: VecDeque<Vec<u8>> = parts(path.as_bytes()).collect();
        let mut at: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == b".." {
                if at.is_empty() {
                    return None;
                }
                at.truncate(at.iter().rposition(|b| *b == b'/').unwrap_or(0));
                continue;
            }
            let parent = at.len();
            if !at.is_empty() {
                at.push(b'/');
            }
            at.extend_from_slice(&part);
            let Some(Kind::Symlink { target }) = self.find(&at).map(|entry| &entry.kind) else {
                continue;
            };
            links += 1;
            if links > MOST_LINKS || target.starts_with(b"/") {
                return None;
            }
            for part in parts(target).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(part);
            }
            at.truncate(parent);
        }
        Some(at)
    }

    /// What lies at a path, links not followed.
    pub(crate) fn find(&self, path: &[u8]) -> Option<&TreeEntry> {
        let at = self
            .entries
            .binary_search_by(|entry| entry.path.as_bytes().cmp(path))
            .ok()?;
        self.entries.get(at)
    }
}

fn parts(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|b| *b == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
        .map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shipit_artifact::DirTree;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_are_found_as_a_program_would_find_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("app/conf")).unwrap();
        fs::write(root.join("app/conf/lock"), "l").unwrap();
        fs::write(root.join("app-x"), "").unwrap();
        for (target, link) in [
            ("app/conf", "here"),
            ("../here/lock", "app/up"),
            ("../..", "app/out"),
            ("/etc/hosts", "abs"),
            ("loop", "loop"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let tree = DirTree::new(root).unwrap();
        let files = TreeFiles::new(&tree).unwrap();
        let path = |text: &str| EntryPath::new(text).unwrap();
        let real = |text: &str| files.file(&path(text)).map(|entry| entry.path.to_string());
        assert_eq!(real("here/lock").as_deref(), Some("app/conf/lock"));
        assert_eq!(real("app/up").as_deref(), Some("app/conf/lock"));
        assert_eq!(files.read(&path("app/up")).unwrap().as_deref(), Some(&b"l"[..]));
        for none in ["app", "here", "app/out", "abs", "loop", "loop/x", "nowhere"] {
            assert_eq!(real(none), None, "{none}");
            assert_eq!(files.read(&path(none)).unwrap(), None);
        }
        assert!(
            files.is_dir(Some(&path("here"))) && files.is_dir(None) && !files.is_dir(Some(&path("app-x")))
        );
        let beneath: Vec<_> = files
            .beneath(Some(&path("app")))
            .iter()
            .map(|e| e.path.to_string())
            .collect();
        assert_eq!(beneath, ["app/conf", "app/conf/lock", "app/out", "app/up"]);
        let children = |dir: Option<&str>| -> Vec<_> {
            let dir = dir.map(path);
            files.children(dir.as_ref()).map(|e| e.path.to_string()).collect()
        };
        assert_eq!(children(Some("app")), ["app/conf", "app/out", "app/up"]);
        assert_eq!(children(None), ["abs", "app", "app-x", "here", "loop"]);
        assert_eq!(files.end(&path("app/up")), End::At(path("app/conf/lock")));
        assert_eq!(files.end(&path("here/none")), End::At(path("app/conf/none")));
        assert_eq!(files.end(&path("app/out")), End::Outside);
    }
}
