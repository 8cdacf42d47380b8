//! The file that shipit adds to a commit's tree.

use shipit_artifact::{EntryPath, Kind, TreeEntry};

use crate::commit::Commit;
use crate::error::Error;
use crate::event::Event;
use crate::level::unsafe_path;
use crate::tree::{Content, Node};

/// Adds the file `REVISION` with the commit's id, in the place of one that git tracks.
pub(crate) fn add(
    nodes: &mut Vec<Node>,
    commit: &Commit,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<(), Error> {
    let path = EntryPath::new("REVISION").map_err(|source| Error::BadPath {
        commit: commit.id.clone(),
        path: "REVISION".to_owned(),
        source,
    })?;
    let bytes = format!("{}\n", commit.id).into_bytes();
    let entry = TreeEntry {
        path,
        kind: Kind::File { executable: false },
        size: bytes.len() as u64,
    };
    let node = Node {
        entry,
        content: Content::Bytes(bytes),
    };
    match nodes.binary_search_by(|other| other.entry.path.cmp(&node.entry.path)) {
        Ok(at) if nodes[at].entry.kind == Kind::Directory => {
            return Err(unsafe_path(
                &commit.id,
                b"REVISION",
                "a directory stands where shipit writes its file of that name",
            ));
        }
        Ok(at) => {
            on_event(Event::RevisionFileReplaced);
            nodes[at] = node;
        }
        Err(at) => nodes.insert(at, node),
    }
    Ok(())
}
