//! Copies sealed layers to the front of an artifact, hashed in step. On a file system with reflinks the first of them is
//! not copied: the artifact shares its blocks. What then stands in the artifact is checked against the digest that the
//! layer was sealed with.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use rustix::fs::ioctl_ficlone;

use crate::error::Error;
use crate::event::Event;
use crate::hash::{Digest, Sha256Writer};
use crate::layer::{PackOptions, SealedLayer};
use crate::partial::Partial;
use crate::record::RecordLayer;

/// How much is copied at once.
const CHUNK: usize = 1 << 20;

/// Copies a layer to the end of the artifact; its row of the record. `out_path` is for errors.
pub(crate) fn copy_layer(
    layer: &SealedLayer,
    out: &mut Sha256Writer<Partial>,
    out_path: &Path,
    options: &PackOptions<'_>,
) -> Result<RecordLayer, Error> {
    let offset = out.written();
    let mut copying = Copying {
        layer,
        source: File::open(&layer.frames).map_err(|source| Error::io("read", &layer.frames, source))?,
        out,
        out_path,
        options,
    };
    let digest = if offset == 0 {
        // So far the artifact is this layer.
        if ioctl_ficlone(copying.out.beneath().file(), &copying.source).is_ok() {
            copying.hash_shared()?;
        } else {
            copying.all(|chunk, _| chunk)?;
        }
        copying.out.digest_so_far()
    } else {
        copying.all_hashed_beside()?
    };
    let size = copying.out.written() - offset;
    if size != layer.size || digest.to_string() != layer.sha256 {
        let why = "it changed since it was sealed".to_owned();
        return Err(Error::Differs {
            path: layer.frames.clone(),
            why,
        });
    }
    (options.on_event)(Event::LayerCopied {
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

/// A layer on its way into the artifact.
struct Copying<'a> {
    layer: &'a SealedLayer,
    source: File,
    out: &'a mut Sha256Writer<Partial>,
    out_path: &'a Path,
    options: &'a PackOptions<'a>,
}

impl Copying<'_> {
    /// Copies everything. `seen` is shown each chunk and gives one, of the same length, for the next.
    fn all(&mut self, mut seen: impl FnMut(Vec<u8>, usize) -> Vec<u8>) -> Result<(), Error> {
        let mut chunk = vec![0; CHUNK];
        loop {
            self.options.check_cancel()?;
            match self.next(&mut chunk)? {
                0 => return Ok(()),
                got => chunk = seen(chunk, got),
            }
        }
    }

    /// The same, with the layer's own digest taken in another thread.
    fn all_hashed_beside(&mut self) -> Result<Digest, Error> {
        thread::scope(|scope| {
            let (chunks, incoming): (SyncSender<(Vec<u8>, usize)>, Receiver<_>) = sync_channel(2);
            let (used, free) = channel();
            let beside = thread::Builder::new().name("hash".to_owned());
            let beside = beside.spawn_scoped(scope, move || {
                let mut hasher = Sha256Writer::new(io::sink());
                for (chunk, length) in incoming {
                    hasher.note(&chunk[..length]);
                    // Nobody wants it back at the end.
                    let _ = used.send(chunk);
                }
                hasher.digest_so_far()
            });
            let beside = beside
                .map_err(|source| Error::io("start a thread that hashes", &self.layer.frames, source))?;
            let copied = self.all(|chunk, length| {
                // The thread ends only once this sender is gone.
                let _ = chunks.send((chunk, length));
                free.try_recv().unwrap_or_else(|_| vec![0; CHUNK])
            });
            drop(chunks);
            let digest = match beside.join() {
                Ok(digest) => digest,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            copied.map(|()| digest)
        })
    }

    /// Copies the next piece by way of `chunk`. 0 at the layer's end.
    fn next(&mut self, chunk: &mut [u8]) -> Result<usize, Error> {
        let got = read_some(&mut self.source, chunk)
            .map_err(|source| Error::io("read", &self.layer.frames, source))?;
        self.out
            .write_all(&chunk[..got])
            .map_err(|source| Error::io("write", self.out_path, source))?;
        Ok(got)
    }

    /// Hashes the layer's bytes where they stand in the artifact already, and goes to their end.
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
}

fn read_some(file: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            got => return got,
        }
    }
}
