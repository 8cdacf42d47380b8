//! Which hosts a repair tells: those that do not say that they have the release.

use std::collections::BTreeSet;
use std::time::Duration;

use shipit_store::Release;

use super::flags::{Course, HostFlags, WaveFlags};
use super::hosts::{self, Listed};
use super::live::{having, newest};
use super::stage::Stage;
use crate::config::Role;
use crate::errors::Result;

/// The role's hosts whose newest report is not of this release's success, or those `among` some. Of hosts that are known by number
/// alone, those that ever reported are known by their names.
pub fn lagging(
    stage: &Stage<'_>,
    role: &Role,
    release: &Release,
    waves: &WaveFlags,
    flags: &HostFlags,
    among: Option<&BTreeSet<String>>,
) -> Result<Vec<String>> {
    let course = Course::new(waves, stage.config, role);
    hosts::refuse_dc(role, &course, waves)?;
    let listed: Listed = hosts::listed(stage, role, &course, flags, true)?;
    let (found, _) =
        stage.wait(async { Ok(stage.board.reports(&role.name, None, Duration::ZERO).await?) })?;
    let has: BTreeSet<String> = having(&found, release.id.as_str());
    let all: Vec<String> = match listed.count {
        None => listed.names(),
        Some(_) => newest(&found)
            .into_iter()
            .map(|found| found.node.clone())
            .collect(),
    };
    if let Some(count) = listed.count.filter(|count| among.is_none() && *count > all.len()) {
        stage.warn(format!(
            "{}: {count} hosts are expected, and {} ever reported: the others cannot be told by their names",
            role.name,
            all.len()
        ));
    }
    let wanted = |name: &String| !has.contains(name) && among.is_none_or(|among| among.contains(name));
    Ok(all.into_iter().filter(wanted).collect())
}
