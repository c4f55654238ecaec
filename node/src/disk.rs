//! This file knows how much room the data directory's disk has, and when it will be full.

use std::collections::VecDeque;
use std::path::Path;

use serde::{Deserialize, Serialize};
use ultramarine_types::Nanos;

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
    /// Hours until that is gone, at the pace of the last hour, whoever writes. `None`: not known yet, or it does not
    /// shrink.
    pub hours_left: Option<u64>,
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
            hours_left: self.hours_left(now, available_bytes),
        }
    }

    fn hours_left(&self, now: Nanos, available_bytes: u64) -> Option<u64> {
        let (since, before) = self.samples.front()?;
        let span = now.since(*since);
        if span < WINDOW_MIN {
            return None;
        }
        let taken = u128::from(before.checked_sub(available_bytes)?);
        let hours = (u128::from(available_bytes) * u128::from(span.0)).checked_div(taken * 3_600_000_000_000)?;
        u64::try_from(hours).ok()
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
    fn the_hours_follow_from_what_the_last_hour_took() {
        let mut trend = DiskTrend::default();
        let gigabyte = 1_000_000_000;
        let mut left = Vec::new();
        for minute in 0..=180u64 {
            // A gigabyte a minute for an hour, and a tenth of it from then on.
            let taken = minute.min(60) * gigabyte + minute.saturating_sub(60) * gigabyte / 10;
            left.push(trend.look(minutes(minute), 1_000 * gigabyte - taken).hours_left);
        }
        assert_eq!(left[9], None, "nine minutes are no pace");
        assert_eq!(left[10], Some(16), "990 GB at 60 GB an hour");
        assert_eq!(left[60], Some(15));
        assert_eq!(
            left[121],
            Some(155),
            "934 GB at 6 GB an hour: the fast hour is forgotten"
        );
    }

    #[test]
    fn a_disk_that_does_not_shrink_is_never_full() {
        let mut trend = DiskTrend::default();
        for (minute, available) in [(0, 10), (30, 10), (50, 11)] {
            assert_eq!(trend.look(minutes(minute), available).hours_left, None);
        }
        assert_eq!(trend.look(minutes(55), 0).hours_left, Some(0), "a full one is full");
    }

    #[test]
    fn this_disk_tells_its_room() {
        assert!(available_bytes(Path::new(".")).is_some());
        assert_eq!(available_bytes(Path::new("/nowhere/at/all")), None);
    }
}
