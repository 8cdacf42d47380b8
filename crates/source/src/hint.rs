//! What to do next about each error.

use std::io::ErrorKind;

use crate::error::{Error, list};

impl Error {
    /// What to do next, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let fixed = |text: &str| Some(text.to_owned());
        match self {
            Self::Remote { source, .. } => source.hint().map(str::to_owned),
            Self::NotFound {
                advice: Some(advice), ..
            } => Some(advice.clone()),
            Self::NotFound { similar, .. } if !similar.is_empty() => {
                Some(format!("did you mean {}?", list(similar)))
            }
            Self::NotFound { .. } => {
                fixed("push the commit, or name a branch, a tag, a commit id or refs/pull/N/head")
            }
            Self::Ambiguous { .. } => {
                fixed("give more digits of the commit id, or a full ref (refs/heads/…, refs/tags/…)")
            }
            Self::HostKey { advice, .. } => Some(advice.clone()),
            Self::Auth { .. } => fixed(
                "give a token by an environment variable, an ssh key that the server knows, or a git credential helper; \
                 see docs/source.md",
            ),
            Self::PlainToken { .. } => fixed("use an https:// URL"),
            Self::Unreachable { .. } => fixed(
                "check the URL and the network; a second remote in `repo` is tried when the first is down",
            ),
            Self::Owner { path, .. } => Some(format!(
                "if you trust it: git config --global --add safe.directory {}",
                path.display()
            )),
            Self::Damaged { git_dir, .. } => Some(format!(
                "if it is shipit's mirror, remove {} and run again: it is fetched anew; if it is your own repository, run \
                 git fsck in it",
                git_dir.display()
            )),
            Self::Placeholder { .. } => fixed(
                "use placeholders of the commit alone (%H %h %T %an %ae %ad %ct %s …), or drop the export-subst attribute",
            ),
            Self::LfsPointers { .. } => fixed(
                "set `lfs = true` and install git-lfs, or mark the files export-ignore in .gitattributes",
            ),
            Self::Submodule { advice, .. } => fixed(advice),
            Self::SubmoduleHost { host, .. } => {
                Some(format!("if it is meant, add {host:?} to `submodule_hosts`"))
            }
            Self::InSubmodule { source, .. } => source.hint(),
            Self::Program { .. } => fixed("install it, or name it by its absolute path"),
            Self::DestinationInUse { .. } => fixed("remove it, or choose another directory"),
            Self::Io { source, .. } => match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => fixed(
                    "free some space on that disk, or have mirrors and workspaces elsewhere: --cache-dir, SHIPIT_CACHE_DIR",
                ),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => fixed(
                    "see whose it is and who may write there; mirrors and workspaces can lie elsewhere: --cache-dir, \
                     SHIPIT_CACHE_DIR",
                ),
                _ => None,
            },
            _ => None,
        }
    }
}
