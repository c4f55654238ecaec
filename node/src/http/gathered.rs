//! This file knows how slices of the store's map leave with one write.
//!
//! hyper hands the kernel one piece of a body at a time, if pieces are as long as blobs. Each such write ends with a
//! packet that is not full, and wakes the caller. So we hand hyper many pieces as one buffer, and the kernel gets them
//! all with one `writev`. Text is made piece by piece, and is not gathered: a request holds one piece of it in memory.

use std::collections::VecDeque;
use std::io::IoSlice;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::{Buf, Bytes};

use crate::http::body::OCTET_STREAM;

/// Pieces that are gathered at most: sixteen sidecars of three pieces each, or six megabytes of blobs. hyper gives the
/// kernel 64 at a time, and the answer's head is one.
pub const GATHERED_MAX: usize = 48;

/// Whether the pieces of an answer with this head lie in memory already, whoever waits for them.
pub fn is_slices(head: &HeaderMap) -> bool {
    head.get(CONTENT_TYPE).is_some_and(|kind| kind == OCTET_STREAM)
}

/// Pieces of a body, one behind the other, each where it lay before.
#[derive(Debug, Default)]
pub struct Gathered {
    /// None is empty.
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Gathered {
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    pub fn is_full(&self) -> bool {
        self.pieces.len() >= GATHERED_MAX
    }
}

impl From<Bytes> for Gathered {
    fn from(piece: Bytes) -> Self {
        let mut gathered = Self::default();
        gathered.push(piece);
        gathered
    }
}

impl Buf for Gathered {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'data>(&'data self, into: &mut [IoSlice<'data>]) -> usize {
        let count = self.pieces.len().min(into.len());
        for (slot, piece) in into.iter_mut().zip(&self.pieces) {
            *slot = IoSlice::new(piece);
        }
        count
    }

    fn advance(&mut self, mut bytes: usize) {
        assert!(bytes <= self.bytes, "a write takes no more than there is");
        self.bytes -= bytes;
        while let Some(piece) = self.pieces.front_mut() {
            if bytes < piece.len() {
                piece.advance(bytes);
                return;
            }
            bytes -= piece.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
