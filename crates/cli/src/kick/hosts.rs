//! Which hosts a kick tells, and in which waves.

use std::collections::BTreeSet;

use shipit_fleet::consul::{EventRequest, exact, preflight};
use shipit_fleet::event;
use shipit_fleet::filters;
use shipit_fleet::follow::Told;
use shipit_fleet::hosts::{self, Expected, Wanted};
use shipit_store::Action;

use super::flags::{Course, HostFlags, WaveFlags};
use super::stage::Stage;
use crate::config::{Exec, Hosts, Role, Settled, Transport};
use crate::errors::{CliError, Kind, Result};

/// The hosts of one role's kick.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Each by its name; none when only their number is known.
    pub told: Vec<Told>,
    /// How many, when they are not known by their names.
    pub count: Option<usize>,
    /// Whether these are all of the role's hosts.
    pub whole: bool,
    /// Those that are told before the others, in waves of their own.
    pub first: BTreeSet<String>,
}

impl Listed {
    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.told.iter().map(|told| told.name.clone()).collect()
    }

    /// How many are expected to report.
    pub fn number(&self) -> usize {
        self.count.unwrap_or(self.told.len())
    }

    /// These alone, which are no longer all.
    pub fn only(mut self, names: &[String]) -> Self {
        self.told.retain(|told| names.contains(&told.name));
        self.count = None;
        self.whole = false;
        self
    }
}

/// A datacenter is Consul's: commands know none.
pub fn refuse_dc(role: &Role, course: &Course, waves: &WaveFlags) -> Result<()> {
    if course.transport == Transport::Consul || waves.dc.is_none() {
        return Ok(());
    }
    Err(CliError::new(
        Kind::Usage,
        format!(
            "role {}: --dc is for the transport consul, and it is told by exec",
            role.name
        ),
    ))
}

/// As [`list`], for callers outside of the runtime.
pub fn listed(
    stage: &Stage<'_>,
    role: &Role,
    course: &Course,
    flags: &HostFlags,
    followed: bool,
) -> Result<Listed> {
    stage.wait(list(stage, role, course, flags, followed))
}

/// The hosts that a role's kick is to tell.
pub async fn list(
    stage: &Stage<'_>,
    role: &Role,
    course: &Course,
    flags: &HostFlags,
    followed: bool,
) -> Result<Listed> {
    refuse_patterns(role, flags)?;
    match course.transport {
        Transport::Exec => by_exec(role, flags),
        Transport::Consul => by_consul(stage, role, flags, followed).await,
    }
}

/// A name is a name. What looks like a pattern would tell more hosts than whoever wrote it counted.
fn refuse_patterns(role: &Role, flags: &HostFlags) -> Result<()> {
    let Some(pattern) = flags.only.iter().find(|name| name.contains('*')) else {
        return Ok(());
    };
    Err(CliError::new(
        Kind::Usage,
        format!("role {}: --only {pattern} is no host's name", role.name),
    )
    .hint(format!(
        "name each host by an --only of its own; patterns stand in the config alone: [role.{}.filter] node = \"web-*\"",
        role.name
    )))
}

/// The role's table of the transport exec.
pub fn exec_of(role: &Role) -> Result<&Exec> {
    role.exec.as_ref().ok_or_else(|| {
        CliError::new(
            Kind::Usage,
            format!("the role {} has no [role.{}.exec] table", role.name, role.name),
        )
        .hint("it names the hosts and the command: hosts = [\"web1\"], command = \"ssh {{ host }} shipit apply\"")
    })
}

fn by_exec(role: &Role, flags: &HostFlags) -> Result<Listed> {
    if flags.service.is_some() || flags.tag.is_some() {
        return Err(CliError::new(
            Kind::Usage,
            "--service and --tag are for the transport consul",
        ));
    }
    let exec = exec_of(role)?;
    let unknown: Vec<&str> = flags
        .only
        .iter()
        .filter(|name| !exec.hosts.contains(name))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        return Err(CliError::new(
            Kind::Usage,
            format!(
                "role {}: {} is not among its hosts",
                role.name,
                unknown.join(", ")
            ),
        )
        .hint(format!("[role.{}.exec] has {}", role.name, exec.hosts.join(", "))));
    }
    let wanted = |host: &&String| flags.only.is_empty() || flags.only.contains(host);
    let told = exec.hosts.iter().filter(wanted).map(|host| Told {
        name: host.clone(),
        dead: None,
    });
    Ok(Listed {
        told: told.collect(),
        count: None,
        whole: flags.only.is_empty(),
        first: BTreeSet::new(),
    })
}

async fn by_consul(stage: &Stage<'_>, role: &Role, flags: &HostFlags, followed: bool) -> Result<Listed> {
    let wanted = wanted(role, flags);
    let client = stage.consul()?;
    let unknown =
        wanted.named.is_none() && wanted.count.is_none() && wanted.service.is_none() && wanted.node.is_none();
    // Who does not follow need not know whom.
    if unknown && !followed {
        return Ok(Listed {
            told: Vec::new(),
            count: None,
            whole: true,
            first: BTreeSet::new(),
        });
    }
    let found: Expected = hosts::expected(client, &wanted).await?;
    let found = match flags.only.is_empty() || wanted.named.as_ref() == Some(&flags.only) {
        true => found,
        false => found.only(&wanted.what, &flags.only)?,
    };
    Ok(Listed {
        told: found.hosts.into_iter().map(told).collect(),
        count: found.count,
        whole: !flags.narrows(),
        first: BTreeSet::new(),
    })
}

/// An error of finding the hosts, with what else a kick could do: the others have to know whom they follow.
pub fn of_action(error: CliError, role: &Role, action: Action, flags: &HostFlags) -> CliError {
    let wanted = wanted(role, flags);
    let nothing_says =
        wanted.named.is_none() && wanted.count.is_none() && wanted.service.is_none() && wanted.node.is_none();
    match nothing_says && action == Action::Kick {
        true => error.hint("or fire without following, by --no-wait"),
        false => error,
    }
}

/// What is asked of Consul's catalog.
pub fn wanted(role: &Role, flags: &HostFlags) -> Wanted {
    let (named, count) = match &role.hosts {
        None => (None, None),
        Some(Hosts::Named(names)) => (Some(names.clone()), None),
        Some(Hosts::Count(count)) => (None, Some(*count)),
    };
    let filter = &role.filter;
    let by_flags = flags.service.is_some() || flags.tag.is_some();
    let unfiltered = filter.service.is_none() && filter.node.is_none() && !by_flags;
    let named = match &named {
        _ if by_flags => None,
        // The list says which of them there are.
        Some(_) => named,
        None if !flags.only.is_empty() && (unfiltered || count.is_some()) => Some(flags.only.clone()),
        None => None,
    };
    Wanted {
        what: format!("role {}", role.name),
        count: if by_flags || named.is_some() { None } else { count },
        named,
        service: flags.service.clone().or_else(|| filter.service.clone()),
        tag: flags.tag.clone().or_else(|| filter.tag.clone()),
        node: filter.node.clone(),
    }
}

fn told(host: hosts::Host) -> Told {
    let why = host.why.unwrap_or_else(|| "its node is dead".to_owned());
    Told {
        name: host.name,
        dead: (!host.alive).then_some(why),
    }
}

/// The event that reaches all of a role's hosts.
pub fn event(config: &Settled, role: &Role, flags: &HostFlags, url: &str) -> Result<EventRequest> {
    let template = &config.consul.event_name;
    let name = event::name(template, &config.app, &role.name, config.stage()).map_err(|error| {
        CliError::from_source(Kind::Usage, error).hint("see consul.event_name in the config")
    })?;
    let filter = &role.filter;
    let event = EventRequest {
        name,
        payload: url.to_owned(),
        node: filter.node.as_deref().map(filters::pattern),
        service: flags.service.as_deref().or(filter.service.as_deref()).map(exact),
        tag: flags.tag.as_deref().or(filter.tag.as_deref()).map(exact),
        datacenter: None,
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
    preflight(&event).map_err(too_long)?;
    Ok(event)
}

/// Events for these nodes and no others: the nodes were matched against the role's filter already.
pub fn events_for(event: &EventRequest, nodes: &[String]) -> Result<Vec<EventRequest>> {
    let plain = EventRequest {
        node: None,
        service: None,
        tag: None,
        ..event.clone()
    };
    filters::events(&plain, nodes).map_err(too_long)
}

fn too_long(error: shipit_fleet::consul::TooLong) -> CliError {
    let hint = error.hint();
    CliError::from_source(Kind::Consul, error).hint(hint)
}

/// Something cannot be done with hosts that are not known by their names.
pub fn unnamed(role: &Role, what: &str, or: &str) -> CliError {
    CliError::new(
        Kind::Usage,
        format!("role {}: {what} hosts that are known by their names", role.name),
    )
    .hint(format!(
        "name them by role.{0}.hosts = [\"web1\", …], or by [role.{0}.filter]; {or}",
        role.name
    ))
}
