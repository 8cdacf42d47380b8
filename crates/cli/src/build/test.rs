//! Build tests: each on what `tar xf` of the artifact gives, not on the tree that was packed.

use std::fs::File;

use shipit_artifact::{Artifact, Limits, UnpackOptions, unpack};
use shipit_steps::{TestSpec, Workspace};

use super::workspace::BuildWorkspace;
use crate::context::Context;
use crate::errors::{CliError, Result};
use crate::report;
use crate::state::create_directory;

/// Unpacks the artifact, for the first test, and runs the test in the copy.
pub fn run(
    test: &TestSpec,
    artifact: &Artifact,
    workspace: &BuildWorkspace,
    steps: &Workspace,
    context: &Context,
) -> Result<()> {
    let directory = workspace.test_directory();
    if !directory.exists() {
        create_directory(&directory)?;
        let file = File::open(&artifact.path)
            .map_err(|error| CliError::disk(format!("opening {}", artifact.path.display()), error))?;
        // These bytes are ours: what is a bomb on a host is only a large application here.
        let limits = Limits {
            entries: u64::MAX,
            bytes: u64::MAX,
            ratio: u64::MAX,
            free_bytes: u64::MAX,
        };
        let options = UnpackOptions {
            limits,
            ..UnpackOptions::new(context.interrupt.flag(), &|_| {})
        };
        unpack(file, &directory, &options)?;
    }
    let reporter = report::Steps::new(&context.output);
    let on_event = |event| reporter.event(&event);
    shipit_steps::run_test(test, &directory, steps, context.interrupt.flag(), &on_event)
        .map_err(|error| report::step_failed(error, &context.output).context("the artifact is not kept"))?;
    Ok(())
}
