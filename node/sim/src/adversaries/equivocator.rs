//! An equivocating proposer: two values in one round, each to half of the peers, now and then a third; and votes that
//! contradict each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ultramarine_types::network::OfferKind;
use ultramarine_types::{Assembly, ConsensusMessage, Height, ValueId, ValueKey, sign};

use super::forge::forge;
use super::{Adversary, Means};
use crate::wire::{Frame, StreamId};

/// See the file's words.
#[derive(Default)]
pub struct Equivocator {
    /// What it tells the odd peers in place of a value of its own.
    second: BTreeMap<ValueKey, Assembly>,
    /// Streams that carry the second value in place of the first.
    swapped: BTreeMap<StreamId, ValueKey>,
    /// Heights at which it votes twice.
    double: BTreeSet<Height>,
}

impl Equivocator {
    fn second(&mut self, means: &mut Means<'_>, key: ValueKey) -> Option<Assembly> {
        if let Some(assembly) = self.second.get(&key) {
            return Some(assembly.clone());
        }
        let original = means.disk.value(&key).ok()?;
        if original.init.metadata.origin_proposer != means.address || means.disk.decided(key.height).is_some() {
            return None;
        }
        let salt = 0x5ec0 | key.height.0 << 32 | u64::from(original.init.metadata.origin_round.0) << 24;
        let forged = forge(means, &original, salt, original.blobs.len(), |_, _| {});
        means.count("equivocation");
        self.second.insert(key, forged.clone());
        Some(forged)
    }

    /// The id it names to this peer in place of `id`.
    fn other_id(&mut self, means: &mut Means<'_>, height: Height, id: ValueId) -> Option<ValueId> {
        self.second(means, ValueKey { height, id })
            .map(|assembly| assembly.key.id)
    }
}

impl Adversary for Equivocator {
    fn outgoing(&mut self, means: &mut Means<'_>, to: usize, frame: Frame) -> Vec<Frame> {
        let odd = to % 2 == 1;
        match frame {
            Frame::Begin {
                stream,
                init,
                kind: OfferKind::Proposal,
                certificate,
                answers,
            } if odd && answers.is_none() => {
                let key = init.key();
                match self.second(means, key) {
                    None => vec![Frame::Begin {
                        stream,
                        init,
                        kind: OfferKind::Proposal,
                        certificate,
                        answers,
                    }],
                    Some(forged) => {
                        self.swapped.insert(stream, key);
                        let init = Arc::clone(&forged.init);
                        vec![Frame::Begin {
                            stream,
                            init,
                            kind: OfferKind::Proposal,
                            certificate,
                            answers,
                        }]
                    }
                }
            }
            Frame::Chunk { stream, index, bytes } => {
                match self.swapped.get(&stream).and_then(|key| self.second.get(key)) {
                    None => vec![Frame::Chunk { stream, index, bytes }],
                    // A forged payload is one chunk long.
                    Some(forged) if index == 0 => vec![Frame::Chunk {
                        stream,
                        index,
                        bytes: forged.payload.clone(),
                    }],
                    Some(_) => vec![],
                }
            }
            Frame::Blob { stream, index, part } => {
                match self
                    .swapped
                    .get(&stream)
                    .and_then(|key| self.second.get(key))
                    .and_then(|it| it.blobs.get(index))
                {
                    None => vec![Frame::Blob { stream, index, part }],
                    Some(forged) => vec![Frame::Blob {
                        stream,
                        index,
                        part: forged.clone(),
                    }],
                }
            }
            Frame::Message(ConsensusMessage::Proposal(mut proposal)) if proposal.proposer == means.address => {
                let honest = Frame::Message(ConsensusMessage::Proposal(proposal.clone()));
                let Some(id) = self.other_id(means, proposal.height, proposal.value_id) else {
                    return vec![honest];
                };
                proposal.value_id = id;
                proposal.signature = means.sign(&sign::proposal(
                    means.chain.chain_id,
                    proposal.height,
                    proposal.round,
                    &id,
                    proposal.valid_round,
                ));
                let forged = Frame::Message(ConsensusMessage::Proposal(proposal));
                match (odd, means.dice.chance(300)) {
                    (_, true) => vec![honest, forged],
                    (true, false) => vec![forged],
                    (false, false) => vec![honest],
                }
            }
            Frame::Message(ConsensusMessage::Vote(mut vote)) if vote.voter == means.address => {
                let honest = Frame::Message(ConsensusMessage::Vote(vote.clone()));
                if !odd {
                    return vec![honest];
                }
                let other = match vote.value_id {
                    Some(id) => self.other_id(means, vote.height, id),
                    None => means
                        .disk
                        .undecided()
                        .next_back()
                        .filter(|key| key.height == vote.height)
                        .map(|key| key.id),
                };
                if other == vote.value_id {
                    return vec![honest];
                }
                vote.value_id = other;
                vote.signature = means.sign(&sign::vote(
                    means.chain.chain_id,
                    vote.kind,
                    vote.height,
                    vote.round,
                    vote.value_id.as_ref(),
                ));
                if self.double.insert(vote.height) {
                    means.count("conflicting-votes");
                }
                let forged = Frame::Message(ConsensusMessage::Vote(vote));
                if means.dice.chance(300) {
                    vec![honest, forged]
                } else {
                    vec![forged]
                }
            }
            other => vec![other],
        }
    }

    fn forget(&mut self, below: Height) {
        self.second.retain(|key, _| key.height > below);
        self.swapped.retain(|_, key| key.height > below);
        self.double.retain(|height| *height > below);
    }
}
