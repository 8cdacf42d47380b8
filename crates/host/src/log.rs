//! The log that `success` and `failure` commands get, and the way by which every event goes: to the caller and into it.
//!
//! The log lies in memory, so that it is whole when the disk is full, and is bounded: of a log above [`HEAD`] plus
//! [`TAIL`] bytes the middle is left out, and the place says so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::event::{Event, Phase, Stream};
use crate::report::{Phases, Step, phase_of};

/// Bytes kept of the log's beginning.
const HEAD: usize = 1 << 20;
/// Bytes kept of its end.
const TAIL: usize = 7 << 20;

/// Takes events; called from several threads, soon returns.
pub type OnEvent = Arc<dyn Fn(Event) + Send + Sync>;

/// The log's bytes, bounded.
#[derive(Debug, Default)]
struct Log {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: u64,
}

impl Log {
    fn write(&mut self, bytes: &[u8]) {
        let to_head = bytes.len().min(HEAD - self.head.len());
        self.head.extend_from_slice(&bytes[..to_head]);
        self.tail.extend(&bytes[to_head..]);
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
        self.left_out += over as u64;
    }

    fn ends_in_line(&self) -> bool {
        matches!(self.tail.back().or(self.head.last()), None | Some(b'\n'))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut all = self.head.clone();
        if self.left_out > 0 {
            all.extend_from_slice(format!("\n[{} bytes are left out here]\n", self.left_out).as_bytes());
        }
        all.extend(&self.tail);
        all
    }
}

/// Hands events on and keeps the log.
pub(crate) struct Recorder {
    on_event: OnEvent,
    log: Mutex<Log>,
    phases: OnceLock<Phases>,
}

impl Recorder {
    pub(crate) fn new(on_event: OnEvent) -> Self {
        Self {
            on_event,
            log: Mutex::default(),
            phases: OnceLock::new(),
        }
    }

    /// From now on sends how far it is there.
    pub(crate) fn tell_phases(&self, to: Phases) {
        // There is one reporter.
        let _ = self.phases.set(to);
    }

    /// Ends who gets the phases.
    pub(crate) fn end_phases(&self) {
        self.send(Step::End);
    }

    fn send(&self, step: Step) {
        if let Some(to) = self.phases.get() {
            // Nobody waits for them any more when this fails.
            let _ = to.send(step);
        }
    }

    /// Hands the event on and writes its line, if it has one, with the time in UTC.
    pub(crate) fn say(&self, event: Event) {
        if let Some(line) = event.log_line() {
            let now = jiff::Timestamp::now().strftime("%Y/%m/%d %H:%M:%SZ");
            let mut log = self.log();
            if !log.ends_in_line() {
                log.write(b"\n");
            }
            log.write(format!("{now} {line}\n").as_bytes());
        }
        if let Some(phase) = phase_of(&event) {
            self.send(Step::Phase(phase));
        }
        (self.on_event)(event);
    }

    /// Hands a command's output on; that of `pre` and `post` goes into the log too.
    pub(crate) fn output(&self, phase: Phase, stream: Stream, data: &[u8]) {
        if stream == Stream::Log {
            self.log().write(data);
        }
        (self.on_event)(Event::Output {
            phase,
            stream,
            data: data.to_vec(),
        });
    }

    /// The log so far.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        self.log().bytes()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_keeps_its_beginning_and_its_end() {
        let mut log = Log::default();
        for _ in 0..12 {
            log.write(&vec![b'x'; 1 << 20]);
        }
        log.write(b"the end\n");
        let bytes = log.bytes();
        assert!(bytes.len() < HEAD + TAIL + 100);
        assert!(bytes.ends_with(b"the end\n"));
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(&format!("[{} bytes are left out here]", (4 << 20) + 8)));
    }

    #[test]
    fn an_event_begins_a_line_of_its_own_with_the_time() {
        let recorder = Recorder::new(Arc::new(|_| {}));
        recorder.output(Phase::Pre, Stream::Log, b"no newline");
        recorder.say(Event::Succeeded);
        let text = String::from_utf8(recorder.snapshot()).unwrap();
        let (first, second) = text.split_once('\n').unwrap();
        assert_eq!(first, "no newline");
        assert!(second.ends_with("Z Deploy manifest succeeded.\n"), "{second}");
    }
}
