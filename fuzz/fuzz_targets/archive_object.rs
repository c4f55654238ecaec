//! Any bytes, as an object of an archive whose checksums are mended: an error, or heights that are laid out as they
//! were. Any text, as the name of one: nothing, or heights that have that name.
#![no_main]

use ultramarine_store::archive::object::{HEADER_BYTES, ROW_BYTES, decode_object};
use ultramarine_store::archive::{HeightSpan, SpanBuilder};
use ultramarine_store::crc32c;
use ultramarine_types::ChainIdentity;
use ultramarine_types::limits::BLOB_BYTES;

const CHAIN: ChainIdentity = ChainIdentity([9; 32]);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(name) = std::str::from_utf8(bytes)
        && let Some(span) = HeightSpan::of_name(name)
    {
        assert_eq!(span.object_name(), name);
    }
    let mut bytes = bytes.to_vec();
    mend(&mut bytes);
    let bytes = bytes::Bytes::from(bytes);
    let mut builder = SpanBuilder::new(CHAIN);
    let decoded = decode_object(&bytes, CHAIN, |height| {
        assert_eq!(builder.push(&height.certificate, &height.assembly), Ok(true));
        Ok(())
    });
    if let Ok(index) = decoded {
        let again = builder.finish().expect("an object has heights");
        assert_eq!(again.index, index);
    }
});

/// Mends the checksums of header, index, heads and bodies, and the header's chain and length, so that what lies under
/// them is read.
fn mend(bytes: &mut [u8]) {
    let length = bytes.len() as u64;
    if bytes.len() < HEADER_BYTES {
        return;
    }
    bytes[16..48].copy_from_slice(&CHAIN.0);
    bytes[56..64].copy_from_slice(&length.to_le_bytes());
    let rows_count = u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes")) as usize;
    let rows_end = HEADER_BYTES.saturating_add(rows_count.saturating_mul(ROW_BYTES));
    if rows_end > bytes.len() {
        return;
    }
    for row in (HEADER_BYTES..rows_end).step_by(ROW_BYTES) {
        let at = |offset: usize| u64::from_le_bytes(bytes[row + offset..row + offset + 8].try_into().expect("eight"));
        let (from, to) = (at(40), at(40).saturating_add(at(48)));
        if from >= rows_end as u64 && to <= length && from < to {
            mend_height(&mut bytes[from as usize..to as usize]);
        }
    }
    let index_crc = crc32c(&bytes[HEADER_BYTES..rows_end]);
    bytes[64..68].copy_from_slice(&index_crc.to_le_bytes());
    let crc = crc32c(&bytes[..92]);
    bytes[92..96].copy_from_slice(&crc.to_le_bytes());
}

fn mend_height(bytes: &mut [u8]) {
    if bytes.len() < 64 {
        return;
    }
    let blobs_count = u32::from_le_bytes(bytes[28..32].try_into().expect("four bytes")) as usize;
    let Some(blobs_at) = bytes.len().checked_sub(blobs_count.saturating_mul(BLOB_BYTES)) else { return };
    if blobs_at >= 64 {
        let body_crc = crc32c(&bytes[64..blobs_at]);
        bytes[48..52].copy_from_slice(&body_crc.to_le_bytes());
    }
    let crc = crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
}
