//! What goes into which layer, and how it is packed: each dependency step's files when the step ends, the code at the end.

use std::path::{Path, PathBuf};

use shipit_artifact::{
    Artifact, Compression, DirTree, EntryPath, FORMAT_VERSION, LayerKind, LayerPlan, Mtime, PackOptions,
    RecordDraft, SealedLayer, Selection, Tree, assemble, seal_layer_reusing,
};
use shipit_source::Commit;
use shipit_steps::Vendored;

use super::promote::Pending;
use crate::config::{self, Settled};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::report;

/// Dependency layers are packed once for many builds, the code for each.
pub(super) const DEPENDENCY_LEVEL: i32 = 9;
const CODE_LEVEL: i32 = 3;
/// What later steps alone see is in nobody's artifact: packed for the local cache, where speed counts.
const FULL_LEVEL: i32 = 1;

/// How this config packs.
pub struct Packer<'a> {
    config: &'a Settled,
    context: &'a Context,
    root: Option<EntryPath>,
}

/// A layer to be sealed.
pub struct Sealing<'a> {
    /// The step's name.
    pub step: &'a str,
    /// The layer's key, where it has one.
    pub key: Option<String>,
    /// Where its files go.
    pub dir: &'a Path,
    /// Older layers of the same step, whose unchanged frames are taken over.
    pub older: &'a [&'a SealedLayer],
}

/// What became of putting an artifact together.
pub enum Assembled {
    /// It is whole.
    Artifact(Box<Artifact>),
    /// A sealed layer's file is not what it was when it was sealed.
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The code: a tree without what layers own.
pub struct Code<'a> {
    /// The commit's, or the workspace as the steps left it.
    pub tree: &'a dyn Tree,
    /// The paths that are layers' alone, from the tree's root.
    pub owned: Vec<EntryPath>,
}

impl<'a> Packer<'a> {
    /// By `[build]`.
    pub fn new(config: &'a Settled, context: &'a Context) -> Result<Self> {
        let root = config
            .build
            .root
            .as_deref()
            .map(EntryPath::new)
            .transpose()
            .map_err(|error| CliError::from_source(Kind::Usage, error).context("build.root"))?;
        Ok(Packer {
            config,
            context,
            root,
        })
    }

    /// The directory that is packed alone.
    pub fn root(&self) -> Option<&EntryPath> {
        self.root.as_ref()
    }

    /// What of a dependency layer's bytes follows from how it is packed: a part of its key.
    pub fn format(&self) -> String {
        let name = match self.compression() {
            Compression::Zstd => "zstd",
            Compression::Gzip => "gzip",
        };
        format!("{FORMAT_VERSION} {name} {DEPENDENCY_LEVEL}")
    }

    /// What of a step's paths lies in `build.root`, and is packed.
    pub fn packed(&self, paths: &[EntryPath]) -> Vec<EntryPath> {
        let inside = |path: &EntryPath| match &self.root {
            Some(root) if root.starts_with(path) => Some(root.clone()),
            Some(root) => path.starts_with(root).then(|| path.clone()),
            None => Some(path.clone()),
        };
        paths.iter().filter_map(inside).collect()
    }

    /// Seals what of the vendored files is packed.
    pub fn seal(&self, sealing: &Sealing<'_>, vendored: &Vendored) -> Result<SealedLayer> {
        let tree = DirTree::new(&vendored.root)?.only(self.packed(&vendored.paths));
        let tree = match &self.root {
            Some(root) => tree.rooted(root.clone())?,
            None => tree,
        };
        self.seal_tree(sealing, &tree, DEPENDENCY_LEVEL)
    }

    /// Seals the tree that later steps see, for builds that need it again.
    pub fn seal_full(&self, sealing: &Sealing<'_>, vendored: &Vendored) -> Result<SealedLayer> {
        let tree = DirTree::new(&vendored.workspace)?.only(vendored.owned.clone());
        self.seal_tree(sealing, &tree, FULL_LEVEL)
    }

    fn seal_tree(&self, sealing: &Sealing<'_>, tree: &dyn Tree, level: i32) -> Result<SealedLayer> {
        let plan = LayerPlan {
            name: sealing.step.to_owned(),
            kind: LayerKind::Dependencies,
            key: sealing.key.clone(),
            tree,
            mtime: Mtime::FromContent,
            level,
        };
        let reporter = report::Artifact::new(&self.context.output, format!("listing {}", sealing.step));
        let on_event = |event| reporter.event(&event);
        Ok(seal_layer_reusing(
            &plan,
            sealing.dir,
            sealing.older,
            &self.options(&on_event),
        )?)
    }

    /// Packs the code behind the sealed layers.
    pub fn assemble(
        &self,
        sealed: &[SealedLayer],
        code: Code<'_>,
        commit: &Commit,
        draft: RecordDraft,
        pending: &Pending,
    ) -> Result<Assembled> {
        let mut exclude = self.config.build.exclude.clone();
        // A repository that a step cloned: the artifact is no place for one, and no two clones are the same.
        exclude.push(".git".to_owned());
        let all_owned = self.is_owned(&code.owned);
        let tree = Selection::of(code.tree)
            .without(code.owned)
            .exclude(&exclude)
            .map_err(|error| CliError::from_source(Kind::Usage, error).context("build.exclude"))?;
        let revision = revision_path()?;
        let tree = if all_owned {
            tree.only(vec![revision.clone()])
        } else {
            self.rooted(tree)?
        };
        // The tree's REVISION stands at its top; with a root, the packed top is another one.
        let tree = match &self.root {
            Some(_) => tree.with_file(revision, format!("{}\n", commit.id).into_bytes()),
            None => tree,
        };
        let plan = LayerPlan {
            name: "code".to_owned(),
            kind: LayerKind::Code,
            key: None,
            tree: &tree,
            mtime: Mtime::Fixed(commit.time),
            level: CODE_LEVEL,
        };
        let reporter = report::Artifact::new(&self.context.output, "listing the code");
        let on_event = |event| reporter.event(&event);
        let options = self.options(&on_event);
        let of_layer = |path: &Path| {
            sealed
                .iter()
                .any(|layer| [layer.frames.as_path(), layer.index.as_path()].contains(&path))
        };
        match assemble(sealed, &plan, draft, pending.directory(), &options) {
            Ok(artifact) => Ok(Assembled::Artifact(Box::new(artifact))),
            Err(error) => match damage(&error) {
                Some((path, why)) if of_layer(path) => Ok(Assembled::Damaged {
                    path: path.to_owned(),
                    why,
                }),
                _ => Err(error.into()),
            },
        }
    }

    /// Whether all of `build.root` is a layer's, so that no code is in it.
    fn is_owned(&self, owned: &[EntryPath]) -> bool {
        let root = self.root.as_ref();
        root.is_some_and(|root| owned.iter().any(|path| root.starts_with(path)))
    }

    fn rooted<'t>(&self, tree: Selection<'t>) -> Result<Selection<'t>> {
        let Some(root) = &self.root else { return Ok(tree) };
        tree.rooted(root.clone()).map_err(|error| {
            let message =
                format!("build.root = \"{root}\" is no directory of the tree, nor did a step make it");
            CliError::from_source(Kind::Usage, error)
                .context(message)
                .hint("correct build.root in the config")
        })
    }

    /// The artifact's compression.
    pub fn compression(&self) -> Compression {
        match self.config.build.compression {
            config::Compression::Zstd => Compression::Zstd,
            config::Compression::Gzip => Compression::Gzip,
        }
    }

    fn options<'b>(&'b self, on_event: &'b (dyn Fn(shipit_artifact::Event) + Sync)) -> PackOptions<'b> {
        PackOptions {
            compression: self.compression(),
            jobs: self.context.jobs(),
            cancel: self.context.interrupt.flag(),
            on_event,
        }
    }
}

fn revision_path() -> Result<EntryPath> {
    EntryPath::new("REVISION")
        .map_err(|error| CliError::from_source(Kind::Internal, error).context("naming REVISION"))
}

/// The file that an error says to be damaged, and how: it differs, cannot be read back from the disk, or is gone.
fn damage(error: &shipit_artifact::Error) -> Option<(&Path, String)> {
    use std::io::ErrorKind;
    match error {
        shipit_artifact::Error::Differs { path, why } => Some((path, why.clone())),
        shipit_artifact::Error::Index { path, source } => Some((path, source.to_string())),
        shipit_artifact::Error::Io { path, source, .. } => {
            let unreadable = source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
            let gone = matches!(
                source.kind(),
                ErrorKind::NotFound
                    | ErrorKind::IsADirectory
                    | ErrorKind::NotADirectory
                    | ErrorKind::UnexpectedEof
            );
            // A hold keeps it from `shipit cache prune`, not from `rm`.
            let why = match source.kind() {
                ErrorKind::NotFound => "something removed it while the build used it".to_owned(),
                _ => source.to_string(),
            };
            (unreadable || gone).then_some((path.as_path(), why))
        }
        _ => None,
    }
}
