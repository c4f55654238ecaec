//! This file knows the two classes of answers, and how many bytes of each may wait for one peer.

use tokio::sync::Semaphore;
use ultramarine_types::chain::Limits;

use crate::bounds;

/// The purpose of an answer. An answer of one class never waits behind those of the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AnswerClass {
    /// Parts of a value that is not decided, or has just been: a round may wait for them. And certificates, which are
    /// small.
    Repair,
    /// Sync packages, and parts of older values: they may be many, and large.
    Package,
}

/// Bounds the answers of one class to one peer.
#[derive(Debug)]
pub(crate) struct Answers {
    /// Bytes that may still be prepared for the peer, in permits of [`bounds::ANSWER_PERMIT_BYTES`].
    pub bytes: Semaphore,
    /// All permits of `bytes`.
    pub permits: u32,
}

impl Answers {
    pub fn of(limits: &Limits, values_count: u64) -> Self {
        let permits = bounds::answer_permits(limits, values_count);
        Self {
            bytes: Semaphore::new(permits as usize),
            permits,
        }
    }
}
