//! Hands out the planned frames in order, to the pool or in step, and reads large files, whose frames it cuts.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};

use crate::content::{Content, read_whole};
use crate::error::Error;
use crate::format::MOST_FRAME;
use crate::frames::{FramePlan, Plan};
use crate::hash::{Digest, Sha256Writer, sha256};
use crate::header::{header_size, put_headers, tar_size};
use crate::layer::Mtime;
use crate::pack::Shared;
use crate::read::{Fact, Job, Piece, Reply, Work};
use crate::reuse::Key;
use crate::tree::TreeEntry;

/// A file up to this many bytes of tar stream is held in memory whole and read once.
pub(crate) const WHOLE: u64 = 4 * MOST_FRAME;

/// How much of a larger file is read at once when it is only hashed.
const CHUNK: usize = 256 << 10;

/// Takes work, says whether anybody wants more.
type HandOut<'a> = &'a mut dyn FnMut(Work) -> Result<bool, Error>;

/// Hands out all frames to a pool's workers. Ends early when the writer is gone.
pub(crate) fn to_pool(
    shared: &Shared<'_>,
    planned: &Plan,
    jobs: &Sender<Job>,
    in_order: &SyncSender<Receiver<Reply>>,
) {
    let mut hand_out = |work| {
        let (reply, receiver) = sync_channel(1);
        Ok(in_order.send(receiver).is_ok() && jobs.send(Job { work, reply }).is_ok())
    };
    if let Err(error) = dispatch(shared, planned, &mut hand_out) {
        let (reply, receiver) = sync_channel(1);
        // Both fail only when the writer is gone.
        let _ = reply.send(Err(error));
        let _ = in_order.send(receiver);
    }
}

/// Hands out all frames.
pub(crate) fn dispatch(shared: &Shared<'_>, planned: &Plan, hand_out: HandOut<'_>) -> Result<(), Error> {
    for frame in &planned.frames {
        let wanted = match frame {
            FramePlan::Run(range) => hand_out(Work::Run(range.clone()))?,
            FramePlan::Large(number) => {
                let entry = &shared.entries[*number];
                if tar_size(entry) <= WHOLE {
                    at_once(shared, entry, hand_out)?
                } else {
                    piece_by_piece(shared, entry, hand_out)?
                }
            }
        };
        if !wanted {
            break;
        }
    }
    Ok(())
}

fn key(shared: &Shared<'_>, entry: &TreeEntry, fact: &Fact, piece: usize) -> Option<Key> {
    (!shared.older.is_empty()).then(|| Key::piece(&(entry, fact), piece))
}

/// Reads a large entry, then hands out its pieces.
fn at_once(shared: &Shared<'_>, entry: &TreeEntry, hand_out: HandOut<'_>) -> Result<bool, Error> {
    let (headers, size) = (header_size(entry) as usize, tar_size(entry) as usize);
    let mut bytes = shared.buffer();
    bytes.reserve(size + 1);
    bytes.resize(headers, 0);
    read_whole(shared, entry, &mut bytes)?;
    let sha256 = sha256(&bytes[headers..]);
    let mtime = shared.layer.mtime.of(&sha256);
    let mut stream = Vec::with_capacity(headers);
    put_headers(&mut stream, entry, mtime);
    bytes[..headers].copy_from_slice(&stream);
    bytes.resize(size, 0);
    let fact = Fact { sha256, mtime };
    let mut bytes = Arc::new(bytes);
    for (number, begin) in (0..size).step_by(MOST_FRAME as usize).enumerate() {
        shared.check_stop()?;
        let end = size.min(begin + MOST_FRAME as usize);
        // Whoever packs the last piece holds the bytes alone.
        let (bytes, facts) = if end == size {
            (std::mem::take(&mut bytes), vec![fact])
        } else {
            (Arc::clone(&bytes), Vec::new())
        };
        let piece = Piece {
            bytes,
            range: begin..end,
            facts,
            key: key(shared, entry, &fact, number),
        };
        if !hand_out(Work::Piece(piece))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Cuts a very large entry's tar stream into pieces while it is read.
fn piece_by_piece(shared: &Shared<'_>, entry: &TreeEntry, hand_out: HandOut<'_>) -> Result<bool, Error> {
    // A time from the content stands before the content: the file is read twice.
    let known = match shared.layer.mtime {
        Mtime::FromContent => Some(hash_first(shared, entry)?),
        Mtime::Fixed(_) => None,
    };
    let mtime = shared.layer.mtime.of(&known.unwrap_or(Digest([0; 32])));
    let known = known.map(|sha256| Fact { sha256, mtime });
    let mut bytes = shared.buffer();
    put_headers(&mut bytes, entry, mtime);
    let mut file = Content::open(shared, entry)?;
    let mut hasher = Sha256Writer::new(io::sink());
    let mut left = entry.size;
    let mut unread = tar_size(entry) - bytes.len() as u64;
    let mut number = 0;
    while unread > 0 {
        shared.check_stop()?;
        let start = bytes.len();
        let room = unread.min(MOST_FRAME - start as u64);
        let content = room.min(left) as usize;
        bytes.resize(start + room as usize, 0);
        let content = &mut bytes[start..start + content];
        file.fill_whole(content)?;
        hash(&mut hasher, content);
        left -= content.len() as u64;
        unread -= room;
        let mut facts = Vec::new();
        if unread == 0 {
            file.expect_end()?;
            let sha256 = hasher.digest_so_far();
            if known.is_some_and(|known| known.sha256 != sha256) {
                return Err(file.changed("other content on the second reading".to_owned()));
            }
            facts.push(Fact { sha256, mtime });
        }
        let whole = std::mem::replace(&mut bytes, shared.buffer());
        let piece = Piece {
            range: 0..whole.len(),
            bytes: Arc::new(whole),
            facts,
            key: known.and_then(|fact| key(shared, entry, &fact, number)),
        };
        if !hand_out(Work::Piece(piece))? {
            return Ok(false);
        }
        number += 1;
    }
    Ok(true)
}

fn hash_first(shared: &Shared<'_>, entry: &TreeEntry) -> Result<Digest, Error> {
    let mut file = Content::open(shared, entry)?;
    let mut hasher = Sha256Writer::new(io::sink());
    let mut chunk = vec![0; CHUNK];
    loop {
        shared.check_stop()?;
        let got = file.fill(&mut chunk)?;
        hash(&mut hasher, &chunk[..got]);
        if got < chunk.len() {
            break;
        }
    }
    if hasher.written() == entry.size {
        Ok(hasher.finish().1)
    } else {
        Err(file.changed(format!("{} were read", hasher.written())))
    }
}

fn hash(hasher: &mut Sha256Writer<io::Sink>, bytes: &[u8]) {
    // Into a sink, which takes everything.
    let _ = io::Write::write_all(hasher, bytes);
}
