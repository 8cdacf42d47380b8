//! A request's body that counts what has gone out, so that progress can be shown and a stalled upload be seen.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{Event, OnEvent};

/// The piece in which bytes are handed to the connection.
const PIECE: usize = 128 * 1024;

/// Counts one object's upload and says how far it is.
pub(super) struct Meter {
    key: String,
    total: u64,
    sent: AtomicU64,
    on_event: OnEvent,
}

impl Meter {
    pub(super) fn new(key: &str, total: u64, on_event: OnEvent) -> Arc<Self> {
        Arc::new(Self {
            key: key.to_owned(),
            total,
            sent: AtomicU64::new(0),
            on_event,
        })
    }

    fn add(&self, bytes: u64) {
        let sent = self.sent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.on_event.emit(Event::Progress {
            key: self.key.clone(),
            sent,
            total: self.total,
        });
    }
}

/// One request's share of an object; it may be sent several times.
pub(super) struct Piece {
    bytes: Bytes,
    meter: Arc<Meter>,
    /// What the last attempt counted.
    counted: Arc<AtomicU64>,
}

impl Piece {
    pub(super) fn new(bytes: Bytes, meter: Arc<Meter>) -> Self {
        Self {
            bytes,
            meter,
            counted: Arc::new(AtomicU64::new(0)),
        }
    }

    /// The body of another attempt. What the one before had counted is taken back.
    pub(super) fn attempt(&self) -> ByteStream {
        let before = self.counted.swap(0, Ordering::Relaxed);
        self.meter.sent.fetch_sub(before, Ordering::Relaxed);
        let (bytes, meter) = (self.bytes.clone(), self.meter.clone());
        let counted = self.counted.clone();
        ByteStream::new(SdkBody::from_body_1_x(Counted {
            bytes,
            at: 0,
            meter,
            counted,
        }))
    }

    /// Bytes that the current attempt has handed out.
    pub(super) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }
}

struct Counted {
    bytes: Bytes,
    at: usize,
    meter: Arc<Meter>,
    counted: Arc<AtomicU64>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let end = self.bytes.len().min(self.at + PIECE);
        if self.at == end {
            return Poll::Ready(None);
        }
        let piece = self.bytes.slice(self.at..end);
        self.at = end;
        self.counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
        self.meter.add(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.bytes.len() - self.at) as u64)
    }
}
