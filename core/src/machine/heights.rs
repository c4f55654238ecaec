//! This file knows how one height follows another: commit, pace, log epoch, start.

use std::sync::Arc;

use malachitebft_core_consensus::Input as Told;
use ultramarine_types::execution::ParentBlock;
use ultramarine_types::network::NetCommand;
use ultramarine_types::storage::{Blobs, Decision, LogEpoch, StoreRequest};
use ultramarine_types::{CommitCertificate, Height, Init, Nanos, ValueId, ValueKey, limits, sidecar};

use super::contest::Contest;
use super::{Core, Head, Phase};
use crate::io::Event;
use crate::stop::{ImpossibleState, Stop};
use crate::values::{Judgement, KnownValue};

/// Why we do not sign at a height.
pub(super) struct Silence {
    why: String,
    /// Whether this is normal, so that nobody has to act.
    usual: bool,
}

impl Silence {
    fn usual(why: &str) -> Self {
        Self {
            why: why.to_owned(),
            usual: true,
        }
    }
}

impl Core {
    /// The store has made the decision durable: the head moves.
    pub(super) fn on_committed(&mut self, height: Height) {
        let decided = |decision: &mut Box<Decision>| decision.certificate.height == height;
        let Some(decision) = self.contest.decision.take_if(decided) else {
            return self.stop(Stop::State(ImpossibleState::UndecidedCommit { height }));
        };
        let over = std::mem::take(&mut self.contest);
        let (certificate, init, blobs) = (decision.certificate, decision.init, decision.blobs);
        let key = ValueKey {
            height,
            id: certificate.value_id,
        };
        #[cfg(feature = "planted")]
        let kept = match self.config.plants(crate::Planted::OthersKept) {
            true => self.values.others(&key),
            false => Vec::new(),
        };
        let value = self.values.commit(&key);
        #[cfg(feature = "planted")]
        for (key, value) in kept {
            *self.values.entry(key) = value;
        }
        self.note_need(&over, &init, value.as_ref());
        let client_valid = value
            .as_ref()
            .is_some_and(|value| matches!(value.judgement, Judgement::Executed | Judgement::Valid));
        let body = value.and_then(|value| value.body);
        let blob_bytes = match blobs {
            Blobs::Held => u64::from(init.metadata.blobs_count) * limits::BLOB_BYTES as u64,
            Blobs::Pruned | Blobs::NeverHeld => 0,
        };
        let bytes = u64::from(init.metadata.payload_bytes) + blob_bytes;
        if blobs != Blobs::Held && init.metadata.blobs_count > 0 {
            self.oldest_blobs = self.oldest_blobs.max(height.next());
        }
        self.head_came_certified = over.came_certified(&certificate.value_id);
        self.move_head(&init, certificate.value_id);
        self.watch_room(&init.metadata);
        self.note_moved();
        self.event(Event::Decided {
            blobs: init.metadata.blobs_count,
            bytes,
            origin_proposer: init.metadata.origin_proposer,
            origin_round: init.metadata.origin_round,
            block_hash: init.metadata.header.block_hash,
            synced: over.certificate_fed,
            client_valid,
            certificate,
        });
        self.net(NetCommand::Forget { height });
        self.sync.commit(height);
        self.guard.commit(height);
        self.proposer.commit(height);
        let mut wants = Vec::new();
        self.execution.decided(height, init, body, &mut wants);
        self.want(wants);
        self.retire();
        // Not before the commit, but no later than an interval after the start.
        let due = over.began_at + Nanos::from_millis(self.config.chain.params.block_interval_ms);
        self.await_next(due.max(self.now));
    }

    /// Notes how long the decided value took from the start of its round until it was valid here.
    fn note_need(&mut self, over: &Contest, init: &Init, value: Option<&KnownValue>) {
        let (proposer, round) = (init.metadata.origin_proposer, init.metadata.origin_round);
        let began = over.began.get(&round);
        if let (Some(began), Some(valid_at)) = (began, value.and_then(|value| value.valid_at))
            && proposer != self.address
        {
            self.pace.note(proposer, valid_at.since(*began));
        }
    }

    /// Makes a committed value the head.
    pub(super) fn move_head(&mut self, init: &Arc<Init>, id: ValueId) {
        let header = &init.metadata.header;
        self.head = Head {
            height: init.metadata.height,
            id,
            block: ParentBlock {
                hash: header.block_hash,
                number: header.number,
                timestamp: header.timestamp,
            },
            sidecar_root: sidecar::header(&init.metadata, self.config.chain.params.genesis_time).root(),
            at: self.now,
        };
    }

    /// Prepares the next height. Its log epoch begins now, so that it does not delay the start.
    pub(super) fn await_next(&mut self, start_at: Nanos) {
        let height = self.current();
        let logged = self.silence(height).is_none();
        if logged {
            self.store(StoreRequest::BeginEpoch { height });
        }
        self.phase = Phase::Between {
            start_at,
            logged,
            begun: false,
        };
    }

    /// The store has opened the log of a height.
    pub(super) fn on_epoch(&mut self, epoch: LogEpoch) {
        if epoch.height == self.current()
            && let Phase::Between { begun, .. } = &mut self.phase
        {
            *begun = true;
        }
    }

    /// When to look at the phase again.
    pub(super) fn phase_deadline(&self) -> Option<Nanos> {
        let waits = self.listening_until.is_some() && self.silence(self.current()).is_none();
        // After that, a status wakes us.
        let listening = self.listening_until.filter(|until| *until > self.now);
        match &self.phase {
            Phase::Listening => listening,
            Phase::Recovering { .. } => [listening, self.gather_deadline()].into_iter().flatten().min(),
            // While the epoch is on its way, the store's answer wakes us.
            Phase::Between {
                start_at,
                logged,
                begun,
            } if !*logged || *begun => match listening {
                _ if !waits => {
                    let gathered = self
                        .gather_deadline()
                        .filter(|_| self.silence(self.current()).is_none());
                    Some(gathered.map_or(*start_at, |at| at.max(*start_at)))
                }
                Some(until) => Some(until.max(*start_at)),
                None => Some(*start_at).filter(|at| *at > self.now),
            },
            Phase::Off | Phase::Between { .. } | Phase::Running | Phase::Committing => None,
        }
    }

    /// Moves to the next phase when it is time.
    pub(super) fn step_phase(&mut self) {
        match self.phase.clone() {
            Phase::Listening => {
                if self.has_listened() {
                    self.listened();
                }
            }
            Phase::Recovering { records, wanted } => self.try_replay(&records, &wanted),
            Phase::Between {
                start_at,
                logged,
                begun,
            } => {
                // A decided height is not paced: we only have to take its value. Neither is a height that an honest
                // validator has begun, or a node with a slow execution client would start ever later than the others.
                let due = start_at <= self.now || self.is_vouched(self.current()) || self.is_begun_elsewhere();
                // We listen to the others before we sign anything, at whatever height that is. Where we sign nothing,
                // there is nothing to wait for. The very first height waits for others that are starting as well.
                let may_begin = |this: &mut Self| {
                    this.silence(this.current()).is_some() || this.has_listened() && this.has_gathered()
                };
                if due && (begun || !logged) && may_begin(self) {
                    self.start_height(logged);
                }
            }
            Phase::Off | Phase::Running | Phase::Committing => {}
        }
    }

    /// Whether more than a third of the power has voted at the current height. Then the interval of at least one honest
    /// validator has passed, so no proposer can hurry the chain alone.
    pub(super) fn is_begun_elsewhere(&self) -> bool {
        let set = &self.config.validators;
        let voters = self.early.voters(self.current());
        let power = voters
            .iter()
            .filter_map(|voter| set.get(voter))
            .map(|validator| validator.power)
            .sum();
        set.is_honest(power)
    }

    /// Starts the current height. `logged` says that its log epoch is open, so that we may sign.
    pub(super) fn start_height(&mut self, logged: bool) {
        let height = self.current();
        self.end_gathering();
        let silence = self.silence(height);
        let enabled = logged && silence.is_none();
        // Where we sign nothing, we log nothing: the next start would replay a log that is not empty, and sign from it.
        self.contest.logging = enabled;
        self.tell_signing(enabled, silence);
        self.phase = Phase::Running;
        self.begin_contest();
        self.start_consensus(enabled);
        self.take_early();
    }

    /// The height begins.
    pub(super) fn begin_contest(&mut self) {
        self.contest.began_at = self.now;
        let reckoned = self.limits.propose_timeout();
        self.contest.propose = self.pace.wait(&self.config.validators, &self.address, reckoned);
    }

    /// Takes the messages that were kept for this height.
    pub(super) fn take_early(&mut self) {
        for message in self.early.take(self.current()) {
            self.take_message(None, message);
        }
    }

    /// Signs nothing more up to a height, in this life, for this reason.
    pub(super) fn silence_through(&mut self, through: Height, why: &'static str) {
        if through > self.guard.watermark() {
            self.guard.raise(through);
            self.silent_why = why;
        }
    }

    /// Why we do not sign at a height, if we do not.
    pub(super) fn silence(&self, height: Height) -> Option<Silence> {
        if self.signer.is_none() {
            return Some(Silence::usual("a full node does not sign"));
        }
        if self.config.validators.get(&self.address).is_none() {
            return Some(Silence {
                why: "our key is not a validator's of this chain".to_owned(),
                usual: false,
            });
        }
        if height <= self.guard.watermark() {
            let watermark = self.guard.watermark();
            return Some(Silence {
                why: format!(
                    "what we signed up to height {watermark} may not be known here any more: {}. Signing begins above \
                     that height",
                    self.silent_why
                ),
                usual: false,
            });
        }
        if self.peers.honest_tip(&self.config.validators) >= height || self.sync.certificate(height).is_some() {
            return Some(Silence::usual("the height is decided already"));
        }
        None
    }

    pub(super) fn tell_signing(&mut self, active: bool, silence: Option<Silence>) {
        let Silence { why, usual } = silence.unwrap_or_else(|| Silence::usual("we take part"));
        let told = Some((active, why.clone()));
        if self.told_signing == told {
            return;
        }
        self.told_signing = told;
        self.event(Event::Signing {
            height: self.current(),
            active,
            usual,
            why,
        });
    }

    /// Has the store free blobs that are past retention. It answers at once and frees beside its other work.
    fn retire(&mut self) {
        let Some(retention) = self.config.retention else { return };
        let keep = retention.max(self.config.chain.params.blob_retention_heights_min);
        let below = Height(self.current().0.saturating_sub(keep));
        if below > self.retired_below {
            self.retired_below = below;
            self.store(StoreRequest::Retire { blobs_below: below });
        }
    }

    /// Whether a certificate vouches for the height's value, and its bytes are stored.
    fn is_vouched(&self, height: Height) -> bool {
        self.sync
            .certificate(height)
            .is_some_and(|certificate: &CommitCertificate| {
                let key = ValueKey {
                    height,
                    id: certificate.value_id,
                };
                self.values.get(&key).is_some_and(|value| value.is_stored())
            })
    }

    /// Queues an input for consensus, if consensus runs.
    pub(super) fn tell_consensus(&mut self, input: Told<crate::context::Ctx>) {
        if self.phase == Phase::Running {
            self.contest.inputs.push_back(input);
        }
    }
}
