//! This part of the index knows how many heights are in which state, and what their records take on disk.
//!
//! The tallies are a mark, changed in the transaction that changes a row of `locations`. So they are right after any
//! end of the process, and nobody counts rows.

use std::path::Path;
use std::sync::PoisonError;

use redb::{ReadableTable, Table};
use ultramarine_types::Height;
use ultramarine_types::canonical::Cursor;
use ultramarine_types::storage::{BlobState, Blobs, StateTallies};

use super::rows::{decode_location, encode_location, open_mark};
use super::{Index, IndexError, LOCATIONS, LocationRow, MARK_TALLIES, MARKS};
use crate::format::Fields;

/// The states that a row of `locations` tells, in the order of the mark's fields.
const STATES: [BlobState; 4] = [
    BlobState::Decided,
    BlobState::Archived,
    BlobState::Pruned,
    BlobState::NeverHeld,
];

/// More than any disk holds, and few enough that all states have a sum.
const TALLY_MAX: u64 = 1 << 60;

/// Heights and bytes by state, as far as the index knows states.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct RowTallies {
    /// The archive has everything up to this height.
    pub archived_through: Height,
    /// What is pruned below this height was so before it was archived: the archive has it without blobs.
    pub archived_from: Height,
    pub states: StateTallies,
}

impl RowTallies {
    /// The state of a height with this row.
    pub fn state(&self, height: Height, blobs: Blobs) -> BlobState {
        match blobs {
            Blobs::Held => BlobState::Decided,
            Blobs::Pruned if self.archived_from <= height && height <= self.archived_through => BlobState::Archived,
            Blobs::Pruned => BlobState::Pruned,
            Blobs::NeverHeld => BlobState::NeverHeld,
        }
    }

    fn add(&mut self, height: Height, row: &LocationRow) {
        let state = self.state(height, row.blobs);
        self.states.of_mut(state).add(row.location.bytes);
    }

    fn remove(&mut self, height: Height, row: &LocationRow) {
        let state = self.state(height, row.blobs);
        self.states.of_mut(state).remove(row.location.bytes);
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Fields::default();
        for state in STATES {
            let tally = self.states.of(state);
            fields.u64(tally.heights).u64(tally.bytes);
        }
        fields.0
    }

    /// Bytes of the mark.
    pub const BYTES: usize = STATES.len() * 2 * 8;

    pub fn decode(bytes: &[u8], archived: &Self) -> Option<Self> {
        let mut fields = Cursor::new(bytes);
        let mut states = StateTallies::default();
        for state in STATES {
            let tally = states.of_mut(state);
            tally.heights = fields.u64().filter(|heights| *heights <= TALLY_MAX)?;
            tally.bytes = fields.u64().filter(|bytes| *bytes <= TALLY_MAX)?;
        }
        Some(Self { states, ..*archived })
    }
}

impl Index {
    /// Where a decided height's record lies.
    pub fn location(&self, height: Height) -> Result<Option<LocationRow>, IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let locations = self.of(transaction.open_table(LOCATIONS))?;
            let row = self.of(locations.get(height.0))?;
            let decode = |row: redb::AccessGuard<'_, &[u8]>| {
                decode_location(height, row.value()).ok_or_else(|| self.damaged("locations", height))
            };
            row.map(decode).transpose()
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn tallies(&self) -> RowTallies {
        *self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_tallies(&self, tallies: RowTallies) {
        *self.tallies.lock().unwrap_or_else(PoisonError::into_inner) = tallies;
    }

    /// Heights and bytes by state, as of the last finished transaction; nothing of undecided or damaged ones.
    pub fn states(&self) -> StateTallies {
        self.tallies().states
    }

    /// The state of a height with this row.
    pub fn state(&self, height: Height, blobs: Blobs) -> BlobState {
        self.tallies().state(height, blobs)
    }

    /// Counts every row: what the mark should say.
    pub fn recount(&self) -> Result<StateTallies, IndexError> {
        let mut counted = self.none_tallied()?;
        // Damaged rows count when they are repaired.
        let _ = self.locations(|height, row| counted.add(height, &row))?;
        Ok(counted.states)
    }

    /// Tallies of no row.
    fn none_tallied(&self) -> Result<RowTallies, IndexError> {
        let marks = self.marks()?;
        Ok(RowTallies {
            archived_through: marks.archived_through,
            archived_from: marks.archived_from,
            states: StateTallies::default(),
        })
    }

    /// Takes the tallies from their mark. A directory without it has its rows counted, once.
    pub(super) fn load_tallies(&self) -> Result<(), IndexError> {
        self.guard(|| {
            let none = self.none_tallied()?;
            let transaction = self.begin_read()?;
            let marks = self.of(transaction.open_table(MARKS))?;
            let row = self.of(marks.get(MARK_TALLIES))?;
            let mark = row
                .as_ref()
                .and_then(|row| open_mark(MARK_TALLIES, row.value(), RowTallies::BYTES));
            let found = mark.and_then(|mark| RowTallies::decode(mark, &none));
            // Without the mark of the archive they are of other states.
            let found = found.filter(|found| {
                found.archived_through > Height::GENESIS || found.states.of(BlobState::Archived).heights == 0
            });
            let tallies = match found {
                Some(tallies) => tallies,
                None => RowTallies {
                    states: self.recount()?,
                    ..none
                },
            };
            self.set_tallies(tallies);
            Ok(())
        })
    }

    /// Writes a row of `locations`, and counts it.
    pub(super) fn place(
        &self,
        locations: &mut Table<'_, u64, &'static [u8]>,
        tallies: &mut RowTallies,
        height: Height,
        row: &LocationRow,
    ) -> Result<(), IndexError> {
        if let Some(before) = self.of(locations.insert(height.0, encode_location(height, row).as_slice()))? {
            match decode_location(height, before.value()) {
                Some(before) => tallies.remove(height, &before),
                // It rotted: what it said of its bytes is lost.
                None => tallies.states.of_mut(BlobState::Decided).remove(0),
            }
        }
        tallies.add(height, row);
        Ok(())
    }

    /// The same of a height that lies elsewhere now. If its state stays, it keeps the time of its last change.
    pub(super) fn replace(
        &self,
        locations: &mut Table<'_, u64, &'static [u8]>,
        tallies: &mut RowTallies,
        height: Height,
        row: &LocationRow,
    ) -> Result<(), IndexError> {
        let before = self.of(locations.get(height.0))?;
        let before = before.and_then(|before| decode_location(height, before.value()));
        let same = before.filter(|before| before.blobs == row.blobs);
        let since = same.map_or(row.since, |before| before.since);
        self.place(locations, tallies, height, &LocationRow { since, ..*row })
    }

    /// Moves the archive on. What was pruned before it was archived stays so, and so does all that is pruned below it.
    pub(super) fn count_archived(
        &self,
        transaction: &redb::WriteTransaction,
        tallies: &mut RowTallies,
        through: Height,
    ) -> Result<(), IndexError> {
        let locations = self.of(transaction.open_table(LOCATIONS))?;
        let mut newest_lost = None;
        for row in self.of(locations.range(tallies.archived_through.next().0..=through.0))? {
            let (height, row) = self.of(row)?;
            let height = Height(height.value());
            if decode_location(height, row.value()).is_some_and(|row| row.blobs == Blobs::Pruned) {
                newest_lost = Some(height);
            }
        }
        tallies.archived_through = through;
        let Some(lost) = newest_lost else { return Ok(()) };
        tallies.archived_from = lost.next();
        tallies.states = StateTallies::default();
        for row in self.of(locations.iter())? {
            let (height, row) = self.of(row)?;
            let height = Height(height.value());
            if let Some(row) = decode_location(height, row.value()) {
                tallies.add(height, &row);
            }
        }
        Ok(())
    }
}
