//! What a build says of its steps' layers beside their own output.

use shipit_artifact::EntryPath;
use shipit_steps::{StepSpec, Vendored};

use super::gone;
use super::layers::Steps;
use crate::errors::Result;

impl Steps<'_, '_> {
    pub(super) fn say_unkept(&self, spec: &StepSpec, why: &str) {
        self.given.context.output.warn(format!(
            "{}: {why}, so its layer is not kept for other builds, and the step runs each time; move that work into a \
             `run` step of its own",
            spec.name
        ));
    }

    /// Says why nobody knows which layer the step would make.
    pub(super) fn say_unsure(&self, spec: &StepSpec, why: &[String]) {
        for why in why {
            self.given.context.output.warn(format!(
                "{}: {why}, so no layer is looked for nor kept, and the step runs each time; correct its `inputs`",
                spec.name
            ));
        }
    }

    pub(super) fn say_unpacked(&self, spec: &StepSpec, vendored: &Vendored) {
        let packer = self.given.packer;
        let outside = |path: &&EntryPath| packer.packed(std::slice::from_ref(path)).is_empty();
        let left = vendored.paths.iter().find(outside);
        if let (Some(path), Some(root)) = (left, self.given.packer.root()) {
            self.given.context.output.say(format!(
                "{}: {path} lies outside of build.root = \"{root}\" and is not packed",
                spec.name
            ));
        }
    }

    /// Says what stays here and is in no artifact.
    pub(super) fn say_kept(&self) {
        let Some(workspace) = &self.workspace else { return };
        let there = |kept: &&EntryPath| workspace.kept.root().join(kept.as_path()).is_dir();
        for kept in self.given.keep.iter().filter(there) {
            self.given
                .context
                .output
                .say(format!("{kept} is kept for the next build, and is not packed"));
        }
    }

    /// Says what later steps changed in sealed layers.
    pub(super) fn warn_of_changes(&self) -> Result<()> {
        let Some(workspace) = &self.workspace else {
            return Ok(());
        };
        // Otherwise all of every layer would have been changed.
        if let Some(path) = workspace.removed() {
            return Err(gone::removed(path));
        }
        for layer in self.layers.iter().filter(|layer| layer.in_workspace) {
            let name = &layer.spec.name;
            let changes = workspace.kept.changes(&layer.standing())?;
            let [first, rest @ ..] = changes.as_slice() else {
                continue;
            };
            let more = and_more(rest);
            self.given.context.output.warn(format!(
                "a later step changed {first}{more} in the layer {name}, which was sealed when its step ended: the change \
                 is not packed; write elsewhere, or set `layer = false` on the step"
            ));
        }
        Ok(())
    }
}

/// What stands behind the first path of several.
pub(super) fn and_more(rest: &[EntryPath]) -> String {
    match rest.len() {
        0 => String::new(),
        count => format!(" and {count} more"),
    }
}
