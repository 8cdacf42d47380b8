//! The hosts that a kick expects to hear from: by a list or by a filter, from Consul's catalog, and how their services are.
//!
//! Not here: how many of them are told at once, and what they report.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::consul::{self, Check, Client};
use crate::filters;

mod error;

pub use error::{Error, ErrorKind};

/// Which hosts a role has, as its config says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// For errors: `role web`.
    pub what: String,
    /// By their names; a name may hold `*`.
    pub named: Option<Vec<String>>,
    /// Only how many there are: they are not known by their names.
    pub count: Option<u32>,
    /// Those with this service.
    pub service: Option<String>,
    /// Where that service has this tag.
    pub tag: Option<String>,
    /// Those of this name; it may hold `*`.
    pub node: Option<String>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Its node's name.
    pub name: String,
    /// Whether the other agents see its agent. A dead host is told, too, and not waited for.
    pub alive: bool,
    /// Why it counts as dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The hosts that are expected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// Each by its name, sorted; none when only their number is known.
    pub hosts: Vec<Host>,
    /// How many, when they are not known by their names.
    pub count: Option<usize>,
}

impl Expected {
    /// The names of those that are alive.
    pub fn alive(&self) -> Vec<String> {
        let alive = self.hosts.iter().filter(|host| host.alive);
        alive.map(|host| host.name.clone()).collect()
    }

    /// The names of all of them.
    pub fn names(&self) -> Vec<String> {
        self.hosts.iter().map(|host| host.name.clone()).collect()
    }

    /// These hosts alone.
    ///
    /// # Errors
    /// [`Error::Unknown`] when one of them is not expected.
    pub fn only(&self, what: &str, names: &[String]) -> Result<Self, Error> {
        let known = self.names();
        let picked = pick(what, names, &known)?;
        let mut hosts = self.hosts.clone();
        hosts.retain(|host| picked.contains(&host.name));
        Ok(Self { hosts, count: None })
    }
}

/// Finds the hosts that are expected. Nothing is asked of Consul when only a number is.
///
/// # Errors
/// [`Error::Unfiltered`] when nothing says which hosts there are; [`Error::Unknown`] when a list names a node that Consul does
/// not know; [`Error::NoMatch`] when no node matches; [`Error::Consul`].
pub async fn expected(client: &Client, wanted: &Wanted) -> Result<Expected, Error> {
    if let (None, Some(count)) = (&wanted.named, wanted.count) {
        return Ok(Expected {
            hosts: Vec::new(),
            count: Some(count as usize),
        });
    }
    // Side by side: two answers are had in the time of one.
    let (names, checks) = tokio::join!(names(client, wanted), client.agent_checks());
    let names = names?;
    if names.is_empty() {
        return Err(Error::NoMatch {
            what: wanted.what.clone(),
            by: wanted.by(),
        });
    }
    let checks = checks?;
    let checks: BTreeMap<&str, &Check> = checks.iter().map(|check| (check.node.as_str(), check)).collect();
    let hosts = names
        .into_iter()
        .map(|name| host(checks.get(name.as_str()).copied(), name))
        .collect();
    Ok(Expected { hosts, count: None })
}

impl Wanted {
    /// What the filter asks for, for errors.
    fn by(&self) -> String {
        let parts = [
            ("service", &self.service),
            ("tag", &self.tag),
            ("node", &self.node),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter_map(|(key, value)| Some(format!("{key} {}", value.as_ref()?)))
            .collect();
        parts.join(", ")
    }
}

/// The names of the nodes that are meant, sorted.
async fn names(client: &Client, wanted: &Wanted) -> Result<BTreeSet<String>, Error> {
    match &wanted.named {
        Some(named) => {
            let known = client.nodes().await?;
            pick(&wanted.what, named, &known)
        }
        None => filtered(client, wanted).await,
    }
}

/// The nodes that match a filter, sorted.
async fn filtered(client: &Client, wanted: &Wanted) -> Result<BTreeSet<String>, Error> {
    let nodes: Vec<String> = match (&wanted.service, &wanted.node) {
        (Some(service), _) => {
            let found = client.service(service, wanted.tag.as_deref()).await?;
            found.into_iter().map(|instance| instance.node).collect()
        }
        (None, Some(_)) => client.nodes().await?,
        (None, None) => {
            return Err(Error::Unfiltered {
                what: wanted.what.clone(),
            });
        }
    };
    let fits = |node: &String| {
        wanted
            .node
            .as_ref()
            .is_none_or(|pattern| filters::matches(pattern, node))
    };
    Ok(nodes.into_iter().filter(fits).collect())
}

/// The known names that a list means.
fn pick(what: &str, list: &[String], known: &[String]) -> Result<BTreeSet<String>, Error> {
    let mut picked = BTreeSet::new();
    let mut unknown = Vec::new();
    for name in list {
        let meant: Vec<&String> = known.iter().filter(|node| filters::matches(name, node)).collect();
        if meant.is_empty() {
            unknown.push(name.clone());
        }
        picked.extend(meant.into_iter().cloned());
    }
    if unknown.is_empty() {
        return Ok(picked);
    }
    Err(Error::unknown(what, unknown, known))
}

fn host(check: Option<&Check>, name: String) -> Host {
    let why = match check {
        Some(check) if check.status == "critical" => {
            let said = check.output.lines().next().unwrap_or_default().trim();
            Some(match said {
                "" => "its Consul agent does not answer".to_owned(),
                said => format!("its Consul agent does not answer ({said})"),
            })
        }
        Some(_) => None,
        None => Some("no Consul agent runs on it".to_owned()),
    };
    Host {
        alive: why.is_none(),
        name,
        why,
    }
}

/// What fails of a service on nodes: for each node that has it, the checks that do not pass, the node's own included, one
/// line each. A node that is missing in it does not have the service.
///
/// # Errors
/// As the client's.
pub async fn health(
    client: &Client,
    service: &str,
    tag: Option<&str>,
    nodes: &[String],
) -> Result<BTreeMap<String, Vec<String>>, consul::Error> {
    let wanted: BTreeSet<&str> = nodes.iter().map(String::as_str).collect();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for instance in client.service(service, tag).await? {
        if !wanted.contains(instance.node.as_str()) {
            continue;
        }
        let failing = found.entry(instance.node).or_default();
        for check in instance.checks.iter().filter(|check| check.status != "passing") {
            let line = line(check);
            // Two instances on a node share the node's checks.
            if !failing.contains(&line) {
                failing.push(line);
            }
        }
    }
    Ok(found)
}

/// A check in one line: its name, its status, the first line that it printed.
fn line(check: &Check) -> String {
    const LONGEST: usize = 200;
    let name = if check.name.is_empty() {
        &check.id
    } else {
        &check.name
    };
    let said = check.output.lines().find(|line| !line.trim().is_empty());
    match said {
        Some(said) => {
            let said: String = said.trim().chars().take(LONGEST).collect();
            format!("{name} is {}: {said}", check.status)
        }
        None => format!("{name} is {}", check.status),
    }
}
