//! Walks of a segment after a crash: what is whole comes back, whatever lies between.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ultramarine_types::Height;
use ultramarine_types::storage::{Source, StoreRequest, Tag};

use super::formats::{LINEAGE, record_bytes};
use super::support::*;
use crate::OpenError;
use crate::format::{Lineage, crc32c};
use crate::record::{self, RecordContent, RecordHeader};
use crate::scan::{Gap, Image, Tail, scan};
use crate::segment::{Position, SegmentId};

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
    let (found, ended) = scanned(&stale, 0);
    assert_eq!((found, ended.gaps.len()), (vec![1, 2], 1));
}

#[test]
fn a_scan_passes_over_damage_and_says_where_it_was() {
    let (segment, _) = small_segment();
    for at in (4096..7 * 4096).step_by(61) {
        let mut damaged = segment.clone();
        damaged[at] ^= 0x80;
        let (found, ended) = scanned(&damaged, 0);
        let record = (at as u64 - 4096) / 8192;
        let others: Vec<u64> = (0..3).filter(|other| *other != record).collect();
        if found == [0, 1, 2] {
            assert_eq!((ended.tail, ended.gaps), (Tail::Clean, vec![]), "byte {at} is padding");
            continue;
        }
        assert_eq!(found, others, "byte {at}");
        if record == 2 {
            // Of the last record the very header may be gone: then nothing says that there ever was one.
            assert!(ended.gaps.is_empty(), "byte {at}");
            assert!((at - 4096) % 8192 < 128 || ended.tail == Tail::Torn, "byte {at}");
            continue;
        }
        let position = |sequence: u64| Position {
            segment: SegmentId(3),
            offset: 4096 + 8192 * sequence,
            sequence,
        };
        let gap = Gap {
            from: position(record),
            to: position(record + 1),
            was_synced: false,
        };
        assert_eq!((ended.tail, ended.gaps), (Tail::Clean, vec![gap]), "byte {at}");
    }
}

/// Records of one sync reach the disk in any order.
#[test]
fn a_torn_record_is_damage_only_if_one_behind_it_says_that_it_was_synced() {
    for (synced_below, was_synced) in [(0, false), (1, false), (2, true), (3, true)] {
        let mut segment = vec![0; 4096];
        for sequence in 0..4 {
            let value = value_with(5, sequence as u8, 0, 5000);
            let mut encoded = record::encode(&value, Tag::Streamed, RecordContent::Whole).expect("it fits");
            encoded.follow_synced(if sequence == 3 { synced_below } else { 0 });
            encoded.stamp(LINEAGE, sequence);
            segment.extend(encoded.parts().collect::<Vec<_>>().concat());
        }
        // The second and the third.
        segment[4096 + 8192 + 500] ^= 1;
        segment[4096 + 2 * 8192 + 500] ^= 1;
        let (found, ended) = scanned(&segment, 0);
        assert_eq!(found, [0, 3]);
        let told: Vec<_> = ended
            .gaps
            .iter()
            .map(|gap| (gap.from.sequence, gap.was_synced))
            .collect();
        assert_eq!(told, [(1, was_synced)], "synced below {synced_below}");
    }
}

#[test]
fn what_one_sync_covered_is_said_by_the_records_behind_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let put = |seed| StoreRequest::Put {
        assembly: value(1, seed, 0),
        tag: Tag::Streamed,
    };
    store.ask([put(1), put(2)]);
    store.ask([put(3), put(4)]);
    store.ask([put(5)]);
    let path = store.view.on_disk(&value(1, 1, 0).key).expect("it is held").path;
    let segment = std::fs::read(path).expect("the segment");
    let headers = segment
        .chunks(4096)
        .skip(1)
        .map_while(|page| RecordHeader::decode(page).ok());
    let synced: Vec<_> = headers.map(|header| (header.sequence, header.synced_below)).collect();
    assert_eq!(synced, [(0, 0), (1, 0), (2, 2), (3, 2), (4, 4)]);
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

/// The newest segment's file.
fn newest_segment(folder: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder.join("segments")).expect("the folder");
    entries
        .map(|entry| entry.expect("an entry").path())
        .max()
        .expect("a segment")
}

fn change(path: &Path, change: impl FnOnce(&mut [u8])) {
    let mut bytes = std::fs::read(path).expect("the file");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn a_whole_value_behind_a_damaged_one_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let values = [value(1, 1, 1), value(1, 2, 1), value(1, 3, 1)];
    for value in &values {
        store.put(value, Tag::Streamed);
    }
    drop(store);
    change(&newest_segment(folder.path()), |bytes| bytes[4096 + 700] ^= 1);
    let store = Store::open(folder.path());
    let keys: Vec<_> = store.recovered.undecided.iter().map(|(value, _)| value.key).collect();
    assert_eq!(keys, [values[1].key, values[2].key]);
    assert_same(&store.view.value(&values[2].key).expect("whole"), &values[2]);
}

#[test]
fn a_segment_without_its_header_is_believed_by_its_first_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let value = value(1, 1, 1);
    store.put(&value, Tag::Streamed);
    drop(store);
    let segment = newest_segment(folder.path());
    change(&segment, |bytes| bytes[30] ^= 1);
    let store = Store::open(folder.path());
    assert_same(&store.view.value(&value.key).expect("recovered"), &value);
    drop(store);
    // Neither of them: the directory opens, and the value is fetched again.
    change(&newest_segment(folder.path()), |bytes| {
        bytes[30] ^= 1;
        bytes[4096 + 30] ^= 1;
    });
    assert!(Store::open(folder.path()).recovered.undecided.is_empty());
}

#[test]
fn a_record_or_a_header_of_a_later_version_is_refused_and_nothing_is_freed() {
    // Version and checksum, of a record and of a segment's and a log's header.
    let later = |bytes: &mut [u8], at: usize, crc_at: usize| {
        bytes[at] += 1;
        let crc = crc32c(&bytes[..crc_at]);
        bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    };
    for what in ["record", "segment", "log"] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path());
        store.put(&value(1, 1, 1), Tag::Streamed);
        store.begin(1);
        store.log(&[b"a vote"]);
        drop(store);
        let segment = newest_segment(folder.path());
        let logs = (0..3).map(|number| folder.path().join(format!("log-{number}")));
        let is_begun = |path: &PathBuf| std::fs::read(path).expect("the log").starts_with(b"ULTRLOG");
        let path = match what {
            "log" => logs.into_iter().find(is_begun).expect("one is begun"),
            _ => segment.clone(),
        };
        change(&path, |bytes| match what {
            "record" => later(&mut bytes[4096..], 4, 124),
            _ => later(bytes, 8, 80),
        });
        for _ in 0..2 {
            let refused = Store::try_open(folder.path(), &options()).err().expect("it is later");
            assert!(
                matches!(refused, OpenError::Format { found: 3 | 4, .. }),
                "{what}: {refused}"
            );
            assert!(refused.to_string().contains("a newer version wrote it"), "{refused}");
            assert!(segment.exists(), "{what}");
        }
    }
}
