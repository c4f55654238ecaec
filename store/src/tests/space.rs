//! What a store with retention takes on disk, height by height.
//!
//! The long form, which `.ci/full` runs, is chosen by `ULTRAMARINE_LONG_TESTS=1`.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::Bytes;
use ultramarine_runtime::Registry;
use ultramarine_runtime::medium::{Medium, MediumFile, Pwrite, PwriteFile, ready};
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::{Blobs, LogCondition, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Assembly, Height, KzgCommitment, KzgProof, Lists};

use super::support::*;
use crate::format::PAGE_BYTES;
use crate::journal::{LOG_FILE_BYTES, LOG_FILES_COUNT, log_path};
use crate::record::{self, RecordContent};
use crate::reserve::occupied_bytes;
use crate::{OpenStore, StoreOptions, View, Writer, open};

const RETENTION: u64 = 50;
/// Heights after the commit that ends a height's keeping by which its blobs are freed.
const FREED_WITHIN: u64 = 10;
const SEGMENTS: u64 = 3;

/// A disk that leaves out blobs, which are zero here. Files are preallocated, so they occupy what they would.
struct Dry(Pwrite);

struct DryFile(PwriteFile);

impl Medium for Dry {
    type File = DryFile;

    fn name(&self) -> &'static str {
        "dry"
    }

    async fn open(&self, path: &Path) -> io::Result<DryFile> {
        Ok(DryFile(self.0.open(path).await?))
    }
}

impl MediumFile for DryFile {
    type Buffer = <PwriteFile as MediumFile>::Buffer;

    async fn buffer(&self, bytes: usize) -> Self::Buffer {
        self.0.buffer(bytes).await
    }

    async fn write(&self, at: u64, buffer: Self::Buffer) -> io::Result<()> {
        if buffer.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        self.0.write(at, buffer).await
    }

    async fn sync(&self) -> io::Result<()> {
        self.0.sync().await
    }

    async fn read(&self, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
        self.0.read(at, bytes).await
    }
}

/// A chain's life on one disk.
struct Life<'a, M: Medium> {
    writer: Writer<M>,
    view: std::sync::Arc<View>,
    folder: &'a Path,
    class_bytes: u64,
    /// Payload, blobs and lists of blocks with so many blobs.
    made: HashMap<u32, (Vec<Bytes>, Lists)>,
    payload: Bytes,
    /// What the last heights take with their blobs, and all others without them.
    records: Vec<(u64, u64)>,
}

impl<'a, M: Medium> Life<'a, M> {
    fn begin(folder: &'a Path, medium: M, blobs_per_block: u32) -> Self {
        let options = StoreOptions {
            hot_bytes: 0,
            retention: Some(RETENTION),
            ..StoreOptions::new(Limits { blobs_per_block }, CHAIN, Registry::new())
        };
        let OpenStore { state, view, .. } = open(folder, &options).expect("it opens");
        Self {
            writer: Writer::new(medium, state),
            view,
            folder,
            class_bytes: options.segment_bytes,
            made: HashMap::new(),
            payload: Bytes::from(vec![3; 5000]),
            records: Vec::new(),
        }
    }

    fn block(&mut self, height: u64, blobs_count: u32) -> Assembly {
        let payload = self.payload.clone();
        let (blobs, lists) = self.made.entry(blobs_count).or_insert_with(|| {
            let blobs = vec![Bytes::from(vec![0; BLOB_BYTES]); blobs_count as usize];
            let committed = (0..).map(|index: u32| KzgCommitment([index as u8; 48]));
            let proofs = vec![KzgProof([1; 48]); blobs.len()];
            let lists = Lists::of(&payload, blobs.iter().map(|blob| &blob[..]).zip(committed), proofs);
            (blobs, lists)
        });
        assemble(height, 1, payload, blobs.clone(), lists.clone())
    }

    fn ask(&mut self, request: StoreRequest) {
        let mut replies = Vec::new();
        ready(async {
            self.writer.handle(request, &mut replies).await?;
            self.writer.flush(&mut replies).await
        })
        .expect("the store does not fail");
        assert!(!matches!(replies[..], [StoreReply::Refused { .. }]), "{replies:?}");
    }

    /// Decides a block, retires as the core does, and lets the files thread catch up. What it moves waits for the next
    /// height's commit.
    fn decide(&mut self, height: u64, blobs_count: u32) {
        let block = self.block(height, blobs_count);
        let bytes = |content| {
            let mut kept = block.clone();
            if content == RecordContent::Moved {
                kept.blobs.clear();
            }
            let encoded = record::encode(&kept, Tag::Certified, content).expect("it is a record");
            encoded.record_bytes()
        };
        let without_blobs = bytes(if blobs_count == 0 {
            RecordContent::Whole
        } else {
            RecordContent::Moved
        });
        self.records.push((bytes(RecordContent::Whole), without_blobs));
        self.ask(StoreRequest::Put {
            assembly: block.clone(),
            tag: Tag::Streamed,
        });
        self.ask(commit(&block, Blobs::Held));
        self.ask(StoreRequest::Retire {
            blobs_below: Height((height + 1).saturating_sub(RETENTION)),
        });
        self.writer.wait_for_files().expect("the store does not fail");
    }

    /// Compares what the segments occupy with what is retained, and what the heights say. What they occupy, and may.
    #[track_caller]
    fn check(&self, height: u64) -> (u64, u64) {
        let kept_from = (height + 1).saturating_sub(RETENTION).max(1);
        let retained: u64 = (1..)
            .zip(&self.records)
            .map(|(at, (whole, without))| if at < kept_from { without } else { whole })
            .sum();
        let files = std::fs::read_dir(self.folder.join("segments"))
            .expect("the folder")
            .count() as u64;
        // Of each file its header, and a page of the file system's own where it lies in pieces.
        let most = retained + SEGMENTS * self.class_bytes + files * 2 * PAGE_BYTES;
        let occupied = occupied(self.folder, "");
        assert!(
            occupied <= most,
            "height {height}: {occupied} bytes of {retained} retained, {} too many",
            occupied - most
        );
        if let Some(freed) = kept_from.checked_sub(FREED_WITHIN).filter(|freed| *freed > 0) {
            let decided = self.view.decided(Height(freed)).expect("decided");
            let had_blobs = decided.init.metadata.blobs_count > 0;
            assert_eq!(decided.blobs == Blobs::Pruned, had_blobs, "height {freed} at {height}");
        }
        let oldest = self.view.oldest_blobs();
        assert!(
            oldest.0 <= kept_from,
            "height {height}: {oldest} is the oldest with blobs"
        );
        (occupied, most)
    }
}

/// Blocks of a chain that is now busy and now idle, and always a few in between.
fn mixed(height: u64, blobs_max: u32) -> u32 {
    let dice = (height.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % 100;
    match (height / 40 % 3, dice) {
        (0, 0..80) | (1, 0..10) | (2, 0..50) => blobs_max,
        (0, 80..90) | (1, 10..20) | (2, 50..75) => blobs_max / 2 + 1,
        _ => 0,
    }
}

fn bounded<M: Medium>(medium: M, blobs_max: u32, heights: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut life = Life::begin(folder.path(), medium, blobs_max);
    let (mut fullest, mut nearest) = ((0, 0), (0, 1));
    for height in 1..=heights {
        life.decide(height, mixed(height, blobs_max));
        let found = life.check(height);
        fullest = fullest.max(found);
        let is_nearer = |(occupied, most): (u64, u64), than: (u64, u64)| {
            u128::from(occupied) * u128::from(than.1) > u128::from(than.0) * u128::from(most)
        };
        if is_nearer(found, nearest) {
            nearest = found;
        }
    }
    let megabytes = |(occupied, most): (u64, u64)| format!("{} of {} MB", occupied / 1_000_000, most / 1_000_000);
    println!(
        "{blobs_max} blobs, {heights} heights: segments take {} at most, and {} where they are nearest to the bound",
        megabytes(fullest),
        megabytes(nearest)
    );
    for height in 1..=heights {
        let kept = life.view.decided_payload(Height(height)).expect("for ever (I1)");
        assert_eq!(kept.payload, life.payload);
    }
}

fn is_long() -> bool {
    std::env::var_os("ULTRAMARINE_LONG_TESTS").is_some()
}

#[test]
fn disk_follows_what_is_retained_at_6_blobs() {
    bounded(Pwrite::new(None), 6, 1000);
}

#[test]
fn disk_follows_what_is_retained_at_48_blobs() {
    bounded(Pwrite::new(None), 48, if is_long() { 1000 } else { 150 });
}

#[test]
fn disk_follows_what_is_retained_at_128_blobs() {
    if is_long() {
        bounded(Pwrite::new(None), 128, 1000);
    } else {
        bounded(Dry(Pwrite::new(None)), 128, 400);
    }
}

#[test]
fn disk_follows_what_is_retained_at_1024_blobs() {
    bounded(Dry(Pwrite::new(None)), 1024, if is_long() { 1000 } else { 90 });
}

#[test]
fn log_files_come_back_to_their_size_after_a_long_height() {
    for synced in 0..4 {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path());
        let files_bytes = || {
            let paths = (0..LOG_FILES_COUNT).map(|number| log_path(folder.path(), number));
            paths
                .map(|path| {
                    let length = std::fs::metadata(&path).expect("a log file").len();
                    (length, occupied_bytes(&path))
                })
                .collect::<Vec<_>>()
        };
        store.begin(1);
        // Heights that peers decided have no epoch here, and leave their files to the next.
        let long = 2 + synced;
        store.grow(1..=long - 1, 0);
        store.begin(long);
        store.log(&[[7; 100_000].as_slice(); 10]);
        assert!(files_bytes().iter().any(|(length, _)| *length > 1_000_000));
        for height in long..long + 3 {
            store.grow(height..=height, 0);
            store.begin(height + 1);
            store.log(&[b"a vote"]);
        }
        for (length, on_disk) in files_bytes() {
            assert_eq!(length, LOG_FILE_BYTES, "after {synced} heights from peers");
            assert!(on_disk <= LOG_FILE_BYTES + PAGE_BYTES, "{on_disk}");
        }
        let log = reopened(store, folder.path()).recovered.log.expect("the log");
        assert_eq!((log.condition, log.records.len()), (LogCondition::Whole, 1));
    }
}

/// Files that are written again are the fast ones: their blocks are there.
#[test]
fn full_blocks_go_into_recycled_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut life = Life::begin(folder.path(), Dry(Pwrite::new(None)), 128);
    let mut files = BTreeSet::new();
    let mut segments = BTreeSet::new();
    for height in 1..=300 {
        life.decide(height, 128);
        life.check(height);
        for entry in std::fs::read_dir(folder.path().join("segments")).expect("the folder") {
            let entry = entry.expect("an entry");
            if entry.file_name().to_string_lossy().starts_with("values") {
                files.insert(entry.metadata().expect("metadata").ino());
                segments.insert(entry.file_name());
            }
        }
    }
    assert!(segments.len() >= 75, "{}", segments.len());
    // Thirteen segments hold fifty blocks of four, beside the growing one and the one made ahead.
    assert!(
        files.len() <= 20,
        "{} files for {} segments",
        files.len(),
        segments.len()
    );
}
