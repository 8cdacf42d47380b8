//! A file of a tree that is being packed: its content, which has to be as long as it was listed.

use std::io::{self, Read};

use crate::error::Error;
use crate::pack::Shared;
use crate::tree::{TreeEntry, TreeError};

/// Appends the content of a file to `into`.
pub(crate) fn read_whole(shared: &Shared<'_>, entry: &TreeEntry, into: &mut Vec<u8>) -> Result<(), Error> {
    let begin = into.len();
    let layer = shared.layer;
    let read = layer.tree.read(&entry.path, entry.size, into);
    read.map_err(|source| failed(&layer.name, source))?;
    let got = (into.len() - begin) as u64;
    if got == entry.size {
        return Ok(());
    }
    let found = if got > entry.size {
        MORE.to_owned()
    } else {
        format!("{got} could be read")
    };
    Err(changed(&layer.name, entry, found))
}

const MORE: &str = "more could be read";

fn failed(layer: &str, source: TreeError) -> Error {
    let layer = layer.to_owned();
    Error::Tree { layer, source }
}

fn changed(layer: &str, entry: &TreeEntry, found: String) -> Error {
    let source = TreeError::Changed {
        path: entry.path.clone(),
        listed: entry.size,
        found,
    };
    failed(layer, source)
}

/// A file that is read piece by piece, with what an error about it needs.
pub(crate) struct Content<'a> {
    layer: &'a str,
    entry: &'a TreeEntry,
    got: u64,
    reader: Box<dyn Read + Send + 'a>,
}

impl<'a> Content<'a> {
    pub(crate) fn open(shared: &'a Shared<'_>, entry: &'a TreeEntry) -> Result<Self, Error> {
        let layer = shared.layer.name.as_str();
        let reader = shared.layer.tree.open(&entry.path);
        Ok(Self {
            layer,
            entry,
            got: 0,
            reader: reader.map_err(|source| failed(layer, source))?,
        })
    }

    /// Reads until `into` is full or the file ends; says how much was read.
    pub(crate) fn fill(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < into.len() {
            match self.reader.read(&mut into[filled..]) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(self.layer, self.unread(error))),
            }
        }
        self.got += filled as u64;
        Ok(filled)
    }

    /// The system's own error, or what another kind of tree says in its words.
    fn unread(&self, error: io::Error) -> TreeError {
        if error.raw_os_error().is_some() {
            return TreeError::io("read", self.entry.path.as_bytes(), error);
        }
        TreeError::Other {
            path: self.entry.path.to_string(),
            source: Box::new(error),
        }
    }

    /// Fills all of `into`.
    pub(crate) fn fill_whole(&mut self, into: &mut [u8]) -> Result<(), Error> {
        if self.fill(into)? == into.len() {
            Ok(())
        } else {
            Err(self.changed(format!("{} could be read", self.got)))
        }
    }

    pub(crate) fn expect_end(&mut self) -> Result<(), Error> {
        match self.fill(&mut [0])? {
            0 => Ok(()),
            _ => Err(self.changed(MORE.to_owned())),
        }
    }

    /// The error that says that the file changed.
    pub(crate) fn changed(&self, found: String) -> Error {
        changed(self.layer, self.entry, found)
    }
}
