//! The steps of one build in their order, and the layer of each: found under its key, or made by its step. The workspace is
//! opened when the first step has to run; before any step runs, it holds the layers of all steps before.

use std::path::Path;

use shipit_artifact::{DirTree, EntryPath, SealedLayer, Tree};
use shipit_source::{Commit, CommitTree};
use shipit_steps::{
    EarlierLayer, KeyRequest, LayerKey, Platform, StepKeys, StepOutcome, StepSpec, Tools, Vendored,
};

use super::cached::{Cache, From};
use super::explain;
use super::gone;
use super::keys::changed_key;
use super::notices::and_more;
use super::pack::{Packer, Sealing};
use super::standing::note;
use super::workspace::{BuildWorkspace, Places};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::report;

/// What the steps of a build are given.
pub struct Given<'a> {
    /// The run.
    pub context: &'a Context,
    /// The commit.
    pub commit: &'a Commit,
    /// Its tree.
    pub tree: &'a CommitTree,
    /// All that git tracks in it.
    pub tracked: &'a [EntryPath],
    /// The directories.
    pub places: &'a Places,
    /// How it is packed.
    pub packer: &'a Packer<'a>,
    /// The tools and their versions.
    pub tools: &'a Tools,
    /// The machine.
    pub platform: Platform,
    /// The steps.
    pub specs: &'a [StepSpec],
    /// What steps may keep in the workspace.
    pub keep: Vec<EntryPath>,
    /// From nothing: no layer is looked for, and the workspace is emptied.
    pub clean: bool,
    /// Says which part of a missed layer's key changed.
    pub explain: bool,
}

/// One step's layer.
pub struct Layer<'a> {
    pub(super) spec: &'a StepSpec,
    pub(super) keys: StepKeys,
    /// The packed files; nothing when none of them lies in `build.root`.
    pub(super) sealed: Option<SealedLayer>,
    /// Where it came from.
    pub(super) from: From,
    /// Why the layer that the cache had under its key is not used.
    pub(super) unusable: Option<String>,
    /// How many packages its lockfile names.
    pub(super) packages: Option<u64>,
    /// The paths that are its alone, as far as it is known by now.
    pub(super) owned: Vec<EntryPath>,
    // Whether the workspace holds it.
    pub(super) in_workspace: bool,
    // Whether it does not follow from its key, and serves this build alone.
    unkept: bool,
}

/// The steps of one build.
pub struct Steps<'a, 'c> {
    pub(super) given: Given<'a>,
    pub(super) cache: &'a mut Cache<'c>,
    pub(super) workspace: Option<BuildWorkspace>,
    pub(super) layers: Vec<Layer<'a>>,
    /// Whether a step ran whose result is code, so that the code is the workspace's and no more the commit's.
    code_changed: bool,
}

impl Layer<'_> {
    /// What the workspace knows it by: the key alone would take the tree of one build for that of another when a step does
    /// not vendor the same twice.
    pub(super) fn standing(&self) -> String {
        let index = self
            .sealed
            .as_ref()
            .map_or("", |sealed| sealed.index_sha256.as_str());
        format!("{}-{}", self.keys.seen().key, index.get(..32).unwrap_or_default())
    }
}

impl<'a, 'c> Steps<'a, 'c> {
    /// Nothing has run yet.
    pub fn new(given: Given<'a>, cache: &'a mut Cache<'c>) -> Self {
        Steps {
            given,
            cache,
            workspace: None,
            layers: Vec::new(),
            code_changed: false,
        }
    }

    /// Runs the steps, or finds what they would make.
    pub fn run(&mut self) -> Result<()> {
        self.run_all().map_err(|error| self.explained(error))
    }

    /// Says above an error that somebody removed what the build uses, if somebody did.
    pub fn explained(&self, error: CliError) -> CliError {
        if error.kind() == Kind::Interrupted {
            return error;
        }
        let workspace = self.workspace.as_ref().and_then(BuildWorkspace::removed);
        gone::explained(error, workspace.or_else(|| self.cache.removed()))
    }

    fn run_all(&mut self) -> Result<()> {
        for spec in self.given.specs {
            match self.keys(spec)? {
                Some(keys) => self.layer(spec, keys)?,
                None => self.code_step(spec)?,
            }
        }
        self.forget_parked()?;
        self.say_kept();
        self.warn_of_changes()
    }

    /// The layers that are packed, in the order of their steps, and where each came from.
    pub fn packed(&self) -> impl Iterator<Item = (&SealedLayer, From)> {
        self.layers
            .iter()
            .filter_map(|layer| Some((layer.sealed.as_ref()?, layer.from)))
    }

    /// The paths that are no code.
    pub fn owned(&self) -> Vec<EntryPath> {
        let owned = self.layers.iter().flat_map(|layer| layer.owned.iter().cloned());
        owned.chain(self.given.keep.iter().cloned()).collect()
    }

    /// The workspace, when the code is there and no more in the commit alone.
    pub fn code_directory(&self) -> Option<&Path> {
        self.workspace
            .as_ref()
            .filter(|_| self.code_changed)
            .map(|workspace| workspace.kept.root())
    }

    /// The workspace, if a step needed it.
    pub fn into_workspace(self) -> Option<BuildWorkspace> {
        self.workspace
    }

    fn keys(&self, spec: &StepSpec) -> Result<Option<StepKeys>> {
        // Its result is code: no look at what became of each earlier layer's files is needed.
        if !spec.layer {
            return Ok(None);
        }
        let earlier: Vec<EarlierLayer> = self
            .layers
            .iter()
            .map(|layer| {
                Ok(EarlierLayer {
                    key: self.seen_key(layer)?,
                    owned: layer.owned.clone(),
                })
            })
            .collect::<Result<_>>()?;
        let directory = match self.code_directory() {
            Some(root) => Some(DirTree::new(root)?.without(self.owned())),
            None => None,
        };
        let format = self.given.packer.format();
        let request = KeyRequest {
            spec,
            tree: directory
                .as_ref()
                .map_or(self.given.tree as &dyn Tree, |tree| tree),
            tracked: self.given.tracked,
            tools: self.given.tools.of(&spec.name),
            platform: &self.given.platform,
            format: &format,
            root: self.given.packer.root(),
            earlier: &earlier,
        };
        Ok(shipit_steps::layer_keys(&request)?)
    }

    /// What later keys take for a layer's files: its key, and what a later step made of them.
    fn seen_key(&self, layer: &Layer<'a>) -> Result<LayerKey> {
        let key = layer.keys.seen();
        match &self.workspace {
            // Its files count, not its key.
            Some(workspace) if layer.unkept => changed_key(key, workspace.kept.root(), &layer.owned),
            Some(workspace) if layer.in_workspace => {
                let changes = workspace.kept.changes(&layer.standing())?;
                changed_key(key, workspace.kept.root(), &changes)
            }
            _ => Ok(key.clone()),
        }
    }

    fn layer(&mut self, spec: &'a StepSpec, keys: StepKeys) -> Result<()> {
        let mut layer = Layer {
            spec,
            owned: keys.owned.clone(),
            packages: shipit_steps::packages(spec, self.given.tree),
            keys,
            sealed: None,
            from: From::Step,
            unusable: None,
            in_workspace: false,
            unkept: false,
        };
        if !layer.keys.unsure.is_empty() {
            self.say_unsure(spec, &layer.keys.unsure);
            self.make_unkept(&mut layer)?;
        } else if let Some(path) = self.made_before(&layer.owned) {
            self.say_unkept(
                spec,
                &format!("an earlier step made {path}, which is this step's alone"),
            );
            self.make_unkept(&mut layer)?;
        } else if self.given.clean || !self.cache.find(&mut layer, self.given.packer)? {
            if self.given.explain {
                let (clean, output) = (self.given.clean, &self.given.context.output);
                explain::miss(&layer, self.cache, self.given.packer, clean, output);
            }
            self.make(&mut layer)?;
        }
        self.layers.push(layer);
        Ok(())
    }

    /// A path of the step's own at which an earlier step of this build made something: what is in there is in no key.
    fn made_before<'p>(&self, owned: &'p [EntryPath]) -> Option<&'p EntryPath> {
        let root = self.workspace.as_ref().filter(|_| self.code_changed)?.kept.root();
        let is_there = |path: &&EntryPath| root.join(path.as_path()).symlink_metadata().is_ok();
        owned.iter().find(is_there)
    }

    /// Makes a layer in its key's turn, unless the store has it; who waited for another build takes what that one made.
    ///
    /// Nobody waits for a workspace with a turn in hand: another build may wait for that turn with the workspace in hand.
    fn make(&mut self, layer: &mut Layer<'a>) -> Result<()> {
        let packer = self.given.packer;
        if !self.given.clean {
            let mut turns = self.cache.turns(&layer.keys, packer)?;
            if self.cache.find(layer, packer)? || self.cache.fetch(layer, &mut turns, packer)? {
                return Ok(());
            }
        }
        self.ready()?;
        let turns = self.cache.turns(&layer.keys, packer)?;
        if !self.given.clean && self.cache.find(layer, packer)? {
            return Ok(());
        }
        let Some((vendored, outside)) = self.run_watched(layer)? else {
            return Ok(());
        };
        let dir = opened(&self.workspace)?.layers();
        match outside.as_slice() {
            [] => self.cache.keep(layer, turns, &vendored, packer, &dir)?,
            [first, rest @ ..] => {
                let more = and_more(rest);
                self.say_unkept(
                    layer.spec,
                    &format!("the step changed {first}{more} outside of what it vendors"),
                );
                self.seal_unkept(layer, &vendored)?;
            }
        }
        note(&mut self.workspace, layer)
    }

    /// Makes a layer that no other build may have.
    fn make_unkept(&mut self, layer: &mut Layer<'a>) -> Result<()> {
        layer.unkept = true;
        self.ready()?;
        let Some((vendored, _)) = self.run_watched(layer)? else {
            return Ok(());
        };
        self.seal_unkept(layer, &vendored)?;
        note(&mut self.workspace, layer)
    }

    fn seal_unkept(&self, layer: &mut Layer<'a>, vendored: &Vendored) -> Result<()> {
        let packer = self.given.packer;
        if packer.packed(&vendored.paths).is_empty() {
            return Ok(());
        }
        let dir = opened(&self.workspace)?.layers();
        let sealing = Sealing {
            step: &layer.spec.name,
            key: None,
            dir: &dir,
            older: &[],
        };
        layer.sealed = Some(packer.seal(&sealing, vendored)?);
        Ok(())
    }

    /// A step whose result is code.
    fn code_step(&mut self, spec: &'a StepSpec) -> Result<()> {
        if self.given.explain {
            explain::code(spec, &self.given.context.output);
        }
        self.ready()?;
        self.run_here(spec)?;
        self.code_changed = true;
        Ok(())
    }

    /// Runs a layer's step in the workspace, which is ready: what it vendored, and what it changed outside of that. The layer
    /// owns then what the step says, and code that was changed is noted.
    fn run_watched(&mut self, layer: &mut Layer<'a>) -> Result<Option<(Vendored, Vec<EntryPath>)>> {
        let before = opened(&self.workspace)?.kept.stand(&self.given.keep)?;
        let Some(vendored) = self.run_here(layer.spec)?.vendored else {
            return Ok(None);
        };
        let kept = &opened(&self.workspace)?.kept;
        let outside = kept.changed_outside(&before, &vendored.owned)?;
        layer.owned.clone_from(&vendored.owned);
        self.say_unpacked(layer.spec, &vendored);
        self.code_changed |= outside.iter().any(|path| !self.is_layers(path));
        Ok(Some((vendored, outside)))
    }

    /// Runs a step in the workspace.
    pub(super) fn run_here(&self, spec: &StepSpec) -> Result<StepOutcome> {
        let context = self.given.context;
        let reporter = report::Steps::new(&context.output);
        let on_event = |event| reporter.event(&event);
        let steps = &self.given.places.steps;
        shipit_steps::run(spec, steps, context.interrupt.flag(), &on_event)
            .map_err(|error| report::step_failed(error, &context.output))
    }

    /// Whether a path is an earlier layer's, and so no code.
    fn is_layers(&self, path: &EntryPath) -> bool {
        let mut owned = self.layers.iter().flat_map(|layer| &layer.owned);
        owned.any(|owned| path.starts_with(owned))
    }
}

pub(super) fn opened(workspace: &Option<BuildWorkspace>) -> Result<&BuildWorkspace> {
    workspace
        .as_ref()
        .ok_or_else(|| CliError::new(Kind::Internal, "a step ran without a workspace"))
}
