//! What `carton install --deployment` goes by: cpanfile, cpanfile.snapshot and vendor/cache. A cpanfile is a program: when it
//! does more than name modules, all that it might read counts.

use super::LayerKey;
use super::gather::Gather;
use super::words::perl_is_plain;
use crate::error::Error;

/// The key of the step's layer.
pub(super) fn key(mut gather: Gather<'_>) -> Result<LayerKey, Error> {
    if let Some(path) = gather.path("cpanfile.snapshot") {
        gather.file("lockfile", &path)?;
    }
    // cpanm looks for what has to be there before a configuration in META.
    gather.known(&["cpanfile", "META.json", "META.yml"])?;
    if let Some(cache) = gather
        .path("vendor/cache")
        .filter(|path| gather.files.is_dir(Some(path)))
    {
        gather.parts.set("option cached", "true");
        gather.below(Some(&cache))?;
    }
    let content = match gather.path("cpanfile") {
        Some(path) => gather.content(&path)?.unwrap_or_default(),
        None => Vec::new(),
    };
    if !perl_is_plain(&String::from_utf8_lossy(&content)) && gather.request.spec.inputs.is_empty() {
        gather.below(gather.request.spec.dir.as_ref())?;
    }
    Ok(gather.parts.finish())
}
