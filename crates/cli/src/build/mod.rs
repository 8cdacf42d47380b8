//! The order of a build, written once: source, preflight, steps with their layers, code, tests, the artifact's name. A layer
//! that is known is not made again, and a tree that nobody needs is not written.

mod cached;
mod explain;
mod gone;
mod keys;
mod layers;
mod notices;
mod pack;
mod placing;
mod promote;
mod shared;
mod standing;
mod test;
mod verify;
mod workspace;

use std::path::PathBuf;

use shipit_artifact::{Artifact, DirTree, EntryPath, RecordDraft, RecordStep, SealedLayer, Tool, Tree};
use shipit_source::{Commit, CommitTree, Source, TreeOptions};
use shipit_steps::{StepSpec, TestSpec, Tools, Workspace};

use crate::config::Settled;
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::report;
use crate::settle;
use crate::state::{BuildState, StateDirectory};

use cached::Cache;
pub use cached::From as LayerFrom;
use layers::{Given, Steps};
use pack::{Assembled, Code, Packer};
use workspace::{BuildWorkspace, Places};

/// What is built, and how.
#[derive(Debug, Clone, Copy)]
pub struct BuildRequest<'a> {
    /// The revision.
    pub rev: &'a str,
    /// From nothing: no cached layer, an empty workspace.
    pub clean: bool,
    /// Says of each step why it ran.
    pub explain: bool,
    /// Builds from nothing in a second place too, and compares.
    pub verify: bool,
}

/// What a build made.
pub struct Built {
    /// The artifact in `.shipit/artifacts`.
    pub artifact: Artifact,
    /// The commit.
    pub commit: Commit,
    /// The directory of this build's logs.
    pub logs: PathBuf,
    /// Where the dependency layers came from, in the order of the record's layers.
    pub layers: Vec<LayerFrom>,
    left: Vec<BuildWorkspace>,
}

impl Built {
    /// Removes what the next build does not need, which takes a while: after all that somebody waits for.
    pub fn clean(self, context: &Context) {
        let _wait = (!self.left.is_empty()).then(|| context.output.waiting("removing what no build needs"));
        for workspace in self.left {
            workspace.clean(context);
        }
    }
}

/// All that a build is made from.
struct Inputs<'a> {
    config: &'a Settled,
    context: &'a Context,
    state: StateDirectory,
    specs: Vec<StepSpec>,
    tests: Vec<TestSpec>,
    keep: Vec<EntryPath>,
    commit: Commit,
    tree: CommitTree,
    tracked: Vec<EntryPath>,
    tools: Tools,
}

/// Builds the artifact of a revision.
pub fn build(config: &Settled, request: &BuildRequest<'_>, context: &Context) -> Result<Built> {
    let inputs = inputs(config, request.rev, context)?;
    let mut cache = Cache::open(config, context)?;
    let made = make(&inputs, request, false, &mut cache)?;
    let mut left = Vec::from_iter(made.workspace);
    if request.verify {
        context
            .output
            .say("building from nothing in a second place, to compare");
        let from_nothing = BuildRequest {
            clean: true,
            ..*request
        };
        let second = make(&inputs, &from_nothing, true, &mut Cache::none(config, context))?;
        let compared = verify::compare(&made.artifact, &second.artifact, &context.output);
        match (compared, second.workspace) {
            (Ok(()), workspace) => left.extend(workspace),
            (Err(error), workspace) => {
                if let Some(workspace) = workspace {
                    workspace.clean(context);
                }
                return Err(error);
            }
        }
    }
    let artifact = made.pending.promote(&made.artifact, config.build.keep)?;
    promote::prune_logs(&inputs.state, config.build.keep)?;
    inputs.state.save_build(&BuildState {
        app: config.app.clone(),
        revision: inputs.commit.id.clone(),
        artifact: artifact.record.sha256.clone(),
        subject: Some(inputs.commit.subject.clone()),
    })?;
    cache.prune();
    Ok(Built {
        artifact,
        commit: inputs.commit,
        logs: made.logs,
        layers: made.layers,
        left,
    })
}

fn inputs<'a>(config: &'a Settled, rev: &str, context: &'a Context) -> Result<Inputs<'a>> {
    // Before anything is fetched: what the environment or the config lacks is known at once.
    let specs = settle::steps::specs(config, context)?;
    let tests = settle::steps::tests(config, context)?;
    let keep = settle::steps::kept(config)?;
    shipit_steps::refuse_kept_inputs(&specs, &keep)?;
    // A daemon that a step leaves becomes our child, so that it is found and ended.
    shipit_steps::become_subreaper()
        .map_err(|error| CliError::from_source(Kind::Internal, error).context("becoming a subreaper"))?;
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
    let tracked = tree.tracked();
    refuse_tracked(&keep, &tracked)?;
    let tools = preflight(&specs, &tree, &tracked, context)?;
    Ok(Inputs {
        config,
        context,
        state,
        specs,
        tests,
        keep,
        commit,
        tree,
        tracked,
        tools,
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

/// What a step may keep is not packed, for it is not the same in each build; what git tracks is.
fn refuse_tracked(keep: &[EntryPath], tracked: &[EntryPath]) -> Result<()> {
    let both = |kept: &&EntryPath| tracked.iter().any(|path| path.starts_with(kept));
    let Some(kept) = keep.iter().find(both) else {
        return Ok(());
    };
    let message = format!("git tracks files in {kept}, which a step's `keep` names");
    Err(CliError::new(Kind::Usage, message).hint(
        "`keep` is for what a step makes and needs again, such as a compiler's output; it is not packed",
    ))
}

/// Asks for what the steps need, in a directory of its own: no workspace is open yet.
fn preflight(
    specs: &[StepSpec],
    tree: &CommitTree,
    tracked: &[EntryPath],
    context: &Context,
) -> Result<Tools> {
    let aside = tempfile::tempdir().map_err(|error| CliError::disk("making a temporary directory", error))?;
    let directory = |name| aside.path().join(name);
    let workspace = Workspace {
        root: directory("tree"),
        logs: directory("logs"),
        cache: directory("cache"),
        aside: directory("aside"),
        base_env: settle::steps::base_environment(context),
        jobs: context.jobs(),
    };
    let flag = context.interrupt.flag();
    let _wait = (!specs.is_empty()).then(|| context.output.waiting("asking the tools"));
    Ok(shipit_steps::preflight(specs, tree, tracked, &workspace, flag)?)
}

/// An artifact that has no name yet.
struct Made {
    artifact: Artifact,
    pending: promote::Pending,
    layers: Vec<LayerFrom>,
    logs: PathBuf,
    workspace: Option<BuildWorkspace>,
}

fn make(
    inputs: &Inputs<'_>,
    request: &BuildRequest<'_>,
    second: bool,
    cache: &mut Cache<'_>,
) -> Result<Made> {
    let (config, context) = (inputs.config, inputs.context);
    let places = Places::new(config, &inputs.commit, &inputs.state, second, context)?;
    let packer = Packer::new(config, context)?;
    let mut steps = Steps::new(
        Given {
            context,
            commit: &inputs.commit,
            tree: &inputs.tree,
            tracked: &inputs.tracked,
            places: &places,
            packer: &packer,
            tools: &inputs.tools,
            platform: shipit_steps::platform(),
            specs: &inputs.specs,
            keep: inputs.keep.clone(),
            clean: request.clean,
            explain: request.explain && !second,
        },
        cache,
    );
    steps.run()?;
    let pending = promote::Pending::open(&inputs.state)?;
    let assembled = assemble(inputs, &packer, &steps, &pending).map_err(|error| steps.explained(error))?;
    let artifact = match assembled {
        Assembled::Artifact(artifact) => *artifact,
        // A cached layer's frames are read here and not before. Without it, its step runs; each round has one layer less.
        Assembled::Damaged { path, why } => {
            drop(steps);
            cache.discard(&path, &why)?;
            return make(inputs, request, second, cache);
        }
    };
    let layers = steps.packed().map(|(_, from)| from).collect();
    let mut workspace = steps.into_workspace();
    for test in &inputs.tests {
        if workspace.is_none() {
            workspace = Some(BuildWorkspace::open(&places, context)?);
        }
        if let Some(workspace) = &workspace {
            test::run(test, &artifact, workspace, &places.steps, context)?;
        }
    }
    Ok(Made {
        artifact,
        pending,
        layers,
        logs: places.steps.logs.clone(),
        workspace,
    })
}

/// Packs the code: of the commit, or of the workspace when a step changed it.
fn assemble(
    inputs: &Inputs<'_>,
    packer: &Packer<'_>,
    steps: &Steps<'_, '_>,
    pending: &promote::Pending,
) -> Result<Assembled> {
    let directory = steps.code_directory().map(DirTree::new).transpose()?;
    let code = Code {
        tree: match &directory {
            Some(directory) => directory,
            None => &inputs.tree as &dyn Tree,
        },
        owned: steps.owned(),
    };
    let sealed: Vec<SealedLayer> = steps.packed().map(|(sealed, _)| sealed.clone()).collect();
    packer.assemble(&sealed, code, &inputs.commit, draft(inputs), pending)
}

fn draft(inputs: &Inputs<'_>) -> RecordDraft {
    RecordDraft {
        app: inputs.config.app.clone(),
        revision: inputs.commit.id.clone(),
        steps: inputs
            .specs
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
        tools: inputs
            .tools
            .all()
            .into_iter()
            .map(|tool| Tool {
                name: tool.name,
                version: tool.version,
            })
            .collect(),
    }
}
