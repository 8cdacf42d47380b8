//! A commit's tree written to a directory.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use crate::error::Error;
use crate::event::Event;
use crate::tree::{CommitTree, Node};
use crate::write::{WriteOptions, Writing};

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
    /// the commit's time on everything, by `jobs` threads. Written to `.<name>.partial` beside `dest` and renamed, so that nothing
    /// half-written is left there; what a killed export left is removed by the next one.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DestinationInUse`], [`Error::Damaged`], [`Error::Cancelled`].
    pub fn export(
        &self,
        dest: &Path,
        jobs: NonZeroUsize,
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
        let written = self.write_all(&partial, jobs, cancel, on_event);
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
        jobs: NonZeroUsize,
        cancel: &AtomicBool,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Exported, Error> {
        fs::create_dir_all(root).map_err(failed("making the directory", root))?;
        fs::set_permissions(root, Permissions::from_mode(0o755))
            .map_err(failed("setting the mode of", root))?;
        let nodes: Vec<&Node> = self.nodes.iter().collect();
        let options = WriteOptions {
            jobs,
            mtime: Some(self.time),
        };
        Writing::new(self, root, &nodes, options, cancel, on_event)?.run()
    }
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
