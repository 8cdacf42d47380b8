//! The artifact's record: what it was built from and what its bytes are, as deterministic JSON.
//!
//! Holds no time, user or host, so that building the same twice gives the same record.

use serde::{Deserialize, Serialize};

use crate::format::FORMAT_VERSION;
use crate::hash::Digest;
use crate::layer::{Compression, LayerKind};

/// No record is larger than this many bytes.
const LARGEST: usize = 16 << 20;

/// What the builder knows before the artifact is packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordDraft {
    /// The app's name.
    pub app: String,
    /// The full git commit id.
    pub revision: String,
    /// The steps, in order.
    pub steps: Vec<RecordStep>,
    /// The tools that the steps used, in order.
    pub tools: Vec<Tool>,
}

/// One step of the build as it was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordStep {
    /// Its name.
    pub name: String,
    /// The preset, or `run`.
    pub tool: String,
    /// Its working directory from the root; empty for the root itself.
    pub dir: String,
    /// The command of a `run` step. Never holds a secret's value.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<String>,
}

/// A tool and its version, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// The program's name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One layer of the artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordLayer {
    /// Its step's name, or the code's.
    pub name: String,
    /// What it holds.
    pub kind: LayerKind,
    /// What its content follows from.
    pub key: Option<String>,
    /// Where it begins in the artifact, in bytes.
    pub offset: u64,
    /// Its size in the artifact, in bytes.
    pub size: u64,
    /// SHA-256 of its bytes in the artifact.
    pub sha256: String,
    /// SHA-256 of its index as stored.
    pub index_sha256: String,
    /// How many entries it has.
    pub entries: u64,
    /// Its bytes as a tar stream.
    pub unpacked_size: u64,
}

/// The artifact's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The format version.
    pub format: u32,
    /// The app's name.
    pub app: String,
    /// The full git commit id.
    pub revision: String,
    /// How the frames are compressed.
    pub compression: Compression,
    /// SHA-256 of the artifact's bytes.
    pub sha256: String,
    /// The artifact's size in bytes.
    pub size: u64,
    /// The layers, in order, without gaps; the code is the last.
    pub layers: Vec<RecordLayer>,
    /// The steps, in order.
    pub steps: Vec<RecordStep>,
    /// The tools that the steps used.
    pub tools: Vec<Tool>,
}

/// Why some bytes are no record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Written by a newer shipit.
    #[error("it has format version {found}, and this shipit knows versions up to {FORMAT_VERSION}")]
    Newer {
        /// Its version.
        found: u64,
    },
    /// Not the JSON that it should be.
    #[error("it is not a record's JSON")]
    Json(#[source] serde_json::Error),
    /// JSON of the right shape whose values cannot be.
    #[error("it contradicts itself: {0}")]
    Wrong(String),
}

impl Record {
    /// The record's bytes: JSON with fixed order and indent and a newline at the end.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RecordError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(RecordError::Json)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a record that may come from anywhere: refuses newer versions, wrong digests, layers with gaps.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > LARGEST {
            return Err(RecordError::Wrong(format!(
                "{} bytes are too many for a record",
                bytes.len()
            )));
        }
        /// What is looked at first, for a newer version may have other fields.
        #[derive(Deserialize)]
        struct Version {
            format: u64,
        }
        let version: Version = serde_json::from_slice(bytes).map_err(RecordError::Json)?;
        if version.format > u64::from(FORMAT_VERSION) {
            return Err(RecordError::Newer {
                found: version.format,
            });
        }
        let record: Self = serde_json::from_slice(bytes).map_err(RecordError::Json)?;
        record.check().map_err(RecordError::Wrong)?;
        Ok(record)
    }

    /// The file name of the artifact.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.sha256, self.compression.extension())
    }

    fn check(&self) -> Result<(), String> {
        if self.format == 0 {
            return Err("there is no format version 0".to_owned());
        }
        let digest = |what: &str, text: &str| {
            text.parse::<Digest>()
                .map(drop)
                .map_err(|error| format!("the digest of {what}: {error}"))
        };
        digest("the artifact", &self.sha256)?;
        let mut end = 0_u64;
        for layer in &self.layers {
            digest(&layer.name, &layer.sha256)?;
            digest(&layer.name, &layer.index_sha256)?;
            if layer.offset != end {
                return Err(format!(
                    "the layer {} begins at {} and not at {end}",
                    layer.name, layer.offset
                ));
            }
            end = end
                .checked_add(layer.size)
                .ok_or("the layers' sizes are too large")?;
        }
        if end != self.size {
            return Err(format!("its layers have {end} bytes, the artifact {}", self.size));
        }
        let code = |layer: &&RecordLayer| layer.kind == LayerKind::Code;
        if self.layers.iter().filter(code).count() != 1 || !self.layers.last().as_ref().is_some_and(code) {
            return Err("the code has to be the last layer, and one".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let sha256 = "a".repeat(64);
        let layer = |name: &str, kind, offset, size| RecordLayer {
            name: name.to_owned(),
            kind,
            key: None,
            offset,
            size,
            sha256: sha256.clone(),
            index_sha256: sha256.clone(),
            entries: 1,
            unpacked_size: 512,
        };
        Record {
            format: FORMAT_VERSION,
            app: "shop".into(),
            revision: "0".repeat(40),
            compression: Compression::Zstd,
            sha256: sha256.clone(),
            size: 30,
            layers: vec![
                layer("bundle", LayerKind::Dependencies, 0, 10),
                layer("code", LayerKind::Code, 10, 20),
            ],
            steps: vec![],
            tools: vec![Tool {
                name: "bundler".into(),
                version: "2.3.15".into(),
            }],
        }
    }

    #[test]
    fn written_and_parsed_back() {
        let bytes = record().to_bytes().unwrap();
        assert_eq!(Record::parse(&bytes).unwrap(), record());
        assert_eq!(bytes.last(), Some(&b'\n'));
        assert_eq!(bytes, record().to_bytes().unwrap());
    }

    #[test]
    fn newer_versions_are_refused_before_their_fields() {
        let newer = format!("{{\"format\": {}, \"wholly\": \"new\"}}", FORMAT_VERSION + 1);
        assert!(matches!(
            Record::parse(newer.as_bytes()),
            Err(RecordError::Newer { found: 2 })
        ));
    }

    #[test]
    fn contradictions_are_refused() {
        let wrong = |change: &dyn Fn(&mut Record)| {
            let mut record = record();
            change(&mut record);
            matches!(
                Record::parse(&record.to_bytes().unwrap()),
                Err(RecordError::Wrong(_))
            )
        };
        assert!(wrong(&|r| r.format = 0));
        assert!(wrong(&|r| r.sha256 = "../../etc/passwd".into()));
        assert!(wrong(&|r| r.size = 31));
        assert!(wrong(&|r| r.layers[1].offset = 9));
        assert!(wrong(&|r| r.layers[0].kind = LayerKind::Code));
        assert!(wrong(&|r| r.layers[1].index_sha256 = "A".repeat(64)));
        assert!(wrong(&|r| r.layers[0].size = u64::MAX));
        assert!(wrong(&|r| r.layers.clear()));
        assert!(matches!(Record::parse(b"{}"), Err(RecordError::Json(_))));
    }
}
