//! This file knows ranges of positions: which chunks or blobs of a value a request names, in memory and on the wire.
//!
//! ```text
//!   count u16 │ count × (start u16 │ end u16)        little-endian; `end` is the first position behind the range
//! ```
//! Keeps: ranges are in order, none is empty, and none touches the next. So one set of positions has one encoding, and
//! a value of [`PARTS_MAX`] parts never needs more than [`RANGES_MAX`] ranges.

use std::ops::Range;

use bytes::BufMut;
use ultramarine_types::canonical::Cursor;
use ultramarine_types::limits::{BLOBS_PER_BLOCK_MAX, PAYLOAD_CHUNKS_MAX};

/// Most parts of one kind that a value may have.
pub const PARTS_MAX: usize = if BLOBS_PER_BLOCK_MAX as usize > PAYLOAD_CHUNKS_MAX {
    BLOBS_PER_BLOCK_MAX as usize
} else {
    PAYLOAD_CHUNKS_MAX
};
/// Most ranges of one kind: every second part of the largest value.
pub const RANGES_MAX: usize = PARTS_MAX.div_ceil(2);
/// Bytes of so many ranges on the wire.
pub const RANGES_BYTES_MAX: usize = 2 + RANGES_MAX * 4;

const _: () = assert!(PARTS_MAX <= u16::MAX as usize);

/// A set of positions, as ranges.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ranges {
    ranges: Vec<Range<u16>>,
}

impl Ranges {
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// All positions below `count`.
    pub fn below(count: usize) -> Self {
        (0..count).collect()
    }

    /// Adds the position behind all others.
    fn append(&mut self, position: u16) {
        match self.ranges.last_mut() {
            Some(last) if position <= last.end => {
                assert_eq!(position, last.end, "positions come in ascending order");
                last.end += 1;
            }
            _ => self.ranges.push(position..position + 1),
        }
    }

    pub fn contains(&self, position: usize) -> bool {
        let behind = self.ranges.partition_point(|range| usize::from(range.end) <= position);
        self.ranges
            .get(behind)
            .is_some_and(|range| usize::from(range.start) <= position)
    }

    /// How many positions are in the set.
    pub fn count(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }

    pub const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The positions, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.ranges.iter().flat_map(|range| range.clone().map(usize::from))
    }

    /// Whether every position is below `count`.
    pub fn is_within(&self, count: usize) -> bool {
        self.ranges.last().is_none_or(|last| usize::from(last.end) <= count)
    }

    /// Appends the ranges to a message.
    pub fn write(&self, bytes: &mut impl BufMut) {
        bytes.put_u16_le(u16::try_from(self.ranges.len()).expect("at most RANGES_MAX, as the module's head says"));
        for range in &self.ranges {
            bytes.put_u16_le(range.start);
            bytes.put_u16_le(range.end);
        }
    }

    /// Takes ranges of positions below `count_max` from a message. `None` if they are not the one encoding of a set.
    pub fn read(fields: &mut Cursor<'_>, count_max: usize) -> Option<Self> {
        let count = usize::from(fields.u16()?);
        if count > RANGES_MAX {
            return None;
        }
        let mut ranges: Vec<Range<u16>> = Vec::with_capacity(count);
        for _ in 0..count {
            let range = fields.u16()?..fields.u16()?;
            let follows = ranges.last().is_none_or(|before| before.end < range.start);
            if range.is_empty() || !follows {
                return None;
            }
            ranges.push(range);
        }
        Some(Self { ranges }).filter(|ranges| ranges.is_within(count_max))
    }
}

/// Positions in ascending order, each below [`PARTS_MAX`].
impl FromIterator<usize> for Ranges {
    fn from_iter<I: IntoIterator<Item = usize>>(positions: I) -> Self {
        let mut ranges = Self::new();
        for position in positions {
            ranges.append(u16::try_from(position).expect("positions are below PARTS_MAX"));
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn bytes_of(ranges: &[(u16, u16)]) -> Vec<u8> {
        let mut bytes = u16::try_from(ranges.len()).expect("few").to_le_bytes().to_vec();
        for (start, end) in ranges {
            bytes.extend(start.to_le_bytes());
            bytes.extend(end.to_le_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Ranges> {
        Ranges::read(&mut Cursor::new(bytes), PARTS_MAX)
    }

    #[test]
    fn only_ranges_in_order_that_do_not_touch_are_read() {
        assert_eq!(
            read(&bytes_of(&[(0, 2), (3, 5)])),
            Some(Ranges::from_iter([0, 1, 3, 4]))
        );
        for wrong in [
            vec![(0, 2), (2, 5)],
            vec![(3, 5), (0, 2)],
            vec![(0, 4), (3, 5)],
            vec![(2, 2)],
            vec![(4, 2)],
            vec![(1023, 1025)],
        ] {
            assert_eq!(read(&bytes_of(&wrong)), None, "{wrong:?}");
        }
        let mut many = bytes_of(&[]);
        many[..2].copy_from_slice(&u16::MAX.to_le_bytes());
        many.extend([0; 4 * u16::MAX as usize]);
        assert_eq!(read(&many), None, "too many");
        assert_eq!(read(&bytes_of(&[(0, 2)])[..4]), None, "too short");
    }

    #[test]
    fn the_most_scattered_set_has_the_most_ranges() {
        let scattered: Ranges = (0..PARTS_MAX).step_by(2).collect();
        let mut bytes = Vec::new();
        scattered.write(&mut bytes);
        assert_eq!(bytes.len(), RANGES_BYTES_MAX);
        assert_eq!(read(&bytes), Some(scattered));
    }

    proptest! {
        #[test]
        fn ranges_are_a_set_and_come_back_as_they_were_written(
            positions in proptest::collection::btree_set(0..PARTS_MAX, 0..200)
        ) {
            let ranges: Ranges = positions.iter().copied().collect();
            prop_assert_eq!(ranges.iter().collect::<BTreeSet<_>>(), positions.clone());
            prop_assert_eq!(ranges.count(), positions.len());
            prop_assert!((0..PARTS_MAX + 5).all(|at| ranges.contains(at) == positions.contains(&at)));
            let mut bytes = Vec::new();
            ranges.write(&mut bytes);
            prop_assert_eq!(read(&bytes), Some(ranges));
        }

        #[test]
        fn what_is_read_is_written_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut fields = Cursor::new(&bytes);
            if let Some(ranges) = Ranges::read(&mut fields, PARTS_MAX) {
                let mut written = Vec::new();
                ranges.write(&mut written);
                prop_assert_eq!(&written, &bytes[..bytes.len() - fields.rest().len()]);
            }
        }
    }
}
