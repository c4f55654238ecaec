//! This file knows how long a network takes to decide a block, by its validators, blobs, lines and distances.
//!
//! The model beside it is that of a direct stream: the proposer sends its block to each of the others, one line for
//! all, and the last byte has its way to go. Whoever is much slower than that pays for windows, for verifying and
//! storing, for two steps of votes, or for rounds that were too short.

use ultramarine_core::io::Event;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::{Height, Nanos};

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
#[derive(Clone, Copy, Debug)]
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

    /// Decides one block, and stops the clock; gives up after `limit` of simulated time.
    pub fn measure(self, seed: u64, limit: Nanos) -> Measured {
        let mut world = World::new(self.config(seed));
        let mut measured = Measured {
            cell: self,
            model: self.model(),
            whole: None,
            decided: None,
            round: 0,
            events: 0,
        };
        let (mut began, mut whole, mut decided) = (None, 0, 0);
        let quorum = self.validators * 2 / 3 + 1;
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
        measured
    }
}

impl Measured {
    /// The head of a table of lines.
    pub const HEAD: &str = "validators  blobs   Mbit/s  ms one way   model s   whole s  decided s  round      events";

    /// One line of a table.
    pub fn line(&self) -> String {
        let seconds = |span: Option<Nanos>| span.map_or("-".to_owned(), |span| format!("{:.3}", span.0 as f64 / 1e9));
        format!(
            "{:>10} {:>6} {:>8} {:>11} {:>9} {:>9} {:>10} {:>6} {:>11}",
            self.cell.validators,
            self.cell.blobs,
            self.cell.megabits_per_second,
            self.cell.latency_ms,
            seconds(Some(self.model)),
            seconds(self.whole),
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
