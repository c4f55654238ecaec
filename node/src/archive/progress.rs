//! This file knows what a node tells of its archive: how far it is, what waits, and what is wrong.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use ultramarine_runtime::progress::{Estimator, time_words};
use ultramarine_runtime::{Clock, Counter, Gauge, Registry};
use ultramarine_types::{Height, Nanos};

use super::schedule::ArchiveBacklog;

/// An archive that is out of reach for so long is a reason not to rely on the node.
const AWAY_SECONDS: u64 = 30;

/// What `/status` says of the archive.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct ArchiveStatus {
    /// Where it is, without keys.
    pub url: String,
    /// The archive has every height up to this one.
    pub through: Height,
    /// Decided heights that it has not got yet.
    pub waiting_heights: u64,
    /// Their payload and blob bytes.
    pub waiting_bytes: u64,
    /// What is wrong, and since when; `None`: nothing is.
    pub trouble: Option<ArchiveTrouble>,
    /// How long until nothing waits, at the pace of the newest half minute; `None`: unknown.
    #[serde(default)]
    pub seconds_left: Option<u64>,
    /// Hours until the disk is full, if nothing is archived and blocks stay as large as those that wait. `None`: not
    /// known.
    pub disk_hours: Option<u64>,
}

/// Why heights wait for the archive.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArchiveTrouble {
    /// In Unix seconds.
    pub since: u64,
    /// How long ago that is.
    pub seconds: u64,
    pub what: String,
}

impl ArchiveStatus {
    /// Why the node should not be relied on, as far as the archive goes.
    pub fn reason(&self) -> Option<String> {
        let trouble = self
            .trouble
            .as_ref()
            .filter(|trouble| trouble.seconds >= AWAY_SECONDS)?;
        let disk = self.disk_hours.map_or_else(String::new, |hours| {
            format!("; at this rate the disk is full in {hours} h, and then no new blobs are taken")
        });
        Some(format!(
            "the archive {} has taken nothing for {}: {}. {} heights with {:.1} MB wait for it, and nothing is freed \
             before it has them{disk}",
            self.url,
            time_words(trouble.seconds),
            trouble.what,
            self.waiting_heights,
            self.waiting_bytes as f64 / 1e6
        ))
    }
}

/// Shared by the uploader, which writes it, and whoever shows it.
#[derive(Clone, Debug)]
pub struct ArchiveProgress {
    status: Arc<Mutex<ArchiveStatus>>,
    estimator: Arc<Mutex<Estimator>>,
    metrics: Metrics,
}

#[derive(Clone, Debug)]
struct Metrics {
    through: Gauge,
    waiting_heights: Gauge,
    waiting_bytes: Gauge,
    troubled: Gauge,
    objects: Counter,
    bytes: Counter,
    failures: Counter,
    healed: Counter,
}

impl ArchiveProgress {
    pub fn new(url: String, registry: &Registry) -> Self {
        let gauge = |name, help| registry.gauge(name, help, &[]);
        let counter = |name, help| registry.counter(name, help, &[]);
        let metrics = Metrics {
            through: gauge(
                "ultramarine_archive_through_height",
                "The archive has every height up to this one, read back and verified.",
            ),
            waiting_heights: gauge(
                "ultramarine_archive_waiting_heights",
                "Decided heights that the archive has not got yet.",
            ),
            waiting_bytes: gauge(
                "ultramarine_archive_waiting_bytes",
                "Payload and blob bytes of the heights that wait for the archive.",
            ),
            troubled: gauge(
                "ultramarine_archive_troubled",
                "1 while the archive cannot be used or a height cannot be archived: an alarm.",
            ),
            objects: counter(
                "ultramarine_archive_objects_total",
                "Objects written, read back and verified.",
            ),
            bytes: counter("ultramarine_archive_bytes_total", "Bytes of those objects."),
            failures: counter(
                "ultramarine_archive_failures_total",
                "Attempts that the archive refused or that broke off.",
            ),
            healed: counter(
                "ultramarine_archive_healed_total",
                "Damaged heights that were fetched from the archive.",
            ),
        };
        let estimator = Arc::new(Mutex::new(Estimator::default()));
        let shown = Arc::clone(&estimator);
        registry.probe_gauge(
            "ultramarine_archive_left_seconds",
            "How long until no decided height waits for the archive; absent while that is unknown.",
            &[],
            move || seconds_left(&shown, Clock::start().now()).map(|seconds| seconds as f64),
        );
        let status = ArchiveStatus {
            url,
            ..ArchiveStatus::default()
        };
        Self {
            status: Arc::new(Mutex::new(status)),
            estimator,
            metrics,
        }
    }

    pub fn status(&self) -> ArchiveStatus {
        self.status_at(unix_seconds())
    }

    fn status_at(&self, now: u64) -> ArchiveStatus {
        let mut status = self.with(|status| status.clone());
        status.seconds_left = seconds_left(&self.estimator, Clock::start().now());
        if let Some(trouble) = &mut status.trouble {
            trouble.seconds = now.saturating_sub(trouble.since);
        }
        status
    }

    pub(super) fn waits(&self, through: Height, backlog: ArchiveBacklog, disk_hours: Option<u64>) {
        let mut estimator = self.estimator.lock().unwrap_or_else(PoisonError::into_inner);
        let decided = through.0.saturating_add(backlog.heights);
        estimator.observe(Clock::start().now(), through.0, Some(decided));
        drop(estimator);
        let shown = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.through.set(shown(through.0));
        self.metrics.waiting_heights.set(shown(backlog.heights));
        self.metrics.waiting_bytes.set(shown(backlog.bytes));
        self.with(|status| {
            status.through = through;
            status.waiting_heights = backlog.heights;
            status.waiting_bytes = backlog.bytes;
            status.disk_hours = disk_hours;
        });
    }

    /// An object is in the archive and was read back.
    pub(super) fn wrote(&self, bytes: u64) {
        self.metrics.objects.inc();
        self.metrics.bytes.add(bytes);
    }

    pub(super) fn healed(&self) {
        self.metrics.healed.inc();
    }

    /// Notes what is wrong. Returns whether that is news.
    pub(super) fn troubled(&self, what: &str) -> bool {
        self.metrics.failures.inc();
        self.metrics.troubled.set(1);
        let now = unix_seconds();
        self.with(|status| {
            let since = status.trouble.as_ref().map_or(now, |trouble| trouble.since);
            let is_news = status.trouble.as_ref().is_none_or(|trouble| trouble.what != what);
            status.trouble = Some(ArchiveTrouble {
                since,
                seconds: 0,
                what: what.to_owned(),
            });
            is_news
        })
    }

    /// Nothing is wrong any more. Returns whether something was.
    pub(super) fn untroubled(&self) -> bool {
        self.metrics.troubled.set(0);
        self.with(|status| status.trouble.take().is_some())
    }

    fn with<T>(&self, work: impl FnOnce(&mut ArchiveStatus) -> T) -> T {
        // Every writer leaves the status whole.
        work(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn seconds_left(estimator: &Mutex<Estimator>, now: Nanos) -> Option<u64> {
    let estimator = estimator.lock().unwrap_or_else(PoisonError::into_inner);
    estimator.estimate(now)?.seconds_left
}

fn unix_seconds() -> u64 {
    Clock::unix_ns() / 1_000_000_000
}

/// Hours until `free_bytes` are taken, if what waits came in `seconds`. `None`: too little came to tell.
pub(super) fn disk_hours(free_bytes: u64, backlog: ArchiveBacklog, seconds: u64) -> Option<u64> {
    if backlog.heights < 10 || seconds == 0 {
        return None;
    }
    let bytes_per_hour = u128::from(backlog.bytes) * 3_600 / u128::from(seconds);
    let hours = u128::from(free_bytes).checked_div(bytes_per_hour)?;
    u64::try_from(hours).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_is_away_becomes_a_reason_with_what_waits_and_ends_to_be_one() {
        let progress = ArchiveProgress::new("s3://b".to_owned(), &Registry::new());
        let backlog = ArchiveBacklog {
            heights: 40,
            bytes: 31_000_000,
        };
        progress.waits(Height(2), backlog, Some(5));
        assert_eq!(progress.status_at(u64::MAX).reason(), None, "it only waits");
        assert!(progress.troubled("cannot connect"));
        assert!(!progress.troubled("cannot connect"), "no news");
        let since = progress.status().trouble.expect("noted").since;
        assert_eq!(progress.status_at(since + 29).reason(), None);
        let reason = progress.status_at(since + 600).reason().expect("ten minutes");
        for part in ["s3://b", "10 min", "cannot connect", "40 heights", "31.0 MB", "5 h"] {
            assert!(reason.contains(part), "{part} is not in {reason}");
        }
        assert!(progress.untroubled());
        assert_eq!(progress.status_at(since + 600).reason(), None);
        assert!(!progress.untroubled());
    }

    #[test]
    fn the_disks_hours_follow_from_what_waits() {
        let backlog = |heights, bytes| ArchiveBacklog { heights, bytes };
        assert_eq!(disk_hours(36_000, backlog(10, 10), 1), Some(1));
        assert_eq!(disk_hours(36_000, backlog(9, 10), 1), None, "too few");
        assert_eq!(disk_hours(36_000, backlog(10, 0), 1), None, "nothing grows");
        assert_eq!(disk_hours(u64::MAX, backlog(10, u64::MAX), 10), Some(0));
    }
}
