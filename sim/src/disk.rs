//! This file knows a disk.
//!
//! Requests take time and are carried out in order. A crash may lose what was not synced, and tear what it cut.
//!
//! It has the meaning of `types/src/storage.rs`: puts and log records become durable together (group commit), a commit
//! is one transaction, a mark is durable before its log file exists.

mod log;
mod rot;
mod shelf;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ultramarine_types::storage::{
    Absent, Blobs, Decided, Decision, LogCondition, LogEpoch, Recovered, RecoveredLog, StoreReply, StoreRequest, Tag,
};
use ultramarine_types::{Assembly, Evidence, Height, Nanos, ValueKey};

use crate::dice::Dice;
pub use log::LogFile;
pub use rot::Rot;
use rot::Rotten;
pub use shelf::Shelf;

/// A decided height on the disk.
#[derive(Clone, Debug)]
pub struct DecidedValue {
    pub decided: Decided,
    pub assembly: Assembly,
}

/// Most requests carried out with one sync.
const GROUP_MAX: usize = 32;

/// One node's disk; it outlives the node's processes.
pub struct Disk {
    decided: BTreeMap<Height, DecidedValue>,
    undecided: BTreeMap<ValueKey, (Assembly, Tag)>,
    mark: Option<LogEpoch>,
    log: Option<LogFile>,
    queue: VecDeque<StoreRequest>,
    /// The group being carried out.
    busy: Vec<StoreRequest>,
    oldest_blobs: Height,
    silent_through: Height,
    rotten: Rotten,
    /// What convicts validators.
    evidence: Vec<Evidence>,
    /// Until when every sync is slow.
    pub slow_until: Nanos,
    /// Until when there is no room for values.
    pub full_until: Nanos,
    /// Whether a crash may leave a mark without its log: the node is then inactive at one height, so only as many nodes
    /// as may be faulty lose theirs.
    pub may_lose_log: bool,
    /// The process dies between the next mark and its log, once.
    pub lose_next_log: bool,
    /// The next sync fails, once.
    pub fail_next: bool,
    /// What crashes and faults did, by name.
    pub damage: BTreeMap<&'static str, u64>,
    /// Longest the queue ever was.
    pub queue_len_max: usize,
    /// Typical time of one sync.
    sync_typical: Nanos,
    dice: Dice,
}

impl Disk {
    pub fn new(seed: u64, node: usize) -> Self {
        Self {
            decided: BTreeMap::new(),
            undecided: BTreeMap::new(),
            mark: None,
            log: None,
            queue: VecDeque::new(),
            busy: Vec::new(),
            oldest_blobs: Height(1),
            silent_through: Height::GENESIS,
            rotten: Rotten::default(),
            evidence: Vec::new(),
            slow_until: Nanos::ZERO,
            full_until: Nanos::ZERO,
            may_lose_log: false,
            lose_next_log: false,
            fail_next: false,
            damage: BTreeMap::new(),
            queue_len_max: 0,
            // From a good NVMe drive to a cloud volume.
            sync_typical: Dice::of(seed, &format!("disk speed {node}")).micros(200, 6000),
            dice: Dice::of(seed, &format!("disk {node}")),
        }
    }

    /// Takes a request; when this answers a span, the driver calls [`finish`](Self::finish) after it.
    pub fn submit(&mut self, now: Nanos, request: StoreRequest) -> Option<Nanos> {
        self.queue.push_back(request);
        self.queue_len_max = self.queue_len_max.max(self.queue.len());
        if self.busy.is_empty() { self.begin(now) } else { None }
    }

    /// The group in progress is durable: its replies, and the span of the next group if requests wait.
    pub fn finish(&mut self, now: Nanos) -> (Vec<StoreReply>, Option<Nanos>) {
        if self.fail_next
            && self
                .busy
                .iter()
                .any(|request| !matches!(request, StoreRequest::Load { .. }))
        {
            self.fail_next = false;
            self.count("disk-failed");
            return (
                vec![StoreReply::Failed {
                    reason: "fdatasync: input/output error".to_owned(),
                }],
                None,
            );
        }
        let group = std::mem::take(&mut self.busy);
        let mut replies = Vec::new();
        for request in group {
            self.carry_out(now, request, &mut replies);
        }
        if let Some(log) = &mut self.log {
            log.sync();
        }
        (replies, self.begin(now))
    }

    /// The process dies. Each write that was not synced may have reached the disk or not, and a record may be cut.
    pub fn crash(&mut self) {
        let group = std::mem::take(&mut self.busy);
        self.queue.clear();
        self.rotten.forget();
        let mut dropped = Vec::new();
        for request in group {
            match request {
                // An append may be whole, partial or absent.
                StoreRequest::LogAppend { record, .. } => {
                    if let Some(log) = &mut self.log {
                        log.append(record);
                    }
                }
                // Whole values found by the scan come back; half of one is no value.
                StoreRequest::Put { .. }
                | StoreRequest::Commit(_)
                | StoreRequest::Evidence(_)
                | StoreRequest::Silence { .. }
                | StoreRequest::Retire { .. }
                | StoreRequest::Archived { .. } => {
                    if self.dice.chance(500) {
                        self.count("unsynced-write-survived");
                        self.carry_out(Nanos::ZERO, request, &mut dropped);
                    } else {
                        self.count("unsynced-write-lost");
                        break;
                    }
                }
                StoreRequest::BeginEpoch { height } if std::mem::take(&mut self.lose_next_log) => {
                    self.count("mark-without-log");
                    self.set_mark(height);
                }
                StoreRequest::BeginEpoch { .. } => {
                    if self.dice.chance(375) {
                        self.carry_out(Nanos::ZERO, request, &mut dropped);
                    }
                }
                StoreRequest::Vouch(_) | StoreRequest::LogSync { .. } | StoreRequest::Load { .. } => {}
            }
        }
        if self.log.as_mut().is_some_and(|log| log.tear(&mut self.dice)) {
            self.count("torn-tail");
        }
    }

    /// Whether what is being carried out now should end between a mark and its log.
    pub fn loses_log_now(&self) -> bool {
        let begins = |request: &StoreRequest| matches!(request, StoreRequest::BeginEpoch { .. });
        self.lose_next_log && self.busy.iter().any(begins)
    }

    /// Damages a whole record in the middle of the log, if there is one with another behind it.
    pub fn corrupt_log(&mut self) -> bool {
        let hit = self.log.as_mut().is_some_and(|log| log.corrupt(&mut self.dice));
        if hit {
            self.count("log-corrupted");
        }
        hit
    }

    pub fn wipe(&mut self) {
        self.decided.clear();
        self.undecided.clear();
        self.rotten = Rotten::default();
        self.mark = None;
        self.log = None;
        self.evidence.clear();
        self.queue.clear();
        self.busy.clear();
        self.oldest_blobs = Height(1);
        self.silent_through = Height::GENESIS;
        self.count("disk-wiped");
    }

    /// What a process that opens the directory finds.
    pub fn recover(&mut self) -> Recovered {
        assert!(self.busy.is_empty() && self.queue.is_empty(), "one process at a time");
        let log = self.mark.map(|epoch| {
            let (condition, records) = match &mut self.log {
                Some(log) if log.epoch() == epoch => log.scan(),
                _ => (LogCondition::Missing, Vec::new()),
            };
            RecoveredLog {
                epoch,
                condition,
                records,
            }
        });
        let head = self.head();
        self.undecided.retain(|key, _| key.height > head);
        Recovered {
            head: self.decided.values().next_back().map(|value| value.decided.clone()),
            log,
            undecided: self.undecided.values().cloned().collect(),
            oldest_blobs: self.oldest_blobs,
            silent_through: self.silent_through,
            rebuilt_through: Height::GENESIS,
        }
    }

    pub fn head(&self) -> Height {
        self.decided.keys().next_back().copied().unwrap_or(Height::GENESIS)
    }

    /// Oldest height whose blobs are here.
    pub fn oldest_blobs(&self) -> Height {
        self.oldest_blobs
    }

    pub fn decided(&self, height: Height) -> Option<&DecidedValue> {
        self.decided.get(&height)
    }

    pub fn decisions(&self) -> impl Iterator<Item = (&Height, &DecidedValue)> {
        self.decided.iter()
    }

    /// A whole value with its blobs, decided or not.
    pub fn value(&self, key: &ValueKey) -> Result<Assembly, Absent> {
        if let Some((assembly, _)) = self.undecided.get(key) {
            return if Self::blobs_of(assembly) == Blobs::Held {
                Ok(assembly.clone())
            } else {
                Err(Absent::NeverHeld)
            };
        }
        let value = self
            .decided
            .get(&key.height)
            .filter(|value| value.assembly.key == *key)
            .ok_or(Absent::Unknown)?;
        self.check_rot(key.height)?;
        match value.decided.blobs {
            Blobs::Held => Ok(value.assembly.clone()),
            Blobs::Pruned => Err(Absent::Pruned {
                oldest: self.oldest_blobs,
            }),
            Blobs::NeverHeld => Err(Absent::NeverHeld),
        }
    }

    /// An undecided value that is durable, with or without its blobs.
    pub fn undecided_value(&self, key: &ValueKey) -> Option<&Assembly> {
        self.undecided.get(key).map(|(assembly, _)| assembly)
    }

    /// Undecided values that are durable.
    pub fn undecided(&self) -> impl DoubleEndedIterator<Item = &ValueKey> {
        self.undecided.keys()
    }

    /// Whether a durable record of the current log holds these bytes.
    pub fn log_holds(&self, needle: &[u8]) -> bool {
        self.log.as_ref().is_some_and(|log| log.holds(needle))
    }

    /// The epoch whose mark is durable.
    pub fn mark(&self) -> Option<LogEpoch> {
        self.mark
    }

    /// Requests waiting, those in progress included.
    pub fn waiting(&self) -> usize {
        self.queue.len() + self.busy.len()
    }

    fn begin(&mut self, now: Nanos) -> Option<Nanos> {
        assert!(self.busy.is_empty(), "one group at a time");
        while let Some(request) = self.queue.front() {
            let alone = !matches!(
                request,
                StoreRequest::Put { .. }
                    | StoreRequest::Vouch(_)
                    | StoreRequest::LogAppend { .. }
                    | StoreRequest::LogSync { .. }
            );
            if alone && !self.busy.is_empty() {
                break;
            }
            self.busy.extend(self.queue.pop_front());
            if alone || self.busy.len() == GROUP_MAX {
                break;
            }
        }
        if self.busy.is_empty() {
            return None;
        }
        let bytes: usize = self
            .busy
            .iter()
            .map(|request| match request {
                StoreRequest::Put { assembly, .. } => assembly.payload.len() + assembly.blobs.len() * 131_072,
                _ => 0,
            })
            .sum();
        let transfer = Nanos(bytes as u64 * 2 / 3); // 1.5 GB/s
        let slow = if now < self.slow_until {
            self.count("slow-sync");
            self.dice.millis(50, 800)
        } else {
            Nanos::ZERO
        };
        Some(self.dice.latency(self.sync_typical) + transfer + slow)
    }

    fn carry_out(&mut self, now: Nanos, request: StoreRequest, replies: &mut Vec<StoreReply>) {
        match request {
            StoreRequest::Put {
                assembly,
                tag: Tag::Restored,
            } => replies.push(self.restore(now, assembly)),
            StoreRequest::Put { assembly, tag } => replies.push(self.put(now, assembly, tag)),
            StoreRequest::Vouch(certificate) => self.rotten.vouch(*certificate),
            StoreRequest::LogAppend { record, .. } => {
                // Records before the first epoch of this process have no file: a fault of the node, found by its
                // checker.
                if let Some(log) = &mut self.log {
                    log.append(record);
                }
            }
            StoreRequest::LogSync { lsn } => replies.push(StoreReply::LogDurable { lsn }),
            StoreRequest::BeginEpoch { height } => {
                let epoch = self.set_mark(height);
                self.log = Some(LogFile::new(epoch));
                replies.push(StoreReply::EpochBegun(epoch));
            }
            StoreRequest::Commit(decision) => {
                let height = decision.certificate.height;
                self.commit(*decision);
                replies.push(StoreReply::Committed { height });
            }
            StoreRequest::Load { height } => {
                let (value, is_news) = self.load(height);
                if is_news {
                    replies.push(StoreReply::Damaged { height });
                }
                replies.push(StoreReply::Loaded { height, value });
            }
            StoreRequest::Evidence(evidence) => {
                for piece in evidence {
                    if !self.evidence.contains(&piece) {
                        self.evidence.push(piece);
                    }
                }
                replies.push(StoreReply::EvidenceTaken { is_durable: true });
            }
            StoreRequest::Silence { through } => {
                self.silent_through = self.silent_through.max(through);
                replies.push(StoreReply::Silenced { through });
            }
            StoreRequest::Archived { .. } => {}
            StoreRequest::Retire { blobs_below } => {
                for (height, value) in self.decided.range_mut(..blobs_below) {
                    if value.decided.blobs == Blobs::Held && !self.rotten.contains(height) {
                        value.decided.blobs = Blobs::Pruned;
                        value.assembly.blobs.clear();
                    }
                }
                self.oldest_blobs = self.oldest_blobs.max(blobs_below);
                replies.push(StoreReply::Retired {
                    blobs_below: self.oldest_blobs,
                });
            }
        }
    }

    fn put(&mut self, now: Nanos, assembly: Assembly, tag: Tag) -> StoreReply {
        let key = assembly.key;
        let stored = |assembly: &Assembly| StoreReply::Stored {
            key,
            init: Arc::clone(&assembly.init),
            lists: Arc::clone(&assembly.lists),
            payload: assembly.payload.clone(),
            tag,
            blobs: Self::blobs_of(assembly),
        };
        if key.height <= self.head() {
            return stored(&assembly);
        }
        // A whole value in place of its metadata is worth writing; anything else is here already.
        if let Some((held, _)) = self.undecided.get(&key)
            && (Self::blobs_of(held) == Blobs::Held || Self::blobs_of(&assembly) == Blobs::NeverHeld)
        {
            return stored(held);
        }
        if now < self.full_until {
            self.count("disk-full");
            return StoreReply::Refused {
                key,
                reason: "no space left on device".to_owned(),
            };
        }
        let reply = stored(&assembly);
        self.undecided.insert(key, (assembly, tag));
        reply
    }

    fn commit(&mut self, decision: Decision) {
        let height = decision.certificate.height;
        let key = ValueKey {
            height,
            id: decision.certificate.value_id,
        };
        let (assembly, _) = self
            .undecided
            .remove(&key)
            .expect("the checker has seen that the value is stored");
        self.undecided.retain(|key, _| key.height > height);
        let decided = Decided {
            certificate: decision.certificate,
            init: decision.init,
            blobs: decision.blobs,
        };
        self.decided.insert(height, DecidedValue { decided, assembly });
    }

    fn set_mark(&mut self, height: Height) -> LogEpoch {
        let generation = self.mark.map_or(1, |mark| mark.generation + 1);
        let epoch = LogEpoch { height, generation };
        self.mark = Some(epoch);
        epoch
    }

    fn blobs_of(assembly: &Assembly) -> Blobs {
        if assembly.blobs.len() == assembly.init.metadata.blobs_count as usize {
            Blobs::Held
        } else {
            Blobs::NeverHeld
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.damage.entry(what).or_default() += 1;
    }

    /// Bytes of every blob, for a comparison of what nodes hold.
    pub fn blob_digest(&self, height: Height) -> Option<Vec<Bytes>> {
        let value = self.decided.get(&height)?;
        Some(value.assembly.blobs.clone())
    }
}
