//! This file knows how to carry out the store's requests in order, many under one sync.
//!
//! ```text
//!   Put ──┐                            ┌─▶ Stored
//!   Put ──┼─▶ append… ─▶ one sync ─────┼─▶ Stored        Commit, BeginEpoch, Load and Retire wait for the
//!   LogSync ─┘   segment, then log     └─▶ LogDurable    sync of what came before them, then act
//! ```
//! Keeps: no answer before its bytes are durable; a transaction names only synced bytes; after a failed sync nothing
//! is answered any more but `Failed`.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ultramarine_runtime::Clock;
use ultramarine_runtime::medium::{Medium, MediumFile};
use ultramarine_types::limits::Limits;
use ultramarine_types::storage::{Blobs, Decided, Decision, LogEpoch, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Assembly, Height, Lsn, Nanos, ValueKey};

use crate::append::write_parts;
use crate::format::Lineage;
use crate::index::{Commit, Index, Place};
use crate::journal::{Begin, Journal, LogFiles};
use crate::mapped::Segments;
use crate::metrics::Metrics;
use crate::reader::{Reader, Undecided};
use crate::record::{self, Check, Content, Encoded};
use crate::reserve::Reserve;
use crate::retire::Ledger;
use crate::segment::{self, Class, Location, Position, SEGMENT_FIRST_RECORD, SegmentId};

/// Segments freed by one `Retire`: bounds the pause; the next one goes on.
const RETIRE_SEGMENTS_MAX: usize = 4;

/// Why the store must stop, in words for the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// The store's state without its open files: what moves into the storage tile.
#[derive(Debug)]
pub struct State {
    pub(crate) folder: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) segment_bytes_min: u64,
    pub(crate) index: Arc<Index>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) journal: Journal,
    pub(crate) ledger: Ledger,
    pub(crate) reserve: Reserve,
    pub(crate) metrics: Metrics,
    pub(crate) head: Height,
    pub(crate) oldest_blobs: Height,
    /// The values segment that grows, if one does.
    pub(crate) growing: Option<Growing>,
}

/// A segment that is appended to.
#[derive(Clone, Debug)]
pub(crate) struct Growing {
    pub id: SegmentId,
    pub lineage: Lineage,
    pub path: PathBuf,
    pub capacity_bytes: u64,
    pub offset: u64,
    pub sequence: u64,
}

impl Growing {
    const fn position(&self) -> Position {
        Position {
            segment: self.id,
            offset: self.offset,
            sequence: self.sequence,
        }
    }
}

/// Carries out requests on one medium.
pub struct Writer<M: Medium> {
    medium: M,
    clock: Clock,
    state: State,
    values_file: Option<M::File>,
    log_files: LogFiles<M>,
    group: Group,
}

/// What waits for the next sync.
#[derive(Default)]
struct Group {
    replies: Vec<StoreReply>,
    values: HashMap<ValueKey, Waiting>,
}

struct Waiting {
    assembly: Assembly,
    stored: Undecided,
    arrived: Nanos,
}

/// What became of an append.
enum Appended {
    At(Location, u64),
    NoRoom(String),
}

impl<M: Medium> Writer<M> {
    /// A writer on a medium.
    pub fn new(medium: M, state: State) -> Self {
        Self {
            medium,
            clock: Clock::start(),
            state,
            values_file: None,
            log_files: LogFiles::default(),
            group: Group::default(),
        }
    }

    /// Closes the files and gives the state back.
    pub fn into_state(self) -> State {
        assert!(self.group.replies.is_empty(), "nothing waits for a sync any more");
        self.state
    }

    /// Takes one request. Its answer may wait for [`flush`](Self::flush).
    pub async fn handle(&mut self, request: StoreRequest, out: &mut Vec<StoreReply>) -> Result<(), Failure> {
        match request {
            StoreRequest::Put { assembly, tag } => self.put(assembly, tag).await,
            StoreRequest::LogAppend { lsn, record } => self.log_append(lsn, record),
            StoreRequest::LogSync { lsn } => self.log_sync(lsn),
            StoreRequest::BeginEpoch { height } => {
                self.flush(out).await?;
                out.push(StoreReply::EpochBegun(self.begin_epoch(height).await?));
                Ok(())
            }
            StoreRequest::Commit(decision) => {
                self.flush(out).await?;
                out.push(self.commit(*decision).await?);
                Ok(())
            }
            StoreRequest::Load { height } => {
                self.flush(out).await?;
                out.push(StoreReply::Loaded {
                    height,
                    value: self.state.reader.decided_payload(height),
                });
                Ok(())
            }
            StoreRequest::Evidence(evidence) => {
                let kept = self.state.index.keep_evidence(&evidence);
                kept.map_err(|error| Failure(error.to_string()))
            }
            StoreRequest::Silence { through } => {
                let marked = self.state.index.silence(through);
                marked.map_err(|error| Failure(error.to_string()))?;
                out.push(StoreReply::Silenced { through });
                Ok(())
            }
            StoreRequest::Retire { blobs_below } => {
                self.flush(out).await?;
                out.push(self.retire(blobs_below).await?);
                Ok(())
            }
        }
    }

    /// Makes everything taken so far durable and lets its answers go.
    pub async fn flush(&mut self, out: &mut Vec<StoreReply>) -> Result<(), Failure> {
        self.sync_values().await?;
        let written = self
            .state
            .journal
            .sync(&self.medium, &mut self.log_files)
            .await
            .map_err(|error| failed("the consensus log", &error))?;
        if written > 0 {
            self.state.metrics.log_bytes.add(written);
            self.state.metrics.syncs.inc();
        }
        out.append(&mut self.group.replies);
        self.state.segments.sweep();
        Ok(())
    }

    async fn put(&mut self, assembly: Assembly, tag: Tag) -> Result<(), Failure> {
        let arrived = self.clock.now();
        let key = assembly.key;
        let content = match record::content_of(&assembly) {
            Ok(content) => content,
            Err(unfit) => return self.refuse(key, unfit.to_string()),
        };
        let blobs = if content == Content::Whole {
            Blobs::Held
        } else {
            Blobs::NeverHeld
        };
        let stored = StoreReply::Stored {
            key,
            init: Arc::clone(&assembly.init),
            payload: assembly.payload.clone(),
            tag,
            blobs,
        };
        if key.height <= self.state.head || self.is_stored(&key, tag, blobs) {
            self.group.replies.push(stored);
            return Ok(());
        }
        let encoded = match record::encode(&assembly, tag, content) {
            Ok(encoded) => encoded,
            Err(unfit) => return self.refuse(key, unfit.to_string()),
        };
        let (location, sequence) = match self.append(encoded).await? {
            Appended::At(location, sequence) => (location, sequence),
            Appended::NoRoom(reason) => return self.refuse(key, reason),
        };
        let entry = Undecided {
            tag,
            blobs,
            location,
            sequence,
        };
        self.state.ledger.stored(&location);
        if let Some(before) = self.group.values.insert(
            key,
            Waiting {
                assembly,
                stored: entry,
                arrived,
            },
        ) {
            self.state.ledger.dropped(&before.stored.location);
        }
        self.group.replies.push(stored);
        Ok(())
    }

    fn refuse(&mut self, key: ValueKey, reason: String) -> Result<(), Failure> {
        self.state.metrics.refusals.inc();
        tracing::warn!("value {key} is not stored: {reason}");
        self.group.replies.push(StoreReply::Refused { key, reason });
        Ok(())
    }

    /// Whether a value is stored, or about to be, with at least these blobs; notes the newer tag.
    fn is_stored(&mut self, key: &ValueKey, tag: Tag, blobs: Blobs) -> bool {
        let enough = |held: Blobs| held == Blobs::Held || blobs == held;
        if let Some(waiting) = self
            .group
            .values
            .get_mut(key)
            .filter(|waiting| enough(waiting.stored.blobs))
        {
            waiting.stored.tag = tag;
            return true;
        }
        match self
            .state
            .reader
            .undecided_mut()
            .get_mut(key)
            .filter(|stored| enough(stored.blobs))
        {
            Some(stored) => {
                stored.tag = tag;
                true
            }
            None => false,
        }
    }

    /// Writes a record behind the others; it is durable after the next sync.
    async fn append(&mut self, mut encoded: Encoded) -> Result<Appended, Failure> {
        let bytes = encoded.record_bytes();
        let fits = self
            .state
            .growing
            .as_ref()
            .is_some_and(|growing| growing.offset + bytes <= growing.capacity_bytes);
        if !fits {
            // The old segment's records must be durable before it is sealed.
            self.sync_values().await?;
            if let Some(reason) = self.begin_segment(bytes)? {
                return Ok(Appended::NoRoom(reason));
            }
        }
        let growing = self.state.growing.as_mut().expect("begun above");
        if self.values_file.is_none() {
            self.values_file = Some(
                self.medium
                    .open(&growing.path)
                    .await
                    .map_err(|error| failed("a segment", &error))?,
            );
        }
        let file = self.values_file.as_ref().expect("opened above");
        let location = Location {
            segment: growing.id,
            offset: growing.offset,
            bytes,
        };
        let sequence = growing.sequence;
        encoded.stamp(growing.lineage, sequence);
        match write_parts(file, location.offset, bytes, encoded.parts()).await {
            Ok(()) => {
                growing.offset += bytes;
                growing.sequence += 1;
                self.state.metrics.appended_bytes.add(bytes);
                Ok(Appended::At(location, sequence))
            }
            Err(error) if is_full(&error) => {
                let reason = no_room(&self.state.folder, &error.to_string());
                self.give_up_segment(&reason);
                Ok(Appended::NoRoom(reason))
            }
            Err(error) => Err(failed("a segment", &error)),
        }
    }

    /// Seals the growing segment and begins one that takes `record_bytes`; a reason if there is no room.
    fn begin_segment(&mut self, record_bytes: u64) -> Result<Option<String>, Failure> {
        let state = &mut self.state;
        let capacity = segment::capacity(
            &state.limits,
            state.segment_bytes_min,
            state.ledger.held_bytes(),
            record_bytes,
        );
        if !state.reserve.has_room_for(capacity) {
            return Ok(Some(no_room(
                &state.folder,
                &format!("{capacity} bytes for the next segment would use up the reserve"),
            )));
        }
        self.values_file = None;
        if let Some(old) = state.growing.take() {
            state.segments.seal(old.id);
            state.ledger.seal(old.id);
        }
        match state.segments.begin(Class::Values, capacity) {
            Ok(begun) => {
                state.ledger.open(begun.id, false);
                state.growing = Some(Growing {
                    id: begun.id,
                    lineage: begun.lineage,
                    path: begun.path,
                    capacity_bytes: begun.capacity_bytes,
                    offset: SEGMENT_FIRST_RECORD,
                    sequence: 0,
                });
                Ok(None)
            }
            Err(error) if is_full(&error) => Ok(Some(no_room(&state.folder, &error.to_string()))),
            Err(error) => Err(failed("a new segment", &error)),
        }
    }

    /// Syncs the growing segment and publishes what was appended to it.
    async fn sync_values(&mut self) -> Result<(), Failure> {
        if self.group.values.is_empty() {
            return Ok(());
        }
        let file = self.values_file.as_ref().expect("values wait in an open segment");
        match file.sync().await {
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                let reason = no_room(&self.state.folder, &error.to_string());
                self.give_up_segment(&reason);
                return Ok(());
            }
            Err(error) => return Err(failed("a segment", &error)),
        }
        self.state.metrics.syncs.inc();
        let growing = self.state.growing.as_ref().expect("values wait in a growing segment");
        self.state.segments.advance(growing.id, growing.offset);
        let now = self.clock.now();
        let mut undecided = self.state.reader.undecided_mut();
        let mut hot = self.state.reader.hot();
        for (key, waiting) in self.group.values.drain() {
            if let Some(before) = undecided.insert(key, waiting.stored) {
                self.state.ledger.dropped(&before.location);
            }
            hot.insert(waiting.assembly);
            self.state.metrics.persist.record(now.since(waiting.arrived));
        }
        self.state
            .metrics
            .hot_bytes
            .set(i64::try_from(hot.held_bytes()).unwrap_or(i64::MAX));
        self.state
            .metrics
            .undecided
            .set(i64::try_from(undecided.len()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// The disk filled up under a segment: what waits in it is refused, and it grows no further.
    fn give_up_segment(&mut self, reason: &str) {
        for (_, waiting) in self.group.values.drain() {
            self.state.ledger.dropped(&waiting.stored.location);
            let key = waiting.assembly.key;
            self.state.metrics.refusals.inc();
            for reply in &mut self.group.replies {
                if matches!(reply, StoreReply::Stored { key: stored, .. } if *stored == key) {
                    *reply = StoreReply::Refused {
                        key,
                        reason: reason.to_owned(),
                    };
                }
            }
        }
        self.values_file = None;
        if let Some(growing) = self.state.growing.take() {
            self.state.segments.seal(growing.id);
            self.state.ledger.seal(growing.id);
        }
        tracing::warn!("{reason}");
    }

    fn log_append(&mut self, lsn: Lsn, record: Bytes) -> Result<(), Failure> {
        self.state
            .journal
            .append(lsn, record)
            .map_err(|misuse| Failure(misuse.to_string()))
    }

    fn log_sync(&mut self, lsn: Lsn) -> Result<(), Failure> {
        self.state
            .journal
            .want(lsn)
            .map_err(|misuse| Failure(misuse.to_string()))?;
        self.group.replies.push(StoreReply::LogDurable { lsn });
        Ok(())
    }

    async fn begin_epoch(&mut self, height: Height) -> Result<LogEpoch, Failure> {
        match self
            .state
            .journal
            .begin(height)
            .map_err(|misuse| Failure(misuse.to_string()))?
        {
            Begin::Ready(epoch) => Ok(epoch),
            Begin::Prepare => {
                if !self.state.journal.is_prepared(height) {
                    let epoch = self.prepare_epoch(height).await?;
                    self.state
                        .index
                        .mark(Some(epoch), None)
                        .map_err(|error| Failure(error.to_string()))?;
                }
                Ok(self.state.journal.turn())
            }
        }
    }

    async fn prepare_epoch(&mut self, height: Height) -> Result<LogEpoch, Failure> {
        self.state.metrics.syncs.inc();
        let prepared = self
            .state
            .journal
            .prepare(height, &self.medium, &mut self.log_files)
            .await;
        prepared.map_err(|error| failed("the consensus log", &error))
    }

    async fn commit(&mut self, decision: Decision) -> Result<StoreReply, Failure> {
        let started = self.clock.now();
        let height = decision.certificate.height;
        let key = ValueKey {
            height,
            id: decision.certificate.value_id,
        };
        if height <= self.state.head {
            return self.commit_again(&key);
        }
        if height != self.state.head.next() {
            return Err(Failure(format!(
                "height {height} was to be committed on the head {}",
                self.state.head
            )));
        }
        let stored = self.state.reader.undecided().get(&key).cloned();
        let Some(stored) = stored else {
            return Err(Failure(format!("{key} was to be committed and is not stored")));
        };
        if decision.blobs == Blobs::Held && stored.blobs != Blobs::Held {
            return Err(Failure(format!(
                "{key} was to be committed with its blobs and is stored without them"
            )));
        }
        self.state.reserve.balance();
        let epoch = self.prepare_epoch(height.next()).await?;
        let place = Place {
            location: stored.location,
            blobs: stored.blobs,
        };
        let oldest_blobs = if stored.blobs == Blobs::Held {
            self.state.oldest_blobs
        } else {
            height.next()
        };
        let commit = Commit {
            certificate: &decision.certificate,
            init: &decision.init,
            place,
            epoch,
            floor: self.floor_above(height),
            oldest_blobs,
        };
        self.state
            .index
            .commit(&commit)
            .map_err(|error| Failure(error.to_string()))?;
        self.publish(decision, place, oldest_blobs);
        self.free_dead();
        self.state.metrics.commit.record(self.clock.now().since(started));
        Ok(StoreReply::Committed { height })
    }

    /// A decision that is durable already: the same again is fine, another is the worst there is.
    fn commit_again(&self, key: &ValueKey) -> Result<StoreReply, Failure> {
        match self.state.reader.decided(key.height) {
            Some(decided) if decided.certificate.value_id == key.id => Ok(StoreReply::Committed { height: key.height }),
            Some(decided) => Err(Failure(format!(
                "{key} was to be committed where {} is decided",
                decided.certificate.value_id
            ))),
            None => Err(Failure(format!("height {} is decided and cannot be read", key.height))),
        }
    }

    /// Where recovery would have to begin once `height` is decided: at the first value stored above it.
    fn floor_above(&self, height: Height) -> Position {
        let end = match &self.state.growing {
            Some(growing) => growing.position(),
            None => Position::start_of(self.state.segments.next_id()),
        };
        let undecided = self.state.reader.undecided();
        let above = undecided
            .iter()
            .filter(|(key, _)| key.height > height)
            .map(|(_, value)| value.position());
        above.fold(end, Position::min)
    }

    /// Lets readers see a decision that is durable, and drops every other value of its height.
    fn publish(&mut self, decision: Decision, place: Place, oldest_blobs: Height) {
        let state = &mut self.state;
        let height = decision.certificate.height;
        let key = ValueKey {
            height,
            id: decision.certificate.value_id,
        };
        let decided = Decided {
            certificate: decision.certificate,
            init: decision.init,
            blobs: place.blobs,
        };
        state.reader.keep_recent(decided, place.location);
        state.head = height;
        state.oldest_blobs = oldest_blobs;
        state.reader.set_head(height);
        state.reader.set_oldest_blobs(oldest_blobs);
        let mut undecided = state.reader.undecided_mut();
        let mut hot = state.reader.hot();
        undecided.retain(|other, value| {
            if other.height > height {
                return true;
            }
            if *other == key {
                state.ledger.promoted(&value.location, height);
            } else {
                state.ledger.dropped(&value.location);
                state.metrics.drops.inc();
                hot.remove(other);
            }
            false
        });
        state.metrics.promotions.inc();
        state
            .metrics
            .undecided
            .set(i64::try_from(undecided.len()).unwrap_or(i64::MAX));
        state
            .metrics
            .dead_bytes
            .set(i64::try_from(state.ledger.dead_bytes()).unwrap_or(i64::MAX));
    }

    /// Frees segments that hold nothing but dead bytes. The index never named them, or no longer does.
    fn free_dead(&mut self) {
        let dead = self.state.ledger.dead();
        self.free(&dead);
    }

    fn free(&mut self, ids: &[SegmentId]) {
        if ids.is_empty() {
            return;
        }
        self.state.segments.retire(ids);
        for id in ids {
            self.state.ledger.close(*id);
            self.state.metrics.retired_segments.inc();
        }
        self.state
            .metrics
            .dead_bytes
            .set(i64::try_from(self.state.ledger.dead_bytes()).unwrap_or(i64::MAX));
    }

    /// Frees segments whose heights are all below a height, after their payloads were moved and the index says so.
    async fn retire(&mut self, blobs_below: Height) -> Result<StoreReply, Failure> {
        let below = blobs_below.min(self.state.head.next());
        let mut ids = self.state.ledger.wholly_below(below);
        ids.truncate(RETIRE_SEGMENTS_MAX);
        let heights: Vec<Height> = ids.iter().flat_map(|id| self.state.ledger.heights(*id)).collect();
        if !heights.is_empty() {
            let Some(places) = self.move_payloads(&heights).await? else {
                return Ok(StoreReply::Retired {
                    blobs_below: self.state.oldest_blobs,
                });
            };
            let newest_pruned = places
                .iter()
                .filter(|(_, place)| place.blobs == Blobs::Pruned)
                .map(|(height, _)| height.next())
                .max();
            let oldest_blobs = newest_pruned.unwrap_or_default().max(self.state.oldest_blobs);
            self.state
                .index
                .relocate(&places, oldest_blobs)
                .map_err(|error| Failure(error.to_string()))?;
            self.state.oldest_blobs = oldest_blobs;
            self.state.reader.set_oldest_blobs(oldest_blobs);
            for height in &heights {
                if let Some((decided, _)) = self.state.reader.row(*height) {
                    self.state.reader.hot().remove(&ValueKey {
                        height: *height,
                        id: decided.certificate.value_id,
                    });
                }
                self.state.reader.forget_recent(*height);
            }
            self.free(&ids);
            self.state.segments.sweep();
        }
        Ok(StoreReply::Retired {
            blobs_below: self.state.oldest_blobs,
        })
    }

    /// Writes the payloads of heights into a payloads segment and syncs it. `None`: something cannot be read or there
    /// is no room, so that nothing may be freed.
    async fn move_payloads(&mut self, heights: &[Height]) -> Result<Option<Vec<(Height, Place)>>, Failure> {
        let mut records = Vec::with_capacity(heights.len());
        for height in heights {
            let Some((decided, location)) = self.state.reader.row(*height) else {
                return Ok(None);
            };
            let key = ValueKey {
                height: *height,
                id: decided.certificate.value_id,
            };
            let Ok(Some(mut assembly)) = self.state.reader.record(&key, &location, Check::Body) else {
                return Ok(None);
            };
            let (content, blobs) = match decided.blobs {
                Blobs::NeverHeld => (Content::NeverHeld, Blobs::NeverHeld),
                Blobs::Held | Blobs::Pruned if assembly.init.metadata.commitments.is_empty() => {
                    (Content::Whole, Blobs::Held)
                }
                Blobs::Held | Blobs::Pruned => (Content::Moved, Blobs::Pruned),
            };
            assembly.blobs.clear();
            let encoded =
                record::encode(&assembly, Tag::Certified, content).map_err(|unfit| Failure(unfit.to_string()))?;
            records.push((*height, blobs, encoded));
        }
        let total_bytes = records.iter().map(|(_, _, encoded)| encoded.record_bytes()).sum();
        let capacity = segment::exact(total_bytes);
        if !self.state.reserve.has_room_for(capacity) {
            tracing::warn!(
                "blobs stay although their retention has ended: no room to move {total_bytes} bytes of payloads"
            );
            return Ok(None);
        }
        let begun = match self.state.segments.begin(Class::Payloads, capacity) {
            Ok(begun) => begun,
            Err(error) if is_full(&error) => return Ok(None),
            Err(error) => return Err(failed("a new segment", &error)),
        };
        let stop = |error: io::Error| failed("a payloads segment", &error);
        let file = self.medium.open(&begun.path).await.map_err(stop)?;
        let mut offset = SEGMENT_FIRST_RECORD;
        let mut places = Vec::with_capacity(records.len());
        for (sequence, (height, blobs, mut encoded)) in (0..).zip(records) {
            encoded.stamp(begun.lineage, sequence);
            let location = Location {
                segment: begun.id,
                offset,
                bytes: encoded.record_bytes(),
            };
            write_parts(&file, offset, location.bytes, encoded.parts())
                .await
                .map_err(stop)?;
            self.state.metrics.appended_bytes.add(location.bytes);
            offset = location.end();
            places.push((height, Place { location, blobs }));
        }
        file.sync().await.map_err(stop)?;
        self.state.metrics.syncs.inc();
        self.state.segments.advance(begun.id, offset);
        Ok(Some(places))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn no_room(folder: &std::path::Path, what: &str) -> String {
    format!(
        "no room for more values in {}: {what}; free disk space, nothing else is needed",
        folder.display()
    )
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure(format!(
        "writing {what} failed: {error}; nothing written since the last good sync can be relied on, so the node stops: \
         check the disk (dmesg, smartctl), then start again"
    ))
}
