//! Turns a whole value into frames without copying a payload or blob byte.

use bytes::{BufMut, Bytes, BytesMut};
use ultramarine_types::limits::{BLOB_BYTES, PAYLOAD_CHUNK_BYTES};
use ultramarine_types::{Assembly, KzgProof};

use super::contract::Missing;
use crate::wire::frame::{FrameKind, HEADER_BYTES, Header};
use crate::wire::message;

/// Frames of a value, in the order in which to write them: `Init`, payload chunks, blobs, `Fin`. If `wanted` is given,
/// there are only the chunks and blobs that it names. Large pieces are slices of the assembly's own buffers.
pub fn split(assembly: &Assembly, wanted: Option<&Missing>) -> Vec<Bytes> {
    let wants_chunk = |index: usize| wanted.is_none_or(|wanted| wanted.chunks.contains(index));
    let wants_blob = |index: usize| wanted.is_none_or(|wanted| wanted.blobs.contains(index));
    let chunks = assembly.payload.len().div_ceil(PAYLOAD_CHUNK_BYTES);
    let proofs: usize = assembly.blobs.iter().map(|part| part.proofs.len()).sum();
    // All small pieces are slices of one allocation.
    let heads_bytes = (chunks + assembly.blobs.len()) * (HEADER_BYTES + 4) + proofs * KzgProof::BYTES;
    let mut heads = BytesMut::with_capacity(heads_bytes);
    let mut pieces = Vec::with_capacity(2 + 2 * (chunks + assembly.blobs.len()));
    pieces.push(message::init_frame(&assembly.init));
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
    for (index, part) in assembly
        .blobs
        .iter()
        .enumerate()
        .filter(|(index, _)| wants_blob(*index))
    {
        assert_eq!(part.blob.len(), BLOB_BYTES, "a held blob is a whole blob");
        let body_bytes = 4 + part.proofs.len() * KzgProof::BYTES + BLOB_BYTES;
        heads.put_slice(
            &Header {
                kind: FrameKind::Blob,
                body_bytes,
            }
            .bytes(),
        );
        heads.put_u16_le(u16::try_from(index).expect("blob counts are bounded by types/limits.rs"));
        heads.put_u16_le(u16::try_from(part.proofs.len()).expect("proof counts are bounded by types/limits.rs"));
        part.proofs.iter().for_each(|proof| heads.put_slice(&proof.0));
        pieces.push(heads.split().freeze());
        pieces.push(part.blob.clone());
    }
    pieces.push(crate::wire::frame::frame(FrameKind::Fin, &[]));
    pieces
}
