//! This file knows when we are behind, and carries sync's plan out.
//!
//! If others have decided our current height, we are behind as well: the votes may never reach us. But at every height
//! somebody is first, so for a single height we wait a moment before we ask, and so we do for what nothing proves.

use ultramarine_types::network::{Fault, NetCommand, SyncEnd, SyncWant};
use ultramarine_types::{CommitCertificate, Height, Nanos, PeerId, ValueKey};

use super::{Core, Phase};
use crate::certificate;
use crate::io::Event;
use crate::sync::{Asked, HeldOfHeight, Stretch};

/// How long a peer may be one height ahead before we ask it for that height, while we lack the value's bytes. If we
/// have the bytes, we wait a block interval: our execution client may be about to answer, and then we decide by
/// ourselves.
pub const GRACE: Nanos = Nanos::from_millis(200);

impl Core {
    pub(super) fn catch_up(&mut self) {
        if matches!(self.phase, Phase::Off | Phase::Committing) || self.stopped {
            return;
        }
        for asked in self.sync.expire(self.now) {
            tracing::debug!(height = %asked.height, peer = %asked.peer, "a sync request took too long");
            self.reputation.failed(self.now, asked.peer);
            // Once an answer has begun, the network charges for its end.
            if asked.answered_at.is_none() {
                self.charge_late(&asked);
            }
        }
        let (current, best) = (self.current(), self.peers.best_tip());
        let proven = self.proven_tip();
        self.tell_lag();
        if best < current {
            (self.contest.claimed_since, self.contest.behind_since) = (None, None);
            return;
        }
        let claimed_since = *self.contest.claimed_since.get_or_insert(self.now);
        if proven >= current {
            self.contest.behind_since.get_or_insert(self.now);
        }
        let since = self.contest.behind_since.unwrap_or(claimed_since);
        if proven <= current && self.now < since + self.grace() {
            return;
        }
        let gap = Stretch { next: current, proven };
        let Self {
            sync,
            peers,
            reputation,
            values,
            now,
            ..
        } = self;
        let certified = sync.certified_heights();
        let asks = sync.plan(*now, gap, peers, reputation, |height| match certified.get(&height) {
            Some(id)
                if values
                    .get(&ValueKey { height, id: *id })
                    .is_some_and(|value| value.is_stored()) =>
            {
                HeldOfHeight::All
            }
            Some(_) => HeldOfHeight::Certificate,
            None if values.at(height).any(|(_, value)| value.is_stored()) => HeldOfHeight::Bytes,
            None => HeldOfHeight::Nothing,
        });
        for (peer, height, want) in asks {
            self.net(NetCommand::Sync { peer, height, want });
        }
    }

    /// The highest height that we take for decided before we have it: a certificate proves it, more than a third of the
    /// power says so, or a peer does that has proven what it said before.
    fn proven_tip(&mut self) -> Height {
        let changes = self.reputation.trust_changes();
        let known = self.trusted_tip.filter(|(_, at)| *at == changes).map(|(tip, _)| tip);
        let trusted = known.unwrap_or_else(|| self.peers.tip_of(self.reputation.trusted()));
        self.trusted_tip = Some((trusted, changes));
        let honest = self.peers.honest_tip(&self.config.validators);
        honest.max(self.sync.certified_tip()).max(trusted)
    }

    /// Charges a peer that let us wait for a height that it claims to have: once for each stall.
    fn charge_late(&mut self, asked: &Asked) {
        let claims = self.peers.claims(&asked.peer, asked.height);
        if claims && self.reputation.charge(self.now, asked.peer, asked.asked_at) {
            let (peer, fault) = (asked.peer, Fault::Withheld);
            self.net(NetCommand::Charge { peer, fault });
        }
    }

    /// How long to wait for our own decision of a height that a peer has decided.
    fn grace(&self) -> Nanos {
        let is_stored = self.values.at(self.current()).any(|(_, value)| value.is_stored());
        let interval = Nanos::from_millis(self.config.chain.params.block_interval_ms);
        if is_stored && self.host.is_enabled() {
            GRACE.max(interval)
        } else {
            GRACE
        }
    }

    /// Says how far behind we are, when that changes. We ask for what a single peer claims, but report it only once a
    /// certificate proves it or more than a third of the power says the same.
    fn tell_lag(&mut self) {
        let (ours, told) = (self.head.height, self.told_lag);
        let honest = self.peers.honest_tip(&self.config.validators);
        let best = honest.max(self.sync.certified_tip());
        let behind = best > ours;
        if behind && told != (ours, best) || !behind && told.1 > told.0 {
            let best = best.max(ours);
            self.told_lag = (ours, best);
            self.event(Event::Lag { ours, best });
        }
    }

    /// A request ended without an offer.
    pub(super) fn on_sync_ended(&mut self, peer: PeerId, height: Height, end: SyncEnd) {
        if height <= self.head.height {
            return self.on_healing_ended(peer, height, &end);
        }
        let Some(asked) = self.sync.asked(height, &peer) else {
            return;
        };
        // Who refuses at once has cost us little. Who has us wait first pays.
        let is_late = self.now.since(asked.asked_at) > self.reputation.patience(&peer);
        if !matches!(end, SyncEnd::TimedOut | SyncEnd::NotAsked) {
            self.reputation.answered(self.now, peer, asked.asked_at);
        }
        match end {
            SyncEnd::Certificate(certificate) => return self.on_certificate(&asked, certificate),
            // We asked the peer because it says that it has decided that height.
            SyncEnd::NotDecided { .. } => self.charge_late(&asked),
            SyncEnd::Unavailable | SyncEnd::TimedOut if is_late => self.charge_late(&asked),
            SyncEnd::NotAsked => return self.sync.failed(self.now, height, peer),
            SyncEnd::Unavailable | SyncEnd::TimedOut | SyncEnd::Unusable => {}
        }
        self.sync_failed(height, peer);
    }

    /// A request for a height failed.
    pub(super) fn sync_failed(&mut self, height: Height, peer: PeerId) {
        if self.sync.asked(height, &peer).is_some() {
            self.sync.failed(self.now, height, peer);
            self.reputation.failed(self.now, peer);
        }
    }

    fn on_certificate(&mut self, asked: &Asked, certificate: CommitCertificate) {
        let (height, peer) = (asked.height, asked.peer);
        let holds = certificate.height == height && {
            let Self { config, verifier, .. } = self;
            certificate::check_commit(&config.validators, config.voting_chain(), &certificate, verifier).is_ok()
        };
        if !holds {
            self.sync_failed(height, peer);
            return self.net(NetCommand::Charge {
                peer,
                fault: Fault::Certificate,
            });
        }
        self.note_signers(&certificate);
        self.sync.certify(certificate);
        self.reputation.served(self.now, peer);
        self.sync.tip_finished(height, &peer);
        // If it answers a question that was given up, a package of the height may be on its way.
        if asked.want == SyncWant::Certificate {
            self.sync.finished(height);
        }
    }

    /// What a package brings has begun to come, and its certificate holds.
    pub(super) fn package_began(&mut self, height: Height, peer: PeerId, bytes: u64) {
        let Some(asked) = self.sync.asked(height, &peer) else {
            return;
        };
        self.reputation.answered(self.now, peer, asked.asked_at);
        self.reputation.served(self.now, peer);
        let patience = self.reputation.patience_for(&peer, bytes);
        self.sync.answered(self.now, height, &peer, bytes, patience);
    }

    /// A certified height is stored. Whoever was bringing it has brought it.
    pub(super) fn height_came(&mut self, height: Height, bytes: u64) {
        let finished = self.sync.finished(height);
        self.sync.came(self.now, bytes);
        for asked in finished {
            match asked.answered_at {
                Some(since) if bytes > 0 => self.reputation.brought(self.now, asked.peer, bytes, since),
                // Another one was quicker, though it was asked later.
                None if self.now.since(asked.asked_at) > self.reputation.patience(&asked.peer) => {
                    self.reputation.failed(self.now, asked.peer);
                }
                _ => {}
            }
        }
    }

    /// When to look at catching up again.
    pub(super) fn catch_up_deadline(&self) -> Option<Nanos> {
        if self.phase == Phase::Committing {
            return None;
        }
        let since = self.contest.behind_since.or(self.contest.claimed_since);
        let grace = since.map(|since| since + self.grace());
        // A grace that is over needs no deadline: next comes an input, or a deadline of sync's.
        [grace.filter(|at| *at > self.now), self.sync.deadline(self.now)]
            .into_iter()
            .flatten()
            .min()
    }
}
