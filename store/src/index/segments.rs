//! This part of the index knows which heights lie in which segment, and what changes when records are moved.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use ultramarine_types::Height;

use super::rows::{decode_location, decode_segment, encode_floor, encode_segment};
use super::tallies::RowTallies;
use super::{Index, IndexError, LOCATIONS, LocationRow, MARK_PAYLOADS, MARKS};
use crate::ledger::SegmentRow;
use crate::segment::{Position, SegmentId};

pub(super) const SEGMENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("segments");
/// Rows that are looked at in one go for heights of one segment.
const LOOKED_AT_MAX: usize = 4096;

/// Records that lie elsewhere from now on, and what each segment holds then.
#[derive(Clone, Debug, Default)]
pub struct Relocation {
    pub rows: Vec<(Height, LocationRow)>,
    /// Where the growing payloads segment ends, if records were moved there.
    pub payloads: Option<Position>,
    /// Rows of segments that changed; `None`: no decided height lies there any more.
    pub segments: Vec<(SegmentId, Option<SegmentRow>)>,
}

/// Rows of segments; `None` where one is damaged.
type FoundRows = Vec<(SegmentId, Option<SegmentRow>)>;

/// Heights of a segment, and where the search goes on.
#[derive(Clone, Debug, Default)]
pub struct HeightsFound {
    pub rows: Vec<(Height, LocationRow)>,
    /// Heights whose row is damaged: nobody knows where they lie.
    pub damaged: Vec<Height>,
    /// `None`: there are no more.
    pub next: Option<Height>,
}

impl Index {
    /// What each segment holds; `None` in a directory of before these rows.
    pub fn segments(&self) -> Result<Option<Vec<(SegmentId, SegmentRow)>>, IndexError> {
        let rows = self.segment_rows()?;
        let whole = |(id, row): (SegmentId, Option<SegmentRow>)| match row {
            Some(row) => Ok((id, row)),
            None => Err(self.damaged("segments", id)),
        };
        rows.map(|rows| rows.into_iter().map(whole).collect()).transpose()
    }

    /// The same, with `None` for a row that is damaged.
    pub(super) fn segment_rows(&self) -> Result<Option<FoundRows>, IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let Some(table) = self.if_made(transaction.open_table(SEGMENTS))? else {
                return Ok(None);
            };
            let mut rows = Vec::new();
            for row in self.of(table.iter())? {
                let (id, row) = self.of(row)?;
                let id = SegmentId(id.value());
                rows.push((id, decode_segment(id, row.value()).filter(|_| id.0 < u64::MAX)));
            }
            Ok(Some(rows))
        })
    }

    /// Heights from `from` on and below `below` that lie in a segment, at most `rows_max`.
    pub fn heights_in(
        &self,
        segment: SegmentId,
        from: Height,
        below: Height,
        rows_max: usize,
    ) -> Result<HeightsFound, IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let table = self.of(transaction.open_table(LOCATIONS))?;
            let mut found = HeightsFound::default();
            for (looked_at, row) in self.of(table.range(from.0..below.0))?.enumerate() {
                let (height, row) = self.of(row)?;
                let height = Height(height.value());
                if found.rows.len() == rows_max || looked_at == LOOKED_AT_MAX {
                    found.next = Some(height);
                    break;
                }
                match decode_location(height, row.value()) {
                    Some(row) if row.location.segment == segment => found.rows.push((height, row)),
                    Some(_) => {}
                    None => found.damaged.push(height),
                }
            }
            Ok(found)
        })
    }

    pub(super) fn write_relocation(
        &self,
        transaction: &WriteTransaction,
        tallies: &mut RowTallies,
        relocation: &Relocation,
    ) -> Result<(), IndexError> {
        if !relocation.rows.is_empty() {
            let mut locations = self.of(transaction.open_table(LOCATIONS))?;
            for (height, row) in &relocation.rows {
                self.replace(&mut locations, tallies, *height, row)?;
            }
        }
        if let Some(end) = relocation.payloads {
            let mut marks = self.of(transaction.open_table(MARKS))?;
            self.insert_mark(&mut marks, MARK_PAYLOADS, encode_floor(end))?;
        }
        self.write_segments(transaction, &relocation.segments)
    }

    pub(super) fn write_segments(
        &self,
        transaction: &WriteTransaction,
        rows: &[(SegmentId, Option<SegmentRow>)],
    ) -> Result<(), IndexError> {
        let mut segments = self.of(transaction.open_table(SEGMENTS))?;
        for (id, row) in rows {
            match row {
                Some(row) => self
                    .of(segments.insert(id.0, encode_segment(*id, row).as_slice()))
                    .map(drop)?,
                None => self.of(segments.remove(id.0)).map(drop)?,
            }
        }
        Ok(())
    }
}
