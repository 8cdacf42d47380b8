//! Each crate's errors as the user meets them: its kinds mapped to ours, its hints kept.

use super::{CliError, Kind, chain, locked, lost};
use crate::config::ConfigError;

impl From<shipit_source::Error> for CliError {
    fn from(error: shipit_source::Error) -> Self {
        use shipit_source::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::Io => Kind::Disk,
            ErrorKind::Cancelled => Kind::Interrupted,
            _ => Kind::Source,
        };
        let hint = error.hint();
        CliError::from_source(kind, error).maybe_hint(hint)
    }
}

impl From<shipit_steps::Error> for CliError {
    fn from(error: shipit_steps::Error) -> Self {
        use shipit_steps::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::Config => Kind::Usage,
            ErrorKind::Local => Kind::Disk,
            ErrorKind::Cancelled => Kind::Interrupted,
            _ => Kind::Step,
        };
        let hint = error.hint();
        CliError::from_source(kind, error).maybe_hint(hint)
    }
}

impl From<shipit_steps::KeptError> for CliError {
    fn from(error: shipit_steps::KeptError) -> Self {
        use shipit_steps::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::Cancelled => Kind::Interrupted,
            ErrorKind::Local => Kind::Disk,
            _ => Kind::Internal,
        };
        let hint = error.hint();
        CliError::from_source(kind, error).maybe_hint(hint)
    }
}

impl<E> From<shipit_steps::UpdateError<E>> for CliError
where
    E: std::error::Error + 'static,
    CliError: From<E>,
{
    fn from(error: shipit_steps::UpdateError<E>) -> Self {
        match error {
            shipit_steps::UpdateError::Kept(error) => error.into(),
            shipit_steps::UpdateError::Write(error) => error.into(),
        }
    }
}

impl From<shipit_steps::CacheError> for CliError {
    fn from(error: shipit_steps::CacheError) -> Self {
        use shipit_steps::CacheErrorKind;
        let kind = match error.kind() {
            CacheErrorKind::Unusable | CacheErrorKind::Disk => Kind::Disk,
            CacheErrorKind::Damaged => Kind::Verification,
            CacheErrorKind::Cancelled => Kind::Interrupted,
            _ => Kind::Internal,
        };
        let hint = error.hint();
        CliError::from_source(kind, error).maybe_hint(hint)
    }
}

impl From<shipit_artifact::Error> for CliError {
    fn from(error: shipit_artifact::Error) -> Self {
        use shipit_artifact::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::Cancelled => Kind::Interrupted,
            ErrorKind::Disk => Kind::Disk,
            ErrorKind::Source => Kind::Source,
            ErrorKind::Config | ErrorKind::NotFound => Kind::Usage,
            ErrorKind::Content | ErrorKind::Newer => Kind::Verification,
            ErrorKind::Refused => Kind::Refused,
            _ => Kind::Internal,
        };
        let hint = error.hint();
        CliError::from_source(kind, error).maybe_hint(hint)
    }
}

impl From<shipit_artifact::TreeError> for CliError {
    fn from(error: shipit_artifact::TreeError) -> Self {
        CliError::from_source(Kind::Disk, error)
    }
}

impl From<shipit_store::Error> for CliError {
    fn from(error: shipit_store::Error) -> Self {
        use shipit_store::{Error, ErrorKind};
        match &error {
            Error::Locked { what, holder } => return locked(what, holder),
            Error::LockLost { what, why, .. } => return lost(what, why),
            _ => {}
        }
        let hint = error.hint();
        let kind = match error.kind() {
            ErrorKind::Usage | ErrorKind::Manifest => Kind::Usage,
            ErrorKind::Local => Kind::Disk,
            _ => Kind::Store,
        };
        // The manifest's own hint says more than the store's.
        let hint = match &error {
            Error::Render { source, .. } => source
                .downcast_ref::<shipit_manifest::Error>()
                .and_then(shipit_manifest::Error::hint)
                .or(hint),
            _ => hint,
        };
        CliError::from_source(kind, error).maybe_hint(hint)
    }
}

impl From<shipit_fleet::consul::Error> for CliError {
    fn from(error: shipit_fleet::consul::Error) -> Self {
        use shipit_fleet::consul::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::Config => Kind::Usage,
            ErrorKind::File => Kind::Disk,
            _ => Kind::Consul,
        };
        let hint = error.hint();
        CliError::from_source(kind, error).maybe_hint(hint)
    }
}

impl From<shipit_fleet::board::Error> for CliError {
    fn from(error: shipit_fleet::board::Error) -> Self {
        use shipit_fleet::board::{Error, ErrorKind};
        let error = match error {
            Error::Consul(error) => return error.into(),
            Error::Store(error) => return error.into(),
            Error::Lost { what, why, .. } => return lost(&what, &why),
            other => other,
        };
        let kind = match error.kind() {
            ErrorKind::Locked => Kind::Locked,
            ErrorKind::Store => Kind::Store,
            _ => Kind::Consul,
        };
        let hint = error.hint();
        CliError::from_source(kind, error).maybe_hint(hint)
    }
}

impl From<shipit_fleet::hosts::Error> for CliError {
    fn from(error: shipit_fleet::hosts::Error) -> Self {
        use shipit_fleet::hosts::{Error, ErrorKind};
        let error = match error {
            Error::Consul(error) => return error.into(),
            other => other,
        };
        let kind = match error.kind() {
            ErrorKind::Usage => Kind::Usage,
            _ => Kind::Consul,
        };
        let hint = error.hint();
        CliError::from_source(kind, error).maybe_hint(hint)
    }
}

impl From<shipit_fleet::exec::Error> for CliError {
    fn from(error: shipit_fleet::exec::Error) -> Self {
        let hint = error.hint();
        CliError::from_source(Kind::Usage, error).maybe_hint(hint)
    }
}

impl From<shipit_host::Error> for CliError {
    fn from(error: shipit_host::Error) -> Self {
        use shipit_host::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::Manifest | ErrorKind::Store | ErrorKind::Archive => Kind::Store,
            ErrorKind::Checksum => Kind::Verification,
            ErrorKind::Command => Kind::Command,
            ErrorKind::Disk => Kind::Disk,
            ErrorKind::Locked => Kind::Locked,
            ErrorKind::Cancelled => Kind::Interrupted,
            _ => Kind::Internal,
        };
        let hint = error.hint();
        CliError::from_source(kind, error).maybe_hint(hint)
    }
}

impl From<ConfigError> for CliError {
    /// For what a loaded config is asked; only loading gives errors with spans, and those the caller may colour.
    fn from(error: ConfigError) -> Self {
        config(&error, false)
    }
}

/// A config's error; with a span it is laid out already.
pub fn config(error: &ConfigError, colors: bool) -> CliError {
    match error {
        ConfigError::Invalid(invalid) => CliError::rendered(Kind::Usage, invalid.render(colors)),
        ConfigError::Read { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            CliError::new(Kind::Disk, chain(error)).maybe_hint(error.hint())
        }
        _ => CliError::new(Kind::Usage, chain(error)).maybe_hint(error.hint()),
    }
}
