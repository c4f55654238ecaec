//! This file knows what convicts a validator: two signed messages of which an honest validator signs at most one, or a
//! signed value whose own proof does not hold.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use crate::consensus::{Proposal, Vote};
use crate::digest::blob_digest;
use crate::ids::{Address, Height, ValueId};
use crate::lists::Lists;
use crate::value::Init;

/// A value that binds a blob to a commitment or a proof that does not hold for it. Its origin proposer signed that.
#[derive(Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct FalseValue {
    /// Signed by the origin proposer.
    pub init: Init,
    pub lists: Lists,
    /// Which blob.
    pub index: u16,
    /// Its bytes, which have the digest that the lists name.
    pub blob: Vec<u8>,
}

impl FalseValue {
    /// Whether the `Init` binds the lists and the lists bind the blob. That the proof does not hold is for a KZG
    /// library to say, and that the signature does for whoever knows the validators.
    pub fn is_bound(&self, proofs_per_blob: u32) -> bool {
        let index = usize::from(self.index);
        let (Some(commitment), Some(digest)) = (self.lists.commitments.get(index), self.lists.digests.get(index))
        else {
            return false;
        };
        self.lists.misfit(&self.init.metadata, proofs_per_blob).is_none()
            && blob_digest(&self.blob, commitment) == *digest
    }
}

impl fmt::Debug for FalseValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FalseValue({}, blob {})", self.init.key(), self.index)
    }
}

/// What convicts a validator, signatures verified. Anybody can check it again: [`crate::sign`] says over which bytes.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub enum Evidence {
    /// Votes of one kind, height and round for different values.
    Votes(Vote, Vote),
    /// Proposals of one height and round that differ.
    Proposals(Proposal, Proposal),
    /// A value that its own blob refutes.
    Value(Box<FalseValue>),
}

impl Evidence {
    /// The height the messages are of.
    pub const fn height(&self) -> Height {
        match self {
            Self::Votes(first, _) => first.height,
            Self::Proposals(first, _) => first.height,
            Self::Value(value) => value.init.metadata.height,
        }
    }

    pub const fn validator(&self) -> Address {
        match self {
            Self::Votes(first, _) => first.voter,
            Self::Proposals(first, _) => first.proposer,
            Self::Value(value) => value.init.metadata.origin_proposer,
        }
    }

    /// Whether the contents convict: two messages of one signer at one step that differ, or a blob that the value
    /// binds. Signatures and the blob's proof are checked apart.
    pub fn is_contradiction(&self, proofs_per_blob: u32) -> bool {
        match self {
            Self::Votes(first, second) => {
                (first.kind, first.height, first.round, first.voter)
                    == (second.kind, second.height, second.round, second.voter)
                    && first.value_id != second.value_id
            }
            Self::Proposals(first, second) => {
                (first.height, first.round, first.proposer) == (second.height, second.round, second.proposer)
                    && (first.value_id, first.valid_round) != (second.value_id, second.valid_round)
            }
            Self::Value(value) => value.is_bound(proofs_per_blob),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |id: Option<ValueId>| id.map_or_else(|| "nil".to_owned(), |id| id.to_string());
        match self {
            Self::Votes(first, second) => write!(
                f,
                "{:?}s in round {} for {} and for {}",
                first.kind,
                first.round,
                named(first.value_id),
                named(second.value_id)
            ),
            Self::Proposals(first, second) => write!(
                f,
                "proposals in round {} of {} (valid round {:?}) and of {} (valid round {:?})",
                first.round, first.value_id, first.valid_round, second.value_id, second.valid_round
            ),
            Self::Value(value) => write!(
                f,
                "value {} of which blob {} refutes the proof",
                value.init.metadata.id(),
                value.index
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::ids::{KzgCommitment, KzgProof};

    fn false_value() -> FalseValue {
        let blobs = [vec![1; 64], vec![2; 64]];
        let bound = blobs.iter().map(|blob| (blob.as_slice(), KzgCommitment([blob[0]; 48])));
        let lists = Lists::of(b"payload", bound, vec![KzgProof::ZERO; 2]);
        FalseValue {
            init: fixtures::unsigned(fixtures::metadata(3, b"payload", &lists)),
            lists,
            index: 1,
            blob: vec![2; 64],
        }
    }

    #[test]
    fn a_false_value_binds_its_lists_and_its_blob() {
        let evidence = Evidence::Value(Box::new(false_value()));
        assert!(evidence.is_contradiction(1));
        assert_eq!((evidence.height(), evidence.validator()), (Height(3), Address::ZERO));
        assert!(
            evidence.to_string().ends_with("of which blob 1 refutes the proof"),
            "{evidence}"
        );
        type Change = fn(&mut FalseValue);
        let changes: [(&str, Change); 6] = [
            ("another blob", |value| value.index = 0),
            ("no such blob", |value| value.index = 2),
            ("other bytes", |value| value.blob.clear()),
            ("another digest", |value| value.lists.digests[1].0[0] ^= 1),
            ("another commitment", |value| value.lists.commitments[0].0[0] ^= 1),
            ("a proof less", |value| value.lists.proofs.truncate(1)),
        ];
        for (what, change) in changes {
            let mut changed = false_value();
            change(&mut changed);
            assert!(!changed.is_bound(1), "{what}");
        }
    }
}
