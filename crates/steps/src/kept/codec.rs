//! The state files' form: little-endian numbers and bytes, a digest at the end. Read and written at every build, with a
//! row for each file of a layer: so it is compact, and no text.

use shipit_artifact::{EntryPath, sha256};

use super::crawl::Directory;
use super::descent::{Found, split};
use super::layer::{Layer, Top};
use super::standing::Standing;

/// How each state file begins. The last byte is the form's version.
const MAGIC: &[u8; 8] = b"SHIPITK\x01";
const DIGEST: usize = 32;

/// The state of what is planned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TreeState {
    /// Which start of the machine it was written in.
    pub boot: String,
    /// The planned files, sorted by path.
    pub files: Vec<Recorded>,
}

/// A planned file as it was left by an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded {
    pub path: Vec<u8>,
    pub identity: [u8; 32],
    pub standing: Standing,
}

pub(super) fn encode_tree(state: &TreeState) -> Vec<u8> {
    let mut out = Writer::new(state.files.len() * 96);
    out.bytes(state.boot.as_bytes());
    out.count(state.files.len());
    let mut last: &[u8] = b"";
    for file in &state.files {
        out.path(last, &file.path);
        out.0.extend_from_slice(&file.identity);
        out.standing(&file.standing);
        last = &file.path;
    }
    out.finish()
}

pub(super) fn decode_tree(stored: &[u8]) -> Result<TreeState, String> {
    let mut from = Reader::open(stored)?;
    let boot = String::from_utf8(from.bytes()?.to_vec()).map_err(|_| wrong())?;
    let count = from.count()?;
    let mut files: Vec<Recorded> = Vec::with_capacity(count);
    for _ in 0..count {
        let path = from.path(files.last().map_or(b"", |file| &file.path))?;
        let identity = from.array()?;
        let standing = from.standing()?;
        files.push(Recorded {
            path,
            identity,
            standing,
        });
    }
    from.end()?;
    Ok(TreeState { boot, files })
}

pub(super) fn encode_layer(layer: &Layer) -> Vec<u8> {
    let entries: usize = layer.directories.iter().map(|dir| dir.entries.len()).sum();
    let mut out = Writer::new(entries * 64);
    out.bytes(layer.key.as_bytes());
    out.count(layer.owned.len());
    for path in &layer.owned {
        out.bytes(path.as_bytes());
    }
    out.count(layer.tops.len());
    for top in &layer.tops {
        out.bytes(&top.path);
        out.standing(&top.standing);
    }
    out.count(layer.directories.len());
    let mut last: &[u8] = b"";
    for directory in &layer.directories {
        out.path(last, &directory.path);
        out.count(directory.entries.len());
        for entry in &directory.entries {
            out.bytes(&entry.name);
            out.standing(&entry.standing);
        }
        last = &directory.path;
    }
    out.finish()
}

pub(super) fn decode_layer(stored: &[u8]) -> Result<Layer, String> {
    let mut from = Reader::open(stored)?;
    let key = String::from_utf8(from.bytes()?.to_vec()).map_err(|_| wrong())?;
    let owned = (0..from.count()?)
        .map(|_| EntryPath::new(from.bytes()?).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    let mut tops = Vec::new();
    for _ in 0..from.count()? {
        let path = from.bytes()?.to_vec();
        let standing = from.standing()?;
        tops.push(Top { path, standing });
    }
    let mut directories: Vec<Directory> = Vec::new();
    for _ in 0..from.count()? {
        let path = from.path(directories.last().map_or(b"", |dir| &dir.path))?;
        let count = from.count()?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let name = from.bytes()?.into();
            let standing = from.standing()?;
            entries.push(Found { name, standing });
        }
        directories.push(Directory { path, entries });
    }
    from.end()?;
    Ok(Layer {
        key,
        owned,
        tops,
        directories,
    })
}

fn wrong() -> String {
    "its state contradicts itself".to_owned()
}

struct Writer(Vec<u8>);

impl Writer {
    fn new(size: usize) -> Self {
        let mut out = Vec::with_capacity(size + 256);
        out.extend_from_slice(MAGIC);
        Self(out)
    }

    /// A number that fits 32 bits: lengths of paths, counts of files.
    fn count(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&count.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // Names are at most 255 bytes long, which takes one byte; whatever is longer takes five.
        match u8::try_from(bytes.len()) {
            Ok(length) if length < u8::MAX => self.0.push(length),
            _ => {
                self.0.push(u8::MAX);
                self.count(bytes.len());
            }
        }
        self.0.extend_from_slice(bytes);
    }

    /// A path by what it has in common with the one before, in whole directories.
    fn path(&mut self, last: &[u8], path: &[u8]) {
        let mut shared = split(last).0;
        while !(shared.is_empty() || path.starts_with(shared) && path.get(shared.len()) == Some(&b'/')) {
            shared = split(shared).0;
        }
        self.count(shared.len());
        self.bytes(&path[shared.len()..]);
    }

    fn standing(&mut self, standing: &Standing) {
        self.0.extend_from_slice(&standing.mode.to_le_bytes());
        if standing.is_directory() {
            return;
        }
        self.0.extend_from_slice(&standing.inode.to_le_bytes());
        self.0.extend_from_slice(&standing.size.to_le_bytes());
        for (seconds, nanoseconds) in [standing.modified, standing.changed] {
            self.0.extend_from_slice(&seconds.to_le_bytes());
            self.0.extend_from_slice(&nanoseconds.to_le_bytes());
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let digest = sha256(&self.0);
        self.0.extend_from_slice(digest.as_bytes());
        self.0
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn open(stored: &'a [u8]) -> Result<Self, String> {
        let body = stored.len().checked_sub(DIGEST).ok_or("its state is cut off")?;
        let (body, digest) = stored.split_at(body);
        let rest = body
            .strip_prefix(MAGIC)
            .ok_or("its state is of another version of shipit, or none at all")?;
        if sha256(body).as_bytes() != digest {
            return Err("its state is damaged".to_owned());
        }
        Ok(Self { rest })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(wrong)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| wrong())
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    /// How many rows follow, each of which takes a byte at least.
    fn count(&mut self) -> Result<usize, String> {
        let count = self.u32()? as usize;
        if count > self.rest.len() {
            return Err(wrong());
        }
        Ok(count)
    }

    fn bytes(&mut self) -> Result<&'a [u8], String> {
        let [length] = self.array()?;
        let length = match length {
            u8::MAX => self.u32()? as usize,
            short => usize::from(short),
        };
        self.take(length)
    }

    fn path(&mut self, last: &[u8]) -> Result<Vec<u8>, String> {
        let shared = self.u32()? as usize;
        let mut path = last.get(..shared).ok_or_else(wrong)?.to_vec();
        path.extend_from_slice(self.bytes()?);
        Ok(path)
    }

    fn standing(&mut self) -> Result<Standing, String> {
        let mode = self.u32()?;
        let directory = Standing::directory(mode);
        if directory.is_directory() {
            return Ok(directory);
        }
        let inode = self.array().map(u64::from_le_bytes)?;
        let size = self.array().map(u64::from_le_bytes)?;
        let mut time = || Ok::<_, String>((self.array().map(i64::from_le_bytes)?, self.u32()?));
        let (modified, changed) = (time()?, time()?);
        Ok(Standing {
            mode,
            inode,
            size,
            modified,
            changed,
        })
    }

    fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(wrong())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inode: u64) -> Standing {
        Standing {
            mode: 0o100_644,
            inode,
            size: 1 << 40,
            modified: (-5, 999_999_999),
            changed: (1 << 33, 1),
        }
    }

    fn tree() -> TreeState {
        let paths = ["a", "a-b/c", "a/b/c/d", "a/b/c/e", "a/b/cc/f", "b/\u{1F600}"];
        let mut paths: Vec<Vec<u8>> = paths.map(|path| path.as_bytes().to_vec()).to_vec();
        paths.push(b"c/\xff\xfe".to_vec());
        paths.push([b"d/".as_slice(), &[b'x'; 300]].concat());
        let recorded = |(at, path): (usize, Vec<u8>)| Recorded {
            path,
            identity: [u8::try_from(at).unwrap(); 32],
            standing: file(at as u64),
        };
        TreeState {
            boot: "boot".to_owned(),
            files: paths.into_iter().enumerate().map(recorded).collect(),
        }
    }

    fn layer() -> Layer {
        let entry = |name: &[u8], standing| Found {
            name: name.into(),
            standing,
        };
        let directory = Standing::directory(0o040_755);
        Layer {
            key: "f00".to_owned(),
            owned: vec![
                EntryPath::new("web/node_modules").unwrap(),
                EntryPath::new(b"x\xff".as_slice()).unwrap(),
            ],
            tops: vec![Top {
                path: b"web/node_modules".to_vec(),
                standing: directory,
            }],
            directories: vec![
                Directory {
                    path: b"web/node_modules".to_vec(),
                    entries: vec![entry(b"a", directory), entry(&[b'n'; 255], file(7))],
                },
                Directory {
                    path: b"web/node_modules/a".to_vec(),
                    entries: vec![],
                },
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(decode_tree(&encode_tree(&tree())).unwrap(), tree());
        assert_eq!(decode_layer(&encode_layer(&layer())).unwrap(), layer());
    }

    #[test]
    fn any_damage_is_noticed() {
        let tree = encode_tree(&tree());
        for at in 0..tree.len() {
            let mut flipped = tree.clone();
            flipped[at] ^= 4;
            decode_tree(&flipped).unwrap_err();
            decode_tree(&tree[..at]).unwrap_err();
        }
        let mut other = tree.clone();
        other[7] += 1;
        let error = decode_tree(&other).unwrap_err();
        assert!(error.contains("another version"), "{error}");
    }

    #[test]
    fn lies_behind_a_right_digest_are_no_panic() {
        let stored = encode_layer(&layer());
        let body = &stored[..stored.len() - DIGEST];
        for at in MAGIC.len()..body.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut lie = body.to_vec();
                lie[at] = value;
                let digest = sha256(&lie);
                lie.extend_from_slice(digest.as_bytes());
                let _ = decode_layer(&lie);
            }
        }
    }
}
