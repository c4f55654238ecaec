//! This file knows how a value becomes `Valid`, `Invalid`, or waits.
//!
//! Its block is executed as soon as its payload is whole, while its blobs are still being transferred and verified. The
//! value is `Valid` only once all of it is durable as well.
//!
//! Only what the value id binds, or the execution client's `INVALID`, makes a value invalid. Everything local withholds
//! the verdict: a client that is slow, away or not ready, or a timestamp ahead of our clock. Then the propose timeout
//! gives nil, and a later verdict still counts.
//!
//! A commit certificate vouches for a value instead of the execution client, and overrides an earlier `Invalid`. If a
//! value that a certificate vouches for breaks a rule, the node stops.

use std::sync::Arc;

use malachitebft_core_consensus::Input as Told;
use malachitebft_core_types::{Validity, ValueOrigin};
#[cfg(feature = "planted")]
use ultramarine_types::execution::ParentBlock;
use ultramarine_types::execution::{EngineCall, Executed, PayloadStatus};
use ultramarine_types::network::{Fault, NetCommand};
use ultramarine_types::{Init, Nanos, ValueKey};

use super::{Core, Phase};
use crate::execution::short_of_valid;
use crate::io::Event;
use crate::rules;
use crate::stop::{DecidedFault, Stop};
use crate::values::{Body, Judgement};

/// After this long we look at a withheld verdict again.
pub const RETRY: Nanos = Nanos::from_millis(500);
/// The longest pause before a payload is executed again that the client could not judge.
pub const RETRY_MAX: Nanos = Nanos::from_millis(32_000);

/// How long a payload rests after the client could not judge it once more. A client that fails on one payload is asked
/// about it ever more seldom. A client that was too slow has its answer by the second time or the third.
fn retry_after(failures: u32) -> Nanos {
    let doubled = 1u64.checked_shl(failures).unwrap_or(u64::MAX);
    Nanos(RETRY.0.saturating_mul(doubled)).min(RETRY_MAX)
}

impl Core {
    /// Looks at every value of the current height.
    pub(super) fn judge_all(&mut self) {
        if self.phase != Phase::Running || self.host.is_decided() || self.stopped {
            return;
        }
        for (round, id) in self.host.polka_ids() {
            let key = ValueKey {
                height: self.current(),
                id,
            };
            if !self.values.get(&key).is_some_and(|value| value.polka) {
                // Votes made this polka. No message that named the value was one.
                self.name(key, None, None);
                self.contest.refeeds.push_back((key, round));
            }
        }
        for key in self.values.keys_at(self.current()) {
            if self.sync.certifies(key.height, &key.id) {
                self.judge_vouched(key);
            } else {
                self.judge(key);
            }
            if self.stopped {
                return;
            }
        }
    }

    /// The verdict about a value, if its judgement is over.
    pub(super) fn verdict(&self, key: &ValueKey) -> Option<bool> {
        let value = self.values.get(key)?;
        #[cfg(feature = "planted")]
        let value = self.values.mistaken(self.config.planted, key).unwrap_or(value);
        match value.judgement {
            Judgement::Valid => Some(true),
            Judgement::Invalid(_) => Some(false),
            Judgement::Open
            | Judgement::Executing { .. }
            | Judgement::Executed
            | Judgement::Inspecting
            | Judgement::Vouched => None,
        }
    }

    fn judge(&mut self, key: ValueKey) {
        let (now, parent, unix_ns) = (self.now, self.parent(), self.unix_ns());
        let ready = self.execution.is_ready();
        #[cfg(feature = "planted")]
        let ready = ready || self.config.plants(crate::Planted::SkipReadiness);
        let Some(value) = self.values.get_mut(&key) else { return };
        if value.judgement == Judgement::Executed {
            // Once the client is ready and the value is stored, it is looked at again.
            if ready && value.is_stored() {
                self.acquit(key);
            }
            return;
        }
        if value.judgement != Judgement::Open || value.retry_at.is_some_and(|at| at > now) {
            return;
        }
        let (Some(init), Some(Body { lists, payload })) = (value.init.clone(), value.body.clone()) else {
            return;
        };
        value.retry_at = None;
        let kept = rules::check(&self.config.chain, &parent, &init.metadata);
        #[cfg(feature = "planted")]
        let kept = crate::planted::overlook(self.config.planted, kept);
        if let Err(broken) = kept {
            return self.condemn(key, broken.to_string(), Fault::Rule);
        }
        if !ready {
            // Once the client is ready, the values are looked at again.
            return;
        }
        let is_ahead = rules::is_ahead(init.metadata.header.timestamp, &parent.block, unix_ns);
        #[cfg(feature = "planted")]
        let is_ahead = is_ahead
            || self.config.plants(crate::Planted::ParentPlusOneWithheld)
                && rules::is_ahead(
                    init.metadata.header.timestamp,
                    &ParentBlock {
                        timestamp: 0,
                        ..parent.block
                    },
                    unix_ns,
                );
        if !value.polka && is_ahead {
            value.retry_at = Some(now + RETRY);
            return;
        }
        #[cfg(feature = "planted")]
        if self.config.plants(crate::Planted::PrevoteBeforeExecution) && value.is_stored() {
            return self.acquit(key);
        }
        value.judgement = Judgement::Executing { since: now };
        self.engine(EngineCall::Execute {
            key,
            init,
            lists,
            payload,
        });
    }

    /// Takes what our execution client, or its driver, found.
    pub(super) fn on_executed(&mut self, key: ValueKey, outcome: Executed) {
        let now = self.now;
        let Some(value) = self.values.get_mut(&key) else { return };
        let Judgement::Executing { since } = value.judgement else {
            return;
        };
        value.judgement = Judgement::Open;
        match outcome {
            Executed::Broken { reason } => self.condemn(key, reason, Fault::Rule),
            Executed::Answered(PayloadStatus::Valid { .. }) => {
                // If it is not stored yet, the store's receipt acquits it.
                value.judgement = Judgement::Executed;
                self.executed_stage(key, since);
                let mut wants = Vec::new();
                self.execution.trust(&mut wants);
                self.want(wants);
                self.judge(key);
            }
            Executed::Answered(PayloadStatus::Invalid { reason, .. }) => {
                self.condemn(key, format!("the execution client says: {reason}"), Fault::Execution);
            }
            Executed::Answered(status) => {
                // It is one payload's trouble, unless the client does not confirm our head any more.
                value.retry_at = Some(now + retry_after(value.failures));
                value.failures = value.failures.saturating_add(1);
                let mut wants = Vec::new();
                self.execution.doubt(short_of_valid("newPayload", &status), &mut wants);
                self.want(wants);
            }
        }
    }

    /// The value keeps every rule and was executed: tells consensus that it is valid.
    pub(super) fn acquit(&mut self, key: ValueKey) {
        let now = self.now;
        let Some(value) = self.values.get_mut(&key) else { return };
        value.judgement = Judgement::Valid;
        value.valid_at = Some(now);
        self.pronounce(key);
    }

    /// Makes a value invalid: we do not vote for it, and its origin proposer is charged.
    pub(super) fn condemn(&mut self, key: ValueKey, reason: String, fault: Fault) {
        let Some(value) = self.values.get_mut(&key) else { return };
        value.judgement = Judgement::Invalid(reason.clone());
        // Its verdict may have been withheld before, for a reason that does not matter any more.
        value.retry_at = None;
        let Some(init) = value.init.clone() else { return };
        let origin_proposer = init.metadata.origin_proposer;
        self.event(Event::InvalidValue {
            key,
            origin_proposer,
            reason,
        });
        if let Some(peer) = self.peers.of_validator(&origin_proposer) {
            self.net(NetCommand::Charge { peer, fault });
        }
        self.pronounce(key);
    }

    /// Feeds the verdict once, for the round the value comes from. Later messages that name the value feed it again.
    fn pronounce(&mut self, key: ValueKey) {
        let Some(valid) = self.verdict(&key) else { return };
        let told = self.host.verdict(&key.id);
        if self.phase != Phase::Running || key.height != self.current() || told == Some(valid) || told == Some(true) {
            return;
        }
        let Some(init) = self.values.get(&key).and_then(|value| value.init.clone()) else {
            return;
        };
        let (round, proposer) = (init.metadata.origin_round, init.metadata.origin_proposer);
        let value = self.proposed_value(key.id, round, proposer, Validity::from_bool(valid));
        self.contest
            .inputs
            .push_back(Told::ProposedValue(value, ValueOrigin::Consensus));
        // A proposal of another round may name it. Malachite bounds values by round, so that round may still have room.
        let rounds: Vec<_> = self
            .contest
            .proposals
            .keys()
            .filter(|(_, id)| *id == key.id)
            .map(|(round, _)| *round)
            .collect();
        for round in rounds {
            self.contest.refeeds.push_back((key, round));
        }
    }

    /// Judges a value that a certificate names: checks rules and bytes, and does not ask the execution client.
    fn judge_vouched(&mut self, key: ValueKey) {
        let parent = self.parent();
        let Some(value) = self.values.get_mut(&key) else { return };
        value.retry_at = None;
        let (Some(init), true) = (value.init.clone(), value.is_stored()) else {
            return;
        };
        if let Err(broken) = rules::check(&self.config.chain, &parent, &init.metadata) {
            return self.stop(Stop::DecidedInvalid(DecidedFault::Metadata { key, broken }));
        }
        match value.judgement {
            Judgement::Inspecting => {}
            // The driver compared the bytes with the metadata before it executed them.
            Judgement::Valid | Judgement::Vouched | Judgement::Executed => {
                if !self.contest.certificate_fed
                    && let Some(certificate) = self.sync.certificate(key.height).cloned()
                {
                    self.feed_certificate(&certificate);
                }
            }
            // We do not wait for an answer that is under way: it may take long.
            Judgement::Open | Judgement::Executing { .. } | Judgement::Invalid(_) => {
                // A slimmed value was judged `Valid` before. Every other value has its payload.
                let Some(body) = value.body.clone() else { return };
                value.judgement = Judgement::Inspecting;
                self.inspect(key, init, body);
            }
        }
    }

    fn inspect(&mut self, key: ValueKey, init: Arc<Init>, body: Body) {
        let Body { lists, payload } = body;
        self.engine(EngineCall::Inspect {
            key,
            init,
            lists,
            payload,
        });
    }

    /// Has the driver inspect values of later heights that a certificate vouches for, while they wait for their turn.
    pub(super) fn inspect_ahead(&mut self) {
        if self.stopped {
            return;
        }
        let current = self.current();
        for (height, id) in self.sync.certified_heights().range(current.next()..) {
            let key = ValueKey {
                height: *height,
                id: *id,
            };
            let Some(value) = self.values.get_mut(&key) else {
                continue;
            };
            let body = value.body.clone().filter(|_| value.is_stored());
            if let (Judgement::Open, Some(init), Some(body)) = (&value.judgement, value.init.clone(), body) {
                value.judgement = Judgement::Inspecting;
                self.inspect(key, init, body);
            }
        }
    }

    /// Takes what the driver found in the bytes of a value that a certificate vouches for.
    pub(super) fn on_inspected(&mut self, key: ValueKey, result: Result<(), String>) {
        let Some(value) = self.values.get_mut(&key) else { return };
        if value.judgement != Judgement::Inspecting {
            return;
        }
        match result {
            Ok(()) => value.judgement = Judgement::Vouched,
            Err(reason) => self.stop(Stop::DecidedInvalid(DecidedFault::Payload { key, reason })),
        }
    }
}
