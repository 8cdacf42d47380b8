//! Looking into the cache of this machine, and putting what is found there into the workspace.

use std::path::Path;

use shipit_steps::{CacheErrorKind, CachedLayer, Found, LayerCache, LayerKey, MaxAge};

use super::cached::Cache;
use super::keys::full_key;
use super::layers::Layer;
use super::pack::Packer;
use crate::errors::{Result, chain};

/// What became of putting a layer into the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It is there.
    Whole,
    /// It is not to be had, though its packed files are.
    Missing,
    /// It is damaged, and with it the packed files.
    PackedDamaged,
}

/// What a look into the cache gave.
pub(super) enum Looked {
    Hit(Box<CachedLayer>),
    /// Nothing, and why, when something was there.
    Miss(Option<String>),
}

impl Cache<'_> {
    /// Puts the tree that later steps see below `root`.
    pub fn place(&self, layer: &Layer<'_>, root: &Path, packer: &Packer<'_>) -> Result<Placed> {
        let Some(local) = &self.local else {
            return Ok(Placed::Missing);
        };
        let full = full_key(&layer.keys, packer);
        let key = full.as_ref().unwrap_or(&layer.keys.packed);
        let Looked::Hit(found) = self.look(local, key, &layer.spec.name)? else {
            return Ok(Placed::Missing);
        };
        let dest = match packer.root() {
            Some(base) if full.is_none() => root.join(base.as_path()),
            _ => root.to_owned(),
        };
        crate::state::create_directory(&dest)?;
        let meter = self
            .context
            .output
            .meter(format!("putting {} into the workspace", layer.spec.name), None);
        let all = found.meta.sealed.entries;
        let on_event = |event| {
            if let shipit_artifact::Event::UnpackProgress { bytes, entries } = event {
                meter.label(format!(
                    "putting {} into the workspace, {entries} of {all} entries",
                    layer.spec.name
                ));
                meter.set(bytes, None);
            }
        };
        let flag = self.context.interrupt.flag();
        match found.place(&dest, self.context.jobs(), flag, &on_event) {
            Ok(_) => Ok(Placed::Whole),
            Err(error) if error.kind() == CacheErrorKind::Damaged => {
                self.say_unusable(&layer.spec.name, &chain(&error));
                found.discard()?;
                Ok(if full.is_none() {
                    Placed::PackedDamaged
                } else {
                    Placed::Missing
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn look(&self, local: &LayerCache, key: &LayerKey, step: &str) -> Result<Looked> {
        let age = MaxAge {
            limit: Some(self.config.cache.max_age.get()),
            now: self.now,
        };
        match local.find(key, age) {
            Ok(Found::Hit(found)) => Ok(Looked::Hit(found)),
            Ok(Found::Miss) => Ok(Looked::Miss(None)),
            Ok(Found::Removed { why, damaged }) => {
                let message = unusable(step, &why);
                if damaged {
                    self.context.output.warn(message);
                } else {
                    self.context.output.say(message);
                }
                Ok(Looked::Miss(Some(why)))
            }
            Err(error) if error.kind() == CacheErrorKind::Cancelled => Err(error.into()),
            Err(error) => {
                let why = chain(&error);
                self.say_unusable(step, &why);
                Ok(Looked::Miss(Some(why)))
            }
        }
    }

    pub(super) fn say_unusable(&self, step: &str, why: &str) {
        self.context.output.warn(unusable(step, why));
    }
}

fn unusable(step: &str, why: &str) -> String {
    format!("{step}: the cached layer is not used: {why}")
}
