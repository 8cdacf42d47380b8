//! The order of a build, written once: source, export, preflight, steps with their layers, code, tests, the artifact's name.

mod promote;
mod test;
mod workspace;

use std::path::PathBuf;

use shipit_artifact::{
    Artifact, Compression, DirTree, LayerKind, LayerPlan, Mtime, PackOptions, RecordDraft, RecordStep,
    SealedLayer, Tool, assemble, seal_layer,
};
use shipit_source::{Commit, CommitTree, Source, TreeOptions};
use shipit_steps::{SealedTree, StepOutcome, StepSpec, ToolVersion, Vendored};

use crate::config::{self, Settled};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::report;
use crate::settle;
use crate::state::{BuildState, StateDirectory};

use workspace::BuildWorkspace;

/// Dependency layers are packed once for many builds, the code for each.
const DEPENDENCY_LEVEL: i32 = 9;
const CODE_LEVEL: i32 = 3;

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The artifact in `.shipit/artifacts`.
    pub artifact: Artifact,
    /// The commit.
    pub commit: Commit,
    /// The directory of this build's logs.
    pub logs: PathBuf,
    workspace: BuildWorkspace,
}

impl Built {
    /// Removes the workspace's trees, which takes a while: after all that somebody waits for.
    pub fn clean(self, context: &Context) {
        self.workspace.clean(context);
    }
}

/// One dependency layer of this build: packed, and watched for what later steps change in it.
struct Layer {
    sealed: SealedLayer,
    vendored: Vendored,
    watch: SealedTree,
}

/// Builds the artifact of a revision.
pub fn build(config: &Settled, rev: &str, context: &Context) -> Result<Built> {
    // Before anything is fetched: what the environment or the config lacks is known at once.
    let specs = settle::steps::specs(config, context)?;
    // A daemon that a step leaves becomes our child, so that it is found and ended.
    shipit_steps::become_subreaper()
        .map_err(|error| CliError::from_source(Kind::Internal, error).context("becoming a subreaper"))?;
    let tests = settle::steps::tests(config, context)?;
    let source = Source::open(settle::source::options(config, context)?)?;
    let state = StateDirectory::beside(&config.dir);
    state.create()?;

    let (commit, tree) = resolve(&source, rev, context)?;
    context.output.say(format!(
        "{} {} ({})",
        config.app,
        commit.short(12),
        commit.subject
    ));
    let workspace = BuildWorkspace::open(config, &commit, &state, context)?;
    export(&tree, &workspace, context)?;

    let reporter = report::Steps::new(&context.output);
    let tools = shipit_steps::preflight(
        &specs,
        workspace.steps(),
        &tree.tracked(),
        context.interrupt.flag(),
    )?;
    let layers = run_steps(config, &specs, &workspace, &reporter, context)?;
    warn_of_changes(&layers, context)?;

    let pending = promote::Pending::open(&state)?;
    let artifact = pack(
        config,
        &commit,
        &layers,
        draft(config, &commit, &specs, &tools),
        &workspace,
        &pending,
        context,
    )?;
    for test in &tests {
        test::run(test, &artifact, &workspace, &reporter, context)?;
    }
    let artifact = pending.promote(&artifact, config.build.keep)?;
    promote::prune_logs(&state, config.build.keep)?;
    state.save_build(&BuildState {
        app: config.app.clone(),
        revision: commit.id.clone(),
        artifact: artifact.record.sha256.clone(),
    })?;
    let logs = workspace.steps().logs.clone();
    Ok(Built {
        artifact,
        commit,
        logs,
        workspace,
    })
}

fn resolve(source: &Source, rev: &str, context: &Context) -> Result<(Commit, CommitTree)> {
    let reporter = report::Source::new(&context.output);
    let on_event = |event| reporter.event(&event);
    let cancel = context.interrupt.flag();
    let commit = source.resolve(rev, cancel, &on_event)?;
    let tree = source.tree(&commit, TreeOptions::default(), cancel, &on_event)?;
    Ok((commit, tree))
}

fn export(tree: &CommitTree, workspace: &BuildWorkspace, context: &Context) -> Result<()> {
    let reporter = report::Source::new(&context.output);
    tree.export(&workspace.steps().root, context.interrupt.flag(), &|event| {
        reporter.event(&event);
    })?;
    Ok(())
}

fn run_steps(
    config: &Settled,
    specs: &[StepSpec],
    workspace: &BuildWorkspace,
    reporter: &report::Steps,
    context: &Context,
) -> Result<Vec<Layer>> {
    let mut layers = Vec::new();
    for spec in specs {
        let on_event = |event| reporter.event(&event);
        let outcome = shipit_steps::run(spec, workspace.steps(), context.interrupt.flag(), &on_event)
            .map_err(|error| report::step_failed(error, &context.output))?;
        if let Some(vendored) = vendored(config, &outcome) {
            layers.push(seal(config, spec, vendored, workspace, context)?);
        }
    }
    Ok(layers)
}

/// What of the step's result becomes a layer; what lies outside of `build.root` is not packed at all.
fn vendored(config: &Settled, outcome: &StepOutcome) -> Option<Vendored> {
    let mut vendored = outcome.vendored.clone()?;
    if let Some(root) = root(config) {
        vendored.paths.retain(|path| path.starts_with(&root));
    }
    (!vendored.paths.is_empty()).then_some(vendored)
}

fn root(config: &Settled) -> Option<shipit_artifact::EntryPath> {
    // The config checked it; a root that is no path cannot get here.
    config
        .build
        .root
        .as_deref()
        .and_then(|root| shipit_artifact::EntryPath::new(root).ok())
}

fn seal(
    config: &Settled,
    spec: &StepSpec,
    vendored: Vendored,
    workspace: &BuildWorkspace,
    context: &Context,
) -> Result<Layer> {
    let watch = SealedTree::take(&vendored)
        .map_err(|error| CliError::disk(format!("looking at what the step {} vendored", spec.name), error))?;
    let mut tree = DirTree::new(&vendored.root)?.only(vendored.paths.clone());
    if let Some(root) = root(config) {
        tree = tree.rooted(root)?;
    }
    let plan = LayerPlan {
        name: spec.name.clone(),
        kind: LayerKind::Dependencies,
        key: None,
        tree: &tree,
        mtime: Mtime::FromContent,
        level: DEPENDENCY_LEVEL,
    };
    let reporter = report::Artifact::new(&context.output);
    let on_event = |event| reporter.event(&event);
    let sealed = seal_layer(
        &plan,
        &workspace.layers(),
        &pack_options(config, context, &on_event),
    )?;
    Ok(Layer {
        sealed,
        vendored,
        watch,
    })
}

fn warn_of_changes(layers: &[Layer], context: &Context) -> Result<()> {
    for layer in layers {
        let changes = layer
            .watch
            .changes()
            .map_err(|error| CliError::disk(format!("looking at the layer {}", layer.sealed.name), error))?;
        let Some(first) = changes.first() else { continue };
        let more = if changes.len() > 1 {
            format!(" and {} more", changes.len() - 1)
        } else {
            String::new()
        };
        context.output.warn(format!(
            "a later step changed {first}{more} in the layer {}, which was sealed when its step ended: the change is not \
             packed; write elsewhere, or set `layer = false` on the step",
            layer.sealed.name
        ));
    }
    Ok(())
}

fn pack(
    config: &Settled,
    commit: &Commit,
    layers: &[Layer],
    draft: RecordDraft,
    workspace: &BuildWorkspace,
    pending: &promote::Pending,
    context: &Context,
) -> Result<Artifact> {
    let vendored = layers
        .iter()
        .flat_map(|layer| layer.vendored.owned.iter().cloned())
        .collect();
    let mut exclude = config.build.exclude.clone();
    // A repository that a step cloned: the artifact is no place for one, and no two clones are the same.
    exclude.push(".git".to_owned());
    let mut tree = DirTree::new(&workspace.steps().root)?
        .without(vendored)
        .exclude(&exclude)
        .map_err(|error| CliError::from_source(Kind::Usage, error).context("build.exclude"))?;
    if let Some(root) = root(config) {
        if !workspace.steps().root.join(root.as_path()).is_dir() {
            let message =
                format!("build.root = \"{root}\" is no directory of the tree, nor did a step make it");
            return Err(CliError::new(Kind::Usage, message).hint("correct build.root in the config"));
        }
        tree = tree.rooted(root)?;
    }
    let code = LayerPlan {
        name: "code".to_owned(),
        kind: LayerKind::Code,
        key: None,
        tree: &tree,
        mtime: Mtime::Fixed(commit.time),
        level: CODE_LEVEL,
    };
    let sealed: Vec<SealedLayer> = layers.iter().map(|layer| layer.sealed.clone()).collect();
    let reporter = report::Artifact::new(&context.output);
    let on_event = |event| reporter.event(&event);
    Ok(assemble(
        &sealed,
        &code,
        draft,
        pending.directory(),
        &pack_options(config, context, &on_event),
    )?)
}

fn pack_options<'a>(
    config: &Settled,
    context: &'a Context,
    on_event: &'a (dyn Fn(shipit_artifact::Event) + Sync),
) -> PackOptions<'a> {
    PackOptions {
        compression: match config.build.compression {
            config::Compression::Zstd => Compression::Zstd,
            config::Compression::Gzip => Compression::Gzip,
        },
        jobs: context.jobs(),
        cancel: context.interrupt.flag(),
        on_event,
    }
}

fn draft(config: &Settled, commit: &Commit, specs: &[StepSpec], tools: &[ToolVersion]) -> RecordDraft {
    RecordDraft {
        app: config.app.clone(),
        revision: commit.id.clone(),
        steps: specs
            .iter()
            .map(|spec| RecordStep {
                name: spec.name.clone(),
                tool: spec.tool.name().to_owned(),
                dir: spec.dir.as_ref().map(ToString::to_string).unwrap_or_default(),
                command: match &spec.tool {
                    shipit_steps::Tool::Run { command } => Some(command.clone()),
                    _ => None,
                },
            })
            .collect(),
        tools: tools
            .iter()
            .map(|tool| Tool {
                name: tool.name.clone(),
                version: tool.version.clone(),
            })
            .collect(),
    }
}
