//! This file knows how a network that starts together begins: a node that is ready waits a while for the others. So the
//! first height is decided in round 0.
//!
//! Without the wait, the first node would begin a round whose proposer, or the proposer's client, is still starting. No
//! node waits for ever: what a peer says of itself is only a reason to wait.
//!
//! Keeps: the wait begins once, and a quorum is waited with only within it.

use ultramarine_types::{Height, Nanos};

use super::{Core, Phase};

/// The longest wait, from when a quorum was first heard. A client that takes longer comes into a later round.
pub(super) const LONGEST: Nanos = Nanos::from_millis(15_000);
/// How long a quorum that is ready waits for those that are not.
const FOR_THE_REST: Nanos = Nanos::from_millis(3_000);

#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Gather {
    /// The chain has not begun, and we have heard no other node yet.
    is_due: bool,
    /// Until when we wait; `None` if there is nothing to wait for, or the wait has not begun.
    until: Option<Nanos>,
    /// Since when a quorum is ready.
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
        self.gather.is_due = self.head.height == Height::GENESIS && self.signer.is_some();
    }

    /// Whether we would begin the first height now, if it depended on us alone.
    pub(super) fn is_ready(&self) -> bool {
        self.head.height > Height::GENESIS || self.execution.is_ready()
    }

    /// Whether the wait is over, or there is none. Ask it once the others were heard.
    pub(super) fn has_gathered(&mut self) -> bool {
        // Nodes that are started by hand come minutes apart. We wait for those that are here.
        if std::mem::take(&mut self.gather.is_due) {
            self.gather.until = Some(self.now + LONGEST);
        }
        let Some(until) = self.gather.until else { return true };
        let is_over = self.now >= until || self.head.height > Height::GENESIS || self.is_begun_elsewhere();
        let is_ready = self.is_ready();
        if !is_ready {
            self.gather.quorum_at = None;
        }
        if is_over || is_ready && self.are_ready() {
            self.gather = Gather::default();
            self.note_gathered();
            return true;
        }
        false
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
        let until = self.gather.until.filter(|_| self.head.height == Height::GENESIS)?;
        let quorum = self.gather.quorum_at.map(|at| at + FOR_THE_REST);
        Some(quorum.map_or(until, |at| at.min(until)))
    }

    /// Whether the first height waits, or will wait, for others.
    pub(super) const fn is_gathering(&self) -> bool {
        self.gather.is_due || self.gather.until.is_some()
    }

    /// For people: which validators the first height waits for.
    pub(super) fn describe_gathering(&self) -> Option<String> {
        self.gather.until?;
        if !matches!(self.phase, Phase::Between { .. }) {
            return None;
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
