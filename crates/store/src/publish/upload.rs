//! The uploads of a publish, in their order, and what they sent.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Bound, Rendered, Run};
use crate::release::{ReleaseArtifact, VERSION};
use crate::{Body, Error, PutOptions, PutOutcome, Release, ReleaseId, RoleOnce, RoleRelease, layout};

impl Run<'_> {
    pub(super) async fn put(
        &mut self,
        key: &str,
        body: Body,
        size: u64,
        options: PutOptions,
    ) -> Result<PutOutcome, Error> {
        let outcome = self.input.store.put_if_absent(key, body, &options).await?;
        match outcome {
            PutOutcome::Created => self.sent += size,
            PutOutcome::AlreadyEqual => self.skipped += size,
        }
        Ok(outcome)
    }

    pub(super) async fn put_artifact(&mut self) -> Result<(), Error> {
        let artifact = self.input.artifact;
        let options = |sha256: &str, content_type: &str| PutOptions {
            content_type: Some(content_type.to_owned()),
            sha256: Some(sha256.to_owned()),
        };
        let key = self.artifact_key.clone();
        let body = Body::File(artifact.path.clone());
        let record = &artifact.record;
        let options_of = options(&record.sha256, "application/octet-stream");
        let put = if self.input.origin.bytes_stored {
            self.check_stored_bytes(&key).await?
        } else {
            let held = self.held().await;
            let put = self.input.store.put_by_difference(&key, body, &held, &options_of);
            put.await?
        };
        self.sent += put.sent;
        self.copied += put.copied;
        if put.outcome == PutOutcome::AlreadyEqual {
            self.skipped += record.size;
        }
        for (layer, path) in record.layers.iter().zip(&artifact.indexes) {
            let key = layout::index_key(self.input.app, &layer.index_sha256)?;
            let metadata = tokio::fs::metadata(path).await;
            let size = metadata.map_err(|source| Error::io("read", path, source))?.len();
            let options = options(&layer.index_sha256, "application/octet-stream");
            self.put(&key, Body::File(path.clone()), size, options).await?;
        }
        Ok(())
    }

    /// Stores our record where there is none, and returns the one that is there then.
    pub(super) async fn put_record(&mut self, own: &Bytes, bound: &Bound) -> Result<Bound, Error> {
        let size = own.len() as u64;
        if bound.sha256 != self.input.artifact.record_sha256 {
            self.skipped += size;
            return Ok(bound.clone());
        }
        let options = PutOptions {
            content_type: Some("application/json".into()),
            sha256: None,
        };
        let key = self.record_key.clone();
        match self.put(&key, Body::Bytes(own.clone()), size, options).await {
            Ok(_) => Ok(bound.clone()),
            // Another publisher's record came in between.
            Err(Error::Different { .. }) => self.bound_record(own).await,
            Err(error) => Err(error),
        }
    }

    /// The manifests, then release.json. Nothing when somebody else has taken the id.
    ///
    /// Two publishers may write equal manifests under one id; the release.json, which no two write alike, decides
    /// whose release it is, and names only manifests that its writer wrote or found equal.
    pub(super) async fn put_release(
        &mut self,
        id: &ReleaseId,
        bound: &Bound,
        manifests: &BTreeMap<String, Rendered>,
    ) -> Result<Option<Release>, Error> {
        let mut roles = BTreeMap::new();
        let (app, stage) = (self.input.app, self.input.stage);
        for (role, texts) in manifests {
            let once = match &texts.once {
                None => None,
                Some(text) => {
                    let key = layout::once_manifest_key(app, stage, id, role)?;
                    let Some(sha256) = self.put_manifest(&key, text).await? else {
                        return Ok(None);
                    };
                    let manifest = key;
                    Some(RoleOnce { manifest, sha256 })
                }
            };
            let manifest = layout::manifest_key(app, stage, id, role)?;
            let Some(sha256) = self.put_manifest(&manifest, &texts.manifest).await? else {
                return Ok(None);
            };
            let told = RoleRelease {
                manifest,
                sha256,
                once,
            };
            roles.insert(role.clone(), told);
        }
        // From here on it would be a release. Who took the lock over may have removed what was found, or sent.
        if let Some(lock) = self.input.lock {
            lock.confirm().await?;
        }
        let release = self.release(id, bound, roles);
        let key = layout::release_key(self.input.app, self.input.stage, id)?;
        let bytes = release.to_bytes();
        let options = PutOptions {
            content_type: Some("application/json".into()),
            sha256: None,
        };
        let size = bytes.len() as u64;
        match self.put(&key, bytes.into(), size, options).await {
            Ok(_) => Ok(Some(release)),
            Err(Error::Different { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A manifest's SHA-256 once it is there; nothing when another one stands under its key.
    async fn put_manifest(&mut self, key: &str, text: &str) -> Result<Option<String>, Error> {
        let options = PutOptions {
            content_type: Some("application/yaml".into()),
            sha256: None,
        };
        let body = Body::from(text.to_owned());
        match self.put(key, body, text.len() as u64, options).await {
            Ok(_) => Ok(Some(shipit_artifact::sha256(text.as_bytes()).to_string())),
            Err(Error::Different { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn release(
        &self,
        id: &ReleaseId,
        bound: &Bound,
        roles: BTreeMap<String, RoleRelease>,
    ) -> Release {
        let record = &self.input.artifact.record;
        Release {
            version: VERSION,
            id: id.clone(),
            app: self.input.app.to_owned(),
            stage: self.input.stage.to_owned(),
            revision: record.revision.clone(),
            artifact: ReleaseArtifact {
                key: self.artifact_key.clone(),
                sha256: record.sha256.clone(),
                size: record.size,
                record_sha256: bound.sha256.clone(),
            },
            roles,
            who: self.input.who.to_owned(),
            time: self.input.time,
            nonce: self.nonce.clone(),
            subject: self.input.origin.subject.map(str::to_owned),
            promoted: self.input.origin.promoted.clone(),
        }
    }
}
