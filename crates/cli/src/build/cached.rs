//! Layers under their keys, for one build: found in the cache of this machine, else in the store; kept there when a step made
//! them. What cannot be had is said and costs time, never the build.

use std::path::Path;

use serde::Serialize;
use shipit_artifact::SealedLayer;
use shipit_steps::{
    Bounds, CacheErrorKind, CachedLayer, LayerCache, LayerKey, LayerMeta, LayerTree, StepKeys, Turn, Vendored,
};

use super::gone::Held;
use super::keys::{full_key, main_key, packs, short};
use super::layers::Layer;
use super::pack::{Packer, Sealing};
use super::placing::Looked;
use super::shared::{Fetched, Shared};
use crate::config::Settled;
use crate::context::Context;
use crate::errors::{CliError, Kind, Result, chain};
use crate::output::bytes;
use crate::report;

/// Where a layer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// Its step ran.
    Step,
    /// The cache of this machine.
    Cache,
    /// The store.
    Store,
}

/// The layers that a build finds and keeps.
pub struct Cache<'a> {
    pub(super) config: &'a Settled,
    pub(super) context: &'a Context,
    pub(super) local: Option<LayerCache>,
    // The directory of the local one.
    layers: Option<Held>,
    shared: Shared<'a>,
    pub(super) now: i64,
    // What this build uses must not be pruned before it ends.
    held: Vec<CachedLayer>,
    discarded: usize,
}

/// How many layers may turn out to be damaged while an artifact is assembled, each of which costs a build.
const MOST_DISCARDED: usize = 16;

/// The right to build a step's layer, one for each of its trees.
#[derive(Default)]
pub struct Turns {
    packed: Option<Turn>,
    full: Option<Turn>,
}

impl<'a> Cache<'a> {
    /// Opens the cache of this machine. Where it cannot be had, the build goes on without it.
    pub fn open(config: &'a Settled, context: &'a Context) -> Result<Self> {
        let dir = context.writable_cache()?.join("layers");
        let local = match LayerCache::open(&dir) {
            Ok(cache) => Some(cache),
            Err(error) if error.kind() == CacheErrorKind::Unusable => {
                context.output.warn(format!(
                    "{}; the build goes on without cached layers",
                    chain(&error)
                ));
                None
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Cache {
            config,
            context,
            layers: local.as_ref().and_then(|_| Held::open(&dir).ok()),
            local,
            shared: Shared::new(config, context),
            now: jiff::Timestamp::now().as_second(),
            held: Vec::new(),
            discarded: 0,
        })
    }

    /// For a build that looks for nothing and keeps nothing.
    pub fn none(config: &'a Settled, context: &'a Context) -> Self {
        Cache {
            config,
            context,
            local: None,
            layers: None,
            shared: Shared::off(config, context),
            now: 0,
            held: Vec::new(),
            discarded: 0,
        }
    }

    /// Where the layers were, if somebody removed them.
    pub fn removed(&self) -> Option<&Path> {
        self.layers
            .as_ref()
            .filter(|layers| layers.is_gone())
            .map(Held::path)
    }

    /// Takes the layer from the cache of this machine, if it is there.
    pub fn find(&mut self, layer: &mut Layer<'_>, packer: &Packer<'_>) -> Result<bool> {
        let Some(local) = &self.local else {
            return Ok(false);
        };
        let (key, tree) = main_key(&layer.keys, packer);
        let found = match self.look(local, &key, &layer.spec.name)? {
            Looked::Hit(found) => *found,
            Looked::Miss(why) => {
                layer.unusable = why;
                return Ok(false);
            }
        };
        self.say_hit(&layer.spec.name, &found, "cached");
        self.take(layer, found, tree, From::Cache);
        Ok(true)
    }

    /// Takes the layer from the store, if it is there; it is kept on this machine then.
    pub fn fetch(&mut self, layer: &mut Layer<'_>, turns: &mut Turns, packer: &Packer<'_>) -> Result<bool> {
        let Some(turn) = turns.packed.take() else {
            return Ok(false);
        };
        match self.shared.fetch(turn, layer, packer, self.now)? {
            Fetched::Kept(found) => {
                self.say_hit(&layer.spec.name, &found, "from the store");
                self.take(layer, *found, LayerTree::Packed, From::Store);
                Ok(true)
            }
            Fetched::Nothing(turn) => {
                turns.packed = Some(*turn);
                Ok(false)
            }
        }
    }

    /// The turns to make a step's layer; waits for other builds of it.
    pub fn turns(&self, keys: &StepKeys, packer: &Packer<'_>) -> Result<Turns> {
        let Some(local) = &self.local else {
            return Ok(Turns::default());
        };
        let reporter = report::Steps::new(&self.context.output);
        let on_event = |event| reporter.event(&event);
        let turn = |key: &LayerKey| local.turn(key, self.context.interrupt.flag(), &on_event);
        let packed = match packs(keys, packer) {
            true => Some(turn(&keys.packed)?),
            false => None,
        };
        let full = full_key(keys, packer).map(|key| turn(&key)).transpose()?;
        Ok(Turns { packed, full })
    }

    /// Seals what a step vendored, and keeps it. Without a cache the layer goes to `dir`.
    pub fn keep(
        &mut self,
        layer: &mut Layer<'_>,
        turns: Turns,
        vendored: &Vendored,
        packer: &Packer<'_>,
        dir: &Path,
    ) -> Result<()> {
        if packs(&layer.keys, packer) {
            let key = &layer.keys.packed;
            let dir = turns.packed.as_ref().map_or(dir, Turn::dir);
            let mut sealed = self.sealed(layer, key, LayerTree::Packed, dir, &|sealing| {
                packer.seal(sealing, vendored)
            })?;
            if let Some(turn) = turns.packed {
                let meta = self.meta(
                    layer,
                    LayerTree::Packed,
                    layer.keys.packed.clone(),
                    sealed,
                    vendored,
                );
                let kept = self.kept(turn, meta)?;
                sealed = kept.meta.sealed.clone();
                self.held.push(kept);
            }
            layer.sealed = Some(sealed);
        }
        match (full_key(&layer.keys, packer), turns.full) {
            (Some(key), Some(turn)) => self.keep_in(turn, key, layer, vendored, packer),
            _ => Ok(()),
        }
    }

    /// Keeps the tree that later steps see, for a layer whose packed files were found.
    pub fn keep_full(&mut self, layer: &Layer<'_>, vendored: &Vendored, packer: &Packer<'_>) -> Result<()> {
        let (Some(local), Some(key)) = (&self.local, full_key(&layer.keys, packer)) else {
            return Ok(());
        };
        let turn = local.turn(&key, self.context.interrupt.flag(), &|_| {})?;
        self.keep_in(turn, key, layer, vendored, packer)
    }

    fn keep_in(
        &mut self,
        turn: Turn,
        key: LayerKey,
        layer: &Layer<'_>,
        vendored: &Vendored,
        packer: &Packer<'_>,
    ) -> Result<()> {
        let sealed = self.sealed(layer, &key, LayerTree::Full, turn.dir(), &|sealing| {
            packer.seal_full(sealing, vendored)
        })?;
        let meta = self.meta(layer, LayerTree::Full, key, sealed, vendored);
        let kept = self.kept(turn, meta)?;
        self.held.push(kept);
        Ok(())
    }

    /// Seals one of a step's trees with the frames of its last layer; which is held no longer then, for it may be the one that
    /// the new one takes the place of.
    fn sealed(
        &self,
        layer: &Layer<'_>,
        key: &LayerKey,
        tree: LayerTree,
        dir: &Path,
        seal: &dyn Fn(&Sealing<'_>) -> Result<SealedLayer>,
    ) -> Result<SealedLayer> {
        let older = self.latest(&layer.spec.name, tree);
        let older: Vec<&SealedLayer> = older.iter().map(|layer| &layer.meta.sealed).collect();
        seal(&Sealing {
            step: &layer.spec.name,
            key: Some(key.key.clone()),
            dir,
            older: &older,
        })
    }

    fn kept(&self, turn: Turn, meta: LayerMeta) -> Result<CachedLayer> {
        let kept = turn.keep(meta)?;
        say_alone(&kept, self.context);
        Ok(kept)
    }

    /// What the newest layer of a step followed from.
    pub fn latest_key(&self, layer: &Layer<'_>, packer: &Packer<'_>) -> Option<LayerKey> {
        let (_, tree) = main_key(&layer.keys, packer);
        self.latest(&layer.spec.name, tree).map(|layer| layer.meta.key)
    }

    /// Removes the layer that a file belongs to, which was found to be damaged.
    pub fn discard(&mut self, path: &Path, why: &str) -> Result<()> {
        let has = |found: &CachedLayer| path.starts_with(found.dir());
        let Some(number) = self.held.iter().position(has) else {
            let message = format!("{} is not what it should be: {why}", path.display());
            return Err(CliError::new(Kind::Verification, message).hint("run the build again"));
        };
        self.discarded += 1;
        if self.discarded > MOST_DISCARDED {
            let message = format!(
                "{} is not what it should be, as others before it: {why}",
                path.display()
            );
            return Err(CliError::new(Kind::Verification, message).hint(
                "something changes the layers while the build uses them, or the disk is broken: see `shipit cache verify`",
            ));
        }
        let found = self.held.swap_remove(number);
        self.say_unusable(&found.meta.step, why);
        // Its other holds must go too, or it stays.
        self.held.retain(|other| other.dir() != found.dir());
        Ok(found.discard()?)
    }

    /// Removes what is too much or too old, after the build.
    pub fn prune(self) {
        let Some(local) = self.local else { return };
        drop(self.held);
        let bounds = Bounds {
            max_size: Some(self.config.cache.max_size.get()),
            max_age: Some(self.config.cache.max_age.get()),
        };
        if let Err(error) = local.prune(bounds, self.now) {
            self.context
                .output
                .warn(format!("{}; the cache is not pruned", chain(&error)));
        }
    }

    fn take(&mut self, layer: &mut Layer<'_>, found: CachedLayer, tree: LayerTree, from: From) {
        layer.owned.clone_from(&found.meta.owned);
        layer.from = from;
        if tree == LayerTree::Packed {
            layer.sealed = Some(SealedLayer {
                // Another step of another name may have made it.
                name: layer.spec.name.clone(),
                ..found.meta.sealed.clone()
            });
        }
        self.held.push(found);
    }

    fn latest(&self, step: &str, tree: LayerTree) -> Option<CachedLayer> {
        // What cannot be read here costs time and nothing else; the look before said it.
        let local = self.local.as_ref()?;
        local.latest(&self.config.app, step, tree).ok()?
    }

    fn meta(
        &self,
        layer: &Layer<'_>,
        tree: LayerTree,
        key: LayerKey,
        sealed: SealedLayer,
        vendored: &Vendored,
    ) -> LayerMeta {
        LayerMeta {
            app: self.config.app.clone(),
            step: layer.spec.name.clone(),
            tree,
            sealed,
            key,
            paths: vendored.paths.clone(),
            owned: vendored.owned.clone(),
            packages: layer.packages,
            made: self.now,
        }
    }

    fn say_hit(&self, step: &str, found: &CachedLayer, how: &str) {
        let what = match found.meta.packages {
            Some(1) => "1 package".to_owned(),
            Some(count) => format!("{count} packages"),
            None => bytes(found.meta.sealed.size),
        };
        let key = short(&found.meta.key);
        self.context
            .output
            .say(format!("{step}: {how} (layer {key}, {what})"));
    }
}

/// Says that a layer serves this build alone.
pub fn say_alone(kept: &CachedLayer, context: &Context) {
    if let Some(why) = &kept.not_kept {
        context.output.warn(format!(
            "{}: the layer is not kept for the next builds: {}",
            kept.meta.step,
            chain(why)
        ));
    }
}
