//! One POST of JSON.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;

use super::error::{Error, one_line};
use crate::Secret;

/// How much of a refusal's text is read.
const READ: usize = 4096;

/// The least length of a secret that is looked for in what a server says: shorter ones are parts of words.
const TELLING: usize = 6;

/// Where to send a notice.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The URL.
    pub url: Secret,
    /// Further headers.
    pub headers: Vec<(String, Secret)>,
}

/// Sends JSON and waits until it is taken: by an answer of 2xx.
///
/// # Errors
/// [`Error::Unusable`], [`Error::Send`], [`Error::Refused`], [`Error::TooLong`].
pub async fn post(to: &Webhook, json: &str, limit: Duration) -> Result<(), Error> {
    let late = Error::TooLong {
        seconds: limit.as_secs(),
    };
    tokio::time::timeout(limit, send(to, json))
        .await
        .unwrap_or(Err(late))
}

async fn send(to: &Webhook, json: &str) -> Result<(), Error> {
    let url = reqwest::Url::parse(to.url.expose()).map_err(|_| Error::Unusable {
        what: "the URL".to_owned(),
    })?;
    // A redirect would carry the notice, and what its headers hold, to a place that the config does not name.
    let client = reqwest::Client::builder()
        .redirect(Policy::none())
        .build()
        .map_err(Error::Send)?;
    let request = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .headers(headers(&to.headers)?)
        .body(json.to_owned());
    let mut answer = request
        .send()
        .await
        .map_err(|error| Error::Send(error.without_url()))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let mut body = Vec::new();
    while body.len() < READ
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(READ);
    let said = if status.is_redirection() {
        "a redirect, which is not followed: name the URL that it leads to".to_owned()
    } else {
        one_line(&without_secrets(to, String::from_utf8_lossy(&body).into_owned()))
    };
    Err(Error::Refused {
        status: status.as_u16(),
        said,
    })
}

fn headers(given: &[(String, Secret)]) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let unusable = || Error::Unusable {
            what: format!("the header {name}"),
        };
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| unusable())?;
        value.set_sensitive(true);
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A server may repeat what it was sent. The path of a webhook's URL is what is secret in it.
fn without_secrets(to: &Webhook, mut said: String) -> String {
    let url = to.url.expose();
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    let values = to.headers.iter().map(|(_, value)| value.expose());
    for secret in [url, path].into_iter().chain(values) {
        // `Bearer x`: the token alone is the secret.
        for part in [secret].into_iter().chain(secret.split(' ')) {
            if part.len() >= TELLING {
                said = said.replace(part, "***");
            }
        }
    }
    said
}
