//! This file knows how to carry out the store's requests in order, many under one sync.
//!
//! ```text
//!   Put ──┐                            ┌─▶ Stored
//!   Put ──┼─▶ append… ─▶ one sync ─────┼─▶ Stored        Commit, BeginEpoch, Load and Retire wait for the
//!   LogSync ─┘   segment, then log     └─▶ LogDurable    sync of what came before them, then act
//! ```
//! Keeps:
//! - no answer before its bytes are durable;
//! - a transaction names only synced bytes;
//! - after a failed sync nothing is answered any more but `Failed`.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ultramarine_runtime::Clock;
use ultramarine_runtime::medium::Medium;
use ultramarine_types::storage::{LogEpoch, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Assembly, Height, Lsn, Nanos, ValueKey};

use self::evidence::WaitingEvidence;
use self::restore::Restores;
pub(crate) use self::retire::Retiring;
use crate::failure::Failure;
use crate::files::Files;
use crate::format::Lineage;
use crate::index::{Index, IndexError};
use crate::journal::{Begin, Journal, LogFiles};
use crate::ledger::Ledger;
use crate::mapped::{Begun, Segments};
use crate::metrics::Metrics;
use crate::reserve::Reserve;
use crate::segment::{self, Position, SegmentId};
use crate::view::{Undecided, View};

mod commit;
mod evidence;
mod promises;
mod restore;
mod retire;
mod values;

#[cfg(test)]
pub(crate) use evidence::EVIDENCE_WAITING_MAX;

/// The store's state without its open files: what moves into the storage tile.
#[derive(Debug)]
pub struct State {
    pub(crate) folder: PathBuf,
    /// Nothing is pruned before it is archived.
    pub(crate) archives: bool,
    /// The size of values segments.
    pub(crate) segment_bytes: u64,
    /// Blobs are never freed.
    pub(crate) keeps_all: bool,
    pub(crate) index: Arc<Index>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) view: Arc<View>,
    pub(crate) journal: Journal,
    pub(crate) ledger: Ledger,
    pub(crate) reserve: Reserve,
    pub(crate) metrics: Metrics,
    pub(crate) head: Height,
    pub(crate) oldest_blobs: Height,
    /// The values segment that grows, if one does.
    pub(crate) growing: Option<Growing>,
    /// The one that follows it.
    pub(crate) ahead: Ahead,
    /// The number of the newest values segment that was appended to.
    pub(crate) newest_values: SegmentId,
    /// Where recovery would begin, as the index has it.
    pub(crate) floor: Position,
    pub(crate) retiring: Retiring,
    pub(crate) files: Files,
}

/// The values segment that is begun before it is needed.
#[derive(Debug, Default)]
pub(crate) enum Ahead {
    #[default]
    None,
    /// The files thread was asked for it.
    Asked(SegmentId),
    Made(Begun),
}

impl Ahead {
    fn is_asked(&self, id: SegmentId) -> bool {
        matches!(self, Self::Asked(asked) if *asked == id)
    }

    /// Its number.
    const fn id(&self) -> Option<SegmentId> {
        match self {
            Self::None => None,
            Self::Asked(id) => Some(*id),
            Self::Made(begun) => Some(begun.id),
        }
    }
}

impl State {
    pub(crate) fn write_failed(&self, what: &str, error: &io::Error) -> Failure {
        Failure::write(&self.reserve, what, error)
    }

    pub(crate) fn index_failed(&self, error: &IndexError) -> Failure {
        Failure::index(&self.reserve, error)
    }

    /// How large to make the next values segment so that a record fits.
    pub(crate) fn capacity_bytes(&self, record_bytes: u64) -> u64 {
        let live_bytes = self.ledger.live_bytes();
        segment::capacity(self.segment_bytes, self.keeps_all, live_bytes, record_bytes)
    }

    /// Makes room for what cannot be refused, where the disk is nearly full: files that wait to be recycled go first,
    /// the reserve after them. Call it before every such write.
    pub(crate) fn make_room(&mut self) {
        if self.reserve.is_low() && self.segments.give_up_free() {
            tracing::warn!("the disk is nearly full: files kept to be recycled are given up");
        }
        self.reserve.balance();
        self.show_shortage();
    }

    /// Tells readers whether there is room for another of the largest values.
    pub(crate) fn show_shortage(&self) {
        self.view.set_shortage(self.reserve.shortage(self.largest_bytes()));
    }

    /// What the largest value takes.
    pub(crate) const fn largest_bytes(&self) -> u64 {
        self.segment_bytes / segment::RECORDS_MIN
    }
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
    /// Records below this sequence number are synced.
    pub synced_below: u64,
}

impl Growing {
    /// What is preallocated and not written yet.
    pub(crate) const fn rest_bytes(&self) -> u64 {
        self.capacity_bytes - self.offset
    }

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
    evidence: WaitingEvidence,
    restores: Restores,
    has_failed: bool,
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

impl<M: Medium> Writer<M> {
    /// A writer on a medium.
    pub fn new(medium: M, state: State) -> Self {
        let writer = Self {
            medium,
            clock: Clock::start(),
            state,
            values_file: None,
            log_files: LogFiles::default(),
            group: Group::default(),
            evidence: WaitingEvidence::default(),
            restores: Restores::default(),
            has_failed: false,
        };
        writer.check();
        writer
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) const fn segments(&self) -> &Arc<Segments> {
        &self.state.segments
    }

    /// Closes the files and gives the state back.
    pub fn into_state(self) -> State {
        assert!(self.group.replies.is_empty(), "nothing waits for a sync any more");
        assert!(!self.has_failed, "what a failed sync left behind is not gone on with");
        self.state
    }

    /// Takes one request. Its answer may wait for [`flush`](Self::flush). After a failure there is no further request.
    ///
    /// # Panics
    ///
    /// If it failed before, or if a promise is broken.
    pub async fn handle(&mut self, request: StoreRequest, out: &mut Vec<StoreReply>) -> Result<(), Failure> {
        assert!(!self.has_failed, "nothing is asked of a store that failed");
        let outcome = self.carry_out(request, out).await;
        self.keep(outcome)
    }

    /// Makes everything taken so far durable and lets its answers go.
    pub async fn flush(&mut self, out: &mut Vec<StoreReply>) -> Result<(), Failure> {
        assert!(!self.has_failed, "nothing is made durable after a failure");
        let outcome = self.sync_group(out).await;
        self.keep(outcome)
    }

    /// Tells of damage that was met since, at most of `heights_max` heights.
    pub fn tell_damage(&mut self, heights_max: usize, out: &mut Vec<StoreReply>) {
        self.state.view.note_faults();
        let heights = self.state.view.take_untold_damage(heights_max).into_iter();
        out.extend(heights.map(|height| StoreReply::Damaged { height }));
    }

    /// Remembers a failure; without one, checks what the writer keeps.
    fn keep(&mut self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        match &outcome {
            Err(_) => self.has_failed = true,
            Ok(()) => {
                self.check();
                if cfg!(test) {
                    self.check_whole();
                }
            }
        }
        outcome
    }

    async fn carry_out(&mut self, request: StoreRequest, out: &mut Vec<StoreReply>) -> Result<(), Failure> {
        match request {
            StoreRequest::Put {
                assembly,
                tag: Tag::Restored,
            } => self.restore(assembly).await,
            StoreRequest::Put { assembly, tag } => self.put(assembly, tag).await,
            StoreRequest::Vouch(certificate) => self.vouch(*certificate),
            StoreRequest::LogAppend { lsn, record } => self.log_append(lsn, record),
            StoreRequest::LogSync { lsn } => self.log_sync(lsn),
            StoreRequest::BeginEpoch { height } => {
                self.sync_group(out).await?;
                out.push(StoreReply::EpochBegun(self.begin_epoch(height).await?));
                Ok(())
            }
            StoreRequest::Commit(decision) => {
                self.sync_group(out).await?;
                out.push(self.commit(*decision).await?);
                Ok(())
            }
            StoreRequest::Load { height } => {
                self.sync_group(out).await?;
                out.push(StoreReply::Loaded {
                    height,
                    value: self.state.view.decided_payload(height),
                });
                Ok(())
            }
            StoreRequest::Evidence(evidence) => {
                self.take_evidence(evidence)?;
                let is_durable = self.evidence.count() == 0;
                out.push(StoreReply::EvidenceTaken { is_durable });
                Ok(())
            }
            StoreRequest::Silence { through } => {
                self.state.make_room();
                let marked = self.state.index.silence(through);
                marked.map_err(|error| self.state.index_failed(&error))?;
                out.push(StoreReply::Silenced { through });
                Ok(())
            }
            StoreRequest::Archived { through } => self.archived(through),
            StoreRequest::Retire { blobs_below } => {
                self.sync_group(out).await?;
                out.push(self.retire(blobs_below)?);
                Ok(())
            }
        }
    }

    async fn sync_group(&mut self, out: &mut Vec<StoreReply>) -> Result<(), Failure> {
        self.sync_values().await?;
        if self.state.journal.is_sync_due() {
            self.state.make_room();
        }
        let written = self
            .state
            .journal
            .sync(&self.medium, &mut self.log_files)
            .await
            .map_err(|error| self.state.write_failed("the consensus log", &error))?;
        if written > 0 {
            self.state.metrics.log_bytes.add(written);
            self.state.metrics.syncs.inc();
        }
        assert!(
            self.group.values.is_empty(),
            "no value is answered for that still waits"
        );
        assert!(
            !self.state.journal.is_sync_due(),
            "no record is answered for that still waits"
        );
        out.append(&mut self.group.replies);
        self.keep_evidence()?;
        self.tend_idle()
    }

    fn log_append(&mut self, lsn: Lsn, record: Bytes) -> Result<(), Failure> {
        Ok(self.state.journal.append(lsn, record)?)
    }

    fn log_sync(&mut self, lsn: Lsn) -> Result<(), Failure> {
        self.state.journal.want(lsn)?;
        self.group.replies.push(StoreReply::LogDurable { lsn });
        Ok(())
    }

    fn archived(&mut self, through: Height) -> Result<(), Failure> {
        let through = through.min(self.state.head);
        if through > self.state.view.archived_through() {
            self.state.make_room();
            let marked = self.state.index.archive(through);
            let from = marked.map_err(|error| self.state.index_failed(&error))?;
            self.state.view.archived().set(from, through);
            self.state.view.show_account();
        }
        Ok(())
    }

    async fn begin_epoch(&mut self, height: Height) -> Result<LogEpoch, Failure> {
        match self.state.journal.begin(height)? {
            Begin::Ready(epoch) => Ok(epoch),
            Begin::Prepare => {
                if !self.state.journal.is_prepared(height) {
                    self.state.make_room();
                    let epoch = self.prepare_epoch(height).await?;
                    self.state
                        .index
                        .mark(Some(epoch), None)
                        .map_err(|error| self.state.index_failed(&error))?;
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
        prepared.map_err(|error| self.state.write_failed("the consensus log", &error))
    }
}
