//! `shipit man`.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use crate::args::Cli;
use crate::context::Context;
use crate::errors::{CliError, Result};

/// Print the man page, or write one page per command into a directory.
///
/// For example: `shipit man | man -l -`, or `shipit man --dir /usr/local/share/man/man1`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write shipit.1, shipit-build.1 and so on into this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn run(args: &ManArgs, context: &Context) -> Result<()> {
    let command = Cli::command();
    match &args.dir {
        None => context.output.raw(&page(&command)?),
        Some(dir) => {
            let dir = context.absolute(dir)?;
            std::fs::create_dir_all(&dir)
                .map_err(|error| CliError::disk(format!("creating {}", dir.display()), error))?;
            clap_mangen::generate_to(command, &dir)
                .map_err(|error| CliError::disk(format!("writing man pages into {}", dir.display()), error))
        }
    }
}

fn page(command: &clap::Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page).map_err(|error| {
        CliError::disk(format!("rendering the man page of {}", command.get_name()), error)
    })?;
    Ok(page)
}
