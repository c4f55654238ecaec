//! This file knows which value we propose in a round: one build, one choice, the same answer ever after.
//!
//! A choice is durable in two places before any peer hears about it. The log says which value was chosen for the
//! round; for a value of our own it says as well that its `Init` was signed, at its origin round. The store has its
//! bytes. If a crash kept only the first, nothing is proposed in that round: another value may not be signed there.
//!
//! A block that was built too late is kept as it is, and nothing of it is signed. It becomes a value in the round that
//! proposes it, which is therefore its origin round. With the round that it was ordered for, its `Init` would be signed
//! for a round long past, and a node that entered the height late might refuse it.
//!
//! Keeps:
//! - a value is wanted, built or kept for the current height alone, and choices are of heights above the head;
//! - a choice is in the log before it is announced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ultramarine_types::execution::Built;
use ultramarine_types::{
    Assembly, Chain, ChainIdentity, Height, Init, Nanos, Round, ValidatorSet, ValueId, ValueKey, ValueMetadata,
    sidecar, sign,
};

use crate::signing::Signer;

/// What we propose in a round, and how far that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    pub id: ValueId,
    /// The choice is on its way to the log, or there.
    pub asked: bool,
    /// The log has the choice.
    pub logged: bool,
    /// Consensus was told, and the bytes are on their way if nobody has them yet.
    pub announced: bool,
}

/// The values that consensus asks us for.
#[derive(Debug, Default)]
pub struct Proposer {
    wanted: Option<(Height, Round)>,
    /// The round for which our client has built what nobody would take.
    spoiled: Option<(Height, Round)>,
    building: Option<(Height, Round, Nanos)>,
    retry_at: Option<Nanos>,
    /// A block that was built too late for its round.
    late: Option<(Height, Box<Built>)>,
    choices: BTreeMap<(Height, Round), Choice>,
    /// Values of ours whose bytes were sent to all in this life.
    streamed: BTreeSet<ValueKey>,
}

impl Proposer {
    /// Consensus wants a value from us.
    pub fn want(&mut self, height: Height, round: Round) {
        self.wanted = Some((height, round));
        self.retry_at = None;
    }

    /// The round a value is wanted for.
    pub fn wanted(&self) -> Option<(Height, Round)> {
        self.wanted
    }

    /// Our client built something for this round that breaks a rule: another one will hardly be better.
    pub fn spoil(&mut self, height: Height, round: Round) {
        self.spoiled = Some((height, round));
    }

    /// Whether a value of ours may still come for this round.
    pub fn may_come(&self, height: Height, round: Round) -> bool {
        self.wanted == Some((height, round)) && self.spoiled != Some((height, round))
    }

    /// No value is wanted any more: the round goes on without ours.
    pub fn give_up(&mut self) {
        self.wanted = None;
        self.retry_at = None;
    }

    /// Whether a build is under way, and since when.
    pub fn building(&self) -> Option<(Height, Round, Nanos)> {
        self.building
    }

    /// A build was asked for.
    pub fn begin(&mut self, height: Height, round: Round, now: Nanos) {
        self.building = Some((height, round, now));
        self.retry_at = None;
    }

    /// The build was answered. Returns since when it ran, if it is the one we wait for.
    pub fn built(&mut self, height: Height, round: Round) -> Option<Nanos> {
        let (building_height, building_round, since) = self.building?;
        if (building_height, building_round) != (height, round) {
            return None;
        }
        self.building = None;
        Some(since)
    }

    /// Keeps a block that came too late for its round. It is as good in our next round at its height. If a client takes
    /// longer than a round, there would be no block otherwise.
    pub fn keep(&mut self, height: Height, built: Box<Built>) {
        self.late = Some((height, built));
    }

    /// Takes the block kept for a height.
    pub fn kept(&mut self, height: Height) -> Option<Box<Built>> {
        self.late.take_if(|(other, _)| *other == height).map(|(_, built)| built)
    }

    pub fn retry(&mut self, at: Nanos) {
        self.retry_at = Some(at);
    }

    /// When to ask for a build again; `None` while no value is wanted, even if a build fails after that.
    pub fn deadline(&self) -> Option<Nanos> {
        self.wanted.and(self.retry_at)
    }

    /// Notes a choice that was made now, or found in the store. The first choice for a round stands. No other block is
    /// waited for.
    pub fn choose(&mut self, height: Height, round: Round, id: ValueId) -> &mut Choice {
        self.retry_at = None;
        self.choices.entry((height, round)).or_insert(Choice {
            id,
            asked: false,
            logged: false,
            announced: false,
        })
    }

    /// Notes a choice that the log has: it comes before anything that was found stored.
    pub fn remember(&mut self, height: Height, round: Round, id: ValueId) {
        let choice = Choice {
            id,
            asked: true,
            logged: true,
            announced: false,
        };
        self.choices.insert((height, round), choice);
    }

    /// What was chosen for a round.
    pub fn chosen(&mut self, height: Height, round: Round) -> Option<&mut Choice> {
        self.choices.get_mut(&(height, round))
    }

    /// Whether the log has a choice of this value, for whatever round.
    pub fn is_logged(&self, key: &ValueKey) -> bool {
        let of_height = self
            .choices
            .range((key.height, Round(0))..(key.height.next(), Round(0)));
        of_height
            .into_iter()
            .any(|(_, choice)| choice.id == key.id && choice.logged)
    }

    /// Notes that a value of ours is being sent to all; `false` if it was before.
    pub fn stream(&mut self, key: ValueKey) -> bool {
        self.streamed.insert(key)
    }

    /// Asserts that a value is wanted, built or kept for the current height alone.
    pub fn check(&self, current: Height) {
        if let Some((height, _)) = self.wanted {
            assert_eq!(height, current, "a value is wanted for another height");
        }
        if let Some((height, ..)) = self.building {
            assert_eq!(height, current, "a block is built for another height");
        }
        if let Some((height, _)) = &self.late {
            assert_eq!(*height, current, "a block is kept for another height");
        }
    }

    /// Asserts that choices are of heights above the head, and that each is in the log before it is announced.
    pub fn check_whole(&self, head: Height) {
        for ((height, round), choice) in &self.choices {
            assert!(*height > head, "a choice outlived its height");
            assert!(
                choice.asked || !choice.logged,
                "the log has a choice that it was not given"
            );
            assert!(
                choice.logged || !choice.announced,
                "the choice for {height}/{round} was announced before it was durable"
            );
        }
        for key in &self.streamed {
            assert!(key.height > head, "{key} is noted as sent after its height");
        }
    }

    /// A height was committed: forgets what was for it.
    pub fn commit(&mut self, height: Height) {
        self.wanted = None;
        self.spoiled = None;
        self.building = None;
        self.retry_at = None;
        self.late = None;
        self.choices.retain(|(other, _), _| *other > height);
        self.streamed.retain(|key| key.height > height);
    }
}

/// What the metadata of our own value is made from, apart from the block.
#[derive(Clone, Copy, Debug)]
pub struct ProposalContext<'a> {
    pub chain: ChainIdentity,
    pub set: &'a ValidatorSet,
    pub height: Height,
    pub round: Round,
}

/// The metadata of a block we built; `None` if we are not a member.
pub fn metadata(context: &ProposalContext<'_>, signer: &Signer, built: &Built) -> Option<ValueMetadata> {
    Some(ValueMetadata {
        chain: context.chain,
        height: context.height,
        origin_proposer: signer.address(),
        origin_proposer_index: context.set.index_of(&signer.address())?,
        origin_round: context.round,
        validator_set_hash: context.set.hash(),
        header: built.header.clone(),
        payload_bytes: u32::try_from(built.payload.len()).ok()?,
        blobs_count: u32::try_from(built.blobs.len()).ok()?,
        roots: built.lists.roots(),
    })
}

/// Signs the `Init` of our own value and puts it together with its bytes. Ask the guard first.
pub fn assemble(chain: &Chain, metadata: ValueMetadata, signer: &Signer, built: Built) -> Assembly {
    let key = ValueKey {
        height: metadata.height,
        id: metadata.id(),
    };
    Assembly {
        key,
        init: Arc::new(sign(chain, signer, key.id, metadata)),
        lists: Arc::new(built.lists),
        payload: built.payload,
        blobs: built.blobs,
    }
}

/// Makes the `Init` of metadata that `id` hashes.
pub(crate) fn sign(chain: &Chain, signer: &Signer, id: ValueId, metadata: ValueMetadata) -> Init {
    let root = sidecar::header(&metadata, chain.params.genesis_time).root();
    Init {
        signature: signer.sign(&sign::init(&chain.identity, &id)),
        header_signature: signer.sign(&sign::sidecar_header(&chain.identity, &root)),
        metadata,
    }
}

#[cfg(test)]
#[path = "proposal/tests.rs"]
mod tests;
