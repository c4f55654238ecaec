//! This part of the store's contract knows what a store holds, in numbers: heights and bytes by state, and its files.

use super::BlobState;

/// Heights in one state, and what their records take on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StateTally {
    pub heights: u64,
    /// Whole records: payload, lists, and blobs where they are here.
    pub bytes: u64,
}

impl StateTally {
    pub const fn add(&mut self, bytes: u64) {
        self.heights += 1;
        self.bytes += bytes;
    }

    /// Takes away what was added before.
    pub const fn remove(&mut self, bytes: u64) {
        self.heights = self.heights.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// One tally a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StateTallies {
    undecided: StateTally,
    decided: StateTally,
    archived: StateTally,
    pruned: StateTally,
    never_held: StateTally,
    damaged: StateTally,
}

impl StateTallies {
    pub const fn of(&self, state: BlobState) -> StateTally {
        match state {
            BlobState::Undecided => self.undecided,
            BlobState::Decided => self.decided,
            BlobState::Archived => self.archived,
            BlobState::Pruned => self.pruned,
            BlobState::NeverHeld => self.never_held,
            BlobState::Damaged => self.damaged,
        }
    }

    pub const fn of_mut(&mut self, state: BlobState) -> &mut StateTally {
        match state {
            BlobState::Undecided => &mut self.undecided,
            BlobState::Decided => &mut self.decided,
            BlobState::Archived => &mut self.archived,
            BlobState::Pruned => &mut self.pruned,
            BlobState::NeverHeld => &mut self.never_held,
            BlobState::Damaged => &mut self.damaged,
        }
    }

    /// Every state with its tally, in the order of [`BlobState::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (BlobState, StateTally)> {
        BlobState::ALL.into_iter().map(|state| (state, self.of(state)))
    }

    /// Bytes of all records that are named: by the index, or as undecided values.
    pub fn live_bytes(&self) -> u64 {
        self.iter().map(|(_, tally)| tally.bytes).sum()
    }
}

/// What the files of a store occupy on disk, by kind, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileBytes {
    /// Segments of values.
    pub values: u64,
    /// Segments of payloads that were moved.
    pub payloads: u64,
    /// Files that wait to be used again.
    pub free: u64,
    pub index: u64,
    /// The files of the consensus log.
    pub log: u64,
    /// What is held for a full disk.
    pub reserve: u64,
}

/// What a store holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreAccount {
    pub states: StateTallies,
    pub files: FileBytes,
    /// Bytes in segments that nothing names: dropped values, and what moved elsewhere.
    pub dead_bytes: u64,
    /// Bytes of segments that are retired, and stay for their readers.
    pub leased_bytes: u64,
    /// Segments in use.
    pub segments: u64,
}

/// How far the background check of what is stored has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScrubProgress {
    /// The height checked last in the pass under way.
    pub height: u64,
    /// Bytes read since the start.
    pub bytes: u64,
    /// Passes finished since the start.
    pub passes: u64,
    /// Unix seconds of the end of the last pass; `None` before the first has ended.
    pub last_pass: Option<u64>,
    /// What was found wrong since the start.
    pub found: u64,
}
