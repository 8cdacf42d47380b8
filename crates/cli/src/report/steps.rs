//! What steps and tests report.

use shipit_steps::{Error, Event};

use crate::errors::CliError;
use crate::output::Output;

/// Reporter of the steps crate.
#[derive(Debug)]
pub struct Steps {
    output: Output,
}

impl Steps {
    /// Writes to this output.
    pub fn new(output: &Output) -> Self {
        Steps {
            output: output.clone(),
        }
    }

    /// One event.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Started { step, command, .. } => self.output.say(format!("{step}: {command}")),
            Event::Output { step, lines } => self.output.prefixed_all(step, lines),
            Event::LeftBehind {
                step,
                pid,
                command,
                daemon,
            } => {
                let how = if *daemon {
                    "left a daemon"
                } else {
                    "left a process"
                };
                self.output.warn(format!(
                    "{step} {how} running, which was ended: {command} (pid {pid})"
                ));
            }
            Event::Reports { step, files } => {
                self.output
                    .say(format!("{step}: {} JUnit files kept", files.len()));
            }
            Event::LayerAwaited { key } => self.output.say(format!(
                "waiting for another build, which makes the layer {}",
                key.get(..7).unwrap_or(key)
            )),
            Event::LayerTurn { seconds, .. } => {
                self.output.say(format!("waited {seconds:.1} s for it"));
            }
            Event::Warning { step, message } => self.output.warn(format!("{step}: {message}")),
            Event::Ended { step, seconds } => self.output.say(format!("{step}: done in {seconds:.1} s")),
            _ => {}
        }
    }
}

/// The error of a failed step, below the last lines of its output: in a console full of output they would have to be sought.
pub fn step_failed(error: Error, output: &Output) -> CliError {
    let tail = error.tail();
    if !tail.is_empty() {
        output.warn(match tail.len() {
            1 => "the last line of the output:".to_owned(),
            count => format!("the last {count} lines of the output:"),
        });
        for line in tail {
            output.quoted("  ", line);
        }
    }
    CliError::from(error)
}
