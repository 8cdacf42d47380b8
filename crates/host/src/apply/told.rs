//! What an apply tells its Consul agent, and what it remembers of events.

use std::sync::Arc;

use super::{Host, blocking};
use crate::error::Error;
use crate::event::Event;
use crate::replay::Memory;

/// The variable by which the manifest's commands learn which kick asked for the release.
const KICK: &str = "SHIPIT_KICK";

impl Host {
    /// Tells that it begins; commands learn the kick.
    pub(super) async fn tell_begin(&self) {
        let Some(reporter) = &self.reporter else { return };
        let Some(kick) = reporter.begin(&self.recorder).await else {
            return;
        };
        let mut environment = self.request.environment.clone();
        environment.retain(|(name, _)| name != KICK);
        environment.push((KICK.into(), kick.into()));
        // It is set here alone.
        let _ = self.environment.set(environment);
    }

    /// Tells how it ended, unless it was told before.
    pub(super) async fn tell_end(&self, error: Option<&Error>) {
        if let Some(reporter) = &self.reporter {
            reporter.end(error, &self.mask, &self.recorder).await;
        }
    }

    /// Notes in the host's memory that the manifest is followed, or why it is not: an event was handed over again.
    pub(super) async fn remember(self: Arc<Self>) -> Result<Option<String>, Error> {
        blocking(move || {
            let Some(memory) = self.memory() else {
                return Ok(None);
            };
            if let Some(why) = memory.spent() {
                let name = self.request.event.as_ref().map(|event| event.name.clone());
                self.recorder.say(Event::Replayed {
                    name: name.unwrap_or_default(),
                    why,
                });
                return Ok(Some(why.to_owned()));
            }
            self.not_remembered(memory.begin());
            Ok(None)
        })
        .await
    }

    /// Notes that the event was handled well.
    pub(super) async fn remember_end(self: Arc<Self>) -> Result<(), Error> {
        blocking(move || {
            if let Some(memory) = self.memory() {
                self.not_remembered(memory.end());
            }
            Ok(())
        })
        .await
    }

    fn memory(&self) -> Option<Memory<'_>> {
        Memory::of(self.manifest.shipit.as_ref()?, self.request.event.as_ref())
    }

    /// A deploy does not fail for what only a replay of its event would need.
    fn not_remembered(&self, noted: Result<(), Error>) {
        if let Err(error) = noted {
            self.recorder.say(Event::NotRemembered {
                why: error.with_causes(),
            });
        }
    }
}
