//! The manifests of a kick's release: read from the store, and checked to be the bytes that the release names.

use shipit_store::{Action, releases};

use super::plan::Wish;
use super::stage::Stage;
use crate::errors::{CliError, Kind, Result};

/// No manifest is larger.
const LARGEST_MANIFEST: u64 = 1 << 20;

/// Among how many of the newest releases one for a role is looked for, to be named.
const LOOKED_AT: usize = 50;

/// A `once` manifest, checked against the release.
pub struct Once {
    /// Its URL, as hosts read it.
    pub url: String,
    /// Its text.
    pub manifest: String,
}

/// The manifest's text and URL, once its bytes in the store are those that the release names.
pub async fn manifest(stage: &Stage<'_>, wish: &Wish<'_>) -> Result<(String, String)> {
    let (release, role) = (&wish.release, &wish.role.name);
    let text = release.manifest(&stage.store, role).await?;
    match (text, release.manifest_url(&stage.store, role)) {
        (Some(text), Some(url)) => Ok((text, url)),
        _ => Err(without_role(stage, wish).await),
    }
}

/// The release is not for this role: which one is.
async fn without_role(stage: &Stage<'_>, wish: &Wish<'_>) -> CliError {
    let (release, role) = (&wish.release, &wish.role.name);
    let has: Vec<&str> = release.roles.keys().map(String::as_str).collect();
    let newest = releases(
        &stage.store,
        &stage.config.app,
        stage.config.stage(),
        Some(LOOKED_AT),
    )
    .await;
    let newest = newest
        .ok()
        .and_then(|all| all.into_iter().find(|other| other.roles.contains_key(role)));
    let error = CliError::new(
        Kind::Usage,
        format!(
            "the release {} has no manifest for the role {role}: it was published for {}",
            release.id,
            has.join(", ")
        ),
    );
    let flag = match wish.action {
        Action::Kick | Action::Repair => "--release",
        Action::Rollback => "--to",
    };
    match newest {
        Some(other) => error.hint(format!(
            "the newest release for {role} is {0} (`{flag} {0}`); or publish one for all roles",
            other.id
        )),
        None => error.hint(format!("publish one for {role}, or for all roles")),
    }
}

/// The `once` manifest; none where this kick is not to run it.
pub async fn once(stage: &Stage<'_>, wish: &Wish<'_>) -> Result<Option<Once>> {
    if wish.action != Action::Kick || wish.hosts.narrows() {
        return Ok(None);
    }
    let role = wish.release.roles.get(&wish.role.name);
    let Some(once) = role.and_then(|role| role.once.as_ref()) else {
        return Ok(None);
    };
    let content = stage.store.get_bytes(&once.manifest, LARGEST_MANIFEST).await?;
    if shipit_artifact::sha256(&content.bytes).to_string() != once.sha256 {
        return Err(CliError::new(
            Kind::Store,
            format!(
                "{} is not the manifest that the release {} names",
                stage.store.url_of(&once.manifest),
                wish.release.id
            ),
        )
        .hint("somebody overwrote it; publish again"));
    }
    let manifest = String::from_utf8_lossy(&content.bytes).into_owned();
    let url = wish.release.once_url(&stage.store, &wish.role.name);
    Ok(url.map(|url| Once { url, manifest }))
}
