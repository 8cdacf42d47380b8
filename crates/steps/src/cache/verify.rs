//! The full check: every byte of every entry against its digests, and what the frames hold against the index.

use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use shipit_artifact::{Index, Sha256Reader, WholeCheck, sha256, with_causes};

use super::entry;
use super::error::CacheError;
use super::meta::{FRAMES, INDEX, LayerMeta};
use super::{LayerCache, Taken};
use crate::event::{Event, OnEvent};

/// What a full check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// How many entries were checked.
    pub checked: u64,
    /// How many bytes of frames were read.
    pub bytes: u64,
    /// What is damaged, by key.
    pub damaged: Vec<DamagedEntry>,
}

/// A damaged entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamagedEntry {
    /// Its layer's key.
    pub key: String,
    /// The app that it was built for, when that can be read.
    pub app: Option<String>,
    /// Its step, when that can be read.
    pub step: Option<String>,
    /// What is wrong with it.
    pub why: String,
    /// Whether it was removed: otherwise a build uses it, or nothing can be written.
    pub removed: bool,
}

/// Is told how many bytes are about to be read, and says when to end.
type GoOn<'a> = &'a (dyn Fn(u64) -> Result<(), CacheError> + Sync);

impl LayerCache {
    /// Reads every entry whole, by `jobs` threads, and checks each frame and what it holds, all frames together, the
    /// index and the meta data.
    /// What is damaged is removed, unless a build holds it. `on_event` is called from any of the threads.
    ///
    /// # Errors
    /// When the cache cannot be read, and [`CacheError::Cancelled`].
    pub fn verify(
        &self,
        jobs: NonZeroUsize,
        cancel: &AtomicBool,
        on_event: OnEvent<'_>,
    ) -> Result<Verified, CacheError> {
        let mut entries = self.entries()?;
        entries.sort();
        let next = AtomicUsize::new(0);
        let read = AtomicU64::new(0);
        let verified = Mutex::new(Ok(Verified::default()));
        let go_on = |bytes: u64| {
            let bytes = read.fetch_add(bytes, Ordering::Relaxed) + bytes;
            on_event(Event::LayersChecked { bytes });
            if cancel.load(Ordering::Relaxed) {
                return Err(CacheError::Cancelled);
            }
            Ok(())
        };
        let work = || {
            while let Some((key, dir)) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
                let checked = self.verify_one(key, dir, &go_on);
                let Ok(mut verified) = verified.lock() else { return };
                let Ok(sum) = verified.as_mut() else { return };
                match checked {
                    Ok(one) => {
                        sum.checked += one.checked;
                        sum.bytes += one.bytes;
                        sum.damaged.extend(one.damaged);
                    }
                    Err(error) => *verified = Err(error),
                }
            }
        };
        std::thread::scope(|scope| {
            let threads = jobs.get().min(entries.len());
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        let verified = verified.into_inner().unwrap_or_else(PoisonError::into_inner);
        verified.map(|mut verified| {
            verified.damaged.sort_by(|one, other| one.key.cmp(&other.key));
            verified
        })
    }

    fn verify_one(&self, key: &str, dir: &Path, go_on: GoOn<'_>) -> Result<Verified, CacheError> {
        // Pruned meanwhile.
        let Some(handle) = entry::hold(dir)? else {
            return Ok(Verified::default());
        };
        let mut verified = Verified {
            checked: 1,
            ..Verified::default()
        };
        let about = entry::read_meta(dir)?.ok().map(|meta| (meta.app, meta.step));
        let checked = match entry::check(dir, key)? {
            Ok(meta) => {
                verified.bytes = meta.sealed.size;
                check_whole(&meta, go_on)?
            }
            Err(why) => Err(why),
        };
        if let Err(why) = checked {
            let (app, step) = about.unzip();
            verified.damaged.push(DamagedEntry {
                key: key.to_owned(),
                app,
                step,
                // Where it cannot be removed, the next build that uses it says why.
                removed: self
                    .take_away_damaged(dir, &handle, &why)
                    .is_ok_and(|taken| taken != Taken::Held),
                why,
            });
        }
        Ok(verified)
    }
}

/// Reads the frames once, for the digest of each and of all, and for what they hold.
fn check_whole(meta: &LayerMeta, go_on: GoOn<'_>) -> Result<Result<(), String>, CacheError> {
    let index = match entry::read_index(meta)? {
        Ok(bytes) => match Index::parse(&bytes) {
            Ok(index) => index,
            Err(error) => return Ok(Err(format!("{INDEX} cannot be used: {error}"))),
        },
        Err(why) => return Ok(Err(why)),
    };
    if index.size() != meta.sealed.size {
        let why = format!("{INDEX} speaks of {} bytes of frames", index.size());
        return Ok(Err(why));
    }
    let path = &meta.sealed.frames;
    let failed = |error: io::Error| {
        if entry::is_damage(&error) || error.kind() == io::ErrorKind::UnexpectedEof {
            Ok(Err(format!("{FRAMES} cannot be read: {error}")))
        } else {
            Err(CacheError::io("read", path, error))
        }
    };
    let mut frames = match File::open(path) {
        Ok(file) => Sha256Reader::new(file),
        Err(error) => return failed(error),
    };
    let mut whole = WholeCheck::new(&index);
    let mut buffer = Vec::new();
    for (number, frame) in index.frames().iter().enumerate() {
        go_on(u64::from(frame.size))?;
        buffer.resize(frame.size as usize, 0);
        if let Err(error) = frames.read_exact(&mut buffer) {
            return failed(error);
        }
        if sha256(&buffer) != frame.sha256 {
            return Ok(Err(format!(
                "frame {number} does not have the digest that {INDEX} says"
            )));
        }
        if let Err(error) = whole.frame(&buffer) {
            return Ok(Err(with_causes(&error)));
        }
    }
    if let Err(error) = whole.finish() {
        return Ok(Err(with_causes(&error)));
    }
    let (_, digest, _) = frames.finish();
    Ok(if digest.to_string() == meta.sealed.sha256 {
        Ok(())
    } else {
        Err(format!(
            "{FRAMES} does not have the digest that its meta data say"
        ))
    })
}
