//! Where things stand below a role's dest, and what may be trusted there.
//!
//! `.layers/<index sha256>/` holds a layer: `index` as stored, `files/` (dependency layers alone), and `used/`, with an empty file
//! for each release that has files of it. `.layers/.new/` is where all of that is made; who holds dest's lock removes it
//! first. A kept record stands at `.shipit/<release>.record.json`, where the default template's pruning takes it along.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::stage::remove_tree;

/// The places of one role's dest and one release.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) dest: PathBuf,
    pub(crate) release: String,
}

/// Directories that an index or a layer can be named by are named so; everything else in `.layers` is not a layer.
pub(crate) fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Places {
    pub(crate) fn layers(&self) -> PathBuf {
        self.dest.join(".layers")
    }

    /// A layer's own directory.
    pub(crate) fn layer(&self, index_sha256: &str) -> PathBuf {
        self.layers().join(index_sha256)
    }

    /// Where everything is made.
    pub(crate) fn new_dir(&self) -> PathBuf {
        self.layers().join(".new")
    }

    /// Where the release's tree is put together.
    pub(crate) fn tree(&self) -> PathBuf {
        self.new_dir().join("tree")
    }

    pub(crate) fn release_dir(&self, release: &str) -> PathBuf {
        self.dest.join("releases").join(release)
    }

    pub(crate) fn record(&self, release: &str) -> PathBuf {
        self.dest.join(".shipit").join(format!("{release}.record.json"))
    }

    /// The manifest's `excludes`, each ended by a NUL but the last; there only when there are any.
    pub(crate) fn excludes(&self, release: &str) -> PathBuf {
        self.dest.join(".shipit").join(format!("{release}.excludes"))
    }

    /// Whether the release stands complete in its place, as the default template marks it.
    pub(crate) fn is_complete(&self) -> bool {
        let mark = self
            .dest
            .join(".shipit")
            .join(format!("{}.complete", self.release));
        mark.exists() && is_real_dir(&self.release_dir(&self.release))
    }

    /// The release that `current` leads to.
    pub(crate) fn in_service(&self) -> Option<String> {
        let target = fs::read_link(self.dest.join("current")).ok()?;
        let name = target.strip_prefix("releases").ok()?.to_str()?;
        let plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        plain.then(|| name.to_owned())
    }

    /// Makes `.layers` and an empty `.layers/.new`. The caller holds dest's lock.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| Error::disk("making the directory", path, error)
        };
        if !self.dest.exists() {
            fs::create_dir_all(&self.dest).map_err(failed(&self.dest))?;
            open_to_all(&self.dest)?;
        }
        let layers = self.layers();
        match fs::DirBuilder::new().mode(0o755).create(&layers) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(failed(&layers))?,
        }
        let meta = layers.symlink_metadata().map_err(failed(&layers))?;
        if let Some(why) = unusable(&meta) {
            return Err(Error::disk("using the directory", &layers, io::Error::other(why)));
        }
        // An app that follows a link into it has to get there, whatever the umask is.
        open_to_all(&layers)?;
        self.clear()?;
        let new = self.new_dir();
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&new)
            .map_err(failed(&new))
    }

    /// Whether `.layers` is ours: what it leads to otherwise may be another app's, and nothing in it is removed.
    pub(crate) fn are_ours(&self) -> bool {
        self.layers()
            .symlink_metadata()
            .is_ok_and(|meta| unusable(&meta).is_none())
    }

    /// Removes what is being made.
    pub(crate) fn clear(&self) -> Result<(), Error> {
        if !self.are_ours() {
            return Ok(());
        }
        let new = self.new_dir();
        remove_tree(&new).map_err(|error| Error::disk("removing", new, error))
    }
}

/// Why what stands at `.layers` cannot be trusted with layers.
fn unusable(meta: &fs::Metadata) -> Option<&'static str> {
    if !meta.is_dir() {
        Some("it is no directory; move it away, and layers are kept again")
    } else if meta.uid() != rustix::process::geteuid().as_raw() {
        Some("another user owns it; remove it, or give it to the user that runs apply")
    } else if meta.mode() & 0o022 != 0 {
        Some("others may write to it; `chmod go-w` it, and find out who did: what it holds may be theirs")
    } else {
        None
    }
}

/// Gives the directory mode 0755, which a umask may have kept from it.
pub(crate) fn open_to_all(dir: &Path) -> Result<(), Error> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
        .map_err(|error| Error::disk("setting the mode of", dir, error))
}

/// A directory, and no link to one.
pub(crate) fn is_real_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

/// Writes a file that appears whole or not at all; its directory is made.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |error| Error::disk("writing", path, error);
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).map_err(failed)?;
    let mut file = tempfile::Builder::new()
        .prefix(".shipit-")
        .suffix(".part")
        .permissions(PermissionsExt::from_mode(0o644))
        .tempfile_in(dir)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
