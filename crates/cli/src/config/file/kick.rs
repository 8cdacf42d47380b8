//! `[kick]`, `[role.<name>.kick]`, `[report]`, `[[notify]]`, `[prune]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::texts::{BatchText, Command, DurationText, Name, PauseText, TextOrEnv};
use crate::config::{Batch, Span};

/// How hosts are told of a release, and how they are followed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KickTable {
    /// The transport of roles that name none: `consul` fires an event, `exec` runs a command for each host.
    #[schemars(extend("default" = "consul", "examples" = ["exec"]))]
    pub transport: Option<TransportName>,
    /// The longest that the hosts of one wave may take. Those that have not said their last word by then are silent.
    #[schemars(with = "Option<DurationText>", extend("default" = "10m", "examples" = ["20m"]))]
    pub timeout: Option<Span>,
    /// How many hosts are told at once: a number, or a part of the role's hosts, rounded up. Without it, all.
    #[schemars(with = "Option<BatchValue>", extend("examples" = ["25%", 5]))]
    pub batch: Option<Batch>,
    /// How long to wait between two waves.
    #[schemars(with = "Option<PauseText>", extend("default" = "0s", "examples" = ["30s"]))]
    pub pause: Option<Span>,
    /// How many hosts of a role may fail or stay silent before the kick is stopped and counts as failed.
    #[schemars(extend("default" = 0, "examples" = [1]))]
    pub max_failures: Option<u32>,
    /// What must be good after a wave and the pause before the next wave: a URL that answers with 2xx within 10 seconds, or a command that
    /// ends with code 0 within `timeout`. The command runs where the kick does, in the config's directory.
    #[schemars(with = "Option<Command>", extend("examples" = ["https://shop.example.com/health", "deploy/error-rate --below 1%"]))]
    pub wave_check: Option<String>,
    /// How long to wait for the stage's lock when somebody has it.
    #[schemars(with = "Option<PauseText>", extend("default" = "0s", "examples" = ["15m"]))]
    pub lock_wait: Option<Span>,
    /// Whether a kick of a whole role that failed is followed by a rollback to the release that is live.
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub rollback_on_failure: Option<bool>,
}

/// How the kicks of one role go, where not as `[kick]` says.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WavesTable {
    /// As `kick.timeout`.
    #[schemars(with = "Option<DurationText>", extend("examples" = ["20m"]))]
    pub timeout: Option<Span>,
    /// As `kick.batch`.
    #[schemars(with = "Option<BatchValue>", extend("examples" = ["25%", 5]))]
    pub batch: Option<Batch>,
    /// As `kick.pause`.
    #[schemars(with = "Option<PauseText>", extend("examples" = ["30s"]))]
    pub pause: Option<Span>,
    /// As `kick.max_failures`.
    #[schemars(extend("examples" = [1]))]
    pub max_failures: Option<u32>,
}

/// A number, or a part, for schemas alone.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "for the schema; values are read as `Batch`")]
enum BatchValue {
    /// So many hosts.
    Number(#[schemars(range(min = 1))] u32),
    /// A part of the role's hosts.
    Part(#[schemars(with = "BatchText")] String),
}

/// How hosts are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TransportName {
    /// A Consul event.
    Consul,
    /// A command for each host.
    Exec,
}

/// How hosts report, which kicks follow and `status` shows.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReportTable {
    /// What the manifest's commands report with, to the host's own Consul agent: `curl`, Consul's own program (`consul`), or `off`.
    /// Without Consul in the config it is `off`: the commands of the transport `exec` say how it went.
    #[schemars(extend("default" = "curl", "examples" = ["consul"]))]
    pub with: Option<ReportName>,
    /// Whether hosts write the keys of consul-kv-dashboard too: `true` for the app's name as their category, or a category.
    #[schemars(extend("examples" = [true, "deploys"]))]
    pub dashboard: Option<Dashboard>,
}

/// What hosts report with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReportName {
    /// curl.
    Curl,
    /// `consul kv put`.
    Consul,
    /// They do not report.
    Off,
}

/// Whether there is a dashboard, or its category.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Dashboard {
    /// With the app's name, or not at all.
    Whether(bool),
    /// With this category.
    Category(#[schemars(with = "Name")] String),
}

/// Who is told how a kick ended: one of `slack`, `webhook` and `command`. A notice that fails is a warning.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NotifyTable {
    /// The URL of an incoming webhook as Slack has them (Mattermost and others too). It is a secret.
    #[schemars(extend("x-check" = "http-url", "examples" = [{"env": "SHOP_SLACK_WEBHOOK"}]))]
    pub slack: Option<TextOrEnv>,
    /// A URL that gets the summary as JSON by POST. What comes from the environment is a secret unless it says `secret = false`.
    #[schemars(extend("x-check" = "http-url-with-query", "examples" = ["https://deploys.example.com/hook", {"env": "SHOP_HOOK"}]))]
    pub webhook: Option<TextOrEnv>,
    /// Headers of the webhook's request. What comes from the environment is a secret unless it says `secret = false`.
    #[schemars(extend("x-names" = "header", "default" = {}, "examples" = [{"Authorization": {"env": "SHOP_HOOK_AUTHORIZATION"}}]))]
    pub headers: Option<BTreeMap<String, TextOrEnv>>,
    /// A command for `sh -c` that gets the summary as JSON on its standard input, and 10 seconds.
    #[schemars(with = "Option<Command>", extend("examples" = ["deploy/announce"]))]
    pub command: Option<String>,
    /// Which kicks it is about.
    #[schemars(extend("default" = ["success", "failure"], "examples" = [["failure"]]))]
    pub on: Option<Vec<OutcomeName>>,
}

/// How a kick ended, for notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeName {
    /// All hosts succeeded, or it was not followed.
    Success,
    /// It did not succeed, or was stopped.
    Failure,
}

/// What `shipit prune` leaves.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PruneTable {
    /// How many releases of each role a stage keeps, beside what is live, in flight or the last good one. Those that failed do not count.
    #[schemars(range(min = 1), extend("default" = 10, "examples" = [30]))]
    pub keep: Option<u32>,
}

/// The hosts of a role by their names, or their number.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum HostsValue {
    /// How many.
    Count(#[schemars(range(min = 1))] u32),
    /// Which.
    Named(#[schemars(with = "Vec<super::texts::Text>", length(min = 1))] Vec<String>),
}
