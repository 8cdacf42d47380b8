//! `shipit apply`.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::Args;
use shipit_fleet::consul::ConsulConfig;
use shipit_fleet::event::{HandlerInput, Heard, parse_handler_input};
use shipit_host::{Applied, ApplyRequest, Limits, VerifyTarget, parse_bandwidth};
use shipit_store::{OnEvent, redacted};

use crate::config::Span;
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::report;
use crate::settle;

/// No list of events that Consul hands over is larger: it keeps 256 of each name.
const LARGEST_INPUT: u64 = 4 << 20;
/// How often a live manifest is followed that is another one each time it was.
const LIVE_ROUNDS: usize = 5;
/// How often a wait for input looks whether it was interrupted.
const LOOK: Duration = Duration::from_millis(100);

/// Follow a manifest on this host: pull, check, unpack, switch, run its commands.
///
/// What stretcher does with the same manifest, without rsync, tar or zstd on the host. The URL is an argument, or the first line
/// of standard input, or the event that `consul watch` hands to its handler there. Needs no config.
///
/// Under `consul watch` (CONSUL_INDEX is set) it always ends with 0, for the watch would end with it.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The manifest's URL (file, http, https, s3) [default: from standard input]
    manifest_url: Option<String>,
    /// Follow the live manifest at this URL, and look when done whether it is still the same: for a host that boots
    #[arg(long, value_name = "URL", conflicts_with_all = ["manifest_url", "verify"])]
    live: Option<String>,
    /// The most that is downloaded in a second, for example 10MB
    #[arg(long, value_name = "BYTES", value_parser = bandwidth)]
    max_bandwidth: Option<u64>,
    /// How long downloading the source may take, for example 10m; also the manifest, by itself
    #[arg(long, value_name = "TIME", value_parser = span)]
    timeout: Option<Span>,
    /// Sleep for a random time below this first, so that not all hosts pull at once
    #[arg(long, value_name = "TIME", value_parser = span)]
    random_delay: Option<Span>,
    /// How often a failed download is tried again
    #[arg(long, value_name = "N", default_value_t = 3)]
    retry: u32,
    /// How long to wait before that
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "3s")]
    retry_wait: Span,
    /// Name each changed path, as rsync -v does
    #[arg(long, short)]
    verbose: bool,
    /// Where the archive and its unpacked tree stand meanwhile; best on dest's file system [default: $TMPDIR or /tmp]
    #[arg(long, value_name = "DIR")]
    temp_dir: Option<PathBuf>,
    /// Where the locks stand; the same for all handlers of a host [default: /run/lock/shipit-UID]
    #[arg(long, value_name = "DIR")]
    lock_dir: Option<PathBuf>,
    /// How long to wait for another handler on the same dest [default: as long as it takes]
    #[arg(long, value_name = "TIME", value_parser = span)]
    lock_wait: Option<Span>,
    /// The most bytes that an archive may unpack to, for example 50GB [default: 64 GiB]
    #[arg(long, value_name = "BYTES", value_parser = bandwidth)]
    max_unpacked: Option<u64>,
    /// Change nothing: hold every file of the release in service against its index, name what differs, end with 11 when
    /// anything does
    #[arg(long)]
    verify: bool,
    /// With --verify and no URL: the role's dest whose release in service is looked at
    #[arg(
        long,
        value_name = "DIR",
        requires = "verify",
        conflicts_with = "manifest_url"
    )]
    dest: Option<PathBuf>,
}

pub fn run(args: &ApplyArgs, context: &Context) -> Result<()> {
    if args.verify {
        return verify(args, context);
    }
    let result = match &args.live {
        Some(url) => live(args, url, context),
        None => told(args, context),
    };
    let watched = context.environment.text("CONSUL_INDEX").is_some();
    match result {
        Err(error) if watched => {
            context.output.error(&if error.kind() == Kind::Interrupted {
                context.stopped()
            } else {
                error
            });
            context
                .output
                .say("ending with 0 all the same: consul watch would end otherwise");
            Ok(())
        }
        result => result,
    }
}

/// A manifest's URL, and the event that brought it.
struct Wanted {
    url: String,
    event: Option<Heard>,
}

impl Wanted {
    fn by_hand(url: &str) -> Self {
        Wanted {
            url: url.to_owned(),
            event: None,
        }
    }
}

/// What the argument or standard input names.
fn told(args: &ApplyArgs, context: &Context) -> Result<()> {
    let Some(wanted) = wanted(args, context)? else {
        context.output.say("no event yet: nothing to do");
        return context.output.json(&());
    };
    let applied = apply(args, wanted, context)?;
    context.output.json(&applied)
}

/// A kick may move the pointer while the host is on its way, and does not wait for a host that it knows nothing of yet.
fn live(args: &ApplyArgs, url: &str, context: &Context) -> Result<()> {
    if live_sha256(args, url, context)?.is_none() {
        context.output.warn(format!(
            "nothing stands at {}: nothing was kicked yet, or the URL is wrong; nothing was done",
            redacted(url)
        ));
        return context.output.json(&());
    }
    let mut round = 1;
    loop {
        let applied = apply(args, Wanted::by_hand(url), context)?;
        let again = match live_sha256(args, url, context) {
            Ok(now) => now.is_some_and(|now| now != applied.manifest_sha256),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => {
                let why = error.chain().join(": ");
                context.output.warn(format!(
                    "cannot tell whether the live release is still the same: {why}"
                ));
                false
            }
        };
        if !again {
            return context.output.json(&applied);
        }
        if round == LIVE_ROUNDS {
            context.output.warn(format!(
                "the live release has changed {round} times meanwhile; what is applied may not be the newest"
            ));
            return context.output.json(&applied);
        }
        context
            .output
            .say("the live release has changed meanwhile: following it once more");
        round += 1;
    }
}

/// What is live, by its digest; nothing when nothing is.
fn live_sha256(args: &ApplyArgs, url: &str, context: &Context) -> Result<Option<String>> {
    let request = request(args, Wanted::by_hand(url), None, context)?;
    let fetch_reporter = report::Store::new(&context.output);
    let fetcher = settle::store::fetcher(OnEvent::new(move |event| fetch_reporter.event(&event)));
    context.block_on_to_the_end(async {
        let flag = context.interrupt.shared_flag();
        match shipit_host::manifest_sha256(&request, &fetcher, &flag).await {
            Err(shipit_host::Error::ManifestFetch { cause, .. })
                if cause.kind() == shipit_store::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            found => Ok(Some(found?)),
        }
    })
}

fn wanted(args: &ApplyArgs, context: &Context) -> Result<Option<Wanted>> {
    if let Some(url) = &args.manifest_url {
        return Ok(Some(Wanted::by_hand(url)));
    }
    if std::io::stdin().is_terminal() {
        return Err(CliError::new(
            Kind::Usage,
            "no manifest's URL was given, and standard input is a terminal",
        )
        .hint("shipit apply URL, or let consul watch start it"));
    }
    let input = input(context)?;
    match parse_handler_input(&input) {
        Ok(HandlerInput::Url(url)) => Ok(Some(Wanted::by_hand(&url))),
        Ok(HandlerInput::Event { url, heard }) => Ok(Some(Wanted {
            url,
            event: Some(heard).filter(|heard| !heard.id.is_empty()),
        })),
        Ok(HandlerInput::Nothing) => Ok(None),
        Err(error) => Err(CliError::from_source(Kind::Usage, error)),
    }
}

/// All of standard input. It is read on a thread of its own, for a signal does not wake a read: who is asked to stop must not
/// wait for whoever holds the other end.
fn input(context: &Context) -> Result<Vec<u8>> {
    let failed = |error| CliError::disk("reading the manifest's URL from standard input", error);
    let (sender, receiver) = mpsc::channel();
    let read = move || {
        let mut input = Vec::new();
        let read = std::io::stdin()
            .lock()
            .take(LARGEST_INPUT)
            .read_to_end(&mut input);
        // Nobody waits for it any more when this fails.
        let _ = sender.send(read.map(|_| input));
    };
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(read)
        .map_err(failed)?;
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(read) => return read.map_err(failed),
            Err(_) if context.interrupt.signal().is_some() => return Err(context.stopped()),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(CliError::new(
                    Kind::Internal,
                    "the reader of standard input ended",
                ));
            }
        }
    }
}

fn apply(args: &ApplyArgs, wanted: Wanted, context: &Context) -> Result<Applied> {
    let reporter = Arc::new(report::Host::new(&context.output));
    let fetch_reporter = report::Store::new(&context.output);
    let on_fetch = OnEvent::new(move |event| fetch_reporter.event(&event));
    let fetcher = settle::store::fetcher(on_fetch);
    let request = request(args, wanted, agent(context), context)?;
    let sink = Arc::clone(&reporter);
    // Not dropped when interrupted: it sees the flag, ends the command that runs and cleans up itself. The manifest's failure
    // commands are for failures, and are not run then.
    let applied = context.block_on_to_the_end(async {
        Ok(shipit_host::apply(
            request,
            &fetcher,
            context.interrupt.shared_flag(),
            Arc::new(move |event| sink.event(&event)),
        )
        .await?)
    })?;
    reporter.finish(&applied);
    Ok(applied)
}

fn verify(args: &ApplyArgs, context: &Context) -> Result<()> {
    let (wanted, target) = match &args.dest {
        Some(dest) => (Wanted::by_hand(""), VerifyTarget::Dest(role_dest(dest, context)?)),
        None => {
            let wanted = wanted(args, context)?.ok_or_else(|| {
                CliError::new(Kind::Usage, "there is no event, so no release to verify")
                    .hint("name the manifest's URL, or the role's dest by --dest")
            })?;
            (wanted, VerifyTarget::Manifest)
        }
    };
    let fetch_reporter = report::Store::new(&context.output);
    let fetcher = settle::store::fetcher(OnEvent::new(move |event| fetch_reporter.event(&event)));
    let request = request(args, wanted, None, context)?;
    let reporter = report::Host::new(&context.output);
    let verified = context.block_on_to_the_end(async {
        let flag = context.interrupt.shared_flag();
        Ok(shipit_host::verify(request, target, &fetcher, flag, Arc::new(|_| {})).await?)
    })?;
    reporter.verified(&verified);
    context.output.json(&verified)?;
    match verified.drift.len() {
        0 => Ok(()),
        count => Err(CliError::new(
            Kind::Verification,
            format!(
                "the release {} is not what its index says: {count} {}",
                verified.release,
                if count == 1 { "difference" } else { "differences" }
            ),
        )
        .hint("publish and apply a new release to put it right; find out first who changed them")),
    }
}

/// The directory of a role with `layout = "releases"`, which is told by its link `current`.
fn role_dest(dest: &Path, context: &Context) -> Result<PathBuf> {
    let dest = context.absolute(dest)?;
    let why = if !dest.is_dir() {
        "it is no directory"
    } else if dest.join("current").read_link().is_err() {
        "it has no link `current`"
    } else {
        return Ok(dest);
    };
    let message = format!("--dest {} is not a role's dest: {why}", dest.display());
    Err(CliError::new(Kind::Usage, message).hint(
        "name the role's `dest`, in which `current` and `releases` stand; a role with layout = \"plain\" is verified by its \
         manifest's URL",
    ))
}

fn request(
    args: &ApplyArgs,
    wanted: Wanted,
    consul: Option<ConsulConfig>,
    context: &Context,
) -> Result<ApplyRequest> {
    let temp_dir = match &args.temp_dir {
        Some(dir) => context.absolute(dir)?,
        None => context.environment.temporary_directory(),
    };
    let lock_dir = match &args.lock_dir {
        Some(dir) => context.absolute(dir)?,
        None => default_lock_dir(context),
    };
    Ok(ApplyRequest {
        manifest_url: wanted.url,
        event: wanted.event,
        consul,
        environment: context.environment.all(),
        // The directory that a watch was started in may be gone; its commands then run in the root, as daemons do.
        working_dir: context
            .environment
            .working_directory()
            .unwrap_or_else(|| PathBuf::from("/")),
        temp_dir,
        lock_dir,
        lock_wait: args.lock_wait.map(Span::get),
        retry: args.retry,
        retry_wait: args.retry_wait.get(),
        timeout: args.timeout.map(Span::get),
        random_delay: args.random_delay.map_or(Duration::ZERO, Span::get),
        max_bandwidth: args.max_bandwidth,
        verbose: args.verbose,
        limits: match args.max_unpacked {
            // Whoever names a limit knows the archive: what it allows is not held against its ratio.
            Some(bytes) => Limits {
                bytes,
                free_bytes: bytes,
                ..Limits::default()
            },
            None => Limits::default(),
        },
        jobs: context.jobs(),
    })
}

/// The host's own agent. Without it the manifest's own commands report, and say why they cannot either.
fn agent(context: &Context) -> Option<ConsulConfig> {
    match settle::agent::agent(context) {
        Ok(config) => Some(config),
        Err(error) => {
            let why = error.chain().join(": ");
            context
                .output
                .warn(format!("Consul's agent cannot be told how it goes: {why}"));
            None
        }
    }
}

/// One place for all handlers of one user, whatever TMPDIR each of them has.
fn default_lock_dir(context: &Context) -> PathBuf {
    let name = format!("shipit-{}", rustix::process::geteuid().as_raw());
    let shared = PathBuf::from("/run/lock");
    if shared.is_dir() {
        shared.join(name)
    } else {
        context.environment.temporary_directory().join(name)
    }
}

fn span(text: &str) -> std::result::Result<Span, String> {
    Span::parse(text)
}

fn bandwidth(text: &str) -> std::result::Result<u64, String> {
    parse_bandwidth(text).map_err(|error| error.to_string())
}
