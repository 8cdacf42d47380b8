//! Why a release is not applied by difference.

use std::io;

use crate::error::Error;

/// What stands in the way.
#[derive(Debug)]
pub(crate) enum Lack {
    /// Something is missing or wrong: the whole artifact is fetched instead.
    Whole(String),
    /// The apply itself ends.
    Ends(Error),
}

impl From<Error> for Lack {
    fn from(error: Error) -> Self {
        match error {
            Error::Cancelled | Error::Timeout { .. } => Self::Ends(error),
            // The whole artifact needs more room still.
            error if is_full(&error) => Self::Ends(error),
            other => Self::Whole(other.with_causes()),
        }
    }
}

/// Whether the disk, or the user's share of it, is full.
fn is_full(error: &Error) -> bool {
    let first: Option<&(dyn std::error::Error + 'static)> = Some(error);
    std::iter::successors(first, |error| error.source()).any(|error| {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(
            kind,
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        )
    })
}

impl From<shipit_store::Error> for Lack {
    fn from(error: shipit_store::Error) -> Self {
        Self::Whole(shipit_artifact::with_causes(&error))
    }
}

impl Lack {
    /// The whole artifact, for this reason.
    pub(crate) fn whole(reason: impl Into<String>) -> Self {
        Self::Whole(reason.into())
    }

    /// An error of shipit-artifact while `doing` something.
    pub(crate) fn artifact(error: shipit_artifact::Error) -> Self {
        match error {
            shipit_artifact::Error::Cancelled => Self::Ends(Error::Cancelled),
            other => Self::from(Error::Layer {
                cause: Box::new(other),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_reason_to_fetch_more() {
        let disk = |kind: io::ErrorKind| Error::disk("writing", "/srv/f", io::Error::from(kind));
        assert!(matches!(
            Lack::from(disk(io::ErrorKind::StorageFull)),
            Lack::Ends(_)
        ));
        assert!(matches!(
            Lack::from(disk(io::ErrorKind::PermissionDenied)),
            Lack::Whole(_)
        ));
        let unpacking = shipit_artifact::Error::Unpack {
            action: "write",
            entry: "f".to_owned(),
            dest: "/srv".into(),
            source: io::Error::from(io::ErrorKind::QuotaExceeded),
        };
        assert!(matches!(Lack::artifact(unpacking), Lack::Ends(_)));
    }
}
