//! Indexes from hostile hands.

use crate::format::FORMAT_VERSION;
use crate::index::{Frame, Index, IndexEntry, IndexKind};
use crate::index_codec::IndexError;
use crate::index_rows::{RowKind, StoredIndex};
use crate::path::EntryPath;
use crate::{Compression, LayerKind, sha256};

fn index() -> Index {
    let frame = |offset, unpacked_offset, unpacked_size| Frame {
        offset,
        size: 10,
        unpacked_offset,
        unpacked_size,
        sha256: sha256(b"frame"),
    };
    let entry = |path: &[u8], kind, frame, frame_offset| IndexEntry {
        path: EntryPath::new(path).unwrap(),
        kind,
        mtime: 1,
        frame,
        frame_offset,
        header_size: 512,
    };
    let file = |size| IndexKind::File {
        size,
        sha256: sha256(b"x"),
        executable: true,
    };
    Index {
        compression: Compression::Zstd,
        kind: LayerKind::Code,
        frames: vec![frame(0, 0, 1024), frame(10, 1024, 1024), frame(20, 2048, 1024)],
        entries: vec![
            entry(b"a", IndexKind::Directory, 0, 0),
            entry(b"b\xff", file(513), 0, 512),
        ],
    }
}

fn table(index: &Index) -> Vec<u8> {
    zstd::stream::decode_all(index.to_bytes().unwrap().as_slice()).unwrap()
}

fn parse_table(table: &[u8]) -> Result<Index, IndexError> {
    Index::parse(&crate::compress::zstd_frame(table, 3).unwrap())
}

#[test]
fn written_and_parsed_back() {
    let mut index = index();
    index.check().unwrap();
    index.entries.push(IndexEntry {
        path: EntryPath::new("c").unwrap(),
        kind: IndexKind::Symlink {
            target: b"t\xff".to_vec(),
        },
        mtime: -1,
        frame: 2,
        frame_offset: 0,
        header_size: 512,
    });
    index.frames[2].unpacked_size = 512;
    index.frames.push(Frame {
        offset: 30,
        size: 10,
        unpacked_offset: 2560,
        unpacked_size: 1024,
        sha256: sha256(b"end"),
    });
    let bytes = index.to_bytes().unwrap();
    assert_eq!(Index::parse(&bytes).unwrap(), index);
    let location = index.location(&index.entries[1]);
    assert_eq!((location.frames, location.offset, location.size), (1..2, 0, 513));
    assert_eq!(index.entries_of(1), []);
    assert_eq!(index.entries_of(2).len(), 1);

    // Every byte of the table changed, one at a time: refused, or an index that is consistent; never a panic.
    let table = table(&index);
    for at in 0..table.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = table.clone();
            changed[at] ^= flip;
            if let Ok(parsed) = parse_table(&changed) {
                parsed.check().unwrap();
                for entry in &parsed.entries {
                    assert!(parsed.location(entry).frames.end <= parsed.frames.len());
                }
            }
        }
    }
    for cut in 0..table.len() {
        assert!(parse_table(&table[..cut]).is_err(), "{cut}");
    }
    assert!(parse_table(&[&table[..], b"x"].concat()).is_err());
    for cut in 0..bytes.len() {
        assert!(Index::parse(&bytes[..cut]).is_err(), "{cut}");
    }
    assert!(Index::parse(&[&bytes[..], b"x"].concat()).is_err());
    assert!(Index::parse(&bytes.repeat(2)).is_err());
}

#[test]
fn row_by_row_as_in_the_whole() {
    let mut index = index();
    index.entries.push(IndexEntry {
        path: EntryPath::new("c").unwrap(),
        kind: IndexKind::Symlink {
            target: b"t\xff".to_vec(),
        },
        mtime: -1,
        frame: 2,
        frame_offset: 0,
        header_size: 512,
    });
    let stored = StoredIndex::unpack(&index.to_bytes().unwrap()).unwrap();
    let (head, rows) = stored.rows().unwrap();
    let whole = (
        index.compression(),
        index.kind(),
        index.size(),
        index.unpacked_size(),
    );
    assert_eq!(
        (head.compression, head.kind, head.size, head.unpacked_size),
        whole
    );
    assert_eq!(head.entries, 3);
    let rows: Vec<_> = rows.map(Result::unwrap).collect();
    for (row, entry) in rows.iter().zip(index.entries()) {
        assert_eq!(row.path, entry.path.as_bytes());
        assert_eq!((row.kind.mode(), row.mtime), (entry.mode(), entry.mtime));
        assert_eq!(row.content.as_ref(), entry.content());
    }
    let sizes: Vec<_> = rows.iter().map(|row| row.size).collect();
    assert_eq!(sizes, [0, 513, 2]);
    let kinds: Vec<_> = rows.iter().map(|row| row.kind).collect();
    let file = RowKind::File { executable: true };
    assert_eq!(kinds, [RowKind::Directory, file, RowKind::Symlink]);
}

#[test]
fn the_first_row_that_cannot_be_is_the_last() {
    let of = |table: &[u8]| {
        let stored = StoredIndex::unpack(&crate::compress::zstd_frame(table, 3).unwrap()).unwrap();
        let (_, rows) = stored.rows().unwrap();
        rows.map(|row| row.map(|row| row.path.to_vec()).map_err(|_| ()))
            .collect::<Vec<_>>()
    };
    let good = table(&index());
    let (a, b) = (Ok(b"a".to_vec()), Ok(b"b\xff".to_vec()));
    assert_eq!(of(&good), [a.clone(), b.clone()]);
    // What stands after the last.
    assert_eq!(of(&[&good[..], b"x"].concat()), [a.clone(), b, Err(())]);
    // A path that leaves: the last two bytes are that of the second entry.
    let mut leaves = good.clone();
    let end = leaves.len();
    leaves[end - 2..].copy_from_slice(b"..");
    assert_eq!(of(&leaves), [a.clone(), Err(())]);
    // Out of order.
    let mut same = index();
    same.entries[1].path = EntryPath::new("a").unwrap();
    assert_eq!(of(&table(&same)), [a, Err(())]);
}

#[test]
fn contradictions_are_refused() {
    let refused = |change: &dyn Fn(&mut Index)| {
        let mut index = index();
        index.entries.remove(0);
        index.entries[0].frame_offset = 0;
        index.frames[1].unpacked_size = 512;
        index.frames[2].unpacked_offset = 1536;
        assert!(Index::parse(&index.to_bytes().unwrap()).is_ok());
        change(&mut index);
        Index::parse(&index.to_bytes().unwrap()).is_err()
    };
    assert!(refused(&|i| i.frames[1].offset = 11));
    assert!(refused(&|i| i.frames[1].unpacked_offset = 0));
    assert!(refused(&|i| i.frames[0].size = 0));
    assert!(refused(&|i| i.frames[0].size = u32::MAX));
    assert!(refused(&|i| i.frames[2].unpacked_size = 512));
    assert!(refused(&|i| i.entries[0].frame = 1));
    assert!(refused(&|i| i.entries[0].frame = 7));
    assert!(refused(&|i| i.entries[0].header_size = 0));
    assert!(refused(&|i| i.entries.clear()));
    assert!(refused(&|i| i.entries.push(i.entries[0].clone())));
    assert!(refused(&|i| {
        i.entries[0].kind = IndexKind::File {
            size: u64::MAX,
            sha256: sha256(b""),
            executable: false,
        };
    }));
}

#[test]
fn newer_versions_and_hostile_tables() {
    let mut newer = table(&index());
    newer[8..12].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
    assert!(matches!(parse_table(&newer), Err(IndexError::Newer { found: 2 })));
    // Four billion rows in a few bytes are not believed.
    let mut many = table(&index());
    many[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(parse_table(&many), Err(IndexError::Wrong(_))));
    // A path that leaves.
    let mut leaves = index();
    leaves.entries.truncate(1);
    let mut leaves = table(&leaves);
    let last = leaves.len() - 1;
    leaves[last] = b'/';
    assert!(matches!(
        parse_table(&leaves),
        Err(IndexError::Path { number: 0, .. })
    ));
    assert!(Index::parse(b"").is_err());
    assert!(matches!(
        Index::parse(b"not zstd at all"),
        Err(IndexError::Zstd(_))
    ));
}
