//! This file knows what each segment still holds, and so which may be freed.
//!
//! Sans-io: a ledger. The writer frees what it names, after the index forgot it. Its size follows the segments, not the
//! heights: which heights lie in a segment is asked of the index. What it says of a segment is a row of the index,
//! written in the transaction that changes it, so a start reads rows of segments and none of heights.
//!
//! Keeps:
//! - every undecided value is counted in its segment;
//! - a segment is freed only when it is sealed and nothing that is needed is left in it;
//! - the totals are the sums of the tallies.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::Height;

use crate::format::PAGE_BYTES;
use crate::segment::{Class, Location, SEGMENT_FIRST_RECORD, SegmentId};

/// What the index says of a segment that holds decided heights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentRow {
    pub class: Class,
    /// Nothing is appended to it any more.
    pub sealed: bool,
    /// No decided height here is below.
    pub lowest: Height,
    /// No decided height here is above.
    pub highest: Height,
    /// Decided heights whose record lies here.
    pub heights_count: u64,
    /// Bytes of their records.
    pub live_bytes: u64,
    /// Where the last record of a decided height ends, or ended.
    pub end: u64,
    /// The lowest height that was not tried to be moved yet. Heights that were stored again past retention are not
    /// meant: where there are no others it is the last number, and they stay.
    pub untried: Height,
}

/// What a segment still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tally {
    row: SegmentRow,
    undecided_count: u32,
    /// Bytes of dropped values.
    dead_bytes: u64,
    /// Bytes of heights past retention that still lie here, as far as they were noted.
    retired_bytes: u64,
    /// Heights that were tried and are damaged: they stay until they are stored elsewhere.
    damaged_count: u64,
}

/// A segment with heights to be moved out of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Due {
    pub segment: SegmentId,
    /// First height to look at.
    pub from: Height,
    /// First height that stays.
    pub below: Height,
}

/// The tallies of all segments.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    tallies: BTreeMap<SegmentId, Tally>,
    /// Segments whose row is another than the index has.
    changed: BTreeSet<SegmentId>,
    live_bytes: u64,
    dead_bytes: u64,
    retired_bytes: u64,
}

impl Ledger {
    /// A segment was begun or found.
    pub fn open(&mut self, id: SegmentId, class: Class, sealed: bool) {
        let row = SegmentRow {
            class,
            sealed,
            lowest: Height(u64::MAX),
            highest: Height::GENESIS,
            heights_count: 0,
            live_bytes: 0,
            end: SEGMENT_FIRST_RECORD,
            untried: Height(u64::MAX),
        };
        self.tallies.entry(id).or_insert(Tally {
            row,
            undecided_count: 0,
            dead_bytes: 0,
            retired_bytes: 0,
            damaged_count: 0,
        });
    }

    /// The payloads segment that grows from now on.
    pub fn open_payloads(&mut self, id: SegmentId) {
        if self.tallies.get(&id).is_some_and(|tally| !tally.row.sealed) {
            return;
        }
        let grew = |tally: &Tally| tally.row.class == Class::Payloads && !tally.row.sealed;
        let grew = self.tallies.iter().filter(|(_, tally)| grew(tally));
        if let Some(grew) = grew.map(|(id, _)| *id).next() {
            self.seal(grew);
        }
        self.open(id, Class::Payloads, false);
    }

    /// A segment is as its row says.
    pub fn load(&mut self, id: SegmentId, row: SegmentRow) {
        self.open(id, row.class, row.sealed);
        let tally = self.tallies.get_mut(&id).expect("opened above");
        assert_eq!(tally.row.heights_count, 0, "a row is loaded before anything is counted");
        self.live_bytes += row.live_bytes;
        tally.row = row;
        if row.untried > row.highest && row.untried < Height(u64::MAX) {
            // What is left was damaged: it is tried once in each life.
            tally.row.untried = row.lowest;
        }
    }

    /// Nothing will be appended to it any more.
    pub fn seal(&mut self, id: SegmentId) {
        if let Some(tally) = self.tallies.get_mut(&id) {
            tally.row.sealed = true;
            self.changed.insert(id);
        }
    }

    /// An undecided value was stored.
    pub fn stored(&mut self, location: &Location) {
        if let Some(tally) = self.tallies.get_mut(&location.segment) {
            tally.undecided_count += 1;
        }
    }

    /// A stored value was decided.
    pub fn promoted(&mut self, location: &Location, height: Height) {
        if let Some(tally) = self.tallies.get_mut(&location.segment) {
            tally.undecided_count = tally
                .undecided_count
                .checked_sub(1)
                .expect("a promoted value was stored");
        }
        self.counted(location, height);
    }

    /// A decided height's record lies here, and goes when retention ends.
    pub fn counted(&mut self, location: &Location, height: Height) {
        self.decided(location, height);
        if let Some(tally) = self.tallies.get_mut(&location.segment) {
            tally.row.untried = tally.row.untried.min(height);
        }
    }

    /// A decided height's record lies here. One that was stored again past retention stays as long as its segment does:
    /// somebody wanted it back.
    pub fn decided(&mut self, location: &Location, height: Height) {
        let Some(tally) = self.tallies.get_mut(&location.segment) else {
            return;
        };
        let row = &mut tally.row;
        row.lowest = row.lowest.min(height);
        row.highest = row.highest.max(height);
        row.heights_count += 1;
        row.live_bytes += location.bytes;
        row.end = row.end.max(location.end());
        self.live_bytes += location.bytes;
        self.changed.insert(location.segment);
    }

    /// A decided height's record lies elsewhere from now on: its bytes here are nobody's.
    pub fn moved(&mut self, location: &Location) {
        let Some(tally) = self.tallies.get_mut(&location.segment) else {
            return;
        };
        let row = &mut tally.row;
        // The row may have rotted in the index: then its segment is kept or freed too early, and heights are healed.
        row.heights_count = row.heights_count.saturating_sub(1);
        let live_bytes = location.bytes.min(row.live_bytes);
        row.live_bytes -= live_bytes;
        self.live_bytes -= live_bytes;
        let retired_bytes = location.bytes.min(tally.retired_bytes);
        tally.retired_bytes -= retired_bytes;
        self.retired_bytes -= retired_bytes;
        self.changed.insert(location.segment);
    }

    /// The same of a height that was stored again: what kept its segment from being freed may be gone with it.
    pub fn restored(&mut self, before: &Location) {
        self.moved(before);
        if let Some(tally) = self.tallies.get_mut(&before.segment) {
            tally.damaged_count = tally.damaged_count.saturating_sub(1);
        }
    }

    /// Segments in whose span a height is, with what they hold.
    pub fn around(&self, height: Height) -> Vec<(SegmentId, SegmentRow)> {
        let rows = self.tallies.iter().map(|(id, tally)| (*id, tally.row));
        let around = rows.filter(|(_, row)| row.heights_count > 0 && (row.lowest..=row.highest).contains(&height));
        around.collect()
    }

    /// A height in the span of a segment was stored again, and nobody knew where it lay. By their rows `heights_count`
    /// others lie here, with `bytes`: if the segment counts more, it was here. Whether it did.
    pub fn restored_unplaced(&mut self, id: SegmentId, heights_count: u64, bytes: u64) -> bool {
        let Some(tally) = self.tallies.get_mut(&id) else {
            return false;
        };
        // It was noted wherever it was met.
        tally.damaged_count = tally.damaged_count.saturating_sub(1);
        if tally.row.heights_count <= heights_count {
            return false;
        }
        tally.row.heights_count -= 1;
        if tally.row.heights_count == heights_count {
            self.live_bytes = self.live_bytes - tally.row.live_bytes + bytes;
            tally.row.live_bytes = bytes;
        }
        self.changed.insert(id);
        true
    }

    /// A stored value was dropped: its bytes stay until the segment goes.
    pub fn dropped(&mut self, location: &Location) {
        if let Some(tally) = self.tallies.get_mut(&location.segment) {
            tally.undecided_count = tally
                .undecided_count
                .checked_sub(1)
                .expect("a dropped value was stored");
            tally.dead_bytes += location.bytes;
            self.dead_bytes += location.bytes;
        }
    }

    /// A decided height is past retention and still lies here.
    pub fn retired(&mut self, location: &Location) {
        if let Some(tally) = self.tallies.get_mut(&location.segment)
            && tally.row.class == Class::Values
        {
            tally.retired_bytes += location.bytes;
            self.retired_bytes += location.bytes;
        }
    }

    /// The heights of a segment are about to be moved. Those added meanwhile are not among them.
    pub fn trying(&mut self, due: &Due) {
        if let Some(tally) = self.tallies.get_mut(&due.segment) {
            tally.row.untried = tally.row.untried.max(due.below);
            self.changed.insert(due.segment);
        }
    }

    /// They were moved, all but the damaged ones.
    pub fn tried(&mut self, due: &Due, damaged: &[Height]) {
        if let Some(tally) = self.tallies.get_mut(&due.segment) {
            if due.from <= tally.row.lowest {
                let is_whole = tally.row.sealed && due.below > tally.row.highest;
                // What is left after all of it was tried is damaged, whether or not the index has a row of it.
                tally.damaged_count = if is_whole {
                    tally.row.heights_count
                } else {
                    damaged.len() as u64
                };
                let lowest = damaged.iter().copied().fold(tally.row.untried, Height::min);
                tally.row.lowest = lowest.min(tally.row.highest);
            } else {
                tally.damaged_count += damaged.len() as u64;
            }
            self.changed.insert(due.segment);
        }
    }

    /// They were not, for want of room: they are tried again.
    pub fn not_tried(&mut self, due: &Due) {
        if let Some(tally) = self.tallies.get_mut(&due.segment) {
            tally.row.untried = tally.row.untried.min(due.from);
            self.changed.insert(due.segment);
        }
    }

    /// Bytes of dropped values in segments not freed yet.
    pub const fn dead_bytes(&self) -> u64 {
        self.dead_bytes
    }

    /// Bytes of decided values and payloads.
    pub const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Bytes of heights past retention in segments not freed yet.
    pub const fn retired_bytes(&self) -> u64 {
        self.retired_bytes
    }

    /// Sealed segments in which nothing is needed.
    pub fn dead(&self) -> Vec<SegmentId> {
        let dead = |tally: &&Tally| tally.row.sealed && tally.undecided_count == 0 && tally.row.heights_count == 0;
        let dead = self.tallies.iter().filter(|(_, tally)| dead(tally));
        dead.map(|(id, _)| *id).collect()
    }

    /// Whether nothing is needed in a sealed segment.
    pub fn is_dead(&self, id: SegmentId) -> bool {
        let tally = self.tallies.get(&id);
        tally.is_some_and(|tally| tally.row.sealed && tally.undecided_count == 0 && tally.row.heights_count == 0)
    }

    /// The first values segment with heights to be moved out of it: all of them are below `below`, or one that was not
    /// tried yet is so by at least `patience` heights. Segments up to `after` are left out.
    pub fn due(&self, below: Height, patience: u64, after: Option<SegmentId>) -> Option<Due> {
        let mut values = self
            .tallies
            .iter()
            .filter(|(id, _)| after.is_none_or(|after| **id > after))
            .filter(|(_, tally)| tally.row.class == Class::Values && tally.row.heights_count > tally.damaged_count);
        let found = values.find(|(_, tally)| {
            let wholly = tally.row.sealed && tally.row.highest < below;
            let patiently = tally.row.untried.0.saturating_add(patience) <= below.0;
            tally.row.untried < below && (wholly || patiently)
        });
        found.map(|(id, tally)| {
            let wholly = tally.row.sealed && tally.row.highest < below;
            let from = if wholly { tally.row.lowest } else { tally.row.untried };
            Due {
                segment: *id,
                from,
                below: below.min(tally.row.highest.next()),
            }
        })
    }

    /// Segments past retention that stay because of damage.
    pub fn damaged_segments(&self) -> usize {
        let damaged = |tally: &&Tally| tally.damaged_count > 0 && tally.row.heights_count > 0;
        self.tallies.values().filter(damaged).count()
    }

    /// A segment was freed.
    pub fn close(&mut self, id: SegmentId) {
        if let Some(tally) = self.tallies.remove(&id) {
            assert!(tally.row.sealed, "a segment that grows is not freed");
            assert_eq!(
                tally.undecided_count, 0,
                "a segment is freed when no undecided value is left in it"
            );
            assert_eq!(tally.row.heights_count, 0, "nor a decided one");
            self.dead_bytes -= tally.dead_bytes;
            self.retired_bytes -= tally.retired_bytes;
        }
    }

    /// The rows that the next transaction must write: `None` for a segment that holds no decided height.
    pub fn take_changed(&mut self) -> Vec<(SegmentId, Option<SegmentRow>)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let row = |id: SegmentId| self.tallies.get(&id).map(|tally| tally.row);
        changed
            .map(|id| (id, row(id).filter(|row| row.heights_count > 0)))
            .collect()
    }

    /// Checks every tally by itself, and the totals.
    pub fn check_whole(&self) {
        let sum = |of: fn(&Tally) -> u64| self.tallies.values().map(of).sum::<u64>();
        assert_eq!(self.live_bytes, sum(|tally| tally.row.live_bytes));
        assert_eq!(self.dead_bytes, sum(|tally| tally.dead_bytes));
        assert_eq!(self.retired_bytes, sum(|tally| tally.retired_bytes));
        for (id, Tally { row, dead_bytes, .. }) in &self.tallies {
            assert!(
                dead_bytes.is_multiple_of(PAGE_BYTES) && row.live_bytes.is_multiple_of(PAGE_BYTES),
                "segment {id} has records, which are whole pages"
            );
            assert!(
                row.heights_count == 0 || row.lowest <= row.highest,
                "segment {id} has heights in its span"
            );
        }
        for class in [Class::Values, Class::Payloads] {
            let growing = self.tallies.values();
            let growing = growing.filter(|tally| tally.row.class == class && !tally.row.sealed);
            assert!(growing.count() <= 1, "one segment of a class grows at a time");
        }
    }

    /// Checks that the undecided values counted are these, segment by segment.
    pub fn check_undecided<'a>(&self, stored: impl Iterator<Item = &'a Location>) {
        let mut counts: BTreeMap<SegmentId, u32> = BTreeMap::new();
        for location in stored {
            *counts.entry(location.segment).or_default() += 1;
        }
        for (id, tally) in &self.tallies {
            let found = counts.remove(id).unwrap_or_default();
            assert_eq!(
                tally.undecided_count, found,
                "every undecided value of segment {id} is counted"
            );
        }
        assert!(
            counts.is_empty(),
            "every undecided value lies in a segment with a tally"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SegmentId = SegmentId(1);
    const TWO: SegmentId = SegmentId(2);

    fn at(segment: SegmentId, offset: u64) -> Location {
        Location {
            segment,
            offset,
            bytes: 4096,
        }
    }

    #[test]
    fn a_segment_is_freed_only_when_sealed_and_without_undecided_values() {
        let mut ledger = Ledger::default();
        ledger.open(ONE, Class::Values, false);
        ledger.stored(&at(ONE, 4096));
        assert!(ledger.dead().is_empty());
        ledger.dropped(&at(ONE, 4096));
        assert_eq!(ledger.dead_bytes(), 4096);
        assert!(ledger.dead().is_empty(), "it still grows");
        ledger.seal(ONE);
        assert_eq!(ledger.dead(), [ONE]);
        ledger.close(ONE);
        assert_eq!(ledger.dead_bytes(), 0);
    }

    #[test]
    fn a_segment_is_due_when_all_of_it_is_or_when_a_height_waited_long() {
        let mut ledger = Ledger::default();
        ledger.open(ONE, Class::Values, true);
        ledger.open(TWO, Class::Values, true);
        for height in [1, 2, 9] {
            ledger.stored(&at(ONE, height * 4096));
            ledger.promoted(&at(ONE, height * 4096), Height(height));
        }
        ledger.stored(&at(TWO, 4096));
        ledger.promoted(&at(TWO, 4096), Height(3));
        let due = |segment, from, below| {
            let (from, below) = (Height(from), Height(below));
            Some(Due { segment, from, below })
        };
        assert_eq!(ledger.due(Height(3), 8, None), None);
        assert_eq!(ledger.due(Height(4), 8, None), due(TWO, 3, 4), "all of it");
        assert_eq!(ledger.due(Height(9), 8, None), due(ONE, 1, 9), "height 1 waited");
        ledger.moved(&at(ONE, 4096));
        ledger.moved(&at(ONE, 2 * 4096));
        ledger.trying(&due(ONE, 1, 9).expect("due"));
        ledger.tried(&due(ONE, 1, 9).expect("due"), &[]);
        assert_eq!(ledger.due(Height(9), 8, None), due(TWO, 3, 4));
        assert_eq!(ledger.due(Height(10), 8, None), due(ONE, 9, 10));
        assert_eq!(ledger.live_bytes(), 2 * 4096);
        // Its last height is damaged: it is tried once.
        ledger.trying(&due(ONE, 9, 10).expect("due"));
        ledger.tried(&due(ONE, 9, 10).expect("due"), &[Height(9)]);
        assert_eq!(ledger.due(Height(10), 8, None), due(TWO, 3, 4));
        assert_eq!(ledger.damaged_segments(), 1);
        // And stored again elsewhere.
        ledger.moved(&at(ONE, 9 * 4096));
        assert_eq!(ledger.dead(), [ONE]);
        ledger.check_whole();
    }

    #[test]
    fn a_segment_with_heights_that_the_index_lost_keeps_no_other_from_being_emptied() {
        let mut ledger = Ledger::default();
        ledger.open(ONE, Class::Values, true);
        ledger.open(TWO, Class::Values, true);
        for (segment, height) in [(ONE, 1), (ONE, 2), (TWO, 3)] {
            ledger.decided(&at(segment, height * 4096), Height(height));
        }
        ledger
            .tallies
            .values_mut()
            .for_each(|tally| tally.row.untried = tally.row.lowest);
        let due = ledger.due(Height(9), 1, None).expect("all of it is past retention");
        assert_eq!(due.segment, ONE);
        ledger.trying(&due);
        // No row says that height 2 lies here.
        ledger.moved(&at(ONE, 4096));
        ledger.tried(&due, &[]);
        assert_eq!(ledger.due(Height(9), 1, None).map(|due| due.segment), Some(TWO));
        assert_eq!(ledger.damaged_segments(), 1);
        assert!(ledger.dead().is_empty());
    }

    #[test]
    fn a_changed_row_is_written_once_and_an_empty_one_is_none() {
        let mut ledger = Ledger::default();
        ledger.open(ONE, Class::Values, true);
        ledger.decided(&at(ONE, 4096), Height(5));
        let rows = ledger.take_changed();
        let row = rows[0].1.expect("it holds a height");
        assert_eq!((row.lowest, row.highest, row.end), (Height(5), Height(5), 8192));
        assert!(ledger.take_changed().is_empty());
        let mut loaded = Ledger::default();
        loaded.load(ONE, row);
        assert_eq!(loaded.due(Height(6), 8, None), ledger.due(Height(6), 8, None));
        ledger.moved(&at(ONE, 4096));
        assert_eq!(ledger.take_changed(), [(ONE, None)]);
    }
}
