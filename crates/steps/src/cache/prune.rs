//! What the cache holds, and keeping it within bounds.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::aside::{sweep, unswept};
use super::entry;
use super::error::CacheError;
use super::lock;
use super::meta::{LayerMeta, LayerTree};
use super::{LayerCache, MaxAge, Taken};

/// What the cache may hold. Without either bound only leftovers and what cannot be used are removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// How many bytes all layers may have together.
    pub max_size: Option<u64>,
    /// How long ago a layer may have been made.
    pub max_age: Option<Duration>,
}

/// One entry, as far as its meta data tell.
#[derive(Debug, Clone, Serialize)]
pub struct CacheEntry {
    /// Its layer's key.
    pub key: String,
    /// Its bytes on the disk.
    pub size: u64,
    /// When it was used last, in unix seconds.
    pub used: i64,
    /// Whether a build uses it now.
    pub in_use: bool,
    /// What it holds; `None` when that cannot be read.
    pub layer: Option<CacheEntryLayer>,
    /// What is wrong with it, as far as its meta data tell, or as a build saw.
    pub damage: Option<String>,
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheEntryLayer {
    /// The app that it was built for.
    pub app: String,
    /// The step that vendored it.
    pub step: String,
    /// Which of the step's trees it holds.
    pub tree: LayerTree,
    /// When its step ran, in unix seconds.
    pub made: i64,
    /// How many packages it holds, where that is known.
    pub packages: Option<u64>,
    /// How many files, directories and links it holds.
    pub entries: u64,
    /// Its bytes as a tar stream.
    pub unpacked_size: u64,
}

/// How large the cache is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CacheSize {
    /// How many layers it holds.
    pub layers: u64,
    /// Their bytes on the disk.
    pub size: u64,
    /// How many leftovers of killed builds there are.
    pub leftovers: u64,
    /// Their bytes on the disk.
    pub leftovers_size: u64,
}

/// What a prune did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Pruned {
    /// What was removed, in this order.
    pub removed: Vec<PrunedEntry>,
    /// The bytes that this freed, leftovers included.
    pub freed: u64,
    /// How many leftovers of killed builds were removed.
    pub leftovers: u64,
    /// How many layers are left.
    pub layers: u64,
    /// Their bytes on the disk.
    pub size: u64,
    /// How many of them should have gone, but are in use.
    pub in_use: u64,
}

/// One removed entry.
#[derive(Debug, Clone, Serialize)]
pub struct PrunedEntry {
    /// Why it was removed.
    pub why: Why,
    /// What it was.
    #[serde(flatten)]
    pub entry: CacheEntry,
}

/// Why an entry was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It cannot be used.
    Damaged,
    /// It was made too long ago.
    Age,
    /// The cache was too large, and of what it held this was not used for longest.
    Size,
}

/// An entry, and what is needed to judge it.
struct Looked {
    dir: PathBuf,
    used: SystemTime,
    entry: CacheEntry,
}

impl LayerCache {
    /// Every entry, what was used last first.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn list(&self) -> Result<Vec<CacheEntry>, CacheError> {
        let mut looked = self.look()?;
        looked.reverse();
        Ok(looked.into_iter().map(|looked| looked.entry).collect())
    }

    /// What the entry of a key holds, as far as its meta data tell; `None` when there is none that can be read. It does not
    /// count as a use.
    #[must_use]
    pub fn about(&self, key: &str) -> Option<CacheEntryLayer> {
        let about = entry::about(&self.entry(key).ok()?).ok()?.ok()?;
        (about.key == key).then_some(about.layer)
    }

    /// How large it is.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn size(&self) -> Result<CacheSize, CacheError> {
        let entries = self.entries()?;
        let left = unswept(&self.asides());
        Ok(CacheSize {
            layers: entries.len() as u64,
            size: entries.iter().map(|(_, dir)| size_of(dir)).sum(),
            leftovers: left.count,
            leftovers_size: left.bytes,
        })
    }

    /// Removes what cannot be used, what was made too long ago, and then what was not used for longest until the rest fits.
    /// What a build holds is never removed. `now` is in unix seconds.
    ///
    /// # Errors
    /// When the cache cannot be read, or something of it cannot be removed.
    pub fn prune(&self, bounds: Bounds, now: i64) -> Result<Pruned, CacheError> {
        let swept = sweep(&self.asides());
        sweep(&self.turns());
        let mut pruned = Pruned {
            leftovers: swept.count,
            freed: swept.bytes,
            ..Pruned::default()
        };
        let age = MaxAge {
            limit: bounds.max_age,
            now,
        };
        let mut left = Vec::new();
        for looked in self.look()? {
            let entry = &looked.entry;
            let why = match &entry.layer {
                Some(layer) if entry.damage.is_none() => age.exceeded_by(layer.made).map(|_| Why::Age),
                _ => Some(Why::Damaged),
            };
            match why {
                Some(why) => self.remove(looked, why, &mut pruned, &mut left)?,
                None => left.push((looked, true)),
            }
        }
        let mut size: u64 = left.iter().map(|(looked, _)| looked.entry.size).sum();
        let mut kept = Vec::new();
        for (looked, may_go) in left {
            let own = looked.entry.size;
            if may_go && bounds.max_size.is_some_and(|most| size > most) {
                let before = kept.len();
                self.remove(looked, Why::Size, &mut pruned, &mut kept)?;
                if kept.len() == before {
                    size -= own;
                }
            } else {
                kept.push((looked, may_go));
            }
        }
        pruned.layers = kept.len() as u64;
        pruned.size = size;
        Ok(pruned)
    }

    /// Removes one, or puts it to those that are left, not to be tried again.
    fn remove(
        &self,
        looked: Looked,
        why: Why,
        pruned: &mut Pruned,
        left: &mut Vec<(Looked, bool)>,
    ) -> Result<(), CacheError> {
        // Opened now: it may be another entry than the one that was looked at, which somebody has just made.
        let handle = match fs::File::open(&looked.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|source| CacheError::io("open", &looked.dir, source))?,
        };
        if entry::used(&looked.dir) != looked.used {
            left.push((looked, false));
            return Ok(());
        }
        match self.take_away(&looked.dir, &handle)? {
            Taken::Away => {
                pruned.freed += looked.entry.size;
                pruned.removed.push(PrunedEntry {
                    why,
                    entry: looked.entry,
                });
            }
            Taken::Gone => {}
            Taken::Held => {
                pruned.in_use += 1;
                left.push((looked, false));
            }
        }
        Ok(())
    }

    /// Every entry, what was not used for longest first; at equal times by key.
    fn look(&self) -> Result<Vec<Looked>, CacheError> {
        let mut all = Vec::new();
        for (key, dir) in self.entries()? {
            let used = entry::used(&dir);
            let (layer, damage) = match entry::about(&dir)? {
                Ok(about) if about.key == key => (Some(about.layer), entry::marked(&dir)),
                Ok(about) => (None, Some(format!("it is of the key {}", about.key))),
                Err(why) => (None, Some(why)),
            };
            if layer.is_none() && !dir.exists() {
                // It went while it was looked at.
                continue;
            }
            let entry = CacheEntry {
                size: size_of(&dir),
                used: entry::seconds(used),
                in_use: in_use(&dir),
                key,
                layer,
                damage,
            };
            all.push(Looked { dir, used, entry });
        }
        all.sort_by(|one, other| (one.used, &one.entry.key).cmp(&(other.used, &other.entry.key)));
        Ok(all)
    }
}

impl CacheEntryLayer {
    pub(super) fn of(meta: &LayerMeta) -> Self {
        Self {
            app: meta.app.clone(),
            step: meta.step.clone(),
            tree: meta.tree,
            made: meta.made,
            packages: meta.packages,
            entries: meta.sealed.entries,
            unpacked_size: meta.sealed.unpacked_size,
        }
    }
}

/// Whether somebody holds it now.
fn in_use(dir: &Path) -> bool {
    fs::File::open(dir).is_ok_and(|handle| lock::try_alone(&handle).is_ok_and(|alone| !alone))
}

/// The bytes of an entry's files.
fn size_of(dir: &Path) -> u64 {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|file| file.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}
