//! What is looked at before anything is uploaded: the local files, the stored record, the rendered manifests.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use shipit_artifact::Record;
use shipit_manifest::once_role;

use super::{Bound, MOST_SECONDS, RenderContext, RenderManifest, Rendered, Run};
use crate::{Error, Event, Put, PutOutcome, ReleaseId, layout, release};

/// No record is larger.
pub(crate) const LARGEST_RECORD: u64 = 16 << 20;

impl Run<'_> {
    /// What can be seen cheaply; the digests are checked on the way to the store.
    pub(super) async fn check_files(&self) -> Result<(), Error> {
        let artifact = self.input.artifact;
        let corrupt = |why: String| Error::DamagedFile {
            path: artifact.path.display().to_string(),
            why,
        };
        let size = match tokio::fs::metadata(&artifact.path).await {
            _ if self.input.origin.bytes_stored => artifact.record.size,
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(corrupt("it is gone, and its record is there".to_owned()));
            }
            Err(source) => return Err(Error::io("read", &artifact.path, source)),
        };
        if size != artifact.record.size {
            return Err(corrupt(format!(
                "it has {size} bytes, its record says {}",
                artifact.record.size
            )));
        }
        if artifact.indexes.len() != artifact.record.layers.len() {
            let (indexes, layers) = (artifact.indexes.len(), artifact.record.layers.len());
            return Err(corrupt(format!("it has {indexes} indexes for {layers} layers")));
        }
        Ok(())
    }

    /// What is said to be there is, with its size; its bytes were compared by who says so.
    pub(super) async fn check_stored_bytes(&self, key: &str) -> Result<Put, Error> {
        let (store, size) = (self.input.store, self.input.artifact.record.size);
        let url = store.url_of(key);
        match store.head(key).await? {
            None => Err(Error::NotFound { url }),
            Some(found) if found.size != size => Err(Error::Corrupt {
                url,
                why: format!("it has {} bytes, its record says {size}", found.size),
            }),
            Some(_) => Ok(Put {
                outcome: PutOutcome::AlreadyEqual,
                sent: 0,
                copied: 0,
            }),
        }
    }

    pub(super) async fn own_record(&self) -> Result<Bytes, Error> {
        let artifact = self.input.artifact;
        let path: &Path = &artifact.record_path;
        let bytes = tokio::fs::read(path)
            .await
            .map_err(|source| Error::io("read", path, source))?;
        if shipit_artifact::sha256(&bytes).to_string() != artifact.record_sha256 {
            let why = "it changed since the artifact was opened".to_owned();
            return Err(Error::DamagedFile {
                path: path.display().to_string(),
                why,
            });
        }
        Ok(bytes.into())
    }

    /// The record that is stored already, after a look whether it can be trusted; else our own.
    pub(super) async fn bound_record(&self, own: &Bytes) -> Result<Bound, Error> {
        match self.input.store.get_bytes(&self.record_key, LARGEST_RECORD).await {
            Ok(stored) => self.check_stored(own, &stored.bytes).await,
            Err(Error::NotFound { .. }) => Ok(Bound {
                sha256: self.input.artifact.record_sha256.clone(),
            }),
            Err(error) => Err(error),
        }
    }

    /// Another build of the same bytes may have had other tools. Its record holds when it says the same of the bytes.
    pub(super) async fn check_stored(&self, own: &Bytes, stored: &Bytes) -> Result<Bound, Error> {
        let sha256 = shipit_artifact::sha256(stored).to_string();
        if own == stored {
            return Ok(Bound { sha256 });
        }
        let url = self.input.store.url_of(&self.record_key);
        let corrupt = |why: String| Error::Corrupt {
            url: url.clone(),
            why,
        };
        let record = Record::parse(stored).map_err(|error| {
            let cause = std::error::Error::source(&error)
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            corrupt(format!("{error}{cause}"))
        })?;
        if let Some(what) = difference(&self.input.artifact.record, &record) {
            return Err(corrupt(format!(
                "it says other things of the same artifact: {what}"
            )));
        }
        for layer in &record.layers {
            let key = layout::index_key(self.input.app, &layer.index_sha256)?;
            let ours = self
                .input
                .artifact
                .record
                .layers
                .iter()
                .any(|own| own.index_sha256 == layer.index_sha256);
            if !ours && self.input.store.head(&key).await?.is_none() {
                return Err(corrupt(format!(
                    "the index of its layer {} is missing: {key}",
                    layer.name
                )));
            }
        }
        self.input.store.on_event().emit(Event::StoredRecordBound {
            record_sha256: sha256.clone(),
            revision: record.revision,
        });
        Ok(Bound { sha256 })
    }

    /// The manifests of all roles, sorted by role; each is read back and checked.
    pub(super) fn render(&self, id: &ReleaseId, bound: &Bound) -> Result<BTreeMap<String, Rendered>, Error> {
        let context = RenderContext {
            release: id,
            src: &self.src,
            checksum: &self.input.artifact.record.sha256,
            record_sha256: &bound.sha256,
        };
        let mut manifests = BTreeMap::new();
        for plan in &self.input.roles {
            layout::manifest_key(self.input.app, self.input.stage, id, &plan.role)?;
            let manifest = self.rendered(&plan.role, plan.render, &context)?;
            let once = match plan.once {
                Some(render) => Some(self.rendered(&once_role(&plan.role), render, &context)?),
                None => None,
            };
            manifests.insert(plan.role.clone(), Rendered { manifest, once });
        }
        Ok(manifests)
    }

    fn rendered(
        &self,
        role: &str,
        render: &RenderManifest<'_>,
        context: &RenderContext<'_>,
    ) -> Result<String, Error> {
        let failed = |source| Error::Render {
            role: role.to_owned(),
            source,
        };
        let text = render(context).map_err(failed)?;
        let problems = self.problems(role, &text, context);
        if problems.is_empty() {
            Ok(text)
        } else {
            Err(Error::BadManifest {
                role: role.to_owned(),
                problems,
            })
        }
    }

    /// What a manifest says that is not so for this release. Whether it makes sense is for the manifest crate.
    pub(super) fn problems(&self, role: &str, text: &str, context: &RenderContext<'_>) -> Vec<String> {
        // What a host's environment decides gets some value: only the rest is looked at here.
        let evaluated = shipit_manifest::host_template(text, &|_| Some("/host".to_owned()));
        let manifest = match evaluated.and_then(|text| shipit_manifest::parse(&text)) {
            Ok(manifest) => manifest,
            Err(error) => return vec![error.to_string()],
        };
        let mut problems = Vec::new();
        let mut expect = |what: &str, found: &str, wanted: &str| {
            if found != wanted {
                problems.push(format!("{what} is {found:?} and has to be {wanted:?}"));
            }
        };
        if let Some(src) = &manifest.src {
            expect("src", src, context.src);
            expect(
                "checksum",
                manifest.checksum.as_deref().unwrap_or_default(),
                context.checksum,
            );
        }
        if let Some(binding) = &manifest.shipit {
            let record = binding.record_sha256.as_deref();
            if manifest.src.is_some() || record.is_some() {
                expect(
                    "shipit.record_sha256",
                    record.unwrap_or_default(),
                    context.record_sha256,
                );
            }
            expect("shipit.app", &binding.app, self.input.app);
            expect("shipit.stage", &binding.stage, self.input.stage);
            expect("shipit.role", &binding.role, role);
            expect("shipit.release", &binding.release, context.release.as_str());
        }
        problems
    }

    /// The id, or a later one, so that it is the newest of its stage. Publishes that follow one another within seconds, and
    /// clocks that differ by as much, are nothing to speak of; a release that is further ahead is said.
    pub(super) async fn after_the_newest(&self, id: &ReleaseId) -> Result<ReleaseId, Error> {
        let ids = release::ids(self.input.store, self.input.app, self.input.stage).await?;
        let Some(newest) = ids.first().filter(|newest| newest.time() >= id.time()) else {
            return Ok(id.clone());
        };
        let release = id.to_string();
        if newest.time() - id.time() > i64::from(MOST_SECONDS) {
            let newest = newest.to_string();
            self.input
                .store
                .on_event()
                .emit(Event::NewerRelease { release, newest });
            return Ok(id.clone());
        }
        self.input
            .store
            .on_event()
            .emit(Event::ReleaseIdTaken { release });
        ReleaseId::new(newest.time() + 1, &self.input.artifact.record.revision)
    }
}

/// How two records of one artifact contradict each other in what they say of its bytes.
fn difference(own: &Record, stored: &Record) -> Option<&'static str> {
    let bytes = |record: &Record| -> Vec<(u64, u64, String)> {
        record
            .layers
            .iter()
            .map(|layer| (layer.offset, layer.size, layer.sha256.clone()))
            .collect()
    };
    if own.sha256 != stored.sha256 || own.size != stored.size || own.compression != stored.compression {
        return Some("its bytes");
    }
    if own.app != stored.app {
        return Some("its app");
    }
    (bytes(own) != bytes(stored)).then_some("its layers")
}
