//! What the SDK's errors mean: which of the store's errors, and whether trying again may help.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{BoxError, ConnectorError, ProvideErrorMetadata, SdkError};

use super::S3;
use crate::Error;

/// What is being done to what, for messages.
#[derive(Clone, Debug)]
pub(super) struct Doing {
    /// As policies name it: `s3:PutObject`.
    pub(super) action: &'static str,
    /// `uploading`, `reading`, …
    pub(super) verb: &'static str,
    /// The object or the store.
    pub(super) url: String,
}

impl Doing {
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.verb, self.url)
    }
}

/// A failed request.
pub(super) struct Failure {
    pub(super) error: Error,
    /// The HTTP status, 0 without an answer.
    pub(super) status: u16,
    pub(super) code: String,
    /// Whether trying again may help.
    pub(super) again: bool,
    /// Whether the server may have done it all the same.
    pub(super) unclear: bool,
}

impl Failure {
    pub(super) fn is(&self, status: u16) -> bool {
        self.status == status
    }

    /// Found here; nothing was asked of the server.
    pub(super) fn lasting(error: Error) -> Self {
        Self {
            error,
            status: 0,
            code: String::new(),
            again: false,
            unclear: false,
        }
    }

    pub(super) fn passing(error: Error) -> Self {
        Self {
            error,
            status: 0,
            code: String::new(),
            again: true,
            unclear: true,
        }
    }
}

/// What came back instead of success.
struct Answer<'a> {
    status: u16,
    code: Option<&'a str>,
    message: Option<&'a str>,
    /// The bucket's region, which AWS tells where another one was used.
    bucket_region: Option<String>,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl S3 {
    /// Sorts an error of the SDK.
    pub(super) fn failure<E>(&self, doing: &Doing, error: SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match error {
            SdkError::ServiceError(service) => {
                let status = service.raw().status().as_u16();
                let bucket_region = service
                    .raw()
                    .headers()
                    .get("x-amz-bucket-region")
                    .map(str::to_owned);
                let meta = service.err().meta();
                let (code, message) = (meta.code(), meta.message());
                self.answered(
                    doing,
                    &Answer {
                        status,
                        code,
                        message,
                        bucket_region,
                    },
                )
            }
            SdkError::ResponseError(response) => {
                let status = response.raw().status().as_u16();
                let code = Some("an unreadable answer");
                let answer = Answer {
                    status,
                    code,
                    message: None,
                    bucket_region: None,
                };
                let mut failure = self.answered(doing, &answer);
                // A cut answer, or a proxy's page in place of one.
                failure.again |= status == 200;
                failure.unclear = true;
                failure
            }
            SdkError::TimeoutError(_) => {
                let source = "the connection took too long".into();
                Failure::passing(Error::Unreachable {
                    doing: doing.text(),
                    attempts: 1,
                    source,
                })
            }
            other => Self::not_sent(doing, other.into_source().unwrap_or_else(|error| Box::new(error))),
        }
    }

    fn not_sent(doing: &Doing, source: BoxError) -> Failure {
        if let Some(error) = find::<CredentialsError>(source.as_ref()) {
            return Failure::lasting(Error::NoCredentials {
                doing: doing.text(),
                source: without_noise(error),
            });
        }
        if let Some(connector) = find::<ConnectorError>(source.as_ref()) {
            if connector.is_user() {
                return Failure::lasting(Error::Request {
                    doing: doing.text(),
                    source,
                });
            }
            return Failure::passing(Error::Unreachable {
                doing: doing.text(),
                attempts: 1,
                // Its own text is `io error` or `other`.
                source: match source.downcast::<ConnectorError>() {
                    Ok(connector) => connector.into_source(),
                    Err(source) => source,
                },
            });
        }
        Failure::lasting(Error::Request {
            doing: doing.text(),
            source,
        })
    }

    fn answered(&self, doing: &Doing, answer: &Answer<'_>) -> Failure {
        let status = answer.status;
        let code = answer
            .code
            .filter(|code| !code.is_empty())
            .unwrap_or_else(|| in_words(status));
        let passing = is_passing(status, code);
        let error = self.by_code(doing, answer, code).unwrap_or_else(|| {
            let detail = answer
                .message
                .map(|message| format!(": {message}"))
                .unwrap_or_default();
            let url = doing.url.clone();
            match status {
                301 => self.wrong_region(None),
                412 => Error::Changed { url },
                401 | 403 => Error::Denied {
                    action: doing.action,
                    url,
                    detail,
                },
                _ => Error::Server {
                    doing: doing.text(),
                    status,
                    code: code.to_owned(),
                    detail,
                    passing,
                },
            }
        });
        let again = passing || (status == 400 && matches!(error, Error::Corrupt { .. }));
        Failure {
            error,
            status,
            code: code.to_owned(),
            again,
            unclear: status >= 500,
        }
    }

    /// What S3's own codes say; nothing where the status says more.
    fn by_code(&self, doing: &Doing, answer: &Answer<'_>, code: &str) -> Option<Error> {
        let inner = &self.inner;
        let expected = answer
            .bucket_region
            .as_ref()
            .filter(|region| **region != inner.region)
            .cloned();
        Some(match code {
            "NoSuchBucket" => Error::NoBucket { bucket: inner.bucket.clone(), at: inner.at.clone() },
            "RequestTimeTooSkewed" | "RequestExpired" => Error::ClockSkew { doing: doing.text() },
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "InvalidClientTokenId"
            // versitygw's way to say it, with a 404.
            | "XAdminUserNotFound" => {
                Error::BadCredentials { doing: doing.text(), code: code.to_owned() }
            }
            "BadDigest" | "InvalidDigest" | "XAmzContentChecksumMismatch" | "XAmzContentSHA256Mismatch" => {
                let why = format!("the server received other bytes than were sent ({code})");
                Error::Corrupt { url: doing.url.clone(), why }
            }
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
                self.wrong_region(expected.or_else(|| named_region(answer.message)))
            }
            _ if expected.is_some() && matches!(answer.status, 301 | 307 | 400) => self.wrong_region(expected),
            "NoSuchKey" | "NotFound" | "NoSuchVersion" | "Not Found" => {
                Error::NotFound { url: doing.url.clone() }
            }
            _ => return None,
        })
    }

    fn wrong_region(&self, expected: Option<String>) -> Error {
        let inner = &self.inner;
        Error::WrongRegion {
            bucket: inner.bucket.clone(),
            region: inner.region.clone(),
            right: expected
                .as_ref()
                .map(|region| format!(", but in {region}"))
                .unwrap_or_default(),
            expected,
        }
    }
}

fn is_passing(status: u16, code: &str) -> bool {
    match status {
        // NotImplemented never passes.
        501 => false,
        500.. | 408 | 429 => true,
        // ConditionalRequestConflict, OperationAborted: another write to the key is under way.
        409 => matches!(
            code,
            "ConditionalRequestConflict" | "OperationAborted" | "Conflict"
        ),
        _ => matches!(
            code,
            "SlowDown" | "RequestTimeout" | "Throttling" | "ThrottlingException" | "InternalError"
        ),
    }
}

/// The region that AWS names in `the region 'x' is wrong; expecting 'y'`.
fn named_region(message: Option<&str>) -> Option<String> {
    let (_, rest) = message?.split_once("expecting '")?;
    Some(rest.split_once('\'')?.0.to_owned())
}

fn in_words(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        412 => "Precondition Failed",
        416 => "Range Not Satisfiable",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "(no code)",
    }
}

/// What the provider of credentials said; that it has none is known.
fn without_noise(error: &CredentialsError) -> Option<BoxError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = match error {
        CredentialsError::CredentialsNotLoaded(_) => None,
        _ => Some(error),
    };
    let mut texts: Vec<String> = Vec::new();
    while let Some(error) = cause {
        let text = error.to_string();
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    (!texts.is_empty()).then(|| texts.join(": ").into())
}

fn find<'a, T: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Whether a body's error is the SDK's finding that its checksum does not match.
pub(crate) fn is_checksum_mismatch(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // The SDK's own type is not public at the level of its client.
        if error.to_string().contains("checksum mismatch") {
            return true;
        }
        next = error.source();
    }
    false
}
