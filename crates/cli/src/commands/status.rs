//! `shipit status`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use shipit_store::HostState;

use crate::args::{StageArg, WithoutConsul};
use crate::config::Role;
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::kick::Stage;
use crate::output::Column;
use crate::status::{HostStatus, RoleBoard};
use crate::times;

/// How long one look waits for a newer report, while it watches.
const WAIT: Duration = Duration::from_millis(600);
/// The least time between two pictures: a thousand hosts that report at once are not a thousand pictures.
const LEAST: Duration = Duration::from_millis(300);

/// Each host of a role: its release, how its last deploy went, since when, its last line.
///
/// Asks no host: it reads what they reported. `succeeded` means that the release is in service and its checks passed; `silent`,
/// that the kick's deadline passed without the host's last word. A release that is `not live` is not the one that a new host would
/// boot with; of a host that failed without saying what it has now, the one that it is known to have had `before` is shown. `not of
/// the role` are hosts that have old reports alone.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The roles [default: all]
    #[arg(value_name = "ROLE")]
    roles: Vec<String>,
    #[command(flatten)]
    stage: StageArg,
    #[command(flatten)]
    without: WithoutConsul,
    /// Go on until ctrl-C: the picture anew on a terminal, else a line for each host that changed
    #[arg(long, short)]
    watch: bool,
}

/// The document of `--output json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    app: &'a str,
    stage: &'a str,
    roles: Vec<RoleReport>,
}

#[derive(Debug, Serialize)]
struct RoleReport {
    role: String,
    /// The release that a new host boots with.
    live: Option<String>,
    hosts: Vec<HostStatus>,
}

const COLUMNS: [Column; 6] = [
    Column::Whole("role"),
    Column::Whole("host"),
    Column::Id("release"),
    Column::Whole("state"),
    Column::Whole("since"),
    Column::Text("last line"),
];

pub fn run(args: &StatusArgs, context: &Context) -> Result<()> {
    let stage = args.stage.name(&context.environment);
    let config = Stage::config_of(context, stage.as_deref(), args.without)?;
    let roles: Vec<&Role> = match args.roles.as_slice() {
        [] => config.roles.iter().collect(),
        named => named
            .iter()
            .map(|name| Ok(config.role(name)?))
            .collect::<Result<_>>()?,
    };
    let stage = Stage::open(&config, context)?;
    let mut boards: Vec<RoleBoard<'_>> = roles
        .into_iter()
        .map(|role| RoleBoard::new(&stage, role))
        .collect();
    stage.wait(async {
        for board in &mut boards {
            board.update(Duration::ZERO).await?;
        }
        Ok(())
    })?;
    if args.watch {
        return watch(&mut boards, &stage).map_err(|error| match error.kind() {
            // It is meant to end so.
            kind @ (Kind::Interrupted | Kind::Terminated) => CliError::rendered(kind, String::new()),
            _ => error,
        });
    }
    show(&boards, &stage)?;
    context.output.json(&report(&boards, &stage))
}

fn report<'a>(boards: &[RoleBoard<'_>], stage: &'a Stage<'_>) -> Report<'a> {
    Report {
        app: &stage.config.app,
        stage: stage.config.stage(),
        roles: boards
            .iter()
            .map(|board| RoleReport {
                role: board.role().to_owned(),
                live: board.live().map(str::to_owned),
                hosts: board.hosts(),
            })
            .collect(),
    }
}

fn show(boards: &[RoleBoard<'_>], stage: &Stage<'_>) -> Result<()> {
    let rows = rows(boards);
    say_of_none(&rows, stage);
    stage.context.output.table(&COLUMNS, &rows)
}

fn rows(boards: &[RoleBoard<'_>]) -> Vec<Vec<String>> {
    let now = jiff::Timestamp::now().as_second();
    let hosts = boards.iter().flat_map(RoleBoard::hosts);
    hosts.map(|host| row(&host, now)).collect()
}

fn say_of_none(rows: &[Vec<String>], stage: &Stage<'_>) {
    if rows.is_empty() {
        stage.say(format!(
            "no host of {} in {} is known",
            stage.config.app,
            stage.config.stage()
        ));
    }
}

/// Looks again and again; ends with the signal that stops it, or when nobody reads any more.
fn watch(boards: &mut [RoleBoard<'_>], stage: &Stage<'_>) -> Result<()> {
    let redraws = stage.context.output.redraws();
    let mut shown: BTreeMap<(String, String), HostStatus> = BTreeMap::new();
    loop {
        let begun = Instant::now();
        let hosts: Vec<HostStatus> = boards.iter().flat_map(RoleBoard::hosts).collect();
        let current: BTreeMap<_, _> = hosts
            .into_iter()
            .map(|host| ((host.role.clone(), host.host.clone()), host))
            .collect();
        if redraws {
            let rows = rows(boards);
            stage.context.output.picture(&COLUMNS, &rows)?;
            say_of_none(&rows, stage);
        } else {
            news(&shown, &current, stage)?;
        }
        shown = current;
        stage.wait(async {
            let updates = boards.iter_mut().map(|board| board.update(WAIT));
            futures_util::future::try_join_all(updates).await?;
            tokio::time::sleep(LEAST.saturating_sub(begun.elapsed())).await;
            Ok(())
        })?;
        if stage.context.output.is_unread() {
            return Ok(());
        }
    }
}

/// A line, or a JSON document on one line, for each host that is not as it was.
fn news(
    shown: &BTreeMap<(String, String), HostStatus>,
    current: &BTreeMap<(String, String), HostStatus>,
    stage: &Stage<'_>,
) -> Result<()> {
    let now = jiff::Timestamp::now().as_second();
    for (key, host) in current {
        if shown.get(key) != Some(host) {
            stage.context.output.data(row(host, now).join("\t"))?;
            stage.context.output.json_line(host)?;
        }
    }
    Ok(())
}

fn row(host: &HostStatus, now: i64) -> Vec<String> {
    let none = || "-".to_owned();
    let in_service = match &host.in_service {
        Some(release) if host.live == Some(false) => format!("{release} (not live)"),
        Some(release) => release.clone(),
        None => host
            .before
            .as_ref()
            .map_or_else(none, |release| format!("{release} (before)")),
    };
    vec![
        host.role.clone(),
        host.host.clone(),
        in_service,
        state(host),
        host.since.map_or_else(none, |since| times::ago(since, now)),
        host.says.clone().unwrap_or_default(),
    ]
}

/// `failed (3074f46)`: with the revision where it is not about the release in service; and that its agent is down, or that the role
/// has no such host any more.
fn state(host: &HostStatus) -> String {
    let mut text = host.state.map_or("never asked", HostState::as_str).to_owned();
    let about = host
        .release
        .as_deref()
        .filter(|release| Some(*release) != host.in_service.as_deref());
    if let Some((_, revision)) = about.and_then(|release| release.split_once('-')) {
        text.push_str(&format!(" ({revision})"));
    }
    if let (Some(HostState::Started), Some(phase)) = (host.state, &host.phase) {
        text.push_str(&format!(", {phase}"));
    }
    if host.alive == Some(false) {
        text.push_str(", agent down");
    }
    if !host.expected {
        text.push_str(", not of the role");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostStatus {
        HostStatus {
            role: "web".to_owned(),
            host: "web1".to_owned(),
            alive: Some(true),
            expected: true,
            in_service: Some("20261121T100000Z-0000001".to_owned()),
            before: None,
            release: Some("20261121T110000Z-0000002".to_owned()),
            kick: None,
            state: Some(HostState::Failed),
            phase: None,
            since: Some(100),
            says: Some("exit code 1".to_owned()),
            live: None,
        }
    }

    #[test]
    fn a_row_says_what_serves_and_what_the_state_is_about() {
        let mut host = host();
        assert_eq!(
            row(&host, 160).join("|"),
            "web|web1|20261121T100000Z-0000001|failed (0000002)|1m|exit code 1"
        );
        (host.alive, host.live) = (Some(false), Some(false));
        host.state = None;
        host.release = host.in_service.clone();
        assert_eq!(
            row(&host, 160).join("|"),
            "web|web1|20261121T100000Z-0000001 (not live)|never asked, agent down|1m|exit code 1"
        );
        (host.alive, host.expected, host.state) = (None, false, Some(HostState::Failed));
        (host.before, host.in_service) = (host.in_service.take(), None);
        assert_eq!(
            row(&host, 160).join("|"),
            "web|web1|20261121T100000Z-0000001 (before)|failed (0000001), not of the role|1m|exit code 1"
        );
    }
}
