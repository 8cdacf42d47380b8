//! A stored index row by row, for who goes through all entries once and keeps none of them: no [`Index`](crate::Index) is made, which
//! takes several times as long and as much memory.
//!
//! Each row is checked by itself, as [`crate::index_codec`] does it; that rows agree with each other, and lie where frames are, is
//! not looked at. Who needs that reads an [`Index`](crate::Index).

use crate::format::{MODE_DIRECTORY, MODE_EXECUTABLE, MODE_FILE, MODE_SYMLINK};
use crate::hash::Digest;
use crate::index_codec::{IndexError, check_row, wrong};
use crate::index_table::{Table, inflate};
use crate::layer::{Compression, LayerKind};
use crate::path;

/// A stored index, unpacked.
#[derive(Debug)]
pub struct StoredIndex {
    table: Vec<u8>,
}

/// What an index says of its layer as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexHead {
    /// How the frames are compressed.
    pub compression: Compression,
    /// What the layer holds.
    pub kind: LayerKind,
    /// The layer's stored size in bytes.
    pub size: u64,
    /// The layer's size as a tar stream in bytes.
    pub unpacked_size: u64,
    /// How many entries it has.
    pub entries: usize,
}

/// One entry, without its place in the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexRow<'a> {
    /// Its path: one that [`crate::EntryPath`] takes.
    pub path: &'a [u8],
    /// What it is.
    pub kind: RowKind,
    /// A file's length or that of a link's target in bytes; 0 for a directory.
    pub size: u64,
    /// Its modification time in unix seconds.
    pub mtime: i64,
    /// The digest of a file's content.
    pub content: Option<Digest>,
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// A regular file.
    File {
        /// Mode 0755, not 0644.
        executable: bool,
    },
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
}

impl RowKind {
    /// The mode bits as packed.
    pub fn mode(self) -> u16 {
        match self {
            Self::File { executable: false } => MODE_FILE,
            Self::File { executable: true } => MODE_EXECUTABLE,
            Self::Symlink => MODE_SYMLINK,
            Self::Directory => MODE_DIRECTORY,
        }
    }
}

impl StoredIndex {
    /// Unpacks a stored index that may come from anywhere.
    ///
    /// # Errors
    /// [`IndexError`] when it is not one whole zstd frame, or too large.
    pub fn unpack(stored: &[u8]) -> Result<Self, IndexError> {
        inflate(stored).map(|table| Self { table })
    }

    /// What it says of the layer as a whole, and its entries in their order, which is that of their paths' bytes.
    ///
    /// # Errors
    /// [`IndexError`] when it does not begin as an index does.
    pub fn rows(&self) -> Result<(IndexHead, IndexRows<'_>), IndexError> {
        let mut table = Table::begin(&self.table)?;
        let mut head = IndexHead {
            compression: table.compression,
            kind: table.kind,
            size: 0,
            unpacked_size: 0,
            entries: table.entries,
        };
        for _ in 0..table.frames {
            let frame = table.frame()?;
            head.size = frame.offset.saturating_add(frame.size.into());
            head.unpacked_size = frame.unpacked_offset.saturating_add(frame.unpacked_size.into());
        }
        let rows = IndexRows {
            left: table.entries,
            number: 0,
            before: &[],
            table: Some(table),
        };
        Ok((head, rows))
    }
}

/// The entries of a stored index. The first one that cannot be ends it with an error, as does what stands after the last.
pub struct IndexRows<'a> {
    /// None once it has ended.
    table: Option<Table<'a>>,
    left: usize,
    number: usize,
    /// The path of the row before.
    before: &'a [u8],
}

impl<'a> IndexRows<'a> {
    fn row(&mut self) -> Result<Option<IndexRow<'a>>, IndexError> {
        let Some(table) = &mut self.table else {
            return Ok(None);
        };
        if self.left == 0 {
            return self.table.take().map_or(Ok(()), Table::end).map(|()| None);
        }
        let row = table.entry()?;
        let number = self.number;
        // Most rows lie in the directory of the row before, which was looked at.
        let slash = self.before.iter().rposition(|byte| *byte == b'/');
        let directory = &self.before[..slash.map_or(0, |slash| slash + 1)];
        let known = row.path.starts_with(directory);
        let from = if known { directory.len() } else { 0 };
        path::check_from(row.path, from).map_err(|source| IndexError::Path { number, source })?;
        let kind = check_row(&row)?;
        if number > 0 && self.before >= row.path {
            return Err(wrong(format!(
                "the entry {} is not in order",
                path::escape(row.path)
            )));
        }
        (self.left, self.number, self.before) = (self.left - 1, number + 1, row.path);
        Ok(Some(IndexRow {
            path: row.path,
            kind,
            size: row.size + row.target.len() as u64,
            mtime: row.mtime,
            content: matches!(kind, RowKind::File { .. }).then_some(row.sha256),
        }))
    }
}

impl<'a> Iterator for IndexRows<'a> {
    type Item = Result<IndexRow<'a>, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.row();
        if row.is_err() {
            self.table = None;
        }
        row.transpose()
    }
}
