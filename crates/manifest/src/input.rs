//! What a manifest is rendered from, and the rules that its values keep.
//!
//! The values come from the config and from publish; where they stand in the manifest is the template's business.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::error::Error;
use crate::model::{Layout, Link};

/// Everything that one role's manifest says about one release.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RenderInput {
    /// The artifact's URL as hosts read it. Needed unless the layout is `commands`.
    pub src: Option<String>,
    /// The artifact's SHA-256, lower-case hex. Needed with `src`.
    pub checksum: Option<String>,
    /// SHA-256 of the artifact's record, lower-case hex.
    pub record_sha256: Option<String>,
    /// The app.
    pub app: String,
    /// The stage.
    pub stage: String,
    /// The role.
    pub role: String,
    /// The release's id.
    pub release: String,
    /// The full git commit id that was built.
    pub revision: String,
    /// The role's dest, absolute. Needed unless the layout is `commands`.
    pub dest: Option<String>,
    /// How dest is laid out.
    pub layout: Layout,
    /// How a release gets the files of the layers that a host holds (layout `releases` alone).
    pub link: Link,
    /// `user`, `user:group` or `:group` that the release's files are given to; `None` leaves the handler's user.
    pub owner: Option<String>,
    /// Paths, relative to the release, that all releases share (layout `releases` alone).
    pub shared: Vec<String>,
    /// rsync patterns that are neither synced nor deleted.
    pub excludes: Vec<String>,
    /// The role's own commands.
    pub hooks: Hooks,
    /// Whether, and with what, hosts report to Consul; `None` leaves nothing of it in the manifest.
    pub report: Option<ReportInput>,
    /// Commands that run on one host before the others are told, from a manifest of their own: see [`crate::render_once`].
    pub once: Vec<String>,
    /// How many complete releases a host keeps, `current` and `previous` not counted out; at least 1.
    pub keep_releases: u32,
    /// The config's extra variables; the template reads them as `vars.<name>`.
    pub vars: BTreeMap<String, serde_json::Value>,
}

/// How hosts report to their Consul agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportInput {
    /// The program that the manifest's commands do it with. `shipit apply` needs neither.
    pub with: ReportWith,
    /// The category under which consul-kv-dashboard shows it, too.
    pub dashboard: Option<String>,
}

/// What writes a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportWith {
    /// `curl`, to the agent's HTTP API.
    Curl,
    /// `consul kv put`, for hosts without curl.
    Consul,
}

/// The role's commands. Each runs by `sh -c` in the release's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hooks {
    /// Before `current` is switched (layout plain: after the sync), once per release that becomes complete.
    pub before_switch: Vec<String>,
    /// After the switch.
    pub after_switch: Vec<String>,
    /// Tried once a second until it succeeds or `check_timeout` is over.
    pub check: Option<String>,
    /// How long each command of `before_switch` and `after_switch` may take.
    #[serde(serialize_with = "seconds")]
    pub timeout: Duration,
    /// How long `check` may take to succeed, all tries together.
    #[serde(serialize_with = "seconds")]
    pub check_timeout: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        Hooks {
            before_switch: Vec::new(),
            after_switch: Vec::new(),
            check: None,
            timeout: Duration::from_secs(600),
            check_timeout: Duration::from_secs(60),
        }
    }
}

fn seconds<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(whole_seconds(*duration))
}

/// timeout(1) and the shell count whole seconds: a part of one is rounded up, so that it never becomes "none".
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

impl RenderInput {
    /// Where the role's state stands on a host: in dest, or, when rsync's `--delete` would remove it there, beside it.
    pub(crate) fn state_dir(&self) -> Option<String> {
        let dest = self.dest.as_deref()?.trim_end_matches('/');
        match self.layout {
            Layout::Releases => Some(format!("{dest}/.shipit")),
            Layout::Plain => {
                let (parent, name) = dest.rsplit_once('/')?;
                Some(format!("{parent}/.{name}.shipit"))
            }
            Layout::Commands => None,
        }
    }

    /// Where releases are unpacked for `once` commands; not in what a plain sync deletes.
    pub(crate) fn once_dir(&self) -> Option<String> {
        match self.layout {
            Layout::Releases => Some(format!("{}/.once", self.dest.as_deref()?.trim_end_matches('/'))),
            Layout::Plain => Some(format!("{}/once", self.state_dir()?)),
            Layout::Commands => None,
        }
    }

    /// Refuses what no template could make a safe manifest of.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        for (field, value) in [
            ("app", &self.app),
            ("stage", &self.stage),
            ("role", &self.role),
            ("release", &self.release),
        ] {
            name(field, value)?;
        }
        if self.release.contains('.') {
            let reason = "a release's id has no dot: the host's marks are named <id>.<mark>";
            return Err(Error::value("release", &self.release, reason));
        }
        if let Some(dest) = &self.dest {
            absolute("dest", dest)?;
        }
        if let Some(owner) = &self.owner {
            self::owner(owner)?;
        }
        if let Some(category) = self
            .report
            .as_ref()
            .and_then(|report| report.dashboard.as_deref())
        {
            name("report.dashboard", category)?;
        }
        self.validate_layout()?;
        self.validate_shared()?;
        for pattern in &self.excludes {
            text("exclude", pattern)?;
        }
        self.validate_hooks()
    }

    fn validate_layout(&self) -> Result<(), Error> {
        if self.layout == Layout::Commands {
            let hooks = &self.hooks;
            if hooks.before_switch.is_empty() && hooks.after_switch.is_empty() && hooks.check.is_none() {
                let reason = "a role with commands only needs before_switch, after_switch or check";
                return Err(Error::value("layout", "commands", reason));
            }
        } else {
            for (field, value) in [
                ("src", &self.src),
                ("checksum", &self.checksum),
                ("dest", &self.dest),
            ] {
                if value.as_deref().unwrap_or_default().is_empty() {
                    let reason = format!("layout {} needs it", self.layout.name());
                    return Err(Error::value(field, "", reason));
                }
            }
        }
        if self.layout == Layout::Releases && self.keep_releases == 0 {
            let reason = "at least one release must be kept: the one in service";
            return Err(Error::value("keep_releases", "0", reason));
        }
        Ok(())
    }

    fn validate_shared(&self) -> Result<(), Error> {
        if self.layout != Layout::Releases {
            return match self.shared.first() {
                Some(path) => {
                    let reason = "shared paths need layout \"releases\": a plain dest is one directory";
                    Err(Error::value("shared", path, reason))
                }
                None => Ok(()),
            };
        }
        for (at, path) in self.shared.iter().enumerate() {
            relative("shared", path)?;
            for other in &self.shared[..at] {
                if within(path, other) || within(other, path) {
                    let reason = format!("it and the shared path {other:?} lie one in the other");
                    return Err(Error::value("shared", path, reason));
                }
            }
        }
        Ok(())
    }

    fn validate_hooks(&self) -> Result<(), Error> {
        let hooks = &self.hooks;
        let lists = [
            ("before_switch", &hooks.before_switch),
            ("after_switch", &hooks.after_switch),
        ];
        for (field, list) in lists {
            for command in list {
                self::command(field, command)?;
            }
        }
        if let Some(check) = &hooks.check {
            command("check", check)?;
        }
        for command in &self.once {
            self::command("once", command)?;
            if self.layout == Layout::Commands {
                let reason =
                    "a role with commands only has no release to run it in, and nowhere to note that it ran";
                return Err(Error::value("once", command, reason));
            }
        }
        for (field, limit) in [("timeout", hooks.timeout), ("check_timeout", hooks.check_timeout)] {
            if limit.is_zero() {
                let reason = "zero would mean no limit at all, and a hung hook blocks every later deploy";
                return Err(Error::value(field, "0", reason));
            }
        }
        Ok(())
    }
}

fn within(path: &str, other: &str) -> bool {
    path == other || path.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
}

/// Names become parts of file names and of shell words on the hosts.
fn name(field: &'static str, value: &str) -> Result<(), Error> {
    let fits = value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if value.is_empty() || !fits || value.starts_with(['.', '-']) {
        let reason = "letters, digits, '-', '_' and '.' make a name, and it starts with none of '-' and '.'";
        return Err(Error::value(field, value, reason));
    }
    Ok(())
}

fn text(field: &'static str, value: &str) -> Result<(), Error> {
    if value.is_empty() {
        return Err(Error::value(field, value, "it is empty"));
    }
    if value.contains('\0') {
        return Err(Error::value(
            field,
            value,
            "no NUL may stand in it: neither the shell nor a path has one",
        ));
    }
    Ok(())
}

fn command(field: &'static str, value: &str) -> Result<(), Error> {
    text(field, value)?;
    if value.trim().is_empty() {
        return Err(Error::value(field, value, "the command is blank"));
    }
    Ok(())
}

fn components(field: &'static str, value: &str, path: &str) -> Result<(), Error> {
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Error::value(
            field,
            value,
            "no part of the path may be empty, '.' or '..'",
        ));
    }
    if value.contains(['\n', '\r']) {
        return Err(Error::value(
            field,
            value,
            "a path with a line break in it is refused",
        ));
    }
    Ok(())
}

fn absolute(field: &'static str, value: &str) -> Result<(), Error> {
    text(field, value)?;
    let Some(path) = value.strip_prefix('/') else {
        return Err(Error::value(field, value, "the path must be absolute"));
    };
    components(field, value, path.strip_suffix('/').unwrap_or(path))
}

fn relative(field: &'static str, value: &str) -> Result<(), Error> {
    text(field, value)?;
    if value.starts_with('/') {
        return Err(Error::value(
            field,
            value,
            "the path must be relative to the release",
        ));
    }
    if value.starts_with('-') {
        return Err(Error::value(field, value, "the path must not start with '-'"));
    }
    components(field, value, value)
}

fn owner(value: &str) -> Result<(), Error> {
    let part = |part: &str| {
        !part.starts_with('-')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'$' | b'@'))
    };
    let (user, group) = value
        .split_once(':')
        .map_or((value, None), |(user, group)| (user, Some(group)));
    let empty = user.is_empty() && group.unwrap_or_default().is_empty();
    if empty || !part(user) || !part(group.unwrap_or_default()) {
        return Err(Error::value(
            "owner",
            value,
            "it must be user, user:group or :group",
        ));
    }
    Ok(())
}
