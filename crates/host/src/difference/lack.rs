//! Why a release is not applied by difference.

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
            other => Self::Whole(other.with_causes()),
        }
    }
}

impl From<shipit_store::Error> for Lack {
    fn from(error: shipit_store::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            text.push_str(": ");
            text.push_str(&next.to_string());
            cause = next.source();
        }
        Self::Whole(text)
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
