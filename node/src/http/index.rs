//! This file knows where recent blobs are by versioned hash, and recent blocks by header root, within a bound.
//!
//! It fills itself from the store when it is asked, in order of height, so it is whole after a restart too. What falls
//! out at its far end can still be found by slot or by execution block hash, for which the store knows every height.
//!
//! Keeps: the newest heights are covered, and no more of them, nor of their blobs, than the bounds below.

use std::collections::{HashMap, VecDeque};

use ultramarine_types::canonical::sha256;
use ultramarine_types::limits::BLOBS_PER_BLOCK_MAX;
use ultramarine_types::sidecar::{self, BeaconBlockHeader};
use ultramarine_types::storage::Source;
use ultramarine_types::{Hash, Height, KzgCommitment};

/// Heights covered: about four and a half hours of one-second blocks.
const HEIGHTS_MAX: u64 = 16_384;
/// Blobs covered; at some 100 bytes each, 13 MB.
const BLOBS_MAX: usize = 131_072;

// One block always fits, so that the newest height is covered.
const _: () = assert!(BLOBS_PER_BLOCK_MAX as usize <= BLOBS_MAX);

/// The first byte of a versioned hash: `VERSIONED_HASH_VERSION_KZG` (EIP-4844).
const VERSION_KZG: u8 = 1;

/// The versioned hash of a commitment (EIP-4844).
pub fn versioned_hash(commitment: &KzgCommitment) -> Hash {
    let mut hash = sha256(&commitment.0);
    hash.0[0] = VERSION_KZG;
    hash
}

/// Where a blob is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlobPosition {
    /// Height of its block.
    pub height: Height,
    /// Slot of its block.
    pub slot: u64,
    /// Position in the block.
    pub index: usize,
}

/// The index, which covers the newest heights alone.
#[derive(Debug)]
pub struct BlobIndex {
    /// The chain's, from which its headers' slots count.
    genesis_time: u64,
    /// Newest height taken in.
    newest: Height,
    /// One entry a height, oldest first.
    heights: VecDeque<Entry>,
    blobs: HashMap<Hash, BlobPosition>,
    roots: HashMap<Hash, Height>,
}

#[derive(Debug)]
struct Entry {
    height: Height,
    root: Hash,
    hashes: Vec<Hash>,
}

/// What the store's index says of a height.
struct Found {
    height: Height,
    header: BeaconBlockHeader,
    blobs_count: usize,
}

impl BlobIndex {
    /// An index that covers nothing yet.
    pub fn new(genesis_time: u64) -> Self {
        Self {
            genesis_time,
            newest: Height::GENESIS,
            heights: VecDeque::new(),
            blobs: HashMap::new(),
            roots: HashMap::new(),
        }
    }

    /// Takes in what was decided since the last call.
    pub fn catch_up(&mut self, source: &dyn Source) {
        let head = source.head();
        let from = self.newest.next().max(Height(head.0.saturating_sub(HEIGHTS_MAX - 1)));
        // Backwards, so that no lists are read that would fall out again: they lie beside the payloads.
        let (mut found, mut blobs_count) = (Vec::new(), 0);
        for height in (from.0..=head.0).rev() {
            let Some(decided) = source.decided(Height(height)) else {
                continue;
            };
            let metadata = &decided.init.metadata;
            blobs_count += metadata.blobs_count as usize;
            if blobs_count > BLOBS_MAX && !found.is_empty() {
                self.heights.clear();
                self.blobs.clear();
                self.roots.clear();
                break;
            }
            found.push(Found {
                height: Height(height),
                header: sidecar::header(metadata, self.genesis_time),
                blobs_count: metadata.blobs_count as usize,
            });
        }
        for found in found.iter().rev() {
            let value = (found.blobs_count > 0)
                .then(|| source.decided_payload(found.height))
                .flatten();
            let commitments = value.map(|value| value.lists.commitments.clone()).unwrap_or_default();
            self.insert(found, &commitments);
        }
        self.newest = head.max(self.newest);
    }

    fn insert(&mut self, found: &Found, commitments: &[KzgCommitment]) {
        let (height, slot, root) = (found.height, found.header.slot, found.header.root());
        let hashes: Vec<Hash> = commitments.iter().map(versioned_hash).collect();
        self.roots.insert(root, height);
        for (index, hash) in hashes.iter().enumerate() {
            // If the same content is published again, we keep its newest position, which is pruned last.
            self.blobs.insert(*hash, BlobPosition { height, slot, index });
        }
        self.heights.push_back(Entry { height, root, hashes });
        while self.heights.len() as u64 > HEIGHTS_MAX || (self.blobs.len() > BLOBS_MAX && self.heights.len() > 1) {
            self.drop_oldest();
        }
        self.check();
    }

    fn check(&self) {
        assert!(
            self.heights.len() as u64 <= HEIGHTS_MAX,
            "the index covers a bounded number of heights"
        );
        assert!(
            self.blobs.len() <= BLOBS_MAX,
            "the index covers a bounded number of blobs"
        );
        assert!(
            self.roots.len() <= self.heights.len(),
            "a root belongs to a height that is covered"
        );
    }

    fn drop_oldest(&mut self) {
        let Some(entry) = self.heights.pop_front() else { return };
        self.roots.remove(&entry.root);
        for hash in &entry.hashes {
            if self
                .blobs
                .get(hash)
                .is_some_and(|position| position.height == entry.height)
            {
                self.blobs.remove(hash);
            }
        }
    }

    /// The oldest and the newest height covered.
    pub fn span(&self) -> (Height, Height) {
        let oldest = self.heights.front().map_or(self.newest, |entry| entry.height);
        (oldest, self.newest)
    }

    /// Where a blob is, if a recent block has it.
    pub fn blob(&self, versioned_hash: &Hash) -> Option<BlobPosition> {
        self.blobs.get(versioned_hash).copied()
    }

    /// The height of a recent block, by the root of its sidecar header.
    pub fn height_of_root(&self, root: &Hash) -> Option<Height> {
        self.roots.get(root).copied()
    }
}
