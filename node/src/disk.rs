//! This file knows how much room the data directory's disk has, and when it will be full.
//!
//! It is computed here alone. The board, `/status`, `/health`, `/metrics` and the live views tell what is said here;
//! rules and alerts read it as `ultramarine_disk_left_seconds`.

use std::collections::VecDeque;
use std::path::Path;

use serde::{Deserialize, Serialize};
use ultramarine_runtime::Registry;
use ultramarine_types::Nanos;

/// A disk that is full sooner than this needs somebody to act: a week, so that a weekend is no trap.
pub const LEFT_SECONDS_MIN: u64 = 7 * 24 * 3_600;

/// Time between two samples that are kept.
const SAMPLE_INTERVAL: Nanos = Nanos::from_millis(30_000);
/// The pace is taken over this long.
const WINDOW: Nanos = Nanos::from_millis(3_600_000);
/// In less time, one new file would look like a pace.
const WINDOW_MIN: Nanos = Nanos::from_millis(600_000);
/// Samples of a window, with its two ends.
const SAMPLES_MAX: usize = (WINDOW.0 / SAMPLE_INTERVAL.0) as usize + 2;

/// The disk of the data directory at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskOutlook {
    /// What the node may still take.
    pub available_bytes: u64,
    /// Seconds until that is gone, at the pace of the last hour, whoever writes. `None`: not known yet, or it does not
    /// shrink.
    pub seconds_left: Option<u64>,
}

/// Shows what `look` knows of the disk at each scrape.
pub fn show(registry: &Registry, look: impl Fn() -> Option<DiskOutlook> + Clone + Send + 'static) {
    let room = look.clone();
    #[allow(clippy::cast_precision_loss)] // The text format has only doubles.
    registry.probe_gauge(
        "ultramarine_disk_available_bytes",
        "What may still be written on the disk of the data directory.",
        &[],
        move || room().map(|disk| disk.available_bytes as f64),
    );
    #[allow(clippy::cast_precision_loss)] // As above.
    registry.probe_gauge(
        "ultramarine_disk_left_seconds",
        "How long until the disk of the data directory is full, at the pace of the last hour; absent while it does not \
         shrink, and for the first ten minutes.",
        &[],
        move || Some(look()?.seconds_left? as f64),
    );
}

/// Room on the disk, over the last hour.
#[derive(Debug, Default)]
pub struct DiskTrend {
    samples: VecDeque<(Nanos, u64)>,
}

impl DiskTrend {
    /// Takes a look; what was there an hour ago tells the pace.
    pub fn look(&mut self, now: Nanos, available_bytes: u64) -> DiskOutlook {
        let is_due = |(at, _): &(Nanos, u64)| now.since(*at) >= SAMPLE_INTERVAL;
        if self.samples.back().is_none_or(is_due) {
            self.samples.push_back((now, available_bytes));
        }
        while self.samples.front().is_some_and(|(at, _)| now.since(*at) > WINDOW) {
            self.samples.pop_front();
        }
        assert!(self.samples.len() <= SAMPLES_MAX, "samples are of one window");
        DiskOutlook {
            available_bytes,
            seconds_left: self.seconds_left(now, available_bytes),
        }
    }

    fn seconds_left(&self, now: Nanos, available_bytes: u64) -> Option<u64> {
        let (since, before) = self.samples.front()?;
        let span = now.since(*since);
        if span < WINDOW_MIN {
            return None;
        }
        let taken = u128::from(before.checked_sub(available_bytes)?);
        let seconds = (u128::from(available_bytes) * u128::from(span.0)).checked_div(taken * 1_000_000_000)?;
        u64::try_from(seconds).ok()
    }
}

/// What may still be written on the disk of a folder; `None` if its file system does not say.
pub fn available_bytes(folder: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(folder).ok()?;
    if status.f_blocks == 0 {
        return None;
    }
    status.f_bavail.checked_mul(status.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Nanos {
        Nanos::from_millis(minutes * 60_000)
    }

    #[test]
    fn the_time_left_follows_from_what_the_last_hour_took() {
        let mut trend = DiskTrend::default();
        let gigabyte = 1_000_000_000;
        let mut left = Vec::new();
        for minute in 0..=180u64 {
            // A gigabyte a minute for an hour, and a tenth of it from then on.
            let taken = minute.min(60) * gigabyte + minute.saturating_sub(60) * gigabyte / 10;
            left.push(trend.look(minutes(minute), 1_000 * gigabyte - taken).seconds_left);
        }
        assert_eq!(left[9], None, "nine minutes are no pace");
        assert_eq!(left[10], Some(990 * 60), "990 GB at a gigabyte a minute");
        assert_eq!(left[60], Some(940 * 60));
        assert_eq!(
            left[121],
            Some(9_339 * 60),
            "933.9 GB at a tenth of that: the fast hour is forgotten"
        );
    }

    #[test]
    fn a_disk_that_does_not_shrink_is_never_full() {
        let mut trend = DiskTrend::default();
        for (minute, available) in [(0, 10), (30, 10), (50, 11)] {
            assert_eq!(trend.look(minutes(minute), available).seconds_left, None);
        }
        assert_eq!(trend.look(minutes(55), 0).seconds_left, Some(0), "a full one is full");
    }

    #[test]
    fn this_disk_tells_its_room() {
        assert!(available_bytes(Path::new(".")).is_some());
        assert_eq!(available_bytes(Path::new("/nowhere/at/all")), None);
    }
}
