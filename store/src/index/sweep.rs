//! This part of the index knows how to read rows that no decided height leads to, and to hold them against the rest.

use std::ops::Bound;
use std::sync::atomic::Ordering;

use ultramarine_types::Height;

use super::rows::decode_row;
use super::{BLOCKS, DECIDED, Index, IndexError, LOCATIONS};

impl Index {
    /// Beginnings and ends of transactions in this life, if none is under way. A reading of the file is of one state
    /// only if there was neither meanwhile.
    pub fn writes(&self) -> Option<u64> {
        let writes = self.writes.load(Ordering::Acquire);
        writes.is_multiple_of(2).then_some(writes)
    }

    /// Reads at most `rows_max` rows of `blocks` behind a key, and holds each against the height that it leads to. The
    /// last key read; `None` behind the last row.
    pub fn check_blocks(
        &self,
        behind: Option<[u8; 32]>,
        rows_max: usize,
        rotten: &mut dyn FnMut(IndexError),
    ) -> Result<Option<[u8; 32]>, IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let blocks = self.of(transaction.open_table(BLOCKS))?;
            let decided = self.of(transaction.open_table(DECIDED))?;
            let from = behind.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut last = None;
            for row in self
                .of(blocks.range::<&[u8; 32]>((from, Bound::Unbounded)))?
                .take(rows_max)
            {
                let (block_hash, height) = self.of(row)?;
                let (block_hash, height) = (*block_hash.value(), Height(height.value()));
                let row = self.of(decided.get(height.0))?;
                // A row that cannot be read is damage of its own height.
                let leads = row.map(|row| {
                    decode_row(height, row.value()).is_none_or(|found| found.row.block_hash.0 == block_hash)
                });
                if leads != Some(true) {
                    rotten(self.damaged("blocks", height));
                }
                last = Some(block_hash);
            }
            Ok(last)
        })
    }

    /// Reads the few rows that a start reads, of marks and segments.
    pub fn check_marks(&self, rotten: &mut dyn FnMut(IndexError)) -> Result<(), IndexError> {
        self.rotten_marks()?
            .into_iter()
            .for_each(|name| rotten(self.damaged("marks", name)));
        let rows = self.segment_rows()?.unwrap_or_default();
        let lost = rows.into_iter().filter(|(_, row)| row.is_none());
        lost.for_each(|(id, _)| rotten(self.damaged("segments", id)));
        Ok(())
    }

    /// How many rows of `locations` are of heights that are not decided.
    pub fn strays(&self, head: Height) -> Result<u64, IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let locations = self.of(transaction.open_table(LOCATIONS))?;
            let below = self.of(locations.range(..1))?.count();
            let above = self.of(locations.range(head.0 + 1..))?.count();
            Ok((below + above) as u64)
        })
    }
}
