//! The bare mirror: its lock, its making and repair, and the refs that shipit keeps in it.
//!
//! Under `refs/shipit/`: `rev/<id>` holds commits that were fetched alone (the newest ones; they tell a server what need not
//! be sent again), `full/<remote>/…` the branches and tags of a full fetch, `last/<remote>/<name in hex>` what a remote
//! last said a name means. `<remote>` is a digest of the URL: no URL is written into the mirror.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use git2::{ErrorClass, Oid, Repository, RepositoryInitOptions};
use shipit_artifact::{hex, sha256};

use crate::error::Error;
use crate::event::Event;
use crate::remote::Remote;
use crate::repository;

/// How many single commits keep their ref.
const KEPT_REVISIONS: usize = 32;
/// The file that says that the mirror has the history, not single commits alone.
const FULL_MARK: &str = "shipit-full";

/// The mirror, locked for this process and the git programs it starts.
pub(crate) struct Mirror {
    pub path: PathBuf,
    lock: File,
}

impl Mirror {
    /// Waits for the lock. The lock is the kernel's: it goes with the last process that holds it, killed or not.
    pub(crate) fn lock(
        path: &Path,
        cancel: &AtomicBool,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Self, Error> {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(failed("making the directory", parent))?;
        let lock_path = beside(path, ".lock");
        let mut options = OpenOptions::new();
        let lock = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path);
        let lock = lock.map_err(failed("opening", &lock_path))?;
        let mut said = false;
        loop {
            match lock.try_lock() {
                Ok(()) => {
                    return Ok(Self {
                        path: path.to_path_buf(),
                        lock,
                    });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(failed("locking", &lock_path)(source)),
            }
            if !std::mem::replace(&mut said, true) {
                on_event(Event::WaitingForLock {
                    path: lock_path.clone(),
                });
            }
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The lock for a git program's standard input: while that program lives, no other shipit touches the mirror, even
    /// when this process was killed.
    pub(crate) fn lock_for_child(&self) -> Result<File, Error> {
        self.lock
            .try_clone()
            .map_err(failed("duplicating the lock of", &self.path))
    }

    /// Opens the mirror, making it when it is not there, and anew when it is no repository any more.
    pub(crate) fn open(&self, on_event: &(dyn Fn(Event) + Sync)) -> Result<Repository, Error> {
        remove(&self.trash())?;
        if self.aside().exists() {
            // A process was killed before it had the new one whole.
            self.put_back()?;
        }
        if !self.path.exists() {
            self.make()?;
            return repository::open_git_dir(&self.path);
        }
        let removed = self.remove_leftovers();
        if !removed.is_empty() {
            on_event(Event::MirrorRepaired {
                path: self.path.clone(),
                removed,
            });
        }
        match repository::open_git_dir(&self.path) {
            // Of a file that cannot be read nobody knows whether it is damaged.
            Err(Error::Repository { source, .. }) if source.class() != ErrorClass::Os => {
                self.trash_what_is_there()?;
                self.make()?;
                on_event(self.remade(source.message()));
                repository::open_git_dir(&self.path)
            }
            other => other,
        }
    }

    /// Moves the mirror aside and puts an empty one in its place. Whether it is thrown away is settled when something could be
    /// fetched into the empty one: [`Mirror::settle`] or [`Mirror::put_back`] follows.
    pub(crate) fn move_aside(&self) -> Result<Repository, Error> {
        let aside = self.aside();
        remove(&aside)?;
        fs::rename(&self.path, &aside).map_err(failed("moving aside", &self.path))?;
        self.make()?;
        repository::open_git_dir(&self.path)
    }

    /// Throws away the mirror that was moved aside: the new one has proved that the damage was in it.
    pub(crate) fn settle(&self, reason: &str, on_event: &(dyn Fn(Event) + Sync)) -> Result<(), Error> {
        on_event(self.remade(reason));
        let trash = self.trash();
        remove(&trash)?;
        // In one step: what is half removed must not be put back.
        fs::rename(self.aside(), &trash).map_err(failed("moving aside", &trash))?;
        remove(&trash)
    }

    /// Puts the mirror that was moved aside back in the place of the new one.
    pub(crate) fn put_back(&self) -> Result<(), Error> {
        if self.path.exists() {
            self.trash_what_is_there()?;
        }
        fs::rename(self.aside(), &self.path).map_err(failed("putting back", &self.path))
    }

    fn trash_what_is_there(&self) -> Result<(), Error> {
        let trash = self.trash();
        remove(&trash)?;
        fs::rename(&self.path, &trash).map_err(failed("moving aside", &self.path))?;
        remove(&trash)
    }

    fn aside(&self) -> PathBuf {
        beside(&self.path, ".broken")
    }

    fn trash(&self) -> PathBuf {
        beside(&self.path, ".old")
    }

    fn remade(&self, reason: &str) -> Event {
        Event::MirrorRemade {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }

    fn make(&self) -> Result<(), Error> {
        let new = beside(&self.path, ".new");
        remove(&new)?;
        let mut options = RepositoryInitOptions::new();
        options
            .bare(true)
            .external_template(false)
            .no_reinit(true)
            .mkdir(true)
            .initial_head("none");
        let made = Repository::init_opts(&new, &options).and_then(|repository| {
            // For libgit2: a redirect to another host would take the token along. The git program is told by itself.
            repository.config()?.set_bool("http.followRedirects", false)
        });
        made.map_err(|source| Error::writing("making the mirror", &new, source))?;
        fs::rename(&new, &self.path).map_err(failed("renaming the new mirror to", &self.path))
    }

    /// Removes what an interrupted fetch leaves: lock files of git's own and half-received packs. The lock is held, so
    /// nobody is using them.
    fn remove_leftovers(&self) -> Vec<PathBuf> {
        let mut removed = Vec::new();
        let mut directories = vec![self.path.clone()];
        while let Some(directory) = directories.pop() {
            for item in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = item.path();
                let name = item.file_name().to_string_lossy().into_owned();
                let is_dir = item.file_type().is_ok_and(|kind| kind.is_dir());
                let in_objects = path.starts_with(self.path.join("objects"));
                let stale = (!in_objects && name.ends_with(".lock") && !is_dir)
                    || (in_objects
                        && (name.starts_with("tmp_") || name.contains("_git2_") || name.ends_with(".lock")));
                let gone = stale
                    && if is_dir {
                        fs::remove_dir_all(&path)
                    } else {
                        fs::remove_file(&path)
                    }
                    .is_ok();
                if gone {
                    removed.push(
                        path.strip_prefix(&self.path)
                            .map_or(path.clone(), Path::to_path_buf),
                    );
                } else if is_dir {
                    directories.push(path);
                }
            }
        }
        removed.sort();
        removed
    }

    /// Whether the mirror has the history.
    pub(crate) fn is_full(&self) -> bool {
        self.path.join(FULL_MARK).exists()
    }

    pub(crate) fn mark_full(&self) -> Result<(), Error> {
        let mark = self.path.join(FULL_MARK);
        File::create(&mark).map_err(failed("writing", &mark)).map(|_| ())
    }

    /// Keeps what a remote says a name means.
    pub(crate) fn remember(
        &self,
        repository: &Repository,
        remote: &Remote,
        name: &str,
        id: Oid,
    ) -> Result<(), Error> {
        let reference = last_ref(remote, name);
        repository
            .reference(&reference, id, true, "")
            .map_err(|source| Error::writing("writing a ref into", &self.path, source))?;
        // The file's time is when it was last said, also when nothing changed.
        let path = self.path.join(&reference);
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(SystemTime::now()))
            .map_err(failed("setting the time of", &path))
    }

    /// What a remote last said a name means, and when in unix seconds.
    pub(crate) fn recall(
        &self,
        repository: &Repository,
        remote: &Remote,
        name: &str,
    ) -> Option<(Oid, Option<i64>)> {
        let reference = last_ref(remote, name);
        let id = repository.refname_to_id(&reference).ok()?;
        let seen = fs::metadata(self.path.join(&reference))
            .and_then(|meta| meta.modified())
            .ok();
        let seen = seen.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Some((id, seen.and_then(|time| i64::try_from(time.as_secs()).ok())))
    }

    /// Drops the oldest refs of single commits; their objects stay.
    pub(crate) fn prune_revisions(&self, repository: &Repository) {
        let mut dated: Vec<(SystemTime, String)> = fs::read_dir(self.path.join("refs/shipit/rev"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|item| {
                Some((
                    item.metadata().ok()?.modified().ok()?,
                    item.file_name().into_string().ok()?,
                ))
            })
            .collect();
        dated.sort();
        let surplus = dated.len().saturating_sub(KEPT_REVISIONS);
        for (_, name) in dated.into_iter().take(surplus) {
            if let Ok(mut reference) = repository.find_reference(&format!("refs/shipit/rev/{name}")) {
                let _ = reference.delete();
            }
        }
    }

    /// Drops the branches and tags of a remote's last full fetch; their objects stay.
    pub(crate) fn drop_full_refs(&self, repository: &Repository, remote: &Remote) {
        let pattern = format!("refs/shipit/full/{}/*", key(remote));
        for mut reference in repository
            .references_glob(&pattern)
            .into_iter()
            .flatten()
            .flatten()
        {
            let _ = reference.delete();
        }
    }
}

/// The ref of a commit that is fetched alone.
pub(crate) fn revision_ref(id: Oid) -> String {
    format!("refs/shipit/rev/{id}")
}

/// The refspecs of a full fetch.
pub(crate) fn full_refspecs(remote: &Remote) -> Vec<String> {
    let key = key(remote);
    ["heads", "tags"]
        .iter()
        .map(|kind| format!("+refs/{kind}/*:refs/shipit/full/{key}/{kind}/*"))
        .collect()
}

fn last_ref(remote: &Remote, name: &str) -> String {
    format!("refs/shipit/last/{}/{}", key(remote), hex(name.as_bytes()))
}

fn key(remote: &Remote) -> String {
    let digest = sha256(remote.url().as_bytes()).to_string();
    digest.get(..16).unwrap_or(&digest).to_owned()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
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
