//! Offering the layers of a published artifact to other builders.

use std::collections::BTreeMap;

use shipit_artifact::{Artifact, LayerKind, RecordLayer};

use super::{LARGEST_ABOUT, SharedLayer};
use crate::{Body, Error, Event, Held, PutOptions, PutOutcome, Store, layout};

/// Whose layers are offered, and to where.
#[derive(Clone, Copy, Debug)]
pub struct OfferLayers<'a> {
    /// To where. The artifact and its indexes lie there already.
    pub store: &'a Store,
    /// The app.
    pub app: &'a str,
    /// The artifact. Its dependency layers that have a key are offered.
    pub artifact: &'a Artifact,
    /// What is known of a layer beside its bytes, by its key.
    pub known: &'a BTreeMap<String, KnownLayer>,
    /// Now, in unix seconds: when a layer was made at the latest of which nothing is known.
    pub now: i64,
}

/// What is told of a layer beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownLayer {
    /// How many packages it holds, where its step could tell.
    pub packages: Option<u64>,
    /// When its step ran, in unix seconds.
    pub made: i64,
}

/// What was offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// Layers that the store has now and had not before.
    pub layers: usize,
    /// Bytes that were sent.
    pub sent: u64,
    /// Bytes that were copied within the store.
    pub copied: u64,
}

/// Puts the artifact's dependency layers where other builders look for them, create-only: the frames first, layer.json last. A
/// layer that is there already costs a look; other bytes under the same key are said and left.
pub async fn offer(request: OfferLayers<'_>) -> Result<Offered, Error> {
    let mut offered = Offered::default();
    for row in &request.artifact.record.layers {
        if let (LayerKind::Dependencies, Some(key)) = (row.kind, &row.key) {
            offer_one(&request, row, key, &mut offered).await?;
        }
    }
    Ok(offered)
}

async fn offer_one(
    request: &OfferLayers<'_>,
    row: &RecordLayer,
    key: &str,
    offered: &mut Offered,
) -> Result<(), Error> {
    let (store, artifact) = (request.store, request.artifact);
    let about_key = layout::shared_layer_key(request.app, key)?;
    let frames_key = layout::shared_frames_key(request.app, key, &row.sha256)?;
    let unknown = KnownLayer {
        packages: None,
        made: request.now,
    };
    let known = request.known.get(key).copied().unwrap_or(unknown);
    let about = SharedLayer::of(row, key, artifact.record.compression, known);
    let differs = || Event::LayerDiffers {
        layer: row.name.clone(),
        url: store.url_of(&about_key),
    };
    match store.get_bytes(&about_key, LARGEST_ABOUT).await {
        Ok(stored) => match SharedLayer::parse(&stored.bytes, key) {
            Ok(stored) if !stored.same_bytes(&about) => {
                store.on_event().emit(differs());
                return Ok(());
            }
            // Its frames may have been removed since.
            Ok(_) if store.head(&frames_key).await?.is_some() => return Ok(()),
            Ok(_) => {}
            Err(why) => {
                let url = store.url_of(&about_key);
                store.on_event().emit(Event::LayerRefused { url, why });
                return Ok(());
            }
        },
        Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    let body = Body::Part {
        path: artifact.path.clone(),
        range: row.offset..row.offset + row.size,
    };
    let options = PutOptions {
        content_type: Some("application/octet-stream".to_owned()),
        sha256: Some(row.sha256.clone()),
    };
    let extension = artifact.record.compression.extension();
    let held = Held {
        key: layout::artifact_key(request.app, &artifact.record.sha256, extension)?,
        from: row.offset,
        at: 0..row.size,
    };
    let put = match store
        .put_by_difference(&frames_key, body, &[held], &options)
        .await
    {
        Ok(put) => put,
        Err(Error::Different { .. }) => {
            store.on_event().emit(differs());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    offered.sent += put.sent;
    offered.copied += put.copied;
    let bytes = about.to_bytes();
    let options = PutOptions {
        content_type: Some("application/json".to_owned()),
        sha256: None,
    };
    let size = bytes.len() as u64;
    match store.put_if_absent(&about_key, bytes.into(), &options).await {
        Ok(PutOutcome::Created) => {}
        Ok(PutOutcome::AlreadyEqual) => return Ok(()),
        // Another builder's came in between, or the time when it was made is another.
        Err(Error::Different { .. }) => return Ok(()),
        Err(error) => return Err(error),
    }
    offered.layers += 1;
    offered.sent += size;
    store.on_event().emit(Event::LayerOffered {
        layer: row.name.clone(),
        key: key.to_owned(),
        bytes: row.size,
    });
    Ok(())
}
