//! Turns a whole value into frames without copying a payload or blob byte.

use bytes::{BufMut, Bytes, BytesMut};
use ultramarine_types::limits::{BLOB_BYTES, PAYLOAD_CHUNK_BYTES};
use ultramarine_types::{Assembly, Init, ListKind, Lists};

use super::contract::Missing;
use super::listset::ListSet;
use super::ranges::Ranges;
use crate::wire::frame::{FrameKind, HEADER_BYTES, Header};
use crate::wire::message;

/// Frames of a value, in the order in which to write them: `Init`, lists, payload chunks, blobs, `Fin`. If `wanted` is
/// given, there are only the lists, chunks and blobs that it names. Large pieces are slices of the assembly's own
/// buffers.
pub fn split(assembly: &Assembly, wanted: Option<&Missing>) -> Vec<Bytes> {
    let wants_blob = |index: &usize| wanted.is_none_or(|wanted| wanted.blobs.contains(*index));
    let blobs = (0..).zip(&assembly.blobs).filter(|(index, _)| wants_blob(index));
    let parts = Parts {
        init: &assembly.init,
        lists: &assembly.lists,
        kinds: wanted.map_or(ListSet::ALL, |wanted| wanted.lists),
        payload: &assembly.payload,
        chunks: wanted.map(|wanted| &wanted.chunks),
        blobs: blobs.map(|(index, blob)| (index, blob.clone())).collect(),
    };
    parts.frames()
}

/// Parts of a value that is not here as a whole.
pub(crate) struct Parts<'a> {
    pub init: &'a Init,
    pub lists: &'a Lists,
    /// Which of the lists.
    pub kinds: ListSet,
    pub payload: &'a Bytes,
    /// Which of the payload's chunks; `None` for all.
    pub chunks: Option<&'a Ranges>,
    /// Blobs, each with its position among the value's.
    pub blobs: Vec<(usize, Bytes)>,
}

impl Parts<'_> {
    /// Their frames, in the order in which to write them.
    pub fn frames(self) -> Vec<Bytes> {
        let chunks = self.payload.len().div_ceil(PAYLOAD_CHUNK_BYTES);
        let wants_chunk = |index: &usize| self.chunks.is_none_or(|chunks| chunks.contains(*index));
        // All small pieces are slices of one allocation.
        let heads_bytes = (chunks + self.blobs.len()) * (HEADER_BYTES + 4);
        let mut heads = BytesMut::with_capacity(heads_bytes);
        let mut pieces = Vec::with_capacity(2 + ListKind::ALL.len() + 2 * (chunks + self.blobs.len()));
        pieces.push(message::init_frame(self.init));
        pieces.extend(self.kinds.iter().map(|kind| list_frame(self.lists, kind)));
        for index in (0..chunks).filter(wants_chunk) {
            let start = index * PAYLOAD_CHUNK_BYTES;
            let bytes = self
                .payload
                .slice(start..self.payload.len().min(start + PAYLOAD_CHUNK_BYTES));
            heads.put_slice(
                &Header {
                    kind: FrameKind::Chunk,
                    body_bytes: 4 + bytes.len(),
                }
                .bytes(),
            );
            heads.put_u32_le(u32::try_from(index).expect("chunk counts are bounded by types/limits.rs"));
            pieces.push(heads.split().freeze());
            pieces.push(bytes);
        }
        for (index, blob) in self.blobs {
            assert_eq!(blob.len(), BLOB_BYTES, "a held blob is a whole blob");
            heads.put_slice(
                &Header {
                    kind: FrameKind::Blob,
                    body_bytes: 2 + BLOB_BYTES,
                }
                .bytes(),
            );
            heads.put_u16_le(u16::try_from(index).expect("blob counts are bounded by types/limits.rs"));
            pieces.push(heads.split().freeze());
            pieces.push(blob);
        }
        pieces.push(crate::wire::frame::frame(FrameKind::Fin, &[]));
        pieces
    }
}

/// The frame of one list.
pub fn list_frame(lists: &Lists, kind: ListKind) -> Bytes {
    let mut body = vec![kind as u8];
    lists.write(kind, &mut body);
    crate::wire::frame::frame(FrameKind::List, &body)
}
