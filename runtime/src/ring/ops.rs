//! This file knows how to count what a back end submits to its ring.

use crate::metrics::{Counter, Registry};

/// Counts the operations a back end submits to its ring.
#[derive(Clone, Debug)]
pub struct RingOps {
    operations: Counter,
}

impl RingOps {
    /// The counter of a ring: `net` or `store`. On the fallback it stays zero, which is how one sees that it runs.
    pub fn new(registry: &Registry, ring: &str) -> Self {
        Self {
            operations: registry.counter(
                "ultramarine_ring_operations_total",
                "Operations submitted to the io_uring of this name.",
                &[("ring", ring)],
            ),
        }
    }

    /// One operation was submitted.
    pub fn inc(&self) {
        self.operations.inc();
    }

    /// `count` operations were submitted.
    pub fn add(&self, count: u64) {
        self.operations.add(count);
    }

    pub fn get(&self) -> u64 {
        self.operations.get()
    }
}
