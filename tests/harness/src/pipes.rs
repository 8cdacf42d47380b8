//! The pipes of a child: its input written and its output read by threads, so that neither side blocks the other.

use std::io::{Read, Write};
use std::process::{Child, ChildStdout};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::process;

/// How long output may still come after the program has ended: a daemon that it left may hold the pipe forever.
pub(crate) const DRAIN: Duration = Duration::from_secs(2);

/// A command whose output is read while it runs. It is killed and reaped with its process group on drop.
pub(crate) struct Piped {
    /// Its standard output.
    pub(crate) output: ChildStdout,
    errors: Drain,
    child: Child,
}

impl Piped {
    /// Takes over a child with its output and its errors piped.
    pub(crate) fn new(mut child: Child) -> Self {
        Self {
            output: child.stdout.take().expect("piped"),
            errors: Drain::start(child.stderr.take().expect("piped")),
            child,
        }
    }

    /// What it wrote to standard error, once it has ended or closed it.
    pub(crate) fn errors(&mut self) -> String {
        String::from_utf8_lossy(&self.errors.finish(Instant::now() + DRAIN)).into_owned()
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        process::kill_group(self.child.id());
        let _ = self.child.wait();
    }
}

/// Writes standard input from a thread: a child that does not read must not block the test.
pub(crate) fn feed(child: &mut Child, bytes: Vec<u8>) {
    let mut pipe = child.stdin.take().expect("piped");
    thread::spawn(move || {
        // A child that ends without reading is no error of the test's.
        let _ = pipe.write_all(&bytes);
    });
}

/// Collects a pipe's bytes in a thread.
pub(crate) struct Drain {
    bytes: Arc<Mutex<Vec<u8>>>,
    done: mpsc::Receiver<()>,
}

impl Drain {
    pub(crate) fn start(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (sender, done) = mpsc::channel::<()>();
        let shared = Arc::clone(&bytes);
        thread::spawn(move || {
            // Dropping the sender is what says that the pipe has ended.
            let _sender = sender;
            let mut buffer = [0; 16 * 1024];
            while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                shared.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        Self { bytes, done }
    }

    pub(crate) fn finish(&self, until: Instant) -> Vec<u8> {
        let _ = self
            .done
            .recv_timeout(until.saturating_duration_since(Instant::now()));
        std::mem::take(&mut self.bytes.lock().unwrap())
    }
}
