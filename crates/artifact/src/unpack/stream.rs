//! Reads a tar stream: headers with their extensions, contents, the end. Old, ustar, pax and GNU headers.
//!
//! Fields are decoded by the tar crate; walking the stream is done here, so that extension headers are bounded and what is
//! not understood is refused, not guessed.

use std::borrow::Cow;
use std::io::{self, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use tar::{EntryType, Header};

use crate::error::Error;
use crate::path::escape;
use crate::unpack::detect::is_cut_short;
use crate::unpack::limits::Meter;
use crate::unpack::pax::Extensions;

const BLOCK: usize = 512;
/// No extension header is larger: a path has at most 4096 bytes.
const LARGEST_EXTENSION: u64 = 1 << 20;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadKind {
    File,
    Directory,
    Symlink,
    HardLink,
}

/// An entry's header, extensions applied.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) kind: HeadKind,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) mtime: (i64, u32),
    pub(super) uid: u64,
    pub(super) gid: u64,
}

impl Head {
    /// The name, printable.
    pub(super) fn shown(&self) -> String {
        escape(&self.name)
    }
}

/// A tar stream under way.
pub(super) struct TarStream<'a> {
    input: BufReader<Box<dyn Read + 'a>>,
    meter: &'a Meter,
    /// How many entries were begun.
    number: u64,
    /// The last entry that was begun, for errors.
    current: String,
    /// Content of the current entry that is not read yet, and the padding after it.
    left: u64,
    padding: u64,
}

impl<'a> TarStream<'a> {
    pub(super) fn new(input: BufReader<Box<dyn Read + 'a>>, meter: &'a Meter) -> Self {
        Self {
            input,
            meter,
            number: 0,
            current: String::new(),
            left: 0,
            padding: 0,
        }
    }

    /// The next entry; `None` at tar's end blocks. What is left of the entry before is passed over.
    pub(super) fn next_entry(&mut self, cancel: &AtomicBool) -> Result<Option<Head>, Error> {
        let mut extensions = Extensions::default();
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            self.pass_over(cancel)?;
            let Some(block) = self.header_block()? else {
                return Ok(None);
            };
            let header = Header::from_byte_slice(&block);
            match header.entry_type() {
                EntryType::GNULongName => extensions.name = Some(Extensions::long(&self.extension(header)?)),
                EntryType::GNULongLink => extensions.link = Some(Extensions::long(&self.extension(header)?)),
                EntryType::XHeader => {
                    let records = self.extension(header)?;
                    extensions.add_pax(&records).map_err(|why| self.broken(why))?;
                }
                EntryType::XGlobalHeader => {
                    let mut global = Extensions::default();
                    let records = self.extension(header)?;
                    global.add_pax(&records).map_err(|why| self.broken(why))?;
                    if global.rules_entries() {
                        return Err(self.broken("a global pax header names a path or a size".to_owned()));
                    }
                }
                _ => return self.entry(header, extensions).map(Some),
            }
        }
    }

    /// Reads some of the current entry's content; `None` at its end.
    pub(super) fn content<'b>(&mut self, chunk: &'b mut [u8]) -> Result<Option<&'b [u8]>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        let want = usize::try_from(self.left).map_or(chunk.len(), |left| left.min(chunk.len()));
        let got = loop {
            match self.input.read(&mut chunk[..want]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(|source| self.read_failed(source))?,
            }
        };
        if got == 0 {
            return Err(self.cut_short());
        }
        self.left -= got as u64;
        self.meter.unpacked(got as u64, || self.current.clone())?;
        Ok(Some(&chunk[..got]))
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Head, Error> {
        let name = extensions
            .name
            .unwrap_or_else(|| header.path_bytes().into_owned());
        self.number += 1;
        self.current = escape(&name);
        let wrong = |field: &str, error: io::Error| Error::Broken {
            entry: escape(&name),
            why: format!("its {field} cannot be read: {error}"),
        };
        let kind = self.kind(header, &name, extensions.sparse)?;
        let size = match (kind, extensions.size) {
            // A link's size, where it has one, is that of the file it links to; no content follows.
            (HeadKind::HardLink, _) => 0,
            (_, Some(size)) => size,
            (_, None) => header.entry_size().map_err(|error| wrong("size", error))?,
        };
        let number = |result: io::Result<u64>, field: &str| result.map_err(|error| wrong(field, error));
        let mtime = match extensions.mtime {
            Some(mtime) => mtime,
            // A negative number in base 256 comes as its two's complement.
            None => (number(header.mtime(), "time")? as i64, 0),
        };
        let mode = header.mode().map_err(|error| wrong("mode", error))?;
        let uid = extensions.uid.map_or_else(|| number(header.uid(), "uid"), Ok)?;
        let gid = extensions.gid.map_or_else(|| number(header.gid(), "gid"), Ok)?;
        let link = extensions
            .link
            .or_else(|| header.link_name_bytes().map(Cow::into_owned));
        self.expect(size)?;
        self.meter.announce(self.number, size, || self.current.clone())?;
        Ok(Head {
            kind,
            link: link.unwrap_or_default(),
            size,
            mode,
            mtime,
            uid,
            gid,
            name,
        })
    }

    fn kind(&self, header: &Header, name: &[u8], sparse: bool) -> Result<HeadKind, Error> {
        let refused = |what| {
            Err(Error::RefusedKind {
                entry: self.current.clone(),
                what,
            })
        };
        if sparse {
            return refused("a sparse file (pack it without --sparse)");
        }
        match header.entry_type() {
            // Before ustar a directory was a file whose name ends with a slash.
            EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => Ok(HeadKind::Directory),
            EntryType::Regular | EntryType::Continuous => Ok(HeadKind::File),
            EntryType::Directory => Ok(HeadKind::Directory),
            EntryType::Symlink => Ok(HeadKind::Symlink),
            EntryType::Link => Ok(HeadKind::HardLink),
            EntryType::Char => refused("a character device"),
            EntryType::Block => refused("a block device"),
            EntryType::Fifo => refused("a fifo"),
            EntryType::GNUSparse => refused("a sparse file (pack it without --sparse)"),
            _ => refused("of a kind that is not known"),
        }
    }

    /// A header block; `None` at the end blocks.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let Some(block) = self.block()? else {
            return Err(self.cut_short());
        };
        if block == [0; BLOCK] {
            return match self.block()? {
                None => Ok(None),
                Some(next) if next == [0; BLOCK] => Ok(None),
                Some(_) => Err(self.broken("a lone zero block stands after it".to_owned())),
            };
        }
        let sum = block.iter().enumerate().map(|(at, byte)| {
            if (148..156).contains(&at) {
                32
            } else {
                u32::from(*byte)
            }
        });
        if Header::from_byte_slice(&block).cksum().ok() != Some(sum.sum()) {
            if self.number == 0 {
                let why = "it does not begin with a tar header, nor as gzip or zstd do".to_owned();
                return Err(Error::NotATarball { why });
            }
            return Err(self.broken("no tar header follows it".to_owned()));
        }
        Ok(Some(block))
    }

    /// A whole block; `None` when nothing more comes.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.cut_short()),
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.read_failed(error)),
            }
        }
        self.meter.unpacked(BLOCK as u64, || self.current.clone())?;
        Ok(Some(block))
    }

    /// The content of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let size = header.entry_size();
        let size =
            size.map_err(|error| self.broken(format!("an extension's size cannot be read: {error}")))?;
        if size > LARGEST_EXTENSION {
            return Err(self.broken(format!("an extension header of {size} bytes is too large")));
        }
        self.expect(size)?;
        let mut content = vec![0; size as usize];
        let mut filled = 0;
        while filled < content.len() {
            let got = self.content(&mut content[filled..])?.map_or(0, <[u8]>::len);
            filled += got;
        }
        Ok(content)
    }

    fn expect(&mut self, size: u64) -> Result<(), Error> {
        let blocks = size.div_ceil(BLOCK as u64).checked_mul(BLOCK as u64);
        let blocks = blocks.ok_or_else(|| self.broken("its size cannot be".to_owned()))?;
        self.left = size;
        self.padding = blocks - size;
        Ok(())
    }

    /// Reads to the end of the current entry's blocks.
    fn pass_over(&mut self, cancel: &AtomicBool) -> Result<(), Error> {
        let mut chunk = [0; 16 << 10];
        self.left += std::mem::take(&mut self.padding);
        while self.content(&mut chunk)?.is_some() {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
        }
        Ok(())
    }

    fn broken(&self, why: String) -> Error {
        let entry = if self.number == 0 {
            "before the first".to_owned()
        } else {
            self.current.clone()
        };
        Error::Broken { entry, why }
    }

    fn cut_short(&self) -> Error {
        let after = if self.number == 0 {
            "its beginning".to_owned()
        } else {
            self.current.clone()
        };
        Error::Truncated { after }
    }

    fn read_failed(&self, source: io::Error) -> Error {
        if is_cut_short(&source) {
            self.cut_short()
        } else {
            Error::Read {
                entries: self.number,
                source,
            }
        }
    }
}
