//! This file knows what an answer is for, and how many bytes of answers may wait for one peer.

use tokio::sync::Semaphore;
use ultramarine_types::limits::Limits;

use crate::bounds;

/// What an answer is for. What waits for a peer in one class never stands before the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum AnswerClass {
    /// Parts of a value, which a round waits for, and certificates, which are small.
    Repair,
    /// Sync packages, of which there may be many, and large ones.
    Package,
}

/// Answers of one class to one peer.
#[derive(Debug)]
pub(crate) struct Answers {
    /// Bytes of those that wait for the peer, in permits of [`bounds::ANSWER_PERMIT_BYTES`].
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
