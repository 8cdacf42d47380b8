//! What a command follows from: its words, and the `inputs` that its owner names.

use super::LayerKey;
use super::gather::Gather;
use crate::error::Error;

/// The key of the step's layer.
pub(super) fn key(mut gather: Gather<'_>, command: &str) -> Result<LayerKey, Error> {
    gather.setting("command", command);
    let mut outputs = gather.request.spec.outputs.clone();
    outputs.sort();
    gather.names("outputs", &outputs);
    Ok(gather.parts.finish())
}
