//! This file knows what a node tells people about itself: one snapshot, written by the core tile, read by anyone.
//!
//! Keeps: the best tip is no lower than our own height, and the newest decisions are listed in order of height.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use ultramarine_core::clocks::{self, Grade};
use ultramarine_core::io::Event;
use ultramarine_types::storage::Source;
use ultramarine_types::{Address, ChainIdentity, Hash, Height, Nanos, PeerId, Round, ValueId};

use ultramarine_engine::Waiting;

/// Decided heights the snapshot lists.
const RECENT_MAX: usize = 16;
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
}

/// Shared by the core tile, HTTP and the devnet.
#[derive(Debug)]
pub struct Board {
    snapshot: Mutex<Snapshot>,
    waiting: Waiting,
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
            }),
            waiting: Waiting::default(),
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

    /// The node as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let waiting = self.waiting.reason();
        Snapshot {
            waiting,
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
        let lag = self.best_tip.0.saturating_sub(self.height.0);
        if lag > LAG_READY_MAX {
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
mod tests {
    use ultramarine_types::CommitCertificate;

    use super::*;

    fn board(validators: usize) -> Board {
        Board::new(NodeIdentity {
            name: "a".to_owned(),
            version: "1".to_owned(),
            chain_id: 5,
            genesis_hash: ChainIdentity::ZERO,
            address: Some(Address::ZERO),
            peer_id: PeerId::ZERO,
            validators,
        })
    }

    fn decided(height: u64, round: u32) -> Event {
        Event::Decided {
            certificate: CommitCertificate {
                height: Height(height),
                round: Round(round),
                value_id: ValueId::ZERO,
                signatures: Vec::new(),
            },
            blobs: 3,
            bytes: 1000,
            origin_proposer: Address::ZERO,
            origin_round: Round(0),
            block_hash: Hash([9; 32]),
            synced: false,
        }
    }

    #[test]
    fn decisions_add_up_and_only_the_newest_are_listed() {
        let board = board(4);
        for height in 1..=40 {
            board.apply(&decided(height, u32::from(height == 7)));
        }
        let snapshot = board.snapshot();
        assert_eq!((snapshot.height, snapshot.head), (Height(40), Hash([9; 32])));
        assert_eq!(
            (snapshot.decided_total, snapshot.blobs_total, snapshot.bytes_total),
            (40, 120, 40_000)
        );
        assert_eq!(snapshot.rounds_above_zero, 1);
        assert_eq!(snapshot.decided.len(), RECENT_MAX);
        assert_eq!(
            snapshot.decided.back().map(|decision| decision.height),
            Some(Height(40))
        );
    }

    #[test]
    fn a_node_is_ready_when_nothing_speaks_against_it() {
        let board = board(4);
        assert_eq!(
            board.snapshot().unready().len(),
            2,
            "no readiness, no peers: {:?}",
            board.snapshot().unready()
        );
        board.apply(&Event::Readiness {
            ready: false,
            why: "SYNCING".to_owned(),
            is_news: true,
        });
        board.peer_up();
        let reasons = board.snapshot().unready();
        assert!(reasons.len() == 1 && reasons[0].contains("SYNCING"), "{reasons:?}");
        board.apply(&Event::Readiness {
            ready: true,
            why: String::new(),
            is_news: true,
        });
        assert!(board.snapshot().unready().is_empty());
        board.apply(&Event::Signing {
            height: Height(1),
            active: false,
            usual: false,
            why: "listening first".to_owned(),
        });
        assert!(board.snapshot().unready()[0].contains("listening first"));
        board.apply(&Event::Signing {
            height: Height(1),
            active: true,
            usual: true,
            why: String::new(),
        });
        board.apply(&Event::Lag {
            ours: Height(0),
            best: Height(10),
        });
        assert!(board.snapshot().unready()[0].contains("10 heights behind"));
        board.apply(&decided(10, 0));
        assert!(board.snapshot().unready().is_empty());
    }

    /// A board with nothing against its node.
    fn ready() -> Board {
        let board = board(1);
        board.apply(&Event::Readiness {
            ready: true,
            why: String::new(),
            is_news: true,
        });
        assert_eq!(board.snapshot().unready(), [""; 0]);
        board
    }

    fn only_reason(board: &Board) -> String {
        let reasons = board.snapshot().unready();
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        reasons[0].clone()
    }

    #[test]
    fn a_wrong_clock_is_a_reason_and_one_that_is_a_little_off_is_not() {
        let board = ready();
        let clock = |offset_ns, grade| Event::Clock {
            offset_ns,
            grade,
            peers_off: 0,
        };
        board.apply(&clock(Some(-60_000_000_000), Grade::Wrong));
        assert!(only_reason(&board).contains("our clock is 60.0 s behind the validators'"));
        assert_eq!(board.snapshot().clock_offset_ms, Some(-60_000));
        board.apply(&clock(Some(60_400_000_000), Grade::Wrong));
        assert!(only_reason(&board).contains("60.4 s ahead of the validators'"));
        // The last: it was just set right, and its grade takes a few looks to follow.
        for (offset_ns, grade) in [
            (Some(3_000_000_000), Grade::Off),
            (None, Grade::Right),
            (Some(-1_000_000), Grade::Wrong),
        ] {
            board.apply(&clock(offset_ns, grade));
            assert_eq!(board.snapshot().unready(), [""; 0]);
        }
    }

    #[test]
    fn a_peer_with_a_wrong_clock_is_no_reason() {
        let board = ready();
        board.apply(&Event::PeerClock {
            validator: Address::ZERO,
            offset_ns: 60_000_000_000,
            grade: Grade::Wrong,
        });
        assert_eq!(board.snapshot().unready(), [""; 0]);
    }

    #[test]
    fn damaged_heights_are_a_reason_until_the_last_is_restored() {
        let board = ready();
        let height = Height(7);
        for damaged_count in [1, 2] {
            board.apply(&Event::Damaged { height, damaged_count });
        }
        assert!(only_reason(&board).starts_with("2 decided heights are damaged on disk"));
        let damaged_count = 0;
        board.apply(&Event::Restored { height, damaged_count });
        assert_eq!(board.snapshot().unready(), [""; 0]);
    }

    #[test]
    fn a_height_that_stands_still_is_a_reason_until_it_moves() {
        let board = ready();
        let stalled = Event::Stalled {
            height: Height(8),
            still: Nanos::from_millis(34_700),
            why: "round 4".to_owned(),
            is_news: true,
        };
        for end in [decided(8, 0), Event::Moving { height: Height(8) }] {
            board.apply(&stalled);
            assert_eq!(only_reason(&board), "height 8 has not been decided for 34 s: round 4");
            board.apply(&end);
            assert_eq!(board.snapshot().unready(), [""; 0]);
        }
    }

    #[test]
    fn a_tile_that_takes_no_turn_is_a_reason_until_it_does() {
        let board = ready();
        let hung = |seconds| {
            vec![HungTile {
                tile: "store".to_owned(),
                seconds,
            }]
        };
        board.hung(hung(HUNG_SECONDS - 1));
        assert_eq!(board.snapshot().unready(), [""; 0]);
        board.hung(hung(HUNG_SECONDS));
        assert_eq!(only_reason(&board), "tile store has taken no turn for 5 s");
        board.hung(Vec::new());
        assert_eq!(board.snapshot().unready(), [""; 0]);
    }

    #[test]
    fn status_keeps_the_field_names_that_dashboards_read() {
        let status = serde_json::to_value(board(1).snapshot()).expect("a snapshot has a JSON form");
        for name in ["gate", "silent"] {
            assert!(status.get(name).is_some(), "{name} is not in {status}");
        }
    }

    #[test]
    fn a_lone_validator_needs_no_peer() {
        let board = board(1);
        board.apply(&Event::Readiness {
            ready: true,
            why: String::new(),
            is_news: true,
        });
        assert!(board.snapshot().unready().is_empty());
        board.peer_down();
        assert_eq!(board.snapshot().peers, 0, "peers never go below zero");
    }

    #[test]
    fn an_invalid_value_is_counted() {
        let board = board(4);
        board.apply(&Event::InvalidValue {
            key: ultramarine_types::ValueKey {
                height: Height(7),
                id: ValueId::ZERO,
            },
            origin_proposer: Address::ZERO,
            reason: "blobs: 7 where 6 are allowed".to_owned(),
        });
        assert_eq!(board.snapshot().invalid_values, 1);
    }

    #[test]
    fn a_snapshot_survives_json() {
        let board = board(4);
        board.apply(&decided(1, 0));
        let text = serde_json::to_string(&board.snapshot()).expect("plain data");
        let back: Snapshot = serde_json::from_str(&text).expect("the same shape");
        assert_eq!(back, board.snapshot());
    }
}
