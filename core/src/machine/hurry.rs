//! This file knows which waits of a round can bring nothing more, and ends them.
//!
//! - A proposer that cannot propose is not waited for: it is away, behind, or says so itself; or its own nil prevote
//!   has come. That is looked at anew with every input, and a proposer that can propose again has its full time.
//! - Votes are not waited for once everybody who is there has voted, and no value can reach a quorum any more.
//! - A validator that has signed nothing for many rounds is waited for two seconds: for its proposal, and for a vote
//!   that could do nothing, or that it alone could make decide.
//!
//! The last is what is left of Tendermint's wait for precommits. It waits because a value may still reach a quorum, and
//! so that all learn of a polka before the next round. Where no value can, two seconds are for the latter.
//!
//! Keeps: no wait becomes longer here than consensus set it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use malachitebft_core_types::{Timeout, TimeoutKind};
use ultramarine_types::consensus::SignedMessage;
use ultramarine_types::network::Status;
use ultramarine_types::{Address, Height, Nanos, Round, ValueId, VoteKind};

use super::{Core, Phase};
use crate::convert;

/// A validator is silent if it signed nothing in so many rounds before, and in as many as there are validators.
const SILENT_ROUNDS: usize = 16;
/// The longest wait for silent validators, and for votes that can decide nothing.
const VAIN_MAX: Nanos = Nanos::from_millis(2_000);

/// What may come of a round's proposer.
enum Outlook {
    /// A proposal, or the verdict on it.
    Comes,
    /// A proposal, if it begins to sign again.
    Silent,
    /// Nothing, unless it comes back.
    Away,
    /// Nothing: it has given the round up.
    Given,
}

/// What may come of the wait for votes.
#[derive(PartialEq, Eq)]
enum Hope {
    /// A quorum for a value.
    Quorum,
    /// Votes that decide nothing, or a quorum if a silent validator begins to sign again.
    Vain,
    /// Nothing.
    None,
}

impl Core {
    /// Ends the waits of the round that can bring nothing more.
    pub(super) fn hurry(&mut self) {
        if self.phase != Phase::Running || self.stopped || self.host.is_decided() || self.host.is_replaying() {
            return;
        }
        let Some(round) = self.host.round() else { return };
        let of_round = |kind| Timeout::new(convert::round_to(round), kind);
        let propose = of_round(TimeoutKind::Propose);
        if self.timers.is_running(propose) {
            let full = self.durations.duration(propose, self.contest.propose);
            let away = self.durations.propose_away.min(self.contest.propose);
            let wait = match self.outlook(round) {
                Outlook::Comes => full,
                Outlook::Silent => full.min(VAIN_MAX),
                Outlook::Away => self.durations.duration(propose, away),
                Outlook::Given => return self.timers.hurry(self.now, propose),
            };
            self.timers.change(self.contest.round_at + wait, propose);
        }
        for (kind, votes) in [
            (TimeoutKind::Prevote, VoteKind::Prevote),
            (TimeoutKind::Precommit, VoteKind::Precommit),
        ] {
            let timeout = of_round(kind);
            if !self.timers.is_running(timeout) {
                continue;
            }
            match self.hope(round, votes) {
                Hope::Quorum => {}
                Hope::Vain => {
                    let duration = self.durations.duration(timeout, self.contest.propose);
                    self.timers.limit(duration, VAIN_MAX, timeout);
                }
                Hope::None => self.timers.hurry(self.now, timeout),
            }
        }
    }

    /// What may come of the round's proposer.
    fn outlook(&self, round: Round) -> Outlook {
        #[cfg(feature = "planted")]
        if self.config.plants(crate::Planted::EveryProposerAwaited) {
            return Outlook::Comes;
        }
        let proposer = *self.config.validators.proposer(self.current(), round);
        if self.contest.proposals.keys().any(|(proposed, _)| *proposed == round) {
            // It has proposed: what is awaited is the verdict.
            return Outlook::Comes;
        }
        let can_propose = if proposer == self.address {
            self.can_propose(round)
        } else {
            self.is_present(&proposer)
        };
        match can_propose {
            _ if self.host.has_prevoted_nil(round, &proposer) => Outlook::Given,
            true if self.is_silent(&proposer, round) => Outlook::Silent,
            true => Outlook::Comes,
            false => Outlook::Away,
        }
    }

    /// Whether our own block of this round may still come.
    fn can_propose(&self, round: Round) -> bool {
        self.proposer.may_come(self.current(), round) && !self.execution.is_failing()
    }

    /// Whether a validator may propose: its node is connected, is not behind, and says that it could. Of one that is
    /// connected to others alone nothing more is known.
    fn is_present(&self, validator: &Address) -> bool {
        if !self.peers.is_connected(validator) {
            #[cfg(feature = "planted")]
            if self.config.plants(crate::Planted::UnlinkedAway) {
                return false;
            }
            return self.is_linked(validator);
        }
        self.peers.nodes_of(validator).any(|peer| {
            let able = |status: &Status| status.proposes && self.is_at_work(validator, status);
            peer.status.as_ref().is_none_or(able)
        })
    }

    /// Whether a validator with this status is at our height, or is about to be: it signed at the height that we have
    /// just decided. Its own commit, and the status that tells of it, may be slower than ours by a disk and a way.
    fn is_at_work(&self, validator: &Address, status: &Status) -> bool {
        let current = self.current();
        let has_signed = || {
            let seen = self.seen.get(validator).map(|seen| seen.step().0);
            seen.is_some_and(|height| height >= self.head.height)
        };
        status.tip.next() >= current || status.tip.next() == self.head.height && has_signed()
    }

    /// Whether validators with more than a third of the power say that they are connected to another one: no fewer can
    /// make us wait for one that is gone. Where it has fewer links, or is further away, what it signed at the height
    /// before shows that it is there, unless that height came certified: then nobody knows when it was signed. If it
    /// was connected to us, only what it has signed since counts.
    fn is_linked(&self, validator: &Address) -> bool {
        let Some(position) = self.config.validators.index_of(validator) else {
            return false;
        };
        let is_news = |step: &(Height, Round, u8)| self.lost.get(&position).is_none_or(|lost| lost < step);
        let newest = self.seen.get(validator).map(SignedMessage::step);
        let is_recent = |step: (Height, Round, u8)| match step.0.cmp(&self.head.height) {
            Ordering::Less => false,
            Ordering::Equal => !self.head_came_certified,
            Ordering::Greater => true,
        };
        if newest.filter(is_news).is_some_and(is_recent) {
            return true;
        }
        let set = &self.config.validators;
        set.is_honest(self.peers.power_linked_to(set, position))
    }

    /// Whether another validator signed nothing that we know in many rounds of this height before a round. A quorum was
    /// heard in each of them, so what it signs is slower than that, or it does not sign.
    fn is_silent(&self, validator: &Address, round: Round) -> bool {
        #[cfg(feature = "planted")]
        if self.config.plants(crate::Planted::SilentAwaited) {
            return false;
        }
        let silence = u32::try_from(SILENT_ROUNDS.max(self.config.validators.len())).unwrap_or(u32::MAX);
        let Some(since) = round.0.checked_sub(silence) else {
            return false;
        };
        let newest = self.seen.get(validator).map(SignedMessage::step);
        *validator != self.address && newest.is_none_or(|step| step < (self.current(), Round(since), 0))
    }

    /// What may come of the wait for a round's votes: whether a value can reach a quorum in it, and who has still to
    /// vote.
    fn hope(&self, round: Round, kind: VoteKind) -> Hope {
        let set = &self.config.validators;
        let votes = self.host.votes(round);
        let mut voted: BTreeSet<Address> = BTreeSet::new();
        let mut powers: BTreeMap<ValueId, u64> = BTreeMap::new();
        for vote in votes.iter().filter(|vote| vote.kind == kind) {
            voted.insert(vote.voter);
            let power = set.get(&vote.voter).map_or(0, |it| it.power);
            if let Some(id) = vote.value_id {
                let sum = powers.entry(id).or_default();
                *sum = sum.saturating_add(power);
            }
        }
        let missing: Vec<&Address> = set
            .iter()
            .map(|(address, _)| address)
            .filter(|address| !voted.contains(*address))
            .collect();
        let most = powers.values().max().copied().unwrap_or(0);
        let may_reach = |power: u64| set.is_quorum(most.saturating_add(power));
        let may_come = self.power_of(missing.iter().copied());
        if !may_reach(may_come) && !missing.iter().any(|address| self.may_vote(address)) {
            return Hope::None;
        }
        let signing = missing
            .iter()
            .copied()
            .filter(|address| !self.is_silent(address, round));
        match may_reach(self.power_of(signing)) {
            true => Hope::Quorum,
            false => Hope::Vain,
        }
    }

    /// Whether a vote of this validator may still come: its node is connected, and is not behind.
    fn may_vote(&self, validator: &Address) -> bool {
        *validator == self.address
            || self.peers.nodes_of(validator).any(|peer| {
                let is_here = |status: &Status| self.is_at_work(validator, status);
                peer.status.as_ref().is_none_or(is_here)
            })
    }
}
