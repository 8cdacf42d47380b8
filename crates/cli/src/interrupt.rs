//! ctrl-C, SIGTERM and SIGHUP: the first asks everything to stop and clean up, a second one does not wait for that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// A second signal so soon is the first one again: make, sudo and timeout pass on to us what our process group got already.
const ECHO: Duration = Duration::from_millis(500);

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
    first: Arc<OnceLock<(Asked, Instant)>>,
    notify: Arc<Notify>,
}

impl Interrupt {
    /// Listens from now on; the default action of the signals is replaced. SIGHUP stays ignored where it was (nohup).
    pub fn listen(runtime: &Handle) -> std::io::Result<Self> {
        let interrupt = Interrupt::default();
        let _guard = runtime.enter();
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        for (kind, asked) in kinds.into_iter().zip(SIGNALS) {
            if kind == SignalKind::hangup() && is_ignored(kind) {
                continue;
            }
            let mut stream = signal(kind)?;
            let interrupt = interrupt.clone();
            runtime.spawn(async move {
                while stream.recv().await.is_some() {
                    interrupt.ask(asked);
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
        self.first.get().map(|(asked, _)| *asked)
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

    fn ask(&self, asked: Asked) {
        let mut first = false;
        let (_, since) = self.first.get_or_init(|| {
            first = true;
            (asked, Instant::now())
        });
        if first {
            self.asked.store(true, Ordering::Release);
            self.notify.notify_waiters();
        } else if since.elapsed() >= ECHO {
            // Whoever presses ctrl-C twice means now. A step's processes end with us all the same: each has a guard.
            #[allow(clippy::disallowed_methods)]
            std::process::exit(i32::from(asked.code));
        }
    }
}

/// Whether this process was started with the signal ignored. The standard library cannot tell, the kernel's table can.
fn is_ignored(kind: SignalKind) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignored_in(&status, kind.as_raw_value()))
}

fn ignored_in(status: &str, number: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_kernels_table() {
        let status = "Name:\tshipit\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\n";
        assert!(ignored_in(status, 1) && ignored_in(status, 13));
        assert!(!ignored_in(status, 2) && !ignored_in(status, 15));
        assert!(!ignored_in("Name:\tshipit\n", 1));
    }

    #[test]
    fn the_echo_of_a_signal_is_no_second_one() {
        let interrupt = Interrupt::default();
        interrupt.ask(SIGNALS[1]);
        // This would end the test's process.
        interrupt.ask(SIGNALS[1]);
        interrupt.ask(SIGNALS[0]);
        assert_eq!(interrupt.signal(), Some(SIGNALS[1]));
        assert!(interrupt.flag().load(Ordering::Relaxed));
    }
}
