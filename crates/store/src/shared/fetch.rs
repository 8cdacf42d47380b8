//! Fetching a shared layer into a local directory, and refusing what is not what it says.

use std::collections::HashSet;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use shipit_artifact::{
    Compression, EntryPath, Index, LayerKind, SealedLayer, WholeCheck, hex, sha256, with_causes,
};
use tempfile::NamedTempFile;
use tokio::task::JoinSet;

use super::{LARGEST_ABOUT, LARGEST_INDEX, SharedLayer};
use crate::{Error, ErrorKind, Event, RetryPolicy, Store, layout};

/// What one request asks for.
const PIECE: u64 = 8 << 20;

/// Which layer is fetched, and to where.
#[derive(Clone, Copy, Debug)]
pub struct FetchLayer<'a> {
    /// From where.
    pub store: &'a Store,
    /// The app.
    pub app: &'a str,
    /// The layer key.
    pub key: &'a str,
    /// The name of the step whose layer it is.
    pub name: &'a str,
    /// How its frames have to be compressed.
    pub compression: Compression,
    /// At which level they are, by the key. That is looked at in a few of them, for they are taken over into other layers.
    pub level: i32,
    /// Where all of its entries have to lie, at or beneath one of these: what the step vendors. An index that names any other
    /// path lies.
    pub paths: &'a [EntryPath],
    /// In unix seconds: a layer whose step ran before that is too old.
    pub made_since: i64,
    /// The directory that its files are written into, whole or not at all.
    pub dir: &'a Path,
    /// Requests at once.
    pub jobs: NonZeroUsize,
}

/// A layer that was fetched and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedLayer {
    /// Its files, as a local build would have sealed them.
    pub sealed: SealedLayer,
    /// How many packages it holds, where the builder could tell.
    pub packages: Option<u64>,
    /// When its step ran, in unix seconds, as its builder says.
    pub made: i64,
    /// Bytes that were received.
    pub received: u64,
}

/// Why a layer is not to be had.
enum Refused {
    /// It is not what it should be.
    Lies(String),
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Corrupt => Self::Lies(crate::retry::reason(&error)),
            _ => Self::Failed(error),
        }
    }
}

/// Fetches a shared layer: `<sha256>.frames` and `<index sha256>.index` in the directory. Nothing when the store has none, or
/// has one that is too old ([`Event::LayerTooOld`]) or lies, which [`Event::LayerRefused`] says. A store that cannot be read is an error; who builds can
/// do without, as when there is none. Dropping the future cancels it and leaves no file.
pub async fn fetch(request: FetchLayer<'_>) -> Result<Option<FetchedLayer>, Error> {
    let about_key = layout::shared_layer_key(request.app, request.key)?;
    let about = match request.store.get_bytes(&about_key, LARGEST_ABOUT).await {
        Ok(content) => SharedLayer::parse(&content.bytes, request.key).map_err(Refused::Lies),
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => Err(error.into()),
    };
    let fetched = match about {
        Ok(about) if about.made < request.made_since => {
            request.store.on_event().emit(Event::LayerTooOld {
                layer: request.name.to_owned(),
                key: request.key.to_owned(),
                made: about.made,
            });
            return Ok(None);
        }
        Ok(about) => get(&request, about).await,
        Err(refused) => Err(refused),
    };
    match fetched {
        Ok(fetched) => {
            request.store.on_event().emit(Event::LayerFetched {
                layer: request.name.to_owned(),
                key: request.key.to_owned(),
                bytes: fetched.sealed.size,
            });
            Ok(Some(fetched))
        }
        Err(Refused::Failed(error)) => Err(error),
        Err(Refused::Lies(why)) => {
            let url = request.store.url_of(&about_key);
            request.store.on_event().emit(Event::LayerRefused { url, why });
            Ok(None)
        }
    }
}

async fn get(request: &FetchLayer<'_>, about: SharedLayer) -> Result<FetchedLayer, Refused> {
    let (stored, index) = index(request, &about).await?;
    let frames_key = layout::shared_frames_key(request.app, request.key, &about.sha256)?;
    let meta = request.store.head(&frames_key).await?;
    match meta {
        Some(meta) if meta.size == about.size => {}
        Some(meta) => {
            let why = format!(
                "its frames have {} bytes, its layer.json says {}",
                meta.size, about.size
            );
            return Err(Refused::Lies(why));
        }
        None => return Err(Refused::Lies("its frames are missing".to_owned())),
    }
    let failed = |source| Error::io("write a file in", request.dir, source);
    let file = NamedTempFile::new_in(request.dir).map_err(failed)?;
    let file = download(request, &frames_key, about.size, file).await?;
    let Checked { about, paths, level } = check_frames(about, index, request, &file).await?;
    let size = stored.len() as u64 + about.size;
    let (frames, index) = place(request.dir, &about, file, stored).await?;
    Ok(FetchedLayer {
        sealed: SealedLayer {
            name: request.name.to_owned(),
            kind: LayerKind::Dependencies,
            key: Some(request.key.to_owned()),
            compression: about.compression,
            level,
            frames,
            index,
            index_sha256: about.index_sha256,
            sha256: about.sha256,
            size: about.size,
            entries: about.entries,
            unpacked_size: about.unpacked_size,
            paths_claimed: paths,
        },
        packages: about.packages,
        made: about.made,
        received: size,
    })
}

/// The index's stored bytes, and what they say, checked against layer.json.
async fn index(request: &FetchLayer<'_>, about: &SharedLayer) -> Result<(bytes::Bytes, Index), Refused> {
    let lies = |why: String| Err(Refused::Lies(why));
    let key = layout::index_key(request.app, &about.index_sha256)?;
    let stored = match request.store.get_bytes(&key, LARGEST_INDEX).await {
        Ok(content) => content.bytes,
        Err(Error::NotFound { .. }) => return lies("its index is missing".to_owned()),
        Err(error) => return Err(error.into()),
    };
    if sha256(&stored).to_string() != about.index_sha256 {
        return lies("its index does not have the digest that its layer.json says".to_owned());
    }
    let index = match Index::parse(&stored) {
        Ok(index) => index,
        Err(error) => return lies(format!("its index cannot be read: {error}")),
    };
    let says = (index.size(), index.unpacked_size(), index.entries().len() as u64);
    let bound = (about.size, about.unpacked_size, about.entries);
    let kinds = (index.kind(), index.compression(), about.compression);
    if says != bound || kinds != (LayerKind::Dependencies, request.compression, request.compression) {
        return lies("its index is that of another layer".to_owned());
    }
    Ok((stored, index))
}

/// Fills the file with the object's bytes, several requests at once.
async fn download(
    request: &FetchLayer<'_>,
    key: &str,
    size: u64,
    file: NamedTempFile,
) -> Result<NamedTempFile, Error> {
    let file = Arc::new(file);
    let received = Arc::new(AtomicU64::new(0));
    let mut running = JoinSet::new();
    let mut start = 0;
    while start < size || !running.is_empty() {
        if start < size && running.len() < request.jobs.get() {
            let piece = PieceOf {
                store: request.store.clone(),
                key: key.to_owned(),
                range: start..size.min(start + PIECE),
                total: size,
                file: Arc::clone(&file),
                received: Arc::clone(&received),
            };
            start = piece.range.end;
            running.spawn(piece.get());
        } else if let Some(done) = running.join_next().await {
            done.map_err(|source| Error::Task { source })??;
        }
    }
    Arc::into_inner(file).ok_or_else(|| {
        let lost = std::io::Error::other("the file is still in use");
        Error::io("write a file in", request.dir, lost)
    })
}

struct PieceOf {
    store: Store,
    key: String,
    range: std::ops::Range<u64>,
    total: u64,
    file: Arc<NamedTempFile>,
    received: Arc<AtomicU64>,
}

impl PieceOf {
    /// Reads on where the connection was cut.
    async fn get(mut self) -> Result<(), Error> {
        let policy = RetryPolicy::default();
        let mut attempt = 1;
        loop {
            match self.read().await {
                Err(error) if error.is_passing() && attempt < policy.attempts => {
                    let wait = policy.wait(attempt);
                    self.store.on_event().emit(Event::Retry {
                        doing: format!("reading {}", self.store.url_of(&self.key)),
                        attempt,
                        attempts: policy.attempts,
                        wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                        reason: crate::retry::cause(&error),
                    });
                    tokio::time::sleep(wait).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn read(&mut self) -> Result<(), Error> {
        let mut download = self.store.get(&self.key, Some(self.range.clone())).await?;
        while let Some(bytes) = download.chunk().await? {
            let written = self.file.as_file().write_all_at(&bytes, self.range.start);
            written.map_err(|source| Error::io("write", self.file.path(), source))?;
            let count = bytes.len() as u64;
            self.range.start += count;
            self.store.on_event().emit(Event::Fetching {
                key: self.key.clone(),
                received: self.received.fetch_add(count, Ordering::Relaxed) + count,
                total: self.total,
            });
        }
        if self.range.is_empty() {
            return Ok(());
        }
        Err(Error::Corrupt {
            url: self.store.url_of(&self.key),
            why: format!("it ends before byte {}", self.range.end),
        })
    }
}

/// A layer whose frames and paths are what its index says.
struct Checked {
    about: SharedLayer,
    paths: Vec<EntryPath>,
    /// The level that was asked for, when its frames are what packing at it gives here.
    level: Option<i32>,
}

/// Compares the frames' digests, each and all, what they hold, and the paths. Gives the topmost of these. An index and frames
/// that agree in digests alone would be unpacked as one thing by tar, and as another by the index.
async fn check_frames(
    about: SharedLayer,
    index: Index,
    request: &FetchLayer<'_>,
    file: &NamedTempFile,
) -> Result<Checked, Refused> {
    let path = file.path().to_owned();
    let reading = file.as_file().try_clone();
    let reading = reading.map_err(|source| Error::io("read", &path, source))?;
    let (allowed, level) = (request.paths.to_vec(), request.level);
    let checked = tokio::task::spawn_blocking(move || {
        let paths = claimed(&index, &allowed).map_err(Refused::Lies)?;
        let alike = check_digests(&about, &index, level, &reading)
            .map_err(|source| Error::io("read", path, source))?
            .map_err(Refused::Lies)?;
        let level = alike.then_some(level);
        Ok(Checked { about, paths, level })
    });
    checked.await.map_err(|source| Error::Task { source })?
}

/// Whether the frames are of the level; what is wrong with them in the inner error.
fn check_digests(
    about: &SharedLayer,
    index: &Index,
    level: i32,
    file: &File,
) -> std::io::Result<Result<bool, String>> {
    let mut whole = Sha256::new();
    let mut check = WholeCheck::with_level(index, level);
    let mut stored = Vec::new();
    for (number, frame) in index.frames().iter().enumerate() {
        stored.resize(frame.size as usize, 0);
        file.read_exact_at(&mut stored, frame.offset)?;
        if sha256(&stored) != frame.sha256 {
            return Ok(Err(format!(
                "its frame {number} does not have the digest that its index says"
            )));
        }
        if let Err(error) = check.frame(&stored) {
            return Ok(Err(with_causes(&error)));
        }
        whole.update(&stored);
    }
    let alike = check.is_of_level();
    if let Err(error) = check.finish() {
        return Ok(Err(with_causes(&error)));
    }
    if hex(&whole.finalize()) != about.sha256 {
        return Ok(Err(
            "its frames do not have the digest that its layer.json says".to_owned()
        ));
    }
    Ok(Ok(alike))
}

/// The topmost paths of a layer, all of which have to lie where its step vendors.
fn claimed(index: &Index, allowed: &[EntryPath]) -> Result<Vec<EntryPath>, String> {
    let mut topmost: Vec<EntryPath> = Vec::new();
    let mut claimed = HashSet::new();
    for entry in index.entries() {
        let path = &entry.path;
        if !allowed.iter().any(|base| path.starts_with(base)) {
            return Err(format!("its index names {path}, which its step does not vendor"));
        }
        if !is_below(path, &claimed) {
            claimed.insert(path.clone());
            topmost.push(path.clone());
        }
    }
    Ok(topmost)
}

fn is_below(path: &EntryPath, claimed: &HashSet<EntryPath>) -> bool {
    let mut above = path.parent();
    while let Some(parent) = above {
        if claimed.contains(&parent) {
            return true;
        }
        above = parent.parent();
    }
    false
}

/// Gives the files their names.
async fn place(
    dir: &Path,
    about: &SharedLayer,
    frames: NamedTempFile,
    stored: bytes::Bytes,
) -> Result<(PathBuf, PathBuf), Error> {
    let frames_path = dir.join(format!("{}.frames", about.sha256));
    let index_path = dir.join(format!("{}.index", about.index_sha256));
    let (dir, to) = (dir.to_owned(), (frames_path.clone(), index_path.clone()));
    let placed = tokio::task::spawn_blocking(move || {
        use std::io::Write as _;
        let failed = |source| Error::io("write a file in", &dir, source);
        let mut index = NamedTempFile::new_in(&dir).map_err(failed)?;
        index.write_all(&stored).map_err(failed)?;
        for (file, path) in [(index, &to.1), (frames, &to.0)] {
            let file = readable(file).map_err(failed)?;
            file.persist(path).map_err(|error| failed(error.error))?;
        }
        Ok::<_, Error>(())
    });
    placed.await.map_err(|source| Error::Task { source })??;
    Ok((frames_path, index_path))
}

/// On disk, and no more secret than what a local build seals.
fn readable(file: NamedTempFile) -> std::io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    Ok(file)
}
