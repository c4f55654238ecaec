//! Claims about the bytes of an archive's objects.

use bytes::Bytes;
use proptest::prelude::*;
use ultramarine_types::canonical::sha256;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::{Assembly, ChainIdentity, Height};

use super::height::{HEAD_BYTES, HeightFlaw};
use super::object::{HEADER_BYTES, INDEX_END_MAX, ROW_BYTES, decode_object, decode_row};
use super::{ArchiveIndex, ArchivedHeight, HeightSpan, ObjectError, SPAN_HEIGHTS_MAX, SpanBuilder, SpanObject};
use crate::format::crc32c;
use crate::tests::support::{CHAIN, assert_same, certificate, value, value_with, without_blobs};

fn object_of(values: &[Assembly]) -> SpanObject {
    let mut builder = SpanBuilder::new(CHAIN);
    for value in values {
        assert_eq!(builder.push(&certificate(value), value), Ok(true));
    }
    builder.finish().expect("heights were given")
}

fn bytes_of(object: &SpanObject) -> Bytes {
    object.parts.concat().into()
}

fn read(bytes: &Bytes) -> Result<(ArchiveIndex, Vec<ArchivedHeight>), ObjectError> {
    let mut heights = Vec::new();
    let index = decode_object(bytes, CHAIN, |height| {
        heights.push(height);
        Ok(())
    })?;
    Ok((index, heights))
}

/// A value without blobs, one with two, and one whose blobs were not held.
fn three() -> Vec<Assembly> {
    vec![value(7, 1, 0), value(8, 2, 2), without_blobs(&value(9, 3, 1))]
}

#[test]
fn heights_come_back_byte_for_byte() {
    let values = three();
    let object = object_of(&values);
    let bytes = bytes_of(&object);
    let (index, heights) = read(&bytes).expect("whole");
    assert_eq!(index, object.index);
    assert_eq!(index.span(), HeightSpan::new(Height(7), Height(9)));
    assert_eq!(heights.len(), 3);
    for (height, value) in heights.iter().zip(&values) {
        assert_same(&height.assembly, value);
        assert_eq!(height.certificate, certificate(value));
    }
    let whole: Vec<_> = heights.iter().map(ArchivedHeight::is_whole).collect();
    assert_eq!(whole, [true, true, false]);
    // One height alone, by the index.
    let first = ArchiveIndex::decode(&bytes[..600], bytes.len() as u64, CHAIN).expect("header and index");
    let row = first.row(Height(8)).expect("it is there");
    let alone = bytes.slice(row.offset as usize..(row.offset + row.bytes) as usize);
    assert_same(&decode_row(row, &alone).expect("whole").assembly, &values[1]);
    assert_eq!(first.row(Height(10)), Err(ObjectError::NoHeight { height: Height(10) }));
}

#[test]
fn the_bytes_are_those_that_archive_md_draws() {
    let bytes = bytes_of(&object_of(&[value(7, 1, 0), value(8, 2, 1)]));
    let index = &bytes[..HEADER_BYTES + 2 * ROW_BYTES];
    assert_eq!(hex::encode(index), include_str!("golden/index.hex").trim());
    let head = &bytes[index.len()..index.len() + HEAD_BYTES];
    assert_eq!(hex::encode(head), include_str!("golden/head.hex").trim());
    assert_eq!(
        hex::encode(sha256(&bytes).0),
        include_str!("golden/object.sha256").trim()
    );
}

#[test]
fn no_byte_of_an_object_can_change_unseen() {
    let object = object_of(&[value(1, 1, 0), value_with(2, 2, 1, 10)]);
    let bytes = bytes_of(&object).to_vec();
    let blob_at = bytes.len() - BLOB_BYTES;
    for at in (0..blob_at).chain((blob_at..bytes.len()).step_by(9973)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(read(&damaged.into()).is_err(), "byte {at} of {}", bytes.len());
    }
    for length in (0..blob_at).step_by(7).chain([bytes.len() - 1]) {
        assert!(read(&bytes[..length].to_vec().into()).is_err(), "{length} bytes");
    }
    assert!(read(&[&bytes[..], &[0]].concat().into()).is_err(), "a byte more");
}

#[test]
fn right_checksums_do_not_make_a_wrong_value_right() {
    let value = value(1, 1, 1);
    let object = object_of(std::slice::from_ref(&value));
    let bytes = bytes_of(&object).to_vec();
    let start = HEADER_BYTES + ROW_BYTES;
    let blob_at = bytes.len() - BLOB_BYTES;
    // Mends every checksum below the index, as somebody who means to deceive would.
    let mend = |bytes: &mut Vec<u8>| {
        let blob_crc = crc32c(&bytes[blob_at..]);
        bytes[start + HEAD_BYTES..start + HEAD_BYTES + 4].copy_from_slice(&blob_crc.to_le_bytes());
        let body_crc = crc32c(&bytes[start + HEAD_BYTES..blob_at]);
        bytes[start + 48..start + 52].copy_from_slice(&body_crc.to_le_bytes());
        let head_crc = crc32c(&bytes[start..start + 60]);
        bytes[start + 60..start + 64].copy_from_slice(&head_crc.to_le_bytes());
    };
    let certificate_at = start + HEAD_BYTES + 4;
    let metadata_at = certificate_at + 44 + 84;
    let metadata_bytes = value.init.metadata.canonical().into_bytes().len();
    let lists_at = metadata_at + metadata_bytes + 128;
    let payload_at = blob_at - value.payload.len();
    let mut whole = bytes.clone();
    mend(&mut whole);
    assert_eq!(whole, bytes, "the offsets are those of the format");
    for (at, flaw) in [
        (blob_at + 5, HeightFlaw::Digest { index: 0 }),
        (payload_at + 5, HeightFlaw::Payload),
        (
            lists_at + 5,
            HeightFlaw::List {
                kind: ultramarine_types::ListKind::Chunks,
            },
        ),
        (metadata_at + 70, HeightFlaw::Foreign),
        (certificate_at + 20, HeightFlaw::Certificate),
    ] {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1;
        mend(&mut wrong);
        let height = Height(1);
        assert_eq!(
            read(&wrong.into()).expect_err("a lie"),
            ObjectError::Height { height, flaw }
        );
    }
}

#[test]
fn another_chains_object_and_a_newer_one_say_so() {
    let bytes = bytes_of(&object_of(&three()));
    let other = ChainIdentity([1; 32]);
    let found = ArchiveIndex::decode(&bytes, bytes.len() as u64, other).expect_err("another chain");
    assert_eq!(found, ObjectError::Foreign { found: CHAIN });
    let mut newer = bytes.to_vec();
    newer[8] = 3;
    let crc = crc32c(&newer[..HEADER_BYTES - 4]);
    newer[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(
        read(&newer.into()).expect_err("newer"),
        ObjectError::Format { found: 3 }
    );
    assert_eq!(read(&Bytes::new()).expect_err("empty"), ObjectError::Absent);
    assert_eq!(read(&vec![0; 4096].into()).expect_err("zeros"), ObjectError::Absent);
}

#[test]
fn a_span_takes_what_fits_and_one_height_whatever_its_size() {
    let mut builder = SpanBuilder::new(CHAIN);
    let mut taken = 0;
    for height in 1..=u64::from(SPAN_HEIGHTS_MAX) + 1 {
        let value = value(height, height as u8, 0);
        taken += u64::from(builder.push(&certificate(&value), &value).expect("sound"));
    }
    assert_eq!(taken, u64::from(SPAN_HEIGHTS_MAX));
    let object = builder.finish().expect("heights");
    let bytes = bytes_of(&object);
    assert!(ArchiveIndex::decode(&bytes[..INDEX_END_MAX], bytes.len() as u64, CHAIN).is_ok());

    let mut builder = SpanBuilder::new(CHAIN);
    let large = value_with(1, 1, 200, 1000);
    let (mut count, mut height) = (0, 1);
    loop {
        let value = if height == 1 {
            large.clone()
        } else {
            value(height, 1, 200)
        };
        if !builder.push(&certificate(&value), &value).expect("sound") {
            break;
        }
        (count, height) = (count + 1, height + 1);
    }
    assert_eq!(count, 2, "200 blobs are 25 MiB");
    assert!(SpanBuilder::new(CHAIN).finish().is_none());
}

#[test]
fn names_are_read_back_and_sort_as_heights_do() {
    let span = HeightSpan::new(Height(9), Height(10_000));
    assert_eq!(span.object_name(), "00000000000000000009-00000000000000010000.uarc");
    assert_eq!(HeightSpan::of_name(&span.object_name()), Some(span));
    for name in [
        "",
        "9-10.uarc",
        "00000000000000000009-00000000000000010000",
        "00000000000000000010-00000000000000000009.uarc",
        "00000000000000000000-00000000000000000009.uarc",
        "+0000000000000000009-00000000000000010000.uarc",
        "99999999999999999999-99999999999999999999.uarc",
        "00000000000000000009-00000000000000010000.uarc#1",
    ] {
        assert_eq!(HeightSpan::of_name(name), None, "{name:?}");
    }
}

proptest! {
    #[test]
    fn what_is_missing_is_what_no_span_has(
        spans in prop::collection::vec((1u64..60, 0u64..12), 0..12),
        (from, length) in (1u64..50, 0u64..40),
    ) {
        let spans: Vec<_> = spans
            .into_iter()
            .map(|(first, more)| HeightSpan::new(Height(first), Height(first + more)))
            .collect();
        let wanted = HeightSpan::new(Height(from), Height(from + length));
        let missing = wanted.missing_from(spans.iter().copied());
        for height in (0..120).map(Height) {
            let expected = wanted.has(height) && !spans.iter().any(|span| span.has(height));
            prop_assert_eq!(missing.iter().any(|span| span.has(height)), expected, "height {}", height);
        }
        for pair in missing.windows(2) {
            prop_assert!(pair[0].last.next() < pair[1].first, "they are as few as can be");
        }
    }

    #[test]
    fn garbage_is_refused_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..700), at in 0usize..600) {
        let _ = read(&bytes.clone().into());
        let mut grafted = bytes_of(&object_of(&[value_with(1, 1, 0, 10), value_with(2, 2, 0, 10)])).to_vec();
        for (offset, byte) in bytes.iter().take(40).enumerate() {
            if let Some(place) = grafted.get_mut(at + offset) {
                *place = *byte;
            }
        }
        let rows_end = HEADER_BYTES + 2 * ROW_BYTES;
        let index_crc = crc32c(&grafted[HEADER_BYTES..rows_end]);
        grafted[64..68].copy_from_slice(&index_crc.to_le_bytes());
        let crc = crc32c(&grafted[..HEADER_BYTES - 4]);
        grafted[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        let _ = read(&grafted.into());
    }
}
