//! What the store reports: uploads, retries, oddities of the server.

use std::collections::BTreeMap;
use std::sync::Mutex;

use shipit_store::Event;

use crate::output::{Meter, Output, Wait, bytes};

/// Objects below this size have no meter: they are there before it could be seen.
const WORTH_A_METER: u64 = 4 << 20;

/// Reporter of the store crate.
#[derive(Debug)]
pub struct Store {
    output: Output,
    meters: Mutex<BTreeMap<String, Meter>>,
    wait: Mutex<Option<Wait>>,
}

impl Store {
    /// Writes to this output.
    pub fn new(output: &Output) -> Self {
        Store {
            output: output.clone(),
            meters: Mutex::new(BTreeMap::new()),
            wait: Mutex::new(None),
        }
    }

    /// Says what is done before and between the transfers.
    pub fn begin(&self, label: &str) {
        if let Ok(mut wait) = self.wait.lock() {
            *wait = Some(self.output.waiting(label));
        }
    }

    /// One event.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Progress { key, sent, total } => self.progress("sending", key, *sent, *total),
            Event::Copying { key, copied, total } => {
                self.progress("copying", key, *copied, *total);
                if copied == total {
                    self.remove(key);
                }
            }
            Event::Waiting { doing, left_seconds } => self.output.say(format!(
                "waiting for the store, up to {left_seconds} s more: {doing}"
            )),
            Event::Fetching { key, received, total } => self.progress("fetching", key, *received, *total),
            Event::LayerTooOld { layer, key, made } => {
                let made = jiff::Timestamp::from_second(*made)
                    .map_or_else(|_| made.to_string(), |made| made.strftime("%Y-%m-%d").to_string());
                self.output.say(format!(
                    "{layer}: the store's layer ({}) is not used: it was made on {made}, longer ago than cache.max_age",
                    short(key)
                ));
            }
            Event::LayerFetched {
                layer,
                key,
                bytes: size,
            } => {
                self.finish();
                let short = short(key);
                self.output.say(format!(
                    "fetched the layer {layer} ({short}, {}) from the store",
                    bytes(*size)
                ));
            }
            Event::LayerOffered { layer, key, .. } => {
                self.output.say(format!(
                    "the layer {layer} ({}) is there for other builders",
                    short(key)
                ));
            }
            // The history of kicks is kept, not deployed: nobody waits for it.
            Event::Stored { key, .. } | Event::Present { key, .. } if key.starts_with("kicks/") => {}
            Event::Stored { key, bytes: size } => {
                self.remove(key);
                self.output.say(format!("stored {key} ({})", bytes(*size)));
            }
            Event::Present { key, .. } => {
                self.remove(key);
                self.output.say(format!("{key} is there already"));
            }
            // Two publishes of one second are nothing to warn of.
            Event::ReleaseIdTaken { release } => {
                self.output.say(format!(
                    "{release} would not be the newest; a later second is taken"
                ));
            }
            // Several parts of one command read the history.
            Event::KickUnreadable { url, why } => {
                self.output
                    .warn_once(format!("left out of the history: {url}: {why}"));
            }
            other => {
                if let Some(warning) = warning(other) {
                    self.output.warn(warning);
                }
            }
        }
    }

    /// Takes away all meters.
    pub fn finish(&self) {
        if let Ok(mut wait) = self.wait.lock() {
            *wait = None;
        }
        if let Ok(mut meters) = self.meters.lock() {
            meters.clear();
        }
    }

    fn progress(&self, doing: &str, key: &str, sent: u64, total: u64) {
        if let Ok(wait) = self.wait.lock()
            && let Some(wait) = wait.as_ref()
        {
            // The meter says more.
            wait.heard("");
        }
        if total < WORTH_A_METER {
            return;
        }
        let Ok(mut meters) = self.meters.lock() else {
            return;
        };
        let meter = meters.entry(key.to_owned()).or_insert_with(|| {
            let name = key.rsplit('/').next().unwrap_or(key);
            self.output.meter(format!("{doing} {}", short(name)), Some(total))
        });
        meter.set(sent, Some(total));
    }

    fn remove(&self, key: &str) {
        if let Ok(mut meters) = self.meters.lock() {
            meters.remove(key);
        }
    }
}

/// Enough of a digest or a layer key to know it by.
fn short(name: &str) -> String {
    name.chars().take(12).collect()
}

fn warning(event: &Event) -> Option<String> {
    Some(match event {
        Event::Retry {
            doing,
            attempt,
            attempts,
            wait_ms,
            reason,
        } => {
            let wait = *wait_ms as f64 / 1000.0;
            format!("{doing}: {reason}; attempt {attempt} of {attempts}, again in {wait:.1} s")
        }
        Event::IfNoneMatchIgnored { store } => format!(
            "{store} ignores If-None-Match: nothing there keeps two publishers from overwriting each other; let one publish at a time"
        ),
        Event::NotCopied { key, why } => {
            format!("{key} is sent, though the store holds some of it: {why}")
        }
        Event::LayerRefused { url, why } => {
            format!("the shared layer {url} is not used: {why}; delete it, and find out who wrote it")
        }
        Event::LayerDiffers { layer, url } => format!(
            "the store has other bytes for the layer {layer}, and keeps them: {url}; its step does not vendor the same files twice"
        ),
        Event::ChecksumNotVerified { key } => {
            format!("the server gave no checksum of {key} back: only its size could be compared")
        }
        Event::Swept { what } => format!("removed what a killed run had left: {what}"),
        Event::SweepFailed { reason } => {
            format!("could not look for what killed runs may have left: {reason}")
        }
        Event::StoredRecordBound { revision, .. } => format!(
            "the same artifact is stored with another record (revision {revision}, or other tools): the stored one is bound"
        ),
        Event::UploadLeft { uploads: 1 } => {
            "an upload could not be ended in the store; a publish in a day or later removes what was sent of it".to_owned()
        }
        Event::UploadLeft { uploads } => format!(
            "{uploads} uploads could not be ended in the store; a publish in a day or later removes what was sent of them"
        ),
        Event::LockExpired {
            lock,
            who,
            watch_seconds,
        } => format!(
            "the lock of {lock} has expired, and {who} has not given it back; it is watched for {watch_seconds} s whether it is \
             renewed"
        ),
        Event::LockTakenOver { lock, who, doing } => {
            format!("took over the lock of {lock} that {who} ({doing}) has left: it was killed, or cut off from the store")
        }
        Event::ReleaseKept { release } => {
            format!("{release} stays: it was kicked, or became live, while it was to be removed")
        }
        Event::NewerRelease { release, newest } => format!(
            "{newest} exists already and is later than {release}: one of two clocks is wrong, and `latest` stays the other"
        ),
        _ => return None,
    })
}
