//! This file knows how a network that starts together begins: a node that is ready waits a while for the others. So the
//! first height is decided in round 0.
//!
//! Without the wait, the first node would begin a round whose proposer, or the proposer's client, is still starting. No
//! node waits for ever: what a peer says of itself is only a reason to wait.
//!
//! Later, when all nodes and their clients were killed together, each waits until its client was given back the blocks
//! that it lost, and a moment for the others' clients. So no round passes in which all vote nil. Where the others are
//! at work already, nobody waits.
//!
//! Keeps: the wait begins once, and a quorum, or the others, are waited with only within it.

use std::collections::BTreeSet;

use ultramarine_types::network::Status;
use ultramarine_types::{Address, Height, Nanos, Round};

use super::{Core, Phase};

/// The longest wait, from when a quorum was first heard, or from when our client last took a block. A client that takes
/// longer comes into a later round.
pub const LONGEST: Nanos = Nanos::from_millis(15_000);
/// How long a quorum that is ready waits for those that are not.
pub const FOR_THE_REST: Nanos = Nanos::from_millis(3_000);
/// How long a node whose client is back waits for those of its peers.
pub const FOR_CLIENTS: Nanos = Nanos::from_millis(1_000);

#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Gather {
    /// We have begun no height since the start, and have heard no other node yet.
    is_due: bool,
    /// The head at the start.
    head: Height,
    /// Until when we wait; `None` if there is nothing to wait for, or the wait has not begun.
    until: Option<Nanos>,
    /// Since when a quorum is ready for the first height, or our client for a later one.
    quorum_at: Option<Nanos>,
}

const _: () = assert!(
    FOR_THE_REST.0 < LONGEST.0,
    "a quorum waits for the rest within the longest wait"
);

impl Gather {
    /// Asserts that the wait and its parts fit each other.
    pub(super) fn check(&self) {
        assert!(!self.is_due || self.until.is_none(), "a wait that has begun is due");
        assert!(
            self.quorum_at.is_none() || self.until.is_some(),
            "a quorum is waited with outside the wait"
        );
    }
}

impl Core {
    /// The process has started.
    pub(super) fn begin_gathering(&mut self) {
        self.gather.is_due = self.signer.is_some();
        self.gather.head = self.head.height;
    }

    /// Whether we would begin the first height now, if it depended on us alone. While we listen we begin nothing: if
    /// the others began without us, and the first round were ours, it would be lost.
    pub(super) fn is_ready(&self) -> bool {
        self.head.height > Height::GENESIS || self.execution.is_ready() && self.listening_until.is_none()
    }

    /// Whether the wait is over, or there is none. Ask it once the others were heard.
    pub(super) fn has_gathered(&mut self) -> bool {
        // Nodes that are started by hand come minutes apart. We wait for those that are here.
        if std::mem::take(&mut self.gather.is_due) {
            self.gather.until = Some(self.now + LONGEST);
        }
        #[cfg(feature = "planted")]
        if self.config.plants(crate::Planted::BegunUnready) && self.gather.head > Height::GENESIS {
            self.gather = Gather::default();
        }
        let Some(until) = self.gather.until else { return true };
        let is_over = self.now >= until || self.head.height > self.gather.head || self.is_under_way();
        let is_ready = self.execution.is_ready();
        if !is_ready {
            self.gather.quorum_at = None;
        }
        let is_first = self.head.height == Height::GENESIS;
        if is_over || is_ready && if is_first { self.are_ready() } else { self.are_back() } {
            self.gather = Gather::default();
            self.note_gathered();
            return true;
        }
        false
    }

    /// A height begins: whoever comes later finds it under way.
    pub(super) fn end_gathering(&mut self) {
        self.gather = Gather::default();
    }

    /// Our client took a block that it had lost: it is worth waiting for.
    pub(super) fn note_replayed(&mut self) {
        if let Some(until) = &mut self.gather.until {
            *until = self.now + LONGEST;
        }
    }

    /// Whether validators with more than a third of the power are at work at the current height.
    fn is_under_way(&self) -> bool {
        let set = &self.config.validators;
        let current = self.current();
        let voted = self.peers.iter().filter_map(|(_, peer)| {
            let status = peer.status.as_ref()?;
            peer.validator
                .filter(|_| status.tip.next() == current && status.round > Round(0))
        });
        let voted: BTreeSet<Address> = voted.collect();
        let powers = voted.iter().filter_map(|address| set.get(address));
        let power = powers.fold(0u64, |sum, validator| sum.saturating_add(validator.power));
        set.is_honest(power) || self.is_begun_elsewhere()
    }

    /// Whether the clients of all peers that are validators are back, or we have waited for them long enough.
    fn are_back(&mut self) -> bool {
        let since = *self.gather.quorum_at.get_or_insert(self.now);
        let is_away = |status: Option<&Status>| status.is_none_or(|status| !status.proposes);
        let mut validators = self.peers.iter().filter(|(_, peer)| peer.validator.is_some());
        self.now >= since + FOR_CLIENTS || !validators.any(|(_, peer)| is_away(peer.status.as_ref()))
    }

    /// Whether all validators are ready, or a quorum has been for long enough.
    fn are_ready(&mut self) -> bool {
        let set = &self.config.validators;
        let ready = self.peers.ready(set, Some(&self.address));
        if ready.len() == set.len() {
            return true;
        }
        let powers = ready.iter().filter_map(|address| set.get(address));
        if !set.is_quorum(powers.fold(0, |sum, validator| sum.saturating_add(validator.power))) {
            self.gather.quorum_at = None;
            return false;
        }
        let since = *self.gather.quorum_at.get_or_insert(self.now);
        self.now >= since + FOR_THE_REST
    }

    /// When the wait is over at the latest; `None` if there is no wait.
    pub(super) fn gather_deadline(&self) -> Option<Nanos> {
        let until = self.gather.until?;
        let rest = if self.head.height == Height::GENESIS {
            FOR_THE_REST
        } else {
            FOR_CLIENTS
        };
        let quorum = self.gather.quorum_at.map(|at| at + rest);
        Some(quorum.map_or(until, |at| at.min(until)))
    }

    /// Whether the first height waits, or will wait, for others.
    pub(super) const fn is_gathering(&self) -> bool {
        self.gather.is_due || self.gather.until.is_some()
    }

    /// For people: which validators the first height waits for.
    pub(super) fn describe_gathering(&self) -> Option<String> {
        self.gather.until?;
        if !matches!(self.phase, Phase::Between { .. } | Phase::Recovering { .. }) {
            return None;
        }
        if self.head.height > Height::GENESIS {
            let why = self.execution.unready();
            let why = why.unwrap_or_else(|| "the other validators' clients are a moment behind ours".to_owned());
            return Some(format!("the first height after the start waits for the clients: {why}"));
        }
        let set = &self.config.validators;
        let ours = self.is_ready().then_some(&self.address);
        let ready = self.peers.ready(set, ours).len();
        Some(format!(
            "the first height waits a moment for the others: {ready} of {} validators are ready{}",
            set.len(),
            if self.is_ready() { "" } else { ", we are not" }
        ))
    }
}
