//! This file knows what a node tells people about itself: one snapshot, written by the core tile, read by anyone.
//!
//! Keeps: the best tip is no lower than our own height, and the newest decisions are listed in order of height.

mod beginnings;
mod words;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use ultramarine_core::clocks::{self, Grade};
use ultramarine_core::io::Event;
use ultramarine_runtime::Moment;
use ultramarine_types::storage::Source;
use ultramarine_types::{Address, ChainIdentity, Hash, Height, Nanos, PeerId, Round, ValueId};

use ultramarine_engine::Waiting;

use crate::archive::progress::{ArchiveProgress, ArchiveStatus};
use crate::catch_up::{CatchUp, CatchUpKind, CatchUpStatus, HealingProgress};
use crate::disk::DiskOutlook;

use beginnings::Turns;
pub use beginnings::{Condition, Disturbance, DisturbanceKind};
use words::clock_off_words;
pub use words::{clock_words, stall_words};

/// Decided heights the snapshot lists.
pub const RECENT_MAX: usize = 32;
/// A node this many heights behind the best tip it has heard of is not ready to be relied on.
const LAG_READY_MAX: u64 = 2;

/// Own proposals that are remembered.
const PROPOSALS_MAX: usize = 10;
/// Disturbances that are remembered: the newest of each kind and some before.
const DISTURBANCES_MAX: usize = 8;

/// If a tile takes no turn for this long, nobody should rely on the node.
pub const HUNG_SECONDS: u64 = 5;

/// A tile that has taken no turn for a while.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HungTile {
    pub tile: String,
    pub seconds: u64,
}

/// A peer that the configuration names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfiguredPeer {
    pub peer: PeerId,
    /// Where it is dialled.
    pub address: String,
    pub connected: bool,
}

/// What became of our newest proposals.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct ProposalRecord {
    /// Whether each was missed: its height was decided in a later round. Newest last.
    pub missed: VecDeque<bool>,
    /// The turn of ours that is not decided yet.
    #[serde(skip)]
    turn: Option<(Height, Round)>,
}

impl ProposalRecord {
    /// A round of ours begins.
    fn begin(&mut self, height: Height, round: Round) {
        let before = self.turn.replace((height, round));
        // Another round of ours at the same height: the one before came to nothing.
        if before.is_some_and(|(at, earlier)| at == height && earlier < round) {
            self.note(true);
        }
    }

    /// A height was decided in a round that this node took part in.
    fn decided(&mut self, height: Height, round: Round) {
        let turn = self.turn.take();
        if let Some((_, ours)) = turn.filter(|(at, ours)| *at == height && *ours <= round) {
            self.note(ours < round);
        }
    }

    fn note(&mut self, missed: bool) {
        if self.missed.len() == PROPOSALS_MAX {
            self.missed.pop_front();
        }
        self.missed.push_back(missed);
    }
}

/// Who the node is; fixed while it runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// Its name from the configuration.
    pub name: String,
    /// Version of the binary.
    pub version: String,
    pub chain_id: u64,
    /// The chain's identity.
    pub genesis_hash: ChainIdentity,
    /// The validator's address; `None`: a full node.
    pub address: Option<Address>,
    pub peer_id: PeerId,
    /// Validators of the chain, this node included if it is one.
    pub validators: usize,
}

/// A decided height, in short.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DecisionSummary {
    pub height: Height,
    pub value_id: ValueId,
    /// The round of the certificate.
    pub round: Round,
    /// Blobs of the block.
    pub blobs: u32,
    /// Payload and blob bytes.
    pub bytes: u64,
    pub block_hash: Hash,
    pub origin_proposer: Address,
}

/// The node at one moment; what `/status` answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    #[serde(flatten)]
    pub identity: NodeIdentity,
    pub height: Height,
    /// Its execution block; zero before the first.
    pub head: Hash,
    /// Round at the height after it.
    pub round: Round,
    /// Who proposes in that round.
    pub proposer: Option<Address>,
    /// Whether this node signs; `None`: not known yet.
    pub signing: Option<Condition>,
    /// For how many seconds this validator has not signed for the usual reason: others decided the height before it
    /// came there. `None`: it signs, or has another reason.
    #[serde(default)]
    pub usual_silence_s: Option<u64>,
    /// Whether the execution client confirms our head and calls the newest blocks `VALID`; `None`: not known yet.
    #[serde(rename = "gate")]
    pub readiness: Option<Condition>,
    /// Newest height the execution client has imported.
    pub executed_height: Height,
    /// Newest height whose block the execution client has called `VALID`, on a vote or on its import.
    #[serde(default)]
    pub valid_height: Height,
    /// Highest height known to be decided: ours, one that a certificate proves, or that more than a third of the power
    /// claims.
    pub best_tip: Height,
    pub peers: usize,
    /// Heights decided since the process started.
    pub decided_total: u64,
    /// Blobs of those heights.
    pub blobs_total: u64,
    /// Their payload and blob bytes.
    pub bytes_total: u64,
    /// How many of them were decided in a round above 0.
    pub rounds_above_zero: u64,
    /// Values found invalid since the process started.
    pub invalid_values: u64,
    /// Pieces of evidence against validators, seen since the process started.
    pub evidence: u64,
    /// The call that the execution client has not answered for long; `None`: there is none.
    #[serde(default)]
    pub waiting: Option<String>,
    /// The newest call that the execution client answered slowly, if that was not long ago.
    #[serde(default)]
    pub slow_call: Option<String>,
    /// Newest decisions, newest last.
    pub decided: VecDeque<DecisionSummary>,
    /// How far our wall clock is ahead of the validators' median, in milliseconds; `None`: we hear too few of them.
    #[serde(default)]
    pub clock_offset_ms: Option<i64>,
    /// What is wrong with our wall clock; `None` if it is right enough.
    #[serde(default)]
    pub clock: Option<String>,
    /// How far our wall clock is off, while that is more than it should be and not wrong yet.
    #[serde(default)]
    pub clock_off: Option<String>,
    /// Why the height does not move, while it should.
    #[serde(default)]
    pub stall: Option<String>,
    /// Decided heights that are damaged on disk and are being fetched from peers.
    #[serde(default)]
    pub damaged_heights: usize,
    /// Tiles that have taken no turn for a while.
    #[serde(rename = "silent", default)]
    pub hung: Vec<HungTile>,
    /// How far the archive is; `None`: there is none.
    #[serde(default)]
    pub archive: Option<ArchiveStatus>,
    /// What happened to the process as a whole, newest last.
    #[serde(default)]
    pub disturbances: VecDeque<Disturbance>,
    /// The peers that the configuration names with their keys.
    #[serde(default)]
    pub configured_peers: Vec<ConfiguredPeer>,
    #[serde(default)]
    pub proposals: ProposalRecord,
    /// The data directory's disk; `None`: not looked at yet.
    #[serde(default)]
    pub disk: Option<DiskOutlook>,
    /// Whether io_uring was wanted and is refused here.
    #[serde(default)]
    pub io_fallback: bool,
    /// Kernel limits that are too low, one line each.
    #[serde(default)]
    pub limits_low: Vec<String>,
    /// How a node that lags catches up; `None`: it does not lag.
    #[serde(default)]
    pub catch_up: Option<CatchUpStatus>,
    /// How an execution client that lags behind us is fed; `None`: it does not lag.
    #[serde(default)]
    pub client_catch_up: Option<CatchUpStatus>,
    /// How the heights are restored that a disk has damaged; `None`: none is damaged.
    #[serde(default)]
    pub healing: Option<CatchUpStatus>,
    #[serde(skip)]
    turns: Turns,
}

/// Shared by the core tile, HTTP and the devnet.
#[derive(Debug)]
pub struct Board {
    snapshot: Mutex<Snapshot>,
    catch_up: Mutex<CatchUp>,
    client_catch_up: Mutex<CatchUp>,
    healing: Mutex<HealingProgress>,
    /// The newest decided height, for those who wait for the next one.
    heights: watch::Sender<Height>,
    waiting: Waiting,
    /// Since when it has been silent for the usual reason.
    usual_silence: Mutex<Option<Instant>>,
    archive: OnceLock<ArchiveProgress>,
}

impl Board {
    /// The board of a node that has just started.
    pub fn new(identity: NodeIdentity) -> Self {
        Self {
            snapshot: Mutex::new(Snapshot {
                identity,
                height: Height::GENESIS,
                head: Hash::ZERO,
                round: Round(0),
                proposer: None,
                signing: None,
                usual_silence_s: None,
                readiness: None,
                executed_height: Height::GENESIS,
                valid_height: Height::GENESIS,
                best_tip: Height::GENESIS,
                peers: 0,
                decided_total: 0,
                blobs_total: 0,
                bytes_total: 0,
                rounds_above_zero: 0,
                invalid_values: 0,
                evidence: 0,
                waiting: None,
                slow_call: None,
                decided: VecDeque::new(),
                clock_offset_ms: None,
                clock: None,
                clock_off: None,
                stall: None,
                damaged_heights: 0,
                hung: Vec::new(),
                archive: None,
                disturbances: VecDeque::new(),
                configured_peers: Vec::new(),
                proposals: ProposalRecord::default(),
                disk: None,
                io_fallback: false,
                limits_low: Vec::new(),
                catch_up: None,
                client_catch_up: None,
                healing: None,
                turns: Turns::default(),
            }),
            catch_up: Mutex::default(),
            client_catch_up: Mutex::default(),
            healing: Mutex::default(),
            heights: watch::Sender::new(Height::GENESIS),
            waiting: Waiting::default(),
            usual_silence: Mutex::default(),
            archive: OnceLock::new(),
        }
    }

    /// Takes over what this node decided before it was last stopped.
    pub fn resume(&self, source: &dyn Source) {
        let Some(head) = source.entry(source.head()) else {
            return;
        };
        let mut snapshot = self.lock();
        snapshot.height = head.certificate.height;
        snapshot.best_tip = snapshot.best_tip.max(snapshot.height);
        snapshot.head = head.block_hash;
        self.heights.send_replace(snapshot.height);
    }

    /// Notes an event of the core.
    pub fn apply(&self, event: &Event) {
        self.apply_at(event, Moment::now());
    }

    fn apply_at(&self, event: &Event, now: Moment) {
        let mut guard = self.lock();
        let snapshot = &mut *guard;
        match event {
            Event::Round {
                height,
                round,
                proposer,
                ours,
            } => {
                snapshot.round = *round;
                snapshot.proposer = Some(*proposer);
                if *ours {
                    snapshot.proposals.begin(*height, *round);
                }
            }
            Event::Decided {
                certificate,
                blobs,
                bytes,
                origin_proposer,
                block_hash,
                synced,
                client_valid,
                ..
            } => {
                if *client_valid {
                    snapshot.valid_height = snapshot.valid_height.max(certificate.height);
                }
                if !synced {
                    snapshot.proposals.decided(certificate.height, certificate.round);
                }
                snapshot.decide(DecisionSummary {
                    height: certificate.height,
                    value_id: certificate.value_id,
                    round: certificate.round,
                    blobs: *blobs,
                    bytes: *bytes,
                    block_hash: *block_hash,
                    origin_proposer: *origin_proposer,
                });
                self.heights.send_replace(certificate.height);
            }
            Event::Readiness { ready, why, .. } => {
                let (before, begun) = (snapshot.readiness.as_ref(), &mut snapshot.turns.readiness);
                snapshot.readiness = Some(Condition::turned(before, *ready, why, begun, now));
            }
            Event::Executed { height } => snapshot.executed(*height),
            Event::InvalidValue { .. } => snapshot.invalid_values += 1,
            Event::Evidence(_) => snapshot.evidence += 1,
            Event::Signing { active, usual, why, .. } => {
                let mut silence = locked(&self.usual_silence);
                *silence = (*usual && !active).then(|| silence.unwrap_or_else(Instant::now));
                let (before, begun) = (snapshot.signing.as_ref(), &mut snapshot.turns.signing);
                snapshot.signing = Some(Condition::turned(before, *active, why, begun, now));
            }
            Event::Lag { best, .. } => snapshot.best_tip = snapshot.height.max(*best),
            Event::Damaged { damaged_count, .. } | Event::Restored { damaged_count, .. } => {
                snapshot.damaged_heights = *damaged_count;
            }
            Event::Clock { offset_ns, grade, .. } => {
                snapshot.clock_offset_ms = offset_ns.map(|offset| offset / 1_000_000);
                let said = offset_ns.filter(|offset| clocks::is_said(*offset));
                snapshot.clock = said
                    .filter(|_| *grade == Grade::Wrong)
                    .map(|offset| clock_words("our clock is", offset));
                snapshot.clock_off = said.filter(|_| *grade == Grade::Off).map(clock_off_words);
            }
            Event::Stalled { height, still, why, .. } => snapshot.stall = Some(stall_words(*height, *still, why)),
            Event::Moving { .. } => snapshot.stall = None,
            // Histograms and the record of signatures have endpoints of their own.
            Event::Stage { .. } | Event::Signed { .. } | Event::PeerClock { .. } => {}
        }
        snapshot.check();
    }

    /// Looks how far a node that lags has come. Answers what is worth a line.
    pub fn look_behind(&self, now: Nanos) -> Option<String> {
        let (height, target, is_behind) = {
            let snapshot = self.lock();
            (snapshot.height, snapshot.best_tip, snapshot.is_behind())
        };
        locked(&self.catch_up).observe(now, height, target, is_behind)
    }

    /// Looks how far an execution client that is fed has come. Answers what is worth a line.
    pub fn look_at_client(&self, now: Nanos) -> Option<String> {
        let (executed, target) = {
            let snapshot = self.lock();
            (snapshot.executed_height, snapshot.height)
        };
        let is_behind = target.0.saturating_sub(executed.0) > LAG_READY_MAX;
        locked(&self.client_catch_up).observe(now, executed, target, is_behind)
    }

    /// Looks how many damaged heights are restored. Answers what is worth a line.
    pub fn look_at_healing(&self, now: Nanos) -> Option<String> {
        let damaged_count = self.lock().damaged_heights as u64;
        locked(&self.healing).observe(now, damaged_count)
    }

    /// How far a work is; `None` if there is none of it.
    pub fn progress(&self, kind: CatchUpKind, now: Nanos) -> Option<CatchUpStatus> {
        match kind {
            CatchUpKind::CatchUp => locked(&self.catch_up).status(now),
            CatchUpKind::Feeding => locked(&self.client_catch_up).status(now),
            CatchUpKind::Healing => locked(&self.healing).status(now),
        }
    }

    /// The newest decided height, to be waited for. Whoever reads slowly sees the newest alone.
    pub fn heights(&self) -> watch::Receiver<Height> {
        self.heights.subscribe()
    }

    /// Replaces the list of tiles that take no turn.
    pub fn hung(&self, hung: Vec<HungTile>) {
        self.lock().hung = hung;
    }

    /// A peer's first connection is up.
    pub fn peer_up(&self, peer: &PeerId) {
        let mut snapshot = self.lock();
        snapshot.peers += 1;
        snapshot.mark(peer, true);
    }

    /// A peer's last connection is gone.
    pub fn peer_down(&self, peer: &PeerId) {
        let mut snapshot = self.lock();
        snapshot.peers = snapshot.peers.saturating_sub(1);
        snapshot.mark(peer, false);
    }

    /// The peers that should be connected; none of them is yet.
    pub fn expect_peers(&self, peers: Vec<ConfiguredPeer>) {
        self.lock().configured_peers = peers;
    }

    /// What this machine refuses or limits, as found at the start.
    pub fn show_surroundings(&self, io_fallback: bool, limits_low: Vec<String>) {
        let mut snapshot = self.lock();
        snapshot.io_fallback = io_fallback;
        snapshot.limits_low = limits_low;
    }

    /// Something happened to the process as a whole.
    pub fn disturbed(&self, kind: DisturbanceKind, what: String, now: Moment) {
        let disturbance = Disturbance::seen(kind, what, now);
        let mut snapshot = self.lock();
        if snapshot.disturbances.len() == DISTURBANCES_MAX {
            snapshot.disturbances.pop_front();
        }
        snapshot.disturbances.push_back(disturbance);
    }

    /// What was shown last of the data directory's disk.
    pub fn disk(&self) -> Option<DiskOutlook> {
        self.lock().disk
    }

    /// How full the data directory's disk is.
    pub fn show_disk(&self, disk: DiskOutlook) {
        self.lock().disk = Some(disk);
    }

    /// Where the engine's calls are noted while they run.
    pub fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// Shows an archive's progress from now on.
    pub fn show_archive(&self, progress: ArchiveProgress) {
        self.archive.get_or_init(|| progress);
    }

    /// The node as it is now.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot_at(Moment::now())
    }

    pub(crate) fn snapshot_at(&self, now: Moment) -> Snapshot {
        let mut snapshot = Snapshot {
            waiting: self.waiting.reason(),
            slow_call: self.waiting.slow_call(),
            usual_silence_s: self.usual_silence_s(Instant::now()),
            archive: self.archive.get().map(ArchiveProgress::status),
            catch_up: self.progress(CatchUpKind::CatchUp, now.at),
            client_catch_up: self.progress(CatchUpKind::Feeding, now.at),
            healing: self.progress(CatchUpKind::Healing, now.at),
            ..self.lock().clone()
        };
        snapshot.date(now);
        snapshot
    }

    fn usual_silence_s(&self, now: Instant) -> Option<u64> {
        let since = *locked(&self.usual_silence);
        since.map(|since| now.saturating_duration_since(since).as_secs())
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        // Every writer leaves the snapshot whole, so one that panicked did no harm.
        self.snapshot.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Snapshot {
    fn decide(&mut self, decision: DecisionSummary) {
        self.height = decision.height;
        self.best_tip = self.best_tip.max(decision.height);
        self.head = decision.block_hash;
        self.round = Round(0);
        self.stall = None;
        self.decided_total += 1;
        self.blobs_total += u64::from(decision.blobs);
        self.bytes_total += decision.bytes;
        self.rounds_above_zero += u64::from(decision.round > Round(0));
        if self.decided.len() == RECENT_MAX {
            self.decided.pop_front();
        }
        self.decided.push_back(decision);
    }

    fn executed(&mut self, height: Height) {
        // A client that has lost blocks has lost its word on them too.
        let has_lost = height < self.executed_height;
        self.executed_height = height;
        self.valid_height = if has_lost {
            height
        } else {
            self.valid_height.max(height)
        };
    }

    fn mark(&mut self, peer: &PeerId, connected: bool) {
        let named = self.configured_peers.iter_mut().find(|named| named.peer == *peer);
        if let Some(named) = named {
            named.connected = connected;
        }
    }

    fn check(&self) {
        assert!(
            self.best_tip >= self.height,
            "we have heard of what we decided ourselves"
        );
        assert!(self.decided.len() <= RECENT_MAX, "the list of decisions is bounded");
        if let Some(newest) = self.decided.back() {
            assert!(newest.height == self.height, "the newest decision is our height");
        }
        let mut newest_first = self.decided.iter().rev().map(|decision| decision.height);
        if let (Some(newest), Some(before)) = (newest_first.next(), newest_first.next()) {
            assert!(before < newest, "decisions come in order of height");
        }
    }

    /// Heights that we know to be decided and do not have.
    pub const fn lag(&self) -> u64 {
        self.best_tip.0.saturating_sub(self.height.0)
    }

    /// Whether the execution client has still to call the block of this height `VALID`. Its word on a block is its word
    /// on all before it.
    pub fn is_optimistic(&self, height: Height) -> bool {
        height > self.valid_height
    }

    /// Whether the node is too far behind to be relied on.
    pub const fn is_behind(&self) -> bool {
        self.lag() > LAG_READY_MAX
    }
}

fn locked<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
