//! This file knows which waits of a round can bring nothing more, and ends them.
//!
//! - A proposer that cannot propose is not waited for: it is away, behind, or says so itself; or its own nil prevote
//!   has come. That is looked at anew with every input, and a proposer that can propose again has its full time.
//! - Votes are not waited for once everybody who is there has voted, and no value can reach a quorum any more.
//!
//! Keeps: no wait becomes longer here than consensus set it.

use std::collections::{BTreeMap, BTreeSet};

use malachitebft_core_types::{Timeout, TimeoutKind};
use ultramarine_types::network::Status;
use ultramarine_types::{Address, Round, ValueId, Vote, VoteKind};

use super::{Core, Phase};
use crate::convert;

/// What may come of a round's proposer.
enum Outlook {
    /// A proposal, or the verdict on it.
    Comes,
    /// Nothing, unless it comes back.
    Away,
    /// Nothing: it has given the round up.
    Given,
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
            let wait = match self.outlook(round) {
                Outlook::Comes => self.contest.propose,
                Outlook::Away => self.durations.propose_away.min(self.contest.propose),
                Outlook::Given => return self.timers.hurry(self.now, propose),
            };
            let due = self.contest.round_at + self.durations.duration(propose, wait);
            self.timers.change(due, propose);
        }
        for (kind, votes) in [
            (TimeoutKind::Prevote, VoteKind::Prevote),
            (TimeoutKind::Precommit, VoteKind::Precommit),
        ] {
            let timeout = of_round(kind);
            if self.timers.is_running(timeout) && self.is_fruitless(round, votes) {
                self.timers.hurry(self.now, timeout);
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
        let is_nil = |vote: &Vote| vote.voter == proposer && vote.kind == VoteKind::Prevote && vote.value_id.is_none();
        let can_propose = if proposer == self.address {
            self.can_propose(round)
        } else {
            self.is_present(&proposer)
        };
        match can_propose {
            _ if self.host.votes(round).iter().any(is_nil) => Outlook::Given,
            true => Outlook::Comes,
            false => Outlook::Away,
        }
    }

    /// Whether our own block of this round may still come.
    fn can_propose(&self, round: Round) -> bool {
        self.proposer.may_come(self.current(), round) && !self.execution.is_failing()
    }

    /// Whether a validator may propose: its node is connected, has decided what we have, and says that it could. Of one
    /// that is connected to others alone nothing more is known.
    fn is_present(&self, validator: &Address) -> bool {
        let current = self.current();
        let mut known = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.validator.as_ref() == Some(validator))
            .peekable();
        if known.peek().is_none() {
            #[cfg(feature = "planted")]
            if self.config.plants(crate::Planted::UnlinkedAway) {
                return false;
            }
            return self.is_linked(validator);
        }
        known.any(|(_, peer)| {
            let able = |status: &Status| status.proposes && status.tip.next() >= current;
            peer.status.as_ref().is_none_or(able)
        })
    }

    /// Whether a validator that we are connected to says that it is connected to another one. Of one that is further
    /// away than that, and was never connected to us, what it signed at the height before shows that it is there.
    fn is_linked(&self, validator: &Address) -> bool {
        let Some(position) = self.config.validators.index_of(validator) else {
            return false;
        };
        let seen = self.seen.get(validator).map(|seen| seen.step().0);
        if !self.linked_ever.contains(position) && seen.is_some_and(|height| height >= self.head.height) {
            return true;
        }
        self.peers.iter().any(|(_, peer)| {
            let links = |status: &Status| status.links.contains(position);
            peer.validator.is_some() && peer.status.as_ref().is_some_and(links)
        })
    }

    /// Whether no value can reach a quorum in the round any more, and nobody who is there has still to vote.
    fn is_fruitless(&self, round: Round, kind: VoteKind) -> bool {
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
        let may_come = self.power_of(missing.iter().copied());
        !set.is_quorum(most.saturating_add(may_come)) && !missing.iter().any(|address| self.may_vote(address))
    }

    /// Whether a vote of this validator may still come: its node is connected, and is not behind.
    fn may_vote(&self, validator: &Address) -> bool {
        let current = self.current();
        *validator == self.address
            || self.peers.iter().any(|(_, peer)| {
                let is_here = |status: &Status| status.tip.next() >= current;
                peer.validator.as_ref() == Some(validator) && peer.status.as_ref().is_none_or(is_here)
            })
    }
}
