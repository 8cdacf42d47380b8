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

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::task::JoinHandle;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// A server for one request: gives its address, and in the end what it was sent.
    async fn server(answer: &'static str) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/T0/s3cret-path", listener.local_addr().unwrap());
        let sent = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut all = Vec::new();
            let mut buffer = [0; 4096];
            // The body is the end of the JSON.
            while !all.ends_with(b"}") {
                let length = stream.read(&mut buffer).await.unwrap();
                assert!(length > 0, "the request ended early");
                all.extend_from_slice(&buffer[..length]);
            }
            if answer.is_empty() {
                tokio::time::sleep(LIMIT).await;
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(all).unwrap()
        });
        (url, sent)
    }

    fn to(url: &str) -> Webhook {
        Webhook {
            url: Secret::new(url),
            headers: vec![("Authorization".to_owned(), Secret::new("Bearer t0ps3cret"))],
        }
    }

    fn whole(error: &Error) -> String {
        let mut text = format!("{error} {error:?}");
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(&format!(" {error}"));
            cause = error.source();
        }
        text
    }

    #[tokio::test]
    async fn the_json_arrives_with_its_headers() {
        let (url, sent) = server("HTTP/1.1 204 No Content\r\n\r\n").await;
        post(&to(&url), r#"{"text":"hello"}"#, LIMIT).await.unwrap();
        let sent = sent.await.unwrap();
        assert!(sent.starts_with("POST /T0/s3cret-path HTTP/1.1\r\n"), "{sent}");
        for part in [
            "content-type: application/json\r\n",
            "authorization: Bearer t0ps3cret\r\n",
            "content-length: 16\r\n",
            "\r\n\r\n{\"text\":\"hello\"}",
        ] {
            assert!(sent.contains(part), "{part}: {sent}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_repeated_without_what_is_secret() {
        let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 49\r\n\r\n\
                      no\nBearer t0ps3cret; t0ps3cret at /T0/s3cret-path";
        let (url, _sent) = server(answer).await;
        let error = post(&to(&url), "{}", LIMIT).await.unwrap_err();
        assert_eq!(error.to_string(), "the server answered 403: no ***; *** at /***");
        let shown = whole(&error);
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[tokio::test]
    async fn no_redirect_is_followed() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answer = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n",
            other.local_addr().unwrap()
        );
        let (url, _sent) = server(Box::leak(answer.into_boxed_str())).await;
        let error = post(&to(&url), "{}", LIMIT).await.unwrap_err();
        assert!(matches!(error, Error::Refused { status: 307, .. }), "{error:?}");
        let followed = tokio::time::timeout(Duration::from_millis(200), other.accept()).await;
        assert!(followed.is_err(), "the redirect was followed");
    }

    #[tokio::test]
    async fn what_does_not_answer_has_its_time() {
        let (url, sent) = server("").await;
        let error = post(&to(&url), "{}", Duration::from_millis(300))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::TooLong { .. }), "{error:?}");
        sent.abort();
        // A port that is taken, so that nobody else can, and at which nobody listens.
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/T0/s3cret-path", closed.local_addr().unwrap());
        let error = post(&to(&url), "{}", LIMIT).await.unwrap_err();
        let shown = whole(&error);
        assert!(
            matches!(error, Error::Send(_)) && !shown.contains("s3cret"),
            "{shown}"
        );
        let error = post(&to("no url s3cret"), "{}", LIMIT).await.unwrap_err();
        assert_eq!(error.to_string(), "the URL cannot be used");
    }
}
