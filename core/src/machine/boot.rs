//! This file knows how the core wakes up: from what the data directory holds to the first height.

use std::collections::BTreeSet;

use bytes::Bytes;
use malachitebft_core_consensus::Input as Told;
use ultramarine_types::storage::{Blobs, Recovered, Tag};
use ultramarine_types::{Assembly, ConsensusMessage, ValueId, ValueKey};

use super::messages::signatures;
use super::{Core, Phase};
use crate::boot::{self, FirstHeight, SIGNED_ELSEWHERE};
use crate::context::Ctx;
use crate::guard::{Signed, SignedKind};
use crate::log::LogRecord;
use crate::peers;
use crate::stop::{ImpossibleState, Stop};
use crate::values::{Body, KnownValue};

/// Why nothing is signed up to a height; [`SIGNED_ELSEWHERE`] is one more reason.
const INDEX_REBUILT: &str = "the index of this directory was damaged, and was rebuilt";
const DECIDED_ELSEWHERE: &str = "peers were ahead of this directory when it was opened";

impl Core {
    /// The first input: what the data directory holds.
    pub(super) fn boot(&mut self, recovered: Recovered) {
        if self.phase != Phase::Off {
            return self.stop(Stop::State(ImpossibleState::BootedTwice));
        }
        self.oldest_blobs = recovered.oldest_blobs;
        self.retired_below = recovered.oldest_blobs;
        if let Some(decided) = &recovered.head {
            self.move_head(&decided.init, decided.certificate.value_id);
            self.note_signers(&decided.certificate);
        }
        self.note_started();
        self.begin_gathering();
        // We do not know when the head was committed. Nothing is measured from it, and nothing waits for it.
        self.guard.raise(self.head.height);
        let is_of_rebuilding = recovered.silent_through <= recovered.rebuilt_through;
        let why = if is_of_rebuilding {
            INDEX_REBUILT
        } else {
            SIGNED_ELSEWHERE
        };
        self.silence_through(recovered.silent_through, why);
        self.silence_asked = recovered.silent_through;
        self.silence_kept = recovered.silent_through;
        let mut wants = Vec::new();
        self.execution.begin(self.head.height, self.head.block.hash, &mut wants);
        self.want(wants);
        #[cfg(feature = "planted")]
        let recovered = crate::planted::outdate(self.config.planted, recovered);
        let plan = match boot::plan(self.head.height, recovered.log.as_ref(), recovered.silent_through) {
            Ok(plan) => plan,
            Err(stop) => return self.stop(stop),
        };
        for (assembly, tag) in recovered.undecided {
            self.recover(assembly, tag);
        }
        if let Some(log) = &recovered.log {
            self.note_log(&log.records);
        }
        if self.signer.is_some() {
            self.listening_until = Some(self.now + self.config.fresh_directory_listen);
            self.hearings.begin(self.now);
        }
        if let Some(silence) = self.silence(self.current()) {
            self.tell_signing(false, Some(silence));
        }
        #[cfg(feature = "planted")]
        if self.config.plants(crate::Planted::WipedSigns) && matches!(plan, FirstHeight::Listen) {
            self.listening_until = None;
            self.hearings.end();
            return self.await_next(self.now);
        }
        match plan {
            FirstHeight::Listen if self.signer.is_some() => self.phase = Phase::Listening,
            // A full node signs nothing, so it has nothing to listen for.
            FirstHeight::Listen => self.await_next(self.now),
            FirstHeight::Silent(why) => {
                self.forgotten = self.current();
                self.silence_through(self.current(), why);
                self.await_next(self.now);
            }
            FirstHeight::Replay(records) => self.prepare_replay(records),
        }
    }

    /// Takes a whole value that the store found again.
    fn recover(&mut self, assembly: Assembly, tag: Tag) {
        let Assembly {
            key,
            init,
            lists,
            payload,
            blobs,
        } = assembly;
        if key.height <= self.head.height || key.height != init.metadata.height {
            return;
        }
        if blobs.len() != init.metadata.blobs_count as usize {
            // It is of a height past retention, and means nothing without its certificate. Both come again.
            return;
        }
        let ours = init.metadata.origin_proposer == self.address && tag == Tag::Proposed;
        let round = init.metadata.origin_round;
        let value = self.values.entry(key);
        value.init = Some(init);
        value.body = Some(Body { lists, payload });
        value.stored = Some(Blobs::Held);
        if ours && self.signer.is_some() {
            let signed = Signed {
                value_id: Some(key.id),
                valid_round: None,
            };
            if let Err(conflict) = self.guard.learn(key.height, round, SignedKind::Init, signed) {
                return self.stop(Stop::Equivocation(conflict));
            }
            self.proposer.choose(key.height, round, key.id);
        }
    }

    fn prepare_replay(&mut self, records: Vec<LogRecord>) {
        let address = self.address;
        if let Err(conflict) = boot::teach(&mut self.guard, &address, &records) {
            return self.stop(Stop::ContradictoryLog(conflict));
        }
        for record in &records {
            if let LogRecord::Chosen {
                height,
                round,
                value_id,
            }
            | LogRecord::Repeated {
                height,
                round,
                value_id,
            } = record
            {
                self.proposer.remember(*height, *round, *value_id);
            }
        }
        let height = self.current();
        let wanted = boot::wanted(&records);
        for id in &wanted {
            // Our own log names it: it is worth a search, and room in the join.
            self.values.entry(ValueKey { height, id: *id }).polka = true;
        }
        self.phase = Phase::Recovering { records, wanted };
    }

    /// Notes what peers signed at the height of our log. We still know it after a restart, so that we can tell a
    /// validator that lost its disk, which would sign again otherwise.
    fn note_log(&mut self, records: &[Bytes]) {
        for record in records.iter().filter_map(|record| LogRecord::decode(record).ok()) {
            let message = match record {
                LogRecord::Vote(vote) => ConsensusMessage::Vote(vote),
                LogRecord::Proposal(proposal) => ConsensusMessage::Proposal(proposal),
                LogRecord::Polka(polka) => ConsensusMessage::Polka(polka),
                LogRecord::Timeout { .. }
                | LogRecord::Value { .. }
                | LogRecord::Chosen { .. }
                | LogRecord::Repeated { .. } => continue,
            };
            // The guard learns our own from the same log.
            let others = signatures(&message)
                .into_iter()
                .filter(|one| one.signer() != self.address);
            others
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|one| self.note_signed(one));
        }
    }

    /// Replays the log once we have listened to the peers, and have every value that it calls valid. A certificate and
    /// its value end the wait as well.
    pub(super) fn try_replay(&mut self, records: &[LogRecord], wanted: &BTreeSet<ValueId>) {
        let height = self.current();
        if self.silence(height).is_some() {
            // Others decided this height. We sign nothing more at it, so we do not need the log.
            self.silence_through(height, DECIDED_ELSEWHERE);
            return self.await_next(self.now);
        }
        // Any directory may be a copy of an earlier moment, such as a machine's snapshot. What leaves this node was in
        // its log before. So a peer that has seen more proves the copy, and we hear it before we sign anything more.
        // While the others stand still at this very height, only such a signature can tell us.
        if !self.has_listened() {
            return;
        }
        if self.are_stored(wanted) && self.has_gathered() {
            self.replay(records);
        }
    }

    /// Whether the bytes of these values of the current height are durable.
    pub(super) fn are_stored(&self, values: &BTreeSet<ValueId>) -> bool {
        let height = self.current();
        values.iter().all(|id| {
            let value = self.values.get(&ValueKey { height, id: *id });
            value.is_some_and(KnownValue::is_stored)
        })
    }

    fn replay(&mut self, records: &[LogRecord]) {
        let inputs: Vec<Told<Ctx>> = records.iter().filter_map(LogRecord::to_input).collect();
        // What the log has is durable, and is not appended again. New signatures are.
        self.contest.replayed = records.iter().map(LogRecord::encode).collect();
        self.contest.logging = true;
        self.tell_signing(true, None);
        self.phase = Phase::Running;
        self.begin_contest();
        self.start_consensus(true);
        self.host.begin_replay(&inputs);
        for input in inputs {
            if self.stopped || self.phase != Phase::Running {
                break;
            }
            if let Told::Proposal(proposal) = &input {
                let proposal = crate::convert::proposal_from(&proposal.message, proposal.signature);
                let key = ValueKey {
                    height: proposal.height,
                    id: proposal.value_id,
                };
                let value = self.values.entry(key);
                value.proposed_in = value.proposed_in.max(Some(proposal.round));
                self.contest
                    .proposals
                    .insert((proposal.round, proposal.value_id), proposal);
            }
            self.feed(input);
        }
        self.host.end_replay();
        self.contest.replayed.clear();
        if self.phase == Phase::Running {
            self.tell_round(self.host_round());
        }
        self.publish_again();
        self.take_early();
    }

    /// Listening is over. We sign nothing at heights that others decided, nor where a message of ours proved that we
    /// signed before.
    pub(super) fn listened(&mut self) {
        let tip = peers::honest_height(&self.config.validators, &self.heard());
        if tip > self.head.height {
            tracing::warn!(%tip, "peers are ahead of this directory: nothing is signed up to there");
        }
        self.silence_through(tip, DECIDED_ELSEWHERE);
        self.forgotten = self.guard.watermark();
        self.await_next(self.now);
    }
}
