//! This file knows how to send a long answer while it holds one piece of it at a time.

use std::convert::Infallible;
use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};

/// Media type of JSON.
pub const JSON: &str = "application/json";
/// Media type of SSZ in the Beacon API.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// A body of pieces. Each is made when the socket has room for it.
struct Pieces<I> {
    pieces: I,
    /// Bytes to come, if that is known.
    left: Option<u64>,
}

impl<I: Iterator<Item = Bytes> + Unpin> HttpBody for Pieces<I> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let piece = self.pieces.next();
        if let (Some(left), Some(piece)) = (&mut self.left, &piece) {
            *left = left.saturating_sub(piece.len() as u64);
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A body of `bytes` bytes, which the pieces add up to.
pub fn pieces<I>(bytes: u64, pieces: I) -> Body
where
    I: Iterator<Item = Bytes> + Unpin + Send + 'static,
{
    Body::new(Pieces {
        pieces,
        left: Some(bytes),
    })
}

/// A JSON text `{opening…[item,item,…]}`. `opening` ends where the list begins.
pub fn json_list<I>(opening: String, items: I) -> Body
where
    I: Iterator<Item = String> + Unpin + Send + 'static,
{
    let items = items.enumerate().map(|(at, item)| match at {
        0 => item.into(),
        _ => format!(",{item}").into(),
    });
    let pieces = iter::once((opening + "[").into())
        .chain(items)
        .chain(iter::once(Bytes::from_static(b"]}")));
    Body::new(Pieces { pieces, left: None })
}
