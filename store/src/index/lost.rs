//! This part of the index knows what a start asks about rows that rotted or are missing, and how they are written anew.

use redb::ReadableTableMetadata;
use ultramarine_types::{Height, ValueId};

use super::rows::{decode_row, encode_location};
use super::{DECIDED, Index, IndexError, LOCATIONS, LocationRow, MARK_TALLIES, MARKS};
use crate::places::Lacking;

impl Index {
    /// Which value a height decided; `None` if its row is damaged or missing.
    pub fn decided_id(&self, height: Height) -> Result<Option<ValueId>, IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let decided = self.of(transaction.open_table(DECIDED))?;
            let row = self.of(decided.get(height.0))?;
            let found = row.and_then(|row| decode_row(height, row.value()));
            Ok(found.map(|found| found.row.certificate.value_id))
        })
    }

    /// Heights from 1 to the head that have no row, at most `heights_max`, lowest first. Quick where there is none.
    pub fn holes(&self, head: Height, heights_max: usize) -> Result<Vec<Height>, IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let decided = self.of(transaction.open_table(DECIDED))?;
            let locations = self.of(transaction.open_table(LOCATIONS))?;
            if self.of(decided.len())? == head.0 && self.of(locations.len())? == head.0 {
                return Ok(Vec::new());
            }
            let mut holes = Vec::new();
            for height in 1..=head.0 {
                let is_there = self.of(decided.get(height))?.is_some() && self.of(locations.get(height))?.is_some();
                if !is_there {
                    holes.push(Height(height));
                    if holes.len() == heights_max {
                        break;
                    }
                }
            }
            Ok(holes)
        })
    }

    /// How many more heights each segment has than there are rows of; `None` if rows of segments are not whole.
    pub fn lacking(&self) -> Result<Option<Lacking>, IndexError> {
        let Ok(Some(rows)) = self.segments() else {
            return Ok(None);
        };
        let mut lacking: Lacking = rows.into_iter().map(|(id, row)| (id, row.heights_count)).collect();
        let _ = self.locations(|_, row| {
            if let Some(left) = lacking.get_mut(&row.location.segment) {
                *left = left.saturating_sub(1);
            }
        })?;
        Ok(Some(lacking))
    }

    /// Writes rows of `locations` anew that were damaged.
    pub fn repair(&self, rows: &[(Height, LocationRow)]) -> Result<(), IndexError> {
        self.change(|transaction| {
            let mut locations = self.of(transaction.open_table(LOCATIONS))?;
            for (height, row) in rows {
                self.of(locations.insert(height.0, encode_location(*height, row).as_slice()))?;
            }
            let mut marks = self.of(transaction.open_table(MARKS))?;
            // They are counted afresh.
            self.of(marks.remove(MARK_TALLIES)).map(drop)
        })?;
        self.load_tallies()
    }
}
