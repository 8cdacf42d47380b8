//! A role of the settled config: what its hosts get and how they are told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::{Hosts, Transport, Waves, pairs};
use crate::config::{Setting, Span};

/// `[role.<name>]`: a group of hosts that are deployed alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Role {
    /// The role's name.
    #[serde(skip)]
    pub name: String,
    /// The directory on the hosts; `None` with [`Layout::Commands`] alone.
    pub dest: Option<String>,
    /// `user`, `user:group` or `:group` that the files get; `None` leaves them to who runs the handler.
    pub owner: Option<String>,
    /// How the release lies under `dest`.
    pub layout: Layout,
    /// Paths that all releases share, relative.
    pub shared: Vec<String>,
    /// Commands before the switch, in the release's directory.
    pub before_switch: Vec<String>,
    /// Commands after the switch, in the release's directory.
    pub after_switch: Vec<String>,
    /// The command that says whether the release works.
    pub check: Option<String>,
    /// Commands that run on one host before the first wave of a kick.
    pub once: Vec<String>,
    /// The longest that one hook may run.
    pub hook_timeout: Span,
    /// The longest that the check may run.
    pub check_timeout: Span,
    /// How many releases a host keeps.
    pub keep_releases: u32,
    /// How `shipit apply` puts layers that the host has into a release.
    pub link: Link,
    /// Patterns that the sync into `dest` leaves out.
    pub excludes: Vec<String>,
    /// The manifest's template, absolute; `None` for the one that is built in.
    pub template: Option<PathBuf>,
    /// Variables for the template.
    pub vars: BTreeMap<String, serde_json::Value>,
    /// How this role's hosts are told, when not as `kick.transport` says; see [`Settled::transport`](super::Settled::transport).
    pub transport: Option<Transport>,
    /// The hosts that a kick follows; `None` to have them from Consul by the filter, or from `exec`.
    pub hosts: Option<Hosts>,
    /// Whether the Consul checks of the filter's service must pass on a host before it counts as succeeded.
    pub health: bool,
    /// How this role's kicks go.
    #[serde(rename = "kick")]
    pub waves: Waves,
    /// Which of the agents take the event.
    pub filter: Filter,
    /// What the `exec` transport runs.
    pub exec: Option<Exec>,
}

/// How a release lies under `dest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `releases/<id>` with a link `current`.
    Releases,
    /// Synced into `dest` itself.
    Plain,
    /// Nothing is downloaded, the hooks alone run: a role without `dest`.
    Commands,
}

/// How dependency layers that a host has get into a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// By reflink, else by hard link.
    Auto,
    /// By copy.
    Copy,
    /// By symlinks to the layers' directories.
    Symlink,
}

/// `[role.<name>.filter]`: which agents take the event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// A node's name; `*` stands for any characters.
    pub node: Option<String>,
    /// A service that the node runs.
    pub service: Option<String>,
    /// A tag of that service.
    pub tag: Option<String>,
}

/// `[role.<name>.exec]`: a command for each host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exec {
    /// The command for `sh -c`, a template of `host`; the manifest's URL is on its standard input.
    pub command: String,
    /// The hosts.
    pub hosts: Vec<String>,
    /// How many run at once.
    pub limit: u32,
    /// The longest that one host may take.
    pub timeout: Span,
    /// Environment variables beside those of shipit itself, by name.
    #[serde(serialize_with = "pairs")]
    pub env: Vec<(String, Setting)>,
}
