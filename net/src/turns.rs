//! This file knows whose answer is read from the source next: validators and full nodes have turns of their own, so that
//! no number of full nodes can keep a validator from repairing a value, and one peer has few turns at a time.

use tokio::sync::Semaphore;

use crate::bounds;
use crate::link::Link;

/// Turns to read from the source. Each may keep a thread waiting for the disk.
#[derive(Debug)]
pub(crate) struct Turns {
    validators: Semaphore,
    full_nodes: Semaphore,
}

impl Turns {
    pub const fn new() -> Self {
        Self {
            validators: Semaphore::const_new(bounds::SERVING_VALIDATORS_MAX),
            full_nodes: Semaphore::const_new(bounds::SERVING_FULL_NODES_MAX),
        }
    }

    /// Works for a peer when it is its turn; `None` if the node goes down.
    pub async fn during<T>(&self, link: &Link, work: impl Future<Output = T>) -> Option<T> {
        let class = if link.validator.is_some() {
            &self.validators
        } else {
            &self.full_nodes
        };
        let _own = link.turns.acquire().await.ok()?;
        let _turn = class.acquire().await.ok()?;
        Some(work.await)
    }
}
