//! This file knows what is asked of the verifier and what it answers.

use bytes::Bytes;

use crate::ids::{KzgCommitment, KzgProof, PeerId, ValueKey};

/// How urgent a blob is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Urgency {
    /// A proposal of the height being decided, or our own bundle.
    Current,
    /// A decided height being caught up with.
    Sync,
}

/// One blob to verify against its commitment.
#[derive(Clone, Debug)]
pub struct VerifyJob {
    /// The value the blob belongs to.
    pub key: ValueKey,
    /// Its position in the block.
    pub index: u16,
    /// Whose bytes these are, for budgets and blame; `None`: our own execution client's.
    pub sender: Option<PeerId>,
    /// Which queue it waits in.
    pub urgency: Urgency,
    /// Whether this is the last blob its sender has for now: verdicts about it and those before it are wanted at once.
    pub last: bool,
    /// 131,072 bytes.
    pub blob: Bytes,
    /// From the value's `Init`.
    pub commitment: KzgCommitment,
    /// As received.
    pub proof: KzgProof,
}

/// What the verifier found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// The proof holds.
    Holds,
    /// All is well-formed and the proof does not hold.
    Wrong,
    /// A field element is not canonical, or a point is no point of the group.
    Malformed(Malformed),
    /// Nothing: its sender sent [`WRONG_CLAIMS_MAX`] wrong ones besides, so nobody asks about this one.
    Unjudged,
}

impl Finding {
    /// Whether whoever sent the blob is to blame. A commitment was bound by the value's proposer.
    pub const fn is_senders_fault(&self) -> bool {
        matches!(self, Self::Wrong | Self::Malformed(Malformed::Blob | Malformed::Proof))
    }
}

/// So many wrong blobs of one peer are named before what else of it was under inquiry with them, or waits, is given back unjudged.
/// Whoever verifies charges for each, and lets go of a peer after as many.
pub const WRONG_CLAIMS_MAX: usize = 3;

/// Which input was malformed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Malformed {
    /// The blob has the wrong length or a field element not below the modulus.
    Blob,
    /// The commitment is not a compressed point of the subgroup.
    Commitment,
    /// The proof is not a compressed point of the subgroup.
    Proof,
}

/// The verifier's answer about one blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The value.
    pub key: ValueKey,
    /// The blob's position.
    pub index: u16,
    /// Whose bytes they were.
    pub sender: Option<PeerId>,
    /// What was found.
    pub finding: Finding,
}
