//! Whether a URL answers as something healthy does: by 2xx.

use std::time::Duration;

/// It does not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No answer came in time, or none at all.
    #[error("{url} does not answer")]
    NoAnswer {
        /// The URL, without credentials and query.
        url: String,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// Another answer came.
    #[error("{url} answered {status}")]
    Status {
        /// The URL, without credentials and query.
        url: String,
        /// HTTP's status.
        status: u16,
    },
}

/// Asks once, follows redirects, and takes 2xx for healthy.
///
/// # Errors
/// [`Error`]; a URL that is none is one that does not answer.
pub async fn probe(url: &str, limit: Duration) -> Result<(), Error> {
    let shown = shipit_store::redacted(url);
    let no_answer = |source: reqwest::Error| Error::NoAnswer {
        url: shown.clone(),
        source: source.without_url(),
    };
    let client = reqwest::Client::builder()
        .timeout(limit)
        .build()
        .map_err(no_answer)?;
    let answer = client.get(url).send().await.map_err(no_answer)?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(Error::Status {
            url: shown,
            status: answer.status().as_u16(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn two_hundreds_are_healthy_and_nothing_else_is() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let limit = Duration::from_secs(60);
        for (answer, said) in [("204 No Content", None), ("503 Busy", Some("answered 503"))] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/health?token=geheim", listener.local_addr().unwrap());
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]).unwrap();
                write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").unwrap();
            });
            let result = runtime
                .block_on(probe(&url, limit))
                .map_err(|error| error.to_string());
            server.join().unwrap();
            match said {
                None => result.unwrap(),
                Some(said) => {
                    let error = result.unwrap_err();
                    assert!(error.contains(said) && !error.contains("geheim"), "{error}");
                    // Nobody listens there any more.
                    let error = runtime.block_on(probe(&url, limit)).unwrap_err().to_string();
                    assert!(
                        error.contains("does not answer") && !error.contains("geheim"),
                        "{error}"
                    );
                }
            }
        }
        assert!(runtime.block_on(probe("nonsense", limit)).is_err());
    }
}
