//! This file knows what the store holds, in numbers: heights and bytes by state, and what the files occupy.
//!
//! Nothing is walked for it but what is small and in memory: the values not decided yet. The index tallies its rows
//! ([`crate::index`]), the segments their files ([`crate::mapped`]), and damage is taken off what the index says here.
//!
//! Keeps: the heights of all states are the heights of which anything is stored, each once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ultramarine_types::Height;
use ultramarine_types::storage::{BlobState, FileBytes, StateTallies, StoreAccount};

use crate::index::Index;
use crate::journal::{LOG_FILES_COUNT, log_path};
use crate::mapped::Segments;
use crate::mapped::occupied::SegmentBytes;
use crate::metrics::Metrics;
use crate::reserve::{RESERVE_NAME, occupied_bytes};

/// Takes the account of a store.
#[derive(Debug)]
pub(crate) struct Accountant {
    folder: PathBuf,
    /// Of each damaged height the state and the bytes that the index tallies it under.
    damages: Mutex<BTreeMap<Height, (BlobState, u64)>>,
}

impl Accountant {
    /// For the store whose index this is.
    pub fn new(index: &Index) -> Self {
        Self {
            folder: index.path().parent().unwrap_or(Path::new("")).to_owned(),
            damages: Mutex::default(),
        }
    }

    /// A height is damaged from now on. One whose row cannot be read counts without bytes.
    pub fn damaged(&self, index: &Index, height: Height) {
        let row = index.location(height).ok().flatten();
        let tallied = row.map(|row| (index.state(height, row.blobs), row.location.bytes));
        self.damages()
            .insert(height, tallied.unwrap_or((BlobState::Decided, 0)));
    }

    /// A height is damaged no longer.
    pub fn restored(&self, height: Height) {
        self.damages().remove(&height);
    }

    fn damages(&self) -> MutexGuard<'_, BTreeMap<Height, (BlobState, u64)>> {
        self.damages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `undecided` has the height and the bytes of each value that is not decided.
    pub fn take(
        &self,
        index: &Index,
        segments: &Segments,
        undecided: impl Iterator<Item = (Height, u64)>,
    ) -> StoreAccount {
        let mut states = index.states();
        for (state, bytes) in self.damages().values() {
            states.of_mut(*state).remove(*bytes);
            states.of_mut(BlobState::Damaged).add(*bytes);
        }
        add_undecided(&mut states, undecided);
        of_parts(&self.folder, states, segments.occupied())
    }
}

/// Adds values that are not decided: several may be of one height.
pub(crate) fn add_undecided(states: &mut StateTallies, values: impl Iterator<Item = (Height, u64)>) {
    let mut heights = BTreeSet::new();
    let tally = states.of_mut(BlobState::Undecided);
    for (height, bytes) in values {
        heights.insert(height);
        tally.bytes += bytes;
    }
    tally.heights = heights.len() as u64;
}

/// The account of a data directory with these heights and segments.
pub(crate) fn of_parts(folder: &Path, states: StateTallies, segments: SegmentBytes) -> StoreAccount {
    let logs = (0..LOG_FILES_COUNT).map(|number| occupied_bytes(&log_path(folder, number)));
    StoreAccount {
        states,
        files: FileBytes {
            values: segments.values,
            payloads: segments.payloads,
            free: segments.free,
            index: occupied_bytes(&folder.join(crate::index::INDEX_NAME)),
            log: logs.sum(),
            reserve: occupied_bytes(&folder.join(RESERVE_NAME)),
        },
        dead_bytes: segments.records.saturating_sub(states.live_bytes()),
        leased_bytes: segments.leased,
        segments: segments.segments,
    }
}

/// Shows an account in the metrics.
pub(crate) fn show(metrics: &Metrics, account: &StoreAccount) {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    for ((_, tally), (heights, bytes)) in account.states.iter().zip(&metrics.states) {
        heights.set(number(tally.heights));
        bytes.set(number(tally.bytes));
    }
    let files = &account.files;
    let shown = [
        files.values,
        files.payloads,
        files.free,
        files.index,
        files.log,
        files.reserve,
    ];
    for (bytes, gauge) in shown.into_iter().zip(&metrics.files) {
        gauge.set(number(bytes));
    }
    metrics.dead_bytes.set(number(account.dead_bytes));
    metrics.leased_bytes.set(number(account.leased_bytes));
}
