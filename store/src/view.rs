//! This file knows how to serve stored values to any thread, without visiting the storage core.
//!
//! What was just stored comes from the memory it arrived in; everything else as slices of mapped segments. A record's
//! checksums are checked when it is first read.
//!
//! Keeps: values in memory stay within their budget; no value of a decided height is undecided; the head never moves
//! back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use ultramarine_types::evidence::FalseValue;
use ultramarine_types::storage::{Absent, Blobs, Decided, DecidedPayload, OnDisk, Source, Tag};
use ultramarine_types::{Address, Assembly, Evidence, Hash, Height, Init, ValueKey};

use crate::alarms::Alarms;
use crate::hot::Hot;
use crate::index::Index;
use crate::lock::DirectoryLock;
use crate::mapped::Segments;
use crate::metrics::Metrics;
use crate::record::{self, CheckDepth, RecordError};
use crate::segment::{Location, Position, SegmentId};

/// Records remembered as checked; beyond, all are forgotten and checked once more.
const CHECKED_MAX: usize = 65_536;
/// Decided rows kept in memory: what status, import and sync ask for near the tip.
const RECENT_ROWS_MAX: usize = 64;

/// A stored value of a height not decided yet.
#[derive(Clone, Debug)]
pub(crate) struct Undecided {
    /// The record's. Another right one of the same value may have other signatures.
    pub init: Arc<Init>,
    pub tag: Tag,
    pub blobs: Blobs,
    pub location: Location,
    pub sequence: u64,
}

impl Undecided {
    pub const fn position(&self) -> Position {
        Position {
            segment: self.location.segment,
            offset: self.location.offset,
            sequence: self.sequence,
        }
    }
}

/// What is wrong with a record that cannot be kept elsewhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error("it cannot be mapped: {0}")]
    Unmapped(io::Error),
    #[error("its segment ends before it")]
    Cut,
    #[error("it is another value's")]
    Foreign,
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Read access to the store. Cheap to share; keeps the data directory locked while it lives.
#[derive(Debug)]
pub struct View {
    index: Arc<Index>,
    segments: Arc<Segments>,
    metrics: Metrics,
    head: AtomicU64,
    oldest_blobs: AtomicU64,
    undecided: RwLock<HashMap<ValueKey, Undecided>>,
    hot: Mutex<Hot>,
    recent: Mutex<BTreeMap<Height, (Decided, Location)>>,
    checked: Mutex<HashSet<(SegmentId, u64)>>,
    alarms: Alarms,
    _lock: Arc<DirectoryLock>,
}

impl View {
    pub(crate) fn new(
        index: Arc<Index>,
        segments: Arc<Segments>,
        metrics: Metrics,
        hot_bytes: usize,
        lock: Arc<DirectoryLock>,
    ) -> Self {
        Self {
            index,
            segments,
            metrics,
            head: AtomicU64::new(0),
            oldest_blobs: AtomicU64::new(1),
            undecided: RwLock::default(),
            hot: Mutex::new(Hot::new(hot_bytes)),
            recent: Mutex::default(),
            checked: Mutex::default(),
            alarms: Alarms::default(),
            _lock: lock,
        }
    }

    pub(crate) fn set_head(&self, head: Height) {
        let before = self.head.swap(head.0, Ordering::AcqRel);
        assert!(before <= head.0, "the head never moves back");
        self.metrics.decided.set(i64::try_from(head.0).unwrap_or(i64::MAX));
    }

    /// Checks what is kept in memory against its bounds.
    pub(crate) fn check(&self) {
        self.hot().check();
        let recent = self.recent();
        assert!(recent.len() <= RECENT_ROWS_MAX, "few rows are kept in memory");
        let newest = recent.last_key_value().map(|(height, _)| *height);
        assert!(
            newest <= Some(self.head_height()),
            "a recent row is of a decided height"
        );
        assert!(
            self.checked().len() <= CHECKED_MAX,
            "few records are remembered as checked"
        );
    }

    /// Checks every value and row that is kept in memory.
    pub(crate) fn check_whole(&self) {
        self.hot().check_whole();
        let head = self.head_height();
        for key in self.undecided().keys() {
            assert!(key.height > head, "no other value of a decided height is left (I10)");
        }
        for (height, (decided, _)) in self.recent().iter() {
            assert_eq!(decided.certificate.height, *height, "a row is its own height's");
        }
    }

    pub(crate) fn set_oldest_blobs(&self, oldest: Height) {
        self.oldest_blobs.store(oldest.0, Ordering::Release);
    }

    pub(crate) fn undecided(&self) -> RwLockReadGuard<'_, HashMap<ValueKey, Undecided>> {
        self.undecided.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn undecided_mut(&self) -> RwLockWriteGuard<'_, HashMap<ValueKey, Undecided>> {
        self.undecided.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hot(&self) -> MutexGuard<'_, Hot> {
        self.hot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keep_recent(&self, decided: Decided, location: Location) {
        let mut recent = self.recent();
        recent.insert(decided.certificate.height, (decided, location));
        while recent.len() > RECENT_ROWS_MAX {
            recent.pop_first();
        }
    }

    pub(crate) fn forget_recent(&self, height: Height) {
        self.recent().remove(&height);
    }

    /// A decided height and where it lies.
    pub(crate) fn row(&self, height: Height) -> Option<(Decided, Location)> {
        if height > self.head_height() || height == Height::GENESIS {
            return None;
        }
        let recent = self.recent().get(&height).cloned();
        if let Some(row) = recent {
            self.metrics.pointer_hits.inc();
            return Some(row);
        }
        match self.index.decided(height) {
            Ok(Some(row)) => Some(row),
            Ok(None) => {
                self.alarm(&format!("height {height} is at or below the head and not in the index"));
                None
            }
            Err(error) => {
                self.alarm(&format!("height {height} cannot be read: {error}"));
                None
            }
        }
    }

    /// Reads a record from its map. `Ok(None)`: the segment was freed since the location was looked up.
    pub(crate) fn record(
        &self,
        key: &ValueKey,
        location: &Location,
        check: CheckDepth,
    ) -> Result<Option<Assembly>, Absent> {
        let bytes = match self.segments.slice(location) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.alarm(&format!(
                    "{key} in segment {} cannot be mapped: {error}",
                    location.segment
                ));
                return Err(Absent::Damaged);
            }
        };
        self.metrics.map_reads.inc();
        let start = (location.segment, location.offset);
        let check = if self.checked().contains(&start) {
            CheckDepth::Header
        } else {
            check
        };
        match record::decode(&bytes, check) {
            Ok(record) if record.header.key == *key => {
                if check == CheckDepth::All {
                    let mut checked = self.checked();
                    if checked.len() >= CHECKED_MAX {
                        checked.clear();
                    }
                    checked.insert(start);
                }
                Ok(Some(record.assembly))
            }
            Ok(_) => {
                self.alarm(&format!(
                    "the record of {key} in segment {} is another value's",
                    location.segment
                ));
                Err(Absent::Damaged)
            }
            Err(error) => {
                self.alarm(&format!(
                    "{key} in segment {} at {}: {error}",
                    location.segment, location.offset
                ));
                Err(Absent::Damaged)
            }
        }
    }

    /// Reads a record that is about to be kept elsewhere under new checksums: its body is checked whether or not it was
    /// before.
    pub(crate) fn record_to_move(&self, key: &ValueKey, location: &Location) -> Result<Assembly, Damage> {
        let bytes = self.segments.slice(location).map_err(Damage::Unmapped)?;
        let record = record::decode(&bytes.ok_or(Damage::Cut)?, CheckDepth::Body)?;
        if record.header.key == *key {
            Ok(record.assembly)
        } else {
            Err(Damage::Foreign)
        }
    }

    fn recent(&self) -> MutexGuard<'_, BTreeMap<Height, (Decided, Location)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked(&self) -> MutexGuard<'_, HashSet<(SegmentId, u64)>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A decided height's value. A segment freed between index and map is looked up once more: the index changed first.
    fn read_decided(&self, height: Height, wanted: CheckDepth) -> Result<(Decided, Assembly), Absent> {
        for _ in 0..2 {
            let (decided, location) = self.row(height).ok_or(Absent::Unknown)?;
            if wanted == CheckDepth::All {
                self.has_blobs(&decided)?;
            }
            let key = ValueKey {
                height,
                id: decided.certificate.value_id,
            };
            if let Some(assembly) = self.hot().get(&key) {
                self.metrics.hot_hits.inc();
                return Ok((decided, assembly));
            }
            if let Some(assembly) = self.record(&key, &location, wanted)? {
                return Ok((decided, assembly));
            }
            self.forget_recent(height);
        }
        self.alarm(&format!("height {height} lies in a segment that is gone"));
        Err(Absent::Damaged)
    }

    fn has_blobs(&self, decided: &Decided) -> Result<(), Absent> {
        match decided.blobs {
            Blobs::Held => Ok(()),
            Blobs::Pruned => Err(Absent::Pruned {
                oldest: self.oldest_height(),
            }),
            Blobs::NeverHeld => Err(Absent::NeverHeld),
        }
    }

    pub(crate) fn head_height(&self) -> Height {
        Height(self.head.load(Ordering::Acquire))
    }

    pub(crate) fn oldest_height(&self) -> Height {
        Height(self.oldest_blobs.load(Ordering::Acquire))
    }

    fn alarm(&self, what: &str) {
        self.metrics.damaged_reads.inc();
        if self.alarms.is_news(Instant::now(), what) {
            tracing::error!(
                "stored data is damaged: {what}; it is not served, and nothing here mends it. If this node needs it, \
                 /health says so; then stop the node, move the data directory away and start again: it fetches every \
                 block from its peers, and a validator listens before it signs"
            );
        }
    }
}

impl Source for View {
    fn head(&self) -> Height {
        self.metrics.pointer_hits.inc();
        self.head_height()
    }

    fn oldest_blobs(&self) -> Height {
        self.oldest_height()
    }

    fn decided(&self, height: Height) -> Option<Decided> {
        self.row(height).map(|(decided, _)| decided)
    }

    fn height_of_block(&self, block_hash: &Hash) -> Option<Height> {
        match self.index.height_of_block(block_hash) {
            Ok(height) => height,
            Err(error) => {
                self.alarm(&format!("block {block_hash} cannot be looked up: {error}"));
                None
            }
        }
    }

    fn value(&self, key: &ValueKey) -> Result<Assembly, Absent> {
        let undecided = self.undecided().get(key).map(|value| (value.location, value.blobs));
        if let Some((location, blobs)) = undecided {
            if blobs != Blobs::Held {
                return Err(Absent::NeverHeld);
            }
            if let Some(assembly) = self.hot().get(key) {
                self.metrics.hot_hits.inc();
                return Ok(assembly);
            }
            if let Some(assembly) = self.record(key, &location, CheckDepth::All)? {
                return Ok(assembly);
            }
            // Decided, or dropped and freed, since: the index knows which.
        }
        let decided = self.decided(key.height).ok_or(Absent::Unknown)?;
        if decided.certificate.value_id != key.id {
            return Err(Absent::Unknown);
        }
        self.read_decided(key.height, CheckDepth::All)
            .map(|(_, assembly)| assembly)
    }

    fn decided_value(&self, height: Height) -> Result<(Decided, Assembly), Absent> {
        self.read_decided(height, CheckDepth::All)
    }

    fn decided_payload(&self, height: Height) -> Option<DecidedPayload> {
        let (decided, assembly) = self.read_decided(height, CheckDepth::Body).ok()?;
        Some(DecidedPayload {
            decided,
            lists: assembly.lists,
            payload: assembly.payload,
        })
    }

    fn evidence(&self, from: Height, to: Height, each: &mut dyn FnMut(Evidence) -> ControlFlow<()>) {
        if let Err(error) = self.index.evidence(from, to, each) {
            self.alarm(&format!("evidence cannot be read: {error}"));
        }
    }

    fn false_value(&self, validator: &Address, height: Height) -> Option<FalseValue> {
        self.index.false_value(validator, height).unwrap_or_else(|error| {
            self.alarm(&format!("evidence cannot be read: {error}"));
            None
        })
    }

    fn on_disk(&self, key: &ValueKey) -> Option<OnDisk> {
        if self.hot().get(key).is_some() {
            return None;
        }
        let undecided = self.undecided().get(key).map(|value| value.location);
        let location = match undecided {
            Some(location) => location,
            None => {
                let (decided, location) = self.row(key.height)?;
                (decided.certificate.value_id == key.id).then_some(location)?
            }
        };
        self.segments.on_disk(&location)
    }
}
