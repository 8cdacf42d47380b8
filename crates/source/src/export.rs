//! A commit's tree written to a directory.

use std::ffi::OsString;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use serde::Serialize;
use shipit_artifact::Kind;

use crate::error::Error;
use crate::event::Event;
use crate::tree::{CommitTree, Content, Node};

/// What an export wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Files and symlinks.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl CommitTree {
    /// Writes the tree to `dest`, which does not exist yet or is an empty directory: modes 0644 and 0755 under any umask,
    /// the commit's time on everything. Written to `.<name>.partial` beside `dest` and renamed, so that nothing
    /// half-written is left there; what a killed export left is removed by the next one.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DestinationInUse`], [`Error::Damaged`], [`Error::Cancelled`].
    pub fn export(
        &self,
        dest: &Path,
        cancel: &AtomicBool,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Exported, Error> {
        let occupied = match fs::read_dir(dest) {
            Ok(mut items) => items.next().is_some(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        if occupied {
            return Err(Error::DestinationInUse {
                path: dest.to_path_buf(),
            });
        }
        let partial = partial_path(dest);
        remove(&partial)?;
        let written = self.write_all(&partial, cancel, on_event);
        let written = written.and_then(|exported| {
            fs::rename(&partial, dest).map_err(failed("renaming the export to", dest))?;
            Ok(exported)
        });
        if written.is_err() {
            let _ = fs::remove_dir_all(&partial);
        }
        written
    }

    fn write_all(
        &self,
        root: &Path,
        cancel: &AtomicBool,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Exported, Error> {
        fs::create_dir_all(root).map_err(failed("making the directory", root))?;
        let time = system_time(self.time);
        let total_files = self
            .nodes
            .iter()
            .filter(|node| node.entry.kind != Kind::Directory)
            .count() as u64;
        let mut exported = Exported { files: 0, bytes: 0 };
        let mut shown = Instant::now();
        for node in &self.nodes {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let path = root.join(node.entry.path.as_path());
            self.write_node(node, &path, time)?;
            if node.entry.kind != Kind::Directory {
                exported.files += 1;
                exported.bytes += node.entry.size;
            }
            if shown.elapsed() >= Duration::from_millis(100) {
                shown = Instant::now();
                on_event(Event::Exporting {
                    files: exported.files,
                    total_files,
                    bytes: exported.bytes,
                });
            }
        }
        // Directories last: writing into one changes its time.
        let directories = self
            .nodes
            .iter()
            .filter(|node| node.entry.kind == Kind::Directory);
        for path in directories
            .map(|node| root.join(node.entry.path.as_path()))
            .chain([root.to_path_buf()])
        {
            settle(
                &File::open(&path).map_err(failed("opening", &path))?,
                0o755,
                time,
                &path,
            )?;
        }
        Ok(exported)
    }

    fn write_node(&self, node: &Node, path: &Path, time: SystemTime) -> Result<(), Error> {
        match &node.entry.kind {
            Kind::Directory => fs::create_dir(path).map_err(failed("making the directory", path)),
            Kind::Symlink { target } => {
                use std::os::unix::ffi::OsStrExt;
                let target = std::ffi::OsStr::from_bytes(target);
                std::os::unix::fs::symlink(target, path).map_err(failed("making the symlink", path))?;
                let spec = Timespec {
                    tv_sec: self.time,
                    tv_nsec: 0,
                };
                let times = Timestamps {
                    last_access: spec,
                    last_modification: spec,
                };
                utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(io::Error::from)
                    .map_err(failed("setting the time of", path))
            }
            Kind::File { executable } => {
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(path)
                    .map_err(failed("writing", path))?;
                self.write_content(node, &mut file, path)?;
                settle(&file, if *executable { 0o755 } else { 0o644 }, time, path)
            }
        }
    }

    fn write_content(&self, node: &Node, file: &mut File, path: &Path) -> Result<(), Error> {
        match &node.content {
            Content::None => Ok(()),
            Content::Bytes(bytes) => file.write_all(bytes).map_err(failed("writing", path)),
            Content::Blob { .. } => self.with_bytes(node, |bytes| {
                file.write_all(bytes).map_err(failed("writing", path))
            }),
            Content::Lfs(object) => {
                let mut from = File::open(object).map_err(failed("reading", object))?;
                io::copy(&mut from, file)
                    .map_err(failed("writing", path))
                    .map(|_| ())
            }
        }
    }
}

fn settle(file: &File, mode: u32, time: SystemTime, path: &Path) -> Result<(), Error> {
    file.set_permissions(Permissions::from_mode(mode))
        .map_err(failed("setting the mode of", path))?;
    let times = FileTimes::new().set_accessed(time).set_modified(time);
    file.set_times(times).map_err(failed("setting the time of", path))
}

fn system_time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}

fn partial_path(dest: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(dest.file_name().unwrap_or_default());
    name.push(".partial");
    dest.with_file_name(name)
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removing", path)(error)),
        _ => Ok(()),
    }
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + use<'a> {
    move |source| Error::Io {
        doing,
        path: path.to_path_buf(),
        source,
    }
}
