//! The workspace of a build whose steps have to run: brought to the revision, with the layers of all earlier steps in it.

use shipit_artifact::EntryPath;

use super::cached::From;
use super::layers::{Layer, Steps, opened};
use super::placing::Placed;
use super::workspace::BuildWorkspace;
use crate::errors::Result;

impl Steps<'_, '_> {
    /// Brings the workspace to the revision, and every layer so far into it.
    pub(super) fn ready(&mut self) -> Result<()> {
        if self.workspace.is_none() {
            self.open_workspace()?;
        }
        for number in 0..self.layers.len() {
            let Some(layer) = self.layers.get(number) else {
                break;
            };
            if !layer.in_workspace {
                self.bring(number)?;
            }
        }
        Ok(())
    }

    fn open_workspace(&mut self) -> Result<()> {
        let mut workspace = BuildWorkspace::open(self.given.places, self.given.context)?;
        if self.given.clean {
            workspace.kept.forget_all()?;
        }
        let seen: Vec<(String, Vec<EntryPath>)> = self
            .layers
            .iter()
            .map(|layer| (layer.standing(), layer.owned.clone()))
            .collect();
        let in_place = workspace.update(&self.given, &seen)?;
        for layer in &mut self.layers {
            if in_place.contains(&layer.standing()) {
                layer.in_workspace = true;
            }
        }
        self.workspace = Some(workspace);
        Ok(())
    }

    /// Puts a found layer into the workspace: that of the last build, else from the cache, else by its step.
    fn bring(&mut self, number: usize) -> Result<()> {
        let (Some(workspace), Some(layer)) = (self.workspace.as_mut(), self.layers.get_mut(number)) else {
            return Ok(());
        };
        if workspace.unpark(&layer.standing(), &layer.owned)? {
            layer.in_workspace = true;
            return Ok(());
        }
        let root = workspace.kept.root().to_owned();
        let spec = layer.spec;
        let placed = self.cache.place(layer, &root, self.given.packer)?;
        if placed == Placed::Whole {
            return self.noted(number);
        }
        opened(&self.workspace)?.kept.clear(&layer.owned)?;
        let Some(vendored) = self.run_here(spec)?.vendored else {
            return Ok(());
        };
        let layers = opened(&self.workspace)?.layers();
        if let Some(layer) = self.layers.get_mut(number) {
            if placed == Placed::PackedDamaged {
                let turns = self.cache.turns(&layer.keys, self.given.packer)?;
                self.cache
                    .keep(layer, turns, &vendored, self.given.packer, &layers)?;
                layer.from = From::Step;
            } else {
                self.cache.keep_full(layer, &vendored, self.given.packer)?;
            }
        }
        self.noted(number)
    }

    /// Lets go of layers of earlier builds that this one did not ask for.
    pub(super) fn forget_parked(&mut self) -> Result<()> {
        let seen: Vec<String> = self.layers.iter().map(Layer::standing).collect();
        match &mut self.workspace {
            Some(workspace) => Ok(workspace.kept.forget_parked(&seen)?),
            None => Ok(()),
        }
    }

    fn noted(&mut self, number: usize) -> Result<()> {
        match self.layers.get_mut(number) {
            Some(layer) => note(&mut self.workspace, layer),
            None => Ok(()),
        }
    }
}

/// Notes that the layer stands in the workspace, as its step or the cache left it.
pub(super) fn note(workspace: &mut Option<BuildWorkspace>, layer: &mut Layer<'_>) -> Result<()> {
    if let Some(workspace) = workspace {
        workspace.placed(&layer.standing(), &layer.owned)?;
        layer.in_workspace = true;
    }
    Ok(())
}
