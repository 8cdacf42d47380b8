//! What can go wrong with a lock or a report.

use super::Holder;

/// A board's failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Consul did not do it.
    #[error(transparent)]
    Consul(#[from] crate::consul::Error),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] shipit_store::Error),
    /// A lock that was ours is not any more.
    #[error("the lock of {what} was lost: {why}")]
    Lost {
        /// Whose.
        what: String,
        /// How.
        why: String,
        /// Who has it now.
        now: Option<Box<Holder>>,
    },
    /// Another lock stands where one was to be ended.
    #[error("the lock of {what} has changed since it was looked at")]
    Changed {
        /// Whose.
        what: String,
    },
    /// What is stored is not what shipit writes.
    #[error("{what} cannot be understood: {why}")]
    Corrupt {
        /// The key.
        what: String,
        /// Why not.
        why: String,
    },
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The lock.
    Locked,
    /// Consul, or the way to it.
    Consul,
    /// The store.
    Store,
}

impl Error {
    /// Who has to act. The kinds of [`Error::Consul`] and [`Error::Store`] say more.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Consul(_) | Self::Corrupt { .. } => ErrorKind::Consul,
            Self::Store(_) => ErrorKind::Store,
            Self::Lost { .. } | Self::Changed { .. } => ErrorKind::Locked,
        }
    }

    /// The error and its causes, each of them once.
    pub(crate) fn in_one_line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.ends_with(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            cause = error.source();
        }
        text
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Consul(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Lost { .. } => {
                Some("`shipit lock --status` says who has it now; kick again when it is free".to_owned())
            }
            Self::Changed { .. } => Some("look again with `shipit lock --status`".to_owned()),
            Self::Corrupt { .. } => {
                Some("another program writes there, or a newer shipit; see the key by hand".to_owned())
            }
        }
    }
}
