//! What of the workspace goes into which layer: each dependency step's files when the step ends, the rest as code at the end.

use shipit_artifact::{
    Artifact, Compression, DirTree, EntryPath, LayerKind, LayerPlan, Mtime, PackOptions, RecordDraft,
    SealedLayer, assemble, seal_layer,
};
use shipit_source::Commit;
use shipit_steps::{SealedTree, StepOutcome, Vendored};

use super::promote::Pending;
use super::workspace::BuildWorkspace;
use crate::config::{self, Settled};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::report;

/// Dependency layers are packed once for many builds, the code for each.
const DEPENDENCY_LEVEL: i32 = 9;
const CODE_LEVEL: i32 = 3;

/// Packs one build's workspace.
pub struct Packer<'a> {
    config: &'a Settled,
    context: &'a Context,
    workspace: &'a BuildWorkspace,
    root: Option<EntryPath>,
    sealed: Vec<SealedLayer>,
    // A layer's name, and its files as they were when it was sealed.
    watched: Vec<(String, SealedTree)>,
    owned: Vec<EntryPath>,
}

impl<'a> Packer<'a> {
    /// Nothing is sealed yet.
    pub fn new(config: &'a Settled, workspace: &'a BuildWorkspace, context: &'a Context) -> Result<Self> {
        let root = config
            .build
            .root
            .as_deref()
            .map(EntryPath::new)
            .transpose()
            .map_err(|error| CliError::from_source(Kind::Usage, error).context("build.root"))?;
        Ok(Packer {
            config,
            context,
            workspace,
            root,
            sealed: Vec::new(),
            watched: Vec::new(),
            owned: Vec::new(),
        })
    }

    /// Seals what a step vendored, if it vendored anything.
    pub fn seal(&mut self, outcome: &StepOutcome) -> Result<()> {
        let Some(vendored) = &outcome.vendored else {
            return Ok(());
        };
        // Also when nothing of it is packed: development dependencies in the workspace are no code.
        self.owned.extend(vendored.owned.iter().cloned());
        let paths = self.packed_paths(&outcome.name, vendored);
        if paths.is_empty() {
            return Ok(());
        }
        let watch = SealedTree::take(vendored).map_err(|error| {
            CliError::disk(
                format!("looking at what the step {} vendored", outcome.name),
                error,
            )
        })?;
        let tree = self.rooted(DirTree::new(&vendored.root)?.only(paths))?;
        let plan = LayerPlan {
            name: outcome.name.clone(),
            kind: LayerKind::Dependencies,
            key: None,
            tree: &tree,
            mtime: Mtime::FromContent,
            level: DEPENDENCY_LEVEL,
        };
        let reporter = report::Artifact::new(&self.context.output);
        let on_event = |event| reporter.event(&event);
        let sealed = seal_layer(&plan, &self.workspace.layers(), &self.options(&on_event))?;
        self.sealed.push(sealed);
        self.watched.push((outcome.name.clone(), watch));
        Ok(())
    }

    /// Says what later steps changed in sealed layers.
    pub fn warn_of_changes(&self) -> Result<()> {
        for (layer, watch) in &self.watched {
            let changes = watch
                .changes()
                .map_err(|error| CliError::disk(format!("looking at the layer {layer}"), error))?;
            let Some(first) = changes.first() else { continue };
            let more = if changes.len() > 1 {
                format!(" and {} more", changes.len() - 1)
            } else {
                String::new()
            };
            self.context.output.warn(format!(
                "a later step changed {first}{more} in the layer {layer}, which was sealed when its step ended: the change \
                 is not packed; write elsewhere, or set `layer = false` on the step"
            ));
        }
        Ok(())
    }

    /// Packs the code behind the sealed layers.
    pub fn assemble(self, commit: &Commit, draft: RecordDraft, pending: &Pending) -> Result<Artifact> {
        let mut exclude = self.config.build.exclude.clone();
        // A repository that a step cloned: the artifact is no place for one, and no two clones are the same.
        exclude.push(".git".to_owned());
        self.revision_into_root(commit)?;
        let tree = DirTree::new(&self.workspace.steps().root)?
            .without(self.owned.clone())
            .exclude(&exclude)
            .map_err(|error| CliError::from_source(Kind::Usage, error).context("build.exclude"))?;
        let tree = self.rooted(tree)?;
        let code = LayerPlan {
            name: "code".to_owned(),
            kind: LayerKind::Code,
            key: None,
            tree: &tree,
            mtime: Mtime::Fixed(commit.time),
            level: CODE_LEVEL,
        };
        let reporter = report::Artifact::new(&self.context.output);
        let on_event = |event| reporter.event(&event);
        let options = self.options(&on_event);
        Ok(assemble(
            &self.sealed,
            &code,
            draft,
            pending.directory(),
            &options,
        )?)
    }

    /// What of the step's files lies in `build.root`; what does not is said, for it is packed nowhere.
    fn packed_paths(&self, step: &str, vendored: &Vendored) -> Vec<EntryPath> {
        let Some(root) = &self.root else {
            return vendored.paths.clone();
        };
        let (inside, outside): (Vec<_>, Vec<_>) = vendored
            .paths
            .iter()
            .cloned()
            .partition(|path| path.starts_with(root));
        if let Some(first) = outside.first() {
            self.context.output.say(format!(
                "{step}: {first} lies outside of build.root = \"{root}\" and is not packed"
            ));
        }
        inside
    }

    fn rooted(&self, tree: DirTree) -> Result<DirTree> {
        match &self.root {
            Some(root) => Ok(tree.rooted(root.clone())?),
            None => Ok(tree),
        }
    }

    /// The export's REVISION stands at the tree's top; with a root, the packed top is another one.
    fn revision_into_root(&self, commit: &Commit) -> Result<()> {
        let Some(root) = &self.root else { return Ok(()) };
        let top = self.workspace.steps().root.join(root.as_path());
        if !top.is_dir() {
            let message =
                format!("build.root = \"{root}\" is no directory of the tree, nor did a step make it");
            return Err(CliError::new(Kind::Usage, message).hint("correct build.root in the config"));
        }
        crate::state::write_aside(&top.join("REVISION"), format!("{}\n", commit.id).as_bytes())
    }

    fn options<'b>(&'b self, on_event: &'b (dyn Fn(shipit_artifact::Event) + Sync)) -> PackOptions<'b> {
        PackOptions {
            compression: match self.config.build.compression {
                config::Compression::Zstd => Compression::Zstd,
                config::Compression::Gzip => Compression::Gzip,
            },
            jobs: self.context.jobs(),
            cancel: self.context.interrupt.flag(),
            on_event,
        }
    }
}
