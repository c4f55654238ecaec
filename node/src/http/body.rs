//! This file knows how to send a long JSON list while it holds one item of it at a time.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use hyper::body::{Body as HttpBody, Bytes};

/// A body of an opening, items separated by commas, and a closing. Each is made when the socket has room for it.
struct ListBody<I> {
    opening: Option<Bytes>,
    items: I,
    first: bool,
    closing: Option<Bytes>,
}

impl<I: Iterator<Item = String> + Unpin> HttpBody for ListBody<I> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        let chunk = this.opening.take().or_else(|| match this.items.next() {
            Some(item) if this.first => {
                this.first = false;
                Some(item.into())
            }
            Some(item) => Some(format!(",{item}").into()),
            None => this.closing.take(),
        });
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// A JSON response `{opening…[item,item,…]}`. `opening` ends where the list begins.
pub fn json_list<I>(opening: String, items: I) -> Response
where
    I: Iterator<Item = String> + Unpin + Send + 'static,
{
    let body = ListBody {
        opening: Some((opening + "[").into()),
        items,
        first: true,
        closing: Some(Bytes::from_static(b"]}")),
    };
    ([(CONTENT_TYPE, "application/json")], Body::new(body)).into_response()
}
