//! This file knows the counters and histograms that follow from the core's events.

pub mod process;
pub mod reference;

use std::sync::{Arc, Mutex, PoisonError};

use ultramarine_core::io::Event;
use ultramarine_engine::client_time;
use ultramarine_runtime::metrics::{Counter, Gauge, Histogram, Registry};
use ultramarine_runtime::{Clock, Mark, StageLog, StageTime};
use ultramarine_types::{Height, Nanos, Stage};

/// Shows how many lines the log's file has lost: none where there is no file.
pub fn show_file_losses(registry: &Registry, lost: impl Fn() -> u64 + Send + 'static) {
    registry.probe_counter(
        "ultramarine_log_file_lines_lost_total",
        "Log lines that are not in the log file: it could not be written, or its disk did not keep up.",
        &[],
        move || Some(lost()),
    );
}

/// Series fed by the core tile.
#[derive(Debug)]
pub struct CoreMetrics {
    clock: Clock,
    stage_log: Arc<StageLog>,
    /// The height to be decided.
    deciding: Height,
    vote: Histogram,
    import: Histogram,
    commit: Histogram,
    import_share: Histogram,
    commit_share: Histogram,
    height: Gauge,
    round: Gauge,
    executed: Gauge,
    client_ready: Gauge,
    signing: Gauge,
    best_tip: Gauge,
    /// The newest lag that we heard of.
    told_tip: Height,
    decided: Counter,
    decided_late: Counter,
    synced: Counter,
    blobs: Counter,
    bytes: Counter,
    invalid: Counter,
    evidence: Counter,
    clock_offset: Arc<Mutex<Option<f64>>>,
    clock_peers_off: Gauge,
    stalled: Gauge,
}

impl CoreMetrics {
    pub fn new(registry: &Registry) -> Self {
        let stage = |stage: Stage| {
            registry.histogram(
                "ultramarine_stage_seconds",
                "Time a block spent in a stage on this node.",
                &[("stage", stage.name())],
            )
        };
        let gauge = |name, help| registry.gauge(name, help, &[]);
        let counter = |name, help| registry.counter(name, help, &[]);
        let clock_offset = Arc::new(Mutex::new(None));
        let shown = Arc::clone(&clock_offset);
        registry.probe_gauge(
            "ultramarine_clock_offset_seconds",
            "What our wall clock says more than the validators' median; absent while too few of them are heard.",
            &[],
            move || *shown.lock().unwrap_or_else(PoisonError::into_inner),
        );
        Self {
            clock: Clock::start(),
            stage_log: registry.stage_log(),
            deciding: Height::GENESIS,
            told_tip: Height::GENESIS,
            clock_offset,
            clock_peers_off: gauge(
                "ultramarine_clock_off_validators",
                "Validators whose wall clocks are off, by the median of all.",
            ),
            stalled: gauge(
                "ultramarine_consensus_stalled_seconds",
                "For how long the height has not moved, once that is longer than it should be; else 0.",
            ),
            vote: stage(Stage::Vote),
            import: stage(Stage::Import),
            commit: stage(Stage::Commit),
            import_share: client_time::share(registry, Stage::Import),
            commit_share: client_time::share(registry, Stage::Commit),
            height: gauge("ultramarine_consensus_height", "Newest decided height."),
            round: gauge("ultramarine_consensus_round", "Round of the height being decided."),
            executed: gauge(
                "ultramarine_execution_height",
                "Newest height the execution client has imported.",
            ),
            client_ready: gauge(
                "ultramarine_execution_gate_open",
                "1 while the execution client confirms our decided head, else 0.",
            ),
            signing: gauge("ultramarine_consensus_signing", "1 while this node signs, else 0."),
            best_tip: gauge(
                "ultramarine_sync_best_tip_height",
                "Highest height known to be decided: ours, or one that a certificate proves or more than a third of \
                 the voting power claims.",
            ),
            decided: counter(
                "ultramarine_consensus_decisions_total",
                "Heights decided and committed.",
            ),
            decided_late: counter(
                "ultramarine_consensus_decisions_above_round_zero_total",
                "Heights whose certificate is of a round above 0.",
            ),
            synced: counter("ultramarine_sync_heights_total", "Heights that came by sync."),
            blobs: counter("ultramarine_consensus_blobs_total", "Blobs of decided blocks."),
            bytes: counter(
                "ultramarine_consensus_bytes_total",
                "Payload and blob bytes of decided blocks.",
            ),
            invalid: counter("ultramarine_consensus_invalid_values_total", "Values found invalid."),
            evidence: counter(
                "ultramarine_consensus_evidence_total",
                "Pieces of evidence against validators seen.",
            ),
        }
    }

    /// What was decided here before the start.
    pub fn resume(self, head: Height) -> Self {
        self.at(head);
        self
    }

    fn at(&self, height: Height) {
        let shown = |height: Height| i64::try_from(height.0).unwrap_or(i64::MAX);
        self.height.set(shown(height));
        self.best_tip.set(shown(height.max(self.told_tip)));
    }

    /// Notes that something of a value happens now. Nobody has verified its height, so only the current one counts.
    pub fn hear(&self, mark: Mark, height: Height) {
        if height == self.deciding {
            self.stage_log.happens(mark, height, self.clock.now());
        }
    }

    /// How long, within a span, calls to the execution client were open that these stages of a height waited for.
    fn open_within(&self, height: Height, stages: &[Stage], span: &StageTime) -> Nanos {
        let opens = stages
            .iter()
            .filter_map(|stage| self.stage_log.of(Mark::Client(*stage), height));
        let sum = opens.map(|open| open.within(span).0).sum::<u64>();
        Nanos(sum).min(span.took())
    }

    /// Counts an event, or measures what it tells.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Round { height, round, .. } => {
                self.round.set(i64::from(round.0));
                self.deciding = *height;
                self.stage_log.happens(Mark::Round, *height, self.clock.now());
            }
            Event::Decided {
                certificate,
                blobs,
                bytes,
                synced,
                ..
            } => {
                self.at(certificate.height);
                self.decided.inc();
                if certificate.round.0 > 0 {
                    self.decided_late.inc();
                }
                if *synced {
                    self.synced.inc();
                }
                self.blobs.add(u64::from(*blobs));
                self.bytes.add(*bytes);
            }
            Event::Stage { key, stage, took } => {
                let span = StageTime::before(self.clock.now(), *took);
                // The tiles that do the work measure the other stages.
                match stage {
                    Stage::Vote => self.vote.record(*took),
                    Stage::Import => {
                        self.import.record(*took);
                        self.import_share
                            .record(self.open_within(key.height, &[Stage::Import], &span));
                    }
                    Stage::Commit => {
                        self.commit.record(*took);
                        let waits = [Stage::Build, Stage::Execute];
                        self.commit_share.record(self.open_within(key.height, &waits, &span));
                    }
                    Stage::Build | Stage::Stream | Stage::Verify | Stage::Persist | Stage::Execute => {}
                }
                // They also note when these ended.
                if !matches!(stage, Stage::Stream | Stage::Verify | Stage::Persist) {
                    self.stage_log.note(Mark::Stage(*stage), key.height, span);
                }
            }
            Event::Readiness { ready, .. } => self.client_ready.set(i64::from(*ready)),
            Event::Executed { height } => self.executed.set(i64::try_from(height.0).unwrap_or(i64::MAX)),
            Event::InvalidValue { .. } => self.invalid.inc(),
            Event::Evidence(_) => self.evidence.inc(),
            Event::Signing { active, .. } => self.signing.set(i64::from(*active)),
            Event::Lag { ours, best } => {
                self.told_tip = *best;
                self.at(*ours);
            }
            Event::Clock {
                offset_ns, peers_off, ..
            } => {
                *self.clock_offset.lock().unwrap_or_else(PoisonError::into_inner) =
                    offset_ns.map(|offset| offset as f64 / 1e9);
                self.clock_peers_off.set(i64::try_from(*peers_off).unwrap_or(i64::MAX));
            }
            Event::PeerClock { .. } => {}
            Event::Stalled { still, .. } => {
                self.stalled
                    .set(i64::try_from(still.0 / 1_000_000_000).unwrap_or(i64::MAX));
            }
            Event::Moving { .. } => self.stalled.set(0),
            // The store counts what it heals, and what is damaged.
            Event::Damaged { .. } | Event::Restored { .. } | Event::Signed { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use ultramarine_types::{Address, ValueId, ValueKey};

    use super::*;

    #[test]
    fn the_clock_offset_is_shown_with_its_sign_and_only_when_known() {
        let registry = Registry::new();
        let mut metrics = CoreMetrics::new(&registry);
        assert!(!registry.render().contains("\nultramarine_clock_offset_seconds"));
        metrics.apply(&Event::Clock {
            offset_ns: Some(-60_250_000_000),
            grade: ultramarine_core::clocks::Grade::Wrong,
            peers_off: 1,
        });
        let text = registry.render();
        assert!(text.contains("\nultramarine_clock_offset_seconds -60.25\n"), "{text}");
        assert!(text.contains("\nultramarine_clock_off_validators 1\n"), "{text}");
    }

    #[test]
    fn stages_are_noted_and_what_nobody_verified_only_of_the_current_height() {
        let registry = Registry::new();
        let (mut metrics, log) = (CoreMetrics::new(&registry), registry.stage_log());
        metrics.apply(&Event::Round {
            height: Height(5),
            round: ultramarine_types::Round(0),
            proposer: Address::ZERO,
            ours: false,
        });
        assert!(log.of(Mark::Round, Height(5)).is_some());
        for height in [5, 5 + 64, u64::MAX] {
            metrics.hear(Mark::Offer, Height(height));
        }
        assert!(
            log.of(Mark::Offer, Height(5)).is_some(),
            "a peer's height took its place"
        );
        assert!(log.of(Mark::Offer, Height(u64::MAX)).is_none());
        let key = ValueKey {
            height: Height(5),
            id: ValueId::ZERO,
        };
        let took = Nanos(3);
        let stage = Stage::Execute;
        metrics.apply(&Event::Stage { key, stage, took });
        let noted = log.of(Mark::Stage(stage), Height(5)).expect("it is noted");
        assert_eq!(noted.ended.since(noted.began), took);
    }

    #[test]
    fn the_clients_share_of_a_stage_is_what_lay_within_it() {
        let registry = Registry::new();
        let (mut metrics, log) = (CoreMetrics::new(&registry), registry.stage_log());
        let key = ValueKey {
            height: Height(5),
            id: ValueId::ZERO,
        };
        let ms = Nanos::from_millis;
        let open = |stage, until, open| {
            let moment = StageTime::before(ms(until), ms(open));
            log.note(Mark::Client(stage), key.height, moment);
        };
        // A block of ours that was built in a round before, and another's that was executed in this one.
        open(Stage::Build, 1_000, 300);
        open(Stage::Execute, 2_200, 150);
        open(Stage::Import, 2_700, 40);
        let commit = StageTime::before(ms(2_500), ms(500));
        let waits = [Stage::Build, Stage::Execute];
        assert_eq!(metrics.open_within(key.height, &waits, &commit), ms(150));
        let short = StageTime::before(ms(2_150), ms(30));
        assert_eq!(metrics.open_within(key.height, &waits, &short), ms(30));
        let import = StageTime::before(ms(2_701), ms(201));
        assert_eq!(metrics.open_within(key.height, &[Stage::Import], &import), ms(40));
        // No call was open for a height that came whole from peers.
        assert_eq!(metrics.open_within(Height(6), &waits, &commit), Nanos::ZERO);

        for stage in [Stage::Commit, Stage::Import, Stage::Commit] {
            let took = ms(1);
            metrics.apply(&Event::Stage { key, stage, took });
        }
        let text = registry.render();
        for (stage, count) in [("commit", 2), ("import", 1)] {
            let line = format!("\nultramarine_stage_client_seconds_count{{stage=\"{stage}\"}} {count}\n");
            assert!(text.contains(&line), "{text}");
        }
    }

    #[test]
    fn the_best_tip_is_never_below_our_own_height_nor_left_behind() {
        let registry = Registry::new();
        let mut metrics = CoreMetrics::new(&registry).resume(Height(7));
        let shows = |tip: u64, height: u64| {
            let text = registry.render();
            for (name, number) in [("sync_best_tip_height", tip), ("consensus_height", height)] {
                let line = format!("\nultramarine_{name} {number}\n");
                assert!(text.contains(&line), "no {line:?} in {text}");
            }
        };
        let decided = |height| Event::Decided {
            certificate: ultramarine_types::CommitCertificate {
                height: Height(height),
                round: ultramarine_types::Round(0),
                value_id: ValueId::ZERO,
                signatures: Vec::new(),
            },
            blobs: 0,
            bytes: 0,
            origin_proposer: Address::ZERO,
            origin_round: ultramarine_types::Round(0),
            block_hash: ultramarine_types::Hash::ZERO,
            synced: false,
            client_valid: false,
        };
        let lag = |ours, best| Event::Lag {
            ours: Height(ours),
            best: Height(best),
        };
        shows(7, 7);
        for (event, tip, height) in [
            (decided(8), 8, 8),
            (lag(8, 11), 11, 8),
            (decided(9), 11, 9),
            (lag(9, 9), 9, 9),
            (decided(10), 10, 10),
        ] {
            metrics.apply(&event);
            shows(tip, height);
        }
    }

    #[test]
    fn an_invalid_value_is_counted() {
        let registry = Registry::new();
        let mut metrics = CoreMetrics::new(&registry);
        metrics.apply(&Event::InvalidValue {
            key: ValueKey {
                height: Height(7),
                id: ValueId::ZERO,
            },
            origin_proposer: Address::ZERO,
            reason: "blobs: 7 where 6 are allowed".to_owned(),
        });
        let text = registry.render();
        assert!(
            text.contains("\nultramarine_consensus_invalid_values_total 1\n"),
            "{text}"
        );
    }
}
