//! Reading the manifest.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use shipit_manifest::Manifest;
use shipit_store::{FetchRetry, Fetcher, redacted};

use super::or_cancelled;
use crate::checksum::hex;
use crate::download::within;
use crate::error::Error;
use crate::event::Event;
use crate::log::Recorder;
use crate::mask::{Environment, Mask};
use crate::request::ApplyRequest;

/// The most that a manifest may have, in bytes.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// A manifest that was read.
pub(crate) struct Loaded {
    pub(crate) manifest: Manifest,
    pub(crate) mask: Mask,
    /// Of its bytes as they came, lower-case hex.
    pub(crate) sha256: String,
}

/// Reads the manifest and evaluates what it leaves to the host.
pub(crate) async fn load(
    request: &ApplyRequest,
    fetcher: &Fetcher,
    recorder: &Recorder,
) -> Result<Loaded, Error> {
    let url = redacted(&request.manifest_url);
    recorder.say(Event::ManifestLoading { url: url.clone() });
    let bytes = fetch(request, fetcher).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::NotText { url: url.clone() })?;
    let environment = Environment::new(&request.environment);
    let manifest = shipit_manifest::host_template(text, &|name| environment.get(name))
        .and_then(|text| shipit_manifest::parse(&text))
        .map_err(|cause| Error::Manifest {
            url,
            cause: Box::new(cause),
        })?;
    Ok(Loaded {
        manifest,
        mask: environment.into_mask(),
        sha256: hex(&Sha256::digest(&bytes)),
    })
}

/// The SHA-256 of what stands at `request.manifest_url` now, lower-case hex: whether a mutable manifest, such as the live one, is
/// still the one that was applied ([`Applied::manifest_sha256`](crate::Applied::manifest_sha256)).
///
/// # Errors
/// [`Error::ManifestFetch`], [`Error::Timeout`], [`Error::Cancelled`].
pub async fn manifest_sha256(
    request: &ApplyRequest,
    fetcher: &Fetcher,
    cancel: &AtomicBool,
) -> Result<String, Error> {
    let bytes = or_cancelled(cancel, fetch(request, fetcher)).await?;
    Ok(hex(&Sha256::digest(&bytes)))
}

async fn fetch(request: &ApplyRequest, fetcher: &Fetcher) -> Result<Bytes, Error> {
    let url = redacted(&request.manifest_url);
    let failed = |cause| Error::ManifestFetch {
        url: url.clone(),
        cause: Box::new(cause),
    };
    within(request.timeout, &url, async {
        let body = fetcher
            .open_with_retry(&request.manifest_url, None, retry(request))
            .await
            .map_err(failed)?;
        body.into_bytes(MANIFEST_LIMIT).await.map_err(failed)
    })
    .await
}

pub(crate) fn retry(request: &ApplyRequest) -> FetchRetry {
    FetchRetry {
        count: request.retry,
        wait: request.retry_wait,
    }
}

/// Tells what was read.
pub(super) fn say_loaded(manifest: &Manifest, mask: &Mask, recorder: &Recorder) {
    recorder.say(Event::ManifestLoaded {
        src: manifest.src.as_deref().map(|src| mask.hide(&redacted(src))),
        dest: manifest.dest.as_ref().map(|dest| PathBuf::from(mask.hide(dest))),
        release: manifest.shipit.as_ref().map(|binding| binding.release.clone()),
        commands: manifest.commands.lists().map(|(_, list)| list.len()),
    });
}
