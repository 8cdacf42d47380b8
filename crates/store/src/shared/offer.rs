//! Offering the layers of a published artifact to other builders.

use std::collections::BTreeMap;

use shipit_artifact::{Artifact, LayerKind, RecordLayer};

use super::{LARGEST_ABOUT, SharedLayer};
use crate::{Body, Error, Event, Held, Put, PutOptions, PutOutcome, Store, layout};

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
    let unknown = KnownLayer {
        packages: None,
        made: request.now,
    };
    let known = request.known.get(key).copied().unwrap_or(unknown);
    let layer = Layer {
        about_key: layout::shared_layer_key(request.app, key)?,
        frames_key: layout::shared_frames_key(request.app, key, &row.sha256)?,
        about: SharedLayer::of(row, key, request.artifact.record.compression, known),
        row,
        key,
    };
    if layer.is_answered(request.store).await? {
        return Ok(());
    }
    let Some(put) = layer.put_frames(request).await? else {
        return Ok(());
    };
    offered.sent += put.sent;
    offered.copied += put.copied;
    if let Some(sent) = layer.put_about(request.store).await? {
        offered.layers += 1;
        offered.sent += sent;
        request.store.on_event().emit(Event::LayerOffered {
            layer: row.name.clone(),
            key: key.to_owned(),
            bytes: row.size,
        });
    }
    Ok(())
}

/// A layer that is offered.
struct Layer<'a> {
    about_key: String,
    frames_key: String,
    about: SharedLayer,
    row: &'a RecordLayer,
    key: &'a str,
}

impl Layer<'_> {
    /// Whether the store has a layer under the key, this one or another.
    async fn is_answered(&self, store: &Store) -> Result<bool, Error> {
        let stored = match store.get_bytes(&self.about_key, LARGEST_ABOUT).await {
            Ok(stored) => SharedLayer::parse(&stored.bytes, self.key),
            Err(Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        match stored {
            Ok(stored) if stored.same_bytes(&self.about) => {
                // Its frames may have been removed since.
                return Ok(store.head(&self.frames_key).await?.is_some());
            }
            Ok(_) => self.say_differs(store),
            Err(why) => {
                let url = store.url_of(&self.about_key);
                store.on_event().emit(Event::LayerRefused { url, why });
            }
        }
        Ok(true)
    }

    /// Nothing when other bytes lie there.
    async fn put_frames(&self, request: &OfferLayers<'_>) -> Result<Option<Put>, Error> {
        let (artifact, row) = (request.artifact, self.row);
        let body = Body::Part {
            path: artifact.path.clone(),
            range: row.offset..row.offset + row.size,
        };
        let options = PutOptions {
            content_type: Some("application/octet-stream".to_owned()),
            sha256: Some(row.sha256.clone()),
        };
        let extension = artifact.record.compression.extension();
        let held = [Held {
            key: layout::artifact_key(request.app, &artifact.record.sha256, extension)?,
            from: row.offset,
            at: 0..row.size,
        }];
        let put = request
            .store
            .put_by_difference(&self.frames_key, body, &held, &options);
        match put.await {
            Ok(put) => Ok(Some(put)),
            Err(Error::Different { .. }) => {
                self.say_differs(request.store);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// How many bytes were sent; nothing when it is there by now.
    async fn put_about(&self, store: &Store) -> Result<Option<u64>, Error> {
        let bytes = self.about.to_bytes();
        let options = PutOptions {
            content_type: Some("application/json".to_owned()),
            sha256: None,
        };
        let size = bytes.len() as u64;
        match store.put_if_absent(&self.about_key, bytes.into(), &options).await {
            Ok(PutOutcome::Created) => Ok(Some(size)),
            // Another builder's came in between, or the time when it was made is another.
            Ok(PutOutcome::AlreadyEqual) | Err(Error::Different { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn say_differs(&self, store: &Store) {
        store.on_event().emit(Event::LayerDiffers {
            layer: self.row.name.clone(),
            url: store.url_of(&self.about_key),
        });
    }
}
