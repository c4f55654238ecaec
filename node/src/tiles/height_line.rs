//! This file knows the log's one line a height: who proposed it, how large it is, and how long each stage took here.
//!
//! ```text
//!   Decided ──▶ held ──▶ its import is over, or cannot be soon ──▶ one line, at info
//! ```
//!
//! The import follows the decision, so the line waits for it: some milliseconds as a rule. It waits no longer than
//! until the next round begins, the next height is decided, the execution client is called not ready, or the node ends.

use std::sync::Arc;

use ultramarine_core::io::Event;
use ultramarine_runtime::{Mark, StageLog};
use ultramarine_types::{Address, Height, Round, Stage, ValueId};

/// Writes the line of each height.
#[derive(Debug)]
pub struct HeightLine {
    stages: Arc<StageLog>,
    /// The newest decision, if its line is not written yet.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    height: Height,
    round: Round,
    blobs: u32,
    bytes: u64,
    proposer: Address,
    value: ValueId,
    synced: bool,
}

impl HeightLine {
    pub fn new(stages: Arc<StageLog>) -> Self {
        Self { stages, held: None }
    }

    /// Takes an event after the stages' times are noted.
    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::Decided {
                certificate,
                blobs,
                bytes,
                origin_proposer,
                synced,
                ..
            } => {
                self.write();
                self.held = Some(Held {
                    height: certificate.height,
                    round: certificate.round,
                    blobs: *blobs,
                    bytes: *bytes,
                    proposer: *origin_proposer,
                    value: certificate.value_id,
                    synced: *synced,
                });
            }
            Event::Stage {
                stage: Stage::Import, ..
            }
            | Event::Round { .. }
            | Event::Readiness {
                ready: false,
                is_news: true,
                ..
            } => self.write(),
            _ => {}
        }
    }

    fn write(&mut self) {
        let Some(held) = self.held.take() else { return };
        let ms = |stage| self.milliseconds(held.height, stage);
        // A stage that did not happen here has no field.
        tracing::info!(
            height = held.height.0, round = held.round.0, blobs = held.blobs, bytes = held.bytes,
            build_ms = ms(Stage::Build), stream_ms = ms(Stage::Stream), verify_ms = ms(Stage::Verify),
            persist_ms = ms(Stage::Persist), execute_ms = ms(Stage::Execute), vote_ms = ms(Stage::Vote),
            commit_ms = ms(Stage::Commit), import_ms = ms(Stage::Import),
            proposer = %held.proposer, value = %held.value, synced = held.synced, "decided"
        );
    }

    /// With two digits behind the point.
    fn milliseconds(&self, height: Height, stage: Stage) -> Option<f64> {
        let took = self.stages.of(Mark::Stage(stage), height)?.took();
        Some((took.0 as f64 / 1e4).round() / 100.0)
    }
}

impl Drop for HeightLine {
    fn drop(&mut self) {
        self.write();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Mutex;

    use ultramarine_runtime::StageTime;
    use ultramarine_types::{CommitCertificate, Hash, Nanos, ValueKey};

    use super::*;

    /// What was logged.
    #[derive(Clone, Default)]
    struct Text(Arc<Mutex<Vec<u8>>>);

    impl Write for Text {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines after each of these events, and after the end.
    fn lines_after(stages: &Arc<StageLog>, events: &[Event]) -> Vec<usize> {
        let text = Text::default();
        let count = |text: &Text| {
            let text = text.0.lock().expect("no panic");
            String::from_utf8_lossy(&text).matches("decided").count()
        };
        let writer = text.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut line = HeightLine::new(Arc::clone(stages));
            let mut counts: Vec<usize> = Vec::new();
            for event in events {
                line.hear(event);
                counts.push(count(&text));
            }
            drop(line);
            counts.push(count(&text));
            counts
        })
    }

    fn decided(height: u64) -> Event {
        Event::Decided {
            certificate: CommitCertificate {
                height: Height(height),
                round: Round(0),
                value_id: ValueId::ZERO,
                signatures: Vec::new(),
            },
            blobs: 3,
            bytes: 1000,
            origin_proposer: Address::ZERO,
            origin_round: Round(0),
            block_hash: Hash([9; 32]),
            synced: false,
            client_valid: false,
        }
    }

    fn stage(height: u64, stage: Stage) -> Event {
        let key = ValueKey {
            height: Height(height),
            id: ValueId::ZERO,
        };
        let took = Nanos::from_millis(1);
        Event::Stage { key, stage, took }
    }

    fn round(height: u64) -> Event {
        Event::Round {
            height: Height(height),
            round: Round(0),
            proposer: Address::ZERO,
            ours: false,
        }
    }

    fn readiness(ready: bool, is_news: bool) -> Event {
        let why = "it syncs".to_owned();
        Event::Readiness { ready, why, is_news }
    }

    #[test]
    fn a_height_has_one_line_once_its_import_is_over_or_cannot_be_soon() {
        let stages = Arc::new(StageLog::default());
        let events = [stage(1, Stage::Commit), decided(1), stage(1, Stage::Import), round(2)];
        assert_eq!(lines_after(&stages, &events), [0, 0, 1, 1, 1]);
        let events = [decided(1), readiness(false, false), readiness(true, true), round(2)];
        assert_eq!(lines_after(&stages, &events), [0, 0, 0, 1, 1]);
        assert_eq!(lines_after(&stages, &[decided(1), readiness(false, true)]), [0, 1, 1]);
        assert_eq!(
            lines_after(&stages, &[decided(1), decided(2)]),
            [0, 1, 2],
            "the end writes it"
        );
    }

    #[test]
    fn a_stage_has_milliseconds_where_it_happened() {
        let stages = Arc::new(StageLog::default());
        let line = HeightLine::new(Arc::clone(&stages));
        let took = StageTime::before(Nanos(9_000_000), Nanos(1_234_567));
        stages.note(Mark::Stage(Stage::Stream), Height(7), took);
        assert_eq!(line.milliseconds(Height(7), Stage::Stream), Some(1.23));
        assert_eq!(line.milliseconds(Height(7), Stage::Build), None);
        assert_eq!(line.milliseconds(Height(8), Stage::Stream), None);
    }
}
