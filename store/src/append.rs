//! This file knows how to write bytes that lie in many buffers as one run of a file, chunk by chunk.

use std::io;

use ultramarine_runtime::medium::{CHUNK_BYTES, MediumFile};

use crate::format::PAGE_BYTES;

const _: () = assert!(
    (CHUNK_BYTES as u64).is_multiple_of(PAGE_BYTES),
    "a chunk is whole pages"
);

/// Writes `bytes` bytes, the concatenation of `parts`, at a position. Durable after the file's next sync.
///
/// # Panics
///
/// If the parts are not as many bytes as announced, or position or length are not whole pages.
pub(crate) async fn write_parts<'a, F: MediumFile>(
    file: &F,
    at: u64,
    bytes: u64,
    parts: impl Iterator<Item = &'a [u8]>,
) -> io::Result<()> {
    assert!(
        at.is_multiple_of(PAGE_BYTES) && bytes.is_multiple_of(PAGE_BYTES),
        "files are written in whole pages"
    );
    let mut parts = parts.filter(|part| !part.is_empty());
    let mut part: &[u8] = &[];
    let mut written = 0;
    while written < bytes {
        let chunk_bytes = usize::try_from(bytes - written).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let mut chunk = file.buffer(chunk_bytes).await;
        let mut room: &mut [u8] = &mut chunk;
        while !room.is_empty() {
            if part.is_empty() {
                part = parts.next().expect("the parts are as long as announced");
            }
            let taken = part.len().min(room.len());
            let (head, rest) = room.split_at_mut(taken);
            head.copy_from_slice(&part[..taken]);
            part = &part[taken..];
            room = rest;
        }
        file.write(at + written, chunk).await?;
        written += chunk_bytes as u64;
    }
    assert!(
        part.is_empty() && parts.next().is_none(),
        "the parts are no longer than announced"
    );
    Ok(())
}
