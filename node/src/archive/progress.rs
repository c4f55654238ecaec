//! This file knows what a node tells of its archive: how far it is, what waits, and what is wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use ultramarine_runtime::progress::{Estimator, time_words};
use ultramarine_runtime::{Counter, Gauge, Moment, Registry};
use ultramarine_store::archive::SPAN_BYTES_MAX;
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
    /// How long until less than a span waits, at the pace of the newest half minute. 0: it keeps up. `None`: unknown.
    #[serde(default)]
    pub seconds_left: Option<u64>,
    /// Hours until the disk is full, if nothing is archived and blocks stay as large as those that wait. `None`: not
    /// known.
    pub disk_hours: Option<u64>,
}

/// Why heights wait for the archive.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArchiveTrouble {
    /// In Unix seconds by the wall clock as it is now.
    pub since: u64,
    /// How long ago that is.
    pub seconds: u64,
    #[serde(skip)]
    pub(crate) begun: Moment,
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
    pace: Arc<Mutex<Pace>>,
    metrics: Metrics,
}

/// What the uploader told, and how that went on.
#[derive(Debug)]
struct Pace {
    status: ArchiveStatus,
    estimator: Estimator,
    /// Heights of an object: so many may wait for each other.
    span_heights: u64,
}

impl Pace {
    fn seconds_left(&self, now: Nanos) -> Option<u64> {
        let estimate = self.estimator.estimate(now)?;
        if self.status.trouble.is_some() {
            return None;
        }
        // Heights of an unfinished span wait for others, and not for the archive.
        if self.status.waiting_heights < self.span_heights && self.status.waiting_bytes < SPAN_BYTES_MAX {
            return Some(0);
        }
        estimate.seconds_left
    }
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
        let pace = Arc::new(Mutex::new(Pace {
            status: ArchiveStatus {
                url,
                ..ArchiveStatus::default()
            },
            estimator: Estimator::default(),
            span_heights: 1,
        }));
        let shown = Arc::clone(&pace);
        registry.probe_gauge(
            "ultramarine_archive_left_seconds",
            "How long until less than a span of heights waits for the archive; 0 while it keeps up, absent while \
             unknown.",
            &[],
            move || {
                locked(&shown)
                    .seconds_left(Moment::now().at)
                    .map(|seconds| seconds as f64)
            },
        );
        Self { pace, metrics }
    }

    pub fn status(&self) -> ArchiveStatus {
        self.status_at(Moment::now())
    }

    fn status_at(&self, now: Moment) -> ArchiveStatus {
        let pace = locked(&self.pace);
        let mut status = ArchiveStatus {
            seconds_left: pace.seconds_left(now.at),
            ..pace.status.clone()
        };
        if let Some(trouble) = &mut status.trouble {
            trouble.since = trouble.begun.unix_s_as_of(now);
            trouble.seconds = trouble.begun.seconds_ago(now);
        }
        status
    }

    /// Objects have so many heights.
    pub(super) fn spans_have(&self, heights: u64) {
        locked(&self.pace).span_heights = heights;
    }

    pub(super) fn waits(&self, now: Nanos, through: Height, backlog: ArchiveBacklog, disk_hours: Option<u64>) {
        let shown = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.through.set(shown(through.0));
        self.metrics.waiting_heights.set(shown(backlog.heights));
        self.metrics.waiting_bytes.set(shown(backlog.bytes));
        let mut pace = locked(&self.pace);
        let decided = through.0.saturating_add(backlog.heights);
        pace.estimator.observe(now, through.0, Some(decided));
        pace.status.through = through;
        pace.status.waiting_heights = backlog.heights;
        pace.status.waiting_bytes = backlog.bytes;
        pace.status.disk_hours = disk_hours;
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
        self.troubled_at(what, Moment::now())
    }

    fn troubled_at(&self, what: &str, now: Moment) -> bool {
        self.metrics.failures.inc();
        self.metrics.troubled.set(1);
        let mut pace = locked(&self.pace);
        let status = &mut pace.status;
        let begun = status.trouble.as_ref().map_or(now, |trouble| trouble.begun);
        let is_news = status.trouble.as_ref().is_none_or(|trouble| trouble.what != what);
        status.trouble = Some(ArchiveTrouble {
            since: begun.unix_s,
            seconds: 0,
            begun,
            what: what.to_owned(),
        });
        is_news
    }

    /// Nothing is wrong any more. Returns whether something was.
    pub(super) fn untroubled(&self) -> bool {
        self.metrics.troubled.set(0);
        locked(&self.pace).status.trouble.take().is_some()
    }
}

fn locked(pace: &Mutex<Pace>) -> MutexGuard<'_, Pace> {
    // Every writer leaves it whole.
    pace.lock().unwrap_or_else(PoisonError::into_inner)
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
        // The wall clock is set forward by an hour, and later back by two.
        let moment = |seconds: u64, unix_s| Moment {
            at: Nanos::from_millis(1_000 * seconds),
            unix_s,
        };
        let later = moment(700, 2_100);
        progress.waits(moment(90, 9_000).at, Height(2), backlog, Some(5));
        assert_eq!(progress.status_at(later).reason(), None, "it only waits");
        assert!(progress.troubled_at("cannot connect", moment(100, 9_000)));
        assert!(!progress.troubled_at("cannot connect", moment(110, 12_610)), "no news");
        assert_eq!(progress.status_at(moment(129, 12_629)).reason(), None);
        let trouble = progress.status_at(later).trouble.expect("noted");
        assert_eq!((trouble.since, trouble.seconds), (1_500, 600));
        let reason = progress.status_at(later).reason().expect("ten minutes");
        for part in ["s3://b", "10 min", "cannot connect", "40 heights", "31.0 MB", "5 h"] {
            assert!(reason.contains(part), "{part} is not in {reason}");
        }
        assert!(progress.untroubled());
        assert_eq!(progress.status_at(later).reason(), None);
        assert!(!progress.untroubled());
    }

    #[test]
    fn an_archive_whose_span_is_not_full_keeps_up() {
        let progress = ArchiveProgress::new("s3://b".to_owned(), &Registry::new());
        let moment = |seconds: u64| Moment {
            at: Nanos::from_millis(1_000 * seconds),
            unix_s: 1_000 + seconds,
        };
        let left = |seconds| progress.status_at(moment(seconds)).seconds_left;
        assert_eq!(left(0), None, "nothing was told yet");
        progress.spans_have(64);
        // A span a minute, as the chain goes on.
        for second in 0..=150_u64 {
            let through = 64 * (second / 64);
            let heights = second - through;
            let backlog = ArchiveBacklog { heights, bytes: 0 };
            progress.waits(moment(second).at, Height(through), backlog, None);
            assert_eq!(left(second), Some(0), "{heights} heights wait for their span");
        }
        // A whole span waits and nothing moves: nobody knows. With trouble, nobody knows even for less.
        let backlog = |heights| ArchiveBacklog { heights, bytes: 0 };
        progress.waits(moment(200).at, Height(128), backlog(64), None);
        assert_eq!(left(200), None);
        progress.waits(moment(201).at, Height(192), backlog(8), None);
        assert_eq!(left(201), Some(0));
        progress.troubled_at("cannot connect", moment(202));
        assert_eq!(left(202), None);
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
