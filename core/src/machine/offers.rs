//! This file knows which offered streams to take, and what becomes of a value once the store has it.

use std::sync::Arc;

use ultramarine_types::limits;
use ultramarine_types::network::{NetCommand, OfferId, OfferKind, Refusal};
use ultramarine_types::storage::{Blobs, Tag};
use ultramarine_types::{CommitCertificate, Init, PeerId, Round, Stage, ValueKey};

use super::{Core, Phase};
use crate::admission;
use crate::certificate;
use crate::guard::{Signed, SignedKind};
use crate::values::{self, Body};

impl Core {
    pub(super) fn on_offer(
        &mut self,
        offer: OfferId,
        peer: PeerId,
        key: ValueKey,
        init: Arc<Init>,
        kind: OfferKind,
        certificate: Option<CommitCertificate>,
    ) {
        let answer = match kind {
            OfferKind::Proposal => self.weigh_proposal(peer, &key, &init),
            OfferKind::Full | OfferKind::MetadataOnly if key.height <= self.head.height => {
                self.weigh_restored(peer, &key, &init, kind, certificate)
            }
            OfferKind::Full | OfferKind::MetadataOnly => {
                let answer = self.weigh_package(peer, &key, &init, kind, certificate);
                if answer.is_err() {
                    self.sync_failed(key.height, peer);
                }
                answer
            }
        };
        match answer {
            // It is decided, and no value to judge.
            Ok(tag @ Tag::Restored) => self.net(NetCommand::Admit { offer, tag }),
            Ok(tag) => {
                let now = self.now;
                let value = self.values.entry(key);
                // A proposer can sign one value in many ways. The `Init` that came first stays.
                value.init.get_or_insert(init);
                value.streams.insert(peer, now);
                if let Some(search) = value.search.as_mut().filter(|search| search.asked.contains_key(&peer)) {
                    // What was awaited has begun.
                    search.next_at = now;
                }
                value.first_seen.get_or_insert(now);
                self.net(NetCommand::Admit { offer, tag });
            }
            Err(why) => self.net(NetCommand::Refuse { offer, why }),
        }
    }

    fn weigh_proposal(&mut self, peer: PeerId, key: &ValueKey, init: &Init) -> Result<Tag, Refusal> {
        let current = self.current();
        if init.metadata.height != key.height || (key.height != current && key.height != current.next()) {
            return Err(Refusal::Height);
        }
        let certified = self.sync.certifies(key.height, &key.id);
        self.check_other(key, init)?;
        let known = self.values.get(key);
        if known.is_some_and(|value| value.is_stored()) {
            return Err(Refusal::Held);
        }
        let asked = known
            .and_then(|value| value.search.as_ref())
            .is_some_and(|search| search.asked.contains_key(&peer));
        let streaming = known.is_some_and(|value| value.streams.keys().any(|other| *other != peer));
        if streaming && !asked {
            return Err(Refusal::Held);
        }
        let named = certified || known.is_some_and(|value| value.polka);
        let round = init.metadata.origin_round;
        if !named {
            let ours = if key.height == current {
                self.host_round()
            } else {
                Round(0)
            };
            if round.0 > ours.0.saturating_add(limits::INIT_ROUNDS_AHEAD) {
                return Err(Refusal::Height);
            }
            let newest = known
                .and_then(|value| value.proposed_in)
                .map_or(round, |it| it.max(round));
            if values::is_past(newest, ours) {
                return Err(Refusal::Height);
            }
            let admitted = known.is_some_and(|value| value.init.is_some());
            if !admitted && self.values.uncertified_in_round(key.height, round) >= limits::VALUES_PER_ROUND_MAX {
                return Err(Refusal::Full);
            }
        }
        self.check_init(key, init)?;
        if init.metadata.origin_proposer == self.address {
            let signed = Signed {
                value_id: Some(key.id),
                valid_round: None,
            };
            self.check_signed(key.height, round, SignedKind::Init, signed);
        }
        Ok(if certified { Tag::Certified } else { Tag::Streamed })
    }

    pub(super) fn host_round(&self) -> Round {
        if self.phase == Phase::Running {
            self.host.round().unwrap_or_default()
        } else {
            Round(0)
        }
    }

    /// Checks an `Init` that is not the one we have of its value: a false one costs its sender, whether or not we want
    /// the value's bytes.
    fn check_other(&mut self, key: &ValueKey, init: &Init) -> Result<(), Refusal> {
        let kept = self.values.get(key).and_then(|value| value.init.as_ref());
        if kept.is_none_or(|kept| **kept == *init) {
            return Ok(());
        }
        #[cfg(feature = "planted")]
        if self.config.plants(crate::Planted::InitReplaced) {
            self.values.entry(*key).init = Some(Arc::new(init.clone()));
            return Ok(());
        }
        self.check_init(key, init)
    }

    fn check_init(&mut self, key: &ValueKey, init: &Init) -> Result<(), Refusal> {
        #[cfg(feature = "planted")]
        if self.config.plants(crate::Planted::InitReplaced) && self.values.get(key).is_some_and(|it| it.init.is_some())
        {
            return Ok(());
        }
        self.verify_init(key, init)
            .map_err(|reason| Refusal::Invalid { reason })
    }

    /// Checks all that an `Init` says by itself.
    pub(super) fn verify_init(&mut self, key: &ValueKey, init: &Init) -> Result<(), &'static str> {
        let Self { config, verifier, .. } = self;
        let kept = admission::check_roots(&config.chain.params, &init.metadata);
        #[cfg(feature = "planted")]
        let kept = crate::planted::miscount(config.planted, kept);
        kept?;
        admission::check_init(&config.validators, &config.chain, init, &key.id, verifier)
    }

    fn weigh_package(
        &mut self,
        peer: PeerId,
        key: &ValueKey,
        init: &Init,
        kind: OfferKind,
        certificate: Option<CommitCertificate>,
    ) -> Result<Tag, Refusal> {
        let current = self.current();
        let far = current.0.saturating_add(limits::SYNC_HEIGHTS_IN_FLIGHT as u64);
        if key.height < current || key.height.0 >= far {
            return Err(Refusal::Height);
        }
        if self.sync.asked(key.height, &peer).is_none() {
            return Err(Refusal::Held);
        }
        let certificate = self.check_package(key, init, certificate)?;
        // Whatever becomes of the package, its certificate proves how far others are.
        self.note_signers(&certificate);
        self.sync.certify(certificate);
        let lacks_blobs = kind == OfferKind::MetadataOnly && init.metadata.blobs_count > 0;
        #[cfg(feature = "planted")]
        let lacks_blobs = lacks_blobs && !self.config.plants(crate::Planted::BlobsWaived);
        if lacks_blobs && !self.sync.may_lack_blobs(key.height) {
            // The package is not provably wrong: the peer's retention may have ended early. But we need the blobs.
            return Err(Refusal::Height);
        }
        if self.values.get(key).is_some_and(|value| value.is_stored()) {
            self.height_came(key.height, 0);
            return Err(Refusal::Held);
        }
        self.package_began(key.height, peer, init.metadata.whole_bytes());
        Ok(Tag::Certified)
    }

    /// Checks all that a package says by itself, and returns its certificate, which holds.
    pub(super) fn check_package(
        &mut self,
        key: &ValueKey,
        init: &Init,
        certificate: Option<CommitCertificate>,
    ) -> Result<CommitCertificate, Refusal> {
        let Some(certificate) = certificate else {
            return Err(Refusal::Invalid {
                reason: "a package without its certificate",
            });
        };
        if certificate.height != key.height || certificate.value_id != key.id || init.metadata.height != key.height {
            return Err(Refusal::Invalid {
                reason: "the certificate is of another value",
            });
        }
        // The validator set is checked before any signature. A certificate that comes alone names no set: its signers
        // must be members of ours, and the package that follows names the set.
        if init.metadata.validator_set_hash != self.config.validators.hash() {
            return Err(Refusal::Invalid {
                reason: "of another validator set",
            });
        }
        {
            let Self { config, verifier, .. } = self;
            certificate::check_commit(&config.validators, config.voting_chain(), &certificate, verifier).map_err(
                |_| Refusal::Invalid {
                    reason: "the certificate does not hold",
                },
            )?;
        }
        self.check_init(key, init)?;
        Ok(certificate)
    }

    /// The payload of an admitted value is whole. Its execution need not wait for its blobs.
    pub(super) fn on_payload(&mut self, key: ValueKey, body: Body) {
        if let Some(value) = self.values.get_mut(&key).filter(|value| value.init.is_some()) {
            value.body.get_or_insert(body);
        }
    }

    /// The store has made a value's bytes durable.
    pub(super) fn on_stored(&mut self, key: ValueKey, init: Arc<Init>, body: Body, tag: Tag, blobs: Blobs) {
        if tag == Tag::Restored {
            return self.on_restored(key, &init, blobs);
        }
        if key.height <= self.head.height || init.metadata.height != key.height {
            return;
        }
        self.note_stored();
        let lacking = blobs != Blobs::Held && init.metadata.blobs_count > 0;
        #[cfg(feature = "planted")]
        let lacking = lacking && !self.config.plants(crate::Planted::BlobsWaived);
        if lacking && !(self.sync.certifies(key.height, &key.id) && self.sync.may_lack_blobs(key.height)) {
            // A value counts without its blobs only if a certificate vouches for it and it is past retention.
            return;
        }
        let now = self.now;
        #[cfg(feature = "planted")]
        let init = match self.values.get(&key).and_then(|value| value.init.clone()) {
            Some(mistaken) if self.config.plants(crate::Planted::InitReplaced) => mistaken,
            _ => init,
        };
        let bytes = init.metadata.whole_bytes();
        let value = self.values.entry(key);
        let first = value.stored.is_none();
        // The store's `Init` is the one that is decided and served. It was verified, as ours was, and may be another
        // only if we forgot the value in between.
        value.init = Some(init);
        value.body = Some(body);
        value.stored = Some(blobs);
        value.search = None;
        value.streams.clear();
        if first
            && tag == Tag::Proposed
            && let Some(since) = value.first_seen
        {
            self.stage(key, Stage::Persist, since);
        }
        self.values.entry(key).first_seen.get_or_insert(now);
        if self.sync.certifies(key.height, &key.id) {
            self.height_came(key.height, bytes);
        }
    }

    /// The store has no room for a value. Nothing else failed, and the value may come again.
    pub(super) fn on_refused(&mut self, key: ValueKey, reason: &str) {
        if self.note_refused(reason) {
            tracing::warn!(%key, reason, "a value could not be stored");
        } else {
            tracing::debug!(%key, reason, "a value could not be stored");
        }
        if key.height <= self.head.height {
            tracing::debug!(%key, reason, "a damaged height could not be restored");
            return self.healing.refused(self.now, key.height);
        }
        if let Some(value) = self.values.get_mut(&key) {
            value.streams.clear();
        }
        // It is our disk's fault. But there must be a pause, or the same bytes would come again and again.
        for asked in self.sync.finished(key.height) {
            self.sync.failed(self.now, key.height, asked.peer);
        }
    }

    /// Parts of a value are missing, and the stream that should bring them ended.
    pub(super) fn on_incomplete(&mut self, key: ValueKey, peer: PeerId) {
        let now = self.now;
        if key.height <= self.head.height {
            return self.healing.failed(now, key.height, peer);
        }
        self.sync_failed(key.height, peer);
        self.search_failed(key, peer);
        #[cfg(feature = "planted")]
        if self.config.plants(crate::Planted::RelayBlamed)
            && self.values.get(&key).is_some_and(|value| !value.is_stored())
        {
            self.condemn(
                key,
                "a part was bad".to_owned(),
                ultramarine_types::network::Fault::Execution,
            );
        }
    }
}
