//! This file knows what lasts as long as one height: a commit replaces it whole, so nothing of it can be forgotten.
//!
//! Keeps:
//! - what is sent again are proposals of the current height, and votes of ours up to it, of a few rounds each;
//! - nothing waits for consensus once an input was handled;
//! - a decision is on its way exactly while the height is committing;
//! - records go to the log only while consensus runs or its decision is on the way;
//! - once consensus has a commit certificate, nothing more is signed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use malachitebft_core_consensus::Input as Told;
use ultramarine_types::storage::Decision;
use ultramarine_types::{Address, ConsensusMessage, Height, Nanos, Proposal, Round, ValueId, ValueKey};

use super::Phase;
use crate::context::Ctx;
use crate::held::ROUNDS_TOLD;
use crate::values;

/// Rounds of which we remember when they began: a value that took longer to arrive says nothing of the next height.
const BEGUN_MAX: usize = 64;

/// What lasts as long as one height.
#[derive(Default)]
pub(super) struct Contest {
    /// Inputs that wait for consensus, which takes one at a time.
    pub(super) inputs: VecDeque<Told<Ctx>>,
    /// Values whose verdicts consensus must hear, each for a round in which a message named it.
    pub(super) refeeds: VecDeque<(ValueKey, Round)>,
    /// Whether the height's records go to the log.
    pub(super) logging: bool,
    /// The records of the log under replay: they are not appended again.
    pub(super) replayed: BTreeSet<Bytes>,
    /// Verified proposals, to send again.
    pub(super) proposals: BTreeMap<(Round, ValueId), Proposal>,
    /// Votes and proposals that consensus published, to send again: ours, and the proposals that we locked on.
    pub(super) published: Vec<ConsensusMessage>,
    /// The rounds of the value that we are locked on, of the newest valid one, and of the newest polka.
    pub(super) marked: BTreeSet<Round>,
    /// When the height began.
    pub(super) began_at: Nanos,
    /// How long round 0 waits for its proposal.
    pub(super) propose: Nanos,
    /// The round that began last.
    pub(super) round: Option<Round>,
    /// When the round began.
    pub(super) round_at: Nanos,
    /// When each of the newest rounds began.
    pub(super) began: BTreeMap<Round, Nanos>,
    /// The values that a quorum held when the round began.
    pub(super) heard: BTreeSet<ValueId>,
    /// In how many rounds a value was proposed, and not decided, that a quorum held when the round began.
    pub(super) failures: BTreeMap<ValueId, u32>,
    /// When the height's first round began, or we asked for our block of it; `None`: it has not begun.
    pub(super) proposed_at: Option<Nanos>,
    /// Since when a peer has claimed to have decided the height.
    pub(super) claimed_since: Option<Nanos>,
    /// Since when it is known that others have.
    pub(super) behind_since: Option<Nanos>,
    /// Whether consensus was given the height's commit certificate, so that it decides by sync.
    pub(super) certificate_fed: bool,
    /// The decision on its way to the store.
    pub(super) decision: Option<Box<Decision>>,
}

impl Contest {
    /// Whether messages of a round mean anything to us, while we are in round `now`.
    pub(super) fn knows(&self, round: Round, now: Round) -> bool {
        !values::is_past(round, now) || self.marked.contains(&round)
    }

    /// The lowest round whose messages mean anything to us.
    pub(super) fn oldest_known(&self, now: Round) -> Round {
        let recent = Round(now.0.saturating_sub(values::ROUNDS_KEPT));
        self.marked.first().map_or(recent, |marked| recent.min(*marked))
    }

    /// Whether messages of a round help anybody, while we are in round `now`. A certificate carries a peer that is
    /// further behind to our round. What a later round may rest on are the marked ones.
    pub(super) fn tells(&self, round: Round, now: Round) -> bool {
        round.0.saturating_add(ROUNDS_TOLD) > now.0 || self.marked.contains(&round)
    }

    /// We ask for our block, in the round that began last.
    pub(super) fn build(&mut self, now: Nanos) {
        if self.began.len() == 1 {
            self.proposed_at = Some(now);
        }
    }

    /// Since when the height was under way here before it was decided; `None`: it came decided. It did so if a
    /// certificate came without a proposal, or if all that decides was here when its first round began.
    pub(super) fn under_way_since(&self, decided: &ValueId, now: Nanos) -> Option<Nanos> {
        let since = self.proposed_at.filter(|since| *since < now)?;
        (!self.came_certified(decided)).then_some(since)
    }

    /// Whether the height was decided by a certificate that came without a proposal. Its signers may have signed it
    /// long before.
    pub(super) fn came_certified(&self, decided: &ValueId) -> bool {
        self.certificate_fed && !self.proposals.keys().any(|(_, id)| id == decided)
    }

    /// A round begins: what nobody is told any more is dropped.
    pub(super) fn begin(&mut self, round: Round, now: Nanos, marked: BTreeSet<Round>) {
        self.marked = marked;
        let mut proposals = std::mem::take(&mut self.proposals);
        proposals.retain(|(of, _), _| self.knows(*of, round));
        self.proposals = proposals;
        let mut published = std::mem::take(&mut self.published);
        published.retain(|message| self.tells(message.round(), round));
        self.published = published;
        self.round = Some(round);
        self.round_at = now;
        // A round that was lost is part of the time that the height took.
        self.proposed_at.get_or_insert(now);
        self.began.insert(round, now);
        while self.began.len() > BEGUN_MAX {
            self.began.pop_first();
        }
    }

    /// Asserts what holds after every input: `phase` is the core's, `signs` says whether consensus may sign.
    pub(super) fn check(&self, phase: &Phase, signs: bool) {
        assert!(
            self.inputs.is_empty(),
            "an input waits for consensus though all was settled"
        );
        assert!(
            self.refeeds.is_empty(),
            "a verdict waits for consensus though all was settled"
        );
        assert!(self.replayed.is_empty(), "the replay of a log ends within one input");
        assert_eq!(
            self.decision.is_some(),
            *phase == Phase::Committing,
            "a decision is on its way exactly while the height is committing"
        );
        assert!(
            !self.logging || matches!(phase, Phase::Running | Phase::Committing),
            "only a height that runs is logged"
        );
        assert!(
            !self.certificate_fed || !signs,
            "nothing is signed once a certificate has decided the height"
        );
    }

    /// Asserts the rest, which costs as much as there is.
    pub(super) fn check_whole(&self, current: Height, ours: &Address) {
        for ((round, id), proposal) in &self.proposals {
            assert_eq!(proposal.height, current, "a proposal of another height");
            assert_eq!(
                (proposal.round, proposal.value_id),
                (*round, *id),
                "a proposal under another's key"
            );
        }
        for message in &self.published {
            let may_be = match message {
                // A rebroadcast that is due between two heights repeats our vote of the one before.
                ConsensusMessage::Vote(vote) => vote.voter == *ours && vote.height <= current,
                // A validator that locks on a value publishes its proposal, even if another made that.
                ConsensusMessage::Proposal(proposal) => {
                    proposal.height == current && self.proposals.contains_key(&(proposal.round, proposal.value_id))
                }
                ConsensusMessage::Polka(_) | ConsensusMessage::Round(_) => false,
            };
            assert!(may_be, "a message that is not to be sent again: {message:?}");
        }
        if let Some(decision) = &self.decision {
            assert_eq!(decision.certificate.height, current, "a decision of another height");
        }
    }
}
