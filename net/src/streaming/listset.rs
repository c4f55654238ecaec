//! This file knows sets of the four lists of a value: which are here, and which are asked for.

use ultramarine_types::ListKind;

/// A set of lists, one bit each: list 1 is the lowest bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ListSet {
    bits: u8,
}

impl ListSet {
    pub const NONE: Self = Self { bits: 0 };
    pub const ALL: Self = Self { bits: 0b1111 };

    /// The set with these bits; `None` if one of them is no list's.
    pub const fn of_bits(bits: u8) -> Option<Self> {
        if bits & !Self::ALL.bits == 0 {
            Some(Self { bits })
        } else {
            None
        }
    }

    pub const fn bits(self) -> u8 {
        self.bits
    }

    const fn bit(kind: ListKind) -> u8 {
        1 << (kind as u8 - 1)
    }

    /// Adds a list. Returns whether it was new.
    pub const fn insert(&mut self, kind: ListKind) -> bool {
        let is_new = !self.contains(kind);
        self.bits |= Self::bit(kind);
        is_new
    }

    pub const fn contains(self, kind: ListKind) -> bool {
        self.bits & Self::bit(kind) != 0
    }

    /// The lists that are not in the set.
    #[must_use]
    pub const fn others(self) -> Self {
        Self {
            bits: !self.bits & Self::ALL.bits,
        }
    }

    /// The lists of this set that are not in another one.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self {
            bits: self.bits & !other.bits,
        }
    }

    pub const fn is_empty(self) -> bool {
        self.bits == 0
    }

    pub const fn is_all(self) -> bool {
        self.bits == Self::ALL.bits
    }

    /// The lists, in the order in which they are sent.
    pub fn iter(self) -> impl Iterator<Item = ListKind> {
        ListKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl FromIterator<ListKind> for ListSet {
    fn from_iter<I: IntoIterator<Item = ListKind>>(kinds: I) -> Self {
        let mut set = Self::NONE;
        for kind in kinds {
            set.insert(kind);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_lists_is_four_bits() {
        let set = ListSet::from_iter([ListKind::Proofs, ListKind::Chunks]);
        assert_eq!(set.bits(), 0b1001);
        assert_eq!(set.iter().collect::<Vec<_>>(), [ListKind::Chunks, ListKind::Proofs]);
        assert_eq!(set.others().bits(), 0b0110);
        assert!(ListSet::ALL.is_all() && ListSet::from_iter(ListKind::ALL).is_all());
        assert_eq!(ListSet::of_bits(0b1001), Some(set));
        assert_eq!(ListSet::of_bits(0b1_0000), None);
        assert_eq!(ListSet::ALL.without(set), set.others());
    }
}
