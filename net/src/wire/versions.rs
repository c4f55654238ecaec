//! This file knows which versions of the wire a node speaks, and which one two nodes take.

/// The versions from `lowest` to `highest`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WireVersions {
    pub lowest: u32,
    pub highest: u32,
}

impl WireVersions {
    /// The highest version that both speak.
    pub fn common(self, other: Self) -> Option<u32> {
        let (lowest, highest) = (self.lowest.max(other.lowest), self.highest.min(other.highest));
        (lowest <= highest).then_some(highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_take_the_highest_version_that_both_speak() {
        let of = |lowest, highest| WireVersions { lowest, highest };
        for (one, other, common) in [
            (of(1, 2), of(2, 3), Some(2)),
            (of(2, 4), of(1, 3), Some(3)),
            (of(2, 2), of(2, 2), Some(2)),
            (of(1, 2), of(3, 4), None),
        ] {
            assert_eq!(one.common(other), common);
            assert_eq!(other.common(one), common);
        }
    }
}
