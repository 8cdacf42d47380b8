//! The settings of an S3 store, and the client that follows from them.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use url::{Host, Url};

use crate::copy_plan::LEAST_PART;
use crate::{Error, RetryPolicy};

/// Encryption at rest, asked for with each write. Without it the bucket's default holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sse {
    /// `AES256`: S3's own keys.
    Aes256,
    /// `aws:kms`, with a key's id or ARN, or the account's default key.
    Kms {
        /// The key.
        key_id: Option<String>,
    },
}

/// The settings of an S3 store.
#[derive(Clone)]
pub struct S3Options {
    /// Credentials, region, endpoint and HTTP client as AWS's own rules found them.
    pub sdk_config: SdkConfig,
    /// Goes before the configuration's region.
    pub region: Option<String>,
    /// Of an S3-compatible server: `https://host:port`. Goes before the configuration's endpoint.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path and not in the host's name; by default so for an endpoint that is an IP
    /// address or `localhost`.
    pub path_style: Option<bool>,
    /// Encryption at rest.
    pub sse: Option<Sse>,
    /// Files larger than this are sent in parts of this size (larger ones if there would be too many). Bytes, at least 5 MiB.
    pub part_size: u64,
    /// Parts at once. Memory is this times the part's size.
    pub parallel: NonZeroUsize,
    /// Objects larger than this are copied in parts; S3 allows 5 GiB. Bytes, at least 5 MiB.
    pub largest_copy: u64,
    /// How often a request is tried.
    pub retry: RetryPolicy,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long nothing may move, in either direction.
    pub stall_timeout: Duration,
}

impl S3Options {
    /// The defaults, with this AWS configuration.
    pub fn new(sdk_config: SdkConfig) -> Self {
        Self {
            sdk_config,
            region: None,
            endpoint: None,
            path_style: None,
            sse: None,
            part_size: 8 << 20,
            parallel: NonZeroUsize::MIN.saturating_add(3),
            largest_copy: 5 << 30,
            retry: RetryPolicy::default(),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
        }
    }

    /// The endpoint, when it is not AWS's.
    pub(super) fn endpoint(&self) -> Option<String> {
        self.endpoint
            .clone()
            .or_else(|| self.sdk_config.endpoint_url().map(str::to_owned))
    }

    /// The client, and the region that it uses.
    pub(super) fn client(&self) -> Result<(Client, String), Error> {
        let bad = |why: String| Error::BadOptions { why };
        if self.part_size < LEAST_PART || self.largest_copy < LEAST_PART {
            return Err(bad("S3 takes no parts under 5 MiB".into()));
        }
        let endpoint = self.endpoint();
        let parsed = endpoint.as_deref().map(check_endpoint).transpose()?;
        let region = match (&self.region, self.sdk_config.region()) {
            (Some(region), _) => region.clone(),
            (None, Some(region)) => region.to_string(),
            // Compatible servers want some region in the signature, and take this one.
            (None, None) if endpoint.is_some() => "us-east-1".to_owned(),
            (None, None) => {
                return Err(bad(
                    "no region: set store.region, AWS_REGION or the profile's region".into(),
                ));
            }
        };
        let path_style = self
            .path_style
            .unwrap_or_else(|| parsed.as_ref().is_some_and(needs_path_style));
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.connect_timeout)
            .build();
        let mut config = Builder::from(&self.sdk_config)
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.clone()))
            .force_path_style(path_style)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenSupported);
        if let Some(endpoint) = endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok((Client::from_conf(config.build()), region))
    }
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the AWS configuration: it holds credentials.
        f.debug_struct("S3Options")
            .field("region", &self.region)
            .field("endpoint", &self.endpoint.as_deref().map(crate::redacted))
            .field("path_style", &self.path_style)
            .field("sse", &self.sse)
            .finish_non_exhaustive()
    }
}

fn check_endpoint(text: &str) -> Result<Url, Error> {
    let bad = |why: &str| Error::BadOptions {
        why: format!("endpoint {:?}: {why}", crate::redacted(text)),
    };
    let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("it starts with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("credentials do not belong into a URL"));
    }
    Ok(url)
}

fn needs_path_style(endpoint: &Url) -> bool {
    match endpoint.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.parse::<IpAddr>().is_ok(),
        Some(_) => true,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> S3Options {
        S3Options::new(SdkConfig::builder().build())
    }

    #[test]
    fn a_region_is_needed_on_aws_alone() {
        let error = options().client().unwrap_err();
        assert!(error.to_string().contains("AWS_REGION"), "{error}");
        let mut compatible = options();
        compatible.endpoint = Some("http://127.0.0.1:9000".into());
        assert_eq!(compatible.client().unwrap().1, "us-east-1");
        let mut aws = options();
        aws.region = Some("ap-northeast-1".into());
        assert_eq!(aws.client().unwrap().1, "ap-northeast-1");
    }

    #[test]
    fn addresses_are_path_style() {
        for (endpoint, path) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("https://s3.example.com", false),
        ] {
            assert_eq!(
                needs_path_style(&check_endpoint(endpoint).unwrap()),
                path,
                "{endpoint}"
            );
        }
    }

    #[test]
    fn bad_endpoints_are_refused_without_their_secrets() {
        for endpoint in ["127.0.0.1:9000", "ftp://h", "https://u:geheim@h"] {
            let error = check_endpoint(endpoint).unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
