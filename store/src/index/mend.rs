//! This part of the index knows how a running node goes on over an index of which pages are lost.
//!
//! ```text
//!   index.redb ─▶ every row that can be read ─▶ index.redb.new ─▶ synced
//!   index.redb ═ linked as index.redb.damaged;  index.redb.new ─▶ renamed to index.redb ─▶ folder synced ─▶ used
//! ```
//! A start rebuilds by [`crate::rebuild`] what redb cannot open. Here redb is open, so rows are those of the last
//! transaction, and all marks are as they were: nothing is forgotten that was signed, and nobody has to be silent.
//!
//! Keeps: until the rename the old file counts; marks and segments are whole, or the node ends; a height of which a row
//! is lost is damaged, and fetched again.

use std::collections::BTreeSet;
use std::io;
use std::ops::{Bound, RangeInclusive};
use std::path::Path;
use std::sync::PoisonError;

use redb::{Durability, Key, ReadOnlyTable, TableDefinition, Value};
use ultramarine_types::Height;

use super::evidence::{EVIDENCE, FALSE_VALUES};
use super::rows::decode_row;
use super::segments::SEGMENTS;
use super::{BLOCKS, DECIDED, Index, IndexError, LOCATIONS, MARK_TALLIES, MARKS, guarded};
use crate::rebuild::{DAMAGED_NAME, UNBORN_NAME, take_place};

/// Heights that are copied in one transaction.
const HEIGHTS_PER_STEP: u64 = 1024;
/// Rows of another table that are, and their bytes.
const ROWS_PER_STEP: usize = 256;
const BYTES_PER_STEP: usize = 1 << 20;
/// More lost heights than this are not fetched from peers: a start finds most of them in the segments.
const LOST_HEIGHTS_MAX: usize = 4096;

/// An index took another's place while the node ran.
#[derive(Debug, Default)]
pub(crate) struct Mended {
    /// Heights of which a row is lost.
    pub lost: Vec<Height>,
}

/// Keys and values.
type RawRows = Vec<(Vec<u8>, Vec<u8>)>;

impl Index {
    /// What is to be told of mendings, once.
    pub(crate) fn take_mended(&self) -> Vec<Mended> {
        std::mem::take(&mut self.mended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts an index with all rows that can be read in the place of this one. No transaction is under way.
    pub(super) fn mend(&self, why: &IndexError) -> Result<(), IndexError> {
        tracing::error!("{why}: the index is written anew from what can be read of it, and the node works on");
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let unborn = folder.join(UNBORN_NAME);
        match std::fs::remove_file(&unborn) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.failed(error)),
            Ok(()) | Err(_) => {}
        }
        Self::begin(&unborn, self.chain)?;
        let fresh = Self::open(&unborn, self.chain)?;
        let lost = self.copy_heights(&fresh)?;
        self.copy_others(&fresh, !lost.is_empty())?;
        let damaged = folder.join(DAMAGED_NAME);
        take_place(folder, &unborn, &self.path, &damaged).map_err(|error| self.failed(error))?;
        // What is in memory of tallies and head stays right, but for heights that were lost.
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) = fresh.opened();
        if !lost.is_empty() {
            self.load_tallies()?;
        }
        tracing::error!(
            "the index is written anew; rows of {} heights are lost, and fetched from peers. The damaged one is kept \
             as {}; check the disk (dmesg, smartctl)",
            lost.len(),
            damaged.display()
        );
        let lost = lost.into_iter().map(Height).collect();
        self.mended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Mended { lost });
        Ok(())
    }

    fn failed(&self, error: io::Error) -> IndexError {
        IndexError::Database {
            path: self.path.clone(),
            source: Box::new(redb::Error::Io(error)),
        }
    }

    /// Copies what is known of decided heights. Those of which a row cannot be read.
    fn copy_heights(&self, fresh: &Self) -> Result<BTreeSet<u64>, IndexError> {
        let mut lost = BTreeSet::new();
        // The head is known by heart, wherever its rows lay.
        let known = self.head_rows();
        let head = match &known {
            Some((height, ..)) => Some(Height(*height)),
            None => self.head()?,
        };
        let Some(head) = head else { return Ok(lost) };
        let (decided, locations) = self.guard(|| {
            let transaction = self.begin_read()?;
            let decided = self.of(transaction.open_table(DECIDED))?;
            Ok((decided, self.of(transaction.open_table(LOCATIONS))?))
        })?;
        for from in (1..=head.0).step_by(usize::try_from(HEIGHTS_PER_STEP).unwrap_or(usize::MAX)) {
            let heights = from..=head.0.min(from.saturating_add(HEIGHTS_PER_STEP - 1));
            let (mut rows, mut places) = (Vec::new(), Vec::new());
            read_heights(&decided, heights.clone(), &mut rows, &mut lost);
            read_heights(&locations, heights.clone(), &mut places, &mut lost);
            if let Some((height, row, Some(place))) = &known
                && heights.contains(height)
                && lost.remove(height)
            {
                rows.push((*height, row.clone()));
                places.push((*height, place.clone()));
            }
            if lost.len() > LOST_HEIGHTS_MAX || lost.contains(&head.0) {
                return Err(IndexError::Page {
                    path: self.path.clone(),
                });
            }
            fresh.take_heights(&rows, &places)?;
        }
        Ok(lost)
    }

    fn take_heights(&self, rows: &[(u64, Vec<u8>)], places: &[(u64, Vec<u8>)]) -> Result<(), IndexError> {
        let mut transaction = self.begin_write()?;
        // The last transaction of the mending makes them durable.
        self.of(transaction.set_durability(Durability::None))?;
        {
            let mut decided = self.of(transaction.open_table(DECIDED))?;
            let mut blocks = self.of(transaction.open_table(BLOCKS))?;
            for (height, row) in rows {
                self.of(decided.insert(height, row.as_slice()))?;
                if let Some(found) = decode_row(Height(*height), row) {
                    self.of(blocks.insert(&found.row.block_hash.0, height))?;
                }
            }
            let mut locations = self.of(transaction.open_table(LOCATIONS))?;
            for (height, row) in places {
                self.of(locations.insert(height, row.as_slice()))?;
            }
        }
        self.of(transaction.commit())
    }

    /// Copies every other table. Evidence may be lost, marks and segments not. Durable when it returns.
    fn copy_others(&self, fresh: &Self, recounts: bool) -> Result<(), IndexError> {
        let is_whole = self.copy_table(fresh, EVIDENCE)? && self.copy_table(fresh, FALSE_VALUES)?;
        if !is_whole {
            tracing::error!("evidence of misbehaviour was lost with a page of the index");
        }
        if !self.copy_table(fresh, SEGMENTS)? || !self.copy_table(fresh, MARKS)? {
            return Err(IndexError::Page {
                path: self.path.clone(),
            });
        }
        let mut transaction = fresh.begin_write()?;
        fresh.set_durable(&mut transaction)?;
        if recounts {
            let mut marks = fresh.of(transaction.open_table(MARKS))?;
            fresh.of(marks.remove(MARK_TALLIES)).map(drop)?;
        }
        fresh.of(transaction.commit())
    }

    /// Copies a table from its beginning, and, where a page is lost, from its end; whether it was read whole.
    fn copy_table<K: Key + 'static, V: Value + 'static>(
        &self,
        fresh: &Self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<bool, IndexError> {
        let table = self.guard(|| self.if_made(self.begin_read()?.open_table(definition)))?;
        let Some(table) = table else { return Ok(true) };
        for is_backwards in [false, true] {
            let (mut last, mut rows_max): (Option<Vec<u8>>, usize) = (None, ROWS_PER_STEP);
            loop {
                let step = guarded(|| read_step(&table, last.as_deref(), is_backwards, rows_max));
                match step {
                    Ok(rows) => {
                        let Some((key, _)) = rows.last() else {
                            return Ok(!is_backwards);
                        };
                        last = Some(key.clone());
                        fresh.take_rows(definition, &rows)?;
                    }
                    // Up to the page that is lost, row by row.
                    Err(_) if rows_max > 1 => rows_max = 1,
                    Err(_) => break,
                }
            }
        }
        Ok(false)
    }

    fn take_rows<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
        rows: &RawRows,
    ) -> Result<(), IndexError> {
        let mut transaction = self.begin_write()?;
        self.of(transaction.set_durability(Durability::None))?;
        {
            let mut table = self.of(transaction.open_table(definition))?;
            for (key, value) in rows {
                self.of(table.insert(K::from_bytes(key), V::from_bytes(value)))?;
            }
        }
        self.of(transaction.commit())
    }
}

/// Reads rows of heights. Where that fails, it tries halves, down to single heights.
fn read_heights(
    table: &ReadOnlyTable<u64, &'static [u8]>,
    heights: RangeInclusive<u64>,
    rows: &mut Vec<(u64, Vec<u8>)>,
    lost: &mut BTreeSet<u64>,
) {
    let read = guarded(|| {
        let mut rows = Vec::new();
        for row in table.range(heights.clone()).map_err(|error| error.to_string())? {
            let (height, row) = row.map_err(|error| error.to_string())?;
            rows.push((height.value(), row.value().to_vec()));
        }
        Ok(rows)
    });
    let (from, to) = (*heights.start(), *heights.end());
    match read {
        Ok(mut found) => rows.append(&mut found),
        Err(_) if from == to => drop(lost.insert(from)),
        Err(_) => {
            let middle = from + (to - from) / 2;
            read_heights(table, from..=middle, rows, lost);
            read_heights(table, middle + 1..=to, rows, lost);
        }
    }
}

fn read_step<K: Key + 'static, V: Value + 'static>(
    table: &ReadOnlyTable<K, V>,
    behind: Option<&[u8]>,
    is_backwards: bool,
    rows_max: usize,
) -> Result<RawRows, String> {
    let text = |error: redb::StorageError| error.to_string();
    let from = behind.map(K::from_bytes).map_or(Bound::Unbounded, Bound::Excluded);
    let range = if is_backwards {
        (Bound::Unbounded, from)
    } else {
        (from, Bound::Unbounded)
    };
    let mut range = table.range::<K::SelfType<'_>>(range).map_err(text)?;
    let (mut rows, mut bytes) = (RawRows::new(), 0);
    while rows.len() < rows_max && bytes < BYTES_PER_STEP {
        let row = if is_backwards { range.next_back() } else { range.next() };
        let Some(row) = row else { break };
        let (key, value) = row.map_err(text)?;
        let (key, value) = (key.value(), value.value());
        let value = V::as_bytes(&value).as_ref().to_vec();
        bytes += value.len();
        rows.push((K::as_bytes(&key).as_ref().to_vec(), value));
    }
    Ok(rows)
}
