//! This file knows how to put a receiver to sleep and to wake it without losing a wake.
//!
//! A receiver that finds nothing says that it sleeps, looks once more, and only then sleeps. A sender first makes its
//! item visible and then asks whether anyone sleeps. Between the two steps of each side stands a `SeqCst` fence:
//!
//! ```text
//!   receiver                         sender
//!   asleep := true                   push item
//!   ---- fence ----                  ---- fence ----
//!   look for an item                 read asleep
//! ```
//!
//! Fences are totally ordered. If the receiver's comes first, the sender reads `asleep == true` and rings; if the
//! sender's comes first, the receiver's look finds the item. So one of them always acts, and a busy receiver costs its
//! senders one fence and one relaxed load, no system call.
//!
//! A blocking tile sleeps in `poll` on an eventfd. An async tile sleeps by leaving its `Waker` here. For tokio and for
//! glommio alike a wake from another thread *is* a write to that executor's own eventfd, made only if the executor
//! sleeps. In glommio 0.9 there is no public way to await a foreign descriptor that is not a file or socket: its
//! `poll_read_ready` is private. A second eventfd beside the executor's would cost one more ring operation per wake. So
//! the waker is both the only and the cheaper way.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use ultramarine_types::Nanos;

use crate::clock::Clock;

/// How long a tile on a core of its own spins before it sleeps: a few times the 5.5 µs that a wake by eventfd costs.
const SPIN: Nanos = Nanos(20_000);

/// Wakes one sleeping receiver, or one blocking tile that sleeps on several receivers at once.
pub struct Bell {
    asleep: AtomicBool,
    /// Set while the sleeper is a task; otherwise the sleeper is a thread that polls `eventfd`.
    waker: Mutex<Option<Waker>>,
    eventfd: OwnedFd,
}

impl Bell {
    /// A silent bell. Fails when the process has no descriptor left (`nofile`).
    pub fn new() -> io::Result<Self> {
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            asleep: AtomicBool::new(false),
            waker: Mutex::new(None),
            eventfd,
        })
    }

    /// Wakes the sleeper if there is one. Call it after the news is visible.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.strike();
        }
    }

    /// Looks for news without sleeping, for [`SPIN`] or until `limit` passes: whether there is any. Only for a tile
    /// that has its core to itself.
    pub fn spin(&self, limit: Duration, clock: &Clock, news: impl Fn() -> bool) -> bool {
        let until = clock.now() + SPIN.min(limit.into());
        loop {
            if news() {
                return true;
            }
            if clock.now() >= until {
                return false;
            }
            std::hint::spin_loop();
        }
    }

    /// Blocks this thread until rung or `timeout` passes, unless `news` says that there is something already.
    pub fn sleep(&self, timeout: Duration, news: impl Fn() -> bool) {
        drop(self.waker().take());
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !news() {
            let timeout = Timespec {
                tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: timeout.subsec_nanos().into(),
            };
            // Interruption by a signal, a timeout and news all mean: look again. An eventfd has no other errors.
            let _ = rustix::event::poll(&mut [PollFd::new(&self.eventfd, PollFlags::IN)], Some(&timeout));
        }
        if !self.asleep.swap(false, Ordering::AcqRel) {
            // The bell was struck. The count it leaves, now or after this read, costs at most one sleep that ends at
            // once.
            let _ = rustix::io::read(&self.eventfd, &mut [0; 8]);
        }
    }

    /// Leaves the task's waker to be rung, unless `news` says that there is something already.
    pub fn poll_sleep(&self, context: &Context<'_>, news: impl Fn() -> bool) -> Poll<()> {
        {
            let mut waker = self.waker();
            match waker.as_mut() {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
        }
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if news() {
            self.asleep.store(false, Ordering::Relaxed);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Lets go of a task's waker, on the task's own thread.
    pub fn forget(&self) {
        self.asleep.store(false, Ordering::Relaxed);
        let waker = self.waker().take();
        drop(waker);
    }

    fn strike(&self) {
        let waker = self.waker().take();
        match waker {
            Some(waker) => waker.wake(),
            // The count can only be refused when it would pass 2^64 - 2, and then the sleeper is awake anyway.
            None => drop(rustix::io::write(&self.eventfd, &1u64.to_ne_bytes())),
        }
    }

    /// The waker's cell; a panic while holding it leaves it whole.
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_spin_ends_with_the_news_or_with_its_time() {
        let (bell, clock) = (Bell::new().expect("a descriptor"), Clock::start());
        let looks = Cell::new(0);
        let third = || {
            looks.set(looks.get() + 1);
            looks.get() == 3
        };
        assert!(bell.spin(Duration::MAX, &clock, third));
        assert_eq!(looks.get(), 3);
        let from = clock.now();
        assert!(!bell.spin(Duration::MAX, &clock, || false));
        assert!(clock.now().since(from) >= SPIN);
        assert!(!bell.spin(Duration::ZERO, &clock, || false), "no time is left to spin");
    }
}
