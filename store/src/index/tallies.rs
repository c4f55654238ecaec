//! This part of the index knows how many heights are in which state, and what their records take on disk.
//!
//! The tallies are a mark, changed in the transaction that changes a row of `locations`. So they are right after any
//! end of the process, and nobody counts rows.

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

/// Heights and bytes by state, as far as the index knows states.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct RowTallies {
    /// The archive has everything up to this height.
    pub archived_through: Height,
    pub states: StateTallies,
}

impl RowTallies {
    /// The state of a height with this row.
    pub fn state(&self, height: Height, blobs: Blobs) -> BlobState {
        match blobs {
            Blobs::Held => BlobState::Decided,
            Blobs::Pruned if height <= self.archived_through => BlobState::Archived,
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

    pub fn decode(bytes: &[u8], archived_through: Height) -> Option<Self> {
        let mut fields = Cursor::new(bytes);
        let mut states = StateTallies::default();
        for state in STATES {
            let tally = states.of_mut(state);
            tally.heights = fields.u64()?;
            tally.bytes = fields.u64()?;
        }
        Some(Self {
            archived_through,
            states,
        })
    }
}

impl Index {
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
        let mut counted = RowTallies {
            archived_through: self.marks()?.archived_through,
            ..RowTallies::default()
        };
        // Damaged rows count when they are repaired.
        let _ = self.locations(|height, row| counted.add(height, &row))?;
        Ok(counted.states)
    }

    /// Takes the tallies from their mark. A directory without it has its rows counted, once.
    pub(super) fn load_tallies(&self) -> Result<(), IndexError> {
        let archived_through = self.marks()?.archived_through;
        let transaction = self.of(redb::ReadableDatabase::begin_read(&self.database))?;
        let marks = self.of(transaction.open_table(MARKS))?;
        let row = self.of(marks.get(MARK_TALLIES))?;
        let mark = row.as_ref().and_then(|row| open_mark(MARK_TALLIES, row.value(), RowTallies::BYTES));
        let found = mark.and_then(|mark| RowTallies::decode(mark, archived_through));
        let tallies = match found {
            Some(tallies) => tallies,
            None => RowTallies {
                archived_through,
                states: self.recount()?,
            },
        };
        self.set_tallies(tallies);
        Ok(())
    }

    /// Writes a row of `locations`, and counts it.
    pub(super) fn place(
        &self,
        locations: &mut Table<'_, u64, &'static [u8]>,
        tallies: &mut RowTallies,
        height: Height,
        row: &LocationRow,
    ) -> Result<(), IndexError> {
        let before = self.of(locations.insert(height.0, encode_location(height, row).as_slice()))?;
        if let Some(before) = before.and_then(|before| decode_location(height, before.value())) {
            tallies.remove(height, &before);
        }
        tallies.add(height, row);
        Ok(())
    }

    /// Counts heights as archived that were pruned before the archive had them.
    pub(super) fn count_archived(
        &self,
        transaction: &redb::WriteTransaction,
        tallies: &mut RowTallies,
        through: Height,
    ) -> Result<(), IndexError> {
        let locations = self.of(transaction.open_table(LOCATIONS))?;
        let from = tallies.archived_through.next();
        for row in self.of(locations.range(from.0..=through.0))? {
            let (height, row) = self.of(row)?;
            let height = Height(height.value());
            let Some(row) = decode_location(height, row.value()).filter(|row| row.blobs == Blobs::Pruned) else {
                continue;
            };
            tallies.remove(height, &row);
            tallies.states.of_mut(BlobState::Archived).add(row.location.bytes);
        }
        tallies.archived_through = through;
        Ok(())
    }
}
