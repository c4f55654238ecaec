//! This file knows every number the node shows: how a tile counts it, and how it is merged when it is read.
//!
//! Names are `ultramarine_<subsystem>_<what>_<unit>`. Registering a name with the same labels again gives a handle to
//! the same series. A tile keeps its handles; nothing is looked up while it works.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crossbeam::utils::CachePadded;
use hdrhistogram::Histogram as Hdr;
use ultramarine_types::Nanos;

use crate::link::{LinkGauge, LinkReading, Receiver};
use crate::pulse::Pulse;
use crate::stage_log::StageLog;

mod exposition;
#[cfg(test)]
mod tests;

/// A number that only grows. Clones count into the same series.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    // A cache line of its own: two tiles' counters never share one.
    value: Arc<CachePadded<AtomicU64>>,
}

impl Counter {
    pub fn add(&self, count: u64) {
        self.value.fetch_add(count, Ordering::Relaxed);
    }

    pub fn inc(&self) {
        self.add(1);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down. Clones set the same series.
#[derive(Clone, Debug, Default)]
pub struct Gauge {
    value: Arc<CachePadded<AtomicI64>>,
}

impl Gauge {
    pub fn set(&self, value: i64) {
        self.value.store(value, Ordering::Relaxed);
    }

    /// Adds `change`, which may be negative.
    pub fn add(&self, change: i64) {
        self.value.fetch_add(change, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// A distribution of durations, in nanoseconds, 1 µs to 60 s with three significant digits.
///
/// Each registration is a shard with one writer; shards of a series are merged at scrape. The lock is the writer's
/// own: it is contended only while a scrape copies the shard.
#[derive(Clone)]
pub struct Histogram {
    shard: Arc<Mutex<Hdr<u64>>>,
}

/// Shortest duration told apart from zero.
const SHORTEST_NS: u64 = 1_000;
const NS_PER_S: f64 = 1e9;
/// Longest duration; anything above is recorded as this.
const LONGEST_NS: u64 = 60_000_000_000;

fn empty_histogram() -> Hdr<u64> {
    Hdr::new_with_bounds(SHORTEST_NS, LONGEST_NS, 3).expect("the bounds are legal constants")
}

impl Histogram {
    pub fn record(&self, duration: Nanos) {
        locked(&self.shard).saturating_record(duration.0);
    }

    /// Durations recorded by this shard.
    pub fn len(&self) -> u64 {
        locked(&self.shard).len()
    }

    /// Whether this shard recorded nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histogram({} recorded)", self.len())
    }
}

/// A series' labels as registered.
pub type Labels = Vec<(String, String)>;
/// A value read at scrape; `None` leaves the series out.
type Probe = Box<dyn Fn() -> Option<f64> + Send>;

/// All series of a node.
#[derive(Default)]
pub struct Registry {
    inner: Mutex<Inner>,
    stage_log: Arc<StageLog>,
}

#[derive(Default)]
struct Inner {
    families: BTreeMap<&'static str, Family>,
    links: Vec<LinkGauge>,
    pulses: Vec<(&'static str, Pulse)>,
}

struct Family {
    help: &'static str,
    kind: Kind,
    series: BTreeMap<Labels, Series>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// The word in the text format.
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What is known of a name, whatever its series count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricFamily {
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub help: &'static str,
    /// Names of the labels of its series.
    pub labels: Vec<String>,
}

enum Series {
    Counter(Counter),
    /// Nanoseconds, shown as seconds.
    Seconds(Counter),
    Gauge(Gauge),
    Histogram(Shards),
    Probe(Probe),
}

/// A histogram's shards: those with a writer, and the sum of those whose writer is gone.
struct Shards {
    /// Upper bounds of the buckets that the text shows.
    bounds_ns: &'static [u64],
    past: Hdr<u64>,
    live: Vec<Histogram>,
}

impl Shards {
    fn merged(&self) -> Hdr<u64> {
        let mut sum = self.past.clone();
        for shard in &self.live {
            sum.add(&*locked(&shard.shard))
                .expect("all shards have the same bounds");
        }
        sum
    }

    fn add_shard(&mut self) -> Histogram {
        let past = &mut self.past;
        self.live.retain(|shard| {
            let in_use = Arc::strong_count(&shard.shard) > 1;
            if !in_use {
                past.add(&*locked(&shard.shard))
                    .expect("all shards have the same bounds");
            }
            in_use
        });
        let shard = Histogram {
            shard: Arc::new(Mutex::new(empty_histogram())),
        };
        self.live.push(shard.clone());
        shard
    }
}

impl Registry {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The registry of this process, for tiles started without one of their own.
    pub fn process() -> Arc<Self> {
        static PROCESS: OnceLock<Arc<Registry>> = OnceLock::new();
        Arc::clone(PROCESS.get_or_init(Self::new))
    }

    /// A counter; its name ends in `_total`.
    ///
    /// # Panics
    ///
    /// If the name is registered as another kind (as for all registrations: one name is one thing).
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.with_series(
            name,
            help,
            Kind::Counter,
            labels,
            || Series::Counter(Counter::default()),
            |series| match series {
                Series::Counter(counter) => counter.clone(),
                Series::Seconds(_) | Series::Gauge(_) | Series::Histogram(_) | Series::Probe(_) => {
                    panic!("{name} is another kind of number already")
                }
            },
        )
    }

    /// A counter of nanoseconds, shown as seconds; its name ends in `_seconds_total`.
    pub fn seconds_counter(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.with_series(
            name,
            help,
            Kind::Counter,
            labels,
            || Series::Seconds(Counter::default()),
            |series| match series {
                Series::Seconds(counter) => counter.clone(),
                Series::Counter(_) | Series::Gauge(_) | Series::Histogram(_) | Series::Probe(_) => {
                    panic!("{name} is another kind of number already")
                }
            },
        )
    }

    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        self.with_series(
            name,
            help,
            Kind::Gauge,
            labels,
            || Series::Gauge(Gauge::default()),
            |series| match series {
                Series::Gauge(gauge) => gauge.clone(),
                Series::Counter(_) | Series::Seconds(_) | Series::Histogram(_) | Series::Probe(_) => {
                    panic!("{name} is another kind of number already")
                }
            },
        )
    }

    /// A latency that people look at; its name ends in `_seconds`. The text has buckets at most 10 % apart from 100 µs
    /// to 10 s. One handle per tile: see [`Histogram`].
    pub fn histogram(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
        self.histogram_of(name, help, labels, &exposition::FINE_NS)
    }

    /// A histogram of which a glance is enough: the text has few buckets, 1-2-5 a decade. Else as
    /// [`Registry::histogram`].
    pub fn coarse_histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Histogram {
        self.histogram_of(name, help, labels, &exposition::COARSE_NS)
    }

    fn histogram_of(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        bounds_ns: &'static [u64],
    ) -> Histogram {
        let fresh = || {
            Series::Histogram(Shards {
                bounds_ns,
                past: empty_histogram(),
                live: Vec::new(),
            })
        };
        self.with_series(name, help, Kind::Histogram, labels, fresh, |series| match series {
            Series::Histogram(shards) => shards.add_shard(),
            Series::Counter(_) | Series::Seconds(_) | Series::Gauge(_) | Series::Probe(_) => {
                unreachable!("the kind was compared")
            }
        })
    }

    /// A gauge that is read at scrape. Registering it again replaces the reader.
    pub fn probe_gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        read: impl Fn() -> Option<f64> + Send + 'static,
    ) {
        let probe = || Series::Probe(Box::new(|| None));
        self.with_series(name, help, Kind::Gauge, labels, probe, |series| {
            *series = Series::Probe(Box::new(read))
        });
    }

    /// A counter that is read at scrape. Registering it again replaces the reader.
    pub fn probe_counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        read: impl Fn() -> Option<u64> + Send + 'static,
    ) {
        let probe = || Series::Probe(Box::new(|| None));
        #[allow(clippy::cast_precision_loss)] // The text format has only doubles; exact below 2^53.
        let read = move || read().map(|count| count as f64);
        self.with_series(name, help, Kind::Counter, labels, probe, |series| {
            *series = Series::Probe(Box::new(read))
        });
    }

    /// A counter of nanoseconds that is read at scrape, and shown as seconds. Registering it again replaces the reader.
    pub fn probe_seconds_counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        read: impl Fn() -> Option<Nanos> + Send + 'static,
    ) {
        let probe = || Series::Probe(Box::new(|| None));
        #[allow(clippy::cast_precision_loss)] // The text format has only doubles; exact below 2^53.
        let read = move || read().map(|time| time.0 as f64 / NS_PER_S);
        self.with_series(name, help, Kind::Counter, labels, probe, |series| {
            *series = Series::Probe(Box::new(read))
        });
    }

    /// Shows a link's items, capacity and refusals for as long as it lives.
    pub fn watch_link<T: Send + 'static>(&self, receiver: &Receiver<T>) {
        self.inner().links.push(receiver.gauge());
    }

    /// The pulse of a tile that starts.
    pub fn pulse(&self, tile: &'static str) -> Pulse {
        let pulse = Pulse::default();
        self.inner().pulses.push((tile, pulse.clone()));
        pulse
    }

    /// The pulses of all tiles, in the order of their start.
    pub fn pulses(&self) -> Vec<(&'static str, Pulse)> {
        self.inner().pulses.clone()
    }

    /// When the stages of the newest blocks began and ended.
    pub fn stage_log(&self) -> Arc<StageLog> {
        Arc::clone(&self.stage_log)
    }

    /// The values of one name's counters and gauges, by their labels.
    pub fn values(&self, name: &str) -> Vec<(Labels, f64)> {
        let inner = self.inner();
        let series = inner.families.get(name).into_iter().flat_map(|family| &family.series);
        #[allow(clippy::cast_precision_loss)] // As in the text format.
        let read = |series: &Series| match series {
            Series::Counter(counter) => Some(counter.get() as f64),
            Series::Seconds(counter) => Some(counter.get() as f64 / NS_PER_S),
            Series::Gauge(gauge) => Some(gauge.get() as f64),
            Series::Probe(read) => read(),
            Series::Histogram(_) => None,
        };
        series
            .filter_map(|(labels, series)| Some((labels.clone(), read(series)?)))
            .collect()
    }

    /// The links that live, in order of their names. Links that share a name are shown as their sum.
    pub fn links(&self) -> Vec<LinkReading> {
        exposition::read_links(&mut self.inner()).into_values().collect()
    }

    /// One name's histograms: labels, and the merged distribution in nanoseconds.
    pub fn histograms_of(&self, name: &str) -> Vec<(Labels, Hdr<u64>)> {
        let inner = self.inner();
        let series = inner.families.get(name).into_iter().flat_map(|family| &family.series);
        series
            .filter_map(|(labels, series)| match series {
                Series::Histogram(shards) => Some((labels.clone(), shards.merged())),
                Series::Counter(_) | Series::Seconds(_) | Series::Gauge(_) | Series::Probe(_) => None,
            })
            .collect()
    }

    /// Every histogram: name, labels, and the merged distribution in nanoseconds.
    pub fn histograms(&self) -> Vec<(String, Labels, Hdr<u64>)> {
        let inner = self.inner();
        let mut all = Vec::new();
        for (name, family) in &inner.families {
            for (labels, series) in &family.series {
                if let Series::Histogram(shards) = series {
                    all.push(((*name).to_owned(), labels.clone(), shards.merged()));
                }
            }
        }
        all
    }

    /// Every name that was registered, and those of links, in the order of their names.
    pub fn families(&self) -> Vec<MetricFamily> {
        let of_links = exposition::LINK_FAMILIES.iter().map(|link| MetricFamily {
            name: link.name,
            kind: link.kind.name(),
            help: link.help,
            labels: vec![exposition::LINK_LABEL.to_owned()],
        });
        let inner = self.inner();
        let registered = inner.families.iter().map(|(name, family)| {
            let labels: BTreeSet<&String> = family.series.keys().flatten().map(|(label, _)| label).collect();
            MetricFamily {
                name,
                kind: family.kind.name(),
                help: family.help,
                labels: labels.into_iter().cloned().collect(),
            }
        });
        let mut families: Vec<_> = registered.chain(of_links).collect();
        families.sort_by_key(|family| family.name);
        families
    }

    /// All series as Prometheus text, version 0.0.4.
    pub fn render(&self) -> String {
        exposition::render(&mut self.inner())
    }

    fn with_series<R>(
        &self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: &[(&'static str, &str)],
        fresh: impl FnOnce() -> Series,
        take: impl FnOnce(&mut Series) -> R,
    ) -> R {
        debug_assert!(exposition::is_metric_name(name), "{name} is not a legal metric name");
        let labels: Labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let mut inner = self.inner();
        let family = inner.families.entry(name).or_insert_with(|| Family {
            help,
            kind,
            series: BTreeMap::new(),
        });
        assert!(
            family.kind == kind,
            "{name} is registered as {:?} and as {kind:?}",
            family.kind
        );
        take(family.series.entry(labels).or_insert_with(fresh))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        locked(&self.inner)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry({} names)", self.inner().families.len())
    }
}

/// The contents, even if a panic happened while they were held: numbers that are late by one are still worth showing.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
