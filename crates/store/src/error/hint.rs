//! What to do next, by the error.

use crate::Error;

impl Error {
    /// What to do next, where that can be told.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::BadStoreUrl { .. } => "use s3://bucket/prefix or file:///directory".into(),
            Self::BadSource { .. } => "s3://, https://, http:// and file:/// URLs can be read".into(),
            Self::NoCredentials { .. } => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role".into()
            }
            Self::BadCredentials { code, .. } => credentials_hint(code).into(),
            Self::Denied { action, url, .. } => {
                format!("allow {action} on it in the bucket's or the user's policy (docs/store.md has both): {url}")
            }
            Self::NoBucket { .. } => "create it, or correct store.url, store.region or store.endpoint".into(),
            Self::NoDirectory { .. } => {
                "mount it, or correct store.url; the first publish makes a directory that does not exist".into()
            }
            Self::WrongRegion { expected: Some(region), .. } => format!("set store.region = \"{region}\""),
            Self::WrongRegion { .. } => "set store.region to the bucket's region".into(),
            Self::ClockSkew { .. } => "set the clock (timedatectl set-ntp true)".into(),
            Self::Unreachable { .. } | Self::Stalled { .. } => {
                "check the network, the proxy settings and, for S3, the endpoint; run it again: what is done is not done twice".into()
            }
            Self::Server { passing: true, .. } => "run it again later: what is done is not done twice".into(),
            Self::Different { .. } => {
                "nothing was overwritten; find out who wrote it, and delete it by hand when it is wrong".into()
            }
            Self::Changed { .. } => "run it again".into(),
            Self::Corrupt { .. } => "run it again; when it stays so, the stored object is damaged".into(),
            Self::DamagedFile { .. } => "build it again with `shipit build`".into(),
            Self::Io { source, .. } => return io_hint(source),
            Self::NoRelease { newest, .. } if newest.is_empty() => "publish one first".into(),
            Self::NoRelease { newest, .. } => format!("the newest there are {}; `latest` is the first of them", newest.join(", ")),
            Self::NoFreeId { .. } => "wait a minute, and see who publishes all the time".into(),
            Self::Locked { .. } => "wait for it with --lock-wait, or run it again when it is done".into(),
            Self::LockLost { .. } => "run it again: what is done is not done twice".into(),
            _ => return None,
        };
        Some(hint)
    }
}

fn credentials_hint(code: &str) -> &'static str {
    match code {
        "ExpiredToken" | "TokenRefreshRequired" => "the session's token ran out; log in again",
        "SignatureDoesNotMatch" => "the secret key does not belong to the access key",
        _ => {
            "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_PROFILE; the access key is not known there"
        }
    }
}

fn io_hint(source: &std::io::Error) -> Option<String> {
    let hint = match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            "make room on that file system; nothing half-written was left"
        }
        std::io::ErrorKind::PermissionDenied => "give this user the permission, or run as the store's owner",
        std::io::ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only",
        _ => return None,
    };
    Some(hint.to_owned())
}
