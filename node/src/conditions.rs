//! This file knows what is wrong with a node now, since when, and how people hear of it.
//!
//! `/health`, `/metrics`, the live views and the alerts take ids, words and actions from one catalogue:
//!
//! ```text
//!   board, store ──▶ Facts ──▶ CATALOGUE, entry by entry ──▶ Spells: since when ──▶ /health, /metrics, live views
//! ```
//!
//! Keeps: an entry is listed once at most. What is over is not listed, except events that are told for a while: they
//! say how long ago they were.

mod catalogue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use ultramarine_core::room::crowded;
use ultramarine_runtime::{Gauge, Moment, Registry};
use ultramarine_types::ChainParams;
use ultramarine_types::storage::Source;

use crate::board::{Board, Snapshot};

pub use catalogue::{CATALOGUE, CatalogueEntry};

/// How bad a condition is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The node cannot be relied on.
    Critical,
    /// The node can be relied on and will not stay so, or works below its pace.
    Warning,
}

impl Severity {
    /// The word in JSON and in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// All that the catalogue judges, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub snapshot: &'a Snapshot,
    /// What the store says of a disk without room.
    pub shortage: Option<&'a str>,
    /// How the newest block comes close to the chain's bounds.
    pub crowded: Option<&'a str>,
}

impl<'a> Facts<'a> {
    /// What the board alone tells.
    fn of_board(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            shortage: None,
            crowded: None,
        }
    }

    /// Every entry of the catalogue that holds, in its order, with its words.
    fn judged(&self) -> impl Iterator<Item = (&'static CatalogueEntry, String)> {
        CATALOGUE.iter().filter_map(|entry| Some((entry, entry.holds(self)?)))
    }
}

/// What is wrong now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ActiveCondition {
    /// Its name in the catalogue.
    pub id: String,
    pub severity: Severity,
    /// One line for the operator, with the numbers that matter.
    pub what: String,
    /// What the operator does.
    pub action: String,
    /// When this spell of it began, in Unix seconds by the wall clock as it is now.
    pub since_unix_s: u64,
    /// Whether it tells of something that is over. Its words say how long ago that was.
    #[serde(default)]
    pub is_over: bool,
}

/// Why a node with this board should not be relied on; empty when it is ready.
pub fn unready(snapshot: &Snapshot) -> Vec<String> {
    Facts::of_board(snapshot)
        .judged()
        .filter(|(entry, _)| entry.severity == Severity::Critical)
        .map(|(_, what)| what)
        .collect()
}

/// Judges a running node, and remembers since when each condition lasts.
#[derive(Debug)]
pub struct Conditions {
    chain: ChainParams,
    board: Arc<Board>,
    source: Arc<dyn Source>,
    spells: Mutex<Spells>,
    /// One for each entry, in the catalogue's order.
    shown: Vec<Gauge>,
}

impl Conditions {
    pub fn new(chain: ChainParams, board: Arc<Board>, source: Arc<dyn Source>, registry: &Registry) -> Self {
        Self {
            chain,
            board,
            source,
            spells: Mutex::default(),
            shown: register_metrics(registry),
        }
    }

    /// What is wrong now: critical conditions first, of equal ones the oldest first. The metric follows.
    pub fn look(&self) -> Vec<ActiveCondition> {
        let snapshot = self.board.snapshot();
        let shortage = self.source.shortage();
        let newest = self.source.decided(self.source.head());
        let crowded = newest.and_then(|newest| crowded(&self.chain, &newest.init.metadata));
        let facts = Facts {
            snapshot: &snapshot,
            shortage: shortage.as_deref(),
            crowded: crowded.as_deref(),
        };
        let found: Vec<_> = facts.judged().collect();
        for (entry, shown) in CATALOGUE.iter().zip(&self.shown) {
            shown.set(i64::from(found.iter().any(|(found, _)| found.id == entry.id)));
        }
        // Every writer leaves the spells whole.
        let mut spells = self.spells.lock().unwrap_or_else(PoisonError::into_inner);
        spells.listed(found, Moment::now())
    }
}

/// Registers the metric of every condition, in the catalogue's order.
pub fn register_metrics(registry: &Registry) -> Vec<Gauge> {
    let shown = |entry: &CatalogueEntry| {
        registry.gauge(
            "ultramarine_condition",
            "1 while this condition of the catalogue lasts, else 0; /health has its words and what to do.",
            &[("condition", entry.id), ("severity", entry.severity.name())],
        )
    };
    CATALOGUE.iter().map(shown).collect()
}

/// When each condition that lasts began.
#[derive(Debug, Default)]
struct Spells {
    begun: BTreeMap<&'static str, Moment>,
}

impl Spells {
    fn listed(&mut self, found: Vec<(&'static CatalogueEntry, String)>, now: Moment) -> Vec<ActiveCondition> {
        self.begun
            .retain(|id, _| found.iter().any(|(entry, _)| entry.id == *id));
        let mut listed: Vec<(Moment, ActiveCondition)> = found
            .into_iter()
            .map(|(entry, what)| {
                let begun = *self.begun.entry(entry.id).or_insert(now);
                let condition = ActiveCondition {
                    id: entry.id.to_owned(),
                    severity: entry.severity,
                    what,
                    action: entry.action.to_owned(),
                    since_unix_s: begun.unix_s_as_of(now),
                    is_over: entry.is_over,
                };
                (begun, condition)
            })
            .collect();
        // The sort is stable: of equal age, the catalogue's order stays.
        listed.sort_by_key(|(begun, condition)| (condition.severity, begun.at));
        assert!(
            listed.len() == self.begun.len(),
            "a spell lasts as long as its condition"
        );
        listed.into_iter().map(|(_, condition)| condition).collect()
    }
}
