//! What the exec transport reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use shipit_fleet::exec::{Event, HostResult};

use crate::output::{Output, printable};

/// Reporter of the exec transport.
#[derive(Debug)]
pub struct Exec {
    output: Output,
    shown: Mutex<Shown>,
}

/// How many lines stand on a screen.
const SCREEN: usize = 24;

/// What was shown of hosts' output.
#[derive(Debug, Default)]
struct Shown {
    lines: usize,
    /// Where the last line of each stands.
    last: BTreeMap<String, usize>,
}

impl Shown {
    fn line(&mut self, host: &str) {
        self.lines += 1;
        self.last.insert(host.to_owned(), self.lines);
    }

    fn on_screen(&self) -> BTreeSet<String> {
        let on_screen = |at: &usize| self.lines - at < SCREEN;
        let hosts = self.last.iter().filter(|(_, at)| on_screen(at));
        hosts.map(|(host, _)| host.clone()).collect()
    }
}

impl Exec {
    /// Writes to this output.
    pub fn new(output: &Output) -> Self {
        Exec {
            output: output.clone(),
            shown: Mutex::default(),
        }
    }

    /// The hosts whose last lines can still be seen: they need not be shown again.
    pub fn on_screen(&self) -> BTreeSet<String> {
        match self.output.is_quiet() {
            true => BTreeSet::new(),
            false => self
                .shown
                .lock()
                .map(|shown| shown.on_screen())
                .unwrap_or_default(),
        }
    }

    /// One event.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Started { .. } => {}
            Event::Output { host, line } => {
                self.output.prefixed(host, &printable(line));
                if let Ok(mut shown) = self.shown.lock() {
                    shown.line(host);
                }
            }
            Event::Ended {
                host,
                result,
                seconds,
                ..
            } => {
                self.output
                    .say(format!("{host}: {} in {seconds:.1} s", self::result(result)));
            }
        }
    }
}

/// A host's result in words.
pub fn result(result: &HostResult) -> String {
    match result {
        HostResult::Succeeded => "succeeded".to_owned(),
        HostResult::Failed { code: Some(code), .. } => format!("failed with exit code {code}"),
        HostResult::Failed {
            signal: Some(signal), ..
        } => format!("was killed by signal {signal}"),
        HostResult::Failed { .. } => "failed".to_owned(),
        HostResult::TimedOut => "ran out of time".to_owned(),
        HostResult::Interrupted => "was interrupted".to_owned(),
        HostResult::NotBegun => "was not told: the kick was stopped before".to_owned(),
        HostResult::NotStarted { reason } => format!("was not started: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{SCREEN, Shown};

    #[test]
    fn what_scrolled_away_is_on_no_screen() {
        let mut shown = Shown::default();
        shown.line("a");
        for _ in 0..SCREEN - 1 {
            shown.line("b");
        }
        assert_eq!(shown.on_screen().len(), 2);
        shown.line("b");
        assert_eq!(shown.on_screen().into_iter().collect::<Vec<_>>(), ["b"]);
    }
}
