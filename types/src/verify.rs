//! This file knows what is asked of the verifier and what it answers.

use bytes::Bytes;

use crate::ids::{Hash, KzgCommitment, KzgProof, PeerId, ValueKey};
use crate::limits::BLOB_BYTES;

/// How urgent a blob is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Urgency {
    /// A proposal of the height being decided, or our own bundle.
    Current,
    /// A decided height being caught up with.
    Sync,
}

/// What a client of the lanes sends them. Requests of one client are taken in order.
#[derive(Clone, Debug)]
pub enum VerifyRequest {
    Job(VerifyJob),
    /// Let go of all that is kept of a value: its client wants no verdict about it now. Its blobs may come again.
    Forget(ValueKey),
}

/// One blob to hash, and to verify with the others of its value. It is answered by a [`Verdict::Part`]. When every
/// position of the value has right bytes, a [`Verdict::Value`] follows.
#[derive(Clone, Debug)]
pub struct VerifyJob {
    /// The value the blob belongs to.
    pub key: ValueKey,
    /// Its position in the block.
    pub index: u16,
    /// How many blobs the value has.
    pub blobs_count: u16,
    /// The peer that sent the bytes; `None` for our own execution client's.
    pub sender: Option<PeerId>,
    /// Which queue it waits in.
    pub urgency: Urgency,
    /// [`BLOB_BYTES`] bytes: 131,072 of them.
    pub blob: Bytes,
    /// From the value's lists, as the next two.
    pub commitment: KzgCommitment,
    pub proof: KzgProof,
    /// What the blob must hash to ([`crate::digest::blob_digest`]). `None` for a bundle of our own client, whose
    /// digests nobody knows yet: whatever it hashes to is right.
    pub digest: Option<Hash>,
}

/// The verifier's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A job's bytes were hashed: one for each job. It says nothing about proofs.
    Part {
        key: ValueKey,
        index: u16,
        /// As in the job.
        sender: Option<PeerId>,
        /// What the bytes hash to.
        digest: Hash,
        /// Whether that is what the job asked for.
        is_right: bool,
    },
    /// All blobs of a value were verified together: one for each value, after its last right part.
    Value { key: ValueKey, outcome: ValueOutcome },
}

/// What the verifier says of a whole value, whose blobs all have the right digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueOutcome {
    /// Every proof holds.
    Holds,
    /// The proof of a blob does not hold. Its digest was computed again, and c-kzg was asked about this blob alone.
    Fails {
        index: u16,
        why: Refutation,
        /// What c-kzg was asked about. The digest does not cover it, so whoever has the lists compares it with theirs.
        proof: KzgProof,
    },
    /// Nothing is known, by a fault of our own: a library's error, or memory that lies. Nobody is to blame.
    Withheld { why: &'static str },
}

/// Why a value's own proof does not hold. Its origin proposer bound both sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, thiserror::Error)]
pub enum Refutation {
    /// All is well-formed and the proof does not hold.
    #[error("its proof does not hold")]
    Wrong,
    /// A field element is not canonical, or a point is no point of the group.
    #[error("{0}")]
    Malformed(Malformed),
}

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
