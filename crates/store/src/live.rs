//! The live pointer: per stage and role, the manifest of the release that a new host boots with.
//!
//! It is a copy of the release's manifest, byte for byte, so that a host needs nothing but its URL. When it moves is for the caller.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{Error, Store, layout, release};

/// No manifest is larger.
const LARGEST: u64 = 1 << 20;

/// What is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// The release that the manifest names.
    pub release: String,
    /// For [`move_to`].
    pub etag: String,
    /// The manifest.
    pub manifest: Bytes,
}

/// What lies in the place of a role's live manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pointer {
    /// Nothing: before the role's first whole kick.
    Nothing,
    /// The live manifest.
    Live(Live),
    /// Something that is none: which release is live is not known, and no new host boots with it.
    Damaged(Damaged),
}

/// What is no live manifest of its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// For [`move_to`], which replaces it.
    pub etag: String,
    /// Its URL.
    pub url: String,
    /// What is wrong with it.
    pub why: String,
}

impl Pointer {
    /// The live manifest, where there is one.
    pub fn live(self) -> Option<Live> {
        match self {
            Self::Live(live) => Some(live),
            Self::Nothing | Self::Damaged(_) => None,
        }
    }

    /// The release that is live, where that is known.
    pub fn release(&self) -> Option<&str> {
        match self {
            Self::Live(live) => Some(&live.release),
            Self::Nothing | Self::Damaged(_) => None,
        }
    }

    /// For [`move_to`].
    pub fn etag(&self) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::Live(live) => Some(&live.etag),
            Self::Damaged(damaged) => Some(&damaged.etag),
        }
    }
}

/// What is live for a role.
///
/// # Errors
/// The store's.
pub async fn read(store: &Store, app: &str, stage: &str, role: &str) -> Result<Pointer, Error> {
    let key = layout::live_key(app, stage, role)?;
    let damaged = |etag: String, why: String| {
        let url = store.url_of(&key);
        Ok(Pointer::Damaged(Damaged { etag, url, why }))
    };
    let content = match store.get_bytes(&key, LARGEST).await {
        Ok(content) => content,
        Err(Error::NotFound { .. }) => return Ok(Pointer::Nothing),
        Err(Error::Corrupt { why, .. }) => {
            return match store.head(&key).await? {
                Some(meta) => damaged(meta.etag, why),
                None => Ok(Pointer::Nothing),
            };
        }
        Err(error) => return Err(error),
    };
    let release = match named(&content.bytes, app, stage, role) {
        Err(why) => return damaged(content.etag, why),
        Ok(Some(release)) => release,
        Ok(None) => match with_manifest(store, app, stage, role, &content.bytes).await? {
            Some(release) => release,
            None => {
                let why = "it names no release, and no release has this manifest";
                return damaged(content.etag, why.to_owned());
            }
        },
    };
    Ok(Pointer::Live(Live {
        release,
        etag: content.etag,
        manifest: content.bytes,
    }))
}

/// What is live in a stage, by role.
///
/// # Errors
/// As [`read`].
pub async fn all(store: &Store, app: &str, stage: &str) -> Result<BTreeMap<String, Pointer>, Error> {
    let prefix = layout::live_prefix(app, stage)?;
    let mut all = BTreeMap::new();
    for meta in store.list(&prefix).await? {
        let name = meta.key.strip_prefix(&prefix);
        if let Some(role) = name.and_then(|name| name.strip_suffix(".yml")) {
            all.insert(role.to_owned(), read(store, app, stage, role).await?);
        }
    }
    Ok(all)
}

/// Makes a release's manifest the live one, if what is live is still what it was when it was read: the etag, or nothing.
/// Returns the new etag.
///
/// # Errors
/// [`Error::Changed`] when it was moved meanwhile; [`Error::Corrupt`] when these bytes are no manifest of this role.
pub async fn move_to(
    store: &Store,
    app: &str,
    stage: &str,
    role: &str,
    manifest: &[u8],
    expected: Option<&str>,
) -> Result<String, Error> {
    let key = layout::live_key(app, stage, role)?;
    named(manifest, app, stage, role).map_err(|why| Error::Corrupt {
        url: store.url_of(&key),
        why,
    })?;
    store
        .put_if_match(&key, Bytes::copy_from_slice(manifest), expected)
        .await
}

/// The URL from which a new host reads it.
///
/// # Errors
/// A name is none.
pub fn url(store: &Store, app: &str, stage: &str, role: &str) -> Result<String, Error> {
    Ok(store.host_url_of(&layout::live_key(app, stage, role)?))
}

/// The release in the manifest's `shipit:` map; nothing when it has none, as a template of one's own may.
fn named(manifest: &[u8], app: &str, stage: &str, role: &str) -> Result<Option<String>, String> {
    let text = std::str::from_utf8(manifest).map_err(|_| "it is not UTF-8".to_owned())?;
    // What a host's environment decides gets some value: it does not decide this.
    let read = shipit_manifest::host_template(text, &|_| Some("/host".to_owned()))
        .and_then(|text| shipit_manifest::parse(&text));
    let manifest = read.map_err(|error| format!("it is no manifest: {error}"))?;
    let Some(binding) = manifest.shipit else {
        return Ok(None);
    };
    if (
        binding.app.as_str(),
        binding.stage.as_str(),
        binding.role.as_str(),
    ) != (app, stage, role)
    {
        let (role, app, stage) = (binding.role, binding.app, binding.stage);
        return Err(format!("it is the manifest of {role} of {app} in {stage}"));
    }
    Ok(Some(binding.release))
}

/// The newest release that has this manifest for the role.
async fn with_manifest(
    store: &Store,
    app: &str,
    stage: &str,
    role: &str,
    manifest: &[u8],
) -> Result<Option<String>, Error> {
    let sha256 = shipit_artifact::sha256(manifest).to_string();
    let releases = release::releases(store, app, stage, None).await?;
    let has = |release: &release::Release| {
        release
            .roles
            .get(role)
            .is_some_and(|found| found.sha256 == sha256)
    };
    Ok(releases
        .into_iter()
        .find(has)
        .map(|release| release.id.to_string()))
}
