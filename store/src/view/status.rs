//! This part of the view knows what to tell of the store itself: the state of a height's blobs, and the account.

use std::sync::atomic::Ordering;

use ultramarine_types::Height;
#[cfg(test)]
use ultramarine_types::storage::StateTallies;
use ultramarine_types::storage::{BlobState, BlobStatus, StoreAccount};

use super::View;
use crate::account;
use crate::index::Index;
use crate::mapped::Segments;
use crate::metrics::Metrics;

impl View {
    /// From now on what is stored is read again in the background.
    pub(crate) fn begin_scrub(&self) {
        self.scrubs.store(true, Ordering::Release);
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn segments(&self) -> &Segments {
        &self.segments
    }

    pub(crate) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Shows what is held in the metrics. Call it when that changed.
    pub(crate) fn show_account(&self) {
        account::show(&self.metrics, &self.take_account());
    }

    pub(super) fn take_account(&self) -> StoreAccount {
        let undecided = self.undecided();
        let values = undecided.iter().map(|(key, value)| (key.height, value.location.bytes));
        self.accountant.take(&self.index, &self.segments, values)
    }

    /// The states of decided heights as the index tallies them.
    #[cfg(test)]
    pub(crate) fn tallied(&self) -> StateTallies {
        self.index.states()
    }

    /// The same by a look at every row.
    #[cfg(test)]
    pub(crate) fn recount(&self) -> StateTallies {
        self.index.recount().expect("the rows can be read")
    }

    /// What is stored of a height that is not decided.
    pub(super) fn undecided_status(&self, height: Height) -> Option<BlobStatus> {
        let undecided = self.undecided();
        let values = undecided.iter().filter(|(key, _)| key.height == height);
        values.fold(None, |status, (_, value)| {
            let before: Option<BlobStatus> = status;
            let first = |since: Option<u64>| before.map_or(since, |before| before.since.min(since));
            Some(BlobStatus {
                height,
                state: BlobState::Undecided,
                since: first(value.since),
                blobs_count: before.map_or(0, |before| before.blobs_count) + u64::from(value.blobs_count),
                bytes: before.map_or(0, |before| before.bytes) + value.location.bytes,
            })
        })
    }

    /// What became of a decided height's blobs.
    pub(super) fn decided_status(&self, height: Height) -> Option<BlobStatus> {
        let rows = self.rows(height);
        let place = self.index.location(height).ok().flatten();
        let (state, since) = match (self.damages.get(height), place) {
            (Some(damage), _) => (BlobState::Damaged, damage.since),
            (None, Some(place)) => (self.index.state(height, place.blobs), place.since),
            (None, None) => return None,
        };
        Some(BlobStatus {
            height,
            state,
            since: Some(since).filter(|since| *since > 0),
            blobs_count: rows.map_or(0, |rows| u64::from(rows.decided.blobs_count)),
            bytes: place.map_or(0, |place| place.location.bytes),
        })
    }
}
