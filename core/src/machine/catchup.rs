//! This file knows when we are behind, and carries sync's plan out.
//!
//! If a peer has decided our current height, we are behind as well: the votes may never reach us. But at every height
//! some peer is first, so for a single height we wait a moment before we ask.

use ultramarine_types::network::{Fault, NetCommand, SyncEnd, SyncWant};
use ultramarine_types::{CommitCertificate, Height, Nanos, PeerId, ValueKey};

use super::{Core, Phase};
use crate::certificate;
use crate::io::Event;
use crate::sync::HeldOfHeight;

/// How long a peer may be one height ahead before we ask it for that height, while we lack the value's bytes. If we
/// have the bytes, we wait a block interval: our execution client may be about to answer, and then we decide by
/// ourselves.
const GRACE: Nanos = Nanos::from_millis(200);

impl Core {
    pub(super) fn catch_up(&mut self) {
        if matches!(self.phase, Phase::Off | Phase::Committing) || self.stopped {
            return;
        }
        for (height, flight) in self.sync.expire(self.now) {
            // The core cannot tell whose fault it is. The network charges peers that promise and do not deliver.
            tracing::debug!(%height, peer = %flight.peer, "a sync request took too long");
        }
        let (current, best) = (self.current(), self.peers.best_tip());
        self.tell_lag();
        if best < current {
            self.contest.behind_since = None;
            return;
        }
        let since = *self.contest.behind_since.get_or_insert(self.now);
        if best == current && self.now < since + self.grace() {
            return;
        }
        let Self {
            sync,
            peers,
            values,
            now,
            ..
        } = self;
        let certified = sync.certified_heights();
        let asks = sync.plan(*now, current, peers, |height| match certified.get(&height) {
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
        let Some(flight) = self.sync.flight(height).copied().filter(|flight| flight.peer == peer) else {
            return;
        };
        match end {
            SyncEnd::Certificate(certificate) => self.on_certificate(peer, height, flight.want, certificate),
            SyncEnd::NotDecided { .. } => {
                self.sync.failed(self.now, height, peer);
                // We asked the peer because it says that it has decided that height.
                let claims = |status: &ultramarine_types::network::Status| status.tip >= height;
                if self
                    .peers
                    .get(&peer)
                    .and_then(|peer| peer.status.as_ref())
                    .is_some_and(claims)
                {
                    let fault = Fault::Withheld;
                    self.net(NetCommand::Charge { peer, fault });
                }
            }
            SyncEnd::Unavailable | SyncEnd::TimedOut | SyncEnd::Unusable => {
                self.sync.failed(self.now, height, peer);
            }
        }
    }

    fn on_certificate(&mut self, peer: PeerId, height: Height, want: SyncWant, certificate: CommitCertificate) {
        let holds = certificate.height == height && want == SyncWant::Certificate && {
            let Self { config, verifier, .. } = self;
            certificate::check_commit(&config.validators, config.voting_chain(), &certificate, verifier).is_ok()
        };
        if !holds {
            self.sync.failed(self.now, height, peer);
            return self.net(NetCommand::Charge {
                peer,
                fault: Fault::Certificate,
            });
        }
        self.note_signers(&certificate);
        self.sync.certify(certificate);
        self.sync.finished(height);
    }

    /// When to look at catching up again.
    pub(super) fn catch_up_deadline(&self) -> Option<Nanos> {
        if self.phase == Phase::Committing {
            return None;
        }
        let grace = match self.contest.behind_since {
            Some(since) if self.sync.flight(self.current()).is_none() => Some(since + self.grace()),
            _ => None,
        };
        // A grace that is over needs no deadline: next comes an input, or a deadline of sync's.
        [grace.filter(|at| *at > self.now), self.sync.deadline()]
            .into_iter()
            .flatten()
            .min()
    }
}
