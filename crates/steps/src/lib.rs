//! The steps of a build: presets that know their tool, commands, and the processes they run.
//!
//! [`preflight`] says what keeps the steps from running before any does; [`run`] runs one step in the exported tree and
//! says what it [vendored](Vendored); [`Kept`] is the workspace, and notices what later steps change in that; [`run_test`] runs a test on
//! an unpacked artifact. A step's processes are kept together: at its end, its timeout or a cancel, all that it started
//! is ended, what left its process group too when [`become_subreaper`] was called.
//!
//! Not done here: exporting the tree, packing, the order of the steps, showing anything.
//!
//! Each step has a clean environment, no standard input, umask 022, a session of its own and a log. Secrets are masked
//! in all that leaves this crate. See `docs/steps.md` for what each preset runs and removes.

mod as_packed;
mod cache;
mod command;
mod error;
mod event;
mod guard;
mod kept;
mod key;
mod mask;
mod normalise;
mod output;
mod packages;
mod preflight;
mod presets;
mod processes;
mod runner;
mod running;
mod session;
mod spec;
mod step;
mod test_run;
mod tree_files;
mod vendored;

pub use cache::{
    Bounds, CacheEntry, CacheEntryLayer, CacheError, CacheErrorKind, CacheSize, CachedLayer, DamagedEntry,
    Found, LayerCache, LayerMeta, LayerTree, MaxAge, Pruned, PrunedEntry, Turn, Verified, Why,
};
pub use error::{End, Error, ErrorKind, Problem};
pub use event::{Event, OnEvent};
pub use kept::{Distrust, InPlace, Kept, KeptError, PlannedFile, Stand, UpdateError, UpdateRequest, Updated};
pub use key::{
    Difference, EarlierLayer, KeyPart, KeyRequest, LayerKey, Platform, StepKeys, differences, layer_keys,
    platform, refuse_kept_inputs,
};
pub use mask::Masker;
pub use packages::packages;
pub use preflight::{ToolVersion, Tools, preflight};
pub use presets::{Leftover, Needed, Preset, Program};
pub use processes::become_subreaper;
pub use spec::{EnvVar, GoOutput, StepSpec, TestSpec, Tool, Workspace};
pub use step::{StepOutcome, run};
pub use test_run::{TestOutcome, run_test};
pub use vendored::Vendored;
