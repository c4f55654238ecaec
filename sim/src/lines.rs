//! This file knows the lines between nodes: how fast each node sends and receives, how far it is from node to node, and
//! who is not linked at all.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::Nanos;

use crate::dice::Dice;

/// Bytes per millisecond of one node's line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rates {
    pub out: u64,
    pub into: u64,
}

impl Rates {
    pub const fn even(bytes_per_ms: u64) -> Self {
        Self {
            out: bytes_per_ms,
            into: bytes_per_ms,
        }
    }
}

/// A tenth of a gigabit a second: the slowest line that seeds draw. The fastest has ten gigabit.
const SLOW_BYTES_PER_MS: u64 = 12_500;

/// Regions of the world that nodes may stand in.
pub const REGIONS: usize = 10;

/// Milliseconds from region to region, one way, as between large data centres: North America east and west, South
/// America, Europe west and middle, South Asia, South-east Asia, East Asia, Australia, South Africa.
const REGION_MS: [[u64; REGIONS]; REGIONS] = [
    [1, 31, 58, 34, 46, 94, 110, 74, 100, 114],
    [31, 1, 88, 62, 72, 110, 82, 49, 70, 140],
    [58, 88, 1, 90, 101, 151, 164, 128, 156, 171],
    [34, 62, 90, 1, 13, 61, 88, 101, 128, 79],
    [46, 72, 101, 13, 1, 56, 79, 112, 125, 77],
    [94, 110, 151, 61, 56, 1, 30, 64, 74, 116],
    [110, 82, 164, 88, 79, 30, 1, 35, 47, 120],
    [74, 49, 128, 101, 112, 64, 35, 1, 52, 180],
    [100, 70, 156, 128, 125, 74, 47, 52, 1, 136],
    [114, 140, 171, 79, 77, 116, 120, 180, 136, 1],
];

/// See the file's words. By itself it says nothing: the weather's rate and latency hold for all.
#[derive(Clone, Debug, Default)]
pub struct NodeLines {
    /// Nodes whose lines are not as fast as the weather says.
    pub rates: BTreeMap<usize, Rates>,
    /// Where each node stands; if nobody stands anywhere, all are as far from each other as the weather says.
    pub regions: Vec<usize>,
    /// Pairs that are never linked, lower position first.
    pub missing: BTreeSet<(usize, usize)>,
}

impl NodeLines {
    /// NodeLines as a seed draws them.
    pub fn draw(dice: &mut Dice, nodes: usize) -> Self {
        let mut this = Self::default();
        if dice.chance(300) {
            // Each magnitude as likely as the others.
            let mut rate = || SLOW_BYTES_PER_MS * *dice.pick(&[1, 2, 5, 10, 20, 50, 100]);
            this.rates = (0..nodes)
                .map(|node| {
                    let (out, into) = (rate(), rate());
                    (node, Rates { out, into })
                })
                .collect();
        }
        if dice.chance(300) {
            this.regions = (0..nodes).map(|_| dice.below(REGIONS)).collect();
        }
        this
    }

    /// Never links two nodes.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.missing.insert((a.min(b), a.max(b)));
    }

    pub fn is_missing(&self, a: usize, b: usize) -> bool {
        self.missing.contains(&(a.min(b), a.max(b)))
    }

    /// How far it is from node to node, if they stand somewhere.
    pub fn distance(&self, from: usize, to: usize) -> Option<Nanos> {
        let row = REGION_MS.get(*self.regions.get(from)?)?;
        row.get(*self.regions.get(to)?).copied().map(Nanos::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_as_long() {
        for (a, row) in REGION_MS.iter().enumerate() {
            for (b, ms) in row.iter().enumerate() {
                assert_eq!(*ms, REGION_MS[b][a], "{a} {b}");
            }
        }
    }

    #[test]
    fn a_missing_edge_is_missing_both_ways() {
        let mut lines = NodeLines::default();
        lines.cut(3, 1);
        assert!(lines.is_missing(1, 3) && lines.is_missing(3, 1) && !lines.is_missing(1, 2));
    }
}
