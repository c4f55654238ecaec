//! This file knows a connected quorum: which validators are left whole, which links stand between them, and how far it
//! is from one to another over those links.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::Nanos;

use crate::dice::Dice;

/// How a quorum's members are linked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum QuorumShape {
    /// Everybody with everybody.
    Whole,
    /// Each with two others.
    Ring,
    /// All with one.
    Star,
    /// One after the other.
    Line,
}

/// See the file's words.
#[derive(Clone, Debug)]
pub struct Quorum {
    /// Positions of validators with more than two thirds of the power.
    pub members: Vec<usize>,
    /// The other validators.
    pub others: Vec<usize>,
    pub shape: QuorumShape,
    /// Linked pairs of members, lower position first.
    links: BTreeSet<(usize, usize)>,
}

impl Quorum {
    /// Some of the validators, or as few as may be if `least`; all have one power each.
    pub fn draw(dice: &mut Dice, validators: usize, least: bool) -> Self {
        let most = (validators - 1) / 3;
        let count = if least {
            most
        } else {
            dice.between(1, most as u64) as usize
        };
        let mut members: Vec<usize> = (0..validators).collect();
        let mut others: Vec<usize> = (0..count)
            .map(|_| members.swap_remove(dice.below(members.len())))
            .collect();
        members.sort_unstable();
        others.sort_unstable();
        Self::linked(members, others, QuorumShape::Whole)
    }

    /// Some of the validators, as they are linked.
    pub fn seen(validators: &[usize], members: &BTreeSet<usize>, is_linked: impl Fn(usize, usize) -> bool) -> Self {
        let pairs = members
            .iter()
            .flat_map(|a| members.range(a + 1..).map(move |b| (*a, *b)));
        Self {
            members: members.iter().copied().collect(),
            others: validators
                .iter()
                .copied()
                .filter(|node| !members.contains(node))
                .collect(),
            shape: QuorumShape::Whole,
            links: pairs.filter(|(a, b)| is_linked(*a, *b)).collect(),
        }
    }

    fn linked(members: Vec<usize>, others: Vec<usize>, shape: QuorumShape) -> Self {
        let count = members.len();
        let positions = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
        let is_linked = |(a, b): &(usize, usize)| match shape {
            QuorumShape::Whole => true,
            QuorumShape::Ring => b - a == 1 || (*a, *b) == (0, count - 1),
            QuorumShape::Star => *a == 0,
            QuorumShape::Line => b - a == 1,
        };
        let links = positions
            .filter(is_linked)
            .map(|(a, b)| (members[a].min(members[b]), members[a].max(members[b])))
            .collect();
        Self {
            members,
            others,
            shape,
            links,
        }
    }

    /// The same members, linked in another shape, in an order that the dice draw.
    pub fn shaped(mut self, dice: &mut Dice, shape: QuorumShape) -> Self {
        let mut left = std::mem::take(&mut self.members);
        let mut order = Vec::new();
        while !left.is_empty() {
            order.push(left.swap_remove(dice.below(left.len())));
        }
        Self::linked(order, self.others, shape)
    }

    /// The same without one link, which is not the only way.
    pub fn without(mut self, a: usize, b: usize) -> Self {
        self.links.remove(&(a.min(b), a.max(b)));
        self
    }

    pub fn is_member(&self, node: usize) -> bool {
        self.members.contains(&node)
    }

    pub fn is_linked(&self, a: usize, b: usize) -> bool {
        self.links.contains(&(a.min(b), a.max(b)))
    }

    /// Pairs of members that are not linked.
    pub fn gaps(&self) -> impl Iterator<Item = (usize, usize)> {
        let pairs = self
            .members
            .iter()
            .flat_map(|a| self.members.iter().map(move |b| (*a, *b)));
        pairs.filter(|(a, b)| a < b && !self.is_linked(*a, *b))
    }

    /// Links of the member that has most.
    pub fn degree(&self) -> usize {
        let of = |node: &usize| {
            self.members
                .iter()
                .filter(|other| self.is_linked(*node, **other))
                .count()
        };
        self.members.iter().map(of).max().unwrap_or(0)
    }

    /// The longest of the shortest ways between two members, where a link is as long as `length` says.
    fn longest(&self, length: impl Fn(usize, usize) -> u64) -> u64 {
        let positions: BTreeMap<usize, usize> = self.members.iter().copied().zip(0..).collect();
        let position = |node: &usize| positions.get(node).copied();
        let links = self.links.iter().filter_map(|(a, b)| {
            let (near, far) = (position(a)?, position(b)?);
            Some([(near, far, length(*a, *b)), (far, near, length(*b, *a))])
        });
        let links: Vec<_> = links.flatten().collect();
        let from = |first: usize| {
            let mut ways = vec![u64::MAX; self.members.len()];
            ways[first] = 0;
            // As many turns as there are members reach all. Where most are linked, few turns do.
            let mut is_shorter = true;
            while std::mem::take(&mut is_shorter) {
                for (near, far, length) in &links {
                    let way = ways[*near].saturating_add(*length);
                    if way < ways[*far] {
                        ways[*far] = way;
                        is_shorter = true;
                    }
                }
            }
            ways.into_iter().filter(|way| *way < u64::MAX).max().unwrap_or(0)
        };
        (0..self.members.len()).map(from).max().unwrap_or(0)
    }

    /// Links on the longest of the shortest ways between two members.
    pub fn hops(&self) -> u64 {
        self.longest(|_, _| 1)
    }

    /// Time for the longest of the shortest ways between two members.
    pub fn reach(&self, hop: impl Fn(usize, usize) -> Nanos) -> Nanos {
        Nanos(self.longest(|a, b| hop(a, b).0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seven(shape: QuorumShape) -> Quorum {
        let mut dice = Dice::of(1, "quorum");
        Quorum::draw(&mut dice, 10, true).shaped(&mut dice, shape)
    }

    #[test]
    fn the_least_quorum_of_ten_has_seven() {
        let quorum = seven(QuorumShape::Whole);
        assert_eq!((quorum.members.len(), quorum.others.len()), (7, 3));
        assert!(quorum.others.iter().all(|other| !quorum.is_member(*other)));
        assert_eq!(quorum.gaps().count(), 0);
    }

    #[test]
    fn each_shape_is_connected_and_as_wide_as_it_should_be() {
        for (shape, hops, degree, links) in [
            (QuorumShape::Whole, 1, 6, 21),
            (QuorumShape::Ring, 3, 2, 7),
            (QuorumShape::Star, 2, 6, 6),
            (QuorumShape::Line, 6, 2, 6),
        ] {
            let quorum = seven(shape);
            assert_eq!((quorum.hops(), quorum.degree()), (hops, degree), "{shape:?}");
            assert_eq!(quorum.gaps().count(), 21 - links, "{shape:?}");
            assert_eq!(quorum.reach(|_, _| Nanos(5)), Nanos(5 * hops));
        }
    }
}
