//! Whether a layer on disk is still what it was when it was put there, as far as stat tells: each of its files is looked at, whoever
//! links to it.
//!
//! That many looks take longer than much else of an apply ([`super::lookers`] has the threads), so a look is one call on an open
//! directory and little beside it.
//! Not seen here: a change of content that keeps size and time, which `apply --verify` reads for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;
use shipit_artifact::{EntryPath, Index, IndexEntry, IndexKind, IndexRow, Root, RowKind};

use super::hand::{is_at_or_below, parent_bytes};
use super::take::stat;

/// Nothing is read of a directory, and a handle for its path alone costs less.
const LOOKED_AT: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// To look at so many entries by their names below a directory above costs less than to open their own.
const FEW: usize = 8;

/// What stat can tell of an index's entries.
pub(crate) fn rows(index: &Index) -> impl Iterator<Item = IndexRow<'_>> + Send {
    index.entries().iter().map(row)
}

fn row(entry: &IndexEntry) -> IndexRow<'_> {
    let (kind, size) = match &entry.kind {
        IndexKind::File { size, executable, .. } => (
            RowKind::File {
                executable: *executable,
            },
            *size,
        ),
        IndexKind::Symlink { target } => (RowKind::Symlink, target.len() as u64),
        IndexKind::Directory => (RowKind::Directory, 0),
    };
    IndexRow {
        path: entry.path.as_bytes(),
        kind,
        size,
        mtime: entry.mtime,
        content: entry.content().copied(),
    }
}

/// One thread's look at a layer.
pub(super) struct Look<'r, 'a> {
    root: &'r Root,
    /// The directory of the row before and those above it, the deepest last. Of one that has no handle of its own a look found that
    /// it is a directory, and no link to one: it is passed through by name.
    above: Vec<(&'a [u8], Option<OwnedFd>)>,
    exact: bool,
    uid: u32,
}

impl<'r, 'a> Look<'r, 'a> {
    /// With `exact`, the time of a directory counts too.
    pub(super) fn new(root: &'r Root, exact: bool) -> Self {
        Self {
            root,
            above: Vec::new(),
            exact,
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// How many of these rows, which follow each other, do not fit.
    pub(super) fn wrong(&mut self, rows: &[IndexRow<'a>]) -> Result<usize, Errno> {
        let mut wrong = 0;
        for (at, row) in rows.iter().enumerate() {
            // Rows are in their paths' order: when so late a one lies in the directory, so do mostly all between.
            let later = rows.get(at + FEW + 1);
            let fits = if row.kind == RowKind::Directory {
                self.enter(
                    row,
                    later.is_some_and(|later| is_at_or_below(later.path, row.path)),
                )
            } else {
                let uid = self.uid;
                let stat = self.at(row.path).and_then(|(dir, name)| stat(dir, name));
                stat.map(|stat| as_put(&stat, row, uid))
            };
            wrong += usize::from(!or_unfit(fits)?);
        }
        Ok(wrong)
    }

    /// Looks at a directory. What is in it comes next, mostly: when that is `much`, it is opened.
    fn enter(&mut self, row: &IndexRow<'a>, much: bool) -> Result<bool, Errno> {
        let (exact, uid) = (self.exact, self.uid);
        let (dir, name) = self.at(row.path)?;
        let (stat, own) = if much {
            let own = openat(dir, name, LOOKED_AT, Mode::empty())?;
            (exact.then(|| fstat(&own)).transpose()?, Some(own))
        } else {
            let stat = stat(dir, name)?;
            // What lies behind a link that stands in its place does not count.
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Ok(false);
            }
            (exact.then_some(stat), None)
        };
        self.above.push((row.path, own));
        Ok(stat.is_none_or(|stat| as_put(&stat, row, uid)))
    }

    /// A handle, and the name there of what is at `path`; neither leads through a link.
    fn at(&mut self, path: &'a [u8]) -> Result<(BorrowedFd<'_>, &'a [u8]), Errno> {
        let parent = parent_bytes(path);
        let is_above = |open: &[u8]| !parent.is_empty() && is_at_or_below(parent, open);
        while self.above.last().is_some_and(|(open, _)| !is_above(open)) {
            self.above.pop();
        }
        if !parent.is_empty() && self.above.last().is_none_or(|(open, _)| *open != parent) {
            let at = EntryPath::new(parent).map_err(|_| Errno::NOENT)?;
            let fd = self.root.open_at(Some(&at), LOOKED_AT);
            let fd = fd.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            self.above.push((parent, Some(fd)));
        }
        let open = self.above.iter().rev();
        let mut open = open.filter_map(|(dir, fd)| Some((fd.as_ref()?.as_fd(), &path[dir.len() + 1..])));
        Ok(open.next().unwrap_or((self.root.as_fd(), path)))
    }
}

/// Whether it fits, when something else stands there, or nothing, or what we may not look at. That there are no handles or no memory to
/// look with is no answer.
fn or_unfit(fits: Result<bool, Errno>) -> Result<bool, Errno> {
    match fits {
        Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Err(errno),
        other => Ok(other.unwrap_or(false)),
    }
}

fn as_put(stat: &Stat, row: &IndexRow<'_>, uid: u32) -> bool {
    let type_is = |wanted| FileType::from_raw_mode(stat.st_mode) == wanted;
    let size_is = || u64::try_from(stat.st_size).is_ok_and(|size| size == row.size);
    let rest = || {
        stat.st_mode & 0o7777 == u32::from(row.kind.mode())
            && stat.st_mtime == row.mtime
            && stat.st_mtime_nsec == 0
            && stat.st_uid == uid
    };
    match row.kind {
        RowKind::File { .. } => type_is(FileType::RegularFile) && size_is() && rest(),
        RowKind::Directory => type_is(FileType::Directory) && rest(),
        RowKind::Symlink => type_is(FileType::Symlink) && size_is(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::hand::root;
    use super::*;

    const MTIME: i64 = 1_000_000_000;

    pub(in super::super) fn row(path: &str, kind: RowKind) -> IndexRow<'_> {
        IndexRow {
            path: path.as_bytes(),
            kind,
            size: 0,
            mtime: MTIME,
            content: None,
        }
    }

    /// Makes directories with so many empty files each; their paths, with what they are, in order.
    pub(in super::super) fn make(files: &Path, dirs: &[(String, usize)]) -> Vec<(String, RowKind)> {
        let mut made = Vec::new();
        for (dir, count) in dirs {
            fs::create_dir(files.join(dir)).unwrap();
            made.push((dir.clone(), RowKind::Directory));
            for number in 0..*count {
                let path = format!("{dir}/{number}");
                File::create(files.join(&path)).unwrap();
                made.push((path, RowKind::File { executable: false }));
            }
        }
        made.sort_by(|one, other| one.0.cmp(&other.0));
        for (path, kind) in made.iter().rev() {
            let on = File::open(files.join(path)).unwrap();
            on.set_permissions(Permissions::from_mode(kind.mode().into()))
                .unwrap();
            on.set_modified(UNIX_EPOCH + Duration::from_secs(MTIME as u64))
                .unwrap();
        }
        made
    }

    /// How many are wrong, by pieces of so many rows, and how many handles were open at once at most after one.
    fn look(files: &Path, made: &[(String, RowKind)], together: usize) -> (usize, usize) {
        let root = root(files).unwrap();
        let mut look = Look::new(&root, true);
        let rows: Vec<_> = made.iter().map(|(path, kind)| row(path, *kind)).collect();
        let (mut wrong, mut open) = (0, 0);
        for piece in rows.chunks(together) {
            wrong += look.wrong(piece).unwrap();
            open = open.max(look.above.iter().filter(|(_, fd)| fd.is_some()).count());
        }
        (wrong, open)
    }

    #[test]
    fn directories_at_the_top_do_not_stay_open() {
        let files = tempfile::tempdir().unwrap();
        let dirs: Vec<_> = (0..1200).map(|number| (format!("d{number}"), FEW + 2)).collect();
        let made = make(files.path(), &dirs);
        assert_eq!(look(files.path(), &made, 512), (0, 1));
    }

    #[test]
    fn directories_of_few_and_of_many_are_looked_into_alike() {
        let files = tempfile::tempdir().unwrap();
        let dirs = [
            ("a", 3),
            ("a/b", 20),
            ("a/b/c", 1),
            ("a/b/c/d", 12),
            ("a/b-c", 2),
            ("e", 0),
            ("e/f", 1),
            ("e/f/g", 1),
        ];
        let dirs = dirs.map(|(dir, count)| (dir.to_owned(), count));
        let made = make(files.path(), &dirs);
        let at = |path: &str| files.path().join(path);
        for together in [1, 2, 7, 512] {
            assert_eq!(look(files.path(), &made, together).0, 0, "{together}");
        }
        fs::write(at("e/f/g/0"), "other").unwrap();
        fs::remove_file(at("a/b/c/d/7")).unwrap();
        for together in [1, 2, 7, 512] {
            // The directory that lost a file has another time too.
            assert_eq!(look(files.path(), &made, together).0, 3, "{together}");
        }
    }

    #[test]
    fn what_lies_behind_a_link_is_not_there() {
        let files = tempfile::tempdir().unwrap();
        for few in [1, FEW + 5] {
            let dir = format!("d{few}");
            let made = make(files.path(), &[(dir.clone(), few)]);
            let aside = files.path().join(format!("aside{few}"));
            fs::rename(files.path().join(&dir), &aside).unwrap();
            symlink(&aside, files.path().join(&dir)).unwrap();
            for together in [1, 512] {
                assert_eq!(look(files.path(), &made, together).0, few + 1);
            }
        }
    }

    #[test]
    fn without_handles_nothing_is_called_damaged() {
        assert_eq!(or_unfit(Err(Errno::MFILE)), Err(Errno::MFILE));
        assert_eq!(or_unfit(Err(Errno::NOENT)), Ok(false));
        assert_eq!(or_unfit(Err(Errno::LOOP)), Ok(false));
        assert_eq!(or_unfit(Ok(true)), Ok(true));
    }
}
