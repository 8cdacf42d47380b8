//! Notices of kicks that ended: one summary to each `[[notify]]` of the config. A notice that fails is a warning, and never more.
//!
//! Not here: when a kick has ended, and what came of it.

mod summary;

use std::time::Duration;

use futures_util::future::join_all;
use shipit_fleet::Secret;
use shipit_fleet::notify::{NoticeCommand, Webhook, post, run};

pub use summary::{Counts, Summary};

use crate::config::{Notify, NotifyTo, Setting, Settled};
use crate::context::Context;
use crate::errors::{CliError, Result, chain};

/// The longest that one notice may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Tells all that the config names for this outcome, side by side. For callers outside of the runtime; a run that was asked to stop
/// tells them too.
pub fn send(config: &Settled, summary: &Summary, context: &Context) {
    // There is no error: what failed was said as a warning.
    let _ = context.block_on_to_the_end(async {
        send_all(config, summary, context).await;
        Ok(())
    });
}

/// As [`send`], for callers on the runtime.
pub async fn send_all(config: &Settled, summary: &Summary, context: &Context) {
    let outcome = summary.outcome();
    let due = config.notify.iter().filter(|notify| notify.on.contains(&outcome));
    join_all(due.map(|notify| tell(notify, config, summary, context))).await;
}

/// One notice.
async fn tell(notify: &Notify, config: &Settled, summary: &Summary, context: &Context) {
    let told = match prepare(notify, config, context) {
        Err(error) => Err(error.chain().join(": ")),
        Ok(way) => give(&way, summary).await.map_err(|error| chain(&error)),
    };
    if let Err(why) = told {
        context.output.warn(format!(
            "{} was not told how the kick ended: {why}",
            whom(&notify.to)
        ));
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
