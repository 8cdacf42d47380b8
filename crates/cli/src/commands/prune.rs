//! `shipit prune`.

use std::num::NonZeroU32;

use clap::Args;
use serde::Serialize;

use crate::config::Span;
use crate::context::Context;
use crate::errors::Result;
use crate::prune::{Options, Pruned, all, of, prune, tell};

/// Remove old releases, and the artifacts and layers that nothing refers to any more.
///
/// Of each role of a stage the newest good releases stay. So does what is live, what a role would go back to or be repaired
/// with, what is being kicked, the newest release of a stage, whatever was published within the last hour, and every byte that
/// a release of any stage in the store refers to. A release that failed on its hosts takes no place of a good one. Prints a line for
/// each object: what it is, its bytes, its key, with tabs between. It keeps publishes out for as long as it runs.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// How many good releases of each role stay in a stage [default: prune.keep]
    #[arg(long, value_name = "N")]
    keep: Option<NonZeroU32>,
    /// Say what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Only the releases of this stage [default: $SHIPIT_STAGE, else those of every stage of the config]
    #[arg(long, short, value_name = "STAGE")]
    stage: Option<String>,
    /// How long to wait while a publish or another prune is under way
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = Span::parse)]
    lock_wait: Span,
}

/// The document of `--output json`; a prune that ended early has it too, as far as it came.
#[derive(Debug, Serialize)]
struct Report {
    dry_run: bool,
    stores: Vec<Pruned>,
}

pub fn run(args: &PruneArgs, context: &Context) -> Result<()> {
    let options = Options {
        keep: args.keep,
        dry_run: args.dry_run,
        lock_wait: args.lock_wait.get(),
    };
    let stage = args
        .stage
        .clone()
        .or_else(|| context.environment.text("SHIPIT_STAGE"));
    let stores = match stage.filter(|stage| !stage.is_empty()) {
        Some(stage) => vec![of(context, &stage)?],
        None => all(context)?,
    };
    let mut pruned = Vec::new();
    let mut ended = Ok(());
    for shared in &stores {
        ended = prune(shared, options, &mut pruned, context);
        if ended.is_err() {
            break;
        }
    }
    for one in &pruned {
        tell(one, options, context)?;
    }
    context.output.json(&Report {
        dry_run: args.dry_run,
        stores: pruned,
    })?;
    ended
}
