//! Bugs, each planted in every node, each found by a seed: the proof that the checkers check.
//!
//! Run with `cargo test --release -p ultramarine-sim --features planted --test planted`.

use ultramarine_core::Planted;
use ultramarine_net::streaming::JoinBug;
use ultramarine_sim::adversaries::AdversaryKind;
use ultramarine_sim::engine::Mood;
use ultramarine_sim::faults::FaultKind;
use ultramarine_sim::planted::PlantedBug;
use ultramarine_sim::{RunConfig, Violation, run, scenarios};
use ultramarine_types::Nanos;

/// Seeds tried for each bug.
const SEEDS: u64 = 60;
/// Violations after which no more seeds are tried: a bug may first show by what follows from it.
const VIOLATIONS: usize = 6;

/// What runs of this kind break with the bug planted, and nothing without it.
fn found(planted: PlantedBug, shape: impl Fn(RunConfig) -> RunConfig) -> Vec<Violation> {
    found_up_to(VIOLATIONS, planted, shape)
}

fn found_up_to(violations_max: usize, planted: PlantedBug, shape: impl Fn(RunConfig) -> RunConfig) -> Vec<Violation> {
    let mut broken = Vec::new();
    for seed in 0..SEEDS {
        let healthy = shape(RunConfig::of(seed));
        let mut sick = healthy.clone();
        sick.planted = Some(planted);
        if let Some(violation) = run(sick).violation {
            println!("{planted:?}: seed {seed}: {violation}");
            let clean = run(healthy);
            assert_eq!(clean.violation, None, "seed {seed} is clean without the bug");
            broken.push(violation);
            if broken.len() == violations_max {
                break;
            }
        }
    }
    broken
}

fn names(broken: &[Violation], invariant: &str) -> bool {
    broken.iter().any(|violation| violation.invariant == invariant)
}

fn with_adversary(kind: AdversaryKind) -> impl Fn(RunConfig) -> RunConfig {
    move |config| RunConfig {
        adversaries: vec![(1, kind)],
        ..config
    }
}

#[test]
fn skipped_readiness_is_found() {
    let moody = |config: RunConfig| RunConfig {
        fault_kinds: vec![FaultKind::ElMood],
        fault_every: Some(Nanos::from_millis(500)),
        adversaries: Vec::new(),
        ..config
    };
    assert!(
        Mood::ALL.contains(&Mood::StaleHead),
        "the mood that skipped readiness would miss"
    );
    let broken = found(PlantedBug::Core(Planted::SkipReadiness), moody);
    assert!(names(&broken, "I9"), "{broken:?}");
}

#[test]
fn a_gate_that_any_valid_opens_is_found() {
    let moody = |config: RunConfig| RunConfig {
        fault_kinds: vec![FaultKind::ElMood],
        fault_every: Some(Nanos::from_millis(500)),
        adversaries: Vec::new(),
        ..config
    };
    let broken = found(PlantedBug::Core(Planted::AnyValidHead), moody);
    assert!(names(&broken, "I9"), "{broken:?}");
}

#[test]
fn blocks_built_anew_in_each_round_are_found() {
    for scenario in ["slow-links", "slow-client-needed"] {
        let violation = found_by(scenario, PlantedBug::Core(Planted::NothingRepeated));
        assert_eq!(violation.invariant, "scenario", "{violation}");
    }
}

#[test]
fn a_proposer_that_is_waited_for_in_vain_is_found() {
    let violation = found_by("gate-closed", PlantedBug::Core(Planted::EveryProposerAwaited));
    assert_eq!(violation.invariant, "scenario", "{violation}");
}

#[test]
fn a_withheld_parent_plus_one_is_found() {
    let violation = found_by("fast-chain", PlantedBug::Core(Planted::ParentPlusOneWithheld));
    assert_eq!(violation.invariant, "scenario", "{violation}");
}

#[test]
fn a_gate_that_one_payload_closes_is_found() {
    let violation = found_by("payload-error", PlantedBug::Core(Planted::PayloadErrorCloses));
    assert_eq!(violation.invariant, "scenario", "{violation}");
}

#[test]
fn a_wrong_blob_count_is_found() {
    let broken = found(
        PlantedBug::Core(Planted::WrongBlobCount),
        with_adversary(AdversaryKind::RuleBreaker),
    );
    assert!(names(&broken, "validity"), "{broken:?}");
}

#[test]
fn bytes_looked_up_by_round_are_found() {
    let broken = found(
        PlantedBug::Core(Planted::BytesByRound),
        with_adversary(AdversaryKind::Equivocator),
    );
    // Consensus decides one of two values, and the node looks for the other one's bytes. It stops itself for that
    // reason and no other. A checker may see the wrong bytes first, or a vote for one value by the other's bytes.
    let lost = |violation: &Violation| violation.what.contains("whose bytes are not stored");
    let mistaken = names(&broken, "I6") || names(&broken, "I13");
    assert!(mistaken || broken.iter().any(lost), "{broken:?}");
}

#[test]
fn a_value_called_invalid_for_a_bad_part_is_found() {
    let broken = found(
        PlantedBug::Core(Planted::RelayBlamed),
        with_adversary(AdversaryKind::BadRelay),
    );
    assert!(names(&broken, "blame"), "{broken:?}");
}

#[test]
fn signing_from_a_stale_log_is_found() {
    let crashing = |config: RunConfig| RunConfig {
        fault_kinds: vec![FaultKind::Crash, FaultKind::CrashBetween, FaultKind::CrashAll],
        adversaries: Vec::new(),
        ..config
    };
    let broken = found(PlantedBug::Core(Planted::StaleLog), crashing);
    // Either the contradiction is seen, or the node's own defence stops it first, as peers return what it forgot: that
    // reason and no other.
    let stopped = |violation: &Violation| violation.what.contains("ForeignSignatures");
    assert!(names(&broken, "I8") || broken.iter().any(stopped), "{broken:?}");
}

#[test]
fn a_prevote_before_execution_is_found() {
    let broken = found(PlantedBug::Core(Planted::PrevoteBeforeExecution), |config| config);
    assert!(names(&broken, "I13"), "{broken:?}");
}

#[test]
fn votes_and_proposals_of_any_chain_are_found() {
    let broken = found(
        PlantedBug::Core(Planted::AnyChainsVotes),
        with_adversary(AdversaryKind::Relaunch),
    );
    // An honest validator is convicted by what it signed on another chain, or takes that for another process's.
    let stopped = |violation: &Violation| violation.what.contains("ForeignSignatures");
    assert!(names(&broken, "blame") || broken.iter().any(stopped), "{broken:?}");
}

#[test]
fn hellos_and_attestations_of_any_chain_are_found() {
    let broken = found(PlantedBug::AnyChainsHellos, with_adversary(AdversaryKind::Relaunch));
    // A node passes for another validator's.
    assert!(names(&broken, "admission"), "{broken:?}");
}

#[test]
fn a_value_whose_proofs_nobody_can_have_is_found() {
    let broken = found(
        PlantedBug::Core(Planted::ProofsUncounted),
        with_adversary(AdversaryKind::RuleBreaker),
    );
    assert!(names(&broken, "admission"), "{broken:?}");
}

#[test]
fn an_init_replaced_by_an_unsigned_one_is_found() {
    let broken = found(
        PlantedBug::Core(Planted::InitReplaced),
        with_adversary(AdversaryKind::BadRelay),
    );
    assert!(names(&broken, "admission"), "{broken:?}");
}

#[test]
fn a_parent_that_is_not_proven_is_found() {
    let broken = found(
        PlantedBug::Core(Planted::AnyBeaconRoot),
        with_adversary(AdversaryKind::RuleBreaker),
    );
    assert!(names(&broken, "validity"), "{broken:?}");
}

/// What a bug of the join breaks where relays spoil what they send.
fn found_in_the_join(bug: JoinBug) -> Vec<Violation> {
    found_up_to(2, PlantedBug::Join(bug), with_adversary(AdversaryKind::BadRelay))
}

#[test]
fn a_list_that_its_root_does_not_bind_is_found() {
    let broken = found_in_the_join(JoinBug::RootUnchecked);
    assert!(names(&broken, "blame"), "{broken:?}");
}

#[test]
fn bytes_that_the_lanes_called_wrong_are_found() {
    let broken = found_in_the_join(JoinBug::DigestUnchecked);
    // Such a value has every part and never a verdict, or it is stored with bytes that are not its own.
    let is_stuck = names(&broken, "liveness");
    assert!(is_stuck || names(&broken, "I3"), "{broken:?}");
}

#[test]
fn a_blob_taken_before_its_digest_is_found() {
    let broken = found_in_the_join(JoinBug::PartBeforeDigest);
    // A relay's bytes are charged to somebody else, or a height is brought back with them, or a node with them in place
    // of the right ones comes no further.
    let is_stuck = names(&broken, "liveness");
    assert!(
        is_stuck || names(&broken, "blame") || names(&broken, "I16"),
        "{broken:?}"
    );
}

/// Runs in which decided heights rot.
fn rotting(config: RunConfig) -> RunConfig {
    RunConfig {
        rot_every: Some(Nanos::from_millis(500)),
        ..config
    }
}

#[test]
fn damage_that_nobody_heals_is_found() {
    // A client that lost its blocks would wait for the rotten ones, and with it the chain.
    let calm = |config| RunConfig {
        fault_kinds: vec![FaultKind::Reset],
        adversaries: Vec::new(),
        ..rotting(config)
    };
    let broken = found_up_to(2, PlantedBug::Core(Planted::DamageIgnored), calm);
    assert!(names(&broken, "I16"), "{broken:?}");
}

#[test]
fn a_height_healed_with_other_bytes_is_found() {
    let relays = with_adversary(AdversaryKind::BadRelay);
    let bug = PlantedBug::Join(JoinBug::RestoredUnchecked);
    let broken = found_up_to(2, bug, |config| relays(rotting(config)));
    assert!(names(&broken, "I16"), "{broken:?}");
}

/// Runs with strangers that adversaries are, and validators that are away for long.
fn with_strangers(kind: AdversaryKind) -> impl Fn(RunConfig) -> RunConfig {
    move |config| {
        let first = config.validators;
        RunConfig {
            full_nodes: 4,
            adversaries: (first..first + 4).map(|stranger| (stranger, kind)).collect(),
            fault_kinds: vec![FaultKind::LongAway],
            ..config
        }
    }
}

#[test]
fn tips_that_take_the_places_of_heights_are_found() {
    let bug = PlantedBug::Core(Planted::TipsAmongHeights);
    let broken = found_up_to(1, bug, with_strangers(AdversaryKind::RisingTip));
    // So many are asked for that memory tells of it before the heights that nobody asks for do.
    assert!(names(&broken, "I11") || names(&broken, "liveness"), "{broken:?}");
}

/// What a scenario's script says with a bug planted, and nothing without it.
fn found_by(scenario: &str, bug: PlantedBug) -> Violation {
    let known = scenarios::ALL.iter().find(|known| known.name == scenario);
    let scenario = *known.expect("the scenario is listed");
    for seed in 0..SEEDS {
        let healthy = (scenario.config)(seed);
        let mut sick = healthy.clone();
        sick.planted = Some(bug);
        if let Some(violation) = scenarios::report_of(scenario, sick).violation {
            println!("{bug:?}: seed {seed}: {violation}");
            assert_eq!(scenarios::report_of(scenario, healthy).violation, None, "seed {seed}");
            return violation;
        }
    }
    panic!("{bug:?} is not found in {SEEDS} seeds");
}

#[test]
fn claimed_holdings_that_go_before_the_origin_are_found() {
    let broken = found_by("hollow-holders", PlantedBug::Core(Planted::ClaimsFirst));
    assert_eq!(broken.invariant, "scenario", "{broken:?}");
}

#[test]
fn a_silent_server_that_nobody_stands_in_for_is_found() {
    let broken = found_by("mute-servers", PlantedBug::Core(Planted::NoSecondPeer));
    assert_eq!(broken.invariant, "scenario", "{broken:?}");
}

#[test]
fn nothing_passed_on_is_found() {
    let broken = found_by("missing-edge", PlantedBug::Core(Planted::NothingRelayed));
    assert_eq!(broken.invariant, "scenario", "{broken:?}");
}

#[test]
fn an_unheard_call_is_found() {
    for name in ["restart-behind-a-missing-edge", "ring", "star"] {
        let broken = found_by(name, PlantedBug::Core(Planted::CallsUnheard));
        assert_eq!(broken.invariant, "scenario", "{broken:?}");
    }
}

#[test]
fn a_height_begun_before_the_clients_have_replayed_is_found() {
    let broken = found_by("no-round-lost", PlantedBug::Core(Planted::BegunUnready));
    assert_eq!(broken.invariant, "scenario", "{broken:?}");
}

#[test]
fn everything_told_again_is_found() {
    let broken = found_by("thousands-of-rounds", PlantedBug::Core(Planted::EverythingTold));
    assert_eq!(broken.invariant, "I11", "{broken:?}");
}
