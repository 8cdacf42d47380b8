//! What packing reports.

use std::sync::Mutex;

use shipit_artifact::{Event, SkipReason};

use crate::output::{Meter, Output, Wait, bytes};

/// Reporter of the artifact crate.
#[derive(Debug)]
pub struct Artifact {
    output: Output,
    meter: Mutex<Option<Meter>>,
    wait: Mutex<Option<Wait>>,
}

impl Artifact {
    /// Writes to this output. `begins` says what is done before the first byte is packed.
    pub fn new(output: &Output, begins: impl Into<String>) -> Self {
        Artifact {
            output: output.clone(),
            meter: Mutex::new(None),
            wait: Mutex::new(Some(output.waiting(begins))),
        }
    }

    /// One event.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Skipped {
                layer,
                path,
                reason: SkipReason::Special,
            } => {
                self.output.warn(format!(
                    "{layer}: {path} is a socket, fifo or device and is not packed"
                ));
            }
            Event::LayerStarted {
                layer, unpacked_size, ..
            } => {
                self.wait(None);
                self.set_meter(Some(
                    self.output
                        .meter(format!("packing {layer}"), Some(*unpacked_size)),
                ));
            }
            Event::LayerProgress { done, total, .. } => {
                if let Ok(meter) = self.meter.lock()
                    && let Some(meter) = meter.as_ref()
                {
                    meter.set(*done, Some(*total));
                }
            }
            Event::LayerFinished {
                layer,
                entries,
                unpacked_size,
                size,
            } => {
                self.set_meter(None);
                self.wait(Some("writing to the disk"));
                let (unpacked, packed) = (bytes(*unpacked_size), bytes(*size));
                self.output.say(format!(
                    "packed {layer}: {entries} entries, {unpacked} to {packed}"
                ));
            }
            _ => {}
        }
    }

    fn wait(&self, label: Option<&str>) {
        if let Ok(mut wait) = self.wait.lock() {
            *wait = None;
            *wait = label.map(|label| self.output.waiting(label));
        }
    }

    fn set_meter(&self, next: Option<Meter>) {
        if let Ok(mut meter) = self.meter.lock() {
            *meter = next;
        }
    }
}
