//! This file knows what each segment still holds, and so which may be freed.
//!
//! Sans-io: a ledger. The writer frees what it names, after the index forgot it.
//!
//! Keeps:
//! - every undecided value is counted in its segment;
//! - a segment is freed only when it is sealed and no undecided value is left in it.

use std::collections::BTreeMap;

use ultramarine_types::Height;

use crate::format::PAGE_BYTES;
use crate::segment::{Location, SegmentId};

/// What a values segment still holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    undecided_count: u32,
    dead_bytes: u64,
    /// Decided heights whose record lies here, and its length.
    decided: BTreeMap<Height, u64>,
    /// What the payloads of its heights take elsewhere, once it is known.
    payloads_bytes: Option<u64>,
    sealed: bool,
    /// A record in it is damaged, so that not all of its payloads could be moved: it stays.
    left: bool,
}

/// The tallies of all values segments.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    tallies: BTreeMap<SegmentId, Tally>,
}

impl Ledger {
    /// A segment was begun or found.
    pub fn open(&mut self, id: SegmentId, sealed: bool) {
        self.tallies.entry(id).or_default().sealed = sealed;
    }

    /// Nothing will be appended to it any more.
    pub fn seal(&mut self, id: SegmentId) {
        if let Some(tally) = self.tallies.get_mut(&id) {
            tally.sealed = true;
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
        self.decided(location, height);
    }

    /// A decided height was found in the index. Segments that are no values segments have no tally.
    pub fn decided(&mut self, location: &Location, height: Height) {
        if let Some(tally) = self.tallies.get_mut(&location.segment) {
            tally.decided.insert(height, location.bytes);
        }
    }

    /// A decided height lies elsewhere now. What kept its segment from being freed may be gone with it.
    pub fn moved(&mut self, before: &Location, height: Height) {
        if let Some(tally) = self.tallies.get_mut(&before.segment) {
            tally.dead_bytes += tally.decided.remove(&height).unwrap_or(0);
            tally.left = false;
        }
    }

    /// A stored value was dropped: its bytes stay until the segment goes.
    pub fn dropped(&mut self, location: &Location) {
        if let Some(tally) = self.tallies.get_mut(&location.segment) {
            tally.undecided_count = tally
                .undecided_count
                .checked_sub(1)
                .expect("a dropped value was stored");
            tally.dead_bytes += location.bytes;
        }
    }

    /// Bytes of decided values.
    pub fn held_bytes(&self) -> u64 {
        self.tallies.values().flat_map(|tally| tally.decided.values()).sum()
    }

    /// Sealed segments that hold nothing but dead bytes.
    pub fn dead(&self) -> Vec<SegmentId> {
        self.sealed(|tally| tally.decided.is_empty())
    }

    /// Sealed segments all of whose decided heights are below `height`, oldest first, without those that were left.
    pub fn wholly_below(&self, height: Height) -> Vec<SegmentId> {
        self.sealed(|tally| {
            let newest = tally.decided.last_key_value();
            !tally.left && newest.is_some_and(|(newest, _)| *newest < height)
        })
    }

    /// What the payloads of a segment's heights take elsewhere: at least a page each, exactly once they were weighed.
    pub fn payloads_bytes(&self, id: SegmentId) -> u64 {
        self.tallies.get(&id).map_or(0, |tally| {
            let least = tally.decided.len() as u64 * PAGE_BYTES;
            tally.payloads_bytes.unwrap_or(least)
        })
    }

    /// The payloads of a segment to which no height is added any more were read.
    pub fn weighed(&mut self, id: SegmentId, payloads_bytes: u64) {
        if let Some(tally) = self.tallies.get_mut(&id) {
            assert!(tally.sealed, "no height is added to a segment that was weighed");
            tally.payloads_bytes = Some(payloads_bytes);
        }
    }

    /// A segment cannot be freed as long as this process lives, for damage in it.
    pub fn leave(&mut self, id: SegmentId) {
        if let Some(tally) = self.tallies.get_mut(&id) {
            assert!(tally.sealed, "a segment is read for its payloads once it is sealed");
            tally.left = true;
        }
    }

    /// Segments that were left.
    pub fn left_count(&self) -> usize {
        self.tallies.values().filter(|tally| tally.left).count()
    }

    /// The decided heights of a segment.
    pub fn heights(&self, id: SegmentId) -> Vec<Height> {
        self.tallies
            .get(&id)
            .map(|tally| tally.decided.keys().copied().collect())
            .unwrap_or_default()
    }

    /// A segment was freed.
    pub fn close(&mut self, id: SegmentId) {
        if let Some(tally) = self.tallies.remove(&id) {
            assert!(tally.sealed, "a segment that grows is not freed");
            assert_eq!(
                tally.undecided_count, 0,
                "a segment is freed when no undecided value is left in it"
            );
        }
    }

    /// Checks every tally by itself.
    pub fn check_whole(&self) {
        for (id, tally) in &self.tallies {
            assert!(
                tally.sealed || !tally.left,
                "segment {id} was read only once it was sealed"
            );
            assert!(
                tally.sealed || tally.payloads_bytes.is_none(),
                "segment {id} was weighed only once it was sealed"
            );
            assert!(
                tally.dead_bytes.is_multiple_of(PAGE_BYTES),
                "segment {id} has dead records, which are whole pages"
            );
        }
        let growing = self.tallies.values().filter(|tally| !tally.sealed);
        assert!(growing.count() <= 1, "one segment grows at a time");
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

    fn sealed(&self, also: impl Fn(&Tally) -> bool) -> Vec<SegmentId> {
        let empty = |tally: &&Tally| tally.sealed && tally.undecided_count == 0;
        self.tallies
            .iter()
            .filter(|(_, tally)| empty(tally) && also(tally))
            .map(|(id, _)| *id)
            .collect()
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
        ledger.open(ONE, false);
        ledger.stored(&at(ONE, 4096));
        assert!(ledger.dead().is_empty());
        ledger.dropped(&at(ONE, 4096));
        assert!(ledger.dead().is_empty(), "it still grows");
        ledger.seal(ONE);
        assert_eq!(ledger.dead(), [ONE]);
        ledger.close(ONE);
    }

    #[test]
    fn one_height_above_the_limit_keeps_its_whole_segment() {
        let mut ledger = Ledger::default();
        ledger.open(ONE, true);
        ledger.open(TWO, true);
        for height in [1, 2, 9] {
            ledger.decided(&at(ONE, height * 4096), Height(height));
        }
        ledger.decided(&at(TWO, 4096), Height(3));
        assert_eq!(ledger.wholly_below(Height(9)), [TWO]);
        assert_eq!(ledger.wholly_below(Height(10)), [ONE, TWO]);
        assert_eq!(ledger.heights(ONE), [Height(1), Height(2), Height(9)]);
        assert_eq!(ledger.held_bytes(), 4 * 4096);
        assert_eq!(ledger.payloads_bytes(ONE), 3 * 4096);
        ledger.weighed(ONE, 5 * 4096);
        assert_eq!(ledger.payloads_bytes(ONE), 5 * 4096);
        ledger.leave(ONE);
        assert_eq!(ledger.wholly_below(Height(10)), [TWO]);
        assert_eq!(ledger.left_count(), 1);
    }
}
