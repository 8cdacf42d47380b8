//! What applying a manifest reports.

use std::sync::Mutex;

use shipit_host::{Applied, DriftKind, Event, Stream, Verified};

use crate::output::{Meter, Output, bytes, counted};

/// Reporter of the host crate.
#[derive(Debug)]
pub struct Host {
    output: Output,
    meter: Mutex<Option<Meter>>,
}

impl Host {
    /// Writes to this output.
    pub fn new(output: &Output) -> Self {
        Host {
            output: output.clone(),
            meter: Mutex::new(None),
        }
    }

    /// One event.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Fetching { total, .. } => self.set_meter(Some(self.output.meter("fetching", *total))),
            Event::FetchProgress { done, total } => {
                if let Ok(meter) = self.meter.lock()
                    && let Some(meter) = meter.as_ref()
                {
                    meter.set(*done, *total);
                }
            }
            // What success and failure commands print is the manifest's own: stdout stays stdout, as in stretcher.
            Event::Output {
                stream: Stream::Stdout,
                data,
                ..
            } if !self.output.is_json() => {
                let _ = self.output.raw(data);
            }
            Event::Output { data, .. } => self.output.pass_on(data),
            other => self.line(other),
        }
    }

    /// The last line.
    pub fn finish(&self, applied: &Applied) {
        self.set_meter(None);
        if applied.replay.is_some() {
            return self.output.say("nothing was done");
        }
        let what = applied.release.as_deref().unwrap_or("the manifest");
        let fetched = match applied.total_bytes {
            Some(size) if applied.layers.is_some() => of(applied.fetched_bytes, size),
            _ => bytes(applied.fetched_bytes),
        };
        let layers = applied.layers.map_or_else(String::new, |layers| {
            let total = counted(layers.total, "layer", "layers");
            format!("; {} of {total} new", layers.new)
        });
        self.output.say(format!(
            "applied {what} in {:.1} s: fetched {fetched}{layers}",
            applied.seconds
        ));
        if let Some(failure) = &applied.success_failure {
            self.output.warn(format!(
                "the release is in place, but a success command failed: {failure}"
            ));
        }
    }

    /// What a verification found.
    pub fn verified(&self, verified: &Verified) {
        for drift in &verified.drift {
            let how = match &drift.kind {
                DriftKind::Missing => "missing".to_owned(),
                DriftKind::Type { expected, found } => format!("{found}, and not {expected}"),
                DriftKind::Content => "another content".to_owned(),
                DriftKind::Mode { expected, found } => format!("mode {found}, and not {expected}"),
                DriftKind::Target { found } => format!("links to {found}"),
                DriftKind::Release { found: Some(found) } => format!("leads to the release {found}"),
                DriftKind::Release { found: None } => "leads to no release".to_owned(),
                DriftKind::Unreadable { reason } => format!("cannot be read: {reason}"),
                _ => "differs".to_owned(),
            };
            self.output.say(format!("{}: {how}", drift.path));
        }
        for path in &verified.added {
            self.output.say(format!("{path}: added, by a hook or the app"));
        }
        self.output.say(format!(
            "{}: {} ({}) compared, {} {}, {} added, {} shared",
            verified.path.display(),
            counted(verified.entries, "entry", "entries"),
            bytes(verified.bytes),
            verified.drift.len(),
            if verified.drift.len() == 1 {
                "differs"
            } else {
                "differ"
            },
            verified.added.len(),
            verified.shared.len()
        ));
    }

    fn line(&self, event: &Event) {
        match event {
            Event::Fetched {
                bytes: size,
                algorithm,
                ..
            } => {
                self.set_meter(None);
                self.output
                    .say(format!("fetched {}, {algorithm} is right", bytes(*size)));
            }
            Event::LayersFound {
                new,
                total,
                fetch_bytes,
                artifact_bytes,
            } => self.output.say(format!(
                "{new} of {} {} new: fetching {}",
                counted(*total, "layer", "layers"),
                if *new == 1 { "is" } else { "are" },
                of(*fetch_bytes, *artifact_bytes)
            )),
            Event::FetchedFrames {
                frames, bytes: size, ..
            } => {
                self.set_meter(None);
                self.output.say(format!(
                    "fetched {}, {}",
                    bytes(*size),
                    counted(*frames, "frame", "frames")
                ));
            }
            Event::ReleaseComplete { path } => self
                .output
                .say(format!("{} is complete: nothing is fetched", path.display())),
            Event::WholeInstead { reason } => {
                self.output.warn(format!("fetching the whole artifact: {reason}"));
            }
            Event::LayerDamaged { layer, path, entries } => self.output.warn(format!(
                "{}: {} of the layer {layer} {} not as put there; making it again",
                path.display(),
                counted(*entries, "entry", "entries"),
                if *entries == 1 { "is" } else { "are" }
            )),
            Event::LayerRemoved { path } => {
                self.output
                    .say(format!("removed the unused layer {}", path.display()));
            }
            Event::ManifestLoaded { src, dest, .. } => {
                if let (Some(src), Some(dest)) = (src, dest) {
                    self.output.say(format!("{src} to {}", dest.display()));
                }
            }
            Event::Delayed { seconds } => self.output.say(format!("waiting {seconds:.1} s (random delay)")),
            Event::LockWaiting { dest, .. } => {
                self.output
                    .say(format!("waiting for another handler on {}", dest.display()));
            }
            Event::LeftoverRemoved { path } => {
                self.output
                    .say(format!("removed what a killed handler left: {}", path.display()));
            }
            Event::CommandStarted {
                phase,
                index,
                of,
                command,
                ..
            } => {
                self.output
                    .say(format!("{phase} {index} of {of}: {}", first_line(command)));
            }
            Event::Synced(done) => self.output.say(format!(
                "synced: {} new, {} updated, {} deleted, {} unchanged",
                done.created, done.updated, done.deleted, done.unchanged
            )),
            Event::Changed { how, path } => self.output.say(format!("{how} {}", path.display())),
            Event::OutputAbandoned { phase, index } => {
                self.output.warn(format!(
                    "{phase} command {index} left a process that holds its output open"
                ));
            }
            Event::NotRemoved { path, reason } => {
                self.output
                    .warn(format!("could not remove {}: {reason}", path.display()));
            }
            Event::Replayed { name, why } => {
                self.output.say(format!("the event {name} came again: {why}"));
            }
            Event::NotReported { why } => self
                .output
                .warn(format!("Consul was not told how it goes: {why}")),
            Event::NotRemembered { why } => {
                self.output.warn(format!(
                    "the event could not be noted, so it is handled again if it comes again: {why}"
                ));
            }
            Event::HandlerFailed { phase, error } => {
                self.output.warn(format!("a {phase} command failed: {error}"));
            }
            _ => {}
        }
    }

    fn set_meter(&self, next: Option<Meter>) {
        if let Ok(mut meter) = self.meter.lock() {
            *meter = next;
        }
    }
}

/// "0.5 of 151.9 MB": both in the unit of the larger, unless nothing would be left of the smaller.
fn of(part: u64, whole: u64) -> String {
    if part > 0 && part.saturating_mul(20) < unit_of(whole) {
        return format!("{} of {}", bytes(part), bytes(whole));
    }
    let (divisor, unit) = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")]
        .into_iter()
        .find(|(divisor, _)| whole as f64 >= *divisor)
        .unwrap_or((1.0, "B"));
    let digits = usize::from(divisor > 1.0);
    format!(
        "{:.digits$} of {:.digits$} {unit}",
        part as f64 / divisor,
        whole as f64 / divisor
    )
}

/// The bytes of the unit that a size is told in.
fn unit_of(size: u64) -> u64 {
    [1_000_000_000, 1_000_000, 1000]
        .into_iter()
        .find(|unit| size >= *unit)
        .unwrap_or(1)
}

/// The default manifest's commands are scripts of a page: their first line tells which it is.
fn first_line(command: &str) -> String {
    let mut lines = command.trim().lines();
    let first = lines.next().unwrap_or_default();
    if lines.next().is_some() {
        format!("{first} …")
    } else {
        first.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_told_in_the_unit_of_the_whole() {
        assert_eq!(of(512_345, 151_900_000), "0.5 of 151.9 MB");
        assert_eq!(of(0, 900), "0 of 900 B");
        assert_eq!(of(542, 10_100_000), "542 B of 10.1 MB");
        assert_eq!(counted(1, "layer", "layers"), "1 layer");
        assert_eq!(of(1_500, 2_000), "1.5 of 2.0 kB");
    }
}
