//! The transport without Consul: one command per host, with the manifest's URL on its standard input.
//!
//! The command (`ssh {{ host }} stretcher`) runs here, by a shell, in a process group of its own. What it does on the host
//! is its business; its exit code is the host's outcome.

mod filter;
mod output;
mod process;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt as _};
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind as TemplateErrorKind, UndefinedBehavior, context};
use serde::Serialize;

pub use filter::{Filter, Filters};

/// What to run, where.
#[derive(Debug, Clone)]
pub struct ExecRequest {
    /// The hosts, each once.
    pub hosts: Vec<String>,
    /// A shell command, a minijinja template in which `{{ host }}` is the host as one shell word.
    pub command: String,
    /// The manifest's URL; standard input is this line.
    pub url: String,
    /// How many hosts at a time.
    pub limit: NonZeroUsize,
    /// How long one host may take.
    pub timeout: Duration,
    /// The whole environment of the commands.
    pub env: Vec<(OsString, OsString)>,
    /// What the commands' output goes through before it is an event or an outcome.
    pub filters: Filters,
}

/// What happens, as it happens.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A host's command begins.
    Started {
        /// The host.
        host: String,
    },
    /// A line of its output, standard output and standard error alike.
    Output {
        /// The host.
        host: String,
        /// The line without its end; long ones come in pieces.
        line: String,
    },
    /// A host's command is over.
    Ended {
        /// The host.
        host: String,
        /// How.
        result: HostResult,
        /// The end of its output, at most 16 KiB.
        #[serde(skip)]
        output_tail: String,
        /// How long it took.
        seconds: f64,
    },
}

/// How one host's command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum HostResult {
    /// Exit code 0.
    Succeeded,
    /// Another exit code, or a signal.
    Failed {
        /// The exit code, when it ended by itself.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// It took too long, and was ended.
    TimedOut,
    /// It was ended because the whole run was to stop.
    Interrupted,
    /// It was not its turn when the whole run was to stop.
    NotBegun,
    /// It could not be started here, or not be watched.
    NotStarted {
        /// Why not.
        reason: String,
    },
}

/// One host's outcome.
#[derive(Debug, Clone, Serialize)]
pub struct HostOutcome {
    /// The host.
    pub host: String,
    /// How its command ended.
    #[serde(flatten)]
    pub result: HostResult,
    /// The end of its output, at most 16 KiB.
    pub output_tail: String,
    /// How long it took.
    pub seconds: f64,
}

/// Nothing was run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command's template is wrong.
    #[error("the exec command {command:?} cannot be rendered; it knows host")]
    Command {
        /// The template.
        command: String,
        /// minijinja's reason.
        #[source]
        source: minijinja::Error,
    },
    /// The list of hosts cannot be used.
    #[error("the exec transport's hosts cannot be used: {reason}")]
    Hosts {
        /// Why not.
        reason: String,
    },
    /// The URL would be more than a line.
    #[error("{url:?} is not one line: it cannot be handed over on standard input")]
    Url {
        /// The URL.
        url: String,
    },
}

impl Error {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Command { .. } => Some("write it like: ssh {{ host }} stretcher".to_owned()),
            Error::Hosts { .. } => Some("list each host of the role once, by name or address".to_owned()),
            Error::Url { .. } => None,
        }
    }
}

/// Runs the command for each host, at most `limit` at a time, and gives the outcomes in the order of the hosts.
///
/// When `stop` is ready, the commands that run are ended as after their timeout (TERM, then KILL), and no other is
/// started; the outcomes tell which. Dropping the future ends (KILL) every process group that is still there.
///
/// # Errors
/// [`Error`] when the request cannot be used; then nothing was run. A host's failure is its outcome.
pub async fn run(
    request: &ExecRequest,
    stop: impl Future<Output = ()>,
    on_event: &(dyn Fn(Event) + Send + Sync),
) -> Result<Vec<HostOutcome>, Error> {
    let commands = commands(request)?;
    let stop = stop.shared();
    let started = commands.into_iter().enumerate().map(|(at, (host, command))| {
        let stop = stop.clone();
        async move { (at, one(host, &command, request, stop, on_event).await) }
    });
    let ended = futures_util::stream::iter(started).buffer_unordered(request.limit.get());
    let mut outcomes: Vec<(usize, HostOutcome)> = ended.collect().await;
    outcomes.sort_by_key(|(at, _)| *at);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

/// One host's command from its start to its end.
async fn one(
    host: &str,
    command: &str,
    request: &ExecRequest,
    stop: impl Future<Output = ()> + Clone,
    on_event: &(dyn Fn(Event) + Send + Sync),
) -> HostOutcome {
    if stop.clone().now_or_never().is_some() {
        return HostOutcome {
            host: host.to_owned(),
            result: HostResult::NotBegun,
            output_tail: String::new(),
            seconds: 0.0,
        };
    }
    on_event(Event::Started {
        host: host.to_owned(),
    });
    let begin = Instant::now();
    let (result, output_tail) = process::run(host, command, request, stop, on_event).await;
    let seconds = begin.elapsed().as_secs_f64();
    on_event(Event::Ended {
        host: host.to_owned(),
        result: result.clone(),
        output_tail: output_tail.clone(),
        seconds,
    });
    HostOutcome {
        host: host.to_owned(),
        result,
        output_tail,
        seconds,
    }
}

/// Each host with its command.
fn commands(request: &ExecRequest) -> Result<Vec<(&str, String)>, Error> {
    if request.url.chars().any(char::is_control) {
        return Err(Error::Url {
            url: request.url.clone(),
        });
    }
    let refuse = |reason: String| Err(Error::Hosts { reason });
    if request.hosts.is_empty() {
        return refuse("there is none".to_owned());
    }
    for (at, host) in request.hosts.iter().enumerate() {
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return refuse(format!("{host:?} is not a host"));
        }
        // ssh would take it for an option.
        if host.starts_with('-') {
            return refuse(format!("{host:?} starts with '-'"));
        }
        if request.hosts[..at].contains(host) {
            return refuse(format!("{host:?} is there twice"));
        }
    }
    let wrong = |source| Error::Command {
        command: request.command.clone(),
        source,
    };
    let env = environment();
    let template = env.template_from_str(&request.command).map_err(wrong)?;
    request
        .hosts
        .iter()
        .map(|host| Ok((host.as_str(), template.render(context! { host }).map_err(wrong)?)))
        .collect()
}

/// Everything that comes into the command comes as a shell word.
fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_formatter(|out, _, value: &Value| {
        if value.is_undefined() || value.is_none() {
            return Err(TemplateErrorKind::UndefinedError.into());
        }
        let text = value.to_string();
        let word = shlex::try_quote(&text)
            .map_err(|error| minijinja::Error::new(TemplateErrorKind::InvalidOperation, error.to_string()))?;
        out.write_str(&word)?;
        Ok(())
    });
    env
}

#[cfg(test)]
mod tests;
