//! The settled config: every key typed, every default filled in, one stage laid over the base. Commands read this and
//! nothing else of the config.
//!
//! Paths of this machine (keys, certificates, templates) are absolute here: the config writes them relative to its own
//! directory. Paths inside of the exported tree stay relative.

mod kick;
mod role;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde::ser::SerializeMap as _;

use super::duration::Span;
use super::error::{ConfigError, Lint};
use super::names;
use super::provenance::Provenance;
use super::setting::Setting;
use super::size::Size;

pub use kick::{Hosts, Kick, Notify, NotifyTo, Outcome, Prune, Report, ReportWith, WaveCheck, Waves};
pub use role::{Exec, Filter, Layout, Link, Role};

/// The stage of a config that has no `[stage.*]` table.
pub const DEFAULT_STAGE: &str = "default";

/// The whole config, settled.
#[derive(Clone, Debug, Serialize)]
pub struct Settled {
    /// The app's name; a component of store keys and event names.
    pub app: String,
    /// The stage's name as it was asked for (`pr-123`, not `pr-*`), or `None` when no stage is laid over the base,
    /// as for `build`, whose artifact serves every stage.
    pub stage: Option<String>,
    /// Remotes tried in order; empty for the repository that the config lies in.
    pub repo: Vec<String>,
    /// How the source is had.
    pub source: Source,
    /// What is built and packed.
    pub build: Build,
    /// What builds keep for the next ones.
    pub cache: Cache,
    /// Where artifacts and releases live; see [`Settled::store`].
    pub store: Option<Store>,
    /// How Consul is reached and what its events are called.
    pub consul: Consul,
    /// What `shipit kick` does.
    pub kick: Kick,
    /// How hosts report.
    pub report: Report,
    /// Who is told how a kick ended.
    pub notify: Vec<Notify>,
    /// What `shipit prune` leaves.
    pub prune: Prune,
    /// The roles in the config's order; see [`Settled::role`].
    #[serde(rename = "role", serialize_with = "by_name")]
    pub roles: Vec<Role>,
    /// See [`Settled::uses_consul`].
    #[serde(skip)]
    pub(super) uses_consul: bool,
    /// See [`Settled::has_left_consul`].
    #[serde(skip)]
    pub(super) left_consul: bool,
    /// The config's file, absolute.
    #[serde(skip)]
    pub file: PathBuf,
    /// The directory that the config lies in, absolute: relative paths start here.
    #[serde(skip)]
    pub dir: PathBuf,
    /// The stages that the config has tables for, in its order: names, and patterns with `*`.
    #[serde(skip)]
    pub stages: Vec<String>,
    /// What is not wrong but probably not meant; to be shown as warnings once.
    #[serde(skip)]
    pub lints: Vec<Lint>,
    /// Where each value came from, by dotted key.
    #[serde(skip)]
    pub provenance: Provenance,
}

/// `[source]`: how the repository is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// libgit2 or the git program.
    pub fetch: Fetch,
    /// Whether submodules are fetched and exported.
    pub submodules: bool,
    /// Hosts that submodules may come from, beside the repository's own.
    pub submodule_hosts: Vec<String>,
    /// Whether LFS files are fetched (needs git-lfs) instead of refused.
    pub lfs: bool,
    /// The user that goes with the token in HTTPS basic authentication.
    pub username: String,
    /// A token for HTTPS.
    pub token: Option<Setting>,
    /// Private keys for ssh, tried in order, absolute.
    pub ssh_key: Vec<PathBuf>,
    /// Whether the ssh-agent is asked.
    pub ssh_agent: bool,
    /// known_hosts files, absolute; empty for the user's and the system's.
    pub known_hosts: Vec<PathBuf>,
    /// Whether git's credential helpers are asked.
    pub credential_helper: bool,
}

/// What fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fetch {
    /// libgit2, and the git program where libgit2 is known to be unable.
    Auto,
    /// libgit2 alone.
    Libgit2,
    /// The git program alone.
    Cli,
}

/// `[build]`: what is built and packed. No stage may change it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Build {
    /// Globs of what stays out of the code layer.
    pub exclude: Vec<String>,
    /// The artifact's compression.
    pub compression: Compression,
    /// The directory of the tree that is packed alone, relative; `None` for the whole tree.
    pub root: Option<String>,
    /// How many artifacts `.shipit/artifacts` keeps.
    pub keep: u32,
    /// The steps in order.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
    /// The tests of the packed bytes, in order.
    #[serde(rename = "test")]
    pub tests: Vec<Test>,
}

/// The artifact's compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// zstd frames, `.tar.zst`.
    Zstd,
    /// gzip members, `.tar.gz`.
    Gzip,
}

/// One `[[build.step]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The step's name, unique in the build: a layer's name, and the prefix of its output.
    pub name: String,
    /// What runs.
    #[serde(flatten)]
    pub tool: Tool,
    /// The working directory, relative to the tree's root; `None` for the root itself.
    pub dir: Option<String>,
    /// Environment variables beside PATH, HOME and LANG, by name.
    #[serde(serialize_with = "pairs")]
    pub env: Vec<(String, Setting)>,
    /// The longest that the step may run.
    pub timeout: Span,
    /// The longest that the step may stay without output.
    pub idle_timeout: Span,
    /// Whether what it vendors becomes a layer of its own.
    pub layer: bool,
    /// Globs of the files which decide whether the layer is built anew, relative to `dir`: all of them for `run`, further ones
    /// for a preset.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// For `run` with `layer`: the paths that it vendors, relative to `dir`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Directories that stay in the workspace from build to build, relative to `dir`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
}

/// What a step runs: a preset that knows its tool, or a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `carton install --deployment`.
    Carton,
    /// `bundle install` in deployment mode.
    Bundle {
        /// Groups of the Gemfile left out.
        without: Vec<String>,
    },
    /// `npm ci`.
    Npm {
        /// Whether the layer that ships is the one of `npm ci --omit=dev`.
        production: bool,
    },
    /// `go build`.
    Go {
        /// Package to output file, relative to `dir`.
        packages: BTreeMap<String, String>,
    },
    /// A command for `sh -c`.
    Run {
        /// The command.
        command: String,
    },
}

/// One `[[build.test]]`: a command on an unpacked copy of the packed bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Test {
    /// The test's name, unique among the tests.
    pub name: String,
    /// A command for `sh -c`.
    pub run: String,
    /// Globs of the JUnit files that it leaves, relative to `dir`.
    pub junit: Vec<String>,
    /// The working directory, relative to the unpacked tree; `None` for its root.
    pub dir: Option<String>,
    /// Environment variables beside PATH, HOME and LANG, by name.
    #[serde(serialize_with = "pairs")]
    pub env: Vec<(String, Setting)>,
    /// The longest that the test may run.
    pub timeout: Span,
    /// The longest that the test may stay without output.
    pub idle_timeout: Span,
}

/// `[cache]`: what builds keep for the next ones. No stage may change it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// Whether layers are had from the store, and offered there.
    pub shared: bool,
    /// How much the layers on this machine may take.
    pub max_size: Size,
    /// How old a layer may become.
    pub max_age: Span,
}

/// `[store]`: where artifacts and releases live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Store {
    /// `s3://bucket/prefix` or `file:///dir`.
    pub url: Setting,
    /// The bucket's region; else what AWS's own config says.
    pub region: Option<String>,
    /// The endpoint of an S3-compatible server.
    pub endpoint: Option<Setting>,
    /// Whether the bucket stands in the path instead of the host name.
    pub path_style: bool,
    /// Server-side encryption: `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub sse: Option<String>,
    /// The KMS key for `aws:kms` and `aws:kms:dsse`.
    pub sse_kms_key_id: Option<String>,
    /// The URL under which hosts read the store when it is not `url` (`https://…` of a CDN or a web server).
    pub public_url: Option<Setting>,
}

/// `[consul]`: how Consul is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Consul {
    /// `http://host:port`, `https://host:port`, `unix:///path`.
    pub address: Setting,
    /// The ACL token.
    pub token: Option<Setting>,
    /// A file that holds the ACL token, absolute.
    pub token_file: Option<PathBuf>,
    /// A PEM file of authorities, absolute.
    pub ca_cert: Option<PathBuf>,
    /// The client's certificate, absolute.
    pub client_cert: Option<PathBuf>,
    /// The client's key, absolute.
    pub client_key: Option<PathBuf>,
    /// The name that the server's certificate must carry.
    pub tls_server_name: Option<String>,
    /// Whether the server's certificate is verified.
    pub verify: bool,
    /// The namespace (Consul Enterprise).
    pub namespace: Option<String>,
    /// The datacenter that events go to; `None` for the agent's own.
    pub datacenter: Option<String>,
    /// The event's name as a template of app, role and stage.
    pub event_name: String,
    /// The datacenter of the hosts that a kick tells, where a flag names another one; the lock stays in `datacenter`.
    #[serde(skip)]
    pub hosts_in: Option<String>,
}

/// How the hosts of a role are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A Consul event.
    Consul,
    /// A command for each host.
    Exec,
}

impl Settled {
    /// The stage's name; [`DEFAULT_STAGE`] when none is laid over the base.
    pub fn stage(&self) -> &str {
        self.stage.as_deref().unwrap_or(DEFAULT_STAGE)
    }

    /// The store.
    ///
    /// # Errors
    /// The config has none.
    pub fn store(&self) -> Result<&Store, ConfigError> {
        self.store.as_ref().ok_or_else(|| ConfigError::MissingTable {
            file: self.file.clone(),
            table: "store".to_owned(),
            example: "[store]\nurl = \"s3://bucket/prefix\"".to_owned(),
        })
    }

    /// A role by its name.
    ///
    /// # Errors
    /// There is none of that name; the nearest names are offered.
    pub fn role(&self, name: &str) -> Result<&Role, ConfigError> {
        self.roles.iter().find(|role| role.name == name).ok_or_else(|| {
            let known: Vec<String> = self.roles.iter().map(|role| role.name.clone()).collect();
            ConfigError::UnknownRole {
                file: self.file.clone(),
                nearest: names::nearest(name, known.iter().map(String::as_str)),
                role: name.to_owned(),
                known,
            }
        })
    }

    /// Whether the stage's lock and its hosts' reports stand in Consul, else in the store. The config alone settles it: it has a
    /// `[consul]` table, or tells hosts by Consul.
    pub fn uses_consul(&self) -> bool {
        self.uses_consul
    }

    /// Takes the store for the lock and the reports and exec for telling hosts, whatever the config says: for an outage of Consul.
    pub fn leave_consul(&mut self) {
        self.left_consul |= self.uses_consul;
        self.uses_consul = false;
        self.kick.transport = Transport::Exec;
        for role in &mut self.roles {
            role.transport = None;
        }
    }

    /// Whether the config uses Consul, and this run does without.
    pub fn has_left_consul(&self) -> bool {
        self.left_consul
    }

    /// How a role's hosts are told: what the role says, else `kick.transport`.
    pub fn transport(&self, role: &Role) -> Transport {
        role.transport.unwrap_or(self.kick.transport)
    }
}

impl Serialize for Tool {
    /// With the config's own keys.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Carton => map.serialize_entry("use", "carton")?,
            Self::Bundle { without } => {
                map.serialize_entry("use", "bundle")?;
                map.serialize_entry("without", without)?;
            }
            Self::Npm { production } => {
                map.serialize_entry("use", "npm")?;
                map.serialize_entry("production", production)?;
            }
            Self::Go { packages } => {
                map.serialize_entry("use", "go")?;
                map.serialize_entry("packages", packages)?;
            }
            Self::Run { command } => map.serialize_entry("run", command)?,
        }
        map.end()
    }
}

/// Pairs as a map that keeps their order.
fn pairs<S: serde::Serializer>(pairs: &[(String, Setting)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, setting)| (name, setting)))
}

/// Roles as a map by name that keeps their order.
fn by_name<S: serde::Serializer>(roles: &[Role], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(roles.iter().map(|role| (&role.name, role)))
}
