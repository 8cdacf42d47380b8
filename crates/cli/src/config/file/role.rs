//! `[role.<name>]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::build::Commands;
use super::kick::{HostsValue, TransportName, WavesTable};
use super::texts::{Command, Dest, DurationText, OneOrMany, Owner, RelativePath, Text, TextOrEnv};
use crate::config::Span;

/// A group of hosts that are deployed alike.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoleTable {
    /// The directory on the hosts, absolute. The hosts of a role without it download
    /// nothing: its commands alone run.
    #[schemars(with = "Option<Dest>", extend("examples" = ["/srv/shop"]))]
    pub dest: Option<String>,
    /// Who owns the files: `user`, `user:group` or `:group`. Without it, they stay with who runs the handler.
    #[schemars(with = "Option<Owner>", extend("examples" = ["shop:shop"]))]
    pub owner: Option<String>,
    /// How a release lies under `dest`: `releases` keeps several, with a link `current`; `plain` syncs into `dest` itself.
    #[schemars(extend("default" = "releases", "examples" = ["plain"]))]
    pub layout: Option<LayoutName>,
    /// Paths, relative to the release, that all releases share: they become links into `<dest>/shared`. Not with `plain`.
    #[schemars(with = "Option<Vec<RelativePath>>", extend("default" = [], "examples" = [["log", "tmp/pids"]]))]
    pub shared: Option<Vec<String>>,
    /// A command, or a list of commands in order, before the switch (with `plain`: after the sync), in the
    /// release's directory.
    #[schemars(with = "Option<Commands>", extend("default" = [], "examples" = [["bundle exec rake assets:sync"]]))]
    pub before_switch: Option<OneOrMany<String>>,
    /// A command, or a list of commands in order, after the switch, in the release's directory.
    #[schemars(with = "Option<Commands>", extend("default" = [], "examples" = [["systemctl reload-or-restart shop"]]))]
    pub after_switch: Option<OneOrMany<String>>,
    /// A command that succeeds when the new release works. It is tried once a second until it does.
    #[schemars(with = "Option<Command>", extend("examples" = ["curl -fsS http://127.0.0.1:8080/health"]))]
    pub check: Option<String>,
    /// A command, or a list of commands in order, that run on one host before the first wave of a kick, in the release's
    /// unpacked tree, which is not in service: migrations. When one fails, no host is told. A release's second kick does not run them again.
    #[schemars(with = "Option<Commands>", extend("default" = [], "examples" = [["bundle exec rake db:migrate"]]))]
    pub once: Option<OneOrMany<String>>,
    /// The longest that one command of before_switch and after_switch may run.
    #[schemars(with = "Option<DurationText>", extend("default" = "10m", "examples" = ["2m"]))]
    pub hook_timeout: Option<Span>,
    /// The longest that `check` may take to succeed, all tries together.
    #[schemars(with = "Option<DurationText>", extend("default" = "1m", "examples" = ["30s"]))]
    pub check_timeout: Option<Span>,
    /// How many releases a host keeps, the one in service among them. Not with `plain`.
    #[schemars(range(min = 1), extend("default" = 5, "examples" = [3]))]
    pub keep_releases: Option<u32>,
    /// How `shipit apply` puts the dependency layers that a host has already into a release: `auto` (a reflink where the file
    /// system can, else hard links to files of root's), `copy` (for apps that write to their dependencies, or must own
    /// them), `symlink` (links to the layers' directories: the fastest). Not with `plain`. stretcher always unpacks everything.
    #[schemars(extend("default" = "auto", "examples" = ["symlink"]))]
    pub link: Option<LinkName>,
    /// Patterns, in rsync's form, that the sync into `dest` leaves out.
    #[schemars(with = "Option<Vec<Text>>", extend("default" = [], "examples" = [["/doc", "*.orig"]]))]
    pub excludes: Option<Vec<String>>,
    /// A template of the manifest, relative to the config. Without it, the one that is built in.
    #[schemars(with = "Option<Text>", extend("examples" = ["deploy/web.yml.j2"]))]
    pub template: Option<String>,
    /// Variables for the template. They reach the manifest, which hosts log: nothing secret.
    #[schemars(extend("default" = {}, "examples" = [{"workers": 4}]))]
    pub vars: Option<BTreeMap<String, serde_json::Value>>,
    /// How this role's hosts are told, when not as `kick.transport` says: `consul` or `exec`.
    #[schemars(extend("examples" = ["exec"]))]
    pub transport: Option<TransportName>,
    /// The hosts that a kick follows: the names of their nodes in Consul, or how many there are. Without it they are had from Consul by the
    /// role's filter. The transport `exec` has its own list.
    #[schemars(extend("examples" = [["web-1", "web-2"], 12]))]
    pub hosts: Option<HostsValue>,
    /// Whether the Consul checks of `filter.service` must pass on a host before it counts as succeeded.
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub health: Option<bool>,
    /// How this role's kicks go, where not as `[kick]` says.
    pub kick: Option<WavesTable>,
    /// Which agents take the event.
    pub filter: Option<FilterTable>,
    /// What the transport `exec` runs.
    pub exec: Option<ExecTable>,
}

/// How a release lies under `dest`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LayoutName {
    /// `releases/<id>` with a link `current`.
    Releases,
    /// Synced into `dest` itself.
    Plain,
}

/// How dependency layers get into a release.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LinkName {
    /// By reflink, else by hard link.
    Auto,
    /// By copy.
    Copy,
    /// By symlinks to the layers' directories.
    Symlink,
}

/// Which agents take the event.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilterTable {
    /// The node's name; `*` stands for any characters.
    #[schemars(with = "Option<Text>", extend("examples" = ["web-1", "web-*"]))]
    pub node: Option<String>,
    /// A service that the node runs.
    #[schemars(with = "Option<Text>", extend("examples" = ["shop"]))]
    pub service: Option<String>,
    /// A tag of that service; needs `service`.
    #[schemars(with = "Option<Text>", extend("examples" = ["blue"]))]
    pub tag: Option<String>,
}

/// A command for each host, with the manifest's URL on its standard input.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExecTable {
    /// The command for `sh -c`: a template of `host`.
    #[schemars(with = "Option<Command>", extend("examples" = ["ssh {{ host }} shipit apply"]))]
    pub command: Option<String>,
    /// The hosts.
    #[schemars(with = "Option<Vec<Text>>", length(min = 1), extend("examples" = [["web-1.example.com", "web-2.example.com"]]))]
    pub hosts: Option<Vec<String>>,
    /// How many hosts at once.
    #[schemars(range(min = 1), extend("default" = 10, "examples" = [2]))]
    pub limit: Option<u32>,
    /// The longest that one host may take.
    #[schemars(with = "Option<DurationText>", extend("default" = "15m", "examples" = ["5m"]))]
    pub timeout: Option<Span>,
    /// Environment variables of the command, beside those of shipit itself.
    #[schemars(extend("x-names" = "variable", "default" = {}, "examples" = [{"SSH_AUTH_SOCK": {"env": "SSH_AUTH_SOCK"}}]))]
    pub env: Option<BTreeMap<String, TextOrEnv>>,
}
