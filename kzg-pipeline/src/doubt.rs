//! This file knows how to confirm that a value fails, before anybody is blamed for it.
//!
//! The sums of its claims did not agree, or a claim is malformed. That may be our own fault: memory that lies, or a
//! mistake in our arithmetic. So the digests of all its blobs are computed again, the plain way. Then `c-kzg` is asked
//! about one blob after the other, up to the first of which it says no. That one is the evidence.
//!
//! Both go by turns, as a large value takes seconds.
//!
//! Keeps: a value fails only by a blob that has its digest and of which `c-kzg` says no.

use std::ops::ControlFlow;

use ultramarine_types::verify::{ValueOutcome, VerifyJob};

use crate::challenge;
use crate::claim::Claim;
use crate::opening::Finding;

/// Digests that take as long as one question to `c-kzg`: 0.1 ms each with the SHA extension, 0.4 without.
const DIGESTS_PER_QUESTION: usize = 8;

/// A value that seems to fail.
#[derive(Clone, Debug)]
pub struct Doubt {
    /// Its blobs in order, each with the digest that it had.
    blobs: Vec<VerifyJob>,
    digests_checked: usize,
    blobs_asked: usize,
}

impl Doubt {
    pub(crate) const fn new(blobs: Vec<VerifyJob>) -> Self {
        Self {
            blobs,
            digests_checked: 0,
            blobs_asked: 0,
        }
    }

    /// All blobs of the value, in order.
    pub fn blobs(&self) -> &[VerifyJob] {
        &self.blobs
    }

    /// Asks at most `questions_max` questions, or takes as long otherwise. An error of `ask` is the library's own.
    pub fn go_on<E: std::fmt::Display>(
        mut self,
        questions_max: usize,
        ask: impl Fn(&Claim<'_>) -> Result<Finding, E>,
    ) -> ControlFlow<ValueOutcome, Self> {
        let withheld = |why| ControlFlow::Break(ValueOutcome::Withheld { why });
        if self.digests_checked < self.blobs.len() {
            let digests = questions_max * DIGESTS_PER_QUESTION;
            for job in self.blobs[self.digests_checked..].iter().take(digests) {
                let digest = challenge::hash(&job.blob, &job.commitment);
                if job.digest.is_none_or(|before| before.0 != digest) {
                    return withheld("a blob's bytes changed while they were kept");
                }
                self.digests_checked += 1;
            }
            return ControlFlow::Continue(self);
        }
        for job in self.blobs[self.blobs_asked..].iter().take(questions_max) {
            match ask(&Claim::of(job)) {
                Ok(Ok(())) => self.blobs_asked += 1,
                Ok(Err(why)) => {
                    return ControlFlow::Break(ValueOutcome::Fails {
                        index: job.index,
                        why,
                        proof: job.proof,
                    });
                }
                Err(error) => {
                    tracing::error!(key = %job.key, index = job.index, %error, "c-kzg could not judge a blob");
                    return withheld("the KZG library failed");
                }
            }
        }
        if self.blobs_asked < self.blobs.len() {
            ControlFlow::Continue(self)
        } else {
            withheld("its blobs fail together, and none of them by itself")
        }
    }
}

#[cfg(test)]
mod tests;
