//! I12 and I5: two nodes never decide different values at one height; and a decided height is never decided anew.

use std::collections::BTreeMap;

use ultramarine_core::certificate::check_commit;
use ultramarine_core::signing::SignatureVerifier;
use ultramarine_types::storage::{Decision, Tag};
use ultramarine_types::{ChainIdentity, Height, ValidatorSet, ValueId, ValueKey};

use super::CheckOutcome;

/// Every decision of every honest node.
#[derive(Default, Debug)]
pub struct Agreement {
    decided: BTreeMap<Height, ValueId>,
    /// Newest height each node was told is durable.
    acknowledged: BTreeMap<usize, Height>,
    /// Blobs in decided blocks.
    pub blobs: u64,
    /// Heights decided above round 0.
    pub rounds_above_zero: u64,
    /// Made with the first certificate. It remembers what holds, as every node commits the same.
    verifier: Option<SignatureVerifier>,
}

impl Agreement {
    /// A node asks its store to commit.
    pub fn commit(&mut self, decision: &Decision, validators: &ValidatorSet, chain: &ChainIdentity) -> CheckOutcome {
        let certificate = &decision.certificate;
        let verifier = self.verifier.get_or_insert_with(|| SignatureVerifier::new(validators));
        if let Err(error) = check_commit(validators, chain, certificate, verifier) {
            return Err((
                "I12",
                format!(
                    "height {} is committed with a bad certificate: {error:?}",
                    certificate.height
                ),
            ));
        }
        match self.decided.get(&certificate.height) {
            None => {
                self.decided.insert(certificate.height, certificate.value_id);
                self.blobs += u64::from(decision.init.metadata.blobs_count);
                self.rounds_above_zero += u64::from(certificate.round.0 > 0);
                Ok(())
            }
            Some(other) if *other == certificate.value_id => Ok(()),
            Some(other) => Err((
                "I12",
                format!(
                    "height {}: {:?} decided, elsewhere {other:?}",
                    certificate.height, certificate.value_id
                ),
            )),
        }
    }

    /// I5: what a node stores as certified is what was decided. I16: so is what it stores again.
    pub fn stored(&self, key: ValueKey, tag: Tag) -> CheckOutcome {
        match self.decided.get(&key.height) {
            Some(decided) if tag == Tag::Certified && *decided != key.id => Err((
                "I5",
                format!("{key} is stored as certified and {decided:?} was decided"),
            )),
            Some(decided) if tag == Tag::Restored && *decided != key.id => {
                Err(("I16", format!("{key} is restored and {decided:?} was decided")))
            }
            _ => Ok(()),
        }
    }

    /// A commit was acknowledged to a node.
    pub fn acknowledge(&mut self, node: usize, height: Height) {
        let newest = self.acknowledged.entry(node).or_default();
        *newest = height.max(*newest);
    }

    /// A wiped disk has no memory to keep.
    pub fn wiped(&mut self, node: usize) {
        self.acknowledged.remove(&node);
    }

    /// What a node finds after a start.
    pub fn recovered(&self, node: usize, head: Height) -> CheckOutcome {
        let newest = self.acknowledged.get(&node).copied().unwrap_or_default();
        if head < newest {
            return Err((
                "durability",
                format!("height {newest} was decided here and the disk ends at {head}"),
            ));
        }
        Ok(())
    }

    /// The value decided at a height.
    pub fn at(&self, height: Height) -> Option<ValueId> {
        self.decided.get(&height).copied()
    }

    /// The newest height decided anywhere.
    pub fn tip(&self) -> Height {
        self.decided.keys().next_back().copied().unwrap_or_default()
    }
}
