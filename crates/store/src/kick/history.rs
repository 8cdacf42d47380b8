//! Writing a kick's documents, and reading them back.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::{Ended, KICK_VERSION, KickId, Started};
use crate::layout::{kick_key, kicks_prefix};
use crate::{Error, Event, PutOptions, Store};

const STARTED: &str = "started.json";
const ENDED: &str = "ended.json";

/// How many more of these small documents than of an upload's parts are asked for at once: of an old stage there are
/// thousands, and the time goes by in waiting.
const SMALL: usize = 4;

/// No document is larger: some ten thousand hosts, each with a reason.
const LARGEST: u64 = 16 << 20;

/// A kick as it stands in the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Kick {
    /// How it began.
    pub started: Started,
    /// How it ended; none while it runs, and when it was interrupted in a way that left no time to say so.
    pub ended: Option<Ended>,
}

/// Writes that a kick starts. Before hosts hear of anything.
///
/// # Errors
/// The store's; [`Error::Different`] when there is such a kick.
pub async fn start(store: &Store, started: &Started) -> Result<(), Error> {
    let (app, stage) = (&started.app, &started.stage);
    put(store, app, stage, &started.kick, STARTED, started).await
}

/// Writes how a kick ended.
///
/// # Errors
/// The store's; [`Error::Different`] when it has ended already in another way.
pub async fn end(store: &Store, app: &str, stage: &str, ended: &Ended) -> Result<(), Error> {
    put(store, app, stage, &ended.kick, ENDED, ended).await
}

/// The newest kicks of a stage, newest first: of one role where it is named, all without a limit. One that cannot be
/// read is told to the store's events and left out.
///
/// # Errors
/// The store's.
pub async fn list(
    store: &Store,
    app: &str,
    stage: &str,
    role: Option<&str>,
    limit: Option<usize>,
) -> Result<Vec<Kick>, Error> {
    let limit = limit.unwrap_or(usize::MAX);
    let ids = ids(store, app, stage).await?;
    let at_once = match role {
        None => limit.clamp(1, store.at_once() * SMALL),
        // Of whom a kick is, is not known before it is read.
        Some(_) => store.at_once() * SMALL,
    };
    let mut found: Vec<Kick> = Vec::new();
    for some in ids.chunks(at_once) {
        found.extend(read_all(store, app, stage, role, some).await?);
        if found.len() >= limit {
            found.truncate(limit);
            break;
        }
    }
    Ok(found)
}

/// The newest kick of a role that is `wanted`, of those that began at `since` (unix seconds) or later. They are read a few at
/// a time, newest first: most often one of the newest is it, and a stage has thousands in a year.
///
/// # Errors
/// The store's.
pub async fn find(
    store: &Store,
    app: &str,
    stage: &str,
    role: &str,
    since: Option<i64>,
    wanted: impl Fn(&Kick) -> bool,
) -> Result<Option<Kick>, Error> {
    let mut ids = ids(store, app, stage).await?;
    ids.retain(|id| since.is_none_or(|since| id.time() >= since));
    for some in ids.chunks(store.at_once() * SMALL) {
        let kicks = read_all(store, app, stage, Some(role), some).await?;
        if let Some(found) = kicks.into_iter().find(&wanted) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// These kicks, as far as they are a role's where one is named, newest first; read side by side.
async fn read_all(
    store: &Store,
    app: &str,
    stage: &str,
    role: Option<&str>,
    ids: &[KickId],
) -> Result<Vec<Kick>, Error> {
    let mut reading = JoinSet::new();
    for id in ids {
        let (store, app, stage, id) = (store.clone(), app.to_owned(), stage.to_owned(), id.clone());
        let role = role.map(str::to_owned);
        reading.spawn(async move { read_of(&store, &app, &stage, &id, role.as_deref()).await });
    }
    let mut found: Vec<Kick> = Vec::new();
    while let Some(kick) = reading.join_next().await {
        let kick = kick.map_err(|source| Error::Task { source })??;
        found.extend(kick);
    }
    found.sort_by(|a, b| b.started.kick.cmp(&a.started.kick));
    Ok(found)
}

/// The ids of a stage's kicks, newest first.
///
/// # Errors
/// The store's.
pub async fn ids(store: &Store, app: &str, stage: &str) -> Result<Vec<KickId>, Error> {
    let names = store.list_children(&kicks_prefix(app, stage)?).await?;
    let mut ids: Vec<KickId> = names.iter().filter_map(|name| KickId::parse(name).ok()).collect();
    ids.sort();
    ids.reverse();
    Ok(ids)
}

/// One kick; nothing when there is none of that id, or it cannot be read, which is told to the store's events.
///
/// # Errors
/// The store's.
pub async fn read(store: &Store, app: &str, stage: &str, id: &KickId) -> Result<Option<Kick>, Error> {
    read_of(store, app, stage, id, None).await
}

/// As [`read`], nothing for a kick of another role.
async fn read_of(
    store: &Store,
    app: &str,
    stage: &str,
    id: &KickId,
    role: Option<&str>,
) -> Result<Option<Kick>, Error> {
    let started = get::<Started>(store, app, stage, id, STARTED).await?;
    let Some(started) = started.filter(|started| role.is_none_or(|role| started.role == role)) else {
        return Ok(None);
    };
    let names = (&started.kick, started.app.as_str(), started.stage.as_str());
    if names != (id, app, stage) {
        let (kick, app, stage) = names;
        let why = format!("it names the kick {kick} of {app} in {stage}");
        tell(store, &kick_key(app, stage, id.as_str(), STARTED)?, why);
        return Ok(None);
    }
    let ended = get::<Ended>(store, app, stage, id, ENDED).await?;
    Ok(Some(Kick {
        started,
        ended: ended.filter(|ended| ended.kick == *id),
    }))
}

async fn put<T: serde::Serialize>(
    store: &Store,
    app: &str,
    stage: &str,
    id: &KickId,
    file: &str,
    document: &T,
) -> Result<(), Error> {
    let key = kick_key(app, stage, id.as_str(), file)?;
    let mut bytes = serde_json::to_vec_pretty(document).map_err(|error| Error::Corrupt {
        url: store.url_of(&key),
        why: error.to_string(),
    })?;
    bytes.push(b'\n');
    let options = PutOptions {
        content_type: Some("application/json".to_owned()),
        sha256: None,
    };
    store
        .put_if_absent(&key, Bytes::from(bytes).into(), &options)
        .await
        .map(drop)
}

async fn get<T: DeserializeOwned>(
    store: &Store,
    app: &str,
    stage: &str,
    id: &KickId,
    file: &str,
) -> Result<Option<T>, Error> {
    let key = kick_key(app, stage, id.as_str(), file)?;
    match store.get_bytes(&key, LARGEST).await {
        Ok(content) => match parse(&content.bytes) {
            Ok(document) => Ok(Some(document)),
            Err(why) => {
                tell(store, &key, why);
                Ok(None)
            }
        },
        Err(Error::NotFound { .. }) => Ok(None),
        Err(Error::Corrupt { why, .. }) => {
            tell(store, &key, why);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    /// What is looked at first, for a newer version may have other fields.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let no_json = |error: serde_json::Error| format!("it is not a kick's JSON: {error}");
    let Versioned { version } = serde_json::from_slice(bytes).map_err(no_json)?;
    if version > KICK_VERSION {
        return Err(format!(
            "it has version {version}, and this shipit knows versions up to {KICK_VERSION}"
        ));
    }
    serde_json::from_slice(bytes).map_err(no_json)
}

fn tell(store: &Store, key: &str, why: String) {
    store.on_event().emit(Event::KickUnreadable {
        url: store.url_of(key),
        why,
    });
}
