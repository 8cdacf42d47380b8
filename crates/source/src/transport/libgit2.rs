//! Fetching with libgit2, on a thread of its own: libgit2 can block in the network where no flag reaches it, so the caller
//! watches the clock and the cancel flag, and leaves the thread behind when it must. A thread that was left behind ends
//! at its next callback and writes nothing any more.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use git2::{
    AutotagOption, CertificateCheckStatus, Direction, ErrorClass, ErrorCode, FetchOptions, FetchPrune, Oid,
    RemoteCallbacks, RemoteRedirect, Repository,
};

use super::{Depth, Failure, Head, Request, Wire, peeled, scrubbed};
use crate::error::{Error, disk_error};
use crate::event::Event;
use crate::options::SourceOptions;
use crate::remote::Remote;
use crate::repository;

mod callbacks;
use callbacks::{Access, Refusal};

/// libgit2's word for "everything": the largest depth.
const UNSHALLOW: i32 = i32::MAX;

pub(super) fn list(wire: &Wire<'_>, remote: &Remote) -> Result<Vec<Head>, Failure> {
    watch(wire, remote, |worker| {
        let repository = worker.open()?;
        let mut connection = repository.remote_anonymous(&worker.remote.url())?;
        let access = worker.access();
        let connected = connection.connect_auth(Direction::Fetch, Some(worker.callbacks(&access)), None);
        let connected = connected.map_err(|error| access.refused(error))?;
        let listed = connected
            .list()?
            .iter()
            .map(|head| (head.name().to_owned(), head.oid()));
        Ok(peeled(listed.collect::<Vec<(String, Oid)>>()))
    })
}

pub(super) fn fetch(wire: &Wire<'_>, remote: &Remote, request: &Request) -> Result<(), Failure> {
    let request = request.clone();
    watch(wire, remote, move |worker| {
        let repository = worker.open()?;
        let mut connection = repository.remote_anonymous(&worker.remote.url())?;
        let access = worker.access();
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(worker.callbacks(&access))
            .download_tags(AutotagOption::None)
            .update_fetchhead(false)
            // A token must not follow a redirect to another host.
            .follow_redirects(RemoteRedirect::None)
            .prune(if request.prune {
                FetchPrune::On
            } else {
                FetchPrune::Off
            })
            .depth(match request.depth {
                Depth::One => 1,
                Depth::Missing => 0,
                Depth::Everything if repository.is_shallow() => UNSHALLOW,
                Depth::Everything => 0,
            });
        let fetched = connection.fetch(&request.refspecs, Some(&mut options), None);
        drop(options);
        fetched.map_err(|error| access.refused(error))
    })
}

/// What the thread works with.
struct Worker {
    source: SourceOptions,
    mirror: PathBuf,
    remote: Remote,
    signals: Arc<Signals>,
    to: Sender<Message<()>>,
}

/// Between the thread and its watcher.
#[derive(Default)]
struct Signals {
    abandoned: AtomicBool,
    /// Grows whenever something new is heard.
    heard: AtomicU64,
}

enum Message<T> {
    Progress {
        received_objects: u64,
        total_objects: u64,
        received_bytes: u64,
    },
    Done(T),
}

/// How the thread's work went wrong.
enum Broken {
    Git(git2::Error),
    Refused(Refusal),
    Other(Error),
}

impl From<git2::Error> for Broken {
    fn from(error: git2::Error) -> Self {
        Self::Git(error)
    }
}

impl Worker {
    fn open(&self) -> Result<Repository, Broken> {
        repository::open_git_dir(&self.mirror).map_err(Broken::Other)
    }

    fn access(&self) -> Access {
        Access::new(&self.source, &self.remote)
    }

    fn callbacks<'a>(&'a self, access: &'a Access) -> RemoteCallbacks<'a> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.credentials(move |_, user, allowed| {
            self.heard()?;
            access.credential(user, allowed)
        });
        callbacks.certificate_check(move |certificate, _| {
            self.heard()?;
            match certificate.as_hostkey().and_then(|key| key.hostkey()) {
                Some(key) => access
                    .check_host_key(key)
                    .map(|()| CertificateCheckStatus::CertificateOk),
                None if certificate.as_hostkey().is_some() => access.no_host_key(),
                None => Ok(CertificateCheckStatus::CertificatePassthrough),
            }
        });
        callbacks.sideband_progress(move |_| self.heard().is_ok());
        let mut last = (0, 0, 0);
        let mut shown = Instant::now();
        callbacks.transfer_progress(move |progress| {
            let now = (
                progress.received_objects(),
                progress.indexed_deltas(),
                progress.received_bytes(),
            );
            let is_new = now != last;
            last = now;
            if shown.elapsed() >= Duration::from_millis(100) {
                shown = Instant::now();
                let message = Message::Progress {
                    received_objects: progress.received_objects() as u64,
                    total_objects: progress.total_objects() as u64,
                    received_bytes: progress.received_bytes() as u64,
                };
                let _ = self.to.send(message);
            }
            if is_new {
                self.heard().is_ok()
            } else {
                !self.signals.abandoned.load(Ordering::Relaxed)
            }
        });
        callbacks
    }

    /// Notes a sign of life; an error when nobody waits any more.
    fn heard(&self) -> Result<(), git2::Error> {
        self.signals.heard.fetch_add(1, Ordering::Relaxed);
        if self.signals.abandoned.load(Ordering::Relaxed) {
            return Err(git2::Error::from_str("nobody waits for this transfer any more"));
        }
        Ok(())
    }
}

/// Hands on how far the thread is.
fn pass_on(progress: &Receiver<Message<()>>, wire: &Wire<'_>, remote: &Remote) {
    while let Ok(Message::Progress {
        received_objects,
        total_objects,
        received_bytes,
    }) = progress.try_recv()
    {
        (wire.on_event)(Event::Progress {
            remote: remote.to_string(),
            received_objects,
            total_objects,
            received_bytes,
        });
    }
}

/// Runs the work on its thread and watches it.
fn watch<T: Send + 'static>(
    wire: &Wire<'_>,
    remote: &Remote,
    work: impl FnOnce(&Worker) -> Result<T, Broken> + Send + 'static,
) -> Result<T, Failure> {
    let signals = Arc::new(Signals::default());
    let (progress_to, progress) = mpsc::channel();
    let (done_to, done) = mpsc::channel();
    let worker = Worker {
        source: wire.source.clone(),
        mirror: wire.mirror.path.clone(),
        remote: remote.clone(),
        signals: Arc::clone(&signals),
        to: progress_to,
    };
    thread::spawn(move || {
        let result = work(&worker);
        let _ = done_to.send(Message::Done(result));
    });
    let (mut heard, mut since) = (0, Instant::now());
    let limits = wire.source.timeouts;
    loop {
        pass_on(&progress, wire, remote);
        match done.recv_timeout(Duration::from_millis(40)) {
            Ok(Message::Done(result)) => {
                return result.map_err(|broken| failure(wire, broken));
            }
            Ok(Message::Progress { .. }) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::Unreachable(
                    "the thread that fetched ended without a word".to_owned(),
                ));
            }
        }
        let now = signals.heard.load(Ordering::Relaxed);
        if now != heard {
            (heard, since) = (now, Instant::now());
        }
        if wire.cancel.load(Ordering::Relaxed) {
            signals.abandoned.store(true, Ordering::Relaxed);
            return Err(Failure::Other(Error::Cancelled));
        }
        let limit = if heard == 0 {
            limits.stall.max(limits.connect)
        } else {
            limits.stall
        };
        if since.elapsed() > limit {
            signals.abandoned.store(true, Ordering::Relaxed);
            return Err(Failure::Unreachable(format!(
                "nothing came for {} s",
                limit.as_secs()
            )));
        }
    }
}

fn failure(wire: &Wire<'_>, broken: Broken) -> Failure {
    let error = match broken {
        Broken::Git(error) => error,
        Broken::Other(error) => return Failure::Other(error),
        Broken::Refused(Refusal::HostKey { reason, advice }) => return Failure::HostKey { reason, advice },
        Broken::Refused(Refusal::OtherKeyTypes { reason, advice }) => {
            return Failure::OtherKeyTypes { reason, advice };
        }
        Broken::Refused(Refusal::NoCredential(tried)) => return Failure::Auth(tried),
    };
    let text = scrubbed(wire.source, error.message());
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if error.code() == ErrorCode::Auth
        || has(&["status code: 401", "status code: 403", "authenticate SSH session"])
    {
        return Failure::Auth(text);
    }
    // A server's refusal of an object arrives as a packet that libgit2 does not expect, its words lost.
    if has(&[
        "cannot fetch a specific object",
        "not our ref",
        "unexpected packet type",
    ]) {
        return Failure::NotGiven(text);
    }
    if let Some(source) = disk_error(&text) {
        return Failure::Other(Error::Io {
            doing: "fetching into",
            path: wire.mirror.path.clone(),
            source,
        });
    }
    match error.class() {
        ErrorClass::Odb
        | ErrorClass::Object
        | ErrorClass::Indexer
        | ErrorClass::Reference
        | ErrorClass::Zlib => Failure::Damaged(text),
        _ => Failure::Unreachable(text),
    }
}
