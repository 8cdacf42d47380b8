//! Releases as they are stored, and reading them back.
//!
//! A release is there when its `release.json` is; what else lies under its id was left by a publish that was cut.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::{Error, ReleaseId, Store, layout};

/// No release.json and no manifest is larger.
const LARGEST: u64 = 1 << 20;

/// How many are named where a wanted one is not there.
const NAMED: usize = 5;

/// The version of release.json that is written, and the newest that is read.
pub(crate) const VERSION: u32 = 1;

/// One artifact published to one stage: `release.json`. Immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The version of this document.
    pub version: u32,
    /// Its id.
    pub id: ReleaseId,
    /// The app.
    pub app: String,
    /// The stage.
    pub stage: String,
    /// The full commit id.
    pub revision: String,
    /// The artifact.
    pub artifact: ReleaseArtifact,
    /// The roles with their manifests.
    pub roles: BTreeMap<String, RoleRelease>,
    /// Who published it.
    pub who: String,
    /// When it was published, in unix seconds.
    pub time: i64,
    /// Tells this publish from another one of the same things in the same second.
    pub nonce: String,
    /// The first line of the commit's message, when who published knew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The release of another stage that it has its artifact from, when it was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<PromotedFrom>,
}

/// The release that another one was promoted from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromotedFrom {
    /// Its stage.
    pub stage: String,
    /// Its id.
    pub release: ReleaseId,
}

/// The artifact of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseArtifact {
    /// Its key in the store.
    pub key: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its stored record.
    pub record_sha256: String,
}

/// A role in a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleRelease {
    /// The manifest's key in the store.
    pub manifest: String,
    /// SHA-256 of the manifest.
    pub sha256: String,
    /// The manifest of its `once` commands, if it has any. Readers that do not know of it pass it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<RoleOnce>,
}

/// What one host does before a role's hosts are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleOnce {
    /// The manifest's key in the store.
    pub manifest: String,
    /// SHA-256 of the manifest.
    pub sha256: String,
}

/// Names a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseRef {
    /// The newest of the stage.
    Latest,
    /// This one.
    Id(ReleaseId),
}

impl FromStr for ReleaseRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "latest" {
            Ok(Self::Latest)
        } else {
            ReleaseId::parse(text).map(Self::Id)
        }
    }
}

impl fmt::Display for ReleaseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Id(id) => id.fmt(f),
        }
    }
}

impl Release {
    /// The bytes that are stored.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// The URL from which hosts read a role's manifest; nothing when the release has no such role.
    pub fn manifest_url(&self, store: &Store, role: &str) -> Option<String> {
        Some(store.host_url_of(&self.roles.get(role)?.manifest))
    }

    /// The URL from which a host reads the manifest of a role's `once` commands; nothing when it has none.
    pub fn once_url(&self, store: &Store, role: &str) -> Option<String> {
        Some(store.host_url_of(&self.roles.get(role)?.once.as_ref()?.manifest))
    }

    /// A role's manifest, checked against the release; nothing when the release has no such role.
    pub async fn manifest(&self, store: &Store, role: &str) -> Result<Option<String>, Error> {
        let Some(found) = self.roles.get(role) else {
            return Ok(None);
        };
        let corrupt = |why: &str| Error::Corrupt {
            url: store.url_of(&found.manifest),
            why: why.to_owned(),
        };
        let content = store.get_bytes(&found.manifest, LARGEST).await?;
        if shipit_artifact::sha256(&content.bytes).to_string() != found.sha256 {
            return Err(corrupt("it is not the manifest that the release names"));
        }
        let text = String::from_utf8(content.bytes.into()).map_err(|_| corrupt("it is not UTF-8"))?;
        Ok(Some(text))
    }

    fn parse(bytes: &[u8], app: &str, stage: &str, id: &ReleaseId) -> Result<Self, String> {
        /// What is looked at first, for a newer version may have other fields.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let no_json = |error: serde_json::Error| format!("it is not a release's JSON: {error}");
        let Versioned { version } = serde_json::from_slice(bytes).map_err(no_json)?;
        if version > VERSION {
            return Err(format!(
                "it has version {version}, and this shipit knows versions up to {VERSION}"
            ));
        }
        let release: Self = serde_json::from_slice(bytes).map_err(no_json)?;
        if release.id != *id || release.app != app || release.stage != stage {
            let Self { id, app, stage, .. } = release;
            return Err(format!("it names the release {id} of {app} in {stage}"));
        }
        // A release that points elsewhere could bring another stage's manifest to this one's hosts.
        for (role, found) in &release.roles {
            let right = layout::manifest_key(app, stage, id, role).map_err(|error| error.to_string())?;
            if found.manifest != right {
                return Err(format!("its manifest of {role} lies at {}", found.manifest));
            }
            if let Some(once) = &found.once {
                let right =
                    layout::once_manifest_key(app, stage, id, role).map_err(|error| error.to_string())?;
                if once.manifest != right {
                    return Err(format!("its once manifest of {role} lies at {}", once.manifest));
                }
            }
        }
        Ok(release)
    }
}

/// The newest releases of a stage, newest first; all without a limit.
pub async fn releases(
    store: &Store,
    app: &str,
    stage: &str,
    limit: Option<usize>,
) -> Result<Vec<Release>, Error> {
    let limit = limit.unwrap_or(usize::MAX);
    let ids = ids(store, app, stage).await?;
    let mut found = Vec::new();
    for some in ids.chunks(limit.clamp(1, store.at_once())) {
        let mut reading = JoinSet::new();
        for id in some {
            let (store, app, stage, id) = (store.clone(), app.to_owned(), stage.to_owned(), id.clone());
            reading.spawn(async move { read(&store, &app, &stage, &id).await });
        }
        while let Some(release) = reading.join_next().await {
            found.extend(release.map_err(|source| Error::Task { source })??);
        }
        found.sort_by(|a, b| b.id.cmp(&a.id));
        if found.len() >= limit {
            found.truncate(limit);
            break;
        }
    }
    Ok(found)
}

/// A release of a stage. [`Error::NoRelease`] when there is none.
pub async fn release(store: &Store, app: &str, stage: &str, wanted: &ReleaseRef) -> Result<Release, Error> {
    let found = match wanted {
        ReleaseRef::Latest => releases(store, app, stage, Some(1)).await?.pop(),
        ReleaseRef::Id(id) => read(store, app, stage, id).await?,
    };
    match (found, wanted) {
        (Some(found), _) => Ok(found),
        (None, ReleaseRef::Latest) => Err(none(store, app, stage, "at all", Vec::new())),
        (None, ReleaseRef::Id(id)) => {
            // That there is no such release is the error to show, whatever comes of looking for others.
            let others = releases(store, app, stage, Some(NAMED)).await.unwrap_or_default();
            let newest = others.iter().map(|release| release.id.to_string()).collect();
            Err(none(store, app, stage, id.as_str(), newest))
        }
    }
}

fn none(store: &Store, app: &str, stage: &str, id: &str, newest: Vec<String>) -> Error {
    Error::NoRelease {
        store: store.url().to_string(),
        app: app.to_owned(),
        stage: stage.to_owned(),
        id: id.to_owned(),
        newest,
    }
}

/// The ids under which something lies, newest first; not all of them need be releases.
pub(crate) async fn ids(store: &Store, app: &str, stage: &str) -> Result<Vec<ReleaseId>, Error> {
    let names = store.list_children(&layout::releases_prefix(app, stage)?).await?;
    let mut ids: Vec<_> = names
        .iter()
        .filter_map(|name| ReleaseId::parse(name).ok())
        .collect();
    ids.sort();
    ids.reverse();
    Ok(ids)
}

async fn read(store: &Store, app: &str, stage: &str, id: &ReleaseId) -> Result<Option<Release>, Error> {
    let read = read_with_bytes(store, app, stage, id).await?;
    Ok(read.map(|(release, _)| release))
}

/// A release, and its document as it is stored.
pub(crate) async fn read_with_bytes(
    store: &Store,
    app: &str,
    stage: &str,
    id: &ReleaseId,
) -> Result<Option<(Release, Bytes)>, Error> {
    let key = layout::release_key(app, stage, id)?;
    let content = match store.get_bytes(&key, LARGEST).await {
        Ok(content) => content,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Release::parse(&content.bytes, app, stage, id)
        .map(|release| Some((release, content.bytes)))
        .map_err(|why| Error::Corrupt {
            url: store.url_of(&key),
            why,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Release {
        let id = ReleaseId::parse("20261121T134515Z-3074f46").unwrap();
        let manifest = layout::manifest_key("shop", "production", &id, "web").unwrap();
        Release {
            version: VERSION,
            id,
            app: "shop".into(),
            stage: "production".into(),
            revision: "3074f46".repeat(6)[..40].to_owned(),
            artifact: ReleaseArtifact {
                key: "artifacts/shop/x".into(),
                sha256: "0".repeat(64),
                size: 1,
                record_sha256: "1".repeat(64),
            },
            roles: BTreeMap::from([(
                "web".to_owned(),
                RoleRelease {
                    manifest,
                    once: None,
                    sha256: "2".repeat(64),
                },
            )]),
            who: "jenkins".into(),
            time: 1_795_268_715,
            nonce: "n".into(),
            subject: Some("a change".into()),
            promoted: None,
        }
    }

    #[test]
    fn written_and_read_back() {
        let release = stored();
        let read = Release::parse(&release.to_bytes(), "shop", "production", &release.id);
        assert_eq!(read.unwrap(), release);
    }

    #[test]
    fn a_release_that_lies_elsewhere_is_refused() {
        let wrong = |change: &dyn Fn(&mut Release), why: &str| {
            let id = stored().id;
            let mut release = stored();
            change(&mut release);
            let error = Release::parse(&release.to_bytes(), "shop", "production", &id).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        wrong(&|r| r.stage = "staging".into(), "in staging");
        wrong(&|r| r.app = "other".into(), "of other");
        wrong(&|r| r.id = r.id.next_second().unwrap(), "20261121T134516Z");
        wrong(&|r| r.version = 2, "version 2");
        wrong(
            &|r| r.roles.get_mut("web").unwrap().manifest = "live/shop/x/web.yml".into(),
            "live/",
        );
    }

    #[test]
    fn latest_and_ids_are_references() {
        assert_eq!("latest".parse::<ReleaseRef>().unwrap(), ReleaseRef::Latest);
        assert_eq!(
            "20261121T134515Z-3074f46"
                .parse::<ReleaseRef>()
                .unwrap()
                .to_string(),
            "20261121T134515Z-3074f46"
        );
        assert!("newest".parse::<ReleaseRef>().is_err());
    }
}
