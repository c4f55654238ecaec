//! This file knows what is asked of the verifier and what it answers.

use bytes::Bytes;

use crate::ids::{KzgCommitment, KzgProof, PeerId, ValueKey};
use crate::limits::BLOB_BYTES;

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
    /// The peer that sent the bytes, for budgets and blame; `None` for our own execution client's.
    pub sender: Option<PeerId>,
    /// Which queue it waits in.
    pub urgency: Urgency,
    /// Whether this is the last blob its sender has for now: verdicts about it and those before it are wanted at once.
    pub last: bool,
    /// [`BLOB_BYTES`] bytes: 131,072 of them.
    pub blob: Bytes,
    /// From the value's `Init`.
    pub commitment: KzgCommitment,
    /// Unchanged, as it came from the sender.
    pub proof: KzgProof,
}

/// What the verifier found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    Holds,
    /// All is well-formed and the proof does not hold.
    Wrong,
    /// A field element is not canonical, or a point is no point of the group.
    Malformed(Malformed),
    /// Nothing: its sender also sent [`WRONG_CLAIMS_MAX`] wrong ones, so this one is not tested.
    Unjudged,
}

impl Finding {
    /// Whether the sender of the blob is to blame. A commitment is not its sender's fault: the value's proposer bound
    /// it.
    pub const fn is_senders_fault(&self) -> bool {
        matches!(
            self,
            Self::Wrong | Self::Malformed(Malformed::Blob(_) | Malformed::Proof(_))
        )
    }
}

/// After this many wrong blobs from one peer, its remaining blobs are returned unjudged. The network charges the peer
/// for each, and disconnects it after this many.
pub const WRONG_CLAIMS_MAX: usize = 3;

/// Which input was malformed, and why: the first of them in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, thiserror::Error)]
pub enum Malformed {
    /// The blob is none.
    #[error(transparent)]
    Blob(BlobFlaw),
    /// The commitment is not a compressed point of the subgroup.
    #[error("its commitment {0}")]
    Commitment(PointFlaw),
    /// The proof is not a compressed point of the subgroup.
    #[error("its proof {0}")]
    Proof(PointFlaw),
}

/// Why bytes are no blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, thiserror::Error)]
pub enum BlobFlaw {
    /// The length in bytes, which is not that of a blob.
    #[error("it has {0} bytes and not {whole}", whole = BLOB_BYTES)]
    Length(usize),
    /// The first field element that is not canonical: 0 to 4095.
    #[error("its field element {0} is not below the modulus")]
    Element(u16),
}

/// Why bytes are no point.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, thiserror::Error)]
pub enum PointFlaw {
    /// Its flags contradict each other or its coordinate, or that is not below the field's modulus.
    #[error("is not the encoding of a compressed point")]
    Encoding,
    /// No point has this coordinate.
    #[error("is not on the curve")]
    Curve,
    /// It is on the curve, and of another order.
    #[error("is not in the subgroup")]
    Subgroup,
}

/// The verifier's answer about one blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub key: ValueKey,
    pub index: u16,
    /// The peer that sent the bytes, as in the job.
    pub sender: Option<PeerId>,
    pub finding: Finding,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_malformed_reads_well() {
        let blob = |flaw| Malformed::Blob(flaw).to_string();
        assert_eq!(blob(BlobFlaw::Length(7)), "it has 7 bytes and not 131072");
        assert_eq!(
            blob(BlobFlaw::Element(17)),
            "its field element 17 is not below the modulus"
        );
        assert_eq!(
            Malformed::Commitment(PointFlaw::Encoding).to_string(),
            "its commitment is not the encoding of a compressed point"
        );
        assert_eq!(
            Malformed::Proof(PointFlaw::Subgroup).to_string(),
            "its proof is not in the subgroup"
        );
    }
}
