//! This file knows how to stop the whole node once, and to keep the first reason.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Why the node stops.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A signal or an operator asked for it.
    Asked,
    /// The start failed before all tiles ran: those that do run stop again. Whoever started them says why.
    NotStarted,
    /// A tile could not go on.
    Failed {
        tile: &'static str,
        /// What failed, where, and what to do.
        what: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("asked to stop"),
            Self::NotStarted => f.write_str("the start failed"),
            Self::Failed { tile, what } => write!(f, "tile {tile} failed: {what}"),
        }
    }
}

/// A shared flag that goes from running to stopped once.
///
/// Every tile looks at it between two pieces of work, and waits for it beside its inputs, so the node is down within
/// two seconds of the first [`stop`](Self::stop).
#[derive(Clone, Default)]
pub struct Halt {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Mirrors `reason.is_some()` so that a running tile can look without a lock.
    stopped: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    reason: Option<Reason>,
    waiting: Vec<Waker>,
}

impl Halt {
    /// A flag that is not stopped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops. The first reason is kept, later ones are only logged.
    pub fn stop(&self, reason: Reason) {
        let waiting = {
            let mut state = self.state();
            if let Some(first) = &state.reason {
                if let Reason::Failed { .. } = reason {
                    tracing::warn!(%first, later = %reason, "failed while stopping");
                }
                return;
            }
            match &reason {
                Reason::Asked | Reason::NotStarted => tracing::info!("stopping: {reason}"),
                Reason::Failed { .. } => tracing::error!("stopping: {reason}"),
            }
            state.reason = Some(reason);
            self.shared.stopped.store(true, Ordering::Release);
            std::mem::take(&mut state.waiting)
        };
        self.shared.changed.notify_all();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether the node is stopping.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }

    /// Why, once it is stopping.
    pub fn reason(&self) -> Option<Reason> {
        self.state().reason.clone()
    }

    /// Waits until the node stops. Works on any executor; dropping it is safe.
    pub async fn stopped(&self) {
        std::future::poll_fn(|context| self.poll_stopped(context)).await;
    }

    /// Runs `work` until it is done or the node stops; `None` if the stop came first.
    pub async fn unless_stopped<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            if let Poll::Ready(output) = Pin::as_mut(&mut work).poll(context) {
                return Poll::Ready(Some(output));
            }
            self.poll_stopped(context).map(|()| None)
        })
        .await
    }

    /// Blocks this thread until the node stops or `timeout` passes; whether it is stopped.
    pub fn wait(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let mut state = self.state();
        while state.reason.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = match self.shared.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    fn poll_stopped(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_stopped() {
            return Poll::Ready(());
        }
        let mut state = self.state();
        if state.reason.is_some() {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            state.waiting.push(context.waker().clone());
            // A waker of a task that ended is woken in vain. Old ones are let go here, so that many short waits
            // cannot pile up: a task that still waits registers again when it is woken.
            if state.waiting.len() > WAITING_MAX {
                state.waiting.drain(..).for_each(Waker::wake);
                state.waiting.push(context.waker().clone());
            }
        }
        Poll::Pending
    }

    /// The state; a panic elsewhere while holding it leaves it whole, because every change is one assignment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Wakers kept before the list is woken and rebuilt: far above the tasks that wait at one time.
const WAITING_MAX: usize = 4096;

impl fmt::Debug for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Halt").field(&self.state().reason).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(what: &str) -> Reason {
        Reason::Failed {
            tile: "test",
            what: what.to_owned(),
        }
    }

    #[test]
    fn the_first_reason_is_kept() {
        let halt = Halt::new();
        assert!(!halt.is_stopped());
        halt.stop(failed("first"));
        halt.stop(failed("second"));
        halt.stop(Reason::Asked);
        assert_eq!(halt.reason(), Some(failed("first")));
    }

    #[test]
    fn a_waiting_thread_is_woken_by_the_stop() {
        let halt = Halt::new();
        let waiter = std::thread::spawn({
            let halt = halt.clone();
            move || halt.wait(Duration::from_secs(30))
        });
        halt.stop(Reason::Asked);
        assert!(waiter.join().expect("the waiter does not panic"));
    }

    #[test]
    fn a_wait_ends_at_its_timeout() {
        assert!(!Halt::new().wait(Duration::from_millis(1)));
    }

    #[test]
    fn a_waiting_task_is_woken_by_the_stop() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let halt = Halt::new();
        runtime.block_on(async {
            let stopper = std::thread::spawn({
                let halt = halt.clone();
                move || halt.stop(Reason::Asked)
            });
            halt.stopped().await;
            assert_eq!(halt.unless_stopped(std::future::pending::<()>()).await, None);
            assert_eq!(halt.unless_stopped(std::future::ready(7)).await, Some(7));
            stopper.join().expect("the stopper does not panic");
        });
    }

    #[test]
    fn many_short_waits_do_not_pile_up() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let halt = Halt::new();
        runtime.block_on(async {
            for _ in 0..3 * WAITING_MAX {
                let halt = halt.clone();
                let task = tokio::spawn(async move { halt.stopped().await });
                tokio::task::yield_now().await;
                task.abort();
            }
        });
        assert!(halt.state().waiting.len() <= WAITING_MAX);
    }
}
