//! This file knows what a verifier is asked and what it promises, whichever back end does the arithmetic.

use std::sync::Arc;

use ultramarine_types::verify::{Finding, Malformed};
use ultramarine_types::{KzgCommitment, KzgProof};

use crate::ckzg::CKzg;
use crate::fast::Fast;
use crate::inquiry::{Inquiry, Tell};
use crate::memo::Memo;
use crate::opening::{Opened, Opening, Summed};

/// What somebody claims: this proof shows that this commitment is to this blob (EIP-4844).
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The blob's bytes, of whatever length they came in.
    pub blob: &'a [u8],
    /// A compressed G1 point, unchecked.
    pub commitment: &'a KzgCommitment,
    /// A compressed G1 point, unchecked.
    pub proof: &'a KzgProof,
}

/// Claims that [`Verifier::verify`] opens before it looks at the next: as many as a lane does, a vector of messages and two of points. Their
/// 2 MB are still in a cache when evaluation reads what was hashed.
const OPENED_AT_ONCE: usize = 16;

/// Judges claims in two phases: opening, claim by claim as blobs arrive, and settling, for all of them together.
///
/// Promises: one finding per claim; what is found of a claim does not depend on its company, nor on how claims are split into batches
/// and sums (whether it is asked about may: what a convicted peer sent besides is not, see [`Inquiry`]); malformed and wrong are told
/// apart; no input makes it panic. Shared read-only between lanes.
pub trait Verifier: Send + Sync {
    /// The name in the configuration and in metrics.
    fn name(&self) -> &'static str;

    /// Does for each claim, in order, what needs no other claim. Company is only for speed.
    fn open(&self, claims: &[Claim<'_>]) -> Vec<Opening>;

    /// Takes the sums of opened claims, with fresh weights: most of what settling costs.
    fn sum(&self, claims: Vec<Opened>) -> Summed;

    /// Takes at most so many steps of an inquiry, each at most a pairing and the sums of half a piece, or the sums of a small piece, and
    /// tells what is found. An inquiry about claims that all hold takes one step.
    fn inquire(&self, inquiry: &mut Inquiry, steps_max: usize, tell: &mut Tell<'_>);

    /// Settles all claims of these pieces.
    fn settle(&self, pieces: Vec<Summed>, tell: &mut Tell<'_>) {
        let mut inquiry = Inquiry::new(pieces);
        self.inquire(&mut inquiry, usize::MAX, tell);
        assert_eq!(inquiry.claims_left(), 0, "questions come to an end");
    }

    /// Judges every claim at once; findings in the claims' order.
    fn verify(&self, claims: &[Claim<'_>]) -> Vec<Finding> {
        let mut findings = vec![Finding::Wrong; claims.len()];
        let (mut places, mut opened) = (Vec::with_capacity(claims.len()), Vec::with_capacity(claims.len()));
        let openings = claims.chunks(OPENED_AT_ONCE).flat_map(|some| self.open(some));
        for (index, opening) in openings.enumerate() {
            match opening {
                Opening::Settled(finding) => findings[index] = finding,
                Opening::Open(claim) => {
                    places.push(index);
                    opened.push(claim);
                }
            }
        }
        if !opened.is_empty() {
            // The larger a sum, the less each of its terms costs: with all claims at hand, one is best.
            let sum = self.sum(opened);
            self.settle(vec![sum], &mut |told| {
                for place in &places[told.positions()] {
                    findings[*place] = told.finding;
                }
            });
        }
        findings
    }
}

/// Which back end judges.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// Our own, on blst's primitives.
    #[default]
    Fast,
    /// The reference implementation's batch call.
    CKzg,
}

impl Kind {
    /// Every back end.
    pub const ALL: [Self; 2] = [Self::Fast, Self::CKzg];

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::CKzg => "c-kzg",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or(UnknownKind)
    }
}

/// A configured name that is no verifier's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no such verifier")]
pub struct UnknownKind;

/// A verifier, warm: the trusted setup is loaded and checked, so that the first blob waits for nothing.
///
/// `memo_claims` bounds how many proven claims are remembered (0 or 1: none), about 250 bytes each.
///
/// Panics if the setup compiled into this binary is not the one of Ethereum's ceremony.
pub fn verifier(kind: Kind, memo_claims: usize) -> Arc<dyn Verifier> {
    let memo = Memo::new(memo_claims);
    match kind {
        Kind::Fast => Arc::new(Fast::new(memo)),
        Kind::CKzg => Arc::new(CKzg::new(memo)),
    }
}

/// The label of a finding in metrics and logs.
pub const fn label(finding: Finding) -> &'static str {
    match finding {
        Finding::Holds => "holds",
        Finding::Wrong => "wrong",
        Finding::Malformed(Malformed::Blob(_)) => "malformed_blob",
        Finding::Malformed(Malformed::Commitment(_)) => "malformed_commitment",
        Finding::Malformed(Malformed::Proof(_)) => "malformed_proof",
        Finding::Unjudged => "unjudged",
    }
}

/// Every label of [`label`], in the order of [`label_index`].
pub const LABELS: [&str; 6] = [
    "holds",
    "wrong",
    "malformed_blob",
    "malformed_commitment",
    "malformed_proof",
    "unjudged",
];

/// The position of a finding's label in [`LABELS`].
pub const fn label_index(finding: Finding) -> usize {
    match finding {
        Finding::Holds => 0,
        Finding::Wrong => 1,
        Finding::Malformed(Malformed::Blob(_)) => 2,
        Finding::Malformed(Malformed::Commitment(_)) => 3,
        Finding::Malformed(Malformed::Proof(_)) => 4,
        Finding::Unjudged => 5,
    }
}
