//! The last part before `pre`: what was fetched is extracted, layers get their places, and the release's tree is put together.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use super::fetch::Fetched;
use super::lack::Lack;
use super::layer::{self, Held};
use super::places::write_whole;
use super::write_out::Writing;
use super::{Difference, Gathered, Means, Ready, assemble};
use crate::error::Error;

impl Difference {
    /// Makes the layers whole and puts the tree together.
    pub(crate) fn finish(
        &self,
        mut gathered: Gathered,
        fetched: &Fetched,
        means: &Means<'_>,
    ) -> Result<Ready, Lack> {
        let setting = self.setting(means, gathered.reflink);
        let writing = gathered.writing.take();
        let bound = &gathered.bound;
        let tree = self.places.tree();
        let mut entries = 0;
        for (number, held) in bound.layers.iter().enumerate() {
            let layer = match held {
                Held::Linked(layer, tops) => {
                    layer::keep_index(layer, &setting)?;
                    layer::mark(layer, &setting)?;
                    assemble::link_to(layer, tops, &tree)?;
                    entries += layer.row.entries;
                    continue;
                }
                Held::Making(layer, wanted) => {
                    let files = layer::making(layer, &setting).join("files");
                    layer::fill(number, layer, wanted, fetched, &files, &setting)?;
                    layer::put_in_place(layer, &setting)?;
                    layer
                }
                Held::There(layer) => {
                    layer::keep_index(&layer.stored, &setting)?;
                    layer
                }
            };
            // Before the first file of it is used.
            layer::mark(&layer.stored, &setting)?;
            let kept = assemble::kept(&layer.index, &self.filter);
            entries += kept.len() as u64;
            if layer.stored.is_code() {
                // The last layer: what it says of directories stands at the end.
                layer::fill(number, layer, &gathered.code, fetched, &tree, &setting)?;
            } else {
                assemble::place(layer, self.link, &self.filter, &tree, &setting)?;
            }
        }
        fs::set_permissions(&tree, fs::Permissions::from_mode(self.dest_mode))
            .map_err(|error| Error::disk("setting the mode of", &tree, error))?;
        let ready = Ready {
            artifact_bytes: bound.record.size,
            total_bytes: bound.total,
            fetched_bytes: bound.fetched + fetched.bytes,
            layers_new: gathered.layers_new,
            layers: bound.layers.len(),
            entries,
            record_bytes: bound.record_bytes.clone(),
        };
        writing.map_or(Ok(()), Writing::wait)?;
        // To let go of a large index takes milliseconds, for which the switch need not wait; without a thread it does.
        drop(thread::Builder::new().spawn(move || drop(gathered)));
        Ok(ready)
    }

    /// Renames the tree to where the manifest's `post` takes it from, and keeps the record.
    pub(crate) fn bring(&self, ready: &Ready, dest: &Path) -> Result<(), Error> {
        crate::stage::remove_tree(dest).map_err(|error| Error::disk("removing", dest, error))?;
        let above = dest.parent().unwrap_or(dest);
        fs::create_dir_all(above).map_err(|error| Error::disk("making the directory", above, error))?;
        let release = &self.places.release;
        if !self.excludes.is_empty() {
            write_whole(
                &self.places.excludes(release),
                self.excludes.join("\0").as_bytes(),
            )?;
        }
        write_whole(&self.places.record(release), &ready.record_bytes)?;
        fs::rename(self.places.tree(), dest).map_err(|error| Error::disk("renaming the tree to", dest, error))
    }
}
