//! This file knows how to name some of the validators in 32 bytes.

use rkyv::{Archive, Deserialize, Serialize};

use crate::limits::VALIDATORS_MAX;

const BYTES: usize = VALIDATORS_MAX / 8;
const _: () = assert!(BYTES * 8 == VALIDATORS_MAX, "every validator has a bit");

/// Some of the validators, by their positions in the set: bit `n % 8` of byte `n / 8` is position `n`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct Positions([u8; BYTES]);

impl Positions {
    pub const NONE: Self = Self([0; BYTES]);

    /// Adds a position; one that no set has is left out.
    pub fn insert(&mut self, position: u32) {
        if let Some(byte) = self.0.get_mut(position as usize / 8) {
            *byte |= 1 << (position % 8);
        }
    }

    pub fn contains(&self, position: u32) -> bool {
        let byte = self.0.get(position as usize / 8);
        byte.is_some_and(|byte| byte & (1 << (position % 8)) != 0)
    }

    /// Takes a position out.
    pub fn remove(&mut self, position: u32) {
        if let Some(byte) = self.0.get_mut(position as usize / 8) {
            *byte &= !(1 << (position % 8));
        }
    }

    /// Those that are in both.
    #[must_use]
    pub fn both(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(own, other)| *own &= other);
        self
    }

    /// All, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..)
            .take(VALIDATORS_MAX)
            .filter(|position| self.contains(*position))
    }

    /// Whether a set of so many validators has them all.
    pub fn fit(&self, validators: usize) -> bool {
        (0u32..)
            .take(VALIDATORS_MAX)
            .skip(validators)
            .all(|position| !self.contains(position))
    }
}

impl FromIterator<u32> for Positions {
    fn from_iter<T: IntoIterator<Item = u32>>(positions: T) -> Self {
        let mut this = Self::NONE;
        positions.into_iter().for_each(|position| this.insert(position));
        this
    }
}

impl std::fmt::Debug for Positions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_a_bit_of_its_own() {
        let all: Positions = (0..256).collect();
        assert_eq!(all.0, [0xff; 32]);
        let some: Positions = [0, 9, 255, 256, u32::MAX].into_iter().collect();
        assert_eq!(some.iter().collect::<Vec<_>>(), [0, 9, 255], "no set has the others");
        assert_eq!((some.0[0], some.0[1], some.0[31]), (1, 2, 128));
        assert!(some.contains(9) && !some.contains(8) && !some.contains(256) && !some.contains(u32::MAX));
    }

    #[test]
    fn those_in_both_are_in_each_and_what_is_taken_out_is_gone() {
        let (mut some, others): (Positions, Positions) = ((0..40).collect(), (30..256).collect());
        assert_eq!(
            some.both(&others).iter().collect::<Vec<_>>(),
            (30..40).collect::<Vec<_>>()
        );
        some.remove(3);
        some.remove(3);
        some.remove(256);
        assert_eq!(some.iter().count(), 39);
        assert!(!some.contains(3) && some.contains(2) && some.contains(4));
    }

    #[test]
    fn positions_beyond_the_set_do_not_fit() {
        let some: Positions = [0, 3].into_iter().collect();
        assert!(some.fit(4) && some.fit(256) && !some.fit(3) && Positions::NONE.fit(0));
        let last: Positions = [255].into_iter().collect();
        assert!(last.fit(256) && !last.fit(255));
    }
}
