//! This file knows whose answer is read from the source next. One peer has few turns at a time, and one full node never
//! more than half of theirs; validators and full nodes have turns of their own, so that no number of full nodes can keep a
//! validator from repairing a value; and so have validators' repairs and packages, so that no number of heights to catch up
//! with can.

use tokio::sync::Semaphore;

use crate::bounds;
use crate::link::Link;

/// What an answer is for. What waits for a peer in one class never stands before the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// Parts of a value, which a round waits for, and certificates, which are small.
    Repair,
    /// Sync packages, of which there may be many, and large ones.
    Package,
}

/// Turns to read from the source. Each may keep a thread waiting for the disk.
#[derive(Debug)]
pub(crate) struct Turns {
    repairs: Semaphore,
    packages: Semaphore,
    full_nodes: Semaphore,
}

impl Turns {
    pub const fn new() -> Self {
        Self {
            repairs: Semaphore::const_new(bounds::SERVING_VALIDATORS_MAX),
            packages: Semaphore::const_new(bounds::SERVING_VALIDATORS_MAX),
            full_nodes: Semaphore::const_new(bounds::SERVING_FULL_NODES_MAX),
        }
    }

    /// Works for a peer when it is its turn; `None` if the node goes down.
    pub async fn during<T>(&self, link: &Link, class: Class, work: impl Future<Output = T>) -> Option<T> {
        let all = match (link.validator, class) {
            (None, _) => &self.full_nodes,
            (Some(_), Class::Repair) => &self.repairs,
            (Some(_), Class::Package) => &self.packages,
        };
        let _own = link.answers(class).turns.acquire().await.ok()?;
        let _turn = all.acquire().await.ok()?;
        Some(work.await)
    }
}
