//! This file knows what lies between a claim and its finding: claims opened, and sums of opened claims.

use ultramarine_types::verify::Refutation;

use crate::field::Fr;
use crate::group::{Point, Sum};

/// What is found of a claim: it holds, or why not.
pub type Finding = Result<(), Refutation>;

/// What opening a claim led to. `O` is an opened claim.
#[derive(Clone, Debug)]
pub enum Opening<O = OpenedClaim> {
    /// It was hashed and no more: its bytes are wrong, or nobody wants it opened.
    Hashed,
    /// The finding is known: malformed, or judged by a back end that has no second phase.
    Settled(Finding),
    /// The part that needs no other claim is done.
    Open(O),
}

/// A well-formed claim (C, z, y, π): z its challenge, y the blob's polynomial at z. About 250 bytes.
#[derive(Clone, Debug)]
pub struct OpenedClaim {
    pub(crate) commitment: Point,
    pub(crate) proof: Point,
    pub(crate) z: Fr,
    pub(crate) y: Fr,
}

/// What some opened claims add to both sides of the final equation.
#[derive(Clone, Default, Debug)]
pub struct Sums {
    pub(crate) left: Sum,
    pub(crate) right: Sum,
}
