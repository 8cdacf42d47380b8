//! Layout plain is synced into place by rsync's rule: a file of equal size and time is taken for unchanged. Two commits of one
//! second can break that rule for code, which carries the commit's time: such a publish is refused.

use shipit_artifact::{Artifact, Index, IndexEntry, LayerKind, Record};
use shipit_store::layout::{index_key, record_key};
use shipit_store::{Release, Store};

use crate::config::{Layout, Role, Settled};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::settle::manifest::RoleManifest;

/// No record is larger; an index of a million files is not either.
const LARGEST: u64 = 512 << 20;

/// Compares the artifact's code with that of the stage's newest release, for roles of layout plain.
pub fn refuse_hidden_changes(
    config: &Settled,
    roles: &[(&Role, RoleManifest)],
    artifact: &Artifact,
    store: &Store,
    context: &Context,
) -> Result<()> {
    let Some((role, _)) = roles.iter().find(|(role, _)| role.layout == Layout::Plain) else {
        return Ok(());
    };
    let Some(theirs) = context.block_on(async { newest_code(config, store).await })? else {
        return Ok(());
    };
    let Some(code) = artifact
        .record
        .layers
        .iter()
        .position(|layer| layer.kind == LayerKind::Code)
    else {
        return Ok(());
    };
    let ours = artifact.index(code)?;
    let hidden: Vec<String> = ours
        .entries()
        .iter()
        .filter(|entry| theirs.find(&entry.path).is_some_and(|other| hides(entry, other)))
        .map(|entry| entry.path.to_string())
        .collect();
    let Some(first) = hidden.first() else {
        return Ok(());
    };
    let more = if hidden.len() > 1 {
        format!(" and {} more", hidden.len() - 1)
    } else {
        String::new()
    };
    Err(CliError::new(
        Kind::Refused,
        format!(
            "{first}{more} changed, but size and time are those of the newest release in {}: hosts of role {} (layout \
             plain) would keep the old file",
            config.stage(),
            role.name
        ),
    )
    .hint("commit again, in another second (git commit --amend --date=now), and build that; or use layout = \"releases\""))
}

/// Whether rsync's quick check takes one file for the other although their bytes differ.
fn hides(ours: &IndexEntry, theirs: &IndexEntry) -> bool {
    let (Some(our_content), Some(their_content)) = (ours.content(), theirs.content()) else {
        return false;
    };
    ours.size() == theirs.size() && ours.mtime == theirs.mtime && our_content != their_content
}

async fn newest_code(config: &Settled, store: &Store) -> Result<Option<Index>> {
    let newest = shipit_store::releases(store, &config.app, config.stage(), Some(1)).await?;
    let Some(Release { artifact, .. }) = newest.first() else {
        return Ok(None);
    };
    let record = store
        .get_bytes(&record_key(&config.app, &artifact.sha256)?, LARGEST)
        .await?;
    let Ok(record) = Record::parse(&record.bytes) else {
        return Ok(None);
    };
    let Some(code) = record.layers.iter().find(|layer| layer.kind == LayerKind::Code) else {
        return Ok(None);
    };
    let index = store
        .get_bytes(&index_key(&config.app, &code.index_sha256)?, LARGEST)
        .await?;
    Ok(Index::parse(&index.bytes).ok())
}
