//! This file knows how a tile shows that it takes turns: it beats as it works, and says when it goes to sleep.
//!
//! A beat is one relaxed store by the tile's own thread. A tile that waits for work says so before it sleeps, so no
//! tile has to wake for this. A tile that is an executor of many tasks beats by a timer, once a second.
//! [`Watch`](crate::watch::Watch) looks at the pulses of all tiles.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use crossbeam::utils::CachePadded;

/// How often an executor beats, and how often to look.
pub const BEAT: Duration = Duration::from_secs(1);

/// The tile waits for work, has not begun, or has ended.
const RESTS: u64 = 1;
/// What one beat adds; the lowest bit is [`RESTS`].
const STEP: u64 = 2;

/// A tile's pulse. Clones are of the same tile, on the same thread.
#[derive(Clone, Debug)]
pub struct Pulse {
    /// Beats times [`STEP`], and [`RESTS`].
    state: Arc<CachePadded<AtomicU64>>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            state: Arc::new(CachePadded::new(AtomicU64::new(RESTS))),
        }
    }
}

impl Pulse {
    pub fn beat(&self) {
        let state = self.state.load(Ordering::Relaxed);
        self.state.store((state & !RESTS).wrapping_add(STEP), Ordering::Relaxed);
    }

    /// The tile goes to sleep until there is work, however long that takes.
    pub fn rest(&self) {
        let state = self.state.load(Ordering::Relaxed);
        self.state.store(state | RESTS, Ordering::Relaxed);
    }

    /// The pulse now; compared with a later one by [`Reading::is_hang_until`].
    pub(crate) fn read(&self) -> Reading {
        Reading(self.state.load(Ordering::Relaxed))
    }

    /// Runs a tile that is an executor on tokio, and beats beside it as long as its thread takes turns.
    pub async fn beside<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let output = std::future::poll_fn(|context| {
            if let Poll::Ready(output) = work.as_mut().poll(context) {
                return Poll::Ready(output);
            }
            while beats.poll_tick(context).is_ready() {
                self.beat();
            }
            Poll::Pending
        })
        .await;
        self.rest();
        output
    }
}

/// A pulse at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reading(u64);

impl Reading {
    /// Before the first look.
    pub const RESTING: Self = Self(RESTS);

    /// Whether the tile had work and took no turn from this reading to a later one.
    pub const fn is_hang_until(self, later: Self) -> bool {
        later.0 & RESTS == 0 && later.0 == self.0
    }

    #[cfg(test)]
    pub const fn beats(self) -> u64 {
        self.0 / STEP
    }
}
