//! The order of a build, written once: source, export, preflight, steps with their layers, code, tests, the artifact's name.

mod pack;
mod promote;
mod test;
mod workspace;

use std::path::PathBuf;

use shipit_artifact::{Artifact, RecordDraft, RecordStep, Tool};
use shipit_source::{Commit, CommitTree, Source, TreeOptions};
use shipit_steps::{StepSpec, ToolVersion};

use crate::config::Settled;
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::report;
use crate::settle;
use crate::state::{BuildState, StateDirectory};

use pack::Packer;
use workspace::BuildWorkspace;

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

    let flag = context.interrupt.flag();
    let tools = shipit_steps::preflight(&specs, &tree, &tree.tracked(), workspace.steps(), flag)?;
    let mut packer = Packer::new(config, &workspace, context)?;
    run_steps(&specs, &workspace, &mut packer, context)?;

    let pending = promote::Pending::open(&state)?;
    let artifact = packer.assemble(&commit, draft(config, &commit, &specs, &tools.all()), &pending)?;
    for test in &tests {
        test::run(test, &artifact, &workspace, context)?;
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
    let (root, jobs) = (&workspace.steps().root, context.jobs());
    tree.export(root, jobs, context.interrupt.flag(), &|event| reporter.event(&event))?;
    Ok(())
}

fn run_steps(
    specs: &[StepSpec],
    workspace: &BuildWorkspace,
    packer: &mut Packer<'_>,
    context: &Context,
) -> Result<()> {
    let reporter = report::Steps::new(&context.output);
    for spec in specs {
        let on_event = |event| reporter.event(&event);
        let outcome = shipit_steps::run(spec, workspace.steps(), context.interrupt.flag(), &on_event)
            .map_err(|error| report::step_failed(error, &context.output))?;
        packer.seal(&outcome)?;
    }
    packer.warn_of_changes()
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
