//! ctrl-C and SIGTERM: the first asks everything to stop and clean up, a second one does not wait for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// A signal that asks to stop: its name, and the exit code that says so. SIGHUP is a terminal that closed: as SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The signal's name.
    pub name: &'static str,
    /// 130 or 143.
    pub code: u8,
}

const SIGNALS: [Asked; 3] = [
    Asked {
        name: "SIGINT",
        code: 130,
    },
    Asked {
        name: "SIGTERM",
        code: 143,
    },
    Asked {
        name: "SIGHUP",
        code: 143,
    },
];

/// Whether, and by what, this process was asked to stop. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    // 0, or one more than the signal's place in SIGNALS.
    signal: Arc<AtomicU8>,
    notify: Arc<Notify>,
}

impl Interrupt {
    /// Listens from now on; the default action of both signals is replaced.
    pub fn listen(runtime: &Handle) -> std::io::Result<Self> {
        let interrupt = Interrupt::default();
        let _guard = runtime.enter();
        for (place, kind) in [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ]
        .into_iter()
        .enumerate()
        {
            let mut stream = signal(kind)?;
            let interrupt = interrupt.clone();
            runtime.spawn(async move {
                while stream.recv().await.is_some() {
                    interrupt.ask(place);
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

    /// The signal that came first, if one did.
    pub fn signal(&self) -> Option<Asked> {
        let place = usize::from(self.signal.load(Ordering::Acquire)).checked_sub(1)?;
        SIGNALS.get(place).copied()
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

    fn ask(&self, place: usize) {
        let mark = u8::try_from(place + 1).unwrap_or(u8::MAX);
        let first = self
            .signal
            .compare_exchange(0, mark, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if !first {
            // Whoever presses ctrl-C twice means now. Children end with us: they are started with a parent-death signal.
            #[allow(clippy::disallowed_methods)]
            std::process::exit(i32::from(SIGNALS[place].code));
        }
        self.asked.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }
}
