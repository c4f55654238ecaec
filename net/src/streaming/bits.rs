//! This file knows sets of small positions that grow one by one: the parts that a stream has brought.

/// A set of positions from 0, one bit each, lowest bit first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bits {
    words: Vec<u64>,
}

impl Bits {
    pub const fn new() -> Self {
        Self { words: Vec::new() }
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
            prop_assert_eq!(bits.count(), set.len());
            prop_assert!((0..1300).all(|position| bits.contains(position) == set.contains(&position)));
        }
    }
}
