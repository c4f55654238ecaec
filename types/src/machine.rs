//! This file knows the contract of a `Machine`: a pure decider that takes the time and an input, and answers with
//! intentions.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Nanoseconds on the monotonic clock, since an origin the driver chose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    pub const ZERO: Self = Self(0);
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// A span of `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// As a standard duration.
    pub const fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl std::ops::Add for Nanos {
    type Output = Self;
    fn add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl From<Duration> for Nanos {
    fn from(span: Duration) -> Self {
        Self(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Decides and never acts: it takes the time and an input, and pushes intentions.
///
/// A tile drives it with the real clock and real I/O; the simulator with its own.
pub trait Machine {
    /// What it takes, one at a time.
    type Input;
    /// What it wants done.
    type Output;

    /// Takes one input at time `now`; `now` never moves back between calls.
    fn handle(&mut self, now: Nanos, input: Self::Input, out: &mut Outbox<Self::Output>);

    /// When [`wake`](Self::wake) is next due; `None` if only an input can change anything.
    fn deadline(&self) -> Option<Nanos>;

    /// Does what is due by `now`. Waking early changes nothing.
    fn wake(&mut self, now: Nanos, out: &mut Outbox<Self::Output>);
}

/// The intentions of one machine, in order, until its driver carries them out.
pub struct Outbox<T> {
    items: VecDeque<T>,
}

impl<T> Outbox<T> {
    pub const fn new() -> Self {
        Self { items: VecDeque::new() }
    }

    /// Adds an intention behind the others.
    pub fn push(&mut self, item: T) {
        self.items.push_back(item);
    }

    /// Takes the oldest intention.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    /// Intentions not carried out yet.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether all was carried out.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Takes all intentions, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.items.drain(..)
    }
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Outbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({})", self.items.len())
    }
}
