//! This file knows how we propose: ask for a block, choose it, make it durable, then announce it. A later round takes a
//! value of an earlier one before it asks for another.

use std::collections::BTreeSet;

use malachitebft_core_consensus::{Input as Told, LocallyProposedValue};
use ultramarine_types::execution::{Built, EngineCall};
use ultramarine_types::storage::{StoreRequest, Tag};
use ultramarine_types::{Address, Height, Nanos, Round, Stage, ValueId, ValueKey, Vote, VoteKind};

use super::{Core, Parked, Phase};
use crate::context::{CtxHeight, CtxValue};
use crate::convert;
use crate::guard::{Signed, SignedKind};
use crate::io::Event;
use crate::log::LogRecord;
use crate::proposal::{self, ProposalContext};
use crate::rules;
use crate::stop::Stop;
use crate::values::{Judgement, KnownValue};

/// After a build failed, we ask for another one after this long.
pub const RETRY: Nanos = Nanos::from_millis(200);

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
        if self.proposer.chosen(height, round).is_some() {
            return self.announce(height, round);
        }
        match self.repeatable(round) {
            Some(key) => self.repeat(key, round),
            None => self.build(height, round),
        }
    }

    /// The value of an earlier round that we propose once more before we build another: of those that are valid and
    /// stored here the one with most prevotes, as it may hide a lock, and among equals the newest.
    ///
    /// A value that a quorum held and did not decide in a round may never be decided: some validators may refuse it for
    /// good. So each gets two such rounds for every value that there is, from when it is valid here, and then a new one
    /// is built. All of them get their turns again after that, so there are only as many as the square root of the
    /// rounds.
    fn repeatable(&self, round: Round) -> Option<ValueKey> {
        #[cfg(feature = "planted")]
        if self.config.plants(crate::Planted::NothingRepeated) {
            return None;
        }
        let origin = |value: &KnownValue| Some(value.init.as_ref()?.metadata.origin_round);
        let valid: Vec<(ValueKey, Round)> = self
            .values
            .at(self.current())
            .filter(|(_, value)| value.judgement == Judgement::Valid && value.is_stored())
            .filter_map(|(key, value)| Some((*key, origin(value).filter(|origin| *origin < round)?)))
            .collect();
        let failures_max = 2 * valid.len() as u64;
        let failures = |id: &ValueId| self.contest.failures.get(id).copied().unwrap_or(0);
        valid
            .into_iter()
            .filter(|(key, _)| u64::from(failures(&key.id)) < failures_max)
            .max_by_key(|(key, origin)| (self.most_prevotes(key, *origin), *origin, key.id))
            .map(|(key, _)| key)
    }

    /// The power of the prevotes for a value in the round in which it has most of them.
    fn most_prevotes(&self, key: &ValueKey, origin: Round) -> u64 {
        let proposed = self.contest.proposals.keys().filter(|(_, id)| *id == key.id);
        let rounds: BTreeSet<Round> = proposed.map(|(round, _)| *round).chain([origin]).collect();
        let power = |round: Round| {
            let votes = self.host.votes(round);
            let is_for = |vote: &&Vote| vote.kind == VoteKind::Prevote && vote.value_id == Some(key.id);
            let voters: BTreeSet<_> = votes.iter().filter(is_for).map(|vote| vote.voter).collect();
            self.power_of(voters.iter())
        };
        rounds.into_iter().map(power).max().unwrap_or(0)
    }

    /// Chooses a value of an earlier round: the log has the choice before anybody hears of it.
    fn repeat(&mut self, key: ValueKey, round: Round) {
        tracing::info!(%key, %round, "a value of an earlier round is proposed again");
        self.proposer.choose(key.height, round, key.id);
        self.log_choice(key, round);
    }

    /// Has a choice logged.
    fn log_choice(&mut self, key: ValueKey, round: Round) {
        let ValueKey { height, id: value_id } = key;
        let Some(choice) = self.proposer.chosen(height, round) else {
            return;
        };
        choice.asked = true;
        let metadata = self.values.get(&key).and_then(|value| value.init.as_ref());
        let is_new = metadata
            .is_some_and(|init| init.metadata.origin_round == round && init.metadata.origin_proposer == self.address);
        self.append(&if is_new {
            LogRecord::Chosen {
                height,
                round,
                value_id,
            }
        } else {
            LogRecord::Repeated {
                height,
                round,
                value_id,
            }
        });
        self.park(Parked::Chosen(height, round));
    }

    /// Counts the values that failed in the round that ends, though a quorum had held them from its start and they were
    /// valid here, and looks for which this is so when the next begins.
    pub(super) fn count_failures(&mut self) {
        let heard = std::mem::take(&mut self.contest.heard);
        let failed: Vec<ValueId> = self
            .contest
            .proposals
            .keys()
            .filter(|(round, id)| Some(*round) == self.contest.round && heard.contains(id))
            .map(|(_, id)| *id)
            .collect();
        for id in failed {
            let failures = self.contest.failures.entry(id).or_default();
            *failures = failures.saturating_add(1);
        }
        let height = self.current();
        // While our own client has not answered, theirs may not have either, and a round that is too short for clients
        // says nothing of the value.
        let repeatable = self
            .values
            .at(height)
            .filter(|(_, value)| value.is_stored() && value.judgement == Judgement::Valid);
        let heard = repeatable
            .map(|(key, _)| key.id)
            .filter(|id| self.is_held_by_quorum(id));
        self.contest.heard = heard.collect();
    }

    /// Whether validators with more than two thirds of the power, ours among them, say that they hold a value.
    fn is_held_by_quorum(&self, id: &ValueId) -> bool {
        let holders = self.peers.holders(self.current(), id);
        let validators = holders
            .iter()
            .filter_map(|peer| self.peers.get(peer).and_then(|peer| peer.validator));
        let holders: BTreeSet<_> = validators.chain([self.address]).collect();
        self.config.validators.is_quorum(self.power_of(holders.iter()))
    }

    /// The power of some validators.
    pub(super) fn power_of<'a>(&self, validators: impl Iterator<Item = &'a Address>) -> u64 {
        let set = &self.config.validators;
        let powers = validators.filter_map(|address| set.get(address)).map(|it| it.power);
        powers.fold(0, u64::saturating_add)
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
        self.proposer.begin(height, round, self.now);
        self.contest.build(self.now);
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
            #[cfg(feature = "planted")]
            if self.config.plants(crate::Planted::LateBuildsDropped) {
                return;
            }
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
        let kept = rules::check(&self.config.chain, &self.parent(), &metadata).map_err(|broken| broken.to_string());
        let kept = kept.and_then(|()| {
            let proofs = self.config.chain.params.proofs_per_blob(metadata.header.timestamp);
            match built.lists.misfit(&metadata, proofs) {
                Some(kind) => Err(format!(
                    "its list of {kind:?} has another length than the block asks for"
                )),
                None => Ok(()),
            }
        });
        #[cfg(feature = "planted")]
        let kept = kept.or_else(|broken| match self.config.plants(crate::Planted::AnyProofCount) {
            true => Ok(()),
            false => Err(broken),
        });
        if let Err(broken) = kept {
            // All validators would refuse this block of our own client.
            if self.note_unbuilt(&broken) {
                tracing::error!(%key, broken, "the block our execution client built cannot be proposed");
            }
            #[cfg(feature = "planted")]
            if self.config.plants(crate::Planted::SpoiltAwaited) {
                return self.proposer.retry(self.now + RETRY);
            }
            self.proposer.spoil(height, round);
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
        self.proposer.choose(height, round, key.id);
        self.store(StoreRequest::Put {
            assembly,
            tag: Tag::Proposed,
        });
        self.log_choice(key, round);
    }

    /// The log has the choice.
    pub(super) fn choice_logged(&mut self, height: Height, round: Round) {
        if let Some(choice) = self.proposer.chosen(height, round) {
            choice.logged = true;
        }
    }

    /// Tells consensus, and streams the bytes of a value of ours that was not streamed yet, once choice and bytes are
    /// durable and the value is valid. Whoever misses a value of an earlier round asks for what is missing of it: most
    /// have it, or are being sent it.
    fn announce(&mut self, height: Height, round: Round) {
        let Some(choice) = self.proposer.chosen(height, round).copied() else {
            return;
        };
        let key = ValueKey { height, id: choice.id };
        let Some(value) = self.values.get(&key) else { return };
        let is_good = value.judgement == Judgement::Valid && value.is_stored();
        if choice.announced || !is_good {
            return;
        }
        if !choice.logged {
            // The store had the value after a crash that lost the log's record. The log comes first.
            if !choice.asked {
                self.log_choice(key, round);
            }
            return;
        }
        let is_ours = value
            .init
            .as_ref()
            .is_some_and(|init| init.metadata.origin_proposer == self.address);
        if let Some(choice) = self.proposer.chosen(height, round) {
            choice.announced = true;
        }
        if is_ours && self.proposer.stream(key) {
            self.event(Event::Signed {
                height,
                round,
                kind: SignedKind::Init.name(),
                value_id: Some(key.id),
            });
            self.park(Parked::Stream(key));
        }
        self.contest.inputs.push_back(Told::Propose(LocallyProposedValue::new(
            CtxHeight(height),
            convert::round_to(round),
            CtxValue(key.id),
        )));
    }
}
