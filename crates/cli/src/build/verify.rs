//! `--verify`: what a build from nothing, in a second place, makes otherwise.

use std::collections::BTreeMap;

use shipit_artifact::{Artifact, EntryPath, Index, IndexEntry, IndexKind};

use crate::errors::{CliError, Kind, Result};
use crate::output::Output;

/// How many differences are named; the rest is counted.
const NAMED: usize = 50;

/// Compares two artifacts file by file when they differ, and says each difference.
///
/// # Errors
/// They differ (a verification's error), or an index cannot be read.
pub fn compare(ours: &Artifact, clean: &Artifact, output: &Output) -> Result<()> {
    if ours.record.sha256 == clean.record.sha256 {
        output.say("verified: a build from nothing gives the same bytes");
        return Ok(());
    }
    let differences = differences(&entries(ours)?, &entries(clean)?);
    for line in differences.iter().take(NAMED) {
        output.warn(line);
    }
    if differences.len() > NAMED {
        output.warn(format!("and {} more", differences.len() - NAMED));
    }
    let counted = match differences.len() {
        // The same files, packed otherwise: layers in another order, or a fault of ours.
        0 => "the same files, in other layers or frames".to_owned(),
        1 => "1 path differs".to_owned(),
        count => format!("{count} paths differ"),
    };
    let message = format!(
        "the artifact {} is not what a build from nothing makes, {}: {counted}",
        short(ours),
        short(clean)
    );
    Err(CliError::new(Kind::Verification, message).hint(
        "a step that writes times, random names or its directory's path makes other bytes each time; a step that reads what \
         its key does not hold needs it among its `inputs`. `shipit build --clean` builds from nothing",
    ))
}

fn short(artifact: &Artifact) -> &str {
    artifact.record.sha256.get(..12).unwrap_or_default()
}

/// An entry, and the layer that it stands in.
type Entries = BTreeMap<EntryPath, (String, IndexEntry)>;

fn entries(artifact: &Artifact) -> Result<Entries> {
    let mut all = BTreeMap::new();
    for (number, layer) in artifact.record.layers.iter().enumerate() {
        let index: Index = artifact.index(number)?;
        for entry in index.entries() {
            all.insert(entry.path.clone(), (layer.name.clone(), entry.clone()));
        }
    }
    Ok(all)
}

fn differences(ours: &Entries, clean: &Entries) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, (layer, entry)) in ours {
        match clean.get(path) {
            None => lines.push(format!("{layer}: {path} is not there in a build from nothing")),
            Some((_, other)) => {
                lines.extend(difference(entry, other).map(|what| format!("{layer}: {path}: {what}")));
            }
        }
    }
    let new = clean.iter().filter(|(path, _)| !ours.contains_key(*path));
    lines.extend(
        new.map(|(path, (layer, _))| format!("{layer}: {path} is there in a build from nothing alone")),
    );
    lines
}

/// What differs, in words; a directory's and a link's time follow from the rest.
fn difference(ours: &IndexEntry, clean: &IndexEntry) -> Option<String> {
    match (&ours.kind, &clean.kind) {
        (
            IndexKind::File {
                size,
                sha256,
                executable,
            },
            IndexKind::File {
                size: other_size,
                sha256: other,
                executable: other_executable,
            },
        ) => {
            if sha256 != other {
                let sizes = if size == other_size {
                    format!("{size} bytes both")
                } else {
                    format!("{size} bytes, from nothing {other_size}")
                };
                return Some(format!("its content differs ({sizes})"));
            }
            (executable != other_executable).then(|| {
                let is = if *executable {
                    "executable"
                } else {
                    "not executable"
                };
                format!("it is {is} in this build alone")
            })
        }
        (IndexKind::Symlink { target }, IndexKind::Symlink { target: other }) => {
            (target != other).then(|| {
                let text = |target: &[u8]| String::from_utf8_lossy(target).into_owned();
                format!(
                    "it points to {:?}, from nothing to {:?}",
                    text(target),
                    text(other)
                )
            })
        }
        (IndexKind::Directory, IndexKind::Directory) => None,
        (ours, clean) => Some(format!("it is {}, from nothing {}", name(ours), name(clean))),
    }
}

fn name(kind: &IndexKind) -> &'static str {
    match kind {
        IndexKind::File { .. } => "a file",
        IndexKind::Symlink { .. } => "a link",
        IndexKind::Directory => "a directory",
    }
}

#[cfg(test)]
mod tests {
    use shipit_artifact::sha256;

    use super::*;

    fn file(path: &str, content: &str, executable: bool) -> (EntryPath, (String, IndexEntry)) {
        let kind = IndexKind::File {
            size: content.len() as u64,
            sha256: sha256(content.as_bytes()),
            executable,
        };
        entry(path, kind)
    }

    fn entry(path: &str, kind: IndexKind) -> (EntryPath, (String, IndexEntry)) {
        let path = EntryPath::new(path).unwrap();
        let entry = IndexEntry {
            path: path.clone(),
            kind,
            mtime: 0,
            frame: 0,
            frame_offset: 0,
            header_size: 512,
        };
        (path, ("code".to_owned(), entry))
    }

    #[test]
    fn each_kind_of_difference_has_its_words() {
        let link = |target: &str| IndexKind::Symlink {
            target: target.into(),
        };
        let ours = [
            file("a", "1", false),
            file("b", "1", true),
            file("gone", "", false),
            entry("l", link("x")),
            entry("t", IndexKind::Directory),
        ];
        let clean = [
            file("a", "22", false),
            file("b", "1", false),
            entry("l", link("y")),
            file("new", "", false),
            entry("t", link("x")),
        ];
        let found = differences(&ours.into_iter().collect(), &clean.into_iter().collect());
        assert_eq!(
            found,
            [
                "code: a: its content differs (1 bytes, from nothing 2)",
                "code: b: it is executable in this build alone",
                "code: gone is not there in a build from nothing",
                "code: l: it points to \"x\", from nothing to \"y\"",
                "code: t: it is a directory, from nothing a link",
                "code: new is there in a build from nothing alone",
            ]
        );
    }
}
