//! What of a commit's tree is to be written, told apart by what each entry would be on disk. Nothing is read here.

use shipit_artifact::{Digest, Kind, TreeEntry, sha256};

use crate::tree::{CommitTree, Content, Node};

/// An entry of the tree, and what tells it from another one at the same path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Path, type, mode and size.
    pub entry: TreeEntry,
    /// Differs from another tree's at this path whenever what is written there differs: its type, whether it is executable,
    /// its link target, its content after line ends, `ident`, encoding, `export-subst` and LFS. Two that are equal write
    /// the same. A file that git stores alike at another path has the same; it says nothing of the path and the time.
    pub identity: [u8; 32],
}

impl CommitTree {
    /// Every entry in the order of its path, with its identity. Cheap: no object is read.
    #[must_use]
    pub fn planned(&self) -> Vec<Planned> {
        self.nodes
            .iter()
            .map(|node| Planned {
                entry: node.entry.clone(),
                identity: identity(node).0,
            })
            .collect()
    }
}

/// A git blob that is written as it is stored is known by git's id of it, everything else by the SHA-256 of its content;
/// the words before them keep the two apart.
fn identity(node: &Node) -> Digest {
    let mut text: Vec<u8> = match &node.entry.kind {
        Kind::Directory => b"directory".to_vec(),
        Kind::Symlink { target } => [b"symlink ", target.as_slice()].concat(),
        Kind::File { executable: false } => b"file ".to_vec(),
        Kind::File { executable: true } => b"executable ".to_vec(),
    };
    let digest = |text: &mut Vec<u8>, digest: &Digest| {
        text.extend_from_slice(b"sha256 ");
        text.extend_from_slice(digest.as_bytes());
    };
    match &node.content {
        Content::None => {}
        Content::Blob { id, .. } => {
            text.extend_from_slice(b"blob ");
            text.extend_from_slice(id.as_bytes());
        }
        Content::Converted { written, .. } => digest(&mut text, written),
        Content::Lfs { content, .. } => digest(&mut text, content),
        Content::Bytes(bytes) => digest(&mut text, &sha256(bytes)),
    }
    sha256(&text)
}
