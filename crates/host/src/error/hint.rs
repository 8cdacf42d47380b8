//! What to do next about each error, in terms of what a host has: options, its environment, its disk.

use std::io;

use super::{Error, READING_RULES};

impl Error {
    /// What to do next, where something can be said.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::ManifestFetch { cause, .. } | Self::Fetch { cause, .. } => return fetch_hint(cause),
            Self::Manifest { cause, .. } => return cause.hint(),
            Self::Archive { cause, .. } | Self::Layer { cause } => return archive_hint(cause),
            Self::Disk { doing, cause, .. } => return disk_hint(doing, cause),
            Self::Unusable { named_by, cause, .. } => return Some(unusable_hint(named_by, cause)),
            Self::NotText { .. } => "is this the URL of the archive, not of its manifest?",
            Self::Refused { .. } => {
                "change the manifest; docs/stretcher-compatibility.md lists what differs from stretcher"
            }
            Self::Timeout { .. } => "does the server answer? else raise --timeout, or the bandwidth limit",
            Self::Checksum { .. } => {
                "nothing was touched; fetch it again, and if it stays so the stored file is not what was published: \
                 publish a new release"
            }
            Self::Sync { .. } => "remove what is in the way, or leave it out of the manifest's excludes",
            Self::Command { .. } => {
                "the command's output stands above; run it by hand in the same directory and environment"
            }
            Self::CommandStart { .. } => {
                "is there an `sh` on PATH, and is the working directory still there?"
            }
            Self::NotVerifiable { .. } => {
                "name the manifest's URL, so that the record is read from the store; a release that was applied by difference keeps its own"
            }
            Self::Locked { .. } => "wait for the other handler, or end it; the lock goes with its process",
            Self::UnsafeLock { .. } => {
                "remove it when nobody needs it, or name a directory that only this user can write to by --lock-dir"
            }
            Self::Cancelled | Self::Internal { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// What a host does about the store's error: it has no config, and sends nothing.
fn fetch_hint(cause: &shipit_store::Error) -> Option<String> {
    use shipit_store::ErrorKind as Store;
    if let shipit_store::Error::WrongRegion { expected, .. } = cause {
        let region = expected.as_deref().unwrap_or("<the bucket's region>");
        return Some(format!(
            "set AWS_REGION={region} where this host's watch is configured"
        ));
    }
    let hint = match cause.kind() {
        Store::Unreachable => {
            "check this host's network and proxy settings and, for S3, its endpoint; dest was not touched, so apply it again"
        }
        Store::NotFound => "is the URL right, and the release still in the store?",
        Store::NoBucket => {
            "is the URL right? and check this host's AWS_REGION and AWS_ENDPOINT_URL, where those are set"
        }
        _ => return cause.hint(),
    };
    Some(hint.to_owned())
}

fn archive_hint(cause: &shipit_artifact::Error) -> Option<String> {
    match cause {
        shipit_artifact::Error::Bomb { .. } => {
            let hint = "dest was not touched; when the archive is known to be that large, allow it by --max-unpacked, \
                        as in --max-unpacked 100GB";
            Some(hint.to_owned())
        }
        cause => cause.hint(),
    }
}

fn unusable_hint(named_by: &str, cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("make room there, or name another directory by {named_by}")
        }
        _ => format!("name a directory that is there and that this user may write to by {named_by}"),
    }
}

fn disk_hint(doing: &str, cause: &io::Error) -> Option<String> {
    let hint = match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room: the archive and its unpacked tree must fit beside what is in dest"
        }
        io::ErrorKind::PermissionDenied => "run it as the user that owns dest, or give it the rights",
        io::ErrorKind::CrossesDevices => "set TMPDIR to a directory on dest's file system",
        io::ErrorKind::NotFound if doing == READING_RULES => {
            "the manifest's `exclude_from` is a path in the archive; does the release ship that file?"
        }
        io::ErrorKind::NotFound => "make dest's parent directory, for example in the manifest's `pre`",
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn hints_name_what_a_host_has() {
        let fetch = |cause| Error::Fetch {
            url: "s3://b/a".to_owned(),
            cause: Box::new(cause),
        };
        let stalled = fetch(shipit_store::Error::Stalled {
            doing: "reading s3://b/a".to_owned(),
            after: Duration::from_secs(60),
        });
        let hint = stalled.hint().unwrap();
        assert!(hint.contains("network") && !hint.contains("store."), "{hint}");
        let elsewhere = fetch(shipit_store::Error::WrongRegion {
            bucket: "b".to_owned(),
            region: "us-east-1".to_owned(),
            right: String::new(),
            expected: Some("eu-west-1".to_owned()),
        });
        assert!(elsewhere.hint().unwrap().contains("AWS_REGION=eu-west-1"));
        let bomb = Error::Archive {
            url: "file:///a".to_owned(),
            cause: Box::new(shipit_artifact::Error::Bomb {
                entry: "x".to_owned(),
                limit: "it unpacks to more than 9 bytes".to_owned(),
            }),
        };
        assert!(bomb.hint().unwrap().contains("--max-unpacked"));
    }
}
