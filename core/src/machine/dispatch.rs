//! This file knows how one input flows through the core, and when the core wants to be woken.
//!
//! ```text
//! input ─▶ its handler ─▶ settle: consensus inputs, one by one ─▶ actions ─▶ more inputs, until none is left
//!                                                                     └▶ judge values, plan sync, tell peers
//! ```

use malachitebft_core_consensus::Input as Told;
use ultramarine_types::execution::EngineReply;
use ultramarine_types::network::NetEvent;
use ultramarine_types::storage::{DecidedPayload, StoreReply, StoreRequest};
use ultramarine_types::{Machine, Nanos, Outbox};

use super::{Core, Phase};
use crate::io::{Event, Input, Output};
use crate::stop::Stop;
use crate::values::Body;

impl Machine for Core {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Nanos, input: Input, out: &mut Outbox<Output>) {
        if self.stopped {
            return self.end(&input, out);
        }
        self.now = self.now.max(now);
        match input {
            Input::WallClock { unix_ns } => self.on_wall_clock(unix_ns),
            Input::Boot(recovered) => self.boot(*recovered),
            Input::Net(event) => self.on_net(event),
            Input::Store(reply) => self.on_store(reply),
            Input::Engine(reply) => self.on_engine(reply),
        }
        self.settle();
        self.flush(out);
        self.check();
    }

    fn deadline(&self) -> Option<Nanos> {
        if self.stopped || self.phase == Phase::Off {
            return None;
        }
        [
            self.timers.deadline(),
            self.phase_deadline(),
            self.values_deadline(),
            self.proposer.deadline().filter(|_| self.execution.is_ready()),
            self.execution.deadline(),
            self.catch_up_deadline(),
            self.healing.deadline(),
            self.tell_deadline(),
            self.hearings.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn wake(&mut self, now: Nanos, out: &mut Outbox<Output>) {
        if self.stopped || self.phase == Phase::Off {
            return;
        }
        self.now = self.now.max(now);
        #[cfg(feature = "planted")]
        let is_seen = !self.config.plants(crate::Planted::PauseUnseen);
        #[cfg(not(feature = "planted"))]
        let is_seen = true;
        if is_seen {
            self.timers.put_off(self.now);
        }
        while let Some(timeout) = self.timers.fire(self.now) {
            self.contest.inputs.push_back(Told::TimeoutElapsed(timeout));
            self.settle();
        }
        let mut wants = Vec::new();
        self.execution.wake(self.now, &mut wants);
        self.want(wants);
        self.settle();
        self.flush(out);
        self.check();
    }
}

impl Core {
    /// When to look at the values again, in the phases that do look.
    fn values_deadline(&self) -> Option<Nanos> {
        match self.phase {
            Phase::Running if !self.host.is_decided() => self.values.deadline(self.current()),
            Phase::Recovering { .. } | Phase::Between { .. } => self.values.search_deadline(self.current()),
            Phase::Running | Phase::Off | Phase::Listening | Phase::Committing => None,
        }
    }

    fn on_net(&mut self, event: NetEvent) {
        match event {
            NetEvent::PeerUp { peer, validator } => {
                self.peers.up(peer, validator);
                self.note_links();
                self.greet(peer, validator);
            }
            NetEvent::PeerDown { peer } => self.lose(peer),
            NetEvent::Message { peer, message } => self.on_message(peer, message),
            NetEvent::Status { peer, status } => self.on_status(peer, status),
            NetEvent::Hearing { peer, hearing } => self.on_hearing(peer, hearing),
            NetEvent::Offer {
                offer,
                peer,
                key,
                init,
                kind,
                certificate,
            } => {
                self.on_offer(offer, peer, key, init, kind, certificate);
            }
            NetEvent::Payload { key, lists, payload } => self.on_payload(key, Body { lists, payload }),
            NetEvent::Flawed { key, flaw } => self.on_flawed(key, flaw),
            NetEvent::Incomplete { key, peer } => self.on_incomplete(key, peer),
            NetEvent::SyncEnded { peer, height, end } => self.on_sync_ended(peer, height, end),
        }
    }

    fn on_store(&mut self, reply: StoreReply) {
        match reply {
            StoreReply::Stored {
                key,
                init,
                lists,
                payload,
                tag,
                blobs,
            } => self.on_stored(key, init, Body { lists, payload }, tag, blobs),
            StoreReply::Refused { key, reason } => self.on_refused(key, &reason),
            StoreReply::LogDurable { lsn } => {
                assert!(lsn <= self.lsn, "the store makes durable only what was appended");
                for parked in self.gate.open(lsn) {
                    self.release(parked);
                }
            }
            StoreReply::EpochBegun(epoch) => self.on_epoch(epoch),
            StoreReply::Committed { height } => self.on_committed(height),
            StoreReply::Loaded { height, value } => {
                let value = value.map(|read| {
                    let DecidedPayload {
                        decided,
                        lists,
                        payload,
                    } = read;
                    (decided.init, Body { lists, payload })
                });
                if value.is_none() {
                    self.on_unread(height);
                }
                let mut wants = Vec::new();
                self.execution.loaded(self.now, height, value, &mut wants);
                self.want(wants);
            }
            StoreReply::Silenced { through } => self.silence_kept = self.silence_kept.max(through),
            StoreReply::EvidenceTaken { .. } => self.evidence_taken(),
            StoreReply::Retired { blobs_below } => self.oldest_blobs = self.oldest_blobs.max(blobs_below),
            StoreReply::Damaged { height } => self.on_damaged(height),
            StoreReply::Failed { reason } => self.stop(Stop::Disk(reason)),
        }
    }

    fn on_engine(&mut self, reply: EngineReply) {
        let mut wants = Vec::new();
        match reply {
            EngineReply::Forkchoice { head, status } => {
                self.execution.forkchoice(self.now, head, &status, &mut wants);
            }
            EngineReply::Newest { number } => self.execution.newest(self.now, number, &mut wants),
            EngineReply::Imported {
                height,
                payload,
                forkchoice,
            } => {
                self.execution
                    .imported(self.now, height, &payload, &forkchoice, &mut wants);
            }
            EngineReply::Built { height, round, result } => self.on_built(height, round, result),
            EngineReply::Executed { key, outcome } => self.on_executed(key, outcome),
            EngineReply::Inspected { key, result } => self.on_inspected(key, result),
        }
        self.want(wants);
    }

    /// Carries on until nothing more follows from what is known.
    fn settle(&mut self) {
        if self.phase == Phase::Off || self.stopped {
            return;
        }
        loop {
            self.consult();
            let before = self.out.len();
            self.step_phase();
            self.judge_all();
            self.inspect_ahead();
            self.propose();
            if self.contest.inputs.is_empty() && self.contest.refeeds.is_empty() && before == self.out.len() {
                break;
            }
            if self.stopped {
                return;
            }
        }
        self.hurry();
        self.search();
        self.catch_up();
        self.heal();
        self.tell();
        self.call();
    }

    /// Asks for one sync that covers everything parked, and hands all outputs over.
    fn flush(&mut self, out: &mut Outbox<Output>) {
        if !self.stopped
            && let Some(wanted) = self.gate.wanted()
            && wanted > self.sync_asked
        {
            self.sync_asked = self.lsn;
            self.store(StoreRequest::LogSync { lsn: self.lsn });
        }
        let stopped = self.stopped;
        // What this very input caused may rest on what went wrong. So a core that stops lets out only its reason, and
        // what has to outlive it: silence, and evidence, which was checked.
        let outlives =
            |request: &StoreRequest| matches!(request, StoreRequest::Silence { .. } | StoreRequest::Evidence(_));
        let leaves = |output: &Output| match output {
            Output::Stop(_) | Output::Event(Event::Evidence(_)) => true,
            Output::Store(request) => !stopped || outlives(request),
            Output::Net(_) | Output::Engine(_) | Output::Event(_) => !stopped,
        };
        for output in self.out.drain(..).filter(leaves) {
            out.push(output);
        }
    }
}
