//! The settings of S3 for a reader, which are found out when the first `s3://` URL is read: to look for credentials and a region
//! costs more than to read a file.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::s3::S3Options;

type Finding = Pin<Box<dyn Future<Output = S3Options> + Send>>;

/// The settings of S3, or how they are found out. They are asked for once.
#[derive(Clone)]
pub struct S3Settings(Arc<dyn Fn() -> Finding + Send + Sync>);

impl S3Settings {
    /// Settings that `find` hands over when the first `s3://` URL is read; without one it is not called.
    pub fn when_needed<F>(find: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = S3Options> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(find())))
    }

    pub(super) async fn find(&self) -> S3Options {
        (self.0)().await
    }
}

impl From<S3Options> for S3Settings {
    fn from(options: S3Options) -> Self {
        Self::when_needed(move || std::future::ready(options.clone()))
    }
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings").finish_non_exhaustive()
    }
}
