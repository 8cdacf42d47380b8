//! The `shipit` binary: parses the command line, runs one command, renders its error, ends with its exit code.

mod args;
mod build;
mod commands;
mod config;
mod context;
mod environment;
mod errors;
mod interrupt;
mod kick;
mod linked;
mod notify;
mod output;
mod plain;
mod prune;
mod releases;
mod report;
mod settle;
mod state;
mod status;
mod times;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::context::Context;
use crate::environment::Environment;
use crate::output::Output;

fn main() -> ExitCode {
    let environment = Environment::of_this_process();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version end well, on stdout; a usage error ends with 2, on stderr: both are clap's own.
        Err(error) if !error.use_stderr() || !is_watched_apply(&environment) => return output::usage(&error),
        Err(error) => {
            let _ = output::usage(&error);
            // As for all that fails in it: the watch would end with its handler.
            return ExitCode::SUCCESS;
        }
    };
    let output = Output::new(&cli.global, &environment);
    let result = Context::new(&cli.global, environment, output.clone())
        .and_then(|context| commands::dispatch(&cli.command, &context));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.code())
        }
    }
}

/// Whether this is the handler of a `consul watch`, as far as a command line tells that could not be parsed: an option before
/// the command may have a value.
fn is_watched_apply(environment: &Environment) -> bool {
    environment.text("CONSUL_INDEX").is_some() && std::env::args_os().any(|argument| argument == "apply")
}
