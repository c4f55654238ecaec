//! This file knows how long we wait for a peer, and when it is not the peer that was late.
//!
//! If our own process slept, what peers did meanwhile waits unread. A deadline that passed in that time proves nothing.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use ultramarine_types::{Nanos, limits};

use crate::bounds;

/// A step was not done in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimedOut {
    /// Our process slept meanwhile, and slept again through the time that the step was given anew.
    pub we_slept: bool,
}

/// Waits for a step. If our process sleeps through its deadline, the step has the same time once more.
pub(crate) async fn in_time<T>(wait: Duration, step: impl Future<Output = T>) -> Result<T, TimedOut> {
    let mut step = std::pin::pin!(step);
    let mut slept = false;
    loop {
        let deadline = Instant::now() + wait;
        if let Ok(done) = timeout_at(deadline, &mut step).await {
            return Ok(done);
        }
        let we_slept = deadline.elapsed() > bounds::LATE.as_duration();
        if !we_slept || slept {
            return Err(TimedOut { we_slept });
        }
        slept = true;
    }
}

/// Our patience with an answer that may share a slow line with others. It has its time again as long as the peer brings
/// bytes at [`bounds::DRIBBLE_BYTES_PER_MS`] or more, and as often as answers of one peer may share its line.
///
/// The simulator's nodes wait by it as well.
#[derive(Clone, Copy, Debug)]
pub struct AnswerPatience {
    wait: Nanos,
    turns: usize,
    came_bytes: u64,
}

impl AnswerPatience {
    /// `came_bytes`: what has come of the peer by now, of whatever it sends.
    pub const fn new(wait: Nanos, came_bytes: u64) -> Self {
        Self {
            wait,
            turns: 1,
            came_bytes,
        }
    }

    /// The answer is not here after another wait. Whether we wait once more.
    pub const fn goes_on(&mut self, came_bytes: u64) -> bool {
        let came = came_bytes.saturating_sub(self.came_bytes);
        self.came_bytes = came_bytes;
        self.turns += 1;
        let least = self.wait.0 / 1_000_000 * bounds::DRIBBLE_BYTES_PER_MS;
        came >= least && self.turns <= limits::SYNC_HEIGHTS_IN_FLIGHT
    }
}

/// Waits for an answer with that patience.
pub(crate) async fn while_it_comes<T>(
    wait: Duration,
    received_bytes: impl Fn() -> u64,
    step: impl Future<Output = T>,
) -> Result<T, TimedOut> {
    let mut step = std::pin::pin!(step);
    let mut patience = AnswerPatience::new(Nanos::from(wait), received_bytes());
    loop {
        let ended = in_time(wait, &mut step).await;
        if ended.is_ok() || !patience.goes_on(received_bytes()) {
            return ended;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(50);

    fn run<T>(step: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(step)
    }

    #[test]
    fn a_step_that_is_late_while_we_watch_is_late() {
        let late = run(in_time(WAIT, std::future::pending::<()>()));
        assert_eq!(late, Err(TimedOut { we_slept: false }));
    }

    #[test]
    fn a_step_has_its_time_again_while_bytes_come() {
        let least = 50 * bounds::DRIBBLE_BYTES_PER_MS;
        let received = std::cell::Cell::new(0);
        let comes = |bytes: u64| {
            received.set(received.get() + bytes);
            received.get()
        };
        let late = async { tokio::time::sleep(3 * WAIT + WAIT / 2).await };
        let done = run(while_it_comes(WAIT, || comes(least), late));
        assert_eq!(done, Ok(()));
        let began = std::time::Instant::now();
        let never = std::future::pending::<()>();
        assert_eq!(
            run(while_it_comes(WAIT, || comes(least - 1), never)),
            Err(TimedOut { we_slept: false })
        );
        assert!(began.elapsed() < 3 * WAIT, "it is slower than any line");
        let never = std::future::pending::<()>();
        assert!(
            run(while_it_comes(WAIT, || comes(least), never)).is_err(),
            "nor for ever"
        );
    }

    #[test]
    fn a_step_that_was_due_while_we_slept_has_its_time_again() {
        let done = run(async {
            let (answer, waits) = tokio::sync::oneshot::channel();
            tokio::spawn(async move {
                // The whole thread stands still, as in a process that is stopped.
                tokio::task::yield_now().await;
                std::thread::sleep(WAIT + bounds::LATE.as_duration() + WAIT);
                tokio::time::sleep(WAIT / 5).await;
                let _ = answer.send(7);
            });
            in_time(WAIT, waits).await
        });
        assert_eq!(done, Ok(Ok(7)));
    }
}
