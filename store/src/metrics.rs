//! This file knows what the store shows of itself.

use std::sync::Arc;

use ultramarine_runtime::{Counter, Gauge, Histogram, Registry, StageLog};
use ultramarine_types::Stage;
use ultramarine_types::storage::{BlobState, ScrubProgress};

/// Kinds of file, in the order of the gauges of their bytes.
const FILE_KINDS: [&str; 6] = ["values", "payloads", "free", "index", "log", "reserve"];

/// The store's metrics, registered once.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Values stored for heights not decided yet.
    pub undecided: Gauge,
    /// Decided heights in the index.
    pub decided: Gauge,
    /// Heights and the bytes of their records, by state in the order of [`BlobState::ALL`].
    pub states: [(Gauge, Gauge); BlobState::ALL.len()],
    /// Bytes on disk by kind of file, in the order of [`FILE_KINDS`].
    pub files: [Gauge; FILE_KINDS.len()],
    /// Bytes of retired segments that stay for their readers.
    pub leased_bytes: Gauge,
    pub scrub: ScrubMetrics,
    /// Damaged heights that were stored again.
    pub heals: Counter,
    /// Times the index was written anew.
    pub index_renewals: Counter,
    /// Heights whose blobs were freed after their retention.
    pub prunes: Counter,
    /// Reads of the head, or of a decided height near it, answered from memory.
    pub pointer_hits: Counter,
    /// Values read from the hot cache.
    pub hot_hits: Counter,
    /// Bytes in the hot cache.
    pub hot_bytes: Gauge,
    /// Values read from a map.
    pub map_reads: Counter,
    /// Records that failed their checksum or could not be read.
    pub damaged_reads: Counter,
    /// Decided heights that are damaged and not stored again yet.
    pub damaged_heights: Gauge,
    /// Values promoted from undecided to decided.
    pub promotions: Counter,
    /// Values dropped because their height decided another.
    pub drops: Counter,
    /// Bytes appended to segments, padding included.
    pub appended_bytes: Counter,
    /// Bytes in segments in use that nothing names.
    pub dead_bytes: Gauge,
    /// Bytes written to the consensus log, padding included.
    pub log_bytes: Counter,
    /// `fdatasync` calls on segments and log.
    pub syncs: Counter,
    /// Puts refused because there was no room.
    pub refusals: Counter,
    /// Segments given back after retention.
    pub retired_segments: Counter,
    /// Segments past retention that stay because a record in them is damaged.
    pub damaged_segments: Gauge,
    /// Pieces of evidence that wait for room.
    pub waiting_evidence: Gauge,
    /// From a put's arrival to its receipt.
    pub persist: Histogram,
    pub commit: Histogram,
    pub stage_log: Arc<StageLog>,
}

/// Registers every series that the store writes.
pub fn register_metrics(registry: &Arc<Registry>) {
    let _registered = (Metrics::new(registry), system_calls(registry));
}

/// What the store's tile asks of the system without a ring.
pub fn system_calls(registry: &Registry) -> Counter {
    let help = "Reads, writes and syncs of the storage core without a ring.";
    registry.counter("ultramarine_store_system_calls_total", help, &[])
}

impl Metrics {
    /// Registers all of them.
    pub fn new(registry: &Arc<Registry>) -> Self {
        let counter = |name, help| registry.counter(name, help, &[]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        Self {
            undecided: gauge(
                "ultramarine_store_undecided_values",
                "Values stored for heights not decided yet.",
            ),
            decided: gauge("ultramarine_store_decided_heights", "Decided heights in the index."),
            states: BlobState::ALL.map(|state| {
                let gauge = |name, help| registry.gauge(name, help, &[("state", state.name())]);
                (
                    gauge(
                        "ultramarine_store_heights",
                        "Heights of which anything is stored, by the state of their blobs.",
                    ),
                    gauge(
                        "ultramarine_store_state_bytes",
                        "Bytes of the records of such heights: payload, lists, and blobs where they are here.",
                    ),
                )
            }),
            files: FILE_KINDS.map(|kind| {
                let help = "Bytes on disk, by kind of file.";
                registry.gauge("ultramarine_store_file_bytes", help, &[("kind", kind)])
            }),
            leased_bytes: gauge(
                "ultramarine_store_leased_bytes",
                "Bytes of retired segments that stay on disk until their readers are done.",
            ),
            scrub: ScrubMetrics::new(registry),
            heals: counter(
                "ultramarine_store_heals_total",
                "Heights that were damaged and are stored again.",
            ),
            index_renewals: counter(
                "ultramarine_store_index_renewals_total",
                "How often the index was written anew, because a page of its file was damaged.",
            ),
            prunes: counter(
                "ultramarine_store_prunes_total",
                "Heights whose blobs were freed after their retention.",
            ),
            pointer_hits: counter(
                "ultramarine_store_pointer_hits_total",
                "Reads of the head, or of one of the last 64 decided heights, answered from memory.",
            ),
            hot_hits: counter("ultramarine_store_hot_hits_total", "Values read from the hot cache."),
            hot_bytes: gauge(
                "ultramarine_store_hot_bytes",
                "Bytes of values kept in the memory they arrived in.",
            ),
            map_reads: counter(
                "ultramarine_store_map_reads_total",
                "Values read from a mapped segment.",
            ),
            damaged_reads: counter(
                "ultramarine_store_damaged_reads_total",
                "Records that failed their checksum or could not be read: an alarm.",
            ),
            damaged_heights: gauge(
                "ultramarine_store_damaged_heights",
                "Decided heights that are damaged and not stored again yet: an alarm.",
            ),
            promotions: counter(
                "ultramarine_store_promotions_total",
                "Values promoted from undecided to decided.",
            ),
            drops: counter(
                "ultramarine_store_drops_total",
                "Values dropped because their height decided another.",
            ),
            appended_bytes: counter(
                "ultramarine_store_appended_bytes_total",
                "Bytes appended to segments, padding included.",
            ),
            dead_bytes: gauge(
                "ultramarine_store_dead_bytes",
                "Bytes in segments in use that nothing names: dropped values, and what moved.",
            ),
            log_bytes: counter(
                "ultramarine_store_log_bytes_total",
                "Bytes written to the consensus log, padding included.",
            ),
            syncs: counter("ultramarine_store_syncs_total", "Syncs of segments and log."),
            refusals: counter(
                "ultramarine_store_refused_puts_total",
                "Values not stored for want of room.",
            ),
            retired_segments: counter("ultramarine_store_retired_segments_total", "Segments freed."),
            damaged_segments: gauge(
                "ultramarine_store_damaged_segments",
                "Segments past retention that stay because a record in them is damaged: an alarm.",
            ),
            waiting_evidence: gauge(
                "ultramarine_store_waiting_evidence",
                "Pieces of evidence kept in memory until the disk has room for them.",
            ),
            persist: registry.histogram(
                "ultramarine_stage_seconds",
                "Time a block spends in each stage of its life on this node.",
                &[("stage", Stage::Persist.name())],
            ),
            commit: registry.histogram(
                "ultramarine_store_commit_seconds",
                "Making a decision durable in the index.",
                &[],
            ),
            stage_log: registry.stage_log(),
        }
    }
}

/// How far the background check has come.
#[derive(Clone, Debug)]
pub struct ScrubMetrics {
    /// The height checked last.
    pub height: Gauge,
    pub bytes: Counter,
    pub passes: Counter,
    /// Unix seconds of the end of the last pass; 0 before.
    pub last_pass: Gauge,
    /// What was found wrong.
    pub found: Counter,
}

impl ScrubMetrics {
    fn new(registry: &Arc<Registry>) -> Self {
        let counter = |name, help| registry.counter(name, help, &[]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        Self {
            height: gauge(
                "ultramarine_store_scrub_height",
                "The height that the background check of what is stored read last.",
            ),
            bytes: counter(
                "ultramarine_store_scrub_bytes_total",
                "Bytes that the background check read.",
            ),
            passes: counter(
                "ultramarine_store_scrub_passes_total",
                "Times that the background check read everything.",
            ),
            last_pass: gauge(
                "ultramarine_store_scrub_last_pass_timestamp_seconds",
                "When the background check last ended a pass, in unix seconds; 0 before.",
            ),
            found: counter(
                "ultramarine_store_scrub_found_total",
                "What the background check found wrong: an alarm.",
            ),
        }
    }

    pub fn progress(&self) -> ScrubProgress {
        let number = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        ScrubProgress {
            height: number(&self.height),
            bytes: self.bytes.get(),
            passes: self.passes.get(),
            last_pass: Some(number(&self.last_pass)).filter(|seconds| *seconds > 0),
            found: self.found.get(),
        }
    }
}
