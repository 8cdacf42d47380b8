//! Publishing: an artifact, its indexes and record, a manifest per role, and last the release.json that makes it one.
//!
//! Everything but the last is create-only and named by its content, or belongs to no release yet: a publish that is
//! cut anywhere leaves nothing that a reader could take for a release, and the next run sends only what is missing.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use shipit_artifact::{Artifact, Record};

use crate::error::BoxError;
use crate::release::{ReleaseArtifact, VERSION};
use crate::{
    Body, Error, Event, PutOptions, PutOutcome, Release, ReleaseId, RoleRelease, Store, layout, release,
};

/// How many seconds are tried for a free release id.
const MOST_SECONDS: u32 = 60;

/// No record is larger.
const LARGEST_RECORD: u64 = 16 << 20;

/// What a manifest is rendered from, beyond what its role is.
#[derive(Clone, Copy, Debug)]
pub struct RenderContext<'a> {
    /// The release's id.
    pub release: &'a ReleaseId,
    /// The artifact's URL as hosts read it: the manifest's `src`.
    pub src: &'a str,
    /// The artifact's SHA-256: the manifest's `checksum`.
    pub checksum: &'a str,
    /// SHA-256 of the record that lies, or will lie, in the store: the manifest binds it.
    pub record_sha256: &'a str,
}

/// Renders a role's manifest. It may be called more than once, for each id that is tried.
pub type RenderManifest<'a> = dyn Fn(&RenderContext<'_>) -> Result<String, BoxError> + Send + Sync + 'a;

/// A role that is published.
pub struct RolePlan<'a> {
    /// Its name.
    pub role: String,
    /// Makes its manifest.
    pub render: &'a RenderManifest<'a>,
}

/// What is published, to where.
pub struct PublishInput<'a> {
    /// To where.
    pub store: &'a Store,
    /// The app; the artifact's record has to name it too.
    pub app: &'a str,
    /// The stage.
    pub stage: &'a str,
    /// What.
    pub artifact: &'a Artifact,
    /// Now, in unix seconds.
    pub time: i64,
    /// Who publishes, for the history.
    pub who: &'a str,
    /// For which roles; at least one.
    pub roles: Vec<RolePlan<'a>>,
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The release as it is stored.
    pub release: Release,
    /// Each role with its manifest's URL as hosts read it, sorted by role.
    pub roles: Vec<(String, String)>,
    /// The artifact's URL as hosts read it.
    pub artifact_url: String,
    /// Bytes that were sent.
    pub sent: u64,
    /// Bytes that were there already.
    pub skipped: u64,
}

/// Publishes a release. What happens is told to the store's events. Dropping the future cancels it.
pub async fn publish(input: PublishInput<'_>) -> Result<Published, Error> {
    let mut run = Run::new(&input)?;
    let mut id = ReleaseId::new(input.time, &input.artifact.record.revision)?;
    let first = id.clone();
    // First everything that can fail here, then what can fail over there.
    run.check_files().await?;
    let own = run.own_record().await?;
    let mut bound = run.bound_record(&own).await?;
    let mut manifests = run.render(&id, &bound)?;
    input.store.sweep(input.time).await?;
    run.warn_of_newer(&id).await?;
    run.put_artifact().await?;
    let stored = run.put_record(&own, &bound).await?;
    if stored != bound {
        bound = stored;
        manifests = run.render(&id, &bound)?;
    }
    for _ in 0..MOST_SECONDS {
        if let Some(release) = run.put_release(&id, &bound, &manifests).await? {
            return Ok(run.finish(release));
        }
        input.store.on_event().emit(Event::ReleaseIdTaken {
            release: id.to_string(),
        });
        id = id.next_second()?;
        manifests = run.render(&id, &bound)?;
    }
    Err(Error::NoFreeId {
        app: input.app.to_owned(),
        stage: input.stage.to_owned(),
        from: first.to_string(),
        tried: MOST_SECONDS,
    })
}

/// The record that manifests bind: its digest alone matters to them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    sha256: String,
}

struct Run<'a> {
    input: &'a PublishInput<'a>,
    artifact_key: String,
    record_key: String,
    src: String,
    nonce: String,
    sent: u64,
    skipped: u64,
}

impl<'a> Run<'a> {
    fn new(input: &'a PublishInput<'a>) -> Result<Self, Error> {
        let record = &input.artifact.record;
        if record.app != input.app {
            let why = format!(
                "it is an artifact of {}, and {} is published",
                record.app, input.app
            );
            return Err(Error::Corrupt {
                url: input.artifact.path.display().to_string(),
                why,
            });
        }
        let mut names: Vec<_> = input.roles.iter().map(|role| &role.role).collect();
        names.sort();
        names.dedup();
        if names.is_empty() || names.len() != input.roles.len() {
            return Err(Error::BadOptions {
                why: "a release has at least one role, and each once".into(),
            });
        }
        let artifact_key = layout::artifact_key(input.app, &record.sha256, record.compression.extension())?;
        Ok(Self {
            input,
            src: input.store.host_url_of(&artifact_key),
            artifact_key,
            record_key: layout::record_key(input.app, &record.sha256)?,
            nonce: format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
            sent: 0,
            skipped: 0,
        })
    }

    /// What can be seen cheaply; the digests are checked on the way to the store.
    async fn check_files(&self) -> Result<(), Error> {
        let artifact = self.input.artifact;
        let corrupt = |why: String| Error::Corrupt {
            url: artifact.path.display().to_string(),
            why,
        };
        let metadata = tokio::fs::metadata(&artifact.path).await;
        let size = metadata
            .map_err(|source| Error::io("read", &artifact.path, source))?
            .len();
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

    async fn own_record(&self) -> Result<Bytes, Error> {
        let artifact = self.input.artifact;
        let path: &Path = &artifact.record_path;
        let bytes = tokio::fs::read(path)
            .await
            .map_err(|source| Error::io("read", path, source))?;
        if shipit_artifact::sha256(&bytes).to_string() != artifact.record_sha256 {
            let why = "it changed since the artifact was opened".to_owned();
            return Err(Error::Corrupt {
                url: path.display().to_string(),
                why,
            });
        }
        Ok(bytes.into())
    }

    /// The record that is stored already, after a look whether it can be trusted; else our own.
    async fn bound_record(&self, own: &Bytes) -> Result<Bound, Error> {
        match self.input.store.get_bytes(&self.record_key, LARGEST_RECORD).await {
            Ok(stored) => self.check_stored(own, &stored.bytes).await,
            Err(Error::NotFound { .. }) => Ok(Bound {
                sha256: self.input.artifact.record_sha256.clone(),
            }),
            Err(error) => Err(error),
        }
    }

    /// Another build of the same bytes may have had other tools. Its record holds when it says the same of the bytes.
    async fn check_stored(&self, own: &Bytes, stored: &Bytes) -> Result<Bound, Error> {
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
    fn render(&self, id: &ReleaseId, bound: &Bound) -> Result<BTreeMap<String, String>, Error> {
        let context = RenderContext {
            release: id,
            src: &self.src,
            checksum: &self.input.artifact.record.sha256,
            record_sha256: &bound.sha256,
        };
        let mut manifests = BTreeMap::new();
        for plan in &self.input.roles {
            layout::manifest_key(self.input.app, self.input.stage, id, &plan.role)?;
            let failed = |source| Error::Render {
                role: plan.role.clone(),
                source,
            };
            let text = (plan.render)(&context).map_err(failed)?;
            let problems = self.problems(&plan.role, &text, &context);
            if !problems.is_empty() {
                return Err(Error::BadManifest {
                    role: plan.role.clone(),
                    problems,
                });
            }
            manifests.insert(plan.role.clone(), text);
        }
        Ok(manifests)
    }

    /// What a manifest says that is not so for this release. Whether it makes sense is for the manifest crate.
    fn problems(&self, role: &str, text: &str, context: &RenderContext<'_>) -> Vec<String> {
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

    async fn warn_of_newer(&self, id: &ReleaseId) -> Result<(), Error> {
        let ids = release::ids(self.input.store, self.input.app, self.input.stage).await?;
        if let Some(newest) = ids.first().filter(|newest| newest.time() > id.time()) {
            let (release, newest) = (id.to_string(), newest.to_string());
            self.input
                .store
                .on_event()
                .emit(Event::NewerRelease { release, newest });
        }
        Ok(())
    }

    async fn put(
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

    async fn put_artifact(&mut self) -> Result<(), Error> {
        let artifact = self.input.artifact;
        let options = |sha256: &str, content_type: &str| PutOptions {
            content_type: Some(content_type.to_owned()),
            sha256: Some(sha256.to_owned()),
        };
        let key = self.artifact_key.clone();
        let body = Body::File(artifact.path.clone());
        let record = &artifact.record;
        self.put(
            &key,
            body,
            record.size,
            options(&record.sha256, "application/octet-stream"),
        )
        .await?;
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
    async fn put_record(&mut self, own: &Bytes, bound: &Bound) -> Result<Bound, Error> {
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
    async fn put_release(
        &mut self,
        id: &ReleaseId,
        bound: &Bound,
        manifests: &BTreeMap<String, String>,
    ) -> Result<Option<Release>, Error> {
        let mut roles = BTreeMap::new();
        for (role, text) in manifests {
            let key = layout::manifest_key(self.input.app, self.input.stage, id, role)?;
            let options = PutOptions {
                content_type: Some("application/yaml".into()),
                sha256: None,
            };
            let body = Body::from(text.clone());
            match self.put(&key, body, text.len() as u64, options).await {
                Ok(_) => {}
                Err(Error::Different { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
            let sha256 = shipit_artifact::sha256(text.as_bytes()).to_string();
            roles.insert(
                role.clone(),
                RoleRelease {
                    manifest: key,
                    sha256,
                },
            );
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

    fn release(&self, id: &ReleaseId, bound: &Bound, roles: BTreeMap<String, RoleRelease>) -> Release {
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
        }
    }

    fn finish(self, release: Release) -> Published {
        let store = self.input.store;
        store.on_event().emit(Event::Published {
            release: release.id.to_string(),
        });
        let url = |(role, found): (&String, &RoleRelease)| (role.clone(), store.host_url_of(&found.manifest));
        Published {
            roles: release.roles.iter().map(url).collect(),
            release,
            artifact_url: self.src,
            sent: self.sent,
            skipped: self.skipped,
        }
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
