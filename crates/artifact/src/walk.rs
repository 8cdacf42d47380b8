//! Lists a directory: several threads take the directories beneath it from one stack.
//!
//! The order in which they come to them does not show: the listing is sorted at the end.

use std::io;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{AtFlags, FileType, RawDir, readlinkat, statat};

use crate::beneath::DIRECTORY;
use crate::dir_tree::Top;
use crate::path::EntryPath;
use crate::rules::Filter;
use crate::tree::{Kind, TreeEntry, TreeError};

/// How much of a directory is read in one call.
const BUFFER: usize = 32 << 10;

/// A directory's listing.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Sorted by path.
    pub(crate) entries: Vec<TreeEntry>,
    /// What is no file, symlink or directory, sorted.
    pub(crate) skipped: Vec<EntryPath>,
}

/// Lists what the filter leaves of a directory, by up to `jobs` threads.
pub(crate) fn list(top: &Top, filter: &Filter<'_>, jobs: NonZeroUsize) -> Result<Listed, TreeError> {
    let mut first = Walker::new(top, filter);
    match filter.starts() {
        None => first.directories.push(None),
        Some(starts) => {
            for path in starts {
                first.start(path)?;
            }
        }
    }
    let shared = Shared {
        state: Mutex::new(State {
            directories: std::mem::take(&mut first.directories),
            at_work: 0,
            failed: None,
        }),
        changed: Condvar::new(),
    };
    let mut walkers = thread::scope(|scope| {
        let mut others = Vec::new();
        for _ in 1..jobs.get() {
            let work = || {
                let mut walker = Walker::new(top, filter);
                walker.work(&shared);
                walker
            };
            let thread = thread::Builder::new().name("list".to_owned());
            // One thread alone lists as well.
            let Ok(thread) = thread.spawn_scoped(scope, work) else {
                break;
            };
            others.push(thread);
        }
        first.work(&shared);
        let mut walkers = vec![first];
        for thread in others {
            match thread.join() {
                Ok(walker) => walkers.push(walker),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        walkers
    });
    if let Some(error) = shared.lock().failed.take() {
        return Err(error);
    }
    let mut listed = Listed::default();
    for walker in &mut walkers {
        listed.entries.append(&mut walker.entries);
        listed.skipped.append(&mut walker.skipped);
    }
    // Each thread's part is sorted already, which the stable sort makes use of.
    listed.entries.sort_by(|a, b| a.path.cmp(&b.path));
    listed.entries.dedup_by(|a, b| a.path == b.path);
    listed.skipped.sort();
    listed.skipped.dedup();
    Ok(listed)
}

/// What the threads share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Directories that nobody has listed yet; `None` is the packed root.
    directories: Vec<Option<EntryPath>>,
    /// How many threads list one, and may find more.
    at_work: usize,
    failed: Option<TreeError>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory to be listed; `None` when there will be none any more.
    fn take(&self) -> Option<Option<EntryPath>> {
        let mut state = self.lock();
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(directory) = state.directories.pop() {
                state.at_work += 1;
                return Some(directory);
            }
            if state.at_work == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A directory is listed; these were found in it.
    fn done(&self, found: &mut Vec<Option<EntryPath>>, result: Result<(), TreeError>) {
        let mut state = self.lock();
        state.directories.append(found);
        state.at_work -= 1;
        if let Err(error) = result {
            state.failed.get_or_insert(error);
        }
        self.changed.notify_all();
    }
}

/// One thread's part of the listing.
struct Walker<'a> {
    top: &'a Top,
    filter: &'a Filter<'a>,
    buffer: Vec<MaybeUninit<u8>>,
    /// Directories found and not yet handed on.
    directories: Vec<Option<EntryPath>>,
    entries: Vec<TreeEntry>,
    skipped: Vec<EntryPath>,
}

impl<'a> Walker<'a> {
    fn new(top: &'a Top, filter: &'a Filter<'a>) -> Self {
        Self {
            top,
            filter,
            buffer: vec![MaybeUninit::uninit(); BUFFER],
            directories: Vec::new(),
            entries: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// Lists directories until there are none any more.
    fn work(&mut self, shared: &Shared) {
        while let Some(directory) = shared.take() {
            let result = self.directory(directory.as_ref());
            shared.done(&mut self.directories, result);
        }
        self.entries.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// A path that listing begins with. One that does not exist contributes nothing.
    fn start(&mut self, path: &EntryPath) -> Result<(), TreeError> {
        let parent = path.parent();
        let directory = match self.top.root().open_at(parent.as_ref(), DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            directory => directory.map_err(|source| self.top.failed("list", Some(path), source))?,
        };
        match statat(&directory, path.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(source) => Err(self.top.failed("list", Some(path), source)),
            Ok(stat) => self.add(&directory, path.clone(), FileType::from_raw_mode(stat.st_mode)),
        }
    }

    fn directory(&mut self, path: Option<&EntryPath>) -> Result<(), TreeError> {
        let top = self.top;
        let failed = |source: io::Error| top.failed("list", path, source);
        let directory = top.root().open_at(path, DIRECTORY).map_err(failed)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut listing = RawDir::new(&directory, &mut buffer);
        while let Some(found) = listing.next() {
            let found = found.map_err(|errno| failed(errno.into()))?;
            let name = found.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let child = EntryPath::child(path, name).map_err(|source| top.path_error(source))?;
            self.add(&directory, child, found.file_type())?;
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Takes what lies at `path`, in `directory`, into the listing. A file system that does not know types says so.
    fn add(&mut self, directory: &OwnedFd, path: EntryPath, file_type: FileType) -> Result<(), TreeError> {
        let stat = || {
            statat(directory, path.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|source| self.top.failed("list", Some(&path), source))
        };
        let mut known = None;
        let file_type = match file_type {
            FileType::Unknown => FileType::from_raw_mode(known.insert(stat()?).st_mode),
            told => told,
        };
        if self.filter.leaves_out(&path, file_type == FileType::Directory) {
            return Ok(());
        }
        let (kind, size) = match file_type {
            FileType::RegularFile => {
                let stat = match known {
                    Some(stat) => stat,
                    None => stat()?,
                };
                let executable = stat.st_mode & 0o100 != 0;
                (Kind::File { executable }, stat.st_size as u64)
            }
            FileType::Directory => {
                self.directories.push(Some(path.clone()));
                (Kind::Directory, 0)
            }
            FileType::Symlink => {
                let target = readlinkat(directory, path.file_name(), Vec::new())
                    .map_err(|source| self.top.failed("read the symlink", Some(&path), source))?
                    .into_bytes();
                (Kind::Symlink { target }, 0)
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
