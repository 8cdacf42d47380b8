//! Entries of a commit's tree written below a directory, by several threads. Whether the directory may be written into,
//! and what else lies there, is the caller's to know.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use rustix::fs::{
    AtFlags, Mode, OFlags, Timespec, Timestamps, fchmod, fstat, futimens, openat, symlinkat, unlinkat,
    utimensat,
};
use rustix::io::Errno;
use shipit_artifact::{EntryPath, Kind};

use crate::descent::{Descent, as_path, open_root, split};
use crate::error::Error;
use crate::event::Event;
use crate::export::Exported;
use crate::large::LARGE;
use crate::tree::{CommitTree, Content, Node, open_object};

/// A thread takes so many entries at once, or so many bytes: neighbours, which lie in the same directories.
const RUN_ENTRIES: usize = 64;
const RUN_BYTES: u64 = 1 << 20;
/// All threads together hold no more than this of the files that are not written one at a time. Bytes.
const AT_ONCE: u64 = 64 << 20;
/// What of a large file is written at once.
const PIECE: usize = 1 << 20;
/// How often progress is shown, in milliseconds.
const SHOWN: u64 = 100;

/// How [`CommitTree::write`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// How many threads read and write.
    pub jobs: NonZeroUsize,
    /// The time that everything written gets, in unix seconds; `None` leaves the time of writing.
    pub mtime: Option<i64>,
}

impl CommitTree {
    /// Writes exactly these entries below `dest`, a directory that is made when it is not there: modes 0644 and 0755 under
    /// any umask. The directories that lead to them are made as far as they are missing, and get the mode and time too.
    ///
    /// A file or symlink that stands at an entry's path is removed, never written through, also where a directory must
    /// be; a directory where a file must be is an error. Below `dest` no symlink is followed. The entries are written in
    /// place: one that is killed leaves files out, or one short, for each thread. An error leaves no file short.
    ///
    /// # Errors
    /// [`Error::NoEntry`], [`Error::Io`], [`Error::Damaged`], [`Error::Cancelled`].
    pub fn write(
        &self,
        dest: &Path,
        paths: &[EntryPath],
        options: WriteOptions,
        cancel: &AtomicBool,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Exported, Error> {
        let mut nodes = Vec::with_capacity(paths.len());
        for path in paths {
            let found = self.node(path).ok_or_else(|| Error::NoEntry {
                commit: self.id.clone(),
                path: path.to_string(),
            })?;
            nodes.push(found);
        }
        nodes.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
        nodes.dedup_by(|a, b| a.entry.path == b.entry.path);
        std::fs::create_dir_all(dest).map_err(|source| Error::Io {
            doing: "making the directory",
            path: dest.to_path_buf(),
            source,
        })?;
        let writing = Writing::new(self, dest, &nodes, options, cancel, on_event)?;
        writing.run()
    }
}

/// One writing of some nodes.
pub(crate) struct Writing<'a> {
    tree: &'a CommitTree,
    root: &'a Path,
    top: OwnedFd,
    nodes: &'a [&'a Node],
    options: WriteOptions,
    cancel: &'a AtomicBool,
    on_event: &'a (dyn Fn(Event) + Sync),
    /// Held while a large file is written.
    large: Mutex<()>,
    /// Set by the first thread that fails.
    failed: AtomicBool,
    started: Instant,
    shown: AtomicU64,
    files: AtomicU64,
    bytes: AtomicU64,
    total_files: u64,
}

impl<'a> Writing<'a> {
    /// `nodes` are sorted, `root` is there.
    pub(crate) fn new(
        tree: &'a CommitTree,
        root: &'a Path,
        nodes: &'a [&'a Node],
        options: WriteOptions,
        cancel: &'a AtomicBool,
        on_event: &'a (dyn Fn(Event) + Sync),
    ) -> Result<Self, Error> {
        let top = open_root(root).map_err(|source| Error::Io {
            doing: "opening",
            path: root.to_path_buf(),
            source,
        })?;
        let is_file = |node: &&&Node| node.entry.kind != Kind::Directory;
        Ok(Self {
            tree,
            root,
            top,
            nodes,
            options,
            cancel,
            on_event,
            large: Mutex::new(()),
            failed: AtomicBool::new(false),
            started: Instant::now(),
            shown: AtomicU64::new(0),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            total_files: nodes.iter().filter(is_file).count() as u64,
        })
    }

    pub(crate) fn run(&self) -> Result<Exported, Error> {
        let runs = runs(self.nodes);
        let next = AtomicUsize::new(0);
        let helpers = self.options.jobs.get().min(runs.len()).saturating_sub(1);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..helpers)
                .map(|_| scope.spawn(|| self.work(&runs, &next)))
                .collect();
            let own = self.work(&runs, &next);
            let others = threads.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            // All threads have ended before the first error goes out.
            others.collect::<Vec<_>>().into_iter().fold(own, Result::and)
        })?;
        self.settle_directories()?;
        Ok(Exported {
            files: self.files.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        })
    }

    /// What one thread does.
    fn work(&self, runs: &[Range<usize>], next: &AtomicUsize) -> Result<(), Error> {
        let mut descent = Descent::new(self.root, self.top.as_fd());
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            for node in self.nodes.get(run.clone()).unwrap_or_default() {
                if self.failed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let done = self.check_cancel().and_then(|()| self.node(node, &mut descent));
                done.inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
                self.show(node);
            }
        }
        Ok(())
    }

    fn check_cancel(&self) -> Result<(), Error> {
        match self.cancel.load(Ordering::Relaxed) {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }

    fn show(&self, node: &Node) {
        if node.entry.kind == Kind::Directory {
            return;
        }
        let files = self.files.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.bytes.fetch_add(node.entry.size, Ordering::Relaxed) + node.entry.size;
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.shown.load(Ordering::Relaxed);
        let due = now >= last.saturating_add(SHOWN);
        if due
            && self
                .shown
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            (self.on_event)(Event::Exporting {
                files,
                total_files: self.total_files,
                bytes,
            });
        }
    }

    fn node(&self, node: &Node, descent: &mut Descent<'_>) -> Result<(), Error> {
        let path = node.entry.path.as_bytes();
        let (directory, name) = split(path);
        match &node.entry.kind {
            Kind::Directory => descent.enter(path).map(|_| ()),
            Kind::Symlink { target } => {
                let at = descent.enter(directory)?;
                self.symlink(at, name, target)
                    .map_err(self.failed("making the symlink", path))
            }
            Kind::File { executable } => {
                let mode = Mode::from_raw_mode(if *executable { 0o755 } else { 0o644 });
                let at = descent.enter(directory)?;
                let mut file = create(at, name, mode).map_err(self.failed("writing", path))?;
                let written = self.content(node, &mut file).and_then(|()| {
                    self.settle(&file, mode)
                        .map_err(self.failed("setting the mode and time of", path))
                });
                if written.is_err() {
                    let _ = unlinkat(at, name, AtFlags::empty());
                }
                written
            }
        }
    }

    fn symlink(&self, at: BorrowedFd<'_>, name: &[u8], target: &[u8]) -> Result<(), Errno> {
        replacing(at, name, || symlinkat(target, at, name))?;
        match self.times() {
            Some(times) => utimensat(at, name, &times, AtFlags::SYMLINK_NOFOLLOW),
            None => Ok(()),
        }
    }

    fn content(&self, node: &Node, file: &mut File) -> Result<(), Error> {
        let path = node.entry.path.as_bytes();
        // Memory holds one large file, and not one for each thread.
        let large = (AT_ONCE / self.options.jobs.get() as u64).min(LARGE);
        let _alone =
            (node.entry.size >= large).then(|| self.large.lock().unwrap_or_else(PoisonError::into_inner));
        match &node.content {
            Content::None => Ok(()),
            Content::Bytes(bytes) => file.write_all(bytes).map_err(self.failed("writing", path)),
            Content::Blob { .. } if node.entry.size >= LARGE => {
                let mut from = self.tree.reader(node)?;
                let mut piece = vec![0; PIECE];
                loop {
                    self.check_cancel()?;
                    let count = match from.read(&mut piece) {
                        Ok(0) => return Ok(()),
                        Ok(count) => count,
                        Err(error) => {
                            return Err(error.downcast().unwrap_or_else(self.failed("reading", path)));
                        }
                    };
                    let piece = piece.get(..count).unwrap_or_default();
                    file.write_all(piece).map_err(self.failed("writing", path))?;
                }
            }
            Content::Blob { .. } | Content::Converted { .. } => self.tree.with_bytes(node, |bytes| {
                file.write_all(&bytes).map_err(self.failed("writing", path))
            }),
            Content::Lfs { file: object, .. } => {
                let mut from = open_object(object)?;
                io::copy(&mut from, file)
                    .map(|_| ())
                    .map_err(self.failed("writing", path))
            }
        }
    }

    /// The mode, where the umask or the directory's own rules gave another, and the time.
    fn settle(&self, file: impl AsFd, mode: Mode) -> Result<(), Errno> {
        if fstat(&file)?.st_mode & 0o7777 != mode.as_raw_mode() {
            fchmod(&file, mode)?;
        }
        match self.times() {
            Some(times) => futimens(&file, &times),
            None => Ok(()),
        }
    }

    fn times(&self) -> Option<Timestamps> {
        let seconds = self.options.mtime?;
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        Some(Timestamps {
            last_access: time,
            last_modification: time,
        })
    }

    /// Directories last: writing into one changes its time.
    fn settle_directories(&self) -> Result<(), Error> {
        let mut directories = BTreeSet::new();
        for node in self.nodes {
            let mut path = node.entry.path.as_bytes();
            if node.entry.kind != Kind::Directory {
                path = split(path).0;
            }
            while !path.is_empty() && directories.insert(path) {
                path = split(path).0;
            }
        }
        let mut descent = Descent::new(self.root, self.top.as_fd());
        for path in directories {
            let directory = descent.enter(path)?;
            self.settle(directory, Mode::from_raw_mode(0o755))
                .map_err(self.failed("setting the mode and time of", path))?;
        }
        // The root's mode is whoever made it's to choose.
        let touched = if self.nodes.is_empty() { None } else { self.times() };
        touched
            .map_or(Ok(()), |times| futimens(&self.top, &times))
            .map_err(self.failed("setting the time of", b""))
    }

    /// With the whole path, for an error.
    fn failed<'p, E: Into<io::Error>>(
        &self,
        doing: &'static str,
        path: &'p [u8],
    ) -> impl FnOnce(E) -> Error + use<'a, 'p, E> {
        let root = self.root;
        move |source| Error::Io {
            doing,
            path: root.join(as_path(path)),
            source: source.into(),
        }
    }
}

/// A new file, and never one that was there.
fn create(at: BorrowedFd<'_>, name: &[u8], mode: Mode) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    replacing(at, name, || openat(at, name, flags, mode)).map(File::from)
}

/// Makes something under a name; what stands there already is removed first.
fn replacing<T>(at: BorrowedFd<'_>, name: &[u8], make: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    match make() {
        Err(Errno::EXIST) => {
            unlinkat(at, name, AtFlags::empty())?;
            make()
        }
        other => other,
    }
}

/// Cuts the nodes into what a thread takes at once.
fn runs(nodes: &[&Node]) -> Vec<Range<usize>> {
    let mut runs = Vec::with_capacity(nodes.len() / RUN_ENTRIES + 1);
    let (mut start, mut bytes) = (0, 0);
    for (at, node) in nodes.iter().enumerate() {
        bytes += node.entry.size;
        if at + 1 - start >= RUN_ENTRIES || bytes >= RUN_BYTES || at + 1 == nodes.len() {
            runs.push(start..at + 1);
            (start, bytes) = (at + 1, 0);
        }
    }
    runs
}
