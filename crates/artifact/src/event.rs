//! What this crate tells while it works.

use serde::Serialize;

/// One thing that happened, for a reporter to render. Sizes are in bytes.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A path that is not packed.
    Skipped {
        /// Of which layer.
        layer: String,
        /// Which path, printable.
        path: String,
        /// Why.
        reason: SkipReason,
    },
    /// A layer's files are listed and its packing begins.
    LayerStarted {
        /// The layer's name.
        layer: String,
        /// How many entries.
        entries: u64,
        /// Their bytes as a tar stream.
        unpacked_size: u64,
    },
    /// A frame of a layer was written.
    LayerProgress {
        /// The layer's name.
        layer: String,
        /// Bytes of the tar stream that are packed so far.
        done: u64,
        /// All bytes of the tar stream.
        total: u64,
    },
    /// Frames of older layers were taken over into a layer.
    FramesReused {
        /// The layer's name.
        layer: String,
        /// How many frames.
        frames: u64,
        /// Their bytes as a tar stream.
        unpacked_size: u64,
        /// Their bytes as stored.
        size: u64,
    },
    /// A layer is complete.
    LayerFinished {
        /// The layer's name.
        layer: String,
        /// How many entries.
        entries: u64,
        /// Its bytes as a tar stream.
        unpacked_size: u64,
        /// Its bytes as stored.
        size: u64,
    },
    /// A sealed layer was copied into the artifact.
    LayerCopied {
        /// The layer's name.
        layer: String,
        /// Its bytes as stored.
        size: u64,
    },
    /// The artifact has its name.
    ArtifactWritten {
        /// Its SHA-256.
        sha256: String,
        /// Its size.
        size: u64,
        /// Whether the same artifact and record were there before.
        reused: bool,
    },
    /// Entries were unpacked.
    UnpackProgress {
        /// How many so far.
        entries: u64,
        /// Bytes of file content so far.
        bytes: u64,
    },
}

/// Why a path is not packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// A socket, fifo or device.
    Special,
    /// `*.pid` or `*.socket`: what a running process leaves is never part of an artifact.
    RunState,
}
