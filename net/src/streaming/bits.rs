//! This file knows sets of small positions, of chunks or blobs of a value.

use rkyv::{Archive, Deserialize, Serialize};

/// A set of positions from 0, one bit each, lowest bit first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct Bits {
    words: Vec<u64>,
}

impl Bits {
    pub const fn new() -> Self {
        Self { words: Vec::new() }
    }

    /// All positions below `count`.
    pub fn below(count: usize) -> Self {
        let mut bits = Self::new();
        for position in 0..count {
            bits.insert(position);
        }
        bits
    }

    /// Adds a position. Returns whether it was new.
    pub fn insert(&mut self, position: usize) -> bool {
        let (word, mask) = (position / 64, 1u64 << (position % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let Some(word) = self.words.get_mut(word) else {
            return false;
        };
        let fresh = *word & mask == 0;
        *word |= mask;
        fresh
    }

    /// Whether a position is in the set.
    pub fn contains(&self, position: usize) -> bool {
        self.words
            .get(position / 64)
            .is_some_and(|word| word & (1 << (position % 64)) != 0)
    }

    /// How many positions are in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no position is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The positions, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(word, bits)| {
            (0..64usize)
                .filter(move |bit| bits & (1u64 << bit) != 0)
                .map(move |bit| word * 64 + bit)
        })
    }
}

impl FromIterator<usize> for Bits {
    fn from_iter<I: IntoIterator<Item = usize>>(positions: I) -> Self {
        let mut bits = Self::new();
        for position in positions {
            bits.insert(position);
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_are_a_set(positions in proptest::collection::vec(0usize..1200, 0..200)) {
            let bits: Bits = positions.iter().copied().collect();
            let set: BTreeSet<usize> = positions.iter().copied().collect();
            prop_assert_eq!(bits.iter().collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(bits.count(), set.len());
            prop_assert!((0..1300).all(|position| bits.contains(position) == set.contains(&position)));
        }
    }

    #[test]
    fn below_holds_exactly_the_first_positions() {
        assert_eq!(Bits::below(65).count(), 65);
        assert!(!Bits::below(65).contains(65));
        assert!(Bits::below(0).is_empty());
    }
}
