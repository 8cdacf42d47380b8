//! Which stages of the config share which store. A stage that a pattern stands for is found where its releases are.

use shipit_store::layout::stages_prefix;

use crate::config::{DEFAULT_STAGE, Settled, StageChoice};
use crate::context::Context;
use crate::errors::Result;
use crate::releases::Place;
use crate::settle;

/// The stages that are pruned in one store.
pub struct Shared {
    /// Each with its config, and the same store.
    pub places: Vec<Place>,
}

impl Shared {
    /// Any of them: the app and the store are those of all.
    pub fn first(&self) -> &Place {
        &self.places[0]
    }
}

/// One stage alone. What the others in its store refer to stays in any case.
pub fn of(context: &Context, stage: &str) -> Result<Shared> {
    Ok(Shared {
        places: vec![Place::further(context, stage)?],
    })
}

/// Every stage of the config, store by store.
pub fn all(context: &Context) -> Result<Vec<Shared>> {
    let base = settle::config(context, StageChoice::Any(None))?;
    let mut stores: Vec<Shared> = Vec::new();
    if base.stages.is_empty() {
        add(&mut stores, Place::further(context, DEFAULT_STAGE)?);
        return Ok(stores);
    }
    let mut left = None;
    for name in base.stages.iter().filter(|name| !name.contains('*')) {
        match place(context, name) {
            Ok(place) => add(&mut stores, place),
            // What it refers to in a store that others share is seen there.
            Err(error) => {
                context.output.warn(format!(
                    "the stage {name} is left alone: {}",
                    error.chain().join(": ")
                ));
                left = Some(error);
            }
        }
    }
    if base.stages.iter().any(|name| name.contains('*')) {
        patterns(context, &base, &mut stores)?;
    }
    match left {
        // Not a prune that found nothing to do.
        Some(error) if stores.is_empty() => Err(error),
        _ => Ok(stores),
    }
}

fn place(context: &Context, stage: &str) -> Result<Place> {
    Place::further(context, stage)
}

/// Adds the stages that patterns stand for.
fn patterns(context: &Context, base: &Settled, stores: &mut Vec<Shared>) -> Result<()> {
    // Where to look: the stores that are known, and those that the patterns themselves name.
    let mut looked: Vec<Place> = Vec::new();
    for pattern in base.stages.iter().filter(|name| name.contains('*')) {
        let stands_for = pattern.replace('*', "0");
        if let Ok(place) = place(context, &stands_for)
            && !looked.iter().any(|known| known.store.is_same_place(&place.store))
        {
            looked.push(place);
        }
    }
    for place in &looked {
        let prefix = stages_prefix(&place.config.app)?;
        let names = context.block_on(async { Ok(place.store.list_children(&prefix).await?) })?;
        for name in names.iter().filter(|name| !base.stages.contains(name)) {
            match settle::further(context, name)? {
                Ok(config) => {
                    let found = Place::of(config, context)?;
                    if found.store.is_same_place(&place.store) {
                        add(stores, found);
                    }
                }
                Err(_) => context.output.say(format!(
                    "the stage {name} in {} is left alone: the config has none of that name",
                    place.store.url()
                )),
            }
        }
    }
    Ok(())
}

fn add(stores: &mut Vec<Shared>, place: Place) {
    let same = |shared: &&mut Shared| {
        let first = shared.first();
        first.config.app == place.config.app && first.store.is_same_place(&place.store)
    };
    match stores.iter_mut().find(same) {
        Some(shared) => shared.places.push(place),
        None => stores.push(Shared { places: vec![place] }),
    }
}
