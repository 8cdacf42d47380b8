//! How a layer stands on the host: untouched in its place, damaged, or not there.

use std::path::{Path, PathBuf};

use shipit_artifact::{Compression, EntryPath, RowKind};
use shipit_manifest::Link;

use super::assemble::is_linked;
use super::bound::StoredLayer;
use super::check::rows;
use super::gate::Gate;
use super::hand::is_at_or_below;
use super::lack::Lack;
use super::layer::{Held, Wanted};
use super::lookers::{Lookers, damaged};
use super::places::is_real_dir;
use super::{Difference, Means};
use crate::event::Event;
use crate::log::Recorder;

/// How a layer stands that may be linked as a whole.
enum Whole {
    /// Untouched, and all of it below these directories.
    Below(Vec<EntryPath>),
    /// Untouched.
    Untouched,
    /// Not as it was put there.
    Damaged,
}

impl Difference {
    /// How the layer stands; a damaged one is said. Of one that has to be made nothing is taken yet. What is busy beside it opens
    /// the gate at its end.
    pub(crate) fn look(
        &self,
        layer: StoredLayer,
        compression: Compression,
        means: &Means<'_>,
        gate: &Gate,
    ) -> Result<Held, Lack> {
        let Some(files) = self.files_in_place(&layer) else {
            return Ok(Held::Making(layer.read(compression)?, Wanted::default()));
        };
        let seen = Seen {
            files: &files,
            lookers: Lookers {
                jobs: means.jobs,
                cancel: means.cancel,
                gate,
            },
            recorder: means.recorder,
        };
        let standing = if self.link == Link::Symlink && self.filter.is_empty() {
            Some(seen.whole(&layer, compression)?)
        } else {
            None
        };
        if let Some(Whole::Below(tops)) = standing {
            return Ok(Held::Linked(layer, tops));
        }
        let layer = layer.read(compression)?;
        let there = match standing {
            Some(standing) => matches!(standing, Whole::Untouched),
            None => {
                let linked = is_linked(self.link, &layer, &self.filter);
                let wrong = damaged(&files, rows(&layer.index), linked, &seen.lookers)?;
                seen.say(&layer.stored, wrong);
                wrong == 0
            }
        };
        Ok(if there {
            Held::There(layer)
        } else {
            Held::Making(layer, Wanted::default())
        })
    }

    /// Where a layer's files stand, when they do. What may be another app's is not looked at.
    fn files_in_place(&self, layer: &StoredLayer) -> Option<PathBuf> {
        let files = self.places.layer(&layer.row.index_sha256).join("files");
        (is_real_dir(&files) && self.places.are_ours()).then_some(files)
    }
}

/// A layer's files, and who looks at them.
struct Seen<'a> {
    files: &'a Path,
    lookers: Lookers<'a>,
    recorder: &'a Recorder,
}

impl Seen<'_> {
    /// A layer that may be linked as a whole, looked at without reading its index for more than that.
    fn whole(&self, layer: &StoredLayer, compression: Compression) -> Result<Whole, Lack> {
        let index = layer.unpack(compression)?;
        let (_, rows) = index.rows().map_err(|error| layer.wrong(error))?;
        let (mut tops, mut rest, mut bad): (Vec<&[u8]>, _, _) = (Vec::new(), false, None);
        let rows = rows.map_while(|row| match row {
            Ok(row) => {
                if !tops.iter().rev().any(|top| is_at_or_below(row.path, top)) {
                    tops.push(row.path);
                    rest |= row.kind != RowKind::Directory;
                }
                Some(row)
            }
            Err(error) => {
                bad = Some(error);
                None
            }
        });
        let wrong = damaged(self.files, rows, true, &self.lookers)?;
        if let Some(error) = bad {
            return Err(layer.wrong(error));
        }
        self.say(layer, wrong);
        if wrong > 0 {
            return Ok(Whole::Damaged);
        }
        let tops: Result<_, _> = tops.into_iter().map(EntryPath::new).collect();
        match tops {
            Ok(tops) if !rest => Ok(Whole::Below(tops)),
            _ => Ok(Whole::Untouched),
        }
    }

    fn say(&self, layer: &StoredLayer, wrong: usize) {
        if wrong > 0 {
            self.recorder.say(Event::LayerDamaged {
                layer: layer.row.name.clone(),
                path: self.files.to_owned(),
                entries: wrong as u64,
            });
        }
    }
}
