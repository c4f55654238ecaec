//! Planted bugs that stop or slow a chain, each found by a liveness run of a class: the proof that the bounds bind.
//!
//! Run with `cargo test --release --features ultramarine-sim/planted --test liveness`.

use ultramarine_core::Planted;
use ultramarine_sim::Violation;
use ultramarine_sim::liveness::{FaultClass, LivenessPlan, run_plan};
use ultramarine_sim::planted::PlantedBug;

/// Seeds tried for each bug.
const SEEDS: u64 = 30;

/// What a run of this class breaks with the bug planted, and nothing without it.
fn found(class: FaultClass, bug: Planted) -> Violation {
    for seed in 0..SEEDS {
        let mut sick = LivenessPlan::of_class(seed, class);
        sick.config.planted = Some(PlantedBug::Core(bug));
        if let Some(violation) = run_plan(sick, None).report.violation {
            println!("{bug:?}: seed {seed}: {violation}");
            let clean = run_plan(LivenessPlan::of_class(seed, class), None).report.violation;
            assert_eq!(clean, None, "seed {seed} is clean without the bug");
            return violation;
        }
    }
    panic!("{bug:?} is not found in {SEEDS} seeds of {}", class.name());
}

fn found_late(class: FaultClass, bug: Planted) {
    let violation = found(class, bug);
    assert_eq!(violation.invariant, "I14", "{violation}");
}

#[test]
fn nothing_passed_on_stops_sparse_links() {
    found_late(FaultClass::Sparse, Planted::NothingRelayed);
}

#[test]
fn unheard_calls_stop_sparse_links() {
    found_late(FaultClass::Sparse, Planted::CallsUnheard);
}

#[test]
fn proposers_waited_for_in_vain_make_a_crashed_minority_late() {
    found_late(FaultClass::Crashed, Planted::EveryProposerAwaited);
}

#[test]
fn a_silent_server_that_nobody_stands_in_for_makes_lagging_members_late() {
    found_late(FaultClass::Lagging, Planted::NoSecondPeer);
}

#[test]
fn blocks_built_anew_in_each_round_make_slow_clients_late() {
    found_late(FaultClass::SlowClients, Planted::NothingRepeated);
}

#[test]
fn everything_told_again_breaks_a_ceiling_in_a_long_height() {
    let violation = found(FaultClass::LongHeight, Planted::EverythingTold);
    assert_eq!(violation.invariant, "I11", "{violation}");
}
