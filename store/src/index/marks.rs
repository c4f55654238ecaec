//! This part of the index knows its marks: how they are read at a start, and what is done without one that rotted.

use redb::ReadableTable;
use ultramarine_types::Height;
use ultramarine_types::canonical::Cursor;
use ultramarine_types::storage::{Blobs, LogEpoch};

use super::rows::{decode_archived, decode_epoch, decode_floor, decode_head, open_mark, seal_mark};
use super::tallies::RowTallies;
use super::{
    Index, IndexError, MARK_ARCHIVED, MARK_EPOCH, MARK_FLOOR, MARK_HEAD, MARK_OLDEST, MARK_PAYLOADS, MARK_REBUILT,
    MARK_SILENT, MARK_TALLIES, MARKS,
};
use crate::segment::Position;

/// Bytes of marks.
const EPOCH_BYTES: usize = 16;
const FLOOR_BYTES: usize = 24;
const HEIGHT_BYTES: usize = 8;
const ARCHIVED_BYTES: usize = 16;

/// The marks, as read at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// The newest log epoch.
    pub epoch: Option<LogEpoch>,
    /// Where recovery begins to look for undecided values.
    pub floor: Position,
    /// Where the growing payloads segment ends.
    pub payloads: Option<Position>,
    /// Oldest height whose blobs are here.
    pub oldest_blobs: Option<Height>,
    /// Nothing is signed up to this height.
    pub silent_through: Height,
    /// Up to this height that is so because the index was rebuilt.
    pub rebuilt_through: Height,
    /// The archive has everything up to this height.
    pub archived_through: Height,
    /// Heights below this one that are pruned were so before they were archived.
    pub archived_from: Height,
}

impl Index {
    /// The marks. One that rotted is told of, and replaced by what does no harm where there is such a thing.
    pub fn marks(&self) -> Result<Marks, IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let table = self.of(transaction.open_table(MARKS))?;
            let rotten = |name| {
                let error = self.damaged("marks", name);
                tracing::error!("{error}: the start does without it");
                error
            };
            let mut marks = Marks::default();
            match self.read_mark(&table, MARK_EPOCH, decode_epoch, EPOCH_BYTES) {
                Ok(epoch) => marks.epoch = epoch,
                Err(IndexError::Row { .. }) => {
                    rotten(MARK_EPOCH);
                    // No log is of this generation, so none is believed and nothing is signed at that height.
                    let height = self.head()?.unwrap_or_default().next();
                    marks.epoch = Some(LogEpoch { height, generation: 0 });
                }
                Err(error) => return Err(error),
            }
            match self.read_mark(&table, MARK_FLOOR, decode_floor, FLOOR_BYTES) {
                Ok(floor) => marks.floor = floor.unwrap_or_default(),
                // Every segment is looked through.
                Err(IndexError::Row { .. }) => drop(rotten(MARK_FLOOR)),
                Err(error) => return Err(error),
            }
            match self.read_mark(&table, MARK_PAYLOADS, decode_floor, FLOOR_BYTES) {
                Ok(payloads) => marks.payloads = payloads,
                // The next payloads go to a segment of their own.
                Err(IndexError::Row { .. }) => drop(rotten(MARK_PAYLOADS)),
                Err(error) => return Err(error),
            }
            let height = |bytes: &[u8]| Cursor::new(bytes).u64().map(Height);
            match self.read_mark(&table, MARK_OLDEST, height, HEIGHT_BYTES) {
                Ok(oldest) => marks.oldest_blobs = oldest,
                Err(IndexError::Row { .. }) => {
                    rotten(MARK_OLDEST);
                    marks.oldest_blobs = Some(self.find_oldest_blobs()?);
                }
                Err(error) => return Err(error),
            }
            // Nothing else says what may not be signed: this one is an error.
            let silent = self.read_mark(&table, MARK_SILENT, height, HEIGHT_BYTES)?;
            marks.silent_through = silent.unwrap_or_default();
            match self.read_mark(&table, MARK_REBUILT, height, HEIGHT_BYTES) {
                Ok(rebuilt) => marks.rebuilt_through = rebuilt.unwrap_or_default(),
                // Nothing is signed all the same, and no reason is given.
                Err(IndexError::Row { .. }) => drop(rotten(MARK_REBUILT)),
                Err(error) => return Err(error),
            }
            match self.read_mark(&table, MARK_ARCHIVED, decode_archived, ARCHIVED_BYTES) {
                Ok(archived) => (marks.archived_through, marks.archived_from) = archived.unwrap_or_default(),
                // What is archived is archived again, and nothing is pruned before.
                Err(IndexError::Row { .. }) => drop(rotten(MARK_ARCHIVED)),
                Err(error) => return Err(error),
            }
            Ok(marks)
        })
    }

    /// The names of marks that rotted.
    pub(super) fn rotten_marks(&self) -> Result<Vec<&'static str>, IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let table = self.of(transaction.open_table(MARKS))?;
            let lengths = [
                (MARK_EPOCH, EPOCH_BYTES),
                (MARK_FLOOR, FLOOR_BYTES),
                (MARK_PAYLOADS, FLOOR_BYTES),
                (MARK_OLDEST, HEIGHT_BYTES),
                (MARK_SILENT, HEIGHT_BYTES),
                (MARK_REBUILT, HEIGHT_BYTES),
                (MARK_ARCHIVED, ARCHIVED_BYTES),
                (MARK_TALLIES, RowTallies::BYTES),
            ];
            let mut rotten = Vec::new();
            if self
                .of(table.get(MARK_HEAD))?
                .is_some_and(|row| decode_head(row.value()).is_none())
            {
                rotten.push(MARK_HEAD);
            }
            for (name, mark_bytes) in lengths {
                let row = self.of(table.get(name))?;
                if row.is_some_and(|row| open_mark(name, row.value(), mark_bytes).is_none()) {
                    rotten.push(name);
                }
            }
            Ok(rotten)
        })
    }

    fn read_mark<T>(
        &self,
        marks: &impl ReadableTable<&'static str, &'static [u8]>,
        name: &'static str,
        decode: impl FnOnce(&[u8]) -> Option<T>,
        mark_bytes: usize,
    ) -> Result<Option<T>, IndexError> {
        let row = self.of(marks.get(name))?;
        let mark = row.map(|row| open_mark(name, row.value(), mark_bytes).and_then(decode));
        mark.map(|mark| mark.ok_or_else(|| self.damaged("marks", name)))
            .transpose()
    }

    pub(super) fn insert_mark(
        &self,
        marks: &mut redb::Table<'_, &'static str, &'static [u8]>,
        name: &'static str,
        mark: Vec<u8>,
    ) -> Result<(), IndexError> {
        self.of(marks.insert(name, seal_mark(name, mark).as_slice())).map(drop)
    }

    /// Behind the newest height without blobs.
    fn find_oldest_blobs(&self) -> Result<Height, IndexError> {
        let mut oldest = Height(1);
        self.locations(|height, row| {
            if row.blobs != Blobs::Held {
                oldest = height.next();
            }
        })?;
        Ok(oldest)
    }
}
