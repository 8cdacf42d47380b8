//! What a host tells its Consul agent while it applies a manifest that asks for reports: under the same keys, and in the same
//! JSON, as the manifest's own commands tell it to.
//!
//! Nothing that goes wrong here fails an apply, and an agent that does not answer delays it by a few seconds at most. Not here:
//! where the agent is (the request says it), and what anybody does with a report (shipit-fleet).

mod agent;
mod text;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shipit_fleet::report::Said;
use shipit_manifest::{Layout, Manifest, is_report_command};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::event::{Event, Phase};
use crate::log::Recorder;
use crate::mask::Mask;
use crate::request::ApplyRequest;
use agent::Agent;

/// Tells one apply's story.
pub(crate) struct Reporter {
    agent: Arc<Agent>,
    phases: Mutex<Option<JoinHandle<()>>>,
    said: AtomicBool,
    ended: AtomicBool,
}

/// What the task that tells phases gets.
pub(crate) enum Step {
    Phase(&'static str),
    End,
}

impl Reporter {
    /// Nothing when the manifest asks for no reports, or the request names no agent. Otherwise the manifest's own report commands
    /// are taken out of it.
    pub(crate) fn of(request: &ApplyRequest, manifest: &mut Manifest) -> Option<Self> {
        let config = request.consul.as_ref()?;
        let binding = manifest
            .shipit
            .as_ref()
            .filter(|binding| binding.reports_to_consul())?;
        let current = binding
            .dest
            .as_deref()
            .filter(|_| binding.layout == Layout::Releases)
            .map(|dest| PathBuf::from(dest).join("current"));
        let agent = Arc::new(Agent::new(config, binding, current));
        let commands = &mut manifest.commands;
        for list in [
            &mut commands.pre,
            &mut commands.post,
            &mut commands.success,
            &mut commands.failure,
        ] {
            list.retain(|command| !is_report_command(command));
        }
        Some(Self {
            agent,
            phases: Mutex::default(),
            said: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        })
    }

    /// Tells that the host begins, and from then on how far it is. The kick that asked for it, when one did.
    pub(crate) async fn begin(&self, recorder: &Recorder) -> Option<String> {
        if let Err(why) = self.agent.tell(Said::Started, Some("fetching"), None, None).await {
            self.not_told(&why, recorder);
            return self.agent.kick().await;
        }
        let (sender, receiver) = unbounded_channel();
        recorder.tell_phases(sender);
        let task = tokio::spawn(tell_phases(self.agent.clone(), receiver));
        *self.phases.lock().await = Some(task);
        self.agent.kick().await
    }

    /// Tells how it ended, once.
    pub(crate) async fn end(&self, error: Option<&Error>, mask: &Mask, recorder: &Recorder) {
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        // A phase that came after the end would undo it.
        if let Some(task) = self.phases.lock().await.take() {
            recorder.end_phases();
            // It does not panic, and nobody aborts it.
            let _ = task.await;
        }
        // Who holds the lock may work on the same release, and its word on it counts.
        if matches!(error, Some(Error::Locked { .. })) && self.agent.is_in_hand().await {
            return;
        }
        let log = recorder.snapshot();
        let message = match error {
            Some(error) => text::why(error, mask),
            None => text::last_line(&log),
        };
        let said = if error.is_some() {
            Said::Failed
        } else {
            Said::Succeeded
        };
        let log = text::tail(&log);
        if let Err(why) = self.agent.tell(said, None, message, Some(&log)).await {
            self.not_told(&why, recorder);
        }
    }

    fn not_told(&self, why: &str, recorder: &Recorder) {
        if !self.said.swap(true, Ordering::Relaxed) {
            recorder.say(Event::NotReported { why: why.to_owned() });
        }
    }
}

/// Tells each phase, the last one when they come faster than the agent answers. That one is missing is of no weight: the end counts.
async fn tell_phases(agent: Arc<Agent>, mut steps: UnboundedReceiver<Step>) {
    while let Some(mut step) = steps.recv().await {
        while let Ok(next) = steps.try_recv() {
            step = next;
        }
        let Step::Phase(phase) = step else { return };
        let _ = agent.tell(Said::Started, Some(phase), None, None).await;
    }
}

/// Where the recorder sends phases.
pub(crate) type Phases = UnboundedSender<Step>;

/// How far the host is, when the event tells it.
pub(crate) fn phase_of(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::Fetched { .. } | Event::FetchedFrames { .. } | Event::ReleaseComplete { .. } => "fetched",
        Event::Syncing { .. } => "unpacked",
        Event::CommandStarted {
            phase: Phase::Post,
            index: 1,
            ..
        } => "switching",
        _ => return None,
    })
}
