//! Promoting: the artifact of a stage's release, brought to another stage byte for byte.
//!
//! [`documents`] fetches what an artifact is bound to, and [`bring`] its bytes, both compared with what the release says of
//! them. What they give is published as an artifact that was built here. Whether a release is good enough to be promoted is told by
//! [`lacks`]. Not here: the new manifests, and the lock of publishing.

mod bytes;
mod good;

use std::path::Path;

use shipit_artifact::{Artifact, Record};

pub use bytes::{Brought, bring};
pub use good::lacks;

use crate::publish::LARGEST_RECORD;
use crate::shared::LARGEST_INDEX;
use crate::{Error, Release, Store, layout};

/// Fetches the record of a release's artifact, and the indexes of its layers, into a directory. The artifact's own file is named
/// and not there.
///
/// # Errors
/// [`Error::Corrupt`] when they are not what the release, or the record, says; else the store's, or the disk's.
pub async fn documents(store: &Store, release: &Release, dir: &Path) -> Result<Artifact, Error> {
    let claimed = &release.artifact;
    let key = layout::record_key(&release.app, &claimed.sha256)?;
    let differs = |why: String| Error::Corrupt {
        url: store.url_of(&key),
        why,
    };
    let stored = store.get_bytes(&key, LARGEST_RECORD).await?.bytes;
    let record_sha256 = shipit_artifact::sha256(&stored).to_string();
    if record_sha256 != claimed.record_sha256 {
        let id = &release.id;
        return Err(differs(format!(
            "its SHA-256 is {record_sha256}, and the release {id} has the record {}",
            claimed.record_sha256
        )));
    }
    let record = Record::parse(&stored).map_err(|error| differs(error.to_string()))?;
    let says = (&record.app, &record.sha256, record.size);
    if says != (&release.app, &claimed.sha256, claimed.size) {
        return Err(differs(format!(
            "it is the record of {} of {} ({} bytes), and the release {} has {} ({} bytes)",
            record.sha256, record.app, record.size, release.id, claimed.sha256, claimed.size
        )));
    }
    let extension = record.compression.extension();
    if claimed.key != layout::artifact_key(&release.app, &claimed.sha256, extension)? {
        let why = format!("the artifact lies at {}, and is {extension}", claimed.key);
        return Err(differs(why));
    }
    let record_path = dir.join("record.json");
    write(&record_path, &stored).await?;
    let mut indexes = Vec::new();
    for layer in &record.layers {
        let key = layout::index_key(&release.app, &layer.index_sha256)?;
        let index = store.get_bytes(&key, LARGEST_INDEX).await?.bytes;
        if shipit_artifact::sha256(&index).to_string() != layer.index_sha256 {
            return Err(Error::Corrupt {
                url: store.url_of(&key),
                why: "it does not have the digest that it is named by".to_owned(),
            });
        }
        let path = dir.join(&layer.index_sha256);
        write(&path, &index).await?;
        indexes.push(path);
    }
    Ok(Artifact {
        path: dir.join(record.file_name()),
        record_path,
        record_sha256,
        record,
        indexes,
    })
}

async fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let written = tokio::fs::write(path, bytes).await;
    written.map_err(|source| Error::io("write", path, source))
}
