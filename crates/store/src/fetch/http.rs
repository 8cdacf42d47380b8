//! Reading `http(s)://` URLs. A presigned URL's query is a credential and never gets into an error.

use std::ops::Range;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use url::Url;

use super::FetcherOptions;
use crate::download::{Head, Source};
use crate::s3::{check_content_range, range_header};
use crate::{Download, Error, redacted};

pub(super) fn client(options: &FetcherOptions) -> Result<Client, Error> {
    Client::builder()
        .user_agent(&options.user_agent)
        .connect_timeout(options.connect_timeout)
        .redirect(Policy::custom(|attempt| {
            if leaves_tls(attempt.previous(), attempt.url()) {
                attempt.error("it redirects from https to http, where anybody on the way could change it")
            } else {
                Policy::default().redirect(attempt)
            }
        }))
        .build()
        .map_err(|error| Error::BadOptions {
            why: format!("the HTTP client cannot be made: {error}"),
        })
}

/// A manifest says what runs on a host: once it was asked for over TLS it does not come without.
fn leaves_tls(previous: &[Url], next: &Url) -> bool {
    next.scheme() == "http" && previous.iter().any(|url| url.scheme() == "https")
}

pub(super) async fn open(
    client: &Client,
    options: &FetcherOptions,
    url: &str,
    range: Option<Range<u64>>,
) -> Result<Download, Error> {
    let shown = redacted(url);
    let parsed = Url::parse(url).map_err(|error| Error::BadSource {
        url: shown.clone(),
        why: error.to_string(),
    })?;
    if let Some(range) = range.as_ref().filter(|range| range.start >= range.end) {
        return Err(out_of_range(&shown, range));
    }
    let mut request = client.get(parsed);
    if let Some(range) = &range {
        request = request.header(RANGE, range_header(range));
    }
    let response = answer(request, &shown, options.read_timeout).await?;
    check_status(&shown, response.status(), range.as_ref())?;
    let head = head(response.headers(), shown, range.as_ref(), options.read_timeout)?;
    Ok(Download::new(head, Source::Http(Box::new(response))))
}

async fn answer(request: RequestBuilder, shown: &str, patience: Duration) -> Result<Response, Error> {
    let doing = format!("reading {shown}");
    match tokio::time::timeout(patience, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(not_answered(doing, error)),
        Err(_) => Err(Error::Stalled {
            doing,
            after: patience,
        }),
    }
}

fn head(
    headers: &HeaderMap,
    url: String,
    range: Option<&Range<u64>>,
    stall: Duration,
) -> Result<Head, Error> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let len = text(CONTENT_LENGTH).and_then(|len| len.parse::<u64>().ok());
    let total = match range {
        None => len,
        Some(range) => Some(check_content_range(
            text(CONTENT_RANGE).unwrap_or_default(),
            range,
            &url,
        )?),
    };
    // A weak etag says nothing of the bytes.
    let etag = text(ETAG)
        .filter(|etag| !etag.starts_with("W/"))
        .map(str::to_owned);
    Ok(Head {
        url,
        len,
        total,
        etag,
        stall,
    })
}

fn not_answered(doing: String, error: reqwest::Error) -> Error {
    let setup = error.is_builder() || error.is_redirect();
    let source = Box::new(error.without_url());
    if setup {
        Error::Request { doing, source }
    } else {
        Error::Unreachable {
            doing,
            attempts: 1,
            source,
        }
    }
}

fn check_status(url: &str, status: StatusCode, range: Option<&Range<u64>>) -> Result<(), Error> {
    let wanted = if range.is_some() {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    if status == wanted {
        return Ok(());
    }
    let url = url.to_owned();
    Err(match (status.as_u16(), range) {
        (200, Some(_)) => Error::Corrupt {
            url,
            why: "the server does not heed ranges".into(),
        },
        (416, Some(range)) => out_of_range(&url, range),
        (404 | 410, _) => Error::NotFound { url },
        (401 | 403 | 407, _) => Error::Denied {
            action: "GET",
            url,
            detail: format!(": HTTP {status}"),
        },
        (code, _) => Error::Server {
            doing: format!("reading {url}"),
            status: code,
            code: status.canonical_reason().unwrap_or_default().to_owned(),
            detail: String::new(),
            passing: matches!(code, 408 | 429 | 500 | 502..=599),
        },
    })
}

fn out_of_range(url: &str, range: &Range<u64>) -> Error {
    Error::OutOfRange {
        url: url.to_owned(),
        start: range.start,
        end: range.end,
        size: "fewer".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_never_leaves_tls() {
        let url = |text: &str| Url::parse(text).unwrap();
        let previous = [url("https://a/m.yml"), url("https://b/m.yml")];
        assert!(leaves_tls(&previous, &url("http://b/m.yml")));
        assert!(!leaves_tls(&previous, &url("https://c/m.yml")));
        assert!(!leaves_tls(&[url("http://a/m.yml")], &url("http://b/m.yml")));
    }
}
