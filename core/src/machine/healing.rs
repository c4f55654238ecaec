//! This file knows how decided heights that are damaged here come back from peers, while everything else goes on.
//!
//! A peer's package of the height brings its certificate, which is verified as in sync. The store compares it with its
//! own, writes the bytes anew and says `Stored`. A client that waits for the height's payload is then given it at once.

use ultramarine_types::network::{Fault, NetCommand, OfferKind, Refusal, SyncEnd};
use ultramarine_types::storage::{Blobs, StoreRequest, Tag};
use ultramarine_types::{CommitCertificate, Height, Init, PeerId, ValueKey};

use super::{Core, Phase};
use crate::healing::{HealingTerms, Wanted};
use crate::io::Event;

impl Core {
    /// A decided height is damaged here.
    pub(super) fn on_damaged(&mut self, height: Height) {
        #[cfg(feature = "planted")]
        if self.config.plants(crate::Planted::DamageIgnored) {
            return;
        }
        let is_decided = Height::GENESIS < height && height <= self.head.height;
        if is_decided && self.healing.add(self.now, height) {
            let damaged_count = self.healing.len();
            self.event(Event::Damaged { height, damaged_count });
        }
    }

    /// The execution client needs a height's payload, and it could not be read.
    pub(super) fn on_unread(&mut self, height: Height) {
        self.on_damaged(height);
        self.healing.hurry(height);
    }

    /// Asks for damaged heights.
    pub(super) fn heal(&mut self) {
        if self.phase == Phase::Off || self.stopped {
            return;
        }
        let is_behind = self.told_lag.0 < self.told_lag.1;
        let terms = self.healing_terms();
        for (peer, height, want) in self
            .healing
            .plan(self.now, is_behind, &self.peers, &self.reputation, &terms)
        {
            self.net(NetCommand::Sync { peer, height, want });
        }
    }

    fn healing_terms(&self) -> HealingTerms {
        let kept = self.config.chain.params.blob_retention_heights_min;
        HealingTerms {
            held_from: self.oldest_blobs,
            kept_from: Height(self.current().0.saturating_sub(kept)),
        }
    }

    /// Whether to take the package of a damaged height.
    pub(super) fn weigh_restored(
        &mut self,
        peer: PeerId,
        key: &ValueKey,
        init: &Init,
        kind: OfferKind,
        certificate: Option<CommitCertificate>,
    ) -> Result<Tag, Refusal> {
        if self.healing.asked(key.height) != Some(peer) {
            return Err(Refusal::Height);
        }
        let weighed = self.weigh_healing(key, init, kind, certificate);
        if weighed.is_err() {
            self.healing.failed(self.now, key.height, peer);
        }
        // The store hears of the certificate before the network has the value whole.
        self.store(StoreRequest::Vouch(Box::new(weighed?)));
        Ok(Tag::Restored)
    }

    fn weigh_healing(
        &mut self,
        key: &ValueKey,
        init: &Init,
        kind: OfferKind,
        certificate: Option<CommitCertificate>,
    ) -> Result<CommitCertificate, Refusal> {
        let certificate = self.check_package(key, init, certificate)?;
        let lacks_blobs = kind == OfferKind::MetadataOnly && init.metadata.blobs_count > 0;
        let terms = self.healing_terms();
        if lacks_blobs && self.healing.wanted(self.now, key.height, &terms) == Wanted::Blobs {
            // Its retention may have ended early. Another one may have them.
            return Err(Refusal::Height);
        }
        Ok(certificate)
    }

    /// The store has written a damaged height anew.
    pub(super) fn on_restored(&mut self, key: ValueKey, init: &Init, blobs: Blobs) {
        let height = key.height;
        if blobs != Blobs::Held && init.metadata.blobs_count > 0 {
            self.oldest_blobs = self.oldest_blobs.max(height.next());
        }
        if self.healing.healed(height) {
            let damaged_count = self.healing.len();
            self.event(Event::Restored { height, damaged_count });
        }
        let mut wants = Vec::new();
        self.execution.readable(height, &mut wants);
        self.want(wants);
    }

    /// A request for a damaged height ended without an offer.
    pub(super) fn on_healing_ended(&mut self, peer: PeerId, height: Height, end: &SyncEnd) {
        if self.healing.asked(height) != Some(peer) {
            return;
        }
        let asked_at = self.healing.asked_at(height);
        self.healing.failed(self.now, height, peer);
        self.reputation.failed(self.now, peer);
        let is_late = self.now.since(asked_at) > self.reputation.patience(&peer);
        let is_broken = match end {
            // It says that it has decided that height.
            SyncEnd::NotDecided { .. } => true,
            SyncEnd::Unavailable | SyncEnd::TimedOut => is_late,
            SyncEnd::Certificate(_) | SyncEnd::NotAsked | SyncEnd::Unusable => false,
        };
        if is_broken && self.peers.claims(&peer, height) && self.reputation.charge(self.now, peer, asked_at) {
            self.net(NetCommand::Charge {
                peer,
                fault: Fault::Withheld,
            });
        }
    }
}
