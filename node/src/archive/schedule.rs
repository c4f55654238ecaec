//! This file knows when the next span goes to the archive, and when a failed one is tried again.

use ultramarine_store::archive::SPAN_BYTES_MAX;
use ultramarine_types::Nanos;

/// A height waits at most this long for others to share its object.
const AGE_MAX: Nanos = Nanos::from_millis(60_000);
/// First and longest wait after a failure.
const BACKOFF_MIN: Nanos = Nanos::from_millis(1_000);
const BACKOFF_MAX: Nanos = Nanos::from_millis(60_000);

/// Heights that are decided and not in the archive yet.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ArchiveBacklog {
    pub heights: u64,
    /// Payload and blob bytes of them.
    pub bytes: u64,
}

/// Decides when to upload. It is told the time.
#[derive(Debug)]
pub struct Schedule {
    span_heights: u64,
    /// When the oldest height that waits was first seen.
    waits_since: Option<Nanos>,
    failures_count: u32,
    not_before: Nanos,
}

impl Schedule {
    /// `span_heights`: so many make a span. With a retention, a quarter of it does if that is less: the archive is to
    /// hold back nothing.
    pub fn new(span_heights: u32, retention: Option<u64>) -> Self {
        let quarter = retention.map_or(u64::MAX, |heights| (heights / 4).max(1));
        Self {
            span_heights: u64::from(span_heights).min(quarter),
            waits_since: None,
            failures_count: 0,
            not_before: Nanos::default(),
        }
    }

    /// Heights of the next object at most.
    pub fn span_heights(&self) -> u64 {
        self.span_heights
    }

    /// Whether a span is to be uploaded now.
    pub fn is_due(&mut self, now: Nanos, backlog: ArchiveBacklog) -> bool {
        if backlog.heights == 0 {
            self.waits_since = None;
            return false;
        }
        let since = *self.waits_since.get_or_insert(now);
        let is_enough = backlog.heights >= self.span_heights || backlog.bytes >= SPAN_BYTES_MAX;
        now >= self.not_before && (is_enough || now.since(since) >= AGE_MAX)
    }

    /// A span is in the archive.
    pub fn succeeded(&mut self) {
        self.failures_count = 0;
        self.waits_since = None;
        self.not_before = Nanos::default();
    }

    /// The archive could not be used. Returns how long it is left alone.
    pub fn failed(&mut self, now: Nanos) -> Nanos {
        let doubled = BACKOFF_MIN.0.saturating_mul(1 << self.failures_count.min(16));
        let wait = Nanos(doubled.min(BACKOFF_MAX.0));
        self.failures_count = self.failures_count.saturating_add(1);
        self.not_before = now + wait;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn backlog(heights: u64, bytes: u64) -> ArchiveBacklog {
        ArchiveBacklog { heights, bytes }
    }

    #[test]
    fn a_span_is_closed_by_heights_by_size_or_by_age() {
        let mut schedule = Schedule::new(64, None);
        let at = |seconds: u64| Nanos(seconds * SECOND);
        assert!(!schedule.is_due(at(1), backlog(0, 0)));
        assert!(!schedule.is_due(at(2), backlog(63, 1 << 20)));
        assert!(schedule.is_due(at(3), backlog(64, 1 << 20)));
        assert!(schedule.is_due(at(3), backlog(1, 64 << 20)));
        assert!(!schedule.is_due(at(61), backlog(1, 1)));
        assert!(schedule.is_due(at(62), backlog(1, 1)), "a minute after it was seen");
        schedule.succeeded();
        assert!(
            !schedule.is_due(at(63), backlog(1, 1)),
            "another height's minute begins"
        );
    }

    #[test]
    fn the_archive_is_ahead_of_a_short_retention() {
        for (retention, expected) in [
            (None, 64),
            (Some(1_000), 64),
            (Some(50), 12),
            (Some(3), 1),
            (Some(1), 1),
        ] {
            assert_eq!(Schedule::new(64, retention).span_heights(), expected, "{retention:?}");
        }
    }

    #[test]
    fn waits_after_failures_grow_to_a_minute_and_end_with_a_success() {
        let mut schedule = Schedule::new(1, None);
        let waits: Vec<u64> = (0..9).map(|_| schedule.failed(Nanos(0)).0 / SECOND).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert!(!schedule.is_due(Nanos(59 * SECOND), backlog(9, 1)));
        assert!(schedule.is_due(Nanos(60 * SECOND), backlog(9, 1)));
        schedule.succeeded();
        assert_eq!(schedule.failed(Nanos(0)), Nanos(SECOND));
    }
}
