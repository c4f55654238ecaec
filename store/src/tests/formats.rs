//! Golden bytes of every header, and the laws of codecs and scan: what was written comes back, and nothing else does.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use ultramarine_types::Height;
use ultramarine_types::storage::{LogEpoch, Tag};

use super::support::*;
use crate::format::{Binding, Lineage};
use crate::log::{self, FoundLog, LogHeader, encode_frame};
use crate::record::{self, CheckDepth, RecordContent, RecordError, RecordHeader};
use crate::scan::{Image, Tail, scan};
use crate::segment::{Position, SegmentId};

const LINEAGE: Lineage = Lineage {
    generation: 3,
    salt: 0x1122_3344_5566_7788,
};
const BINDING: Binding = Binding {
    chain_id: CHAIN_ID,
    genesis_hash: GENESIS,
};
const EPOCH: LogEpoch = LogEpoch {
    height: Height(8),
    generation: 3,
};

fn record_bytes(value: &ultramarine_types::Assembly, lineage: Lineage, sequence: u64) -> Vec<u8> {
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
        proofs_count: 2,
        init_bytes: 900,
        payload_bytes: 1000,
        body_crc: 0xdead_beef,
    };
    let golden = [
        "55524543",
        "0100",
        "01",
        "03",
        "0300000000000000",
        "8877665544332211",
        "0500000000000000",
        "0600000000000000",
        &"cd".repeat(32),
        "02000000",
        "02000000",
        "84030000",
        "e8030000",
        "efbeadde",
        &"00".repeat(32),
        GOLDEN_RECORD_CRC,
    ]
    .concat();
    assert_eq!(hex(&header.encode()), golden);
    assert_eq!(RecordHeader::decode(&header.encode()), Ok(header));
}
const GOLDEN_RECORD_CRC: &str = "d38e0935";

#[test]
fn a_log_header_has_these_bytes() {
    let page = LogHeader {
        epoch: EPOCH,
        salt: LINEAGE.salt,
        binding: BINDING,
    }
    .encode();
    let golden = [
        "554c54524c4f4700",
        "0100",
        "000000000000",
        "0300000000000000",
        "8877665544332211",
        "0800000000000000",
        "9210000000000000",
        &"09".repeat(32),
        GOLDEN_LOG_CRC,
    ]
    .concat();
    assert_eq!(page.len(), 4096);
    assert_eq!(hex(&page[..84]), golden);
}
const GOLDEN_LOG_CRC: &str = "f859b1f0";

#[test]
fn a_frame_has_these_bytes() {
    let frame = encode_frame(LINEAGE, 4, &[Bytes::from_static(b"ab"), Bytes::from_static(b"c")]);
    let golden = [
        "554c4652",
        "0100",
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
const GOLDEN_FRAME_CRC: &str = "6493bf7f";

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
        payload in 0..20_000usize,
        proofs in 0..3usize,
    ) {
        let mut value = value_with(height, seed, blobs, payload);
        for part in &mut value.blobs {
            part.proofs = vec![part.proofs[0]; proofs];
        }
        let bytes = Bytes::from(record_bytes(&value, LINEAGE, 9));
        for check in [CheckDepth::All, CheckDepth::Body, CheckDepth::Header] {
            let found = record::decode(&bytes, check).expect("it is whole");
            assert_same(&found.assembly, &value);
            prop_assert_eq!(found.header.lineage, LINEAGE);
        }
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
        prop_assert_eq!(log::read(&log_file(&frames), EPOCH, BINDING), FoundLog::Whole(records));
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
        binding: BINDING,
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
            log::read(&file.slice(..cut), EPOCH, BINDING),
            records_of(&frames[..whole]),
            "cut at {cut}"
        );
    }
    for cut in 0..84 {
        assert_eq!(
            log::read(&file.slice(..cut), EPOCH, BINDING),
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
        let found = log::read(&damaged.into(), EPOCH, BINDING);
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
                binding: BINDING,
            }
            .encode(),
        );
        assert_eq!(log::read(&file.clone().into(), epoch, BINDING), FoundLog::Whole(vec![]));
        let fresh = encode_frame(lineage, 0, &[Bytes::from_static(b"new")]);
        file[4096..8192].copy_from_slice(&fresh);
        assert_eq!(
            log::read(&file.into(), epoch, BINDING),
            FoundLog::Whole(vec![Bytes::from_static(b"new")])
        );
    }
}

/// A segment of three values at heights 5, 6 and 5, two pages each.
fn small_segment() -> (Vec<u8>, Vec<ultramarine_types::Assembly>) {
    let values = vec![
        value_with(5, 1, 0, 5000),
        value_with(6, 2, 0, 5000),
        value_with(5, 3, 0, 5000),
    ];
    let mut segment = vec![0; 4096];
    for (sequence, value) in (0..).zip(&values) {
        segment.extend(record_bytes(value, LINEAGE, sequence));
    }
    segment.extend([0; 8192]);
    (segment, values)
}

fn scanned(segment: &[u8], above: u64) -> (Vec<u64>, crate::scan::Ended) {
    let mut found = Vec::new();
    let mut pages = Image(Bytes::copy_from_slice(segment));
    let from = Position::start_of(SegmentId(3));
    let ended = scan(&mut pages, LINEAGE, from, Height(above), |location, record| {
        assert_eq!(record.header.record_bytes(), location.bytes);
        found.push(record.header.sequence);
        Ok(())
    });
    (found, ended.expect("an image in memory can be read"))
}

#[test]
fn a_scan_finds_the_values_above_the_head_in_order() {
    let (segment, _) = small_segment();
    let (found, ended) = scanned(&segment, 0);
    assert_eq!((found, ended.tail), (vec![0, 1, 2], Tail::Clean));
    assert_eq!(
        ended.at,
        Position {
            segment: SegmentId(3),
            offset: 7 * 4096,
            sequence: 3
        }
    );
    assert_eq!(scanned(&segment, 5).0, [1]);
    assert!(scanned(&segment, 6).0.is_empty());
    let mut stale = segment;
    stale[4096 + 16] ^= 1;
    assert!(scanned(&stale, 0).0.is_empty());
}

#[test]
fn a_scan_stops_at_damage_and_says_whether_something_whole_lies_behind() {
    let (segment, _) = small_segment();
    for at in (4096..7 * 4096).step_by(61) {
        let mut damaged = segment.clone();
        damaged[at] ^= 0x80;
        let (found, ended) = scanned(&damaged, 0);
        let record = (at - 4096) / 8192;
        match ended.tail {
            Tail::Clean => {
                // Padding, or the very header of the last record: nothing says that there ever was one.
                assert!(
                    found == [0, 1, 2] || (record == 2 && found == [0, 1]),
                    "byte {at}: {found:?}"
                );
            }
            Tail::Torn => assert_eq!((record, found.len()), (2, 2), "byte {at}"),
            Tail::Corrupt { behind } => {
                assert_eq!(found.len(), record, "byte {at}");
                assert_eq!(behind, 4096 + 8192 * (record as u64 + 1), "byte {at}");
            }
        }
    }
}

#[test]
fn a_scan_of_a_cut_segment_finds_every_whole_record_before_the_cut() {
    let (segment, _) = small_segment();
    for pages in 1..=segment.len() / 4096 {
        let (found, _) = scanned(&segment[..pages * 4096], 0);
        assert_eq!(found.len(), ((pages - 1) / 2).min(3), "{pages} pages");
    }
}

/// A blob's bytes are a stranger's choice, and a recycled file is full of them.
#[test]
fn a_record_planted_in_a_blob_is_not_taken_for_one_of_the_file() {
    let planted = record_bytes(&value(9, 1, 0), Lineage { generation: 3, salt: 0 }, 1);
    let (mut segment, _) = small_segment();
    segment.truncate(4096 + 8192);
    segment.extend(&planted);
    segment.extend([0; 8192]);
    assert_eq!(
        scanned(&segment, 0).0,
        [0],
        "generation and sequence fit, the salt cannot"
    );
}
