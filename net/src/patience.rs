//! This file knows how long we wait for a peer, and when it is not the peer that was late.
//!
//! If our own process slept, what peers did meanwhile waits unread. A deadline that passed in that time proves nothing.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

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
