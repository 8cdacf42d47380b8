//! What this crate tells while it works. How it is shown is the cli's.

use std::path::PathBuf;

use serde::Serialize;

/// One thing that happened. `step` is the name of the step or of the test, `key` that of a layer.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A command of the step is about to run. The npm preset with `production = true` runs two, go one a package.
    Started {
        /// The step.
        step: String,
        /// The command as it would be typed in a shell, secrets masked.
        command: String,
        /// Where it runs.
        dir: PathBuf,
        /// Where its output is written to.
        log: PathBuf,
    },
    /// The step printed lines, on standard output or error: all that came at once, at least one.
    Output {
        /// The step.
        step: String,
        /// The lines: secrets masked, without their ends, escape sequences and what a carriage return overwrote; lines
        /// above 16 KiB come in pieces.
        lines: Vec<String>,
    },
    /// A process outlived its step, and was ended.
    LeftBehind {
        /// The step.
        step: String,
        /// The process.
        pid: i32,
        /// Its command line, secrets masked.
        command: String,
        /// Whether it had left the step's process group, as a daemon does.
        daemon: bool,
    },
    /// Leftovers of the installer that differ from one build to the next were removed from what it vendored.
    Normalised {
        /// The step.
        step: String,
        /// How many files.
        files: usize,
    },
    /// JUnit files of a test were collected.
    Reports {
        /// The test.
        step: String,
        /// The copies, beside the log.
        files: Vec<PathBuf>,
    },
    /// Something that does not stop the build, but that its owner should know.
    Warning {
        /// The step.
        step: String,
        /// What, and what to do about it.
        message: String,
    },
    /// Another builder makes the layer with this key; it is waited for.
    LayerAwaited {
        /// The layer's key.
        key: String,
    },
    /// The builder that was waited for is done, one way or another.
    LayerTurn {
        /// The layer's key.
        key: String,
        /// How long it was waited for, in seconds.
        seconds: f64,
    },
    /// Frames of the cache's layers were checked.
    LayersChecked {
        /// How many bytes so far.
        bytes: u64,
    },
    /// The step is done.
    Ended {
        /// The step.
        step: String,
        /// How long it took, in seconds.
        seconds: f64,
    },
}

/// Where events go.
pub type OnEvent<'a> = &'a (dyn Fn(Event) + Sync);
