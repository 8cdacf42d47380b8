//! What a kick works with: the stage's config, its store, its board, and Consul where the stage has one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use shipit_fleet::board::Board;
use shipit_fleet::consul::Client;
use shipit_store::{OnEvent, Store};

use crate::args::WithoutConsul;
use crate::config::{Settled, StageChoice};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::{report, settle};

/// How long the last words of a kick may take: the lock's release, the history. A server that hangs must not keep Jenkins.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// A stage, opened.
pub struct Stage<'a> {
    /// The config, settled for the stage.
    pub config: &'a Settled,
    /// This run.
    pub context: &'a Context,
    /// Where releases, live and the history are.
    pub store: Store,
    /// Where the lock and the reports are.
    pub board: Arc<dyn Board>,
    /// Consul, where the stage uses it.
    pub consul: Option<Client>,
}

impl<'a> Stage<'a> {
    /// Loads the config for a stage.
    pub fn config(context: &Context, stage: Option<&str>) -> Result<Settled> {
        settle::config(context, StageChoice::Of(stage))
    }

    /// As `config`, for commands that can do without Consul.
    pub fn config_of(context: &Context, stage: Option<&str>, without: WithoutConsul) -> Result<Settled> {
        let mut config = Self::config(context, stage)?;
        if without.without_consul {
            config.leave_consul();
        }
        Ok(config)
    }

    /// Opens the stage of a config.
    pub fn open(config: &'a Settled, context: &'a Context) -> Result<Self> {
        let reporter = Arc::new(report::Store::new(&context.output));
        let on_event = OnEvent::new(move |event| reporter.event(&event));
        let store = settle::store::existing(config, context, on_event)?;
        let consul = settle::consul::client(config, context)?;
        let board = settle::board::board_on(config, context, &store, consul.clone())?;
        let consul = consul.map(|client| match &config.consul.hosts_in {
            Some(datacenter) => client.in_datacenter(datacenter),
            None => client,
        });
        Ok(Stage {
            config,
            context,
            store,
            board,
            consul,
        })
    }

    /// Consul, for what cannot be done without it.
    pub fn consul(&self) -> Result<&Client> {
        self.consul.as_ref().ok_or_else(|| {
            CliError::new(
                Kind::Usage,
                "the config uses no Consul, so hosts cannot be told by it",
            )
            .hint("kick by the transport exec; for the transport consul the config needs a [consul] table")
        })
    }

    /// ` --stage production`, for commands in hints: none of them may mean another stage, nor ask Consul where this one does without
    /// it. Empty in a config without stages.
    pub fn flag(&self) -> String {
        settle::board::flags(self.config)
    }

    /// Waits for network work; a signal ends it.
    pub fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.context.block_on(work)
    }

    /// Waits for what is to be done on each way out, signals or not; nothing when it takes too long.
    pub fn last_words<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let limited = async {
            match tokio::time::timeout(LAST_WORDS, work).await {
                Ok(result) => result,
                Err(_) => Err(CliError::new(
                    Kind::Internal,
                    format!("no answer in {} s", LAST_WORDS.as_secs()),
                )),
            }
        };
        self.context.block_on_to_the_end(limited)
    }

    /// Waits for network work that may not be dropped on a signal, for what it does may be done already: once one came, as long as
    /// last words have.
    pub fn finish<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let limited = async {
            tokio::select! {
                result = work => result,
                () = async {
                    self.context.interrupt.asked().await;
                    tokio::time::sleep(LAST_WORDS).await;
                } => Err(self.context.stopped()),
            }
        };
        self.context.block_on_to_the_end(limited)
    }

    /// Whether this run was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.context.interrupt.signal().is_some()
    }

    /// News on stderr.
    pub fn say(&self, message: impl AsRef<str>) {
        self.context.output.say(message);
    }

    /// A warning on stderr.
    pub fn warn(&self, message: impl AsRef<str>) {
        self.context.output.warn(message);
    }
}
