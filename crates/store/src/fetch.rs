//! Reading by URL, as hosts do: `file:///`, `http(s)://` and `s3://`. What is read is not checked here beyond its length.

mod http;
mod ranges;
mod settings;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use std::collections::HashMap;

use tokio::sync::OnceCell;

use crate::s3::{S3, S3Options};
use crate::{Download, Error, Event, Objects, OnEvent, StoreUrl, key, redacted};

pub use ranges::{Ranged, RangesOptions};
pub use settings::S3Settings;

/// How URLs are read.
#[derive(Clone, Debug)]
pub struct FetcherOptions {
    /// Needed for `s3://` URLs.
    pub s3: Option<S3Settings>,
    /// Sent with HTTP requests.
    pub user_agent: String,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long nothing may arrive.
    pub read_timeout: Duration,
    /// Where events go: retries.
    pub on_event: OnEvent,
}

impl Default for FetcherOptions {
    fn default() -> Self {
        Self {
            s3: None,
            user_agent: concat!("shipit/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            on_event: OnEvent::none(),
        }
    }
}

/// How often a URL is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchRetry {
    /// Further attempts after the first, in opening and in reading together.
    pub count: u32,
    /// Until the next attempt.
    pub wait: Duration,
}

/// Reads URLs. Cheap to clone; connections are shared.
#[derive(Clone)]
pub struct Fetcher {
    inner: Arc<Inner>,
}

struct Inner {
    options: FetcherOptions,
    /// Made for the first HTTP URL: it reads all of the host's certificates.
    http: OnceLock<reqwest::Client>,
    s3: OnceCell<S3Options>,
    buckets: Mutex<HashMap<String, Arc<S3>>>,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

impl Fetcher {
    /// A reader with these options.
    pub fn new(options: FetcherOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                options,
                http: OnceLock::new(),
                s3: OnceCell::new(),
                buckets: Mutex::new(HashMap::new()),
            }),
        }
    }

    /// Opens a URL, or the bytes of it that the range names (its end may lie beyond the object's end), in one attempt
    /// (`s3://` has the retries of its options). Any HTTP status but 200 (206 for a range) is an error.
    pub async fn open(&self, url: &str, range: Option<Range<u64>>) -> Result<Download, Error> {
        let bad = |why: &str| Error::BadSource {
            url: redacted(url),
            why: why.to_owned(),
        };
        let (scheme, _) = url.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => http::open(self.http()?, &self.inner.options, url, range).await,
            "file" | "s3" => match StoreUrl::parse(url).map_err(|error| as_source(url, error))? {
                StoreUrl::Directory { root } => {
                    crate::directory::open_file(&root, &redacted(url), range).await
                }
                StoreUrl::S3 { bucket, prefix } => {
                    key::check(&prefix)?;
                    self.bucket(&bucket, url).await?.get(&prefix, range).await
                }
            },
            "gs" => Err(bad(
                "Google Cloud Storage is not supported; publish to S3 or give hosts an https:// URL",
            )),
            other => Err(bad(&format!("the scheme {other:?} is not supported"))),
        }
    }

    /// Opens a URL and tries again when that, or the reading later, fails in a way that may pass. Reading goes on where
    /// it was cut.
    pub async fn open_with_retry(
        &self,
        url: &str,
        range: Option<Range<u64>>,
        retry: FetchRetry,
    ) -> Result<Download, Error> {
        let mut resume = Resume {
            fetcher: self.clone(),
            url: url.to_owned(),
            range,
            retry,
            used: 0,
        };
        let download = match self.open(url, resume.range.clone()).await {
            Ok(download) => download,
            Err(error) => resume.again(0, error).await?,
        };
        Ok(download.resuming(resume))
    }

    fn http(&self) -> Result<&reqwest::Client, Error> {
        if let Some(made) = self.inner.http.get() {
            return Ok(made);
        }
        let made = http::client(&self.inner.options)?;
        // Of two that were made at once the first stays.
        Ok(self.inner.http.get_or_init(|| made))
    }

    async fn bucket(&self, bucket: &str, url: &str) -> Result<Arc<S3>, Error> {
        let settings = self.inner.options.s3.as_ref();
        let settings = settings.ok_or_else(|| Error::BadOptions {
            why: format!("{} needs the settings of S3, and none were given", redacted(url)),
        })?;
        let options = self.inner.s3.get_or_init(|| settings.find()).await;
        let mut buckets = self.inner.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = buckets.get(bucket) {
            return Ok(found.clone());
        }
        let opened = Arc::new(S3::open(
            bucket,
            "",
            options.clone(),
            self.inner.options.on_event.clone(),
        )?);
        buckets.insert(bucket.to_owned(), opened.clone());
        Ok(opened)
    }
}

/// The same syntax, for a URL that is no store's.
fn as_source(url: &str, error: Error) -> Error {
    match error {
        Error::BadStoreUrl { why, .. } => Error::BadSource {
            url: redacted(url),
            why,
        },
        other => other,
    }
}

/// How a download goes on after it was cut.
pub(crate) struct Resume {
    fetcher: Fetcher,
    url: String,
    range: Option<Range<u64>>,
    retry: FetchRetry,
    used: u32,
}

impl Resume {
    /// Opens the rest after `received` bytes; `error` comes back when it is not worth it or all attempts are used.
    pub(crate) fn again(
        &mut self,
        received: u64,
        mut error: Error,
    ) -> Pin<Box<dyn Future<Output = Result<Download, Error>> + Send + '_>> {
        // Boxed: a download that is opened again is a download.
        Box::pin(async move {
            while error.is_passing() && self.used < self.retry.count {
                self.used += 1;
                self.fetcher.inner.options.on_event.emit(Event::Retry {
                    doing: format!("reading {}", redacted(&self.url)),
                    attempt: self.used,
                    attempts: self.retry.count + 1,
                    wait_ms: u64::try_from(self.retry.wait.as_millis()).unwrap_or(u64::MAX),
                    reason: crate::retry::cause(&error),
                });
                tokio::time::sleep(self.retry.wait).await;
                match self.fetcher.open(&self.url, self.rest(received)).await {
                    Ok(download) => return Ok(download),
                    Err(next) => error = next,
                }
            }
            Err(error)
        })
    }

    fn rest(&self, received: u64) -> Option<Range<u64>> {
        match &self.range {
            Some(range) => Some(range.start + received..range.end),
            None if received == 0 => None,
            None => Some(received..u64::MAX),
        }
    }
}
