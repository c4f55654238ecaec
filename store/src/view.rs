//! This file knows how to serve stored values to any thread, without visiting the storage core.
//!
//! What was just stored comes from the memory it arrived in. Everything else is read and checked by [`crate::reader`].
//!
//! Keeps: values in memory stay within their budget; no value of a decided height is undecided; the head never moves
//! back; no blob is served of a decided height that is damaged, and its payload only if it proves to be whole.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use bytes::Bytes;
use ultramarine_types::evidence::FalseValue;
use ultramarine_types::storage::{
    Absent, BlobStatus, Blobs, Decided, DecidedEntry, DecidedPayload, OnDisk, ScrubProgress, Source, StoreAccount, Tag,
};
use ultramarine_types::{Address, Assembly, Evidence, Hash, Height, Init, ValueKey};

use crate::account::Accountant;
use crate::alarms::Alarms;
use crate::archived::ArchivedHeights;
use crate::damage::{DamageFound, Damages};
use crate::hot::Hot;
use crate::index::{HeightRows, Index, Mended};
use crate::lock::DirectoryLock;
use crate::mapped::Segments;
use crate::metrics::Metrics;
use crate::reader::{self, Blob, Damage, Head, How, InitAlone, Reading, Whole};
use crate::segment::{Location, Position};

mod status;

/// Decided heights whose rows and `Init` are kept in memory: what status, import and sync ask for near the tip.
const RECENT_ROWS_MAX: usize = 64;
/// How often a record is looked up that others move meanwhile.
const LOOK_UPS_MAX: usize = 3;

/// A stored value of a height not decided yet.
#[derive(Clone, Debug)]
pub(crate) struct Undecided {
    /// The record's. Another right one of the same value may have other signatures.
    pub init: Arc<Init>,
    pub tag: Tag,
    pub blobs: Blobs,
    pub location: Location,
    pub sequence: u64,
    pub blobs_count: u32,
    /// Unix seconds of its put; `None` after a restart.
    pub since: Option<u64>,
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

/// Read access to the store. Cheap to share; keeps the data directory locked while it lives.
#[derive(Debug)]
pub struct View {
    index: Arc<Index>,
    segments: Arc<Segments>,
    metrics: Metrics,
    head: AtomicU64,
    oldest_blobs: AtomicU64,
    archived: ArchivedHeights,
    undecided: RwLock<HashMap<ValueKey, Undecided>>,
    hot: Mutex<Hot>,
    recent: Mutex<BTreeMap<Height, HeightRows>>,
    alarms: Alarms,
    accountant: Accountant,
    /// Whether what is stored is read again in the background.
    scrubs: AtomicBool,
    /// Why there is too little room on the disk.
    shortage: Mutex<Option<String>>,
    damages: Damages,
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
            accountant: Accountant::new(&index),
            scrubs: AtomicBool::new(false),
            shortage: Mutex::default(),
            index,
            segments,
            metrics,
            head: AtomicU64::new(0),
            oldest_blobs: AtomicU64::new(1),
            archived: ArchivedHeights::default(),
            undecided: RwLock::default(),
            hot: Mutex::new(Hot::new(hot_bytes)),
            recent: Mutex::default(),
            alarms: Alarms::default(),
            damages: Damages::default(),
            _lock: lock,
        }
    }

    pub(crate) fn set_head(&self, head: Height) {
        let before = self.head.swap(head.0, Ordering::AcqRel);
        assert!(before <= head.0, "the head never moves back");
        self.metrics.decided.set(i64::try_from(head.0).unwrap_or(i64::MAX));
    }

    /// Notes whether there is too little room on the disk.
    pub(crate) fn set_shortage(&self, shortage: Option<String>) {
        *self.shortage.lock().unwrap_or_else(PoisonError::into_inner) = shortage;
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
    }

    /// Notes that a decided height is damaged. From now on no blob of it is served, and the core is told once.
    pub fn mark_damaged(&self, height: Height, reason: &str) {
        self.mark_all_damaged([height], reason);
    }

    /// The same of many heights, for one reason.
    pub fn mark_all_damaged(&self, heights: impl IntoIterator<Item = Height>, reason: &str) {
        let reason: Arc<str> = reason.into();
        let head = self.head_height();
        for height in heights {
            assert!(height <= head, "only a decided height is damaged");
            if self.damages.add(height, &reason) {
                self.forget_recent(height);
                self.accountant.damaged(&self.index, height);
            }
        }
        self.show_damages();
        self.alarm(&reason);
    }

    /// A damaged height was stored again and the index names the new place: it is served as before.
    pub fn restored(&self, height: Height) {
        self.forget_recent(height);
        if self.damages.remove(height) {
            self.accountant.restored(height);
            self.metrics.heals.inc();
            tracing::info!("height {height} was damaged, and is stored again");
        }
        self.show_damages();
    }

    /// Why a height is damaged, and since when.
    pub fn damage_of(&self, height: Height) -> Option<DamageFound> {
        self.damages.get(height)
    }

    /// Damaged heights that the core has not heard of, at most `heights_max`; from now on it has.
    pub(crate) fn take_untold_damage(&self, heights_max: usize) -> Vec<Height> {
        self.damages.take_untold(heights_max)
    }

    /// Marks the heights of which a page was lost while somebody read it from a map, or with a page of the index.
    pub(crate) fn note_faults(&self) {
        for Mended { lost } in self.index.take_mended() {
            self.metrics.index_renewals.inc();
            self.forget_unread();
            if !lost.is_empty() {
                self.mark_all_damaged(lost, "its rows were lost with a page of the index");
            }
        }
        for (id, range) in self.segments.take_faulted() {
            let mut heights = Vec::new();
            let looked = self.index.locations(|height, row| {
                let Location { segment, offset, .. } = row.location;
                if segment == id && offset < range.end && range.start < row.location.end() {
                    heights.push(height);
                }
            });
            let reason = format!(
                "segment {id} from byte {} to {}: the disk did not give it back when it was read",
                range.start, range.end
            );
            if let Err(error) = looked {
                self.alarm(&format!(
                    "{reason}, and which heights lie there cannot be read: {error}"
                ));
            }
            self.mark_all_damaged(heights, &reason);
        }
    }

    /// Of heights whose rows could not be read, those that can be are as whole as their records.
    fn forget_unread(&self) {
        for height in self.damages.take_unread() {
            if matches!(self.index.decided(height), Ok(Some(_))) && self.damages.remove(height) {
                self.forget_recent(height);
                self.accountant.restored(height);
            }
        }
        self.show_damages();
    }

    fn show_damages(&self) {
        let count = i64::try_from(self.damages.count()).unwrap_or(i64::MAX);
        self.metrics.damaged_heights.set(count);
        self.show_account();
    }

    /// Checks every value and row that is kept in memory.
    pub(crate) fn check_whole(&self) {
        self.hot().check_whole();
        self.damages.check();
        let head = self.head_height();
        for key in self.undecided().keys() {
            assert!(key.height > head, "no other value of a decided height is left (I10)");
        }
        for (height, rows) in self.recent().iter() {
            assert_eq!(rows.decided.certificate.height, *height, "a row is its own height's");
        }
    }

    pub(crate) fn set_oldest_blobs(&self, oldest: Height) {
        self.oldest_blobs.store(oldest.0, Ordering::Release);
    }

    pub(crate) fn archived(&self) -> &ArchivedHeights {
        &self.archived
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

    pub(crate) fn keep_recent(&self, rows: HeightRows) {
        let mut recent = self.recent();
        recent.insert(rows.decided.certificate.height, rows);
        while recent.len() > RECENT_ROWS_MAX {
            recent.pop_first();
        }
    }

    pub(crate) fn forget_recent(&self, height: Height) {
        self.recent().remove(&height);
    }

    /// What is known of a decided height without its record.
    pub(crate) fn rows(&self, height: Height) -> Option<HeightRows> {
        self.find_rows(height).ok()
    }

    fn find_rows(&self, height: Height) -> Result<HeightRows, Absent> {
        if height > self.head_height() || height == Height::GENESIS {
            return Err(Absent::Unknown);
        }
        let recent = self.recent().get(&height).cloned();
        if let Some(rows) = recent {
            self.metrics.pointer_hits.inc();
            return Ok(rows);
        }
        let (reason, is_unread) = match self.index.decided(height) {
            Ok(Some(rows)) => return Ok(rows),
            Ok(None) => (
                format!("height {height} is at or below the head and not in the index"),
                false,
            ),
            Err(error) => (format!("height {height} cannot be read: {error}"), error.is_lost_page()),
        };
        let is_news = !self.damages.contains(height);
        self.mark_damaged(height, &reason);
        if is_news && is_unread {
            self.damages.note_unread(height);
        }
        Err(Absent::Damaged)
    }

    /// Reads a value with its blobs from its segment.
    pub(crate) fn record(&self, key: &ValueKey, location: &Location) -> Reading<Assembly> {
        self.metrics.map_reads.inc();
        reader::whole(&self.segments, key, location)
    }

    /// What an operator should read of a damaged record.
    fn describe(key: &ValueKey, location: &Location, damage: &Damage) -> String {
        let Location { segment, offset, .. } = location;
        format!("the record of {key} in segment {segment} at {offset}: {damage}")
    }

    fn recent(&self) -> MutexGuard<'_, BTreeMap<Height, HeightRows>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads of an undecided value; `None` if it is not undecided, or was decided or dropped meanwhile.
    fn read_undecided<T>(&self, key: &ValueKey, how: &impl How<T>) -> Result<Option<T>, Absent> {
        let undecided = self.undecided().get(key).map(|value| (value.location, value.blobs));
        let Some((location, blobs)) = undecided else {
            return Ok(None);
        };
        if blobs != Blobs::Held {
            return Err(Absent::NeverHeld);
        }
        let hot = self.hot().get(key);
        if let Some(assembly) = hot {
            self.metrics.hot_hits.inc();
            return Ok(Some(how.take(&assembly)));
        }
        self.metrics.map_reads.inc();
        how.read(&self.segments, key, &location).map_err(|damage| {
            self.alarm(&Self::describe(key, &location, &damage));
            Absent::Damaged
        })
    }

    /// Reads of a decided height. A record that was moved between index and file is looked up again: the index changed
    /// first.
    fn read_decided<T>(&self, height: Height, how: &impl How<T>) -> Result<(HeightRows, T), Absent> {
        for _ in 0..LOOK_UPS_MAX {
            let rows = self.find_rows(height)?;
            let location = rows.place.location;
            if how.needs_blobs() {
                self.has_blobs(rows.place.blobs)?;
                if self.damages.contains(height) {
                    return Err(Absent::Damaged);
                }
            }
            let key = rows.decided.key();
            let hot = self.hot().get(&key);
            if let Some(assembly) = hot {
                self.metrics.hot_hits.inc();
                return Ok((rows, how.take(&assembly)));
            }
            self.metrics.map_reads.inc();
            match how.read(&self.segments, &key, &location) {
                Ok(Some(read)) => return Ok((rows, read)),
                Ok(None) => {}
                Err(damage) => {
                    self.forget_recent(height);
                    if self.find_rows(height)?.place.location == location {
                        self.mark_damaged(height, &Self::describe(&key, &location, &damage));
                        return Err(Absent::Damaged);
                    }
                }
            }
            self.forget_recent(height);
        }
        self.mark_damaged(height, &format!("height {height} lies in a segment that is gone"));
        Err(Absent::Damaged)
    }

    /// Reads of a value, decided or not.
    fn read_value<T>(&self, key: &ValueKey, how: &impl How<T>) -> Result<T, Absent> {
        if let Some(read) = self.read_undecided(key, how)? {
            return Ok(read);
        }
        if self.find_rows(key.height)?.decided.key() != *key {
            return Err(Absent::Unknown);
        }
        self.read_decided(key.height, how).map(|(_, read)| read)
    }

    /// A decided height with its `Init`, which is read from the record where nothing in memory has it.
    fn find_decided(&self, height: Height) -> Result<Decided, Absent> {
        let rows = self.find_rows(height)?;
        let (rows, init) = match &rows.init {
            Some(init) => {
                let init = Arc::clone(init);
                (rows, init)
            }
            None => self.read_decided(height, &InitAlone)?,
        };
        Ok(with_init(rows, init))
    }

    fn has_blobs(&self, blobs: Blobs) -> Result<(), Absent> {
        match blobs {
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

    pub(crate) fn alarm(&self, what: &str) {
        self.metrics.damaged_reads.inc();
        if self.alarms.is_news(Instant::now(), what) {
            tracing::error!(
                "stored data is damaged: {what}; it is not served. What was decided is fetched again from peers; check \
                 the disk (dmesg, smartctl)"
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

    fn blob_status(&self, height: Height) -> Option<BlobStatus> {
        if height > self.head_height() {
            self.undecided_status(height)
        } else {
            self.decided_status(height)
        }
    }

    fn account(&self) -> Option<StoreAccount> {
        Some(self.take_account())
    }

    fn scrub_progress(&self) -> Option<ScrubProgress> {
        let scrubs = self.scrubs.load(Ordering::Acquire);
        scrubs.then(|| self.metrics.scrub.progress())
    }

    fn shortage(&self) -> Option<String> {
        self.shortage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn archived_through(&self) -> Height {
        self.archived.through()
    }

    fn is_archived(&self, height: Height) -> bool {
        self.archived.has(height)
    }

    fn decided(&self, height: Height) -> Option<Decided> {
        self.find_decided(height).ok()
    }

    fn entry(&self, height: Height) -> Option<DecidedEntry> {
        let HeightRows { decided, place, .. } = self.rows(height)?;
        Some(DecidedEntry {
            certificate: decided.certificate,
            blobs: place.blobs,
            block_hash: decided.block_hash,
            timestamp: decided.timestamp,
            blobs_count: decided.blobs_count,
        })
    }

    fn damaged(&self) -> Vec<Height> {
        self.damages.heights()
    }

    fn is_damaged(&self, height: Height) -> bool {
        self.damages.contains(height)
    }

    fn height_of_block(&self, block_hash: &Hash) -> Option<Height> {
        match self.index.height_of_block(block_hash) {
            // A key or a value that rotted names another block's height.
            Ok(height) => height.filter(|height| {
                let rows = self.rows(*height);
                rows.is_none_or(|rows| rows.decided.block_hash == *block_hash)
            }),
            Err(error) => {
                self.alarm(&format!("block {block_hash} cannot be looked up: {error}"));
                None
            }
        }
    }

    fn value(&self, key: &ValueKey) -> Result<Assembly, Absent> {
        self.read_value(key, &Whole)
    }

    fn blob(&self, key: &ValueKey, index: usize) -> Result<Bytes, Absent> {
        self.read_value(key, &Blob(index))?.ok_or(Absent::Unknown)
    }

    fn decided_value(&self, height: Height) -> Result<(Decided, Assembly), Absent> {
        let (rows, assembly) = self.read_decided(height, &Whole)?;
        Ok((with_init(rows, Arc::clone(&assembly.init)), assembly))
    }

    fn decided_payload(&self, height: Height) -> Option<DecidedPayload> {
        let (rows, assembly) = self.read_decided(height, &Head).ok()?;
        Some(DecidedPayload {
            decided: with_init(rows, assembly.init),
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
                let rows = self.rows(key.height)?;
                (rows.decided.key() == *key).then_some(rows.place.location)?
            }
        };
        self.segments.on_disk(&location)
    }
}

fn with_init(rows: HeightRows, init: Arc<Init>) -> Decided {
    Decided {
        certificate: rows.decided.certificate,
        init,
        blobs: rows.place.blobs,
    }
}
