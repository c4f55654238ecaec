//! This part of the index knows how a running node goes on over an index of which pages are lost.
//!
//! ```text
//!   index.redb ─▶ every row that can be read ─▶ index.redb.new ─▶ synced
//!   index.redb ═ linked as index.redb.damaged;  index.redb.new ─▶ renamed to index.redb ─▶ folder synced ─▶ used
//! ```
//! A start rebuilds by [`crate::rebuild`] what redb cannot open. Here redb is open, so rows are those of the last
//! transaction, and all marks are as they were: nothing is forgotten that was signed, and nobody has to be silent.
//!
//! Keeps: until the rename the old file counts; marks and segments are whole, or the node ends. What is lost of a
//! height is looked for in the file again and in the segments. What is not found is damaged, and fetched again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::{Bound, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use redb::{Durability, Key, ReadOnlyTable, TableDefinition, Value};
use ultramarine_runtime::medium::Pwrite;
use ultramarine_types::{Height, ValueId, ValueKey};

use super::evidence::{EVIDENCE, FALSE_VALUES};
use super::leaves::{LEAF_BYTES_MAX, decisions};
use super::rows::decode_row;
use super::segments::SEGMENTS;
use super::{BLOCKS, DECIDED, Index, IndexError, LOCATIONS, MARK_TALLIES, MARKS, guarded};
use crate::file_pages::FilePages;
use crate::format::PAGE_BYTES;
use crate::mapped::FoundFile;
use crate::places::find_places;
use crate::rebuild::{DAMAGED_LATER_NAME, DAMAGED_NAME, UNBORN_NAME, take_place};
use crate::reserve::room_bytes;
use crate::scan::Pages;

/// Heights that are copied in one transaction.
const HEIGHTS_PER_STEP: u64 = 1024;
/// Rows of another table that are, and their bytes.
const ROWS_PER_STEP: usize = 256;
const BYTES_PER_STEP: usize = 1 << 20;
/// More lost heights than this are not fetched from peers: a start finds most of them in the segments.
const LOST_HEIGHTS_MAX: usize = 4096;
/// An index is written anew so many times within an hour. A page or two are a bad sector; more are a disk that fails.
pub(crate) const MENDINGS_MAX: usize = 8;
const MENDINGS_WITHIN: Duration = Duration::from_secs(3600);

/// An index took another's place while the node ran.
#[derive(Debug, Default)]
pub(crate) struct Mended {
    /// Heights of which a row is lost.
    pub lost: Vec<Height>,
}

/// The index that is being written. Unless it took the other's place, nothing is left of it.
struct Unborn(PathBuf);

impl Unborn {
    fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Unborn {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!("{} stays: {error}", self.0.display());
        }
    }
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
        let begun = Instant::now();
        self.count_mending(begun)?;
        tracing::error!("{why}: the index is written anew from what can be read of it, and the node works on");
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let unborn = Unborn(folder.join(UNBORN_NAME));
        unborn.remove().map_err(|error| self.failed(error))?;
        let file_bytes = std::fs::metadata(&self.path).map_err(|error| self.failed(error))?.len();
        if room_bytes(folder) < file_bytes {
            return Err(self.failed(io::ErrorKind::StorageFull.into()));
        }
        Self::begin(&unborn.0, self.chain)?;
        let fresh = Self::open(&unborn.0, self.chain)?;
        let mut lost = self.copy_heights(&fresh)?;
        let has_lost = !lost.is_empty();
        self.copy_others(&fresh, has_lost)?;
        if has_lost {
            self.find_again(&fresh, folder, &mut lost)?;
        }
        // The first is what there is to look into. Of later ones the last is kept.
        let mut damaged = folder.join(DAMAGED_NAME);
        if damaged.exists() {
            damaged = folder.join(DAMAGED_LATER_NAME);
        }
        take_place(folder, &unborn.0, &self.path, &damaged).map_err(|error| self.failed(error))?;
        // What is in memory of tallies and head stays right, but for heights that were lost.
        let before = {
            let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *opened, fresh.opened())
        };
        // Closing it may write pages, and nobody has to wait for that.
        drop(before);
        if has_lost {
            self.load_tallies()?;
        }
        tracing::error!(
            "the index is written anew after {} ms; rows of {} heights are lost, and fetched from peers. The damaged \
             one is kept as {}; check the disk (dmesg, smartctl)",
            begun.elapsed().as_millis(),
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

    /// A disk that loses page after page is no place to go on: the node stops, and an operator looks at it.
    fn count_mending(&self, at: Instant) -> Result<(), IndexError> {
        let mut mendings = self.mendings.lock().unwrap_or_else(PoisonError::into_inner);
        mendings.retain(|before| at.duration_since(*before) < MENDINGS_WITHIN);
        if mendings.len() >= MENDINGS_MAX {
            tracing::error!("the index was written anew {MENDINGS_MAX} times within an hour: the disk fails");
            return Err(IndexError::Page {
                path: self.path.clone(),
            });
        }
        mendings.push(at);
        Ok(())
    }

    /// Looks for what is lost where redb does not: decisions in the file itself, which may give back by now what it did
    /// not before, and places in the segments. What is found is not lost.
    fn find_again(&self, fresh: &Self, folder: &Path, lost: &mut BTreeSet<u64>) -> Result<(), IndexError> {
        let rows = self.lost_decisions(lost).map_err(|error| self.failed(error))?;
        fresh.take_heights(&rows, &[])?;
        let mut wanted = Vec::new();
        for height in lost.iter().copied().map(Height) {
            if fresh.location(height)?.is_none()
                && let Some(id) = fresh.decided_id(height)?
            {
                wanted.push(ValueKey { height, id });
            }
        }
        let mut files = Vec::new();
        for (id, row) in fresh.segments().ok().flatten().unwrap_or_default() {
            let path = folder.join("segments").join(row.class.file_name(id));
            // Where a file is gone, its records are.
            if let Ok(metadata) = std::fs::metadata(&path) {
                let (class, file_bytes) = (row.class, metadata.len());
                files.push(FoundFile {
                    id,
                    class,
                    path,
                    file_bytes,
                });
            }
        }
        let found = find_places(&files, wanted, fresh.lacking()?);
        fresh.repair(&found)?;
        let before = lost.len();
        lost.retain(|height| !matches!(fresh.decided(Height(*height)), Ok(Some(_))));
        tracing::error!(
            "rows of {before} heights could not be read; {} were found again",
            before - lost.len()
        );
        Ok(())
    }

    /// Rows of `decided` in the leaves of the file, as the device gives it back now. Decisions stay true, so any leaf
    /// counts; a height with two of them is lost.
    fn lost_decisions(&self, lost: &BTreeSet<u64>) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let file_bytes = std::fs::metadata(&self.path)?.len() / PAGE_BYTES * PAGE_BYTES;
        let mut pages = FilePages::open(&Pwrite::new(None), &self.path, file_bytes)?;
        let mut found: BTreeMap<u64, (ValueId, Option<Vec<u8>>)> = BTreeMap::new();
        for at in (0..file_bytes).step_by(LEAF_BYTES_MAX) {
            let piece = pages.read(at, 2 * LEAF_BYTES_MAX)?;
            decisions(&piece, LEAF_BYTES_MAX, |height, row, id| {
                if lost.contains(&height) {
                    let decision = found.entry(height).or_insert_with(|| (id, Some(row.to_vec())));
                    if decision.0 != id {
                        decision.1 = None;
                    }
                }
            });
        }
        Ok(found
            .into_iter()
            .filter_map(|(height, (_, row))| Some((height, row?)))
            .collect())
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
        let has_evidence = self.copy_table(fresh, EVIDENCE)?;
        let has_false_values = self.copy_table(fresh, FALSE_VALUES)?;
        if !has_evidence || !has_false_values {
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
