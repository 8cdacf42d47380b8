//! `shipit kick`.

use std::num::NonZeroUsize;
use std::sync::Arc;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use serde::Serialize;
use shipit_fleet::consul::{Client, EventRequest, any_of, exact, preflight};
use shipit_fleet::event;
use shipit_fleet::exec::{self, ExecRequest, Filter, Filters, HostOutcome, HostResult};
use shipit_steps::Masker;
use shipit_store::{OnEvent, Release, ReleaseRef, Store, release};

use crate::args::StageArg;
use crate::config::{Exec, Role, Settled, StageChoice, Transport};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::report;
use crate::settle;
use crate::state::published;

/// Tell the hosts of roles to pull a release.
///
/// Fires one Consul event per role, in the order given, and prints its id: hosts that run `consul watch` on the event's name get
/// the manifest's URL. With the transport `exec` a command runs for each host in the role's list instead, with the URL on its
/// standard input; a line per host says how it ended, and a failed host fails the kick.
#[derive(Debug, Args)]
pub struct KickArgs {
    /// The roles, in order; the next one is kicked only when the one before went well
    #[arg(required = true, value_name = "ROLE")]
    roles: Vec<String>,
    #[command(flatten)]
    stage: StageArg,
    /// The release: its id, `latest` of the stage, or `published`, the one that the last publish here made
    #[arg(long, value_name = "ID", default_value = "latest")]
    release: String,
    /// How hosts are told [default: what the config says]
    #[arg(long, value_enum, value_name = "TRANSPORT")]
    transport: Option<TransportArg>,
    /// Only the nodes of this name; may be given several times (consul)
    #[arg(long = "node", value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
    nodes: Vec<String>,
    /// Only nodes with this service (consul)
    #[arg(long, value_name = "SERVICE", value_parser = NonEmptyStringValueParser::new())]
    service: Option<String>,
    /// Only where that service has this tag (consul)
    #[arg(long, value_name = "TAG", value_parser = NonEmptyStringValueParser::new())]
    tag: Option<String>,
    /// The datacenter (consul) [default: that of the config, else the agent's]
    #[arg(long, value_name = "DC", value_parser = NonEmptyStringValueParser::new())]
    dc: Option<String>,
}

/// The transports by their names in the config.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum TransportArg {
    Consul,
    Exec,
}

/// The document of `--output json`; a kick that failed in a role has it too, as far as it came.
#[derive(Debug, Serialize)]
struct Report<'a> {
    app: &'a str,
    stage: &'a str,
    release: String,
    roles: Vec<RoleReport>,
}

/// One role's part of it.
#[derive(Debug, Serialize)]
struct RoleReport {
    role: String,
    manifest_url: String,
    #[serde(flatten)]
    told: Told,
}

#[derive(Debug, Serialize)]
#[serde(tag = "transport", rename_all = "lowercase")]
enum Told {
    Consul { event: String, id: String },
    Exec { hosts: Vec<HostOutcome> },
}

/// A role, checked and ready to be told.
enum Plan<'a> {
    Consul(EventRequest),
    Exec(&'a Exec),
}

pub fn run(args: &KickArgs, context: &Context) -> Result<()> {
    let stage = args.stage.name(&context.environment);
    let config = settle::config(context, StageChoice::Of(stage.as_deref()))?;
    let roles = roles(args, &config)?;
    let reporter = Arc::new(report::Store::new(&context.output));
    let store = settle::store::open(
        &config,
        context,
        OnEvent::new(move |event| reporter.event(&event)),
    )?;
    let wanted: ReleaseRef = match args.release.as_str() {
        "published" => published(&config)?.parse()?,
        other => other.parse()?,
    };
    let found =
        context.block_on(async { Ok(release(&store, &config.app, config.stage(), &wanted).await?) })?;

    // All roles are checked before the first host hears of anything.
    let mut plans = Vec::new();
    for role in roles {
        let url = manifest_url(&found, role, &store, context)?;
        let plan = plan(args, &config, role, &url)?;
        plans.push((role, url, plan));
    }
    let mut report = Report {
        app: &config.app,
        stage: config.stage(),
        release: found.id.to_string(),
        roles: Vec::new(),
    };
    let told = tell(plans, &mut report, &config, context);
    // What the hosts were told they were told, whatever came of the rest: an event cannot be called back.
    context.output.json(&report)?;
    told
}

/// The roles in the order given.
fn roles<'a>(args: &KickArgs, config: &'a Settled) -> Result<Vec<&'a Role>> {
    let twice = |(at, name): &(usize, &String)| args.roles[..*at].contains(name);
    if let Some((_, name)) = args.roles.iter().enumerate().find(twice) {
        return Err(CliError::new(
            Kind::Usage,
            format!("the role {name} is named twice"),
        ));
    }
    args.roles.iter().map(|name| Ok(config.role(name)?)).collect()
}

/// Kicks one role after the other, and notes each that was; stops at the first that did not go well.
fn tell(
    plans: Vec<(&Role, String, Plan<'_>)>,
    report: &mut Report<'_>,
    config: &Settled,
    context: &Context,
) -> Result<()> {
    let names: Vec<&str> = plans.iter().map(|(role, ..)| role.name.as_str()).collect();
    for (at, (role, url, plan)) in plans.into_iter().enumerate() {
        let rest = names[at + 1..].join(", ");
        let not_kicked = |error: CliError| match rest.as_str() {
            "" => error,
            rest => error.hint(format!("not kicked: {rest}")),
        };
        context.output.say(format!(
            "kicking {} of {} in {}: {}",
            role.name, report.app, report.stage, report.release
        ));
        let told = match plan {
            Plan::Consul(event) => fire(&event, config, context),
            Plan::Exec(exec) => run_on_hosts(exec, &url, role, context),
        };
        let told = told.map_err(not_kicked)?;
        let failed = failed_hosts(&told);
        report.roles.push(RoleReport {
            role: role.name.clone(),
            manifest_url: url,
            told,
        });
        let interrupted = context.interrupt.signal().is_some();
        if interrupted && !(failed.is_empty() && rest.is_empty()) {
            return Err(not_kicked(stopped(role, &failed, context)));
        }
        if !failed.is_empty() {
            return Err(not_kicked(hosts_failed(role, &failed)));
        }
    }
    Ok(())
}

/// The manifest's URL, once its bytes in the store are those that the release names.
fn manifest_url(release: &Release, role: &Role, store: &Store, context: &Context) -> Result<String> {
    let missing = || {
        let has: Vec<&str> = release.roles.keys().map(String::as_str).collect();
        CliError::new(
            Kind::Store,
            format!(
                "the release {} has no manifest for the role {}",
                release.id, role.name
            ),
        )
        .hint(format!(
            "it was published for {}; publish again for all roles",
            has.join(", ")
        ))
    };
    context
        .block_on(async { Ok(release.manifest(store, &role.name).await?) })?
        .ok_or_else(missing)?;
    release.manifest_url(store, &role.name).ok_or_else(missing)
}

fn plan<'a>(args: &KickArgs, config: &Settled, role: &'a Role, url: &str) -> Result<Plan<'a>> {
    let transport = match args.transport {
        None => config.transport(role),
        Some(TransportArg::Consul) => Transport::Consul,
        Some(TransportArg::Exec) => Transport::Exec,
    };
    if transport == Transport::Exec {
        if !args.nodes.is_empty() || args.service.is_some() || args.tag.is_some() || args.dc.is_some() {
            return Err(CliError::new(
                Kind::Usage,
                "--node, --service, --tag and --dc are for the transport consul",
            ));
        }
        return role.exec.as_ref().map(Plan::Exec).ok_or_else(|| {
            CliError::new(Kind::Usage, format!("the role {} has no [role.{}.exec] table", role.name, role.name))
                .hint("it names the hosts and the command: hosts = [\"web1\"], command = \"ssh {{ host }} shipit apply\"")
        });
    }
    let name =
        event::name(&config.consul.event_name, &config.app, &role.name, config.stage()).map_err(|error| {
            CliError::from_source(Kind::Usage, error).hint("see consul.event_name in the config")
        })?;
    let node = match args.nodes.as_slice() {
        [] => role.filter.node.as_deref().map(exact),
        nodes => Some(any_of(&nodes.iter().map(String::as_str).collect::<Vec<_>>())),
    };
    let event = EventRequest {
        name,
        payload: url.to_owned(),
        node,
        service: args
            .service
            .as_deref()
            .or(role.filter.service.as_deref())
            .map(exact),
        tag: args.tag.as_deref().or(role.filter.tag.as_deref()).map(exact),
        datacenter: args.dc.clone(),
    };
    if event.tag.is_some() && event.service.is_none() {
        return Err(CliError::new(
            Kind::Usage,
            format!(
                "role {}: a tag is a tag of a service, and none is named",
                role.name
            ),
        )
        .hint(format!(
            "add --service, or service under [role.{}.filter]",
            role.name
        )));
    }
    preflight(&event).map_err(|error| {
        let hint = error.hint();
        CliError::from_source(Kind::Consul, error).maybe_hint(Some(hint))
    })?;
    Ok(Plan::Consul(event))
}

fn fire(event: &EventRequest, config: &Settled, context: &Context) -> Result<Told> {
    let client = Client::new(&settle::consul::options(config, context)?)?;
    let id = context.block_on(async { Ok(client.fire(event).await?) })?;
    context.output.say(format!(
        "fired {}; Consul accepted it, which does not say that hosts have it: see their logs",
        event.name
    ));
    context.output.data(&id.0)?;
    Ok(Told::Consul {
        event: event.name.clone(),
        id: id.0,
    })
}

fn run_on_hosts(exec: &Exec, url: &str, role: &Role, context: &Context) -> Result<Told> {
    let mut env = context.environment.all();
    let mut secrets = Vec::new();
    for variable in settle::steps::variables(&exec.env, context)? {
        if variable.secret {
            secrets.push(variable.value.clone());
        }
        env.push((variable.name.into(), variable.value.into()));
    }
    let request = ExecRequest {
        hosts: exec.hosts.clone(),
        command: exec.command.clone(),
        url: url.to_owned(),
        limit: NonZeroUsize::new(exec.limit as usize).unwrap_or(NonZeroUsize::MIN),
        timeout: exec.timeout.get(),
        env,
        filters: Filters::new(move || masked(&secrets)),
    };
    let reporter = report::Exec::new(&context.output);
    let on_event = |event: exec::Event| reporter.event(&event);
    // It ends the hosts' commands itself when asked to stop, so that each can clean up.
    let hosts = context.block_on_to_the_end(async {
        Ok(exec::run(&request, context.interrupt.asked(), &on_event).await?)
    })?;
    for outcome in &hosts {
        context.output.data(format!(
            "{}\t{}\t{}",
            role.name,
            outcome.host,
            report::result(&outcome.result)
        ))?;
    }
    Ok(Told::Exec { hosts })
}

/// A filter that shows `***` in place of each secret, however the output is cut.
fn masked(secrets: &[String]) -> Filter {
    let mut masker = Masker::new(secrets.iter().map(String::as_str));
    Box::new(move |bytes| {
        let mut shown = Vec::new();
        match bytes {
            Some(bytes) => masker.push(bytes, &mut shown),
            None => masker.finish(&mut shown),
        }
        shown
    })
}

fn failed_hosts(told: &Told) -> Vec<String> {
    match told {
        Told::Consul { .. } => Vec::new(),
        Told::Exec { hosts } => hosts
            .iter()
            .filter(|outcome| outcome.result != HostResult::Succeeded)
            .map(|outcome| format!("{} ({})", outcome.host, report::result(&outcome.result)))
            .collect(),
    }
}

fn hosts_failed(role: &Role, failed: &[String]) -> CliError {
    CliError::new(
        Kind::Hosts,
        format!("role {}: {} failed", role.name, failed.join(", ")),
    )
    .hint("their output stands above; kick again once it is mended: hosts that are done do nothing more")
}

fn stopped(role: &Role, failed: &[String], context: &Context) -> CliError {
    let error = context.stopped();
    if failed.is_empty() {
        return error;
    }
    error
        .context(format!("role {}: {}", role.name, failed.join(", ")))
        .hint("kick again: hosts that are done do nothing more")
}
