//! Turns a whole value into frames without copying a payload or blob byte.

use bytes::{BufMut, Bytes, BytesMut};
use ultramarine_types::limits::{BLOB_BYTES, PAYLOAD_CHUNK_BYTES};
use ultramarine_types::{Assembly, ListKind, Lists};

use super::contract::Missing;
use super::listset::ListSet;
use crate::wire::frame::{FrameKind, HEADER_BYTES, Header};
use crate::wire::message;

/// Frames of a value, in the order in which to write them: `Init`, lists, payload chunks, blobs, `Fin`. If `wanted` is
/// given, there are only the lists, chunks and blobs that it names. Large pieces are slices of the assembly's own
/// buffers.
pub fn split(assembly: &Assembly, wanted: Option<&Missing>) -> Vec<Bytes> {
    let lists = wanted.map_or(ListSet::ALL, |wanted| wanted.lists);
    let wants_chunk = |index: usize| wanted.is_none_or(|wanted| wanted.chunks.contains(index));
    let wants_blob = |index: usize| wanted.is_none_or(|wanted| wanted.blobs.contains(index));
    let chunks = assembly.payload.len().div_ceil(PAYLOAD_CHUNK_BYTES);
    // All small pieces are slices of one allocation.
    let heads_bytes = (chunks + assembly.blobs.len()) * (HEADER_BYTES + 4);
    let mut heads = BytesMut::with_capacity(heads_bytes);
    let mut pieces = Vec::with_capacity(2 + ListKind::ALL.len() + 2 * (chunks + assembly.blobs.len()));
    pieces.push(message::init_frame(&assembly.init));
    pieces.extend(lists.iter().map(|kind| list_frame(&assembly.lists, kind)));
    for index in (0..chunks).filter(|index| wants_chunk(*index)) {
        let start = index * PAYLOAD_CHUNK_BYTES;
        let bytes = assembly
            .payload
            .slice(start..assembly.payload.len().min(start + PAYLOAD_CHUNK_BYTES));
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
    for (index, blob) in assembly
        .blobs
        .iter()
        .enumerate()
        .filter(|(index, _)| wants_blob(*index))
    {
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
        pieces.push(blob.clone());
    }
    pieces.push(crate::wire::frame::frame(FrameKind::Fin, &[]));
    pieces
}

/// The frame of one list.
pub fn list_frame(lists: &Lists, kind: ListKind) -> Bytes {
    let mut body = vec![kind as u8];
    lists.write(kind, &mut body);
    crate::wire::frame::frame(FrameKind::List, &body)
}
