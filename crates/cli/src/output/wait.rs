//! What is being waited for, where no bytes can be counted: on a terminal a line with the time that it takes and the last that
//! was heard; in a Jenkins console a plain line now and then while nothing else is heard.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Output;

/// How long nothing must have been heard for a plain line.
const BETWEEN_LINES: Duration = Duration::from_secs(20);

/// How often the line on a terminal moves.
const TICK: Duration = Duration::from_millis(200);

/// Something that is waited for, until this is dropped.
#[derive(Debug)]
pub struct Wait {
    bar: Option<ProgressBar>,
    teller: Option<Teller>,
}

impl Wait {
    pub(super) fn new(output: &Output, bars: Option<&MultiProgress>, quiet: bool, label: String) -> Self {
        let bar = bars.map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(style());
            bar.set_prefix(label.clone());
            bar.enable_steady_tick(TICK);
            bar
        });
        let teller = (bar.is_none() && !quiet).then(|| {
            let output = output.clone();
            Teller::start(BETWEEN_LINES, move |elapsed: Duration| {
                output.say(format!("{label}: {} s so far", elapsed.as_secs()));
            })
        });
        Wait {
            bar,
            teller: teller.flatten(),
        }
    }

    /// Something was heard: its last line is shown on a terminal.
    pub fn heard(&self, line: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(line.trim().to_owned());
        }
        if let Some(teller) = &self.teller {
            teller.heard();
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// A thread that speaks while nothing is heard.
#[derive(Debug)]
struct Teller {
    heard: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    /// Nothing where no thread can be started: less is said then.
    fn start(between: Duration, say: impl Fn(Duration) + Send + 'static) -> Option<Self> {
        let (heard, hear) = mpsc::channel();
        let started = Instant::now();
        let speak = move || {
            loop {
                match hear.recv_timeout(between) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => say(started.elapsed()),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = thread::Builder::new()
            .name("waiting".to_owned())
            .spawn(speak)
            .ok()?;
        Some(Teller {
            heard: Some(heard),
            thread: Some(thread),
        })
    }

    fn heard(&self) {
        if let Some(heard) = &self.heard {
            // The thread ends with this alone.
            let _ = heard.send(());
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.heard = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to say any more.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::output::screen::Screen;

    #[test]
    fn a_line_comes_now_and_then_and_none_while_something_is_heard() {
        let said = Arc::new(AtomicUsize::new(0));
        let between = Duration::from_millis(300);
        let start = || {
            let count = Arc::clone(&said);
            let teller = Teller::start(between, move |_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            teller.unwrap()
        };
        let mut teller = start();
        // On a busy machine the one who is heard may sleep for longer than a line takes to come; not each time.
        let quiet = (0..20).any(|_| {
            teller = start();
            said.store(0, Ordering::Relaxed);
            for _ in 0..20 {
                teller.heard();
                thread::sleep(Duration::from_millis(20));
            }
            said.load(Ordering::Relaxed) == 0
        });
        assert!(quiet);
        let until = Instant::now() + Duration::from_secs(60);
        while said.load(Ordering::Relaxed) < 2 {
            assert!(Instant::now() < until, "nothing was said");
            thread::sleep(Duration::from_millis(20));
        }
        drop(teller);
        let all = said.load(Ordering::Relaxed);
        thread::sleep(2 * between);
        assert_eq!(said.load(Ordering::Relaxed), all);
    }

    #[test]
    fn a_terminal_shows_what_is_waited_for_and_what_was_heard_last() {
        let screen = Screen::new();
        let output = screen.output();
        let wait = output.waiting("bundle");
        wait.heard("Installing rake 13.2.1");
        screen.until("Installing rake 13.2.1");
        assert!(screen.text().contains("bundle"), "{}", screen.text());
        drop(wait);
        let text = screen.text();
        assert!(!text.lines().any(|line| line.contains("rake")), "{text}");
    }
}
