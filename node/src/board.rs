//! This file knows what a node tells people about itself: one snapshot, written by the core tile, read by anyone.
//!
//! Keeps: the best tip is no lower than our own height, and the newest decisions are listed in order of height.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use ultramarine_core::clocks::{self, Grade};
use ultramarine_core::io::Event;
use ultramarine_runtime::Clock;
use ultramarine_types::storage::Source;
use ultramarine_types::{Address, ChainIdentity, Hash, Height, Nanos, PeerId, Round, ValueId};

use ultramarine_engine::Waiting;

use crate::archive::progress::{ArchiveProgress, ArchiveStatus};
use crate::catch_up::{CatchUp, CatchUpStatus};

/// Decided heights the snapshot lists.
const RECENT_MAX: usize = 32;
/// A node this many heights behind the best tip it has heard of is not ready to be relied on.
const LAG_READY_MAX: u64 = 2;

/// If a tile takes no turn for this long, nobody should rely on the node.
pub const HUNG_SECONDS: u64 = 5;

/// A tile that has taken no turn for a while.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HungTile {
    pub tile: String,
    pub seconds: u64,
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

/// Whether something is so, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Condition {
    pub on: bool,
    /// One line for the operator.
    pub why: String,
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
    /// Whether the execution client confirms our head and calls the newest blocks `VALID`; `None`: not known yet.
    #[serde(rename = "gate")]
    pub readiness: Option<Condition>,
    /// Newest height the execution client has imported.
    pub executed_height: Height,
    /// Highest decided height any peer claims, or our own.
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
    /// Newest decisions, newest last.
    pub decided: VecDeque<DecisionSummary>,
    /// How far our wall clock is ahead of the validators' median, in milliseconds; `None`: we hear too few of them.
    #[serde(default)]
    pub clock_offset_ms: Option<i64>,
    /// What is wrong with our wall clock; `None` if it is right enough.
    #[serde(default)]
    pub clock: Option<String>,
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
    /// How a node that lags catches up; `None`: it does not lag.
    #[serde(default)]
    pub catch_up: Option<CatchUpStatus>,
}

/// Shared by the core tile, HTTP and the devnet.
#[derive(Debug)]
pub struct Board {
    snapshot: Mutex<Snapshot>,
    catch_up: Mutex<CatchUp>,
    /// The newest decided height, for those who wait for the next one.
    heights: watch::Sender<Height>,
    waiting: Waiting,
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
                readiness: None,
                executed_height: Height::GENESIS,
                best_tip: Height::GENESIS,
                peers: 0,
                decided_total: 0,
                blobs_total: 0,
                bytes_total: 0,
                rounds_above_zero: 0,
                invalid_values: 0,
                evidence: 0,
                waiting: None,
                decided: VecDeque::new(),
                clock_offset_ms: None,
                clock: None,
                stall: None,
                damaged_heights: 0,
                hung: Vec::new(),
                archive: None,
                catch_up: None,
            }),
            catch_up: Mutex::default(),
            heights: watch::Sender::new(Height::GENESIS),
            waiting: Waiting::default(),
            archive: OnceLock::new(),
        }
    }

    /// Takes over what this node decided before it was last stopped.
    pub fn resume(&self, source: &dyn Source) {
        let Some(decided) = source.decided(source.head()) else {
            return;
        };
        let mut snapshot = self.lock();
        snapshot.height = decided.certificate.height;
        snapshot.best_tip = snapshot.best_tip.max(snapshot.height);
        snapshot.head = decided.init.metadata.header.block_hash;
        self.heights.send_replace(snapshot.height);
    }

    /// Notes an event of the core.
    pub fn apply(&self, event: &Event) {
        let mut snapshot = self.lock();
        match event {
            Event::Round { round, proposer, .. } => {
                snapshot.round = *round;
                snapshot.proposer = Some(*proposer);
            }
            Event::Decided {
                certificate,
                blobs,
                bytes,
                origin_proposer,
                block_hash,
                ..
            } => {
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
                snapshot.readiness = Some(Condition {
                    on: *ready,
                    why: why.clone(),
                })
            }
            Event::Executed { height } => snapshot.executed_height = *height,
            Event::InvalidValue { .. } => snapshot.invalid_values += 1,
            Event::Evidence(_) => snapshot.evidence += 1,
            Event::Signing { active, why, .. } => {
                snapshot.signing = Some(Condition {
                    on: *active,
                    why: why.clone(),
                })
            }
            Event::Lag { best, .. } => snapshot.best_tip = snapshot.height.max(*best),
            Event::Damaged { damaged_count, .. } | Event::Restored { damaged_count, .. } => {
                snapshot.damaged_heights = *damaged_count;
            }
            Event::Clock { offset_ns, grade, .. } => {
                snapshot.clock_offset_ms = offset_ns.map(|offset| offset / 1_000_000);
                snapshot.clock = offset_ns
                    .filter(|offset| *grade == Grade::Wrong && clocks::is_said(*offset))
                    .map(|offset| clock_words("our clock is", offset));
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
        self.catch_up().observe(now, height, target, is_behind)
    }

    /// How a node that lags catches up; `None` if it does not lag.
    pub fn catch_up_status(&self, now: Nanos) -> Option<CatchUpStatus> {
        self.catch_up().status(now)
    }

    fn catch_up(&self) -> MutexGuard<'_, CatchUp> {
        self.catch_up.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub fn peer_up(&self) {
        self.lock().peers += 1;
    }

    /// A peer's last connection is gone.
    pub fn peer_down(&self) {
        let mut snapshot = self.lock();
        snapshot.peers = snapshot.peers.saturating_sub(1);
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
        Snapshot {
            waiting: self.waiting.reason(),
            archive: self.archive.get().map(ArchiveProgress::status),
            catch_up: self.catch_up_status(Clock::start().now()),
            ..self.lock().clone()
        }
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

    /// Whether the node is too far behind to be relied on.
    pub const fn is_behind(&self) -> bool {
        self.lag() > LAG_READY_MAX
    }

    /// Why the node should not be relied on now; empty when it is ready.
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match &self.readiness {
            None => reasons.push("the execution client has not confirmed our head yet".to_owned()),
            Some(readiness) if !readiness.on => {
                reasons.push(format!("the execution client is not ready: {}", readiness.why))
            }
            Some(_) => {}
        }
        reasons.extend(self.waiting.clone());
        if self.is_behind() {
            let lag = self.lag();
            reasons.push(format!(
                "{lag} heights behind: at {}, peers at {}",
                self.height, self.best_tip
            ));
        }
        let others = match self.identity.address {
            Some(_) => self.identity.validators.saturating_sub(1),
            None => self.identity.validators,
        };
        if others > 0 && self.peers == 0 {
            reasons.push("no peer is connected".to_owned());
        }
        match &self.signing {
            Some(signing) if !signing.on && self.identity.address.is_some() => {
                reasons.push(format!("not signing: {}", signing.why));
            }
            _ => {}
        }
        reasons.extend(self.clock.clone());
        reasons.extend(self.stall.clone());
        reasons.extend(self.archive.as_ref().and_then(ArchiveStatus::reason));
        if self.damaged_heights > 0 {
            reasons.push(format!(
                "{} decided heights are damaged on disk: they are not served, and fetched from peers; check the disk \
                 (dmesg, smartctl)",
                self.damaged_heights
            ));
        }
        let hung = self.hung.iter().filter(|tile| tile.seconds >= HUNG_SECONDS);
        reasons.extend(hung.map(|tile| format!("tile {} has taken no turn for {} s", tile.tile, tile.seconds)));
        reasons
    }
}

/// Words an offset for people; `whose` ends in a verb.
pub fn clock_words(whose: &str, offset_ns: i64) -> String {
    let seconds = offset_ns.unsigned_abs() as f64 / 1e9;
    let side = if offset_ns < 0 { "behind" } else { "ahead of" };
    format!("{whose} {seconds:.1} s {side} the validators' (their median); set it right, with NTP for one")
}

/// Words a stall for people.
pub fn stall_words(height: Height, still: Nanos, why: &str) -> String {
    let seconds = still.0 / 1_000_000_000;
    format!("height {height} has not been decided for {seconds} s: {why}")
}

#[cfg(test)]
mod tests;
