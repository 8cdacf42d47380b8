//! The history of kicks: what lies under `kicks/<app>/<stage>/<kick id>/`.
//!
//! `started.json` is written before hosts hear of anything, `ended.json` when the kick is over; both are immutable. A kick
//! without an end was interrupted, unless its lock is still held: that is for the caller to ask.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod history;
mod id;
mod past;

pub use history::{Kick, end, find, ids, list, read, start};
pub use id::KickId;
pub use past::{WayBack, repairable};

/// The version of the documents that are written, and the newest that is read.
pub const KICK_VERSION: u32 = 1;

/// Why hosts are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A release is to be followed by a role.
    Kick,
    /// Hosts that did not report or lag behind are told again.
    Repair,
    /// A role goes back to a release.
    Rollback,
}

impl Action {
    /// Its word, as documents have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kick => "kick",
            Self::Repair => "repair",
            Self::Rollback => "rollback",
        }
    }
}

/// Where a host stands in one kick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// It was told; nothing came back yet.
    Asked,
    /// It works on it.
    Started,
    /// It has the release in service, and its checks pass.
    Succeeded,
    /// It said that it failed.
    Failed,
    /// The deadline passed without its last word: whether it failed is not known.
    Silent,
}

impl HostState {
    /// Its word, as documents and tables have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Silent => "silent",
        }
    }
}

/// `started.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The version of this document.
    pub version: u32,
    /// The kick.
    pub kick: KickId,
    /// The app.
    pub app: String,
    /// The stage.
    pub stage: String,
    /// The role.
    pub role: String,
    /// Why.
    pub action: Action,
    /// The release's id.
    pub release: String,
    /// The full commit id.
    pub revision: String,
    /// The release that was live for the role before, if one was.
    pub live: Option<String>,
    /// The id of the lock's holder: a kick without an end runs while that one holds the lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// The transport: `consul` or `exec`.
    pub transport: String,
    /// How many hosts each of its waves has, as the config writes it: `2`, `25%`; none where all are told at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// Whether all of the role's hosts are told; not with `--only` and repair.
    pub whole: bool,
    /// Whether it is followed to its end.
    pub followed: bool,
    /// The hosts that are expected to report, sorted; empty when only their number is known.
    pub hosts: Vec<String>,
    /// How many hosts are expected, when they are not known by name.
    pub expected: Option<usize>,
    /// Who: `user@host (build URL)`.
    pub who: String,
    /// Why, in the words of who did it.
    pub reason: Option<String>,
    /// When, in unix seconds.
    pub time: i64,
}

/// How a kick ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KickResult {
    /// All hosts succeeded.
    Succeeded,
    /// More hosts failed or stayed silent than may, or the once commands or a check between waves failed.
    Failed,
    /// It was fired and not followed.
    NotFollowed,
    /// It was stopped by a signal.
    Interrupted,
    /// The lock was lost on the way.
    LockLost,
    /// It could not go on: the store, Consul.
    Error,
}

/// `ended.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// The version of this document.
    pub version: u32,
    /// The kick.
    pub kick: KickId,
    /// How it ended.
    pub result: KickResult,
    /// Why, when it did not succeed: one line.
    pub reason: Option<String>,
    /// Whether the live pointer was moved to its release.
    pub moved_live: bool,
    /// Whether the role's `once` commands ran to their end in this kick, or were found to have done so after an earlier one.
    pub once: bool,
    /// The host that the once commands were told, and where they stood there; none where they were not due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once_on: Option<OnceEnd>,
    /// Each host by its name.
    pub hosts: BTreeMap<String, HostEnd>,
    /// When, in unix seconds.
    pub time: i64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// The once commands' part of a kick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnceEnd {
    /// The host.
    pub host: String,
    /// Where they stood there at the end.
    #[serde(flatten)]
    pub end: HostEnd,
}

/// One host's part of a kick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEnd {
    /// Where it stood at the end.
    pub state: HostState,
    /// Why, when it did not succeed: one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it said so, in unix seconds of its own clock; none of a silent host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
}
