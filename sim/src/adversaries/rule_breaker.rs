//! A proposer of values that break a block rule, each signed and streamed as it should be: nobody may vote for one.

use std::collections::BTreeSet;

use ultramarine_types::network::OfferKind;
use ultramarine_types::{Assembly, ConsensusMessage, Hash, Height, ValueId, ValueKey};

use super::forge::{forge, rename};
use super::swap::Swaps;
use super::{Adversary, Means};
use crate::blobs;
use crate::wire::SimFrame;

/// See the file's words.
#[derive(Default)]
pub struct RuleBreaker {
    /// The broken value in place of the good one.
    broken: Swaps,
    /// Values left as they are.
    kept: BTreeSet<ValueKey>,
}

impl RuleBreaker {
    fn broken(&mut self, means: &mut Means<'_>, key: ValueKey) -> Option<Assembly> {
        if let Some(assembly) = self.broken.forged(&key) {
            return Some(assembly.clone());
        }
        let original = means.own(&key)?;
        if self.kept.contains(&key) {
            return None;
        }
        if means.dice.chance(300) {
            self.kept.insert(key);
            return None;
        }
        let (count, random) = (original.blobs.len(), means.dice.hash());
        // A block without blobs has no commitment to break.
        let rule = means.dice.below(if count == 0 { 9 } else { 13 });
        let salt = 0xbad0_0000 | key.height.0 << 32 | rule as u64;
        let forged = forge(means, &original, salt, count, |metadata, blobs| {
            let header = &mut metadata.header;
            match rule {
                // One blob more than the block says.
                0 | 1 => header.blob_gas_used += 131_072,
                // Surely not later than the parent's.
                2 => header.timestamp = crate::block::GENESIS_SECONDS,
                3 => header.timestamp += 3600,
                4 => header.withdrawals_root = random,
                5 => header.state_root = random,
                6 => metadata.parent_blob_root = random,
                7 => header.prev_randao = Hash::ZERO,
                8 => {
                    header.requests_hash = if header.requests_hash.is_some() {
                        None
                    } else {
                        Some(random)
                    }
                }
                _ => {
                    if let Some((commitment, _)) = blobs.last_mut() {
                        *commitment = blobs::malformed(*commitment);
                    }
                }
            }
        });
        means.count("rule-breach");
        self.broken.put(key, forged.clone());
        Some(forged)
    }

    fn other_id(&mut self, means: &mut Means<'_>, height: Height, id: ValueId) -> Option<ValueId> {
        self.broken(means, ValueKey { height, id })
            .map(|assembly| assembly.key.id)
    }
}

impl Adversary for RuleBreaker {
    fn outgoing(&mut self, means: &mut Means<'_>, _to: usize, frame: SimFrame) -> Vec<SimFrame> {
        match frame {
            SimFrame::Begin {
                stream,
                init,
                kind: OfferKind::Proposal,
                certificate,
                answers,
            } => {
                let key = init.key();
                let init = match self.broken(means, key) {
                    None => init,
                    Some(forged) => {
                        self.broken.begin(stream, key);
                        if !forged.init.metadata.commitments.iter().all(blobs::is_well_formed) {
                            means.count("malformed-commitment");
                        }
                        forged.init
                    }
                };
                vec![SimFrame::Begin {
                    stream,
                    init,
                    kind: OfferKind::Proposal,
                    certificate,
                    answers,
                }]
            }
            SimFrame::Message(ConsensusMessage::Proposal(mut proposal)) if proposal.proposer == means.address => {
                if let Some(id) = self.other_id(means, proposal.height, proposal.value_id) {
                    rename(means, &mut proposal, id);
                }
                vec![SimFrame::Message(ConsensusMessage::Proposal(proposal))]
            }
            other => self.broken.outgoing(other),
        }
    }

    fn forget(&mut self, below: Height) {
        self.broken.forget(below);
        self.kept.retain(|key| key.height > below);
    }
}
