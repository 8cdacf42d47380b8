//! What steps and tests report.

use std::sync::Mutex;

use shipit_steps::{Error, Event};

use crate::errors::CliError;
use crate::output::{Output, Wait};

/// Reporter of the steps crate.
#[derive(Debug)]
pub struct Steps {
    output: Output,
    wait: Mutex<Option<Wait>>,
}

impl Steps {
    /// Writes to this output.
    pub fn new(output: &Output) -> Self {
        Steps {
            output: output.clone(),
            wait: Mutex::new(None),
        }
    }

    /// One event.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Started { step, command, .. } => {
                self.output.say(format!("{step}: {command}"));
                self.wait(Some(step));
            }
            Event::Output { step, lines } => {
                self.output.prefixed_all(step, lines);
                self.heard(lines);
            }
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
            Event::LayerAwaited { key } => {
                let key = key.get(..7).unwrap_or(key);
                self.output
                    .say(format!("waiting for another build, which makes the layer {key}"));
                self.wait(Some(&format!("waiting for the layer {key}")));
            }
            Event::LayerTurn { seconds, .. } => {
                self.wait(None);
                self.output.say(format!("waited {seconds:.1} s for it"));
            }
            Event::Warning { step, message } => self.output.warn(format!("{step}: {message}")),
            Event::Ended { step, seconds } => {
                self.wait(None);
                self.output.say(format!("{step}: done in {seconds:.1} s"));
            }
            _ => {}
        }
    }

    fn wait(&self, label: Option<&str>) {
        if let Ok(mut wait) = self.wait.lock() {
            // The one before goes first.
            *wait = None;
            *wait = label.map(|label| self.output.waiting(label));
        }
    }

    fn heard(&self, lines: &[String]) {
        let last = lines.iter().rev().find(|line| !line.trim().is_empty());
        if let (Ok(wait), Some(last)) = (self.wait.lock(), last)
            && let Some(wait) = wait.as_ref()
        {
            wait.heard(last);
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
