//! What the exec transport reports.

use shipit_fleet::exec::{Event, HostResult};

use crate::output::{Output, printable};

/// Reporter of the exec transport.
#[derive(Debug)]
pub struct Exec {
    output: Output,
}

impl Exec {
    /// Writes to this output.
    pub fn new(output: &Output) -> Self {
        Exec {
            output: output.clone(),
        }
    }

    /// One event.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Started { .. } => {}
            Event::Output { host, line } => self.output.prefixed(host, &printable(line)),
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
