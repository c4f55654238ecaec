//! This file knows where recent blobs are by versioned hash, and recent blocks by header root, within a bound.
//!
//! It is filled from the store while somebody asks, a step at a time: what was decided since, then ever older heights.
//! So after a start a recent blob is found at once, and nobody waits until all is read. A step is read without the
//! index ([`Step::read`]), and taken in afterwards ([`BlobIndex::take`]). What falls out at the far end can still be
//! found by slot or by execution block hash, for which the store knows every height.
//!
//! Keeps: the newest heights are covered without a gap, and no more of them, nor of their blobs, than the bounds below.

use std::collections::{HashMap, VecDeque};

use ultramarine_types::canonical::sha256;
use ultramarine_types::limits::BLOBS_PER_BLOCK_MAX;
use ultramarine_types::sidecar;
use ultramarine_types::storage::Source;
use ultramarine_types::{Hash, Height, KzgCommitment};

/// Heights covered: about four and a half hours of one-second blocks.
const HEIGHTS_MAX: u64 = 16_384;
/// Blobs covered; at some 100 bytes each, 13 MB.
const BLOBS_MAX: usize = 131_072;

/// Heights read in one step: 64 rows, and lists beside payloads of 16 MiB at most.
const HEIGHTS_PER_STEP: u64 = 64;
/// Blobs after which a step ends.
const BLOBS_PER_STEP: usize = 4096;

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
#[derive(Debug, Default)]
pub struct BlobIndex {
    /// Newest height taken in.
    newest: Height,
    /// Oldest height taken in, or the one above the newest.
    oldest: Height,
    /// The blobs of the height below the oldest do not fit, or did not.
    is_full: bool,
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

/// Heights to read next. They are decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    lowest: Height,
    highest: Height,
    end: End,
}

/// Where a step joins the heights that are covered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Newer,
    Older,
    /// Nothing that is covered is near enough to be kept.
    Anew,
}

/// What a step has read: heights in the order in which they are taken in.
#[derive(Debug)]
pub struct StepRead {
    end: End,
    heights: Vec<(Height, Option<Found>)>,
}

/// What the store says of a height.
#[derive(Debug)]
struct Found {
    slot: u64,
    root: Hash,
    hashes: Vec<Hash>,
}

impl Step {
    /// Reads what it names, or a part of it that is large enough.
    pub fn read(self, source: &dyn Source, genesis_time: u64) -> StepRead {
        let (mut heights, mut blobs_count) = (Vec::new(), 0);
        let up = self.lowest.0..=self.highest.0;
        let order: Vec<u64> = match self.end {
            End::Newer => up.collect(),
            End::Older | End::Anew => up.rev().collect(),
        };
        for height in order.into_iter().map(Height) {
            if blobs_count >= BLOBS_PER_STEP {
                break;
            }
            let found = source.decided(height).map(|decided| {
                let metadata = &decided.init.metadata;
                let header = sidecar::header(metadata, genesis_time);
                // The lists lie beside the payload.
                let payload = (metadata.blobs_count > 0)
                    .then(|| source.decided_payload(height))
                    .flatten();
                let commitments = payload.iter().flat_map(|value| &value.lists.commitments);
                let hashes: Vec<Hash> = commitments.map(versioned_hash).collect();
                blobs_count += hashes.len();
                Found {
                    slot: header.slot,
                    root: header.root(),
                    hashes,
                }
            });
            heights.push((height, found));
        }
        StepRead { end: self.end, heights }
    }
}

impl BlobIndex {
    /// Whether everything that was decided up to `head` is taken in.
    pub fn is_current(&self, head: Height) -> bool {
        self.newest >= head
    }

    /// What to read next; `None` if all is covered that may be.
    pub fn next_step(&self, head: Height) -> Option<Step> {
        if head > self.newest {
            let is_near = self.newest > Height::GENESIS && head.0 - self.newest.0 < HEIGHTS_MAX;
            let (lowest, highest, end) = if is_near {
                let highest = head.0.min(self.newest.0 + HEIGHTS_PER_STEP);
                (self.newest.0 + 1, highest, End::Newer)
            } else {
                (head.0.saturating_sub(HEIGHTS_PER_STEP - 1).max(1), head.0, End::Anew)
            };
            return Some(Step {
                lowest: Height(lowest),
                highest: Height(highest),
                end,
            });
        }
        let lowest = self
            .oldest
            .0
            .saturating_sub(HEIGHTS_PER_STEP)
            .max(self.lowest_covered());
        (!self.is_full && lowest < self.oldest.0).then(|| Step {
            lowest: Height(lowest),
            highest: self.oldest.prev(),
            end: End::Older,
        })
    }

    /// Takes in what was read for the step that was asked for last.
    pub fn take(&mut self, read: StepRead) {
        if read.end == End::Anew
            && let Some((highest, _)) = read.heights.first()
        {
            *self = Self {
                newest: *highest,
                oldest: highest.next(),
                ..Self::default()
            };
        }
        for (height, found) in read.heights {
            let is_taken = match read.end {
                End::Newer => self.take_newer(height, found),
                End::Older | End::Anew => self.take_older(height, found),
            };
            if !is_taken {
                break;
            }
        }
        self.check();
    }

    fn take_newer(&mut self, height: Height, found: Option<Found>) -> bool {
        assert_eq!(height, self.newest.next(), "heights are covered without a gap");
        self.newest = height;
        if let Some(Found { slot, root, hashes }) = found {
            self.roots.insert(root, height);
            for (index, hash) in hashes.iter().enumerate() {
                // If the same content is published again, we keep its newest position, which is pruned last.
                self.blobs.insert(*hash, BlobPosition { height, slot, index });
            }
            self.heights.push_back(Entry { height, root, hashes });
        }
        let lowest = self.lowest_covered();
        while let Some(entry) = self.heights.front() {
            let is_over = self.blobs.len() > BLOBS_MAX && self.heights.len() > 1;
            if entry.height.0 >= lowest && !is_over {
                break;
            }
            self.is_full |= is_over;
            self.drop_oldest();
        }
        self.oldest = self.oldest.max(Height(lowest));
        true
    }

    /// `false` if its blobs do not fit.
    fn take_older(&mut self, height: Height, found: Option<Found>) -> bool {
        assert_eq!(height, self.oldest.prev(), "heights are covered without a gap");
        if let Some(Found { slot, root, hashes }) = found {
            if self.blobs.len() + hashes.len() > BLOBS_MAX && !self.heights.is_empty() {
                self.is_full = true;
                return false;
            }
            self.roots.insert(root, height);
            for (index, hash) in hashes.iter().enumerate().rev() {
                self.blobs.entry(*hash).or_insert(BlobPosition { height, slot, index });
            }
            self.heights.push_front(Entry { height, root, hashes });
        }
        self.oldest = height;
        true
    }

    /// The lowest height that may be covered.
    fn lowest_covered(&self) -> u64 {
        (self.newest.0 + 1).saturating_sub(HEIGHTS_MAX).max(1)
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
        self.oldest = entry.height.next();
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
    pub const fn span(&self) -> (Height, Height) {
        (self.oldest, self.newest)
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
