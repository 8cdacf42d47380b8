//! The file's own types: what `shipit.toml` may hold, with the text of its reference. The JSON Schema, the check of every
//! key, docs/configuration.md and the deserialisation all come from these, so that they cannot disagree.
//!
//! Every key is optional here, for a stage may complete what the base leaves open; `settle` says what is missing.

mod build;
mod hosts;
mod kick;
mod role;
mod texts;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use build::{BuildTable, CacheTable, Packer, StepTable, TestTable, Use};
pub use hosts::{ConsulTable, SseName, StoreTable};
pub use kick::{
    Dashboard, HostsValue, KickTable, NotifyTable, OutcomeName, PruneTable, ReportName, ReportTable,
    TransportName, WavesTable,
};
pub use role::{ExecTable, LayoutName, LinkName, RoleTable};
pub use texts::{EnvTable, Name, OneOrMany, Text, TextOrEnv};

/// shipit's config: what an app is built from, where it is published, and the roles that it is deployed to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "shipit.toml")]
pub struct File {
    /// The app's name. It becomes part of the store's keys and of event names, and must never change.
    #[schemars(with = "Option<Name>", extend("examples" = ["shop"]))]
    pub app: Option<String>,
    /// The repository: a URL (`https://`, `ssh://`, `git@host:path`, `file://`), a path relative to the config, or a list of
    /// them that is tried in order. Without it, the repository that the config lies in.
    #[schemars(with = "Option<OneOrMany<Text>>", extend("x-check" = "remote", "examples" = ["git@github.com:example/shop.git", ["git@github.com:example/shop.git", "https://git.example.com/shop.git"]]))]
    pub repo: Option<OneOrMany<String>>,
    /// How the repository is fetched and exported.
    pub source: Option<SourceTable>,
    /// What is built and packed. No stage may change it, for one artifact serves every stage.
    pub build: Option<BuildTable>,
    /// What builds keep for the next ones.
    pub cache: Option<CacheTable>,
    /// Where artifacts and releases live.
    pub store: Option<StoreTable>,
    /// How Consul is reached and what its events are called. Consul's standard environment variables go before these keys,
    /// and a command's own flags before both.
    pub consul: Option<ConsulTable>,
    /// How hosts are told of a release, and how they are followed.
    pub kick: Option<KickTable>,
    /// How hosts report, which kicks follow and `status` shows.
    pub report: Option<ReportTable>,
    /// Who is told how a kick ended, each with a table `[[notify]]`.
    #[schemars(extend("default" = []))]
    pub notify: Option<Vec<NotifyTable>>,
    /// What `shipit prune` leaves.
    pub prune: Option<PruneTable>,
    /// The roles: groups of hosts that are deployed alike, each with a table `[role.<name>]`.
    #[schemars(extend("x-names" = "role"))]
    pub role: Option<BTreeMap<String, RoleTable>>,
    /// The stages: what differs from the base, each with a table `[stage.<name>]` or `[stage."<pattern>"]`, where `*` stands
    /// for any characters. The table of the exact name is taken, else that of the one pattern that matches; of several
    /// the most specific. Its tables are laid over the base key by key; its arrays and single values replace the base's.
    #[schemars(extend("x-names" = "stage"))]
    pub stage: Option<BTreeMap<String, StageTable>>,
}

/// What a stage changes. `app`, `repo`, `source`, `build` and `cache` cannot be changed here: one artifact serves every stage.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StageTable {
    /// As `[store]`.
    pub store: Option<StoreTable>,
    /// As `[consul]`.
    pub consul: Option<ConsulTable>,
    /// As `[kick]`.
    pub kick: Option<KickTable>,
    /// As `[report]`.
    pub report: Option<ReportTable>,
    /// As `[[notify]]`; they replace those of the base.
    pub notify: Option<Vec<NotifyTable>>,
    /// As `[prune]`.
    pub prune: Option<PruneTable>,
    /// As `[role.<name>]`.
    #[schemars(extend("x-names" = "role"))]
    pub role: Option<BTreeMap<String, RoleTable>>,
}

/// How the repository is fetched and exported.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SourceTable {
    /// What fetches: `libgit2`, the git program (`cli`), or `auto`, which takes the git program where libgit2 is known to be
    /// unable.
    #[schemars(extend("default" = "auto", "examples" = ["cli"]))]
    pub fetch: Option<FetchName>,
    /// Whether submodules are fetched and exported. They come from the hosts of `repo` and of `submodule_hosts` alone.
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub submodules: Option<bool>,
    /// Further hosts that submodules may come from.
    #[schemars(with = "Option<Vec<Text>>", extend("default" = [], "examples" = [["github.com"]]))]
    pub submodule_hosts: Option<Vec<String>>,
    /// Whether Git LFS files are fetched (needs git-lfs). Without it an LFS pointer in the tree is an error.
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub lfs: Option<bool>,
    /// The user that goes with `token`.
    #[schemars(with = "Option<Text>", extend("default" = "x-access-token", "examples" = ["oauth2"]))]
    pub username: Option<String>,
    /// A token for `https://` repositories. Always secret.
    #[schemars(extend("x-secret" = true, "examples" = [{"env": "GIT_TOKEN"}]))]
    pub token: Option<TextOrEnv>,
    /// Private keys for ssh, tried in order: one path or a list. Relative to the config; `~/` is the home directory.
    #[schemars(with = "Option<OneOrMany<Text>>", extend("default" = [], "examples" = ["~/.ssh/deploy_ed25519"]))]
    pub ssh_key: Option<OneOrMany<String>>,
    /// Whether the ssh-agent is asked for keys.
    #[schemars(extend("default" = true, "examples" = [false]))]
    pub ssh_agent: Option<bool>,
    /// Files of known host keys: one path or a list. Without it, the user's and the system's.
    #[schemars(with = "Option<OneOrMany<Text>>", extend("default" = [], "examples" = ["deploy/known_hosts"]))]
    pub known_hosts: Option<OneOrMany<String>>,
    /// Whether git's credential helpers are asked.
    #[schemars(extend("default" = true, "examples" = [false]))]
    pub credential_helper: Option<bool>,
}

/// What fetches.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FetchName {
    /// libgit2, else the git program.
    Auto,
    /// libgit2 alone.
    Libgit2,
    /// The git program alone.
    Cli,
}
