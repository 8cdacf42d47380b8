//! Limits against tarballs that unpack to far more than they should, and the meter that holds to them.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use crate::error::Error;

/// What is too much. The defaults let every plausible application through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At most so many entries. Default: 2,000,000.
    pub entries: u64,
    /// At most so many bytes of tar stream, headers included. Default: 64 GiB.
    pub bytes: u64,
    /// At most so many unpacked bytes for each stored byte, once `free_bytes` are unpacked. Default: 200.
    pub ratio: u64,
    /// So many unpacked bytes are never held against the ratio: real files can be all zeros. Default: 4 GiB.
    pub free_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 2_000_000,
            bytes: 64 << 30,
            ratio: 200,
            free_bytes: 4 << 30,
        }
    }
}

/// Counts what goes in and what comes out.
pub(super) struct Meter {
    limits: Limits,
    stored: Rc<Cell<u64>>,
    unpacked: Cell<u64>,
}

impl Meter {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            stored: Rc::default(),
            unpacked: Cell::new(0),
        }
    }

    /// The stored tarball, counted.
    pub(super) fn stored<R: Read>(&self, reader: R) -> Counted<R> {
        Counted {
            reader,
            count: Rc::clone(&self.stored),
        }
    }

    /// Notes that `bytes` of tar stream were read in `entry`.
    pub(super) fn unpacked(&self, bytes: u64, entry: impl FnOnce() -> String) -> Result<(), Error> {
        let unpacked = self.unpacked.get().saturating_add(bytes);
        self.unpacked.set(unpacked);
        let Limits {
            bytes: most,
            ratio,
            free_bytes,
            ..
        } = self.limits;
        if unpacked > most {
            let limit = format!("it unpacks to more than {most} bytes");
            return Err(Error::Bomb {
                entry: entry(),
                limit,
            });
        }
        if unpacked > free_bytes && unpacked / self.stored.get().max(1) > ratio {
            let limit = format!("it unpacks to more than {ratio} times its size");
            return Err(Error::Bomb {
                entry: entry(),
                limit,
            });
        }
        Ok(())
    }

    /// Refuses an entry that alone would be too large, before anything of it is written.
    pub(super) fn announce(
        &self,
        number: u64,
        size: u64,
        entry: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        let Limits { entries, bytes, .. } = self.limits;
        if number > entries {
            return Err(Error::Bomb {
                entry: entry(),
                limit: format!("it has more than {entries} entries"),
            });
        }
        if self.unpacked.get().saturating_add(size) > bytes {
            let limit = format!("it unpacks to more than {bytes} bytes");
            return Err(Error::Bomb {
                entry: entry(),
                limit,
            });
        }
        Ok(())
    }
}

/// A reader whose bytes are counted.
pub(super) struct Counted<R> {
    reader: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.reader.read(buf)?;
        self.count.set(self.count.get() + got as u64);
        Ok(got)
    }
}
