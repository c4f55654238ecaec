//! This file knows how to hand items from many tiles to one over a bounded queue.
//!
//! A full link either refuses (`try_send`) or makes its sender wait (`send`, `send_async`): the caller's choice, and
//! written where the link is used. Order is kept per sender. The receiver is woken by a [`Bell`].

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::Backoff;
use ultramarine_types::Nanos;

use crate::bell::Bell;
use crate::clock::Clock;

#[cfg(test)]
mod tests;

/// Longest sleep of [`Receiver::recv_until`] in one call: its caller looks at its halt at least this often.
pub const PARK_MAX: Nanos = Nanos::from_millis(250);

/// Items a task may take in a row before it lets the other tasks of its executor run.
const RUN_MAX: u32 = 128;

/// Makes a link that holds at most `depth` items. Fails when no descriptor is left for its eventfd.
///
/// # Panics
///
/// If `depth` is 0: the topology is checked before any link is made.
pub fn link<T: Send>(name: &'static str, depth: usize) -> io::Result<(Sender<T>, Receiver<T>)> {
    Ok(link_on(&Arc::new(Bell::new()?), name, depth))
}

/// Makes a link whose receiver sleeps on a given bell, so that one blocking tile can sleep on several links.
///
/// # Panics
///
/// If `depth` is 0.
pub fn link_on<T: Send>(bell: &Arc<Bell>, name: &'static str, depth: usize) -> (Sender<T>, Receiver<T>) {
    assert!(depth > 0, "link {name} has room for at least one item");
    let shared = Arc::new(Shared {
        name,
        queue: ArrayQueue::new(depth),
        bell: Arc::clone(bell),
        senders: AtomicUsize::new(1),
        receiver_gone: AtomicBool::new(false),
        refused: AtomicU64::new(0),
        waiting: AtomicBool::new(false),
        waiting_wakers: Mutex::new(Vec::new()),
    });
    (
        Sender {
            shared: Arc::clone(&shared),
        },
        Receiver { shared, run: 0 },
    )
}

/// The receiver is gone: nothing sent will ever be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the receiving end of the link is gone")]
pub struct Closed;

struct Shared<T> {
    name: &'static str,
    queue: ArrayQueue<T>,
    bell: Arc<Bell>,
    senders: AtomicUsize,
    receiver_gone: AtomicBool,
    /// Items that found the link full, each counted once.
    refused: AtomicU64,
    /// Whether `waiting_wakers` may hold one: the receiver's cheap look after every take.
    waiting: AtomicBool,
    waiting_wakers: Mutex<Vec<Waker>>,
}

impl<T> Shared<T> {
    fn push(&self, item: T) -> Result<(), T> {
        if self.receiver_gone.load(Ordering::Acquire) {
            return Err(item);
        }
        self.queue.push(item)?;
        self.bell.ring();
        Ok(())
    }

    fn pop(&self) -> Option<T> {
        let item = self.queue.pop()?;
        // The mirror image of the bell: room is made, then the question whether a sender waits for it.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) {
            self.wake_senders();
        }
        Some(item)
    }

    fn wake_senders(&self) {
        let wakers = {
            let mut wakers = self.waiting_wakers();
            self.waiting.store(false, Ordering::Relaxed);
            std::mem::take(&mut *wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Leaves a sender's waker. The caller looks for room once more afterwards.
    fn wait_for_room(&self, context: &Context<'_>) {
        {
            let mut wakers = self.waiting_wakers();
            if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                wakers.push(context.waker().clone());
            }
            self.waiting.store(true, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
    }

    fn is_closed(&self) -> bool {
        self.senders.load(Ordering::Acquire) == 0
    }

    /// The list; a panic while holding it leaves it whole.
    fn waiting_wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting_wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The giving end. Clone it for every tile that gives.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Gives an item, or returns it when the link is full or its receiver is gone.
    pub fn try_send(&self, item: T) -> Result<(), T> {
        self.shared.push(item).inspect_err(|_| self.count_refusal())
    }

    /// Gives an item, blocking this thread while the link is full: a short spin, then sleeps of 50 µs to 1 ms.
    ///
    /// Only for tiles that may block; the receiver must not wait for this tile in turn.
    pub fn send(&self, item: T) -> Result<(), Closed> {
        let Err(mut item) = self.shared.push(item) else {
            return Ok(());
        };
        self.count_refusal();
        let backoff = Backoff::new();
        let mut pause = Duration::from_micros(50);
        loop {
            if self.is_closed() {
                return Err(Closed);
            }
            if backoff.is_completed() {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(1));
            } else {
                backoff.snooze();
            }
            match self.shared.push(item) {
                Ok(()) => return Ok(()),
                Err(refused) => item = refused,
            }
        }
    }

    /// Gives an item, letting the executor run other tasks while the link is full. Works on any executor.
    ///
    /// Dropping it before it is done drops the item.
    pub async fn send_async(&self, item: T) -> Result<(), Closed> {
        let Err(item) = self.shared.push(item) else {
            return Ok(());
        };
        self.count_refusal();
        let mut held = Some(item);
        std::future::poll_fn(|context| {
            for look in 0..2 {
                if self.is_closed() {
                    return Poll::Ready(Err(Closed));
                }
                let item = held.take().expect("polled again only while it still holds the item");
                match self.shared.push(item) {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(refused) => held = Some(refused),
                }
                if look == 0 {
                    self.shared.wait_for_room(context);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.receiver_gone.load(Ordering::Acquire)
    }

    /// Most items the link holds.
    pub fn depth(&self) -> usize {
        self.shared.queue.capacity()
    }

    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }

    pub fn name(&self) -> &'static str {
        self.shared.name
    }

    fn count_refusal(&self) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.bell.ring();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({} {}/{})", self.name(), self.len(), self.depth())
    }
}

/// The taking end: one tile's.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    run: u32,
}

impl<T> Receiver<T> {
    /// Takes the oldest item, if any.
    pub fn try_recv(&mut self) -> Option<T> {
        self.shared.pop()
    }

    /// Takes the oldest item, sleeping until one comes.
    ///
    /// `None` when `deadline` passed, when all senders are gone and nothing is left, or after [`PARK_MAX`]: the caller
    /// looks at its machine's deadline and its halt, and calls again.
    pub fn recv_until(&mut self, deadline: Option<Nanos>, clock: &Clock) -> Option<T> {
        if let Some(item) = self.shared.pop() {
            return Some(item);
        }
        let entered = clock.now();
        let until = deadline.unwrap_or(Nanos::NEVER).min(entered + PARK_MAX);
        loop {
            let left = until.since(clock.now());
            if left == Nanos::ZERO {
                return self.shared.pop();
            }
            self.shared.bell.sleep(left.as_duration(), || {
                !self.shared.queue.is_empty() || self.shared.is_closed()
            });
            // Asked before the queue is looked at: what the last sender sent before it left is still taken.
            let closed = self.shared.is_closed();
            if let Some(item) = self.shared.pop() {
                return Some(item);
            }
            if closed {
                return None;
            }
        }
    }

    /// Takes the oldest item, letting the executor run other tasks until one comes; `None` when all senders are gone
    /// and nothing is left. Dropping it loses nothing. Works under tokio, tokio-uring and glommio.
    pub async fn recv(&mut self) -> Option<T> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// The same as [`recv`](Self::recv), named for the reader of a glommio tile: the wake goes through glommio's own
    /// eventfd.
    pub async fn recv_glommio(&mut self) -> Option<T> {
        self.recv().await
    }

    /// One step of [`recv`](Self::recv), for hand-written futures.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        if self.run >= RUN_MAX {
            // A link that is never empty must not keep the executor from its sockets and timers.
            self.run = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let closed = self.shared.is_closed();
            if let Some(item) = self.shared.pop() {
                self.run += 1;
                return Poll::Ready(Some(item));
            }
            if closed {
                return Poll::Ready(None);
            }
            let news = || !self.shared.queue.is_empty() || self.shared.is_closed();
            if self.shared.bell.poll_sleep(context, news).is_pending() {
                self.run = 0;
                return Poll::Pending;
            }
        }
    }

    /// Whether all senders are gone. Items may still wait.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Most items the link holds.
    pub fn depth(&self) -> usize {
        self.shared.queue.capacity()
    }

    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }

    pub fn name(&self) -> &'static str {
        self.shared.name
    }
}

impl<T: Send + 'static> Receiver<T> {
    /// What [`Registry::watch_link`](crate::metrics::Registry::watch_link) keeps to show the link live.
    pub fn gauge(&self) -> LinkGauge {
        let shared: Weak<dyn Watched> = Arc::downgrade(&self.shared) as Weak<dyn Watched>;
        LinkGauge { shared }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receiver_gone.store(true, Ordering::Release);
        // Here and not on a sender's thread: a task's waker is best let go where the task runs.
        self.shared.bell.forget();
        // Items nobody will take are let go now; with them what they hold (leases, reply links).
        while self.shared.queue.pop().is_some() {}
        fence(Ordering::SeqCst);
        self.shared.wake_senders();
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({} {}/{})", self.name(), self.len(), self.depth())
    }
}

trait Watched: Send + Sync {
    fn read(&self) -> LinkReading;
}

impl<T: Send> Watched for Shared<T> {
    fn read(&self) -> LinkReading {
        LinkReading {
            name: self.name,
            len: self.queue.len(),
            depth: self.queue.capacity(),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// A view of a link that does not keep it alive.
#[derive(Clone)]
pub struct LinkGauge {
    shared: Weak<dyn Watched>,
}

impl LinkGauge {
    /// The link now; `None` once both its ends are gone.
    pub fn read(&self) -> Option<LinkReading> {
        self.shared.upgrade().map(|shared| shared.read())
    }
}

impl fmt::Debug for LinkGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkGauge({:?})", self.read())
    }
}

/// A link at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkReading {
    pub name: &'static str,
    pub len: usize,
    /// Most items it holds.
    pub depth: usize,
    /// Items that found it full so far.
    pub refused: u64,
}
