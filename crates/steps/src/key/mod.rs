//! What a layer follows from: the key under which it is kept, and the parts that the key is made of.
//!
//! A key is the SHA-256 of its parts, and the parts are all that decides what a step vendors: the step's own settings, the
//! tools' versions, the platform, lockfiles and whatever other files the tool reads. Everything is read from a
//! [`Tree`], so that a key can be had without a file on disk.
//!
//! Not done here: keeping layers, asking the tools (`preflight`), deciding what becomes of a hit.

mod bundle;
mod carton;
mod gather;
mod inputs;
mod json;
mod npm;
mod parts;
mod pattern;
mod platform;
mod run;
mod words;

use serde::{Deserialize, Serialize};
use shipit_artifact::{EntryPath, Tree};

use crate::error::Error;
use crate::mask::Masker;
use crate::preflight::ToolVersion;
use crate::spec::{StepSpec, Tool};
use crate::tree_files::TreeFiles;
use gather::Gather;

pub use parts::differences;
pub(crate) use pattern::Pattern;
pub use pattern::refuse_kept_inputs;
pub use platform::{Platform, platform};

/// What a layer follows from. Two layers with one key hold the same files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerKey {
    /// 64 lower-case hexadecimal digits: the SHA-256 of the parts.
    pub key: String,
    /// Sorted by name, each name once.
    pub parts: Vec<KeyPart>,
}

/// One thing that a layer follows from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyPart {
    /// What it is: `lockfile web/package-lock.json`, `tool node`, `platform`, `env NODE_ENV`, `option production`.
    pub name: String,
    /// Printable, and never a secret: a version, a setting, or `sha256:` and the digest of a content.
    pub value: String,
}

/// The layer of a step before the one that is asked about.
#[derive(Debug, Clone)]
pub struct EarlierLayer {
    /// The key of the tree that later steps see: [`StepKeys::seen`].
    pub key: LayerKey,
    /// The paths that are its alone: [`StepKeys::owned`].
    pub owned: Vec<EntryPath>,
}

/// What the key of a step's layer is made from.
#[derive(Clone, Copy)]
pub struct KeyRequest<'a> {
    /// The step.
    pub spec: &'a StepSpec,
    /// The tree that the step would run in. What it holds at paths that the step itself or an earlier layer owns does not
    /// count, so that it may be the commit's as well as the workspace. It must not hold what later steps vendored.
    pub tree: &'a dyn Tree,
    /// All files of the commit.
    pub tracked: &'a [EntryPath],
    /// The versions of the step's tools, for a command those of all presets: [`Tools::of`](crate::Tools::of).
    pub tools: &'a [ToolVersion],
    /// Where the step runs.
    pub platform: &'a Platform,
    /// How the layer is packed: `1 zstd 9`.
    pub format: &'a str,
    /// The directory that is packed alone (`build.root`); `None` is the whole tree.
    pub root: Option<&'a EntryPath>,
    /// The layers of the steps before it, in order.
    pub earlier: &'a [EarlierLayer],
}

/// The keys of a step's layer, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepKeys {
    /// The layer that is packed.
    pub packed: LayerKey,
    /// The tree that later steps see, where it is another than the packed one (npm with `production = true`).
    pub full: Option<LayerKey>,
    /// Where files of the packed layer may be, sorted.
    pub paths: Vec<EntryPath>,
    /// All paths that are the layer's alone, sorted, in the workspace too.
    pub owned: Vec<EntryPath>,
    /// Why the keys cannot be relied on, in sentences to be told the step's owner: a pattern of `inputs` that matches no file of
    /// the tree and no earlier layer, a link among them that leaves the tree. Unless it is empty, no layer must be
    /// taken for these keys, nor kept under them.
    pub unsure: Vec<String>,
}

impl StepKeys {
    /// The key of the tree that later steps see.
    #[must_use]
    pub fn seen(&self) -> &LayerKey {
        self.full.as_ref().unwrap_or(&self.packed)
    }
}

/// A part in which two keys differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The part's name.
    pub part: String,
    /// Its old value, digests shortened; `None` when it is new.
    pub old: Option<String>,
    /// Its new value; `None` when it is gone.
    pub new: Option<String>,
}

/// The keys of the layer that a step would make now; `None` when it makes none (go, a command without `inputs` and
/// `outputs`, `layer = false`).
///
/// # Errors
/// [`Error::Spec`] for what the step's owner has to mend, such as a lockfile that is no JSON; [`Error::Tree`] when the tree
/// cannot be read.
pub fn layer_keys(request: &KeyRequest<'_>) -> Result<Option<StepKeys>, Error> {
    let spec = request.spec;
    let failed = |source| Error::Tree {
        step: spec.name.clone(),
        source,
    };
    let files = TreeFiles::new(request.tree).map_err(failed)?;
    let owned = gather::owned(request, &files)?;
    if owned.is_empty() {
        return Ok(None);
    }
    let secrets = spec.env.iter().filter(|var| var.secret);
    let masker = Masker::new(secrets.map(|var| var.value.as_str()));
    let mut gather = Gather::new(request, &files, &owned, &masker)?;
    let unsure = gather.inputs()?;
    let (packed, full) = match &spec.tool {
        Tool::Npm { production } => npm::keys(gather, *production)?,
        Tool::Bundle { without } => (bundle::key(gather, without)?, None),
        Tool::Carton => (carton::key(gather)?, None),
        Tool::Run { command } => (run::key(gather, command)?, None),
        Tool::Go { .. } => return Ok(None),
    };
    let inside = |path: &&EntryPath| {
        let meets = |root: &EntryPath| path.starts_with(root) || root.starts_with(path);
        request.root.is_none_or(meets)
    };
    let paths = owned.iter().filter(inside).cloned().collect();
    Ok(Some(StepKeys {
        packed,
        full,
        paths,
        owned,
        unsure,
    }))
}

#[cfg(test)]
mod tests;
