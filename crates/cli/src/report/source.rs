//! What fetching and exporting report.

use std::sync::Mutex;

use jiff::Timestamp;
use shipit_source::Event;

use crate::output::{Meter, Output, Wait};

/// Reporter of the source crate.
#[derive(Debug)]
pub struct Source {
    output: Output,
    meter: Mutex<Option<Meter>>,
    wait: Mutex<Option<Wait>>,
}

impl Source {
    /// Writes to this output.
    pub fn new(output: &Output) -> Self {
        Source {
            output: output.clone(),
            meter: Mutex::new(None),
            wait: Mutex::new(None),
        }
    }

    /// One event.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Progress {
                remote,
                received_objects,
                total_objects,
                received_bytes,
            } => {
                let objects = match total_objects {
                    0 => String::new(),
                    total => format!(", {received_objects} of {total} objects"),
                };
                self.progress(format!("fetching {remote}{objects}"), *received_bytes);
            }
            Event::Exporting {
                files,
                total_files,
                bytes,
            } => self.progress(format!("writing {files} of {total_files} files"), *bytes),
            other => {
                self.finish();
                match warning(other) {
                    Some(warning) => self.output.warn(warning),
                    None => {
                        if let Some(news) = news(other) {
                            self.output.say(news);
                        }
                        self.wait(other);
                    }
                }
            }
        }
    }

    fn progress(&self, label: String, bytes: u64) {
        self.wait_for(None);
        let Ok(mut meter) = self.meter.lock() else { return };
        let meter = meter.get_or_insert_with(|| self.output.meter(label.clone(), None));
        meter.label(label);
        meter.set(bytes, None);
    }

    /// Until a remote sends something, or another process is done, there is nothing to count.
    fn wait(&self, event: &Event) {
        match event {
            Event::WaitingForLock { .. } => self.wait_for(Some("waiting for the mirror".to_owned())),
            Event::Fetching { remote, .. } => self.wait_for(Some(format!("asking {remote}"))),
            Event::LfsFetching { path, .. } => self.wait_for(Some(format!("LFS: {path}"))),
            _ => {}
        }
    }

    fn wait_for(&self, label: Option<String>) {
        if let Ok(mut wait) = self.wait.lock() {
            *wait = None;
            *wait = label.map(|label| self.output.waiting(label));
        }
    }

    fn finish(&self) {
        self.wait_for(None);
        if let Ok(mut meter) = self.meter.lock() {
            *meter = None;
        }
    }
}

fn warning(event: &Event) -> Option<String> {
    Some(match event {
        Event::MirrorRepaired { path, removed } => {
            let count = removed.len();
            format!(
                "an interrupted fetch left {count} files in {}: removed",
                path.display()
            )
        }
        Event::MirrorRemade { path, reason } => format!("{} is made anew: {reason}", path.display()),
        Event::RemoteFailed { remote, reason } => format!("{remote} gave nothing: {reason}"),
        Event::StaleMirror { revision, id, seen } => {
            let seen = seen
                .and_then(|seen| Timestamp::from_second(seen).ok())
                .map_or_else(|| "at an unknown time".to_owned(), |time| format!("at {time}"));
            format!("no repository answered; {revision} is taken from the mirror, as last seen {seen}: {id}")
        }
        Event::DirtyWorkTree {
            path,
            changed,
            examples,
        } => {
            let files = if *changed == 1 { "file has" } else { "files have" };
            format!(
                "{changed} {files} changes in {} that are not committed and not in the artifact: {}",
                path.display(),
                examples.join(", ")
            )
        }
        Event::RevisionFileReplaced => {
            "git tracks a file REVISION; the artifact's holds the commit id instead".to_owned()
        }
        Event::NotEncoded { path, encoding } => {
            format!(
                "{path} could not be put into its working-tree-encoding {encoding}; it is as git stores it"
            )
        }
        Event::FilterIgnored { path, filter } => {
            format!(
                "the filter {filter} (of {path} and perhaps others) is not run; the files are as git stores them"
            )
        }
        _ => return None,
    })
}

fn news(event: &Event) -> Option<String> {
    Some(match event {
        Event::WaitingForLock { path } => {
            format!(
                "waiting for another process that uses the mirror ({})",
                path.display()
            )
        }
        Event::Fetching { remote, what, .. } => format!("fetching {what} from {remote}"),
        Event::RemoteLacks { remote, revision } => format!("{remote} does not have {revision}"),
        Event::SubmoduleSkipped { path } => {
            format!("submodule {path} is left out (`source.submodules = true` fetches submodules)")
        }
        Event::Submodule { path, url, .. } => format!("submodule {path} from {url}"),
        Event::LfsFetching { path, .. } => format!("LFS: {path}"),
        _ => return None,
    })
}
