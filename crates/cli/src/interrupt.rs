//! ctrl-C and SIGTERM: the first asks everything to stop and clean up, a second one does not wait for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// Whether, and by what, this process was asked to stop. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    code: Arc<AtomicU8>,
    notify: Arc<Notify>,
}

impl Interrupt {
    /// Listens from now on; the default action of both signals is replaced.
    pub fn listen(runtime: &Handle) -> std::io::Result<Self> {
        let interrupt = Interrupt::default();
        let _guard = runtime.enter();
        for (kind, code) in [
            (SignalKind::interrupt(), INTERRUPTED),
            (SignalKind::terminate(), TERMINATED),
            (SignalKind::hangup(), TERMINATED),
        ] {
            let mut stream = signal(kind)?;
            let interrupt = interrupt.clone();
            runtime.spawn(async move {
                while stream.recv().await.is_some() {
                    interrupt.ask(code);
                }
            });
        }
        Ok(interrupt)
    }

    /// The flag that blocking work looks at.
    pub fn flag(&self) -> &AtomicBool {
        &self.asked
    }

    /// The same flag, shared, for work that outlives the borrow.
    pub fn shared_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.asked)
    }

    /// The exit code of the signal that came, if one did.
    pub fn code(&self) -> Option<u8> {
        match self.code.load(Ordering::Acquire) {
            0 => None,
            code => Some(code),
        }
    }

    /// Waits until this process is asked to stop.
    pub async fn asked(&self) {
        loop {
            let notified = self.notify.notified();
            if self.asked.load(Ordering::Acquire) {
                return;
            }
            notified.await;
        }
    }

    fn ask(&self, code: u8) {
        let first = self
            .code
            .compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if !first {
            // Whoever presses ctrl-C twice means now. Children end with us: they are started with a parent-death signal.
            #[allow(clippy::disallowed_methods)]
            std::process::exit(i32::from(code));
        }
        self.asked.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }
}
