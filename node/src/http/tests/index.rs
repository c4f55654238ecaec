//! Claims about the index of recent blobs and roots.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::*;

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
