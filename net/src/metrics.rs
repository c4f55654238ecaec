//! This file knows the metrics that the network writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use ultramarine_runtime::{Counter, Gauge, Histogram, Mark, Registry, RingOps, StageLog, StageTime};
use ultramarine_types::network::Fault;
use ultramarine_types::{Height, Nanos, Stage};

use crate::serve::queue::Rank;

const FAULTS: [Fault; 10] = [
    Fault::Protocol,
    Fault::Signature,
    Fault::Part,
    Fault::Proof,
    Fault::Certificate,
    Fault::Package,
    Fault::Rule,
    Fault::Execution,
    Fault::Withheld,
    Fault::Flood,
];

/// Brings a counter up to what is counted elsewhere.
pub(crate) fn raise(counter: &Counter, counted: u64) {
    counter.add(counted.saturating_sub(counter.get()));
}

/// Registers every series that the network writes.
pub fn register_metrics(registry: &Registry) {
    let _registered = Metrics::new(registry);
}

/// Handles to every series that the network writes.
#[derive(Debug)]
pub(crate) struct Metrics {
    faults: BTreeMap<Fault, Counter>,
    stream: Histogram,
    verify: Histogram,
    pub validators: Gauge,
    pub full_nodes: Gauge,
    pub other_upgrades: Gauge,
    pub other_fork_schedules: Gauge,
    pub assembly_bytes: Gauge,
    pub unjudged_bytes: Gauge,
    pub buffer_bytes: Gauge,
    pub sent_bytes: Counter,
    pub received_bytes: Counter,
    pub messages_sent: Counter,
    pub messages_received: Counter,
    pub values_streamed: Counter,
    values_joined: Counter,
    pub values_withheld: Counter,
    pub requests_served: Counter,
    pub unavailable: Counter,
    pub bulk_dropped: Counter,
    pub dials_failed: Counter,
    pub serving_waiting_bytes: Gauge,
    pub serving_shed: Counter,
    pub serving_bytes: BTreeMap<Rank, Counter>,
    pub statuses_merged: Counter,
    pub places_refused: Counter,
    pub places_given: Counter,
    pub ring: RingOps,
    stage_log: Arc<StageLog>,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Self {
        let fault = |fault: Fault| {
            let help = "Faults charged to peers.";
            (
                fault,
                registry.counter("ultramarine_net_faults_total", help, &[("fault", fault.name())]),
            )
        };
        let stage = |stage: Stage| {
            let help = "Time a block spends in each stage.";
            registry.histogram("ultramarine_stage_seconds", help, &[("stage", stage.name())])
        };
        let peers = |class| registry.gauge("ultramarine_net_peers_items", "Connected peers.", &[("class", class)]);
        let others = |what| {
            let help = "Connected peers that plan other changes than we do: update the nodes before one is due.";
            registry.gauge("ultramarine_net_peers_differing_items", help, &[("what", what)])
        };
        let bytes = |direction| {
            let help = "UDP payload bytes, all overhead of QUIC included.";
            registry.counter("ultramarine_net_bytes_total", help, &[("direction", direction)])
        };
        let messages = |direction| {
            let help = "Consensus and status messages.";
            registry.counter("ultramarine_net_messages_total", help, &[("direction", direction)])
        };
        let served = |rank: Rank| {
            let help = "Bytes of packages, and of what full nodes are sent, that had their turn.";
            let labels = [("to", rank.name())];
            (
                rank,
                registry.counter("ultramarine_net_serving_bytes_total", help, &labels),
            )
        };
        let gauge = |name, help| registry.gauge(name, help, &[]);
        let counter = |name, help| registry.counter(name, help, &[]);
        Self {
            faults: FAULTS.into_iter().map(fault).collect(),
            stream: stage(Stage::Stream),
            verify: stage(Stage::Verify),
            validators: peers("validator"),
            full_nodes: peers("full_node"),
            other_upgrades: others("upgrades"),
            other_fork_schedules: others("fork_schedule"),
            assembly_bytes: gauge(
                "ultramarine_net_assembly_bytes",
                "Bytes reserved for values in assembly.",
            ),
            unjudged_bytes: gauge(
                "ultramarine_net_unjudged_bytes",
                "Bytes of blobs whose digest the lanes have not taken yet.",
            ),
            buffer_bytes: gauge(
                "ultramarine_net_buffer_bytes",
                "Bytes of blob buffers lent by the pool.",
            ),
            sent_bytes: bytes("out"),
            received_bytes: bytes("in"),
            messages_sent: messages("out"),
            messages_received: messages("in"),
            values_streamed: counter(
                "ultramarine_net_values_streamed_total",
                "Values streamed to one peer each.",
            ),
            values_joined: counter(
                "ultramarine_net_values_joined_total",
                "Values made whole and handed to the store.",
            ),
            values_withheld: counter(
                "ultramarine_net_values_withheld_total",
                "Values about which our own verifier could say nothing: look at the memory and the log.",
            ),
            requests_served: counter(
                "ultramarine_net_requests_served_total",
                "Requests for parts or heights answered.",
            ),
            unavailable: counter(
                "ultramarine_net_unavailable_total",
                "Requests for what should be here and cannot be served: look at the store.",
            ),
            bulk_dropped: counter(
                "ultramarine_net_bulk_dropped_total",
                "Value streams that gave way to newer ones.",
            ),
            dials_failed: counter("ultramarine_net_dials_failed_total", "Dials that made no connection."),
            serving_waiting_bytes: gauge(
                "ultramarine_net_serving_waiting_bytes",
                "Bytes of packages, and of what full nodes are sent, that wait for their turn.",
            ),
            serving_shed: counter(
                "ultramarine_net_serving_shed_total",
                "Portions of packages, and of what full nodes are sent, that came while a round needed the line.",
            ),
            serving_bytes: Rank::ALL.into_iter().map(served).collect(),
            statuses_merged: counter(
                "ultramarine_net_statuses_merged_total",
                "Statuses that the core did not hear, as the peer sent a newer one too soon.",
            ),
            places_refused: counter(
                "ultramarine_net_places_refused_total",
                "Peers that found no place, or that network.full_nodes keeps out.",
            ),
            places_given: counter(
                "ultramarine_net_places_given_total",
                "Full nodes that are not configured and gave their place to another peer.",
            ),
            ring: RingOps::new(registry, "net"),
            stage_log: registry.stage_log(),
        }
    }

    /// A value of a height is whole now: how long it was streamed, and how long its blobs were verified after that.
    pub fn joined(&self, now: Nanos, height: Height, streamed: Nanos, verified: Option<Nanos>) {
        self.values_joined.inc();
        self.stream.record(streamed);
        let before = |moment: Nanos, took: Nanos| Nanos(moment.0.saturating_sub(took.0));
        let arrived = before(now, verified.unwrap_or(Nanos::ZERO));
        let note = |stage, began, ended| {
            let mark = Mark::Stage(stage);
            self.stage_log.note(mark, height, StageTime { began, ended });
        };
        note(Stage::Stream, before(arrived, streamed), arrived);
        if let Some(verified) = verified {
            self.verify.record(verified);
            note(Stage::Verify, arrived, now);
        }
    }

    pub fn fault(&self, fault: Fault) {
        if let Some(counter) = self.faults.get(&fault) {
            counter.inc();
        }
    }
}
