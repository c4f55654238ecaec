//! A proposer of values that break a block rule, each signed and streamed as it should be: nobody may vote for one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use ultramarine_types::{Assembly, ConsensusMessage, Hash, Height, KzgProof, ValueId, ValueKey, sign};

use super::forge::{forge, swap};
use super::{Adversary, Means};
use crate::blobs;
use crate::wire::{SimFrame, StreamId};

/// Ways to break a rule that are no matter of proofs; one of them counts twice.
const RULES: usize = 9;
const MALFORMED: usize = RULES;
const FALSE_PROOF: usize = RULES + 1;
/// Own values in a thousand that are left as they are.
const KEPT: u32 = 150;
/// Of a thousand values with blobs, those that their own proofs refute.
const FALSE: u32 = 700;
/// Of a thousand of those, the ones of which each peer gets another.
const ONE_EACH: u32 = 700;

/// What becomes of an own value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Plan {
    Kept,
    /// All peers get the same broken value.
    OneForAll,
    /// Each peer gets its own, refuted by its own proofs.
    OneEach,
}

/// A value of its own, and the peer that gets another in place of it; `None`: all of them.
type Place = (ValueKey, Option<usize>);

/// See the file's words.
#[derive(Default)]
pub struct RuleBreaker {
    plans: BTreeMap<ValueKey, Plan>,
    /// The broken value in place of the good one.
    broken: BTreeMap<Place, Assembly>,
    swapped: BTreeMap<StreamId, Place>,
}

impl RuleBreaker {
    fn plan(&mut self, means: &mut Means<'_>, key: ValueKey, has_blobs: bool) -> Plan {
        let dice = &mut *means.dice;
        *self.plans.entry(key).or_insert_with(|| match dice.chance(KEPT) {
            true => Plan::Kept,
            false if has_blobs && dice.chance(FALSE) && dice.chance(ONE_EACH) => Plan::OneEach,
            false => Plan::OneForAll,
        })
    }

    fn broken(&mut self, means: &mut Means<'_>, key: ValueKey, to: usize) -> Option<(Place, &Assembly)> {
        let original = means.disk.value(&key).ok()?;
        if original.init.metadata.origin_proposer != means.address {
            return None;
        }
        let place = match self.plan(means, key, !original.blobs.is_empty()) {
            Plan::Kept => return None,
            Plan::OneForAll => (key, None),
            Plan::OneEach => (key, Some(to)),
        };
        let forged = match self.broken.entry(place) {
            Entry::Occupied(here) => here.into_mut(),
            Entry::Vacant(_) if means.disk.decided(key.height).is_some() => return None,
            Entry::Vacant(free) => free.insert(break_one(means, &original, place)),
        };
        Some((place, forged))
    }

    fn other_id(&mut self, means: &mut Means<'_>, height: Height, id: ValueId, to: usize) -> Option<ValueId> {
        self.broken(means, ValueKey { height, id }, to)
            .map(|(_, assembly)| assembly.key.id)
    }
}

impl Adversary for RuleBreaker {
    fn outgoing(&mut self, means: &mut Means<'_>, to: usize, frame: SimFrame) -> Vec<SimFrame> {
        match frame {
            SimFrame::Begin { stream, init, answers } => {
                let key = init.key();
                let init = match self.broken(means, key, to) {
                    None => init,
                    Some((place, forged)) => {
                        let init = Arc::clone(&forged.init);
                        self.swapped.insert(stream, place);
                        init
                    }
                };
                vec![SimFrame::Begin { stream, init, answers }]
            }
            SimFrame::List { stream, .. } | SimFrame::Chunk { stream, .. } | SimFrame::Blob { stream, .. } => {
                match self.swapped.get(&stream).and_then(|place| self.broken.get(place)) {
                    None => vec![frame],
                    Some(forged) => swap(frame, forged),
                }
            }
            SimFrame::Message(ConsensusMessage::Proposal(mut proposal)) if proposal.proposer == means.address => {
                if let Some(id) = self.other_id(means, proposal.height, proposal.value_id, to) {
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
        self.plans.retain(|key, _| key.height > below);
        self.broken.retain(|(key, _), _| key.height > below);
        self.swapped.retain(|_, (key, _)| key.height > below);
    }
}

/// A block that breaks one rule, or that its own proofs refute.
fn break_one(means: &mut Means<'_>, original: &Assembly, (key, to): Place) -> Assembly {
    let (count, random) = (original.blobs.len(), means.dice.hash());
    // A block without blobs has no commitment and no proof to break.
    let is_false = count > 0 && (to.is_some() || means.dice.chance(FALSE));
    let rule = if is_false {
        RULES + means.dice.below(3)
    } else {
        means.dice.below(RULES)
    };
    let salt = 0xbad0_0000 | key.height.0 << 32 | to.map_or(0, |to| to as u64 + 1) << 8 | rule as u64;
    let forged = forge(means, original, salt, count, |metadata, blobs| {
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
            MALFORMED => {
                if let Some(last) = blobs.last_mut() {
                    last.commitment = blobs::malformed(last.commitment);
                }
            }
            FALSE_PROOF => {
                if let Some(last) = blobs.last_mut() {
                    last.proof = Some(KzgProof(random.0.repeat(2)[..48].try_into().expect("48 bytes")));
                }
            }
            _ => blobs.iter_mut().for_each(|it| it.proof = None),
        }
    });
    if is_false {
        means.count(match rule {
            MALFORMED => "malformed-commitment",
            FALSE_PROOF => "false-proof",
            _ => "no-proofs",
        });
        means.false_values.insert(forged.key.id);
    }
    means.count("rule-breach");
    forged
}
