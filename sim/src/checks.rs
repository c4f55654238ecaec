//! This file knows when a run has gone wrong: it watches every node's deeds and names the invariant that one broke
//! (ARCHITECTURE.md, invariants I1 to I16).

pub mod agreement;
pub mod blame;
pub mod bounds;
pub mod clocks;
pub mod execution;
pub mod forgetting;
pub mod progress;
pub mod signing;
pub mod storage;
pub mod validity;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ultramarine_types::{Init, Nanos, Signature, ValueId};

/// An invariant that was broken, by whom and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which: `I1` to `I16`, `durability`, `liveness`, `blame`, `validity`, `admission`, `alarm`, `clock` or `stop`.
    pub invariant: &'static str,
    pub node: usize,
    pub at: Nanos,
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} at {:.6} s by node {}: {}",
            self.invariant,
            self.at.0 as f64 / 1e9,
            self.node,
            self.what
        )
    }
}

/// What a checker answers: nothing, or the invariant and what was seen.
pub type CheckOutcome = Result<(), (&'static str, String)>;

/// All checkers, and what they share.
#[derive(Default)]
pub struct Checks {
    /// The first violation; the run stops at it.
    pub violation: Option<Violation>,
    /// Every value anybody has sent or stored.
    pub values: BTreeMap<ValueId, Arc<Init>>,
    /// Those of them that a blob of their own refutes.
    pub false_values: BTreeSet<ValueId>,
    /// `Init`s that an honest node may take, by their id and signatures.
    pub admissible: BTreeSet<(ValueId, Signature, Signature)>,
    /// I12: no two nodes decide differently.
    pub agreement: agreement::Agreement,
    /// I8: nothing signed is contradicted.
    pub signing: signing::Signing,
    /// I9 and I13: nothing is voted for that was not executed.
    pub execution: execution::ExecutionCheck,
    /// I11: bounds hold under any peer.
    pub bounds: bounds::Bounds,
    pub clocks: clocks::ClockCheck,
    /// I14: a connected quorum decides in time.
    pub progress: progress::ProgressCheck,
}

impl Checks {
    /// Keeps the first violation.
    pub fn note(&mut self, at: Nanos, node: usize, checked: CheckOutcome) {
        if let Err((invariant, what)) = checked
            && self.violation.is_none()
        {
            self.violation = Some(Violation {
                invariant,
                node,
                at,
                what,
            });
        }
    }

    pub fn learn(&mut self, id: ValueId, init: &Arc<Init>) {
        self.values.entry(id).or_insert_with(|| Arc::clone(init));
    }
}
