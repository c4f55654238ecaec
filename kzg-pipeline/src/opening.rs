//! This file knows what lies between a claim and its finding: claims opened, and sums of opened claims.

use crate::field::Fr;
use crate::group::{Point, Sum};
use crate::memo::Name;
use ultramarine_types::verify::Finding;

/// What opening a claim led to.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every claim opens; the rest are a peer's faults or known already"
)]
pub enum Opening {
    /// The finding is known: malformed, proven before, or judged by a back end that has no second phase.
    Settled(Finding),
    /// The part that needs no other claim is done.
    Open(OpenedClaim),
}

/// A well-formed claim (C, z, y, π): z its challenge, y the blob's polynomial at z. About 400 bytes; the blob may go.
#[derive(Clone, Debug)]
pub struct OpenedClaim {
    pub(crate) name: Name,
    pub(crate) commitment: Point,
    pub(crate) proof: Point,
    pub(crate) z: Fr,
    pub(crate) y: Fr,
}

/// OpenedClaim claims with their part of both sides of the final equation. The claims are kept for blame.
#[derive(Clone, Debug)]
pub struct Summed {
    pub(crate) claims: Vec<OpenedClaim>,
    pub(crate) left: Sum,
    pub(crate) right: Sum,
}

impl Summed {
    /// Claims whose judge takes no sums.
    pub(crate) fn without_sums(claims: Vec<OpenedClaim>) -> Self {
        Self {
            claims,
            left: Sum::default(),
            right: Sum::default(),
        }
    }

    /// How many claims are in it.
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Whether no claim is in it.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }
}
