//! Layers that other builders published: asked for when this machine has none, before the step runs. A store that cannot be
//! read costs the time of one try, never the build.

use std::time::Duration;

use shipit_artifact::EntryPath;
use shipit_steps::{CachedLayer, LayerMeta, LayerTree, Turn};
use shipit_store::Store;
use shipit_store::shared::{FetchLayer, FetchedLayer};

use super::cached::say_alone;
use super::layers::Layer;
use super::pack::{DEPENDENCY_LEVEL, Packer};
use crate::config::Settled;
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::report;
use crate::settle;

/// How long the store may take to say whether it has a layer, its credentials' search included. To fetch one may take longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The store as builds ask it.
pub struct Shared<'a> {
    config: &'a Settled,
    context: &'a Context,
    state: State,
}

/// What the store gave.
pub enum Fetched {
    /// The layer, in the cache now.
    Kept(Box<CachedLayer>),
    /// Nothing; the turn is for the step.
    Nothing(Box<Turn>),
}

enum State {
    /// Not opened yet.
    Closed,
    Open(Store),
    /// There is none, it is not asked, or it could not be read.
    Off,
}

impl<'a> Shared<'a> {
    /// The config's store, unless `cache.shared` is off; opened when it is asked first.
    pub fn new(config: &'a Settled, context: &'a Context) -> Self {
        let state = if config.cache.shared && config.store.is_some() {
            State::Closed
        } else {
            State::Off
        };
        Shared {
            config,
            context,
            state,
        }
    }

    /// Never asks.
    pub fn off(config: &'a Settled, context: &'a Context) -> Self {
        Shared {
            config,
            context,
            state: State::Off,
        }
    }

    /// Fetches the layer of the turn into the cache, if the store has it.
    pub fn fetch(&mut self, turn: Turn, layer: &Layer<'_>, packer: &Packer<'_>, now: i64) -> Result<Fetched> {
        let nothing = |turn| Ok(Fetched::Nothing(Box::new(turn)));
        let Some(store) = self.store() else {
            return nothing(turn);
        };
        let key = &layer.keys.packed;
        // A layer that begins above the packed root has entries anywhere: what it may name cannot be told.
        let above = |path: &EntryPath| packer.root().is_some_and(|root| root.starts_with(path));
        if layer.keys.paths.iter().any(above) {
            return nothing(turn);
        }
        let paths = packed_from_root(layer, packer);
        let request = FetchLayer {
            store: &store,
            app: &self.config.app,
            key: &key.key,
            name: &layer.spec.name,
            compression: packer.compression(),
            level: DEPENDENCY_LEVEL,
            paths: &paths,
            made_since: now.saturating_sub_unsigned(self.config.cache.max_age.get().as_secs()),
            dir: turn.dir(),
            jobs: self.context.transfers(),
        };
        let fetched = self
            .context
            .block_on(async { Ok(shipit_store::shared::fetch(request).await?) });
        let fetched = match fetched {
            Ok(Some(fetched)) => fetched,
            Ok(None) => return nothing(turn),
            Err(error) if matches!(error.kind(), Kind::Store | Kind::Usage) => {
                self.give_up(&error);
                return nothing(turn);
            }
            Err(error) => return Err(error),
        };
        let FetchedLayer {
            sealed,
            packages,
            made,
            ..
        } = fetched;
        let meta = LayerMeta {
            app: self.config.app.clone(),
            step: layer.spec.name.clone(),
            tree: LayerTree::Packed,
            sealed,
            key: key.clone(),
            paths: layer.keys.paths.clone(),
            owned: layer.keys.owned.clone(),
            packages,
            // A clock that is ahead makes no layer younger than it can be.
            made: made.min(now),
        };
        let kept = turn.keep(meta)?;
        say_alone(&kept, self.context);
        Ok(Fetched::Kept(Box::new(kept)))
    }

    fn store(&mut self) -> Option<Store> {
        if matches!(self.state, State::Closed) {
            match self.open() {
                Ok(store) => self.state = State::Open(store),
                Err(error) => self.give_up(&error),
            }
        }
        match &self.state {
            State::Open(store) => Some(store.clone()),
            _ => None,
        }
    }

    fn open(&self) -> Result<Store> {
        let reporter = report::Store::new(&self.context.output);
        let on_event = shipit_store::OnEvent::new(move |event| reporter.event(&event));
        let store = settle::store::open(self.config, self.context, on_event)?;
        // One look, within bounds: the store's own retries are meant for uploads that somebody waits for.
        let look = store.clone();
        self.context.block_on(async move {
            match tokio::time::timeout(PATIENCE, look.head("layers")).await {
                Ok(answer) => Ok(answer.map(|_| ())?),
                Err(_) => Err(CliError::new(
                    Kind::Store,
                    format!("{} did not answer within {} s", look.url(), PATIENCE.as_secs()),
                )),
            }
        })?;
        Ok(store)
    }

    fn give_up(&mut self, error: &CliError) {
        self.state = State::Off;
        self.context.output.warn(format!(
            "the store cannot be asked for layers, so the steps run: {}",
            error.chain().join(": ")
        ));
    }
}

/// Where the layer's entries may lie, from the packed root.
fn packed_from_root(layer: &Layer<'_>, packer: &Packer<'_>) -> Vec<EntryPath> {
    let packed = packer.packed(&layer.keys.paths);
    match packer.root() {
        None => packed,
        Some(root) => packed.iter().filter_map(|path| path.strip_prefix(root)).collect(),
    }
}
