//! Publishing: an artifact, its indexes and record, a manifest per role, and last the release.json that makes it one.
//!
//! Everything but the last is create-only and named by its content, or belongs to no release yet: a publish that is
//! cut anywhere leaves nothing that a reader could take for a release, and the next run sends only what is missing.

mod check;
mod held;
mod upload;

pub(crate) use check::LARGEST_RECORD;

use shipit_artifact::Artifact;

use crate::error::BoxError;
use crate::lock::PublishLock;
use crate::{Error, Event, PromotedFrom, Release, ReleaseId, RoleRelease, Store, layout};

/// How many seconds are tried for a free release id, and how far ahead of the clock one may be for it.
const MOST_SECONDS: u32 = 60;

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
    /// Makes the manifest of its `once` commands, which names the role `<role>.once`; none when it has none.
    pub once: Option<&'a RenderManifest<'a>>,
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
    /// Whether shared layers are copied from, too. What earlier artifacts of the app hold is copied from in any case.
    pub shared: bool,
    /// Where it comes from.
    pub origin: Origin<'a>,
    /// What keeps a prune from deleting what is found in the store here. Without it, nobody may prune meanwhile.
    pub lock: Option<&'a PublishLock>,
}

/// Where a release comes from, beside what its artifact's record says.
#[derive(Clone, Debug, Default)]
pub struct Origin<'a> {
    /// The first line of the commit's message, when it is known.
    pub subject: Option<&'a str>,
    /// The release that is promoted.
    pub promoted: Option<PromotedFrom>,
    /// Whether the artifact's bytes lie in the store already, and were compared: its local file is then not looked at.
    pub bytes_stored: bool,
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
    /// Bytes that were copied within the store.
    pub copied: u64,
    /// Bytes that were there already.
    pub skipped: u64,
}

/// Publishes a release. What happens is told to the store's events. Dropping the future cancels it, and so does the loss of
/// the lock: there is no release then.
pub async fn publish(input: PublishInput<'_>) -> Result<Published, Error> {
    // Boxed: it would be twice in the future else.
    let work = Box::pin(unlocked(&input));
    match input.lock {
        Some(lock) => lock.during(work).await,
        None => work.await,
    }
}

async fn unlocked(input: &PublishInput<'_>) -> Result<Published, Error> {
    let mut run = Run::new(input)?;
    let mut id = ReleaseId::new(input.time, &input.artifact.record.revision)?;
    let first = id.clone();
    // First everything that can fail here, then what can fail over there.
    run.check_files().await?;
    let own = run.own_record().await?;
    let mut bound = run.bound_record(&own).await?;
    let mut manifests = run.render(&id, &bound)?;
    input.store.sweep(input.time).await?;
    run.put_artifact().await?;
    let stored = run.put_record(&own, &bound).await?;
    let newest = run.after_the_newest(&id).await?;
    if stored != bound || newest != id {
        bound = stored;
        id = newest;
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

/// The manifests of one role, as text.
#[derive(Clone, Debug)]
struct Rendered {
    manifest: String,
    once: Option<String>,
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
    copied: u64,
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
            copied: 0,
            skipped: 0,
        })
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
            copied: self.copied,
            skipped: self.skipped,
        }
    }
}
