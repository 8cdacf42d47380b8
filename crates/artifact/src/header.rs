//! Tar headers: one entry's header blocks, byte for byte.
//!
//! The GNU form: names and link targets above 100 bytes stand in `L` and `K` records before the entry, a size above
//! 8 GiB in base 256. Those records carry bytes as they are, so that a name in any encoding comes out of GNU tar, bsdtar
//! and every other reader as it went in; pax records are UTF-8 by definition and readers convert them.

use crate::format::{BLOCK, MODE_DIRECTORY, MODE_EXECUTABLE, MODE_FILE, MODE_SYMLINK, padded};
use crate::index::{IndexEntry, IndexKind};
use crate::tree::{Kind, TreeEntry};

/// The name field's and the link field's length.
const NAME: usize = 100;
/// The largest number that eleven octal digits hold.
const OCTAL_11: u64 = 0o777_7777_7777;

/// How many bytes of headers an entry has: a multiple of 512.
pub(crate) fn header_size(entry: &TreeEntry) -> u32 {
    let target = if let Kind::Symlink { target } = &entry.kind {
        target.len()
    } else {
        0
    };
    let record = |length: usize| {
        // A record is a header of its own and the bytes with a NUL.
        if length > NAME {
            BLOCK + padded(length as u64 + 1)
        } else {
            0
        }
    };
    // Paths and targets have at most 4096 bytes, so this is far from any limit.
    (BLOCK + record(target) + record(name_size(entry))) as u32
}

/// What an entry takes in the tar stream: headers, content, padding.
pub(crate) fn tar_size(entry: &TreeEntry) -> u64 {
    u64::from(header_size(entry)) + padded(entry.size)
}

/// Appends an entry's headers.
pub(crate) fn put_headers(out: &mut Vec<u8>, entry: &TreeEntry, mtime: i64) {
    let mut name = entry.path.as_bytes().to_vec();
    let (mode, flag, target): (u16, u8, &[u8]) = match &entry.kind {
        Kind::File { executable: false } => (MODE_FILE, b'0', &[]),
        Kind::File { executable: true } => (MODE_EXECUTABLE, b'0', &[]),
        Kind::Symlink { target } => (MODE_SYMLINK, b'2', target),
        Kind::Directory => {
            name.push(b'/');
            (MODE_DIRECTORY, b'5', &[])
        }
    };
    if target.len() > NAME {
        put_record(out, b'K', target);
    }
    if name.len() > NAME {
        put_record(out, b'L', &name);
    }
    put_block(out, &name, mode, entry.size, mtime, flag, target);
}

/// Appends the headers of an entry that an index names.
pub(crate) fn put_headers_of(out: &mut Vec<u8>, entry: &IndexEntry) {
    let listed = TreeEntry {
        path: entry.path.clone(),
        kind: match &entry.kind {
            IndexKind::File { executable, .. } => Kind::File {
                executable: *executable,
            },
            IndexKind::Symlink { target } => Kind::Symlink {
                target: target.clone(),
            },
            IndexKind::Directory => Kind::Directory,
        },
        size: entry.size(),
    };
    put_headers(out, &listed, entry.mtime);
}

fn name_size(entry: &TreeEntry) -> usize {
    entry.path.as_bytes().len() + usize::from(entry.kind == Kind::Directory)
}

/// A record of GNU tar: a long name or link target for the entry that follows.
fn put_record(out: &mut Vec<u8>, flag: u8, bytes: &[u8]) {
    let size = bytes.len() as u64 + 1;
    put_block(out, b"././@LongLink", MODE_FILE, size, 0, flag, &[]);
    let end = out.len() + padded(size) as usize;
    out.extend_from_slice(bytes);
    out.resize(end, 0);
}

fn put_block(out: &mut Vec<u8>, name: &[u8], mode: u16, size: u64, mtime: i64, flag: u8, target: &[u8]) {
    let start = out.len();
    out.resize(start + BLOCK as usize, 0);
    let block = &mut out[start..];
    let name = &name[..name.len().min(NAME)];
    let target = &target[..target.len().min(NAME)];
    block[..name.len()].copy_from_slice(name);
    octal(&mut block[100..107], u64::from(mode));
    octal(&mut block[108..115], 0);
    octal(&mut block[116..123], 0);
    number(&mut block[124..136], size);
    number(&mut block[136..148], mtime.max(0) as u64);
    block[148..156].fill(b' ');
    block[156] = flag;
    block[157..157 + target.len()].copy_from_slice(target);
    block[257..265].copy_from_slice(b"ustar  \0");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..154], sum);
    block[154] = 0;
}

/// Octal digits with leading zeros over the whole field.
fn octal(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}

/// A field of twelve bytes: eleven octal digits and a NUL, or base 256 when they do not hold the value.
fn number(field: &mut [u8], value: u64) {
    if value <= OCTAL_11 {
        octal(&mut field[..11], value);
    } else {
        field[0] = 0x80;
        field[4..12].copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::EntryPath;

    fn entry(path: &[u8], kind: Kind, size: u64) -> TreeEntry {
        TreeEntry {
            path: EntryPath::new(path).unwrap(),
            kind,
            size,
        }
    }

    /// The headers, read by the tar crate.
    fn read(entry: &TreeEntry, mtime: i64) -> (Vec<u8>, Vec<u8>, u64, u64, u32) {
        let mut bytes = Vec::new();
        put_headers(&mut bytes, entry, mtime);
        assert_eq!(bytes.len(), header_size(entry) as usize);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let found = archive.entries().unwrap().next().unwrap().unwrap();
        let link = found
            .link_name_bytes()
            .map(|name| name.to_vec())
            .unwrap_or_default();
        let header = found.header();
        let numbers = (
            header.size().unwrap(),
            header.mtime().unwrap(),
            header.mode().unwrap(),
        );
        (found.path_bytes().to_vec(), link, numbers.0, numbers.1, numbers.2)
    }

    #[test]
    fn names_of_every_length_and_encoding() {
        for length in [1, 99, 100, 101, 255, 511, 512, 513, 4000] {
            let path: Vec<u8> = b"d\xff\xe9/"
                .iter()
                .copied()
                .cycle()
                .take(length - 1)
                .chain(*b"x")
                .collect();
            let path: Vec<u8> = path.strip_prefix(b"/").unwrap_or(&path).to_vec();
            let file = entry(&path, Kind::File { executable: true }, 7);
            assert_eq!(read(&file, 5), (path.clone(), vec![], 7, 5, 0o755), "{length}");
            let link = entry(b"l", Kind::Symlink { target: path.clone() }, 0);
            assert_eq!(
                read(&link, 5),
                (b"l".to_vec(), path.clone(), 0, 5, 0o777),
                "{length}"
            );
            let both = entry(&path, Kind::Symlink { target: path.clone() }, 0);
            assert_eq!(read(&both, 5).1, path);
            let dir = entry(&path, Kind::Directory, 0);
            assert_eq!(read(&dir, 5).0, [&path[..], b"/"].concat(), "{length}");
        }
    }

    #[test]
    fn large_sizes_and_times() {
        for size in [0, OCTAL_11, OCTAL_11 + 1, 1 << 40] {
            let file = entry(b"f", Kind::File { executable: false }, size);
            assert_eq!(
                read(&file, size as i64),
                (b"f".to_vec(), vec![], size, size, 0o644)
            );
        }
    }
}
