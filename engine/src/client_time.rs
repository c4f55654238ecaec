//! This file knows how long a piece of work had a call to the execution client open: the client's share of a stage.
//!
//! Each piece of work is one task, so its sum travels with the task and no caller hands it on.
//!
//! Four stages have a share. The driver measures those of build and of execute. An import is `newPayload` and
//! `forkchoiceUpdated` on what was decided, and commit contains a build or an execution: the driver notes in the log of
//! stages how long these calls were open, and whoever measures the stage takes what lies within it.

use std::cell::Cell;

use ultramarine_runtime::{Histogram, Registry};
use ultramarine_types::{Nanos, Stage};

tokio::task_local! {
    static OPEN: Cell<Nanos>;
}

/// The client's share of a stage, as people see it.
pub fn share(registry: &Registry, stage: Stage) -> Histogram {
    let help = "Of the time a block spent in a stage, how long a call to the execution client was open.";
    registry.histogram("ultramarine_stage_client_seconds", help, &[("stage", stage.name())])
}

/// Does the work, and says how long calls of it were open.
pub async fn of<T>(work: impl Future<Output = T>) -> (T, Nanos) {
    let summed = async {
        let done = work.await;
        (done, OPEN.with(Cell::get))
    };
    OPEN.scope(Cell::new(Nanos::ZERO), summed).await
}

/// A call was open for so long. Outside of work that is measured nobody asks.
pub fn add(took: Nanos) {
    let _ = OPEN.try_with(|sum| sum.set(sum.get() + took));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_work_has_its_own_sum() {
        let work = |ms: u64| async move {
            for _ in 0..3 {
                add(Nanos::from_millis(ms));
                tokio::task::yield_now().await;
            }
            ms
        };
        add(Nanos::from_millis(7));
        let both = tokio::join!(of(work(2)), of(work(5)));
        assert_eq!(both, ((2, Nanos::from_millis(6)), (5, Nanos::from_millis(15))));
    }
}
