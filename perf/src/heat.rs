//! This file knows how the latencies of stages moved over a run: how many took how long, in each while.
//!
//! Nodes tell only what they have recorded since their start. Each look is compared with the one before, so a while is
//! the time between two looks. Latencies fall into *bands*, equal steps of a logarithmic scale. A long run has no more
//! whiles than [`WHILES_MAX`]: neighbours are joined.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use ultramarine_types::Stage;

use crate::stages::Stages;

/// Most whiles that are kept. A picture shows no more of them apart.
pub const WHILES_MAX: usize = 160;
/// Steps of the scale for each factor of ten. A step is 15 %.
const BANDS_PER_DECADE: f64 = 16.0;

/// Records of a band.
pub type Bands = BTreeMap<u32, u64>;

/// What was recorded between two looks.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct While {
    /// Its begin, in seconds since the nodes were ready.
    pub from_seconds: f64,
    pub to_seconds: f64,
    pub stages: BTreeMap<Stage, Bands>,
}

/// See the file's words.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Heat {
    pub whiles: Vec<While>,
    /// All that was recorded until the last look.
    before: BTreeMap<Stage, Bands>,
    at_seconds: f64,
}

impl Heat {
    /// Takes a look at all nodes together.
    pub fn look(&mut self, at_seconds: f64, stages: &Stages) {
        let all: BTreeMap<Stage, Bands> = stages
            .iter()
            .map(|(stage, histogram)| (stage, bands(histogram)))
            .collect();
        let mut new = While {
            from_seconds: self.at_seconds,
            to_seconds: at_seconds,
            stages: BTreeMap::new(),
        };
        for (stage, bands) in &all {
            let before = self.before.get(stage);
            let more = bands.iter().filter_map(|(band, count)| {
                // A node that began anew has recorded less than before.
                let more = count.saturating_sub(before.and_then(|before| before.get(band)).copied().unwrap_or(0));
                (more > 0).then_some((*band, more))
            });
            let more: Bands = more.collect();
            if !more.is_empty() {
                new.stages.insert(*stage, more);
            }
        }
        (self.before, self.at_seconds) = (all, at_seconds);
        self.whiles.push(new);
        if self.whiles.len() > WHILES_MAX {
            self.join_neighbours();
        }
    }

    fn join_neighbours(&mut self) {
        let joined = self.whiles.chunks(2).map(|pair| {
            let mut first = pair[0].clone();
            for second in &pair[1..] {
                first.to_seconds = second.to_seconds;
                for (stage, bands) in &second.stages {
                    let sum = first.stages.entry(*stage).or_default();
                    bands
                        .iter()
                        .for_each(|(band, count)| *sum.entry(*band).or_default() += count);
                }
            }
            first
        });
        self.whiles = joined.collect();
    }
}

fn bands(histogram: &Histogram<u64>) -> Bands {
    let mut bands = Bands::new();
    for step in histogram.iter_recorded() {
        let ns = histogram.median_equivalent(step.value_iterated_to());
        *bands.entry(band_of(ns)).or_default() += step.count_at_value();
    }
    bands
}

/// The band of a duration in nanoseconds.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)] // At most 20 decades.
fn band_of(ns: u64) -> u32 {
    ((ns.max(1) as f64).log10() * BANDS_PER_DECADE) as u32
}

/// Where a band begins, in nanoseconds; it ends where the next begins.
pub fn band_start_ns(band: u32) -> f64 {
    10f64.powf(f64::from(band) / BANDS_PER_DECADE)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::stages::tests::{histogram, stages_of};

    const MS: u64 = 1_000_000;

    fn stages(votes: &[u64]) -> Stages {
        stages_of(&[(Stage::Vote, histogram(votes.iter().copied()))], &[])
    }

    fn counts(heat: &Heat) -> Vec<u64> {
        let sum = |part: &While| part.stages.values().flat_map(Bands::values).sum();
        heat.whiles.iter().map(sum).collect()
    }

    #[test]
    fn a_while_has_what_came_since_the_look_before() {
        let mut heat = Heat::default();
        heat.look(1.0, &stages(&[4 * MS]));
        heat.look(2.0, &stages(&[4 * MS]));
        heat.look(3.5, &stages(&[4 * MS, 4 * MS, 90 * MS]));
        assert_eq!(counts(&heat), [1, 0, 2]);
        assert_eq!((heat.whiles[2].from_seconds, heat.whiles[2].to_seconds), (2.0, 3.5));
        let bands: Vec<u32> = heat.whiles[2].stages[&Stage::Vote].keys().copied().collect();
        for (band, ns) in bands.into_iter().zip([4.0e6, 90.0e6]) {
            let (low, high) = (band_start_ns(band), band_start_ns(band + 1));
            assert!(
                low <= ns * 1.001 && ns * 0.999 < high && high < low * 1.16,
                "{low} {ns} {high}"
            );
        }
        heat.look(4.5, &stages(&[]));
        heat.look(5.5, &stages(&[7 * MS]));
        assert_eq!(counts(&heat)[3..], [0, 1], "a node began anew");
    }

    #[test]
    fn a_long_run_keeps_all_records_in_few_whiles() {
        let mut heat = Heat::default();
        let mut votes = Vec::new();
        for second in 0..1000u32 {
            votes.push(u64::from(1 + second % 50) * MS);
            heat.look(f64::from(second), &stages(&votes));
        }
        assert!((WHILES_MAX / 2..=WHILES_MAX).contains(&heat.whiles.len()));
        assert_eq!(counts(&heat).iter().sum::<u64>(), 1000);
        for pair in heat.whiles.windows(2) {
            assert_eq!(pair[0].to_seconds, pair[1].from_seconds);
        }
    }
}
