//! This file knows what is asked of the store, what it answers, and what it brings back after a crash.

use std::cmp::Ordering;
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::assembly::Assembly;
use crate::consensus::CommitCertificate;
use crate::evidence::{Evidence, FalseValue};
use crate::ids::{Address, Hash, Height, Lsn, ValueKey};
use crate::lists::Lists;
use crate::value::Init;

mod account;

pub use account::{FileBytes, ScrubProgress, StateTallies, StateTally, StoreAccount};

/// How a value came to be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Tag {
    Proposed,
    /// It was streamed to us as a proposal.
    Streamed,
    /// It came with, or was asked for because of, a verified commit certificate.
    Certified,
    /// It is decided already, and its bytes are brought back: they were damaged, pruned or never held.
    Restored,
}

/// One epoch of the consensus log: all records of one height. The generation counts log files ever begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct LogEpoch {
    /// The height whose records it holds.
    pub height: Height,
    /// Strictly increasing over the life of the data directory.
    pub generation: u64,
}

/// Whether a decided height's blobs are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Blobs {
    Held,
    /// Retention ended and they were freed.
    Pruned,
    /// The height was synced as metadata only.
    NeverHeld,
}

/// What is held of a height's blobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum BlobState {
    /// Values of the height are stored, and none of them is decided yet.
    Undecided,
    /// Decided, and here.
    Decided,
    /// Pruned here, and in the archive.
    Archived,
    /// Pruned here, and in no archive of this node.
    Pruned,
    /// The height was synced as metadata only.
    NeverHeld,
    /// They should be here, and a checksum or a failed read says otherwise. They are fetched again.
    Damaged,
}

impl BlobState {
    pub const ALL: [Self; 6] = [
        Self::Undecided,
        Self::Decided,
        Self::Archived,
        Self::Pruned,
        Self::NeverHeld,
        Self::Damaged,
    ];

    /// Name in metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::Decided => "decided",
            Self::Archived => "archived",
            Self::Pruned => "pruned",
            Self::NeverHeld => "never_held",
            Self::Damaged => "damaged",
        }
    }
}

/// What became of a height's blobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlobStatus {
    pub height: Height,
    pub state: BlobState,
    /// Unix seconds of the change to this state; `None` where it is not recorded.
    pub since: Option<u64>,
    /// Blobs that the decided value commits to; of an undecided height, those of all its values.
    pub blobs_count: u64,
    /// What the height's records take on disk here: payload, lists, and blobs where they are here.
    pub bytes: u64,
}

/// A decision to make durable in one transaction, with the promotion and the drop of the height's other values.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The certificate (layer 1).
    pub certificate: CommitCertificate,
    /// Metadata and origin signatures.
    pub init: Arc<Init>,
    /// `Held`, or `NeverHeld` for a metadata-only package.
    pub blobs: Blobs,
}

/// A decided height as the index has it.
#[derive(Clone, Debug)]
pub struct Decided {
    pub certificate: CommitCertificate,
    /// Metadata and origin signatures.
    pub init: Arc<Init>,
    /// Whether the blobs are here.
    pub blobs: Blobs,
}

/// What is known of a decided height without reading its value, so also where that is damaged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecidedEntry {
    pub certificate: CommitCertificate,
    /// Whether the blobs are here.
    pub blobs: Blobs,
    /// The execution block's.
    pub block_hash: Hash,
    /// The block's time in unix seconds.
    pub timestamp: u64,
    /// Blobs that its metadata names.
    pub blobs_count: u32,
}

impl DecidedEntry {
    pub const fn key(&self) -> ValueKey {
        ValueKey {
            height: self.certificate.height,
            id: self.certificate.value_id,
        }
    }
}

/// A decided height with all that is kept for ever.
#[derive(Clone, Debug)]
pub struct DecidedPayload {
    pub decided: Decided,
    /// The lists that the metadata binds.
    pub lists: Arc<Lists>,
    /// The execution payload's canonical bytes; see [`crate::execution`].
    pub payload: Bytes,
}

/// What the store is asked to do. Requests of one link are carried out in order.
#[derive(Clone, Debug)]
pub enum StoreRequest {
    /// Append payload and blobs to the segment and make them durable; answers `Stored`. Storing a key twice writes
    /// nothing, and answers with the `Init` and the blobs that are stored. With the tag `Restored` it is a decided
    /// height's value, written anew: the index names the new place.
    Put {
        /// The value; its proofs are verified already.
        assembly: Assembly,
        /// Where it came from. `Certified` outlives `drop of other values` only through its commit.
        tag: Tag,
    },
    /// A decided height is about to be put as `Restored`, and this certificate, which was verified, vouches for its
    /// value. If the index cannot read its own row of the height, it is written anew from it. No answer.
    Vouch(Box<CommitCertificate>),
    /// Append a record to the current log epoch. No answer; `LogSync` makes it durable.
    LogAppend {
        /// Position, one above the position of the last append of this process.
        lsn: Lsn,
        /// Opaque to the store.
        record: Bytes,
    },
    /// Make every record up to `lsn` durable; answers `LogDurable`.
    LogSync {
        /// Position of the newest record to cover.
        lsn: Lsn,
    },
    /// Begin the log of a height: durable mark first, then the new log file; answers `EpochBegun`.
    BeginEpoch {
        /// The height after the committed head.
        height: Height,
    },
    /// Commit a decision; answers `Committed`. Its value must be stored.
    Commit(Box<Decision>),
    /// Read a decided height's metadata, lists and payload (no blobs); answers `Loaded`.
    Load { height: Height },
    /// Keep what convicts validators, durably; what is kept already is kept once. Answers `EvidenceTaken`.
    Evidence(Vec<Evidence>),
    /// Remember, whatever becomes of the log, that nothing is signed up to a height; answers `Silenced`. It never
    /// falls.
    Silence {
        /// The last height at which nothing is signed.
        through: Height,
    },
    /// Free blobs of decided heights below this one; answers `Retired`, at once. What an archive has not got yet stays.
    Retire {
        /// First height whose blobs stay.
        blobs_below: Height,
    },
    /// Remember that the archive has every height up to this one, read back and verified. It never falls. No answer.
    Archived { through: Height },
}

/// What the store answers.
#[derive(Clone, Debug)]
pub enum StoreReply {
    /// Payload and blobs are durable.
    Stored {
        key: ValueKey,
        init: Arc<Init>,
        lists: Arc<Lists>,
        /// Its payload, from memory or the map.
        payload: Bytes,
        tag: Tag,
        /// `NeverHeld` if the assembly had no blobs for its commitments.
        blobs: Blobs,
    },
    /// The value was not stored: there was no room, or it is not the one decided. Nothing else failed.
    Refused {
        key: ValueKey,
        /// What an operator should read.
        reason: String,
    },
    /// Every record up to here is durable.
    LogDurable {
        /// Position of the newest record covered.
        lsn: Lsn,
    },
    /// The mark is durable and the epoch's file is open.
    EpochBegun(LogEpoch),
    /// The decision is durable and all other values of the height are gone from the index.
    Committed { height: Height },
    /// A decided height, or `None` if it is not decided here.
    Loaded {
        /// The height asked for.
        height: Height,
        value: Option<DecidedPayload>,
    },
    /// The silence is durable.
    Silenced { through: Height },
    /// All evidence is durable, or some waits in memory until there is room for it.
    EvidenceTaken { is_durable: bool },
    /// Retention went this far.
    Retired {
        /// First height whose blobs are still here.
        blobs_below: Height,
    },
    /// A decided height is damaged: what is here of it is not served until it is put again as `Restored`.
    Damaged { height: Height },
    /// The disk failed: sign nothing more and stop with this reason.
    Failed {
        /// What failed, where, and what to do.
        reason: String,
    },
}

/// State of the log found at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogCondition {
    /// Every record is whole; at most a torn tail was cut off.
    Whole,
    /// A damaged record with a whole one of the same generation behind it: inactive at that height.
    Corrupt,
    /// The mark is present but no file of its generation: inactive at that height.
    Missing,
}

/// The newest log epoch, as found at start.
#[derive(Clone, Debug)]
pub struct RecoveredLog {
    /// From the durable mark.
    pub epoch: LogEpoch,
    /// Whether its records can be trusted.
    pub condition: LogCondition,
    /// Records in order, as appended (empty unless `Whole`).
    pub records: Vec<Bytes>,
}

/// Everything the node knows of itself after opening its data directory.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The newest decided height, if any.
    pub head: Option<Decided>,
    /// The newest log epoch, if one was ever begun.
    pub log: Option<RecoveredLog>,
    /// Whole values above the head whose bytes were found intact and made durable.
    pub undecided: Vec<(Assembly, Tag)>,
    /// Oldest height whose blobs are here.
    pub oldest_blobs: Height,
    /// Nothing is signed up to this height, whatever the log says.
    pub silent_through: Height,
    /// Up to this height that is so because the index was rebuilt.
    pub rebuilt_through: Height,
}

/// Why the source has no blobs for a decided height.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absent {
    /// Not decided here, or no such value.
    Unknown,
    /// Retention ended; the oldest height still available.
    Pruned {
        /// Oldest height with blobs.
        oldest: Height,
    },
    /// Synced as metadata only.
    NeverHeld,
    /// The index says it is here and reading it failed: an alarm, never an empty answer.
    Damaged,
}

/// Read access to stored values from any core, without visiting the storage core.
///
/// Blob bytes come as slices of mapped segments (or of memory while hot), each holding a lease on its segment.
pub trait Source: Send + Sync + fmt::Debug {
    /// The newest decided height; [`Height::GENESIS`] before the first.
    fn head(&self) -> Height;
    /// Oldest height whose blobs are here.
    fn oldest_blobs(&self) -> Height;
    /// A decided height with its `Init`; `None` also where that is damaged.
    fn decided(&self, height: Height) -> Option<Decided>;
    /// Index entry of a decided height: what needs neither metadata nor signatures asks for this, which is quicker.
    fn entry(&self, height: Height) -> Option<DecidedEntry> {
        let decided = self.decided(height)?;
        let metadata = &decided.init.metadata;
        Some(DecidedEntry {
            block_hash: metadata.header.block_hash,
            timestamp: metadata.header.timestamp,
            blobs_count: metadata.blobs_count,
            certificate: decided.certificate,
            blobs: decided.blobs,
        })
    }
    /// The decided height of an execution block, if decided here.
    fn height_of_block(&self, block_hash: &Hash) -> Option<Height>;
    /// The decided height whose block has exactly this timestamp. Timestamps rise with the height, so a search by
    /// halves finds it.
    fn height_at(&self, timestamp: u64) -> Option<Height> {
        let (mut from, mut to) = (Height::GENESIS.next(), self.head());
        while from <= to {
            let middle = from.0 + (to.0 - from.0) / 2;
            // A damaged row is passed over.
            let probe = (middle..=to.0).find_map(|height| Some((height, self.entry(Height(height))?)));
            let found = probe.map(|(height, entry)| (height, entry.timestamp.cmp(&timestamp)));
            match found {
                Some((height, Ordering::Equal)) => return Some(Height(height)),
                Some((height, Ordering::Less)) => from = Height(height).next(),
                // The lowest height is 1, so there is one below.
                Some((_, Ordering::Greater)) | None => to = Height(middle - 1),
            }
        }
        None
    }
    /// A whole value, decided or not, with its blobs.
    fn value(&self, key: &ValueKey) -> Result<Assembly, Absent>;
    /// A decided value with its blobs; `Ok` with no blobs only if it has no commitments.
    fn decided_value(&self, height: Height) -> Result<(Decided, Assembly), Absent>;
    /// A decided height's lists and payload, whatever became of its blobs.
    fn decided_payload(&self, height: Height) -> Option<DecidedPayload>;
    /// One blob of a value, decided or not; `Unknown` beyond the last. Of what is not in memory, only that blob is read
    /// and checked.
    fn blob(&self, key: &ValueKey, index: usize) -> Result<Bytes, Absent> {
        self.value(key)?.blobs.get(index).cloned().ok_or(Absent::Unknown)
    }
    /// What became of a height's blobs; `None` if nothing of the height was ever stored.
    fn blob_status(&self, height: Height) -> Option<BlobStatus> {
        let entry = self.entry(height)?;
        let state = match entry.blobs {
            Blobs::Held => BlobState::Decided,
            Blobs::Pruned => BlobState::Pruned,
            Blobs::NeverHeld => BlobState::NeverHeld,
        };
        Some(BlobStatus {
            height,
            state,
            since: None,
            blobs_count: u64::from(entry.blobs_count),
            bytes: 0,
        })
    }
    /// What is held, in numbers; `None` from a source that keeps no account.
    fn account(&self) -> Option<StoreAccount> {
        None
    }
    /// How far the background check has come; `None` without one.
    fn scrub_progress(&self) -> Option<ScrubProgress> {
        None
    }
    /// Why there is too little room on the disk, and what to do; `None` while there is enough.
    fn shortage(&self) -> Option<String> {
        None
    }
    /// Up to this height the archive has everything; [`Height::GENESIS`] without an archive.
    fn archived_through(&self) -> Height {
        Height::GENESIS
    }
    /// Whether the archive has a height with its blobs. Those that were pruned before there was an archive are not in
    /// it.
    fn is_archived(&self, height: Height) -> bool {
        height > Height::GENESIS && height <= self.archived_through()
    }
    /// Decided heights that are damaged and not restored yet, lowest first.
    fn damaged(&self) -> Vec<Height> {
        Vec::new()
    }
    /// Whether a decided height is damaged and not restored yet: no blob of it is served.
    fn is_damaged(&self, height: Height) -> bool {
        self.damaged().contains(&height)
    }
    /// Hands evidence of the heights from `from` to `to`, both included, to `each`, in order of height, until it
    /// breaks.
    /// One piece at a time is in memory: a false value has up to 320 KB.
    fn evidence(&self, _from: Height, _to: Height, _each: &mut dyn FnMut(Evidence) -> ControlFlow<()>) {}
    /// The false value of a validator at a height that is kept as evidence, if there is one.
    fn false_value(&self, _validator: &Address, _height: Height) -> Option<FalseValue> {
        None
    }
    /// Where a held value's bytes lie on disk, for a reader that brings them into the page cache before the map is
    /// touched. `None` while they are in memory anyway, or if there is no such file. A hint: the file may be gone.
    fn on_disk(&self, _key: &ValueKey) -> Option<OnDisk> {
        None
    }
}

/// A range of a file. If it has a value's blobs, they are its end, one behind the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OnDisk {
    pub path: PathBuf,
    /// Where the range begins, in bytes from the start.
    pub offset: u64,
    /// Length of the range.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::ids::{Hash, Round, ValueId};

    /// Decided heights from 1 on, with these timestamps; the row of one with 0 is damaged.
    #[derive(Debug)]
    struct Times(Vec<u64>);

    impl Source for Times {
        fn head(&self) -> Height {
            Height(self.0.len() as u64)
        }

        fn oldest_blobs(&self) -> Height {
            Height(1)
        }

        fn decided(&self, height: Height) -> Option<Decided> {
            let mut metadata = fixtures::metadata(height.0, &[], &Lists::default());
            let index = usize::try_from(height.0.checked_sub(1)?).ok()?;
            metadata.header.timestamp = *self.0.get(index).filter(|timestamp| **timestamp > 0)?;
            Some(Decided {
                certificate: CommitCertificate {
                    height,
                    round: Round(0),
                    value_id: ValueId::ZERO,
                    signatures: Vec::new(),
                },
                init: Arc::new(fixtures::unsigned(metadata)),
                blobs: Blobs::Held,
            })
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

        fn decided_payload(&self, _height: Height) -> Option<DecidedPayload> {
            None
        }
    }

    #[test]
    fn a_height_is_found_by_its_blocks_time_and_by_no_other() {
        for length in 0..20 {
            // Every third second has a block.
            let chain = Times((1..=length).map(|height| 3 * height).collect());
            for timestamp in 0..=3 * length + 4 {
                let expected =
                    (timestamp > 0 && timestamp % 3 == 0 && timestamp <= 3 * length).then_some(Height(timestamp / 3));
                assert_eq!(chain.height_at(timestamp), expected, "{timestamp} of {length} heights");
            }
            assert_eq!(chain.height_at(u64::MAX), None);
        }
    }

    #[test]
    fn a_damaged_row_hides_its_own_height_and_no_other() {
        for damaged in 1..=20u64 {
            let time = |height: u64| if height == damaged { 0 } else { 3 * height };
            let chain = Times((1..=20).map(time).collect());
            for height in 1..=20 {
                let expected = (height != damaged).then_some(Height(height));
                assert_eq!(chain.height_at(3 * height), expected, "{damaged} is damaged");
            }
        }
    }
}
