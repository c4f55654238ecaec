//! This file knows which claims were proven lately, so that a blob that comes twice is verified once.
//!
//! Two generations of bounded sets: when the young one is full it becomes the old one and the old one is forgotten. So
//! a claim is remembered while half the bound comes after it and memory never passes the bound. Only claims that hold
//! are kept. A false claim is never remembered as anything. An attacker can still flush the memo. A true claim about a
//! constant or a line takes two scalar multiplications at most, and as many of them as the bound push out all others.
//! Those are then verified again when they come again.

use std::collections::HashSet;
use std::sync::Mutex;

use ultramarine_types::{KzgCommitment, KzgProof};

/// Names a claim: challenge (which binds the blob and the commitment), commitment, proof.
pub type Name = ([u8; 32], [u8; 48], [u8; 48]);

/// Proven claims; shared by all lanes.
#[derive(Debug)]
pub struct Memo {
    generation_claims_max: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Name>,
    old: HashSet<Name>,
}

impl Memo {
    /// A memo of at most `claims_max` claims, in two halves; below 2 it remembers nothing and costs nothing.
    pub fn new(claims_max: usize) -> Self {
        Self {
            generation_claims_max: claims_max / 2,
            generations: Mutex::default(),
        }
    }

    /// Whether it remembers anything at all.
    pub fn is_on(&self) -> bool {
        self.generation_claims_max > 0
    }

    /// Whether this claim was proven.
    pub fn knows(&self, name: &Name) -> bool {
        self.is_on() && {
            let generations = self.lock();
            generations.young.contains(name) || generations.old.contains(name)
        }
    }

    /// Remembers a claim that holds.
    pub fn remember(&self, name: Name) {
        if !self.is_on() {
            return;
        }
        let mut generations = self.lock();
        if generations.young.len() >= self.generation_claims_max {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(name);
        assert!(
            generations.young.len().max(generations.old.len()) <= self.generation_claims_max,
            "memory never passes the bound"
        );
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        let generations = self.lock();
        generations.young.len() + generations.old.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        // A set is whole between any two calls, so a panic elsewhere while it was held cannot have broken it.
        self.generations
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The name of a claim whose challenge hash is known.
pub fn name(challenge: [u8; 32], commitment: &KzgCommitment, proof: &KzgProof) -> Name {
    (challenge, commitment.0, proof.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(seed: u8) -> Name {
        ([seed; 32], [1; 48], [2; 48])
    }

    #[test]
    fn a_proven_claim_is_known_until_half_the_bound_came_after_it() {
        let memo = Memo::new(8);
        memo.remember(claim(0));
        for seed in 1..=4 {
            assert!(memo.knows(&claim(0)));
            memo.remember(claim(seed));
        }
        assert!(memo.knows(&claim(0)), "the old generation still counts");
        for seed in 5..=8 {
            memo.remember(claim(seed));
        }
        assert!(!memo.knows(&claim(0)));
    }

    #[test]
    fn it_never_holds_more_than_its_bound() {
        for claims_max in 0..10 {
            let memo = Memo::new(claims_max);
            for seed in 0..200 {
                memo.remember(claim(seed));
                assert!(memo.len() <= claims_max);
            }
        }
    }

    #[test]
    fn a_claim_is_another_when_any_part_differs() {
        let memo = Memo::new(8);
        memo.remember(claim(0));
        assert!(!memo.knows(&([9; 32], [1; 48], [2; 48])));
        assert!(!memo.knows(&([0; 32], [9; 48], [2; 48])));
        assert!(!memo.knows(&([0; 32], [1; 48], [9; 48])));
    }

    #[test]
    fn a_memo_of_nothing_knows_nothing() {
        let memo = Memo::new(0);
        memo.remember(claim(0));
        assert!(!memo.knows(&claim(0)) && memo.len() == 0);
    }
}
