//! An equivocating proposer.
//!
//! - It proposes two values in one round: each to half of the peers, now and then both to all.
//! - Its votes contradict each other.
//! - At some heights it floods: proposals of values that nobody has, votes of rounds that nobody is in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ultramarine_types::{Assembly, ConsensusMessage, Height, Proposal, Round, ValueId, ValueKey, Vote, VoteKind, sign};

use super::forge::{forge, swap};
use super::{Adversary, Means};
use crate::wire::{SimFrame, StreamId};

/// Proposals flood every height that this divides.
const PROPOSALS_EVERY: u64 = 4;
/// So do votes: seldom, for peers show its own core the latest of them, which then falls silent there and equivocates
/// no more.
const VOTES_EVERY: u64 = 10;
/// Proposals of one round, and rounds voted in, of a flood: more than all that anybody may keep.
const FLOOD: u32 = 80;

/// See the file's words.
#[derive(Default)]
pub struct Equivocator {
    /// What it tells the odd peers in place of a value of its own.
    second: BTreeMap<ValueKey, Assembly>,
    /// Streams that carry the second value in place of the first.
    swapped: BTreeMap<StreamId, ValueKey>,
    /// Heights at which it votes twice.
    double: BTreeSet<Height>,
    /// Peers whom it has flooded with votes, and of which height.
    flooded: BTreeSet<(Height, usize)>,
    /// The floods of proposals of a height, by round and proof-of-lock round; they are signed once for all peers.
    proposals: BTreeMap<(Height, Round, Option<Round>), Vec<Proposal>>,
    /// The flood of votes of a height.
    votes: BTreeMap<Height, Vec<Vote>>,
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

    /// The same proposal of many values that nobody has.
    fn proposals(&mut self, means: &mut Means<'_>, real: &Proposal) -> Vec<SimFrame> {
        if !real.height.0.is_multiple_of(PROPOSALS_EVERY) {
            return Vec::new();
        }
        means.count("flood");
        let Proposal {
            height,
            round,
            valid_round,
            ..
        } = *real;
        let flood = self.proposals.entry((height, round, valid_round)).or_insert_with(|| {
            let one = |salt: u8| {
                let value_id = ValueId([salt; 32]);
                let bytes = sign::proposal(&means.chain.identity, height, round, &value_id, valid_round);
                Proposal {
                    value_id,
                    signature: means.sign(&bytes),
                    ..real.clone()
                }
            };
            (1..=FLOOD as u8).map(one).collect()
        });
        let frame = |proposal: &Proposal| SimFrame::Message(ConsensusMessage::Proposal(proposal.clone()));
        flood.iter().map(frame).collect()
    }

    /// Votes of many rounds of the height after that of a real one, once for each peer.
    fn votes(&mut self, means: &mut Means<'_>, to: usize, real: &Vote) -> Vec<SimFrame> {
        let height = real.height.next();
        if !height.0.is_multiple_of(VOTES_EVERY) || !self.flooded.insert((height, to)) {
            return Vec::new();
        }
        means.count("flood");
        let flood = self.votes.entry(height).or_insert_with(|| {
            let one = |round| {
                let round = Round(round);
                let bytes = sign::vote(&means.chain.identity, VoteKind::Prevote, height, round, None);
                Vote {
                    kind: VoteKind::Prevote,
                    height,
                    round,
                    value_id: None,
                    signature: means.sign(&bytes),
                    ..real.clone()
                }
            };
            // Round 0 is left for what it really votes.
            (1..=FLOOD).map(one).collect()
        });
        let frame = |vote: &Vote| SimFrame::Message(ConsensusMessage::Vote(vote.clone()));
        flood.iter().map(frame).collect()
    }
}

impl Adversary for Equivocator {
    fn outgoing(&mut self, means: &mut Means<'_>, to: usize, frame: SimFrame) -> Vec<SimFrame> {
        let odd = to % 2 == 1;
        match frame {
            SimFrame::Begin {
                stream,
                init,
                answers: false,
            } if odd => {
                let key = init.key();
                let init = match self.second(means, key) {
                    None => init,
                    Some(forged) => {
                        self.swapped.insert(stream, key);
                        Arc::clone(&forged.init)
                    }
                };
                let answers = false;
                vec![SimFrame::Begin { stream, init, answers }]
            }
            SimFrame::List { stream, .. } | SimFrame::Chunk { stream, .. } | SimFrame::Blob { stream, .. } => {
                match self.swapped.get(&stream).and_then(|key| self.second.get(key)) {
                    None => vec![frame],
                    Some(forged) => swap(frame, forged),
                }
            }
            SimFrame::Message(ConsensusMessage::Proposal(mut proposal)) if proposal.proposer == means.address => {
                let honest = SimFrame::Message(ConsensusMessage::Proposal(proposal.clone()));
                let mut flood = self.proposals(means, &proposal);
                let Some(id) = self.other_id(means, proposal.height, proposal.value_id) else {
                    flood.insert(0, honest);
                    return flood;
                };
                proposal.value_id = id;
                proposal.signature = means.sign(&sign::proposal(
                    &means.chain.identity,
                    proposal.height,
                    proposal.round,
                    &id,
                    proposal.valid_round,
                ));
                let forged = SimFrame::Message(ConsensusMessage::Proposal(proposal));
                let mut frames = match (odd, means.dice.chance(300)) {
                    (_, true) => vec![honest, forged],
                    (true, false) => vec![forged],
                    (false, false) => vec![honest],
                };
                frames.append(&mut flood);
                frames
            }
            SimFrame::Message(ConsensusMessage::Vote(mut vote)) if vote.voter == means.address => {
                let honest = SimFrame::Message(ConsensusMessage::Vote(vote.clone()));
                let mut flood = self.votes(means, to, &vote);
                if !odd {
                    flood.push(honest);
                    return flood;
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
                    flood.push(honest);
                    return flood;
                }
                vote.value_id = other;
                vote.signature = means.sign(&sign::vote(
                    &means.chain.identity,
                    vote.kind,
                    vote.height,
                    vote.round,
                    vote.value_id.as_ref(),
                ));
                if self.double.insert(vote.height) {
                    means.count("conflicting-votes");
                }
                let forged = SimFrame::Message(ConsensusMessage::Vote(vote));
                if means.dice.chance(300) {
                    flood.push(honest);
                }
                flood.push(forged);
                flood
            }
            other => vec![other],
        }
    }

    fn forget(&mut self, below: Height) {
        self.second.retain(|key, _| key.height > below);
        self.swapped.retain(|_, key| key.height > below);
        self.double.retain(|height| *height > below);
        self.flooded.retain(|(height, _)| *height > below);
        self.proposals.retain(|(height, ..), _| *height > below);
        self.votes.retain(|height, _| *height > below);
    }
}
