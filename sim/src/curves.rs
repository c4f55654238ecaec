//! This file knows how long a network takes to decide a block, by its validators, blobs, lines and distances.
//!
//! The model beside it is that of a direct stream: the proposer sends its block to each of the others, one line for
//! all, and the last byte has its way to go. Whoever is much slower than that pays for windows, for verifying and
//! storing, for two steps of votes, or for rounds that were too short.
//!
//! Beside it stands the least time: bare blobs for a quorum alone, and the way of the last byte and of both votes. No
//! network can be faster, so a shorter time is a fault of the simulator.

use ultramarine_core::io::Event;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::{Height, Nanos};

use crate::checks::Violation;
use crate::config::RunConfig;
use crate::network::Weather;
use crate::world::{World, WorldNotice};

/// The height that is measured. The block before it has no blobs: by then all are connected and in step.
const HEIGHT: Height = Height(2);
/// Simulated time within which the block before it is decided.
const FIRST: Nanos = Nanos::from_millis(60_000);
/// Headers and framing beside the blobs, in thousandths, for the model.
const OVERHEAD_PER_MILLE: u64 = 62;

/// A network, and the block that it is to decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    pub validators: usize,
    pub blobs: u32,
    /// Of each node's line, each way.
    pub megabits_per_second: u64,
    /// From node to node.
    pub latency_ms: u64,
}

/// Times from the moment at which the proposer begins to send.
#[derive(Clone, Debug)]
pub struct Measured {
    pub cell: Cell,
    /// When the last byte of a direct stream arrives.
    pub model: Nanos,
    /// When the block of round 0 was whole and on disk at more than two thirds of them; `None` if it never was.
    pub whole: Option<Nanos>,
    /// When more than two thirds of the validators had decided; `None` if they did not within the limit.
    pub decided: Option<Nanos>,
    /// The round in which they did.
    pub round: u32,
    pub events: u64,
    /// What broke before that: then it is no measurement.
    pub violation: Option<Violation>,
}

impl Cell {
    fn bytes_per_ms(&self) -> u64 {
        self.megabits_per_second * 125
    }

    /// Time of the direct stream.
    pub fn model(&self) -> Nanos {
        let bytes = self.blobs as u64 * BLOB_BYTES as u64 * (self.validators as u64 - 1);
        let bytes = bytes + bytes * OVERHEAD_PER_MILLE / 1000;
        Nanos(bytes * 1_000_000 / self.bytes_per_ms()) + Nanos::from_millis(self.latency_ms)
    }

    /// The validators that a decision needs.
    const fn quorum(&self) -> usize {
        self.validators * 2 / 3 + 1
    }

    /// Before this, no quorum has the block: the bare blobs for each of it but the proposer, and the way of the last.
    pub fn least_whole(&self) -> Nanos {
        let bytes = self.blobs as u64 * BLOB_BYTES as u64 * (self.quorum() as u64 - 1);
        Nanos(bytes * 1_000_000 / self.bytes_per_ms()) + Nanos::from_millis(self.latency_ms)
    }

    /// Before this, no quorum has decided: prevotes and precommits have their ways as well.
    pub fn least(&self) -> Nanos {
        self.least_whole() + Nanos::from_millis(2 * self.latency_ms)
    }

    fn config(&self, seed: u64) -> RunConfig {
        let mut config = RunConfig {
            validators: self.validators,
            blobs_range: (0, 0),
            events_max: u64::MAX,
            checks_whole: false,
            weather: Weather {
                latency: Nanos::from_millis(self.latency_ms),
                is_steady: true,
                bytes_per_ms: self.bytes_per_ms(),
                ..Weather::CALM
            },
            ..RunConfig::quiet(seed)
        };
        config.chain.block_interval_ms = 1000;
        config.chain.blobs_per_block_max = self.blobs.max(config.chain.blobs_per_block_max);
        config
    }

    /// Decides one block, and stops the clock; gives up after `limit` of simulated time, or at once if no network could
    /// decide within it.
    pub fn measure(self, seed: u64, limit: Nanos) -> Measured {
        let mut measured = Measured {
            cell: self,
            model: self.model(),
            whole: None,
            decided: None,
            round: 0,
            events: 0,
            violation: None,
        };
        if self.least() > limit {
            return measured;
        }
        let mut world = World::new(self.config(seed));
        let (mut began, mut whole, mut decided) = (None, 0, 0);
        let quorum = self.quorum();
        world.run(world.now + FIRST, |world| world.lowest_head() >= HEIGHT.prev());
        for node in &mut world.nodes {
            node.el.set_blobs((self.blobs, self.blobs));
        }
        let deadline = world.now + limit;
        let mut sent = None;
        while world.now < deadline && measured.decided.is_none() && world.step() {
            for notice in &world.notices {
                match notice {
                    WorldNotice::Stream { key, .. } if sent.is_none() && key.height == HEIGHT => {
                        (sent, began) = (Some(*key), Some(world.now));
                    }
                    WorldNotice::Stored { key, .. } if Some(*key) == sent => {
                        whole += 1;
                        // Its proposer had it before.
                        if whole + 1 == quorum {
                            measured.whole = began.map(|began| world.now.since(began));
                        }
                    }
                    WorldNotice::Core { event, .. } => {
                        if let Event::Decided { certificate, .. } = event.as_ref()
                            && certificate.height == HEIGHT
                        {
                            decided += 1;
                            if decided == quorum {
                                measured.round = certificate.round.0;
                                measured.decided = began.map(|began| world.now.since(began));
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        measured.events = world.events();
        measured.violation = world.checks.violation.take();
        measured
    }
}

impl Measured {
    /// The head of a table of lines.
    pub const HEAD: &str =
        "validators  blobs   Mbit/s  ms one way   model s   whole s   least s  decided s  round      events";

    /// One line of a table, and a second one if something broke.
    pub fn line(&self) -> String {
        let broken = self
            .violation
            .as_ref()
            .map_or(String::new(), |it| format!("\nFAILED {it}"));
        let seconds = |span: Option<Nanos>| span.map_or("-".to_owned(), |span| format!("{:.3}", span.0 as f64 / 1e9));
        format!(
            "{:>10} {:>6} {:>8} {:>11} {:>9} {:>9} {:>9} {:>10} {:>6} {:>11}{broken}",
            self.cell.validators,
            self.cell.blobs,
            self.cell.megabits_per_second,
            self.cell.latency_ms,
            seconds(Some(self.model)),
            seconds(self.whole),
            seconds(Some(self.cell.least())),
            seconds(self.decided),
            self.decided.map_or("-".to_owned(), |_| self.round.to_string()),
            self.events
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_network_is_faster_than_its_lines() {
        for (validators, megabits_per_second, latency_ms) in [(4, 100, 50), (4, 10_000, 5), (10, 1_000, 5)] {
            for blobs in [6, 96] {
                let cell = Cell {
                    validators,
                    blobs,
                    megabits_per_second,
                    latency_ms,
                };
                let measured = cell.measure(1, Nanos::from_millis(60_000));
                let (whole, decided) = (measured.whole.expect("whole"), measured.decided.expect("decided"));
                assert!(whole >= cell.least_whole(), "{cell:?}: whole after {whole:?}");
                assert!(decided >= cell.least(), "{cell:?}: decided after {decided:?}");
            }
        }
    }

    #[test]
    fn what_no_network_can_do_is_not_tried() {
        let cell = Cell {
            validators: 100,
            blobs: 1024,
            megabits_per_second: 100,
            latency_ms: 5,
        };
        assert_eq!(cell.least().0 / 1_000_000_000, 708);
        let measured = cell.measure(1, Nanos::from_millis(600_000));
        assert_eq!((measured.decided, measured.events), (None, 0));
    }

    /// All copies over such a line need 48 s. Rounds are short beside that, so many blocks are under way, and more of
    /// them than a node has room for.
    #[test]
    fn a_block_that_takes_longer_than_many_rounds_is_decided_soon_after_it_arrived() {
        let cell = Cell {
            validators: 10,
            blobs: 96,
            megabits_per_second: 20,
            latency_ms: 5,
        };
        let measured = cell.measure(1, Nanos::from_millis(600_000));
        assert_eq!(measured.violation, None);
        let (whole, decided) = (measured.whole.expect("whole"), measured.decided.expect("decided"));
        let model = cell.model();
        assert!(whole < model + Nanos::from_millis(2_000), "{whole:?} for {model:?}");
        assert!(decided.0 < 2 * model.0, "{decided:?} for {model:?}");
    }

    #[test]
    fn what_broke_is_told_and_is_no_time() {
        let cell = Cell {
            validators: 4,
            blobs: 6,
            megabits_per_second: 100,
            latency_ms: 5,
        };
        let mut measured = cell.measure(1, Nanos::from_millis(60_000));
        assert!(!measured.line().contains("FAILED"));
        measured.violation = Some(Violation {
            invariant: "I14",
            node: 2,
            at: Nanos::from_millis(1500),
            what: "height 2 is not decided".to_owned(),
        });
        let line = measured.line();
        assert!(
            line.ends_with("\nFAILED I14 at 1.500000 s by node 2: height 2 is not decided"),
            "{line}"
        );
    }

    #[test]
    fn a_proposer_pays_for_every_copy_and_the_way() {
        let small = Cell {
            validators: 4,
            blobs: 24,
            megabits_per_second: 400,
            latency_ms: 50,
        };
        let large = Cell {
            validators: 10,
            ..small
        };
        for cell in [small, large] {
            let measured = cell.measure(1, Nanos::from_millis(60_000));
            let whole = measured.whole.expect("it arrives");
            let model = cell.model();
            // Peers have turns, so the first ones are whole a little before the last.
            assert!(
                whole.0 > model.0 * 9 / 10,
                "{whole:?} is faster than the line: {model:?}"
            );
            assert!(whole.0 < model.0 + 200_000_000, "{whole:?} for {model:?}");
        }
    }
}
