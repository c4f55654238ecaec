//! Claims about the index of recent blobs and roots.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::http::index::{BlobIndex, BlobPosition};

/// Takes in all that may be covered.
fn fill(index: &mut BlobIndex, memory: &Memory) {
    while let Some(step) = index.next_step(memory.head()) {
        index.take(step.read(memory, GENESIS_TIME));
    }
}

#[test]
fn the_index_of_blobs_keeps_up_with_the_chain() {
    let mut index = BlobIndex::default();
    // At once, one by one, by more than a step, and not at all.
    for heights in [3, 4, 5, 9, 140, 141, 300, 300] {
        let memory = Memory::chain(heights);
        fill(&mut index, &memory);
        assert_eq!(index.span(), (Height(1), Height(heights)));
        for height in 1..=heights {
            for (at, commitment) in memory.commitments(height).iter().enumerate() {
                let position = index.blob(&versioned_hash(commitment)).expect("it is recent");
                // Heights that are sixteen apart have the same blobs.
                let newest = heights - (heights - height) % 16;
                assert_eq!(
                    (position.height, position.slot, position.index),
                    (Height(newest), slot(newest), at)
                );
            }
            let root = sidecar::header(&memory.blocks[&height].0.init.metadata, GENESIS_TIME).root();
            assert_eq!(index.height_of_root(&root), Some(Height(height)));
        }
    }
}

/// How long a source waits for leave. Then it goes on, so that a test that fails ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// A source that counts the heights that are read, and waits for leave below one of them.
#[derive(Debug)]
struct Slow {
    memory: Memory,
    reads: AtomicUsize,
    gate: Height,
    is_open: Mutex<bool>,
    news: Condvar,
}

impl Slow {
    fn open(&self) {
        *self.is_open.lock().expect("no panic") = true;
        self.news.notify_all();
    }
}

impl Source for Slow {
    fn head(&self) -> Height {
        self.memory.head()
    }

    fn oldest_blobs(&self) -> Height {
        self.memory.oldest_blobs()
    }

    fn decided(&self, height: Height) -> Option<Decided> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if height < self.gate {
            let is_open = self.is_open.lock().expect("no panic");
            let waited = self.news.wait_timeout_while(is_open, PATIENCE, |is_open| !*is_open);
            *waited.expect("no panic").0 = true;
        }
        self.memory.decided(height)
    }

    fn height_of_block(&self, block_hash: &Hash) -> Option<Height> {
        self.memory.height_of_block(block_hash)
    }

    fn value(&self, key: &ValueKey) -> Result<Assembly, Absent> {
        self.memory.value(key)
    }

    fn decided_value(&self, height: Height) -> Result<(Decided, Assembly), Absent> {
        self.memory.decided_value(height)
    }

    fn decided_payload(&self, height: Height) -> Option<DecidedPayload> {
        self.memory.decided_payload(height)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_for_an_old_blob_reads_no_more_than_it_must_and_makes_no_other_wait() {
    const HEIGHTS: u64 = 299;
    let memory = Memory::chain(HEIGHTS);
    let newest = versioned_hash(&memory.commitments(HEIGHTS)[0]);
    let slow = Arc::new(Slow {
        memory,
        reads: AtomicUsize::new(0),
        gate: Height(150),
        is_open: Mutex::new(false),
        news: Condvar::new(),
    });
    let mut state = state(1);
    state.source = Arc::clone(&slow) as Arc<dyn Source>;
    let recent = format!("/ultramarine/v1/blobs/{newest}");
    assert_eq!(ask(&state, &recent).await.0, StatusCode::OK);
    let reads = slow.reads.load(Ordering::SeqCst);
    assert!(reads <= 64, "{reads} heights were read for the newest blob");
    // One that nobody has takes all heights, and the store is slow.
    let other = state.clone();
    let unknown = format!("/ultramarine/v1/blobs/{}", Hash([7; 32]));
    let search = tokio::spawn(async move { ask(&other, &unknown).await.0 });
    while slow.reads.load(Ordering::SeqCst) <= 150 {
        assert!(!search.is_finished());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let began = Instant::now();
    assert_eq!(ask(&state, &recent).await.0, StatusCode::OK);
    assert!(began.elapsed() < PATIENCE / 2, "it does not wait");
    assert!(!search.is_finished(), "the search waits for the store");
    slow.open();
    assert_eq!(search.await.expect("no panic"), StatusCode::NOT_FOUND);
    assert_eq!(slow.reads.load(Ordering::SeqCst), HEIGHTS as usize, "each height once");
}

/// A long chain that has no blob's bytes. The blobs of a height are those of sixteen thousand heights before.
#[derive(Debug)]
struct Long {
    heights: u64,
    blobs: usize,
}

const REPEATED: u64 = 16_000;

impl Long {
    fn commitments(&self, height: u64) -> Vec<KzgCommitment> {
        let commitment = |index: usize| {
            let mut commitment = [0; 48];
            commitment[..8].copy_from_slice(&(height % REPEATED).to_le_bytes());
            commitment[8..16].copy_from_slice(&index.to_le_bytes());
            KzgCommitment(commitment)
        };
        (0..self.blobs).map(commitment).collect()
    }

    fn lists(&self, height: u64) -> Lists {
        Lists {
            commitments: self.commitments(height),
            ..Lists::default()
        }
    }

    fn decided(&self, height: u64) -> Decided {
        let mut metadata = fixtures::metadata(height, &[], &self.lists(height));
        metadata.header.timestamp = GENESIS_TIME + slot(height);
        let init = Arc::new(fixtures::unsigned(metadata));
        Decided {
            certificate: CommitCertificate {
                height: Height(height),
                round: Round(0),
                value_id: init.key().id,
                signatures: Vec::new(),
            },
            init,
            blobs: Blobs::Pruned,
        }
    }

    fn root(&self, height: u64) -> Hash {
        sidecar::header(&self.decided(height).init.metadata, GENESIS_TIME).root()
    }

    /// Takes in all that may be covered, and returns what is.
    fn fill(&self, index: &mut BlobIndex) -> (u64, u64) {
        while let Some(step) = index.next_step(self.head()) {
            index.take(step.read(self, GENESIS_TIME));
        }
        let (oldest, newest) = index.span();
        (oldest.0, newest.0)
    }

    /// Whether the index has a height's root, and each of its blobs at this height.
    fn is_covered(&self, index: &BlobIndex, height: u64) -> bool {
        let of_root = index.height_of_root(&self.root(height));
        let position = |commitment| index.blob(&versioned_hash(commitment));
        let at = |position: BlobPosition| (position.height.0, position.slot, position.index);
        let found: Vec<_> = self
            .commitments(height)
            .iter()
            .map(position)
            .map(|found| found.map(at))
            .collect();
        let expected: Vec<_> = (0..self.blobs)
            .map(|index| Some((height, slot(height), index)))
            .collect();
        assert!(of_root.is_none_or(|of_root| of_root.0 == height));
        assert_eq!(of_root.is_some(), found == expected, "height {height}: {found:?}");
        of_root.is_some()
    }
}

impl Source for Long {
    fn head(&self) -> Height {
        Height(self.heights)
    }

    fn oldest_blobs(&self) -> Height {
        self.head().next()
    }

    fn decided(&self, height: Height) -> Option<Decided> {
        (1..=self.heights).contains(&height.0).then(|| self.decided(height.0))
    }

    fn height_of_block(&self, _block_hash: &Hash) -> Option<Height> {
        None
    }

    fn value(&self, _key: &ValueKey) -> Result<Assembly, Absent> {
        Err(Absent::Unknown)
    }

    fn decided_value(&self, _height: Height) -> Result<(Decided, Assembly), Absent> {
        Err(Absent::Unknown)
    }

    fn decided_payload(&self, height: Height) -> Option<DecidedPayload> {
        Some(DecidedPayload {
            decided: Source::decided(self, height)?,
            lists: Arc::new(self.lists(height.0)),
            payload: Bytes::new(),
        })
    }
}

/// The bounds as README.md states them.
const COVERED_HEIGHTS: u64 = 16_384;
const COVERED_BLOBS: u64 = 131_072;

#[test]
fn the_newest_heights_are_covered_and_no_more_of_them_than_the_bound() {
    let mut index = BlobIndex::default();
    // At once; by one; by a few steps; by more than all that is covered.
    for heights in [17_000, 17_001, 17_200, 40_000] {
        let chain = Long { heights, blobs: 1 };
        let lowest = heights - COVERED_HEIGHTS + 1;
        assert_eq!(chain.fill(&mut index), (lowest, heights));
        assert!([lowest - 1, 1].iter().all(|height| !chain.is_covered(&index, *height)));
        // Its blob is published again higher up.
        assert!(index.height_of_root(&chain.root(lowest)).is_some());
        for height in [lowest - 1 + REPEATED, heights - REPEATED + 1, heights - 1, heights] {
            assert!(chain.is_covered(&index, height), "{height} of {heights}");
        }
    }
}

#[test]
fn the_newest_blobs_are_covered_and_no_more_of_them_than_the_bound() {
    let blobs = 4000;
    let full = COVERED_BLOBS / blobs;
    // From the newest down, and from the oldest up.
    for begun in [50, 10] {
        let mut index = BlobIndex::default();
        for heights in [begun, 50, 51, 80] {
            let blobs = usize::try_from(blobs).expect("few");
            let chain = Long { heights, blobs };
            let lowest = heights.saturating_sub(full) + 1;
            assert_eq!(chain.fill(&mut index), (lowest, heights));
            assert!((1..=heights).all(|height| chain.is_covered(&index, height) == (height >= lowest)));
        }
    }
}

#[test]
fn a_blob_that_a_block_has_twice_is_found_at_its_last_place_whichever_way_it_is_read() {
    let mut memory = Memory::chain(7);
    let (_, assembly) = memory.blocks.get_mut(&7).expect("three blobs");
    let mut lists = assembly.lists.as_ref().clone();
    lists.commitments[1] = lists.commitments[0];
    assembly.lists = lists.into();
    let hash = versioned_hash(&memory.commitments(7)[0]);
    let (mut down, mut up) = (BlobIndex::default(), BlobIndex::default());
    fill(&mut down, &memory);
    fill(&mut up, &Memory::chain(6));
    fill(&mut up, &memory);
    for index in [down, up] {
        let position = index.blob(&hash).expect("it is recent");
        assert_eq!((position.height, position.index), (Height(7), 1));
    }
}
