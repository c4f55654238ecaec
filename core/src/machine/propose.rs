//! This file knows how we propose: ask for a block, choose it, make it durable, then announce it.

use malachitebft_core_consensus::{Input as Told, LocallyProposedValue};
use ultramarine_types::execution::{Built, EngineCall};
use ultramarine_types::storage::{StoreRequest, Tag};
use ultramarine_types::{Height, Nanos, Round, Stage, ValueKey};

use super::{Core, Parked, Phase};
use crate::context::{CtxHeight, CtxValue};
use crate::convert;
use crate::guard::{Signed, SignedKind};
use crate::io::Event;
use crate::log::LogRecord;
use crate::proposal::{self, ProposalContext};
use crate::rules;
use crate::stop::Stop;
use crate::values::Judgement;

/// After a build failed, we ask for another one after this long.
const RETRY: Nanos = Nanos::from_millis(200);

impl Core {
    /// Goes on with the value that consensus wants from us, if anything can be done about it now.
    pub(super) fn propose(&mut self) {
        let Some((height, round)) = self.proposer.wanted() else {
            return;
        };
        let timely = self.phase == Phase::Running
            && height == self.current()
            && self.host.round() == Some(round)
            && self.host.is_proposing()
            && self.host.is_enabled();
        if !timely {
            return self.proposer.give_up();
        }
        let ready = self.execution.is_ready();
        #[cfg(feature = "planted")]
        let ready = ready || self.config.plants(crate::Planted::SkipReadiness);
        if !ready || self.proposer.deadline().is_some_and(|at| at > self.now) {
            return;
        }
        match self.proposer.chosen(height, round) {
            Some(id) => self.announce(ValueKey { height, id }, round),
            None => self.build(height, round),
        }
    }

    fn build(&mut self, height: Height, round: Round) {
        // If we signed an `Init` there in another life and do not know the choice, we may sign no other.
        if self.guard.get(height, round, SignedKind::Init).is_some() || self.proposer.building().is_some() {
            return;
        }
        if let Some(built) = self.proposer.kept(height) {
            return self.choose(height, round, *built, self.now);
        }
        let parent = self.head.block;
        let timestamp = (self.unix_ns() / 1_000_000_000).max(parent.timestamp.saturating_add(1));
        if rules::is_ahead(timestamp, self.unix_ns()) {
            // All validators would withhold their verdicts: wait for our clock.
            return self.proposer.retry(self.now + RETRY);
        }
        self.proposer.begin(height, round, self.now);
        self.contest.proposed_at = self.now;
        self.engine(EngineCall::Build {
            height,
            round,
            parent,
            parent_beacon_block_root: self.head.sidecar_root,
            timestamp,
        });
    }

    /// Our execution client answered a build: with a block, checked and executed, or with why there is none.
    pub(super) fn on_built(&mut self, height: Height, round: Round, result: Result<Box<Built>, String>) {
        let Some(since) = self.proposer.built(height, round) else {
            return;
        };
        if result.is_ok() {
            let mut wants = Vec::new();
            self.execution.trust(&mut wants);
            self.want(wants);
        }
        if self.phase != Phase::Running || height != self.current() || !self.host.is_enabled() {
            return;
        }
        if self.host.round() != Some(round) || !self.execution.is_ready() && result.is_ok() {
            if let Ok(built) = result
                && built.header.parent_hash == self.head.block.hash
            {
                tracing::info!(
                    %height,
                    %round,
                    "a block was built too late for its round, or while the client did not confirm our head; it is kept"
                );
                self.proposer.keep(height, built);
            }
            return;
        }
        match result {
            Ok(built) => self.choose(height, round, *built, since),
            Err(reason) => {
                if self.note_unbuilt(&reason) {
                    tracing::warn!(%height, %round, reason, "no block was built");
                }
                self.proposer.retry(self.now + RETRY);
                let mut wants = Vec::new();
                self.execution
                    .doubt(format!("no block was built: {reason}"), &mut wants);
                self.want(wants);
            }
        }
    }

    /// Chooses a block for the round: signs its `Init`, and has choice and bytes made durable at the same time.
    fn choose(&mut self, height: Height, round: Round, built: Built, since: Nanos) {
        let Some(signer) = &self.signer else { return };
        let context = ProposalContext {
            chain: self.config.chain.identity,
            set: &self.config.validators,
            height,
            round,
        };
        let Some(metadata) = proposal::metadata(&context, signer, &built) else {
            return;
        };
        let key = ValueKey {
            height,
            id: metadata.id(),
        };
        if let Err(broken) = rules::check(&self.config.chain, &self.parent(), &metadata) {
            // All validators would refuse this block of our own client.
            if self.note_unbuilt(&broken.to_string()) {
                tracing::error!(%key, %broken, "the block our execution client built breaks a rule");
            }
            return self.proposer.retry(self.now + RETRY);
        }
        let signed = Signed {
            value_id: Some(key.id),
            valid_round: None,
        };
        if let Err(conflict) = self.guard.ask(height, round, SignedKind::Init, signed) {
            return self.stop(Stop::Equivocation(conflict));
        }
        let assembly = proposal::assemble(&self.config.chain, metadata, signer, built);
        self.stage(key, Stage::Build, since);
        let now = self.now;
        let value = self.values.entry(key);
        value.init = Some(assembly.init.clone());
        value.first_seen = Some(now);
        // The driver answers only after `newPayload` said `VALID`.
        value.judgement = Judgement::Valid;
        value.valid_at = Some(now);
        value.retry_at = None;
        self.proposer.choose(height, round, key.id).relogged = true;
        self.store(StoreRequest::Put {
            assembly,
            tag: Tag::Proposed,
        });
        self.append(&LogRecord::Chosen {
            height,
            round,
            value_id: key.id,
        });
        self.park(Parked::Chosen(key));
    }

    /// The log has the choice.
    pub(super) fn choice_logged(&mut self, key: ValueKey) {
        if let Some(progress) = self.proposer.progress(&key) {
            progress.logged = true;
        }
    }

    /// Tells consensus and streams the bytes, once choice and bytes are durable and the value is valid.
    fn announce(&mut self, key: ValueKey, round: Round) {
        let valid = self
            .values
            .get(&key)
            .is_some_and(|value| value.judgement == Judgement::Valid);
        let Some(progress) = self.proposer.progress(&key) else {
            return;
        };
        if progress.announced || !progress.stored || !valid {
            return;
        }
        if !progress.logged {
            // The store had the value after a crash that lost the log's record. The log comes first.
            if !progress.relogged {
                progress.relogged = true;
                self.append(&LogRecord::Chosen {
                    height: key.height,
                    round,
                    value_id: key.id,
                });
                self.park(Parked::Chosen(key));
            }
            return;
        }
        progress.announced = true;
        self.event(Event::Signed {
            height: key.height,
            round,
            kind: SignedKind::Init.name(),
            value_id: Some(key.id),
        });
        self.park(Parked::Stream(key));
        self.contest.inputs.push_back(Told::Propose(LocallyProposedValue::new(
            CtxHeight(key.height),
            convert::round_to(round),
            CtxValue(key.id),
        )));
    }
}
