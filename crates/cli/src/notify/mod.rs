//! Notices of kicks that ended: one summary to each `[[notify]]` of the config. A notice that fails is a warning, and never more.
//!
//! Not here: when a kick has ended, and what came of it.

mod summary;

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use shipit_fleet::Secret;
use shipit_fleet::notify::{NoticeCommand, Webhook, post, run};
use tokio::task::JoinSet;

pub use summary::{Counts, Summary};

use crate::config::{Notify, NotifyTo, Setting, Settled};
use crate::context::Context;
use crate::errors::{CliError, Result, chain};

/// The longest that one notice may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The notices of one run, each sent beside what goes on.
pub struct Notices<'a> {
    config: &'a Settled,
    context: &'a Context,
    ended: Vec<Summary>,
    on_their_way: JoinSet<()>,
}

impl<'a> Notices<'a> {
    /// None yet.
    pub fn new(config: &'a Settled, context: &'a Context) -> Self {
        Notices {
            config,
            context,
            ended: Vec::new(),
            on_their_way: JoinSet::new(),
        }
    }

    /// Takes a kick that ended; nobody is told yet.
    pub fn ended(&mut self, summary: Summary) {
        self.ended.push(summary);
    }

    /// Sends the notices of all kicks that ended to those that the config names, and waits for none. For callers outside of the
    /// runtime.
    pub fn send(&mut self) {
        let ended = std::mem::take(&mut self.ended);
        if ended.is_empty() {
            return;
        }
        let told = ended.iter().map(|summary| self.told(summary));
        let told: Vec<_> = told.collect();
        // In order: that a role was rolled back is not heard of before that its kick failed.
        self.context.spawn_on(&mut self.on_their_way, async {
            for told in told {
                told.await;
            }
        });
    }

    /// The notices of one kick, side by side.
    fn told(&self, summary: &Summary) -> impl Future<Output = ()> + Send + use<> {
        let outcome = summary.outcome();
        let due = self
            .config
            .notify
            .iter()
            .filter(|notify| notify.on.contains(&outcome));
        let told = due.map(|notify| tell(notify, self.config, summary, self.context));
        join_all(told.collect::<Vec<_>>()).map(drop)
    }

    /// Sends what is left, and waits until all have been told, or their time is over; in a run that was asked to stop, too.
    pub fn finish(mut self) {
        self.send();
        // There is no error: what failed was said as a warning.
        let _ = self.context.block_on_to_the_end(async {
            while self.on_their_way.join_next().await.is_some() {}
            Ok(())
        });
    }
}

/// One notice.
fn tell(
    notify: &Notify,
    config: &Settled,
    summary: &Summary,
    context: &Context,
) -> impl Future<Output = ()> + Send + use<> {
    let way = prepare(notify, config, context);
    let (whom, summary, output) = (whom(&notify.to), summary.clone(), context.output.clone());
    async move {
        let told = match way {
            Err(error) => Err(error.chain().join(": ")),
            Ok(way) => give(&way, &summary).await.map_err(|error| chain(&error)),
        };
        if let Err(why) = told {
            output.warn(format!("{whom} was not told how the kick ended: {why}"));
        }
    }
}

/// Who was to be told, without anything secret.
fn whom(to: &NotifyTo) -> String {
    match to {
        NotifyTo::Slack(_) => "the chat behind notify.slack".to_owned(),
        NotifyTo::Webhook { url, .. } => match url.as_text() {
            // Its path may be all that keeps others from posting there.
            Some(url) => format!("the webhook at {}", host(url)),
            None => "the webhook of notify.webhook".to_owned(),
        },
        NotifyTo::Command(command) => format!("the command `{command}`"),
    }
}

/// `https://hooks.example.com`: a URL without anything that may be secret.
fn host(url: &str) -> String {
    let shown = shipit_store::redacted(url);
    let end = shown.find("://").map_or(0, |at| at + 3);
    let end = shown[end..].find('/').map_or(shown.len(), |at| end + at);
    shown[..end].to_owned()
}

/// A notice's way, with its secrets read.
enum Way {
    Slack(Webhook),
    Webhook(Webhook),
    Command(NoticeCommand),
}

fn prepare(notify: &Notify, config: &Settled, context: &Context) -> Result<Way> {
    let secret = |setting: &Setting| Ok::<_, CliError>(Secret::new(context.value(setting)?.into_inner()));
    Ok(match &notify.to {
        NotifyTo::Slack(url) => Way::Slack(Webhook {
            url: secret(url)?,
            headers: Vec::new(),
        }),
        NotifyTo::Webhook { url, headers } => Way::Webhook(Webhook {
            url: secret(url)?,
            headers: headers
                .iter()
                .map(|(name, value)| Ok((name.clone(), secret(value)?)))
                .collect::<Result<_>>()?,
        }),
        NotifyTo::Command(command) => Way::Command(NoticeCommand {
            command: command.clone(),
            directory: config.dir.clone(),
            env: context.environment.all(),
        }),
    })
}

async fn give(way: &Way, summary: &Summary) -> std::result::Result<(), shipit_fleet::notify::Error> {
    match way {
        Way::Slack(webhook) => post(webhook, &summary.slack(), LIMIT).await,
        Way::Webhook(webhook) => post(webhook, &summary.json(), LIMIT).await,
        Way::Command(command) => run(command, &format!("{}\n", summary.json()), LIMIT).await,
    }
}
