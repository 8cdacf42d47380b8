//! Copies sealed layers to the front of an artifact, hashed in step. What then stands in the artifact is checked against
//! the digests that the layers were sealed with.
//!
//! On a file system with reflinks the first layer is not copied: the artifact shares its blocks. Else the layers go past
//! the page cache, where the file system knows a way: the artifact has to come to the disk before it is done, and neither
//! a copy in the cache nor the wait for its end is paid for. Whoever reads that part next has it from the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{OFlags, ioctl_ficlone};

use crate::error::Error;
use crate::event::Event;
use crate::hash::{Digest, Sha256Writer};
use crate::layer::{PackOptions, SealedLayer};
use crate::partial::Partial;
use crate::pieces::{Failed, Pieces};
use crate::record::RecordLayer;

/// How much is read at once of what stands in the artifact already.
const CHUNK: usize = 256 << 10;
/// Fewer bytes than these do not need a way of their own.
const DIRECT_FROM: u64 = 4 << 20;

/// An empty artifact that layers are copied to.
struct Front<'a> {
    out: &'a mut Sha256Writer<Partial>,
    /// For errors.
    out_path: &'a Path,
    options: &'a PackOptions<'a>,
}

impl Front<'_> {
    /// Copies the layers; their rows of the record.
    fn copy(&mut self, layers: &[SealedLayer]) -> Result<Vec<RecordLayer>, Error> {
        let mut rows = Vec::with_capacity(layers.len());
        let Some(first) = layers.first() else {
            return Ok(rows);
        };
        if ioctl_ficlone(self.out.beneath().file(), open(first)?).is_ok() {
            self.hash_shared()?;
            rows.push(self.row(first, 0, self.out.digest_so_far())?);
        }
        let mut pieces = self.pieces(layers)?;
        for layer in &layers[rows.len()..] {
            let offset = self.out.written();
            let digest = self.copy_one(layer, &mut pieces)?;
            rows.push(self.row(layer, offset, digest)?);
        }
        let end = pieces.end().map_err(|source| self.unwritten(source))?;
        let sought = self.out.beneath().file().seek(SeekFrom::Start(end));
        sought.map_err(|source| self.unwritten(source))?;
        Ok(rows)
    }

    /// The way into the artifact for what is to be copied of the layers.
    fn pieces(&mut self, layers: &[SealedLayer]) -> Result<Pieces, Error> {
        let at = self.out.written();
        let size: u64 = layers.iter().map(|layer| layer.size).sum();
        let partial = self.out.beneath();
        let pieces = Pieces::new(partial.file(), at);
        let mut pieces = pieces.map_err(|source| Error::io("write", self.out_path, source))?;
        if at == 0 && size >= DIRECT_FROM {
            let mut options = OpenOptions::new();
            options.write(true).custom_flags(OFlags::DIRECT.bits() as i32);
            if let Ok(direct) = options.open(partial.path()) {
                pieces.go_past_the_cache(direct);
            }
        }
        Ok(pieces)
    }

    /// Copies a layer to where those before it end; its digest.
    fn copy_one(&mut self, layer: &SealedLayer, pieces: &mut Pieces) -> Result<Digest, Error> {
        let mut source = open(layer)?;
        let (out, out_path, options) = (&mut *self.out, self.out_path, self.options);
        // The artifact's digest is the first layer's, so far.
        let first = out.written() == 0;
        let one_job = options.jobs.get() == 1;
        let mut in_step = (!first && one_job).then(|| Sha256Writer::new(io::sink()));
        let copied = pieces.write(!first && !one_job, |room| {
            options.check_cancel()?;
            let got =
                read_some(&mut source, room).map_err(|source| Error::io("read", &layer.frames, source))?;
            out.note(&room[..got]);
            if let Some(hash) = &mut in_step {
                hash.note(&room[..got]);
            }
            out.beneath()
                .wrote(got)
                .map_err(|source| Error::io("write", out_path, source))?;
            Ok(got)
        });
        match copied {
            Ok(Some(digest)) => Ok(digest),
            Ok(None) => Ok(in_step.map_or_else(|| self.out.digest_so_far(), |hash| hash.digest_so_far())),
            Err(Failed::Read(error)) => Err(error),
            Err(Failed::Write(source)) => Err(self.unwritten(source)),
        }
    }

    /// Hashes a layer's bytes where they stand in the artifact already.
    fn hash_shared(&mut self) -> Result<(), Error> {
        let failed = |source| Error::io("read back", self.out_path, source);
        let mut file = self.out.beneath().file();
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut chunk = vec![0; CHUNK];
        loop {
            self.options.check_cancel()?;
            let mut file = self.out.beneath().file();
            match read_some(&mut file, &mut chunk).map_err(failed)? {
                0 => return Ok(()),
                got => self.out.note(&chunk[..got]),
            }
        }
    }

    /// The record's row of a layer that was copied to `offset` and turned out to have this digest.
    fn row(&self, layer: &SealedLayer, offset: u64, digest: Digest) -> Result<RecordLayer, Error> {
        let size = self.out.written() - offset;
        if size != layer.size || digest.to_string() != layer.sha256 {
            let why = "it changed since it was sealed".to_owned();
            return Err(Error::Differs {
                path: layer.frames.clone(),
                why,
            });
        }
        (self.options.on_event)(Event::LayerCopied {
            layer: layer.name.clone(),
            size,
        });
        Ok(RecordLayer {
            name: layer.name.clone(),
            kind: layer.kind,
            key: layer.key.clone(),
            offset,
            size,
            sha256: layer.sha256.clone(),
            index_sha256: layer.index_sha256.clone(),
            entries: layer.entries,
            unpacked_size: layer.unpacked_size,
        })
    }

    fn unwritten(&self, source: io::Error) -> Error {
        Error::io("write", self.out_path, source)
    }
}

/// Copies sealed layers to the beginning of an empty artifact; their rows of the record. `out_path` is for errors.
pub(crate) fn copy_layers(
    layers: &[SealedLayer],
    out: &mut Sha256Writer<Partial>,
    out_path: &Path,
    options: &PackOptions<'_>,
) -> Result<Vec<RecordLayer>, Error> {
    let mut front = Front {
        out,
        out_path,
        options,
    };
    front.copy(layers)
}

fn open(layer: &SealedLayer) -> Result<File, Error> {
    File::open(&layer.frames).map_err(|source| Error::io("read", &layer.frames, source))
}

fn read_some(file: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            got => return got,
        }
    }
}
