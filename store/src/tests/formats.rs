//! Golden bytes of every header, and the laws of codecs and scan: what was written comes back, and nothing else does.

use std::num::NonZeroU32;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use ultramarine_types::digest::blob_digest;
use ultramarine_types::limits::{BLOB_BYTES, LISTS_BYTES_MAX};
use ultramarine_types::storage::{LogEpoch, Tag};
use ultramarine_types::{Height, KzgCommitment, ListKind};

use super::support::*;
use crate::format::Lineage;
use crate::log::{self, FoundLog, LogHeader, encode_frame};
use crate::record::{self, CheckDepth, RecordContent, RecordError, RecordHeader, Unfit};

pub(super) const LINEAGE: Lineage = Lineage {
    generation: 3,
    salt: 0x1122_3344_5566_7788,
};
const EPOCH: LogEpoch = LogEpoch {
    height: Height(8),
    generation: 3,
};

pub(super) fn record_bytes(value: &ultramarine_types::Assembly, lineage: Lineage, sequence: u64) -> Vec<u8> {
    let content = record::content_of(value).expect("all blobs or none");
    let mut encoded = record::encode(value, Tag::Streamed, content).expect("within every limit");
    encoded.stamp(lineage, sequence);
    let bytes = encoded.parts().collect::<Vec<_>>().concat();
    assert_eq!(bytes.len() as u64, encoded.record_bytes());
    bytes
}

#[test]
fn a_record_header_has_these_bytes() {
    let header = RecordHeader {
        lineage: LINEAGE,
        sequence: 5,
        key: ultramarine_types::ValueKey {
            height: Height(6),
            id: ultramarine_types::ValueId([0xcd; 32]),
        },
        content: RecordContent::Whole,
        tag: Tag::Certified,
        blobs_count: 2,
        lists_bytes: 288,
        init_bytes: 900,
        payload_bytes: 1000,
        body_crc: 0xdead_beef,
        table_crc: NonZeroU32::new(0x0bad_cafe),
        synced_below: 4,
        init_crc: NonZeroU32::new(0xbaad_f00d),
    };
    let golden = [
        "55524543",
        "0300",
        "01",
        "03",
        "0300000000000000",
        "8877665544332211",
        "0500000000000000",
        "0600000000000000",
        &"cd".repeat(32),
        "02000000",
        "20010000",
        "84030000",
        "e8030000",
        "efbeadde",
        "fecaad0b",
        "0400000000000000",
        "0df0adba",
        &"00".repeat(16),
        GOLDEN_RECORD_CRC,
    ]
    .concat();
    assert_eq!(hex(&header.encode()), golden);
    assert_eq!(RecordHeader::decode(&header.encode()), Ok(header));
    // Version 2.
    let older = RecordHeader {
        init_crc: None,
        ..header
    };
    let golden = golden
        .replace("555245430300", "555245430200")
        .replace("0df0adba", "00000000");
    let golden_2 = golden.replace(GOLDEN_RECORD_CRC, GOLDEN_RECORD_CRC_2);
    assert_eq!(hex(&older.encode()), golden_2);
    assert_eq!(RecordHeader::decode(&older.encode()), Ok(older));
    // As it was before there were the last two.
    let oldest = RecordHeader {
        table_crc: None,
        synced_below: 0,
        ..older
    };
    let golden = golden.replace("fecaad0b0400", "000000000000");
    let golden = golden.replace(GOLDEN_RECORD_CRC, GOLDEN_OLDER_RECORD_CRC);
    assert_eq!(hex(&oldest.encode()), golden);
    assert_eq!(RecordHeader::decode(&oldest.encode()), Ok(oldest));
}
const GOLDEN_RECORD_CRC_2: &str = "791ff947";
const GOLDEN_OLDER_RECORD_CRC: &str = "a22909de";
const GOLDEN_RECORD_CRC: &str = "a8130087";

#[test]
fn a_log_header_has_these_bytes() {
    let page = LogHeader {
        epoch: EPOCH,
        salt: LINEAGE.salt,
        chain: CHAIN,
    }
    .encode();
    let golden = [
        "554c54524c4f4700",
        "0200",
        "000000000000",
        "0300000000000000",
        "8877665544332211",
        "0800000000000000",
        &"09".repeat(32),
        "0000000000000000",
        GOLDEN_LOG_CRC,
    ]
    .concat();
    assert_eq!(page.len(), 4096);
    assert_eq!(hex(&page[..84]), golden);
}
const GOLDEN_LOG_CRC: &str = "fbac102f";

#[test]
fn a_frame_has_these_bytes() {
    let frame = encode_frame(LINEAGE, 4, &[Bytes::from_static(b"ab"), Bytes::from_static(b"c")]);
    let golden = [
        "554c4652",
        "0200",
        "0000",
        "0300000000000000",
        "8877665544332211",
        "0400000000000000",
        "02000000",
        "0b000000",
        "00000000",
        GOLDEN_FRAME_CRC,
        "020000006162",
        "0100000063",
    ]
    .concat();
    assert_eq!(frame.len(), 4096);
    assert_eq!(hex(&frame[..59]), golden);
}
const GOLDEN_FRAME_CRC: &str = "eedcc734";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_record_comes_back(
        height in 1..u64::MAX,
        seed: u8,
        blobs in 0..4u8,
        payload in 0..200_000usize,
    ) {
        let value = value_with(height, seed, blobs, payload);
        let bytes = Bytes::from(record_bytes(&value, LINEAGE, 9));
        let found = record::decode(&bytes, CheckDepth::All).expect("it is whole");
        assert_same(&found.assembly, &value);
        prop_assert_eq!(found.header.lineage, LINEAGE);
        let head = bytes.slice(..found.header.blobs_offset() as usize);
        let found = record::decode(&head, CheckDepth::Body).expect("it is whole");
        assert_same(&found.assembly, &without_blobs(&value));
    }

    /// Padding is the only thing no checksum covers.
    #[test]
    fn a_record_with_a_flipped_bit_is_never_taken(seed: u8, at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let value = value(7, seed, 2);
        let mut bytes = record_bytes(&value, LINEAGE, 0);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        match record::decode(&Bytes::from(bytes), CheckDepth::All) {
            Err(_) => {}
            Ok(found) => {
                let body_end = 128 + found.header.body_bytes() as usize;
                prop_assert!((body_end..found.header.blobs_offset() as usize).contains(&at), "byte {at} is no padding");
                assert_same(&found.assembly, &value);
            }
        }
    }

    #[test]
    fn a_record_cut_short_is_never_taken(seed: u8, at in any::<prop::sample::Index>()) {
        let bytes = record_bytes(&value(7, seed, 1), LINEAGE, 0);
        let cut = at.index(bytes.len());
        prop_assert!(record::decode(&Bytes::from(bytes).slice(..cut), CheckDepth::All).is_err());
    }

    #[test]
    fn garbage_is_no_record(bytes in vec(any::<u8>(), 0..600)) {
        prop_assert!(record::decode(&Bytes::from(bytes.clone()), CheckDepth::All).is_err());
        let mut dressed = b"UREC".to_vec();
        dressed.extend(bytes);
        prop_assert!(record::decode(&Bytes::from(dressed), CheckDepth::All).is_err());
    }

    #[test]
    fn a_log_comes_back(frames in vec(vec(vec(any::<u8>(), 0..3000), 1..5), 0..6)) {
        let of_frame = |frame: Vec<Vec<u8>>| frame.into_iter().map(Bytes::from).collect();
        let frames: Vec<Vec<Bytes>> = frames.into_iter().map(of_frame).collect();
        let records: Vec<Bytes> = frames.iter().flatten().cloned().collect();
        prop_assert_eq!(log::read(&log_file(&frames), EPOCH, CHAIN), FoundLog::Whole(records));
    }
}

/// What stands between a record's header and its blobs, piece by piece.
#[test]
fn a_records_body_is_table_init_lists_and_payload() {
    let value = value(7, 5, 2);
    let bytes = record_bytes(&value, LINEAGE, 0);
    let header = RecordHeader::decode(&bytes).expect("its header");
    assert_eq!(header.lists_bytes, 32 + 2 * (48 + 32 + 48));
    let crc = |index: usize| format!("{:08x}", crate::crc32c(&value.blobs[index]).swap_bytes());
    let table = [crc(0), crc(1)].concat();
    assert_eq!(hex(&bytes[128..136]), table);
    let lists_at = 136 + header.init_bytes as usize;
    assert_eq!((header.init_at(), header.init_end()), (136, lists_at as u64));
    let init = record::decode_init(&header, &bytes[136..lists_at]).expect("its init");
    assert_eq!(init, *value.init);
    let golden = [
        hex(&ultramarine_types::canonical::sha256(&value.payload).0),
        "05".repeat(48),
        "04".repeat(48),
        hex(&blob_digest(&value.blobs[0], &KzgCommitment([5; 48])).0),
        hex(&blob_digest(&value.blobs[1], &KzgCommitment([4; 48])).0),
        "00".repeat(48),
        "01".repeat(48),
    ]
    .concat();
    let payload_at = lists_at + golden.len() / 2;
    assert_eq!(hex(&bytes[lists_at..payload_at]), golden);
    assert_eq!(bytes[payload_at..payload_at + 1005], value.payload);
    assert!(bytes[payload_at + 1005..4096].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[4096..4096 + BLOB_BYTES], value.blobs[0]);
}

/// The same record as version 2 wrote it.
pub(super) fn of_version_2(record: &[u8]) -> Vec<u8> {
    let header = RecordHeader::decode(record).expect("its header");
    let [table_end, init_end] = [header.table_end() as usize, header.init_end() as usize];
    let lists_end = init_end + header.lists_bytes as usize;
    let (table, init, lists) = (
        &record[128..table_end],
        &record[table_end..init_end],
        &record[init_end..lists_end],
    );
    let body = [table, lists, init, &record[lists_end..]].concat();
    let header = RecordHeader {
        init_crc: None,
        body_crc: crate::crc32c(&body[..header.body_bytes() as usize]),
        ..header
    };
    [&header.encode()[..], &body].concat()
}

#[test]
fn a_record_of_version_2_is_read_as_well() {
    for blobs in [0, 2] {
        let value = value(7, 5, blobs);
        let older = Bytes::from(of_version_2(&record_bytes(&value, LINEAGE, 0)));
        assert_eq!(older[4..6], [2, 0]);
        let found = record::decode(&older, CheckDepth::All).expect("a whole record");
        assert_same(&found.assembly, &value);
    }
}

#[test]
fn an_init_with_a_flipped_bit_is_never_taken() {
    let value = value(7, 5, 2);
    let bytes = record_bytes(&value, LINEAGE, 0);
    let header = RecordHeader::decode(&bytes).expect("its header");
    let init = &bytes[header.init_at() as usize..header.init_end() as usize];
    for at in 0..init.len() {
        let mut damaged = init.to_vec();
        damaged[at] ^= 1;
        assert_eq!(record::decode_init(&header, &damaged), Err(RecordError::Body));
    }
    let other = RecordHeader {
        key: ultramarine_types::ValueKey {
            height: Height(8),
            ..header.key
        },
        ..header
    };
    assert_eq!(record::decode_init(&other, init), Err(RecordError::Foreign));
}

#[test]
fn a_blobs_checksum_is_found_by_the_tables_or_by_the_bodys() {
    let value = value(7, 5, 2);
    let bytes = record_bytes(&value, LINEAGE, 0);
    let header = RecordHeader::decode(&bytes).expect("its header");
    let older = RecordHeader {
        table_crc: None,
        ..header
    };
    let table_end = header.table_end() as usize;
    assert_eq!(table_end, 128 + 2 * 4);
    for (header, end) in [(header, table_end), (older, header.blobs_offset() as usize)] {
        for (index, blob) in (0..).zip(&value.blobs) {
            assert_eq!(header.blob_crc(&bytes[..end], index), Ok(crate::crc32c(blob)));
        }
        assert_eq!(header.blob_crc(&bytes[..end], 2), Err(RecordError::Short));
        assert_eq!(header.blob_crc(&bytes[..table_end - 1], 0), Err(RecordError::Short));
        let mut damaged = bytes.clone();
        damaged[129] ^= 1;
        assert_eq!(header.blob_crc(&damaged[..end], 1), Err(RecordError::Body));
    }
    let mut damaged = bytes.clone();
    damaged[table_end] ^= 1;
    assert!(header.blob_crc(&damaged, 0).is_ok());
    assert_eq!(older.blob_crc(&damaged, 0), Err(RecordError::Body));
}

/// Changes a byte of a record's body and makes its checksums right again.
fn with_body_byte(value: &ultramarine_types::Assembly, at: usize) -> Bytes {
    let mut bytes = record_bytes(value, LINEAGE, 0);
    let mut header = RecordHeader::decode(&bytes).expect("its header");
    bytes[at] ^= 1;
    header.body_crc = crate::crc32c(&bytes[128..128 + header.body_bytes() as usize]);
    bytes[..128].copy_from_slice(&header.encode());
    bytes.into()
}

#[test]
fn a_list_that_the_metadata_does_not_bind_is_never_taken() {
    let value = value(7, 5, 2);
    let header = RecordHeader::decode(&record_bytes(&value, LINEAGE, 0)).expect("its header");
    let lists_at = header.init_end() as usize;
    for (at, kind) in [
        (0, ListKind::Chunks),
        (32, ListKind::Commitments),
        (32 + 2 * 48, ListKind::Digests),
        (32 + 2 * (48 + 32), ListKind::Proofs),
    ] {
        let bytes = with_body_byte(&value, lists_at + at);
        for check in [CheckDepth::All, CheckDepth::Body] {
            assert_eq!(record::decode(&bytes, check).err(), Some(RecordError::List { kind }));
        }
    }
}

#[test]
fn lists_of_another_length_are_never_taken() {
    let value = value(7, 5, 2);
    let whole = record_bytes(&value, LINEAGE, 0);
    let header = RecordHeader::decode(&whole).expect("its header");
    for (lists_bytes, error) in [
        (header.lists_bytes + 1, RecordError::Body),
        (header.lists_bytes - 1, RecordError::Body),
        (header.lists_bytes - 48, RecordError::List { kind: ListKind::Proofs }),
        (header.lists_bytes + 48, RecordError::List { kind: ListKind::Proofs }),
        (32, RecordError::Body),
        (0, RecordError::Body),
        (u32::try_from(LISTS_BYTES_MAX).expect("small") + 1, RecordError::Header),
    ] {
        let kept = (header.lists_bytes.min(lists_bytes)) as usize;
        let lists_at = header.init_end() as usize;
        let mut body = whole[128..lists_at + kept].to_vec();
        body.resize(lists_at - 128 + lists_bytes as usize, 0);
        body.extend(&whole[lists_at + header.lists_bytes as usize..128 + header.body_bytes() as usize]);
        let header = RecordHeader {
            lists_bytes,
            body_crc: crate::crc32c(&body),
            ..header
        };
        let mut bytes = header.encode().to_vec();
        bytes.extend(body);
        bytes.resize(header.blobs_offset() as usize, 0);
        bytes.extend(value.blobs.concat());
        assert_eq!(
            record::decode(&bytes.into(), CheckDepth::All).err(),
            Some(error),
            "{lists_bytes} bytes"
        );
    }
}

#[test]
fn a_record_with_fewer_blobs_or_another_payload_than_its_metadata_says_is_never_taken() {
    let value = value(7, 5, 2);
    let whole = record_bytes(&value, LINEAGE, 0);
    let header = RecordHeader::decode(&whole).expect("its header");
    let body = &whole[128..128 + header.body_bytes() as usize];
    // The first blob and its checksum are gone; or the last byte of the payload is.
    let cases = [
        (1, header.payload_bytes, body[4..].to_vec()),
        (2, header.payload_bytes - 1, body[..body.len() - 1].to_vec()),
    ];
    for (blobs_count, payload_bytes, body) in cases {
        let header = RecordHeader {
            blobs_count,
            payload_bytes,
            body_crc: crate::crc32c(&body),
            ..header
        };
        let mut bytes = header.encode().to_vec();
        bytes.extend(body);
        bytes.resize(header.blobs_offset() as usize, 0);
        bytes.extend(value.blobs[2 - blobs_count as usize..].concat());
        for check in [CheckDepth::All, CheckDepth::Body] {
            let refused = record::decode(&bytes.clone().into(), check).err();
            assert_eq!(refused, Some(RecordError::Body), "{blobs_count} blobs");
        }
    }
}

#[test]
fn a_value_whose_parts_do_not_fit_its_metadata_becomes_no_record() {
    let whole = value(7, 5, 2);
    let unfit = |value: &ultramarine_types::Assembly| {
        let content = record::content_of(value)?;
        record::encode(value, Tag::Streamed, content).map(drop)
    };
    assert_eq!(unfit(&whole), Ok(()));
    let mut one_blob = whole.clone();
    one_blob.blobs.pop();
    assert_eq!(unfit(&one_blob), Err(Unfit::Count { blobs: 1, expected: 2 }));
    let mut short = whole.clone();
    short.blobs[1].truncate(100);
    assert_eq!(unfit(&short), Err(Unfit::Blob { index: 1, bytes: 100 }));
    let mut cut = whole.clone();
    cut.payload.truncate(1000);
    assert_eq!(
        unfit(&cut),
        Err(Unfit::Payload {
            bytes: 1000,
            expected: 1005
        })
    );
    for kind in ListKind::ALL {
        let mut lists = (*whole.lists).clone();
        match kind {
            ListKind::Chunks => lists.chunks.clear(),
            ListKind::Commitments => lists.commitments.swap(0, 1),
            ListKind::Digests => lists.digests[0].0[0] ^= 1,
            ListKind::Proofs => lists.proofs.truncate(1),
        }
        let other = ultramarine_types::Assembly {
            lists: std::sync::Arc::new(lists),
            ..whole.clone()
        };
        assert_eq!(unfit(&other), Err(Unfit::List { kind }));
    }
}

#[test]
fn another_values_record_is_foreign() {
    let mut value = value(1, 1, 1);
    value.key.id.0[0] ^= 1;
    let bytes = Bytes::from(record_bytes(&value, LINEAGE, 0));
    assert_eq!(
        record::decode(&bytes, CheckDepth::All).err(),
        Some(RecordError::Foreign)
    );
}

fn log_file(frames: &[Vec<Bytes>]) -> Bytes {
    let mut file = LogHeader {
        epoch: EPOCH,
        salt: LINEAGE.salt,
        chain: CHAIN,
    }
    .encode();
    for (sequence, frame) in (0..).zip(frames) {
        file.extend(encode_frame(LINEAGE, sequence, frame));
    }
    file.into()
}

fn small_log() -> (Bytes, Vec<Vec<Bytes>>) {
    let frames = vec![
        vec![Bytes::from_static(b"vote"), Bytes::from_static(b"proposal")],
        vec![Bytes::from(vec![7; 5000])],
        vec![Bytes::from_static(b"last")],
    ];
    (log_file(&frames), frames)
}

/// The log up to a frame.
fn records_of(frames: &[Vec<Bytes>]) -> FoundLog {
    FoundLog::Whole(frames.iter().flatten().cloned().collect())
}

#[test]
fn recovery_stops_at_the_last_whole_record_wherever_the_log_ends() {
    let (file, frames) = small_log();
    // Where each frame's last byte lies: pages 1, 2 to 3, and 4.
    let ends = [
        4096 + 48 + 4 + 4 + 4 + 8,
        2 * 4096 + 48 + 4 + 5000,
        4 * 4096 + 48 + 4 + 4,
    ];
    for cut in 4096..=file.len() {
        let whole = ends.iter().filter(|end| cut >= **end).count();
        assert_eq!(
            log::read(&file.slice(..cut), EPOCH, CHAIN),
            records_of(&frames[..whole]),
            "cut at {cut}"
        );
    }
    for cut in 0..84 {
        assert_eq!(
            log::read(&file.slice(..cut), EPOCH, CHAIN),
            FoundLog::Missing,
            "cut at {cut}"
        );
    }
}

#[test]
fn a_flipped_bit_anywhere_in_the_log_loses_the_tail_or_is_corruption() {
    let (file, frames) = small_log();
    let covered = [4096..4096 + 68, 2 * 4096..2 * 4096 + 5052, 4 * 4096..4 * 4096 + 56];
    for at in 0..file.len() {
        let mut damaged = file.to_vec();
        damaged[at] ^= 0x10;
        let found = log::read(&damaged.into(), EPOCH, CHAIN);
        let expected = match covered.iter().position(|frame| frame.contains(&at)) {
            Some(0 | 1) => FoundLog::Corrupt,
            Some(_) => records_of(&frames[..2]),
            None if at < 84 => FoundLog::Missing,
            None => records_of(&frames),
        };
        assert_eq!(found, expected, "byte {at}");
    }
}

#[test]
fn a_recycled_log_shows_nothing_of_its_former_life() {
    let (old, _) = small_log();
    for lineage in [
        Lineage {
            generation: 4,
            ..LINEAGE
        },
        Lineage { salt: 1, ..LINEAGE },
    ] {
        let epoch = LogEpoch {
            generation: lineage.generation,
            ..EPOCH
        };
        let mut file = old.to_vec();
        file[..4096].copy_from_slice(
            &LogHeader {
                epoch,
                salt: lineage.salt,
                chain: CHAIN,
            }
            .encode(),
        );
        assert_eq!(log::read(&file.clone().into(), epoch, CHAIN), FoundLog::Whole(vec![]));
        let fresh = encode_frame(lineage, 0, &[Bytes::from_static(b"new")]);
        file[4096..8192].copy_from_slice(&fresh);
        assert_eq!(
            log::read(&file.into(), epoch, CHAIN),
            FoundLog::Whole(vec![Bytes::from_static(b"new")])
        );
    }
}
