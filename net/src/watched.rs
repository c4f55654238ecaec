//! This file knows how to run the tasks of the network's core so that none fails unheard: half a network is worse than
//! none.

use std::any::Any;
use std::future::Future;

use tokio::task::AbortHandle;
use ultramarine_runtime::halt::{Halt, Reason};

/// Name of the tile that such tasks belong to.
const TILE: &str = "net";

/// Runs a task on this thread. If it panics, the node stops and says why.
pub(crate) fn spawn(halt: &Halt, task: impl Future<Output = ()> + 'static) -> AbortHandle {
    let task = tokio::task::spawn_local(task);
    let (abort, halt) = (task.abort_handle(), halt.clone());
    tokio::task::spawn_local(async move {
        if let Err(ended) = task.await
            && ended.is_panic()
        {
            let what = format!("a task panicked: {}", text_of(ended.into_panic().as_ref()));
            halt.stop(Reason::Failed { tile: TILE, what });
        }
    });
    abort
}

/// Runs a task that must not end before the node does. If it ends by itself or panics, the node stops and says that
/// `what` ended. Abort the task to end it without stopping the node.
pub(crate) fn spawn_lasting(halt: &Halt, what: &'static str, task: impl Future<Output = ()> + 'static) -> AbortHandle {
    let its_halt = halt.clone();
    spawn(halt, async move {
        task.await;
        let what = format!("{what} ended: the log says why; start the node again");
        its_halt.stop(Reason::Failed { tile: TILE, what });
    })
}

/// Ends a task when it is dropped.
pub(crate) struct Bound(pub AbortHandle);

impl Drop for Bound {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(body: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(tokio::task::LocalSet::new().run_until(body));
    }

    #[test]
    fn a_task_that_panics_stops_the_node_with_its_words() {
        run(async {
            let halt = Halt::new();
            let number = 7;
            spawn(&halt, async move { assert_eq!(number, 8, "seven is not eight") });
            halt.stopped().await;
            let why = halt.reason().expect("it stopped").to_string();
            assert!(why.contains("net") && why.contains("seven is not eight"), "{why}");
        });
    }

    #[test]
    fn a_lasting_task_that_ends_stops_the_node_with_its_name() {
        run(async {
            let halt = Halt::new();
            spawn_lasting(&halt, "accepting connections", async {});
            halt.stopped().await;
            let why = halt.reason().expect("it stopped").to_string();
            assert!(
                why.contains("net") && why.contains("accepting connections ended"),
                "{why}"
            );
        });
    }

    #[test]
    fn a_lasting_task_that_is_ended_stops_nobody() {
        run(async {
            let halt = Halt::new();
            drop(Bound(spawn_lasting(&halt, "waiting", std::future::pending())));
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert!(!halt.is_stopped());
        });
    }

    #[test]
    fn a_task_that_ends_or_is_ended_stops_nobody() {
        run(async {
            let halt = Halt::new();
            spawn(&halt, async {});
            drop(Bound(spawn(&halt, std::future::pending())));
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert!(!halt.is_stopped());
        });
    }
}
