//! A proposer of values that break a block rule, each signed and streamed as it should be: nobody may vote for one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ultramarine_types::network::OfferKind;
use ultramarine_types::{Assembly, ConsensusMessage, Hash, Height, KzgProof, ValueId, ValueKey, sign};

use super::forge::{forge, swap};
use super::{Adversary, Means};
use crate::blobs;
use crate::wire::{SimFrame, StreamId};

/// See the file's words.
#[derive(Default)]
pub struct RuleBreaker {
    /// The broken value in place of the good one.
    broken: BTreeMap<ValueKey, Assembly>,
    /// Values left as they are.
    kept: BTreeSet<ValueKey>,
    swapped: BTreeMap<StreamId, ValueKey>,
}

impl RuleBreaker {
    fn broken(&mut self, means: &mut Means<'_>, key: ValueKey) -> Option<Assembly> {
        if let Some(assembly) = self.broken.get(&key) {
            return Some(assembly.clone());
        }
        let original = means.disk.value(&key).ok()?;
        if original.init.metadata.origin_proposer != means.address
            || means.disk.decided(key.height).is_some()
            || self.kept.contains(&key)
        {
            return None;
        }
        if means.dice.chance(300) {
            self.kept.insert(key);
            return None;
        }
        let (count, random) = (original.blobs.len(), means.dice.hash());
        // A block without blobs has no commitment and no proof to break.
        let rule = means.dice.below(if count == 0 { 9 } else { 15 });
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
                6 => header.parent_beacon_block_root = random,
                7 => header.prev_randao = Hash::ZERO,
                8 => {
                    header.requests_hash = if header.requests_hash.is_some() {
                        None
                    } else {
                        Some(random)
                    }
                }
                9 | 10 => {
                    if let Some(last) = blobs.last_mut() {
                        last.commitment = blobs::malformed(last.commitment);
                    }
                }
                11 | 12 => {
                    if let Some(last) = blobs.last_mut() {
                        last.proof = Some(KzgProof(random.0.repeat(2)[..48].try_into().expect("48 bytes")));
                    }
                }
                _ => blobs.iter_mut().for_each(|it| it.proof = None),
            }
        });
        match rule {
            9 | 10 => means.count("malformed-commitment"),
            11 | 12 => means.count("false-proof"),
            13.. => means.count("no-proofs"),
            _ => {}
        }
        if rule >= 9 {
            means.false_values.insert(forged.key.id);
        }
        means.count("rule-breach");
        self.broken.insert(key, forged.clone());
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
                        self.swapped.insert(stream, key);
                        Arc::clone(&forged.init)
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
            SimFrame::List { stream, .. } | SimFrame::Chunk { stream, .. } | SimFrame::Blob { stream, .. } => {
                match self.swapped.get(&stream).and_then(|key| self.broken.get(key)) {
                    None => vec![frame],
                    Some(forged) => swap(frame, forged),
                }
            }
            SimFrame::Message(ConsensusMessage::Proposal(mut proposal)) if proposal.proposer == means.address => {
                if let Some(id) = self.other_id(means, proposal.height, proposal.value_id) {
                    proposal.value_id = id;
                    let (height, round) = (proposal.height, proposal.round);
                    let bytes = sign::proposal(&means.chain.identity, height, round, &id, proposal.valid_round);
                    proposal.signature = means.sign(&bytes);
                }
                vec![SimFrame::Message(ConsensusMessage::Proposal(proposal))]
            }
            other => vec![other],
        }
    }

    fn forget(&mut self, below: Height) {
        self.broken.retain(|key, _| key.height > below);
        self.kept.retain(|key| key.height > below);
        self.swapped.retain(|_, key| key.height > below);
    }
}
