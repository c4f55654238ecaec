//! The laws of the fuzz targets, held to the seeds and to mutations of them at each run of the tests.
//!
//! The seeds stand in `fuzz/seeds`, a folder for each target. `ULTRAMARINE_FUZZ_SECONDS` has a test go on for longer;
//! the targets themselves go deeper, as libFuzzer sees which branches an input takes.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ultramarine_types::Height;
use ultramarine_types::storage::{LogEpoch, Tag};

use super::formats::of_version_2;
use super::images::Image;
use super::laws::{self, LINEAGE};
use super::support::*;
use crate::format::whole_pages;
use crate::index::encode_row_with_init;
use crate::index::laws::KINDS;
use crate::log::{LogHeader, encode_frame};
use crate::record;
use crate::segment::{Class, SegmentHeader, SegmentId, free_file_name};

fn seeds_folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(target)
}

/// Holds a law to the seeds of a target, each of which it takes, and to so many mutations of them.
#[track_caller]
fn hold(target: &str, law: impl Fn(&[u8]) -> bool, mutations: u32) {
    let entries = fs::read_dir(seeds_folder(target)).expect("the seeds of a target");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("a seed")).collect();
    for (path, seed) in paths.iter().zip(&seeds) {
        assert!(law(seed), "{} is a seed that is taken", path.display());
    }
    let longer = std::env::var("ULTRAMARINE_FUZZ_SECONDS").ok();
    let longer = longer.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let mut dice = Dice(0x6675_7a7a);
    if longer.is_some() {
        dice.0 = std::process::id().into();
    }
    let (began, mut made) = (Instant::now(), 0);
    while made < mutations || longer.is_some_and(|longer| began.elapsed() < longer) {
        let mutant = dice.mutant(&seeds);
        let asked = Instant::now();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| law(&mutant)));
        if outcome.is_err() || asked.elapsed() > Duration::from_secs(30) {
            let path = std::env::temp_dir().join(format!("{target}-{made}.input"));
            fs::write(&path, &mutant).expect("a folder of ours");
            panic!("mutation {made} breaks the law, or takes too long: {}", path.display());
        }
        made += 1;
    }
}

/// Repeatable randomness (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }

    /// A few changes of one of the seeds.
    fn mutant(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.roll(seeds.len())].clone();
        for _ in 0..=self.roll(4) {
            // Most of what decides stands in front.
            let near = if self.roll(3) == 0 {
                bytes.len()
            } else {
                bytes.len().min(160)
            };
            let at = self.roll(near);
            match self.roll(7) {
                0 | 1 => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.roll(8);
                    }
                }
                2 => {
                    let value = [0, 1, 0x7f, 0x80, 0xff, self.roll(256) as u8][self.roll(6)];
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = value;
                    }
                }
                3 => {
                    let value = [0, u64::MAX, 1 << 63, 4096, self.roll(usize::MAX) as u64][self.roll(5)];
                    let length = [2, 4, 8][self.roll(3)];
                    if let Some(there) = bytes.get_mut(at..at + length) {
                        there.copy_from_slice(&value.to_le_bytes()[..length]);
                    }
                }
                4 => bytes.truncate(at),
                5 => {
                    let other = &seeds[self.roll(seeds.len())];
                    let from = self.roll(other.len());
                    let length = self.roll(64);
                    let piece: Vec<u8> = other[from..].iter().take(length).copied().collect();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let end = (at + self.roll(16)).min(bytes.len());
                    drop(bytes.drain(at.min(end)..end));
                }
            }
        }
        bytes
    }
}

#[test]
fn a_record_is_refused_or_one_that_can_be_written() {
    hold("store_record", laws::record, 20_000);
}

#[test]
fn a_segments_header_is_refused_or_one_that_can_be_written() {
    hold("store_segment_header", laws::segment_header, 50_000);
}

#[test]
fn a_log_is_refused_or_one_that_can_be_written() {
    hold("store_log", laws::log_file, 20_000);
}

#[test]
fn a_scan_ends_and_finds_records_in_order() {
    hold("store_scan", laws::segment_scan, 5_000);
}

#[test]
fn a_row_of_the_index_is_refused_or_one_that_can_be_written() {
    hold("store_rows", laws::index_row, 50_000);
}

#[test]
fn a_name_is_refused_or_the_only_one_of_its_file() {
    hold("store_names", laws::file_name, 50_000);
}

#[test]
fn any_directory_opens_or_says_why_not() {
    // Memory, where there is any: a directory is written afresh for each input.
    let memory = PathBuf::from("/dev/shm");
    let folder = tempfile::tempdir_in(if memory.is_dir() { memory } else { std::env::temp_dir() });
    let folder = folder.expect("a folder");
    let image = Image::new(&folder.path().join("image"));
    assert!(image.open(&[]), "without a change it opens");
    // A refusal is as good an answer.
    let law = |bytes: &[u8]| {
        image.open(bytes);
        true
    };
    hold("store_open", law, 150);
}

/// Writes the seeds anew, as a change of the format needs it:
/// `cargo test --release -p ultramarine-store write_the_seeds -- --ignored`.
#[test]
#[ignore = "writes into fuzz/seeds"]
fn write_the_seeds() {
    let write = |target: &str, seeds: Vec<Vec<u8>>| {
        let folder = seeds_folder(target);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder of the tree");
        for (number, seed) in seeds.into_iter().enumerate() {
            fs::write(folder.join(format!("{number:02}")), seed).expect("a folder of the tree");
        }
    };
    let record = |height: u64, blobs: u8, payload_bytes, content, sequence| {
        let value = value_with(height, height as u8, blobs, payload_bytes);
        let mut encoded = record::encode(&value, Tag::Streamed, content).expect("within every limit");
        encoded.stamp(LINEAGE, sequence);
        encoded.parts().collect::<Vec<_>>().concat()
    };
    use record::RecordContent::{Moved, NeverHeld, Whole};
    // Its blobs are zeros, which the law puts there.
    let mut with_blobs = record(9, 2, 500, Whole, 0);
    with_blobs.truncate(4096);
    let records = vec![
        record(7, 0, 0, Whole, 0),
        of_version_2(&record(7, 0, 0, Whole, 0)),
        record(8, 3, 3000, Moved, 4),
        record(8, 1, 100, NeverHeld, 1),
        with_blobs,
    ];
    write("store_record", records);

    let header = |class, capacity_bytes| {
        let id = SegmentId(LINEAGE.generation);
        SegmentHeader {
            class,
            id,
            salt: LINEAGE.salt,
            capacity_bytes,
            chain: CHAIN,
        }
        .encode()
    };
    let headers = [header(Class::Values, 32 << 20), header(Class::Payloads, 0)];
    write("store_segment_header", headers.map(|page| page[..100].to_vec()).into());

    let epoch = LogEpoch {
        height: Height(8),
        generation: LINEAGE.generation,
    };
    let log = |frames: &[&[&[u8]]]| {
        let mut file = LogHeader {
            epoch,
            salt: LINEAGE.salt,
            chain: CHAIN,
        }
        .encode();
        for (sequence, records) in (0..).zip(frames) {
            let records: Vec<Bytes> = records.iter().map(|record| Bytes::copy_from_slice(record)).collect();
            file.extend(encode_frame(LINEAGE, sequence, &records));
        }
        file
    };
    let logs = vec![
        log(&[&[b"a vote"]]),
        log(&[&[b"a vote", b""], &[&[7; 5000]], &[b"last"]]),
    ];
    write("store_log", logs);

    let scan = |offset: u64, sequence: u64, head: u8, records: &[Vec<u8>]| {
        let mut image = vec![head];
        image.extend(offset.to_le_bytes());
        image.extend(sequence.to_le_bytes());
        image.extend([0; 4096]);
        image.extend(records.concat());
        image
    };
    let (one, two) = (record(5, 0, 10, Whole, 0), record(6, 1, 5000, NeverHeld, 1));
    let images = vec![
        scan(4096, 0, 0, &[one.clone(), two.clone()]),
        scan(4096 + whole_pages(one.len() as u64), 1, 5, &[one.clone(), two.clone()]),
        scan(4096, 0, 4, &[one, vec![0; 4096], two]),
    ];
    write("store_scan", images);

    let mut rows: Vec<Vec<u8>> = (0..KINDS)
        .flat_map(|kind| {
            let value = value(7, 7, 1);
            let rows = crate::index::laws::samples(kind, &certificate(&value), &value.init, &two_votes(7));
            rows.into_iter().map(move |row| [vec![kind], row].concat())
        })
        .collect();
    // As version 2 wrote it.
    let older = value(7, 7, 1);
    let older = encode_row_with_init(&certificate(&older), &older.init);
    rows.push([vec![3], older].concat());
    write("store_rows", rows);

    let id = SegmentId(0xdead_beef);
    let names = [
        Class::Values.file_name(id),
        Class::Payloads.file_name(id),
        free_file_name(SegmentId(7)),
    ];
    write("store_names", names.map(String::into_bytes).into());

    let locations = |height: u8| vec![0, 8, 2, 9, height, 0, 0, 9, 1, 9, 1, 9, 2, 9, 0];
    let changes = vec![
        // Nothing; a byte of a payload; a file that is cut; a twin; a record's byte with its checksums; a row.
        vec![0, 0],
        vec![5, 0, 0, 18, 0, 1, 0xee],
        vec![6, 1, 0, 64, 0],
        vec![5, 3, 9, 40, 0, 0],
        vec![5, 7, 0, 32, 0, 9],
        locations(3),
    ];
    write("store_open", changes);
}
