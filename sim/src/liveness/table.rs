//! This file knows the table at the end of liveness runs: for each class how many there were, how many ended well, and
//! how near the worst of them came to each bound.

use std::collections::BTreeMap;

use ultramarine_types::Nanos;

use super::{FaultClass, LivenessReport, Measure};

/// The worst measure of a class, and whose it was.
#[derive(Clone, Copy, Debug)]
struct Worst {
    measure: Measure,
    seed: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct Row {
    injected: u64,
    decided: u64,
    able: Option<Worst>,
    first: Option<Worst>,
    following: Option<Worst>,
}

/// See the file's words.
#[derive(Default, Debug)]
pub struct Table {
    rows: BTreeMap<FaultClass, Row>,
}

fn worse(known: &mut Option<Worst>, seed: u64, measure: Option<Measure>) {
    let Some(measure) = measure else { return };
    if known.is_none_or(|known| known.measure.percent() < measure.percent()) {
        *known = Some(Worst { measure, seed });
    }
}

fn seconds(span: Nanos) -> f64 {
    span.0 as f64 / 1e9
}

impl Table {
    /// The head of the lines.
    pub fn head() -> String {
        let part = |name: &str| format!("{name:<12} {:>7} {:>6} {:>5}", "bound s", "ratio", "seed");
        format!(
            "{:<25}{:>4} {:>4} | {} | {} | {}",
            "class",
            "runs",
            "well",
            part("all able: s"),
            part("next: s"),
            part("later: s")
        )
    }

    pub fn add(&mut self, run: &LivenessReport) {
        let row = self.rows.entry(run.class).or_default();
        row.injected += 1;
        row.decided += u64::from(run.measures.is_done);
        worse(&mut row.able, run.report.seed, run.measures.able);
        worse(&mut row.first, run.report.seed, run.measures.first);
        worse(&mut row.following, run.report.seed, run.measures.following);
    }

    /// How often a class was injected.
    pub fn injected(&self, class: FaultClass) -> u64 {
        self.rows.get(&class).map_or(0, |row| row.injected)
    }

    /// One line for each class, those that were not injected too.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        FaultClass::ALL.iter().map(|class| {
            let row = self.rows.get(class).copied().unwrap_or_default();
            format!(
                "{:<25}{:>4} {:>4} | {} | {} | {}",
                class.name(),
                row.injected,
                row.decided,
                part(row.able),
                part(row.first),
                part(row.following)
            )
        })
    }
}

fn part(worst: Option<Worst>) -> String {
    match worst {
        None => format!("{:>12} {:>7} {:>6} {:>5}", "-", "-", "-", "-"),
        Some(Worst { measure, seed }) => format!(
            "{:>12.2} {:>7.2} {:>6.2} {seed:>5}",
            seconds(measure.took),
            seconds(measure.bound),
            measure.took.0 as f64 / measure.bound.0.max(1) as f64,
        ),
    }
}
