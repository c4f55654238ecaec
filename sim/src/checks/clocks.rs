//! Clocks: nobody calls its own clock wrong while it agrees with those of more than two thirds of the power.
//!
//! The scenario `scenarios/clocks.rs` proves that a node with a lasting offset reports it. In a run of random faults a
//! node may hear too few others to know.

use ultramarine_core::clocks::Grade;
use ultramarine_core::io::Event;
use ultramarine_types::Nanos;

use super::CheckOutcome;
use crate::clock::NodeClock;

const AGREE_NS: u64 = 1_200_000_000;
/// How old the measurements may be that a report rests on, with the looks that have to agree.
const MEMORY: Nanos = Nanos::from_millis(20_000);

/// When each node last disagreed with a third of the power.
#[derive(Default)]
pub struct ClockCheck {
    disagreed: Vec<Nanos>,
}

impl ClockCheck {
    /// Looks at all clocks, validators first; to be called whenever one was told to its node.
    pub fn look(&mut self, now: Nanos, clocks: &[NodeClock], validators: usize) {
        self.disagreed.resize(clocks.len(), Nanos::ZERO);
        for (clock, disagreed) in clocks.iter().zip(&mut self.disagreed) {
            let error = clock.error_ns(now);
            let agrees = |other: &&NodeClock| other.error_ns(now).abs_diff(error) < AGREE_NS;
            let with = clocks[..validators].iter().filter(agrees).count();
            if with * 3 <= validators * 2 {
                *disagreed = now;
            }
        }
    }

    /// A process goes on that stood still: what it remembers is older by so much.
    pub fn stood_still(&mut self, now: Nanos, node: usize) {
        if let Some(disagreed) = self.disagreed.get_mut(node) {
            *disagreed = now;
        }
    }

    /// What a node says of its clock.
    pub fn said(&self, now: Nanos, node: usize, event: &Event) -> CheckOutcome {
        let Event::Clock { offset_ns, grade, .. } = event else {
            return Ok(());
        };
        let disagreed = self.disagreed.get(node).copied().unwrap_or_default();
        if *grade == Grade::Right || now.since(disagreed) <= MEMORY {
            return Ok(());
        }
        Err((
            "clock",
            format!(
                "it calls its own clock wrong by {offset_ns:?} ns, and it agrees with more than two thirds of the power"
            ),
        ))
    }
}
