//! Layout plain is synced into place by rsync's rule: a file of equal size and time is taken for unchanged. Two commits of one
//! second can break that rule for code, which carries the commit's time: such a publish is refused.

use shipit_artifact::{Artifact, Index, IndexEntry, LayerKind, Record};
use shipit_store::layout::{index_key, record_key};
use shipit_store::{ErrorKind, Release, Store};

use crate::config::{Layout, Role, Settled};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::settle::manifest::RoleManifest;

/// No record is larger; an index of a million files is not either.
const LARGEST: u64 = 512 << 20;
/// How far back a role's last release is sought, when the newer ones are of other roles.
const NEWEST: usize = 50;

/// Compares the artifact's code with that of the newest release of each role of layout plain.
pub fn refuse_hidden_changes(
    config: &Settled,
    roles: &[(&Role, RoleManifest)],
    artifact: &Artifact,
    store: &Store,
    context: &Context,
) -> Result<()> {
    let plain: Vec<&Role> = roles
        .iter()
        .map(|(role, _)| *role)
        .filter(|role| role.layout == Layout::Plain)
        .collect();
    if plain.is_empty() {
        return Ok(());
    }
    let mut compared = Vec::new();
    for (role, release) in context.block_on(async { newest(config, store, &plain).await })? {
        if compared.contains(&release.artifact.sha256) {
            continue;
        }
        match context.block_on(async { code_of(&config.app, &release, store).await })? {
            Ok(theirs) => compare(artifact, &theirs, role, &release)?,
            Err(why) => context.output.warn(format!(
                "cannot tell whether a file changed unseen since {}, the newest release of role {} (layout plain): {why}",
                release.id, role.name
            )),
        }
        compared.push(release.artifact.sha256);
    }
    Ok(())
}

/// The newest release of each role that has one.
async fn newest<'a>(config: &Settled, store: &Store, roles: &[&'a Role]) -> Result<Vec<(&'a Role, Release)>> {
    let mut limit = 1;
    loop {
        let releases = shipit_store::releases(store, &config.app, config.stage(), Some(limit)).await?;
        let found: Vec<_> = roles
            .iter()
            .filter_map(|role| {
                let release = releases
                    .iter()
                    .find(|release| release.roles.contains_key(&role.name))?;
                Some((*role, release.clone()))
            })
            .collect();
        if found.len() == roles.len() || releases.len() < limit || limit == NEWEST {
            return Ok(found);
        }
        limit = NEWEST;
    }
}

/// The code's index of a release; what of it cannot be had any more, or cannot be read, is said in words.
async fn code_of(app: &str, release: &Release, store: &Store) -> Result<std::result::Result<Index, String>> {
    let key = record_key(app, &release.artifact.sha256)?;
    let bytes = match store.get_bytes(&key, LARGEST).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Err(error.to_string())),
        other => other?.bytes,
    };
    let record = match Record::parse(&bytes) {
        Err(error) => return Ok(Err(format!("{key}: {error}"))),
        Ok(record) => record,
    };
    let code = record.layers.iter().find(|layer| layer.kind == LayerKind::Code);
    let Some(code) = code else {
        return Ok(Err(format!("{key} names no code")));
    };
    let key = index_key(app, &code.index_sha256)?;
    let bytes = match store.get_bytes(&key, LARGEST).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Err(error.to_string())),
        other => other?.bytes,
    };
    Ok(Index::parse(&bytes).map_err(|error| format!("{key}: {error}")))
}

fn compare(artifact: &Artifact, theirs: &Index, role: &Role, release: &Release) -> Result<()> {
    let code = artifact
        .record
        .layers
        .iter()
        .position(|layer| layer.kind == LayerKind::Code);
    let Some(code) = code else { return Ok(()) };
    let ours = artifact.index(code)?;
    let mut hidden: Vec<String> = ours
        .entries()
        .iter()
        .filter(|entry| theirs.find(&entry.path).is_some_and(|other| hides(entry, other)))
        .map(|entry| entry.path.to_string())
        .collect();
    // REVISION is among them always, and tells nobody which change it is.
    hidden.sort_by_key(|path| path == "REVISION");
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
            "{first}{more} changed, but size and time are those of the release {}: hosts of role {} (layout plain) would \
             keep the old file",
            release.id, role.name
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
