//! Bugs, each planted in every node, each found by seeds or by a scenario: the proof that the checkers check.
//!
//! Run with `cargo test --release --features ultramarine-sim/planted --test planted`. The last test prints what found
//! each bug, and after how many seeds.

#[path = "planted/shapes.rs"]
mod shapes;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock};

use shapes::{
    as_they_are, with_bad_relay, with_bans, with_crashes, with_equivocator, with_liar, with_moods, with_relaunch,
    with_rising_tips, with_rot, with_rot_and_bad_relay, with_rule_breaker,
};
use ultramarine_core::Planted;
use ultramarine_net::streaming::JoinBug;
use ultramarine_runtime::print;
use ultramarine_sim::planted::PlantedBug::{
    self, AnyChainsHellos, Core, Join, NobodyGivesWay, SlownessBanned, StatusesUnmerged, StreamedToAll, TurnsWaived,
};
use ultramarine_sim::{RunConfig, Violation, run, scenarios};
use ultramarine_types::Nanos;

/// Seeds tried for each bug, before it counts as missed.
const SEEDS: u64 = 200;
/// Bugs there are at least, and the seeds after which half of them are found.
const BUGS_MIN: usize = 24;
const MEDIAN_MAX: u64 = 50;

/// What is run from each seed.
#[derive(Clone, Copy)]
enum By {
    /// Plain seeds, with what the bug needs in each.
    Seeds(&'static str, fn(RunConfig) -> RunConfig),
    /// A named scenario, from each seed.
    Scenario(&'static str),
}

use By::{Scenario, Seeds};

impl By {
    fn name(self) -> String {
        match self {
            Seeds(what, _) => format!("seeds, {what}"),
            Scenario(name) => format!("scenario `{name}`"),
        }
    }

    /// What goes wrong in a run. A run that panics breaks an assertion.
    fn run(self, seed: u64, bug: Option<PlantedBug>) -> Option<Violation> {
        let run = || match self {
            Seeds(_, shape) => {
                let mut config = shape(RunConfig::of(seed));
                config.planted = bug;
                run(config)
            }
            Scenario(name) => {
                let known = scenarios::ALL.iter().find(|known| known.name == name);
                let scenario = *known.expect("the scenario is listed");
                let mut config = (scenario.config)(seed);
                config.planted = bug;
                scenarios::report_of(scenario, config)
            }
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(report) => report.violation,
            Err(panic) => Some(Violation {
                invariant: "assertion",
                node: 0,
                at: Nanos::ZERO,
                what: panic.downcast_ref::<String>().cloned().unwrap_or_default(),
            }),
        }
    }

    /// Asserts that a seed without a bug is clean, once.
    fn assert_clean(self, seed: u64) {
        static CLEAN: Mutex<BTreeSet<(String, u64)>> = Mutex::new(BTreeSet::new());
        let known = || CLEAN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let of_run = (self.name(), seed);
        if !known().contains(&of_run) {
            assert_eq!(self.run(seed, None), None, "{}: seed {seed} without the bug", of_run.0);
            known().insert(of_run);
        }
    }
}

/// A bug, and what finds it.
struct Hunt {
    bug: PlantedBug,
    by: By,
    /// Invariants that it breaks, or words of what is said about it.
    breaks: &'static [&'static str],
}

const fn hunt(bug: PlantedBug, by: By, breaks: &'static [&'static str]) -> Hunt {
    Hunt { bug, by, breaks }
}

/// How a bug was found.
struct Found {
    seeds: u64,
    violation: Violation,
}

impl Hunt {
    fn name(&self) -> String {
        match self.bug {
            Core(bug) => format!("{bug:?}"),
            Join(bug) => format!("{bug:?}"),
            of_world => format!("{of_world:?}"),
        }
    }

    /// Tries seed after seed. A bug may first show by what follows from it, so one that shows otherwise goes on.
    fn search(&self) -> Found {
        let mut others = BTreeSet::new();
        for seed in 0..SEEDS {
            let violation = self.by.run(seed, Some(self.bug));
            self.by.assert_clean(seed);
            let shows = |violation: &Violation| {
                let mut breaks = self.breaks.iter();
                breaks.any(|what| violation.invariant == *what || violation.what.contains(what))
            };
            match violation {
                Some(violation) if shows(&violation) => {
                    let seeds = seed + 1;
                    return Found { seeds, violation };
                }
                Some(violation) => drop(others.insert(violation.invariant)),
                None => {}
            }
        }
        let (bug, by) = (self.name(), self.by.name());
        panic!("{bug} is not found by {by} in {SEEDS} seeds; other violations: {others:?}");
    }
}

/// What a hunt found; each is made once.
fn outcome(position: usize) -> &'static Found {
    static FOUND: [OnceLock<Found>; HUNTS.len()] = [const { OnceLock::new() }; HUNTS.len()];
    FOUND[position].get_or_init(|| HUNTS[position].search())
}

/// Asserts that a bug is found by all that is to find it.
fn is_found(bug: PlantedBug) {
    let hunts = (0..HUNTS.len()).filter(|position| HUNTS[*position].bug == bug);
    let found: Vec<_> = hunts.map(outcome).collect();
    assert!(!found.is_empty(), "{bug:?} is hunted");
}

const PLAIN: By = Seeds("as they are", as_they_are);
const MOODS: By = Seeds("clients in moods", with_moods);
const CRASHES: By = Seeds("crashes alone", with_crashes);
const RULE_BREAKER: By = Seeds("a rule breaker", with_rule_breaker);
const EQUIVOCATOR: By = Seeds("an equivocator", with_equivocator);
const BAD_RELAY: By = Seeds("a bad relay", with_bad_relay);
const RELAUNCH: By = Seeds("a relaunched validator", with_relaunch);
const LIAR: By = Seeds("a liar", with_liar);
const ROT: By = Seeds("rotting disks", with_rot);
const ROT_AND_BAD_RELAY: By = Seeds("rotting disks and a bad relay", with_rot_and_bad_relay);
const RISING_TIPS: By = Seeds("four strangers with rising tips", with_rising_tips);

const BANS: By = Seeds("nodes that ban", with_bans);

/// Another process's signatures: the node's own defence, as peers return what it forgot or never said.
const FOREIGN: &str = "ForeignSignatures";

const HUNTS: &[Hunt] = &[
    hunt(Core(Planted::SkipReadiness), MOODS, &["I9"]),
    hunt(Core(Planted::AnyValidHead), MOODS, &["I9"]),
    hunt(Core(Planted::WrongBlobCount), RULE_BREAKER, &["validity"]),
    // Consensus decides one of two values, and the node looks for the other one's bytes. A checker may see the wrong
    // bytes first, or a vote for one value by the other's bytes.
    hunt(
        Core(Planted::BytesByRound),
        EQUIVOCATOR,
        &["I6", "I13", "whose bytes are not stored"],
    ),
    hunt(Core(Planted::RelayBlamed), BAD_RELAY, &["blame"]),
    hunt(Core(Planted::StaleLog), CRASHES, &["I8", FOREIGN]),
    hunt(Core(Planted::PrevoteBeforeExecution), PLAIN, &["I13"]),
    hunt(Core(Planted::AnyChainsVotes), RELAUNCH, &["blame", FOREIGN]),
    // A node passes for another validator's.
    hunt(AnyChainsHellos, RELAUNCH, &["admission"]),
    hunt(Core(Planted::ProofsUncounted), RULE_BREAKER, &["admission"]),
    hunt(Core(Planted::InitReplaced), BAD_RELAY, &["admission"]),
    hunt(Core(Planted::AnyBeaconRoot), RULE_BREAKER, &["validity"]),
    hunt(Join(JoinBug::RootUnchecked), BAD_RELAY, &["blame"]),
    // Such a value has every part and never a verdict, or it is stored with bytes that are not its own.
    hunt(Join(JoinBug::DigestUnchecked), BAD_RELAY, &["liveness", "I3"]),
    // A relay's bytes are charged to somebody else, or a height is brought back with them, or a node with them in place
    // of the right ones comes no further.
    hunt(
        Join(JoinBug::PartBeforeDigest),
        BAD_RELAY,
        &["liveness", "blame", "I16"],
    ),
    hunt(Join(JoinBug::FirstComeKept), Scenario("garbage-flood"), &["scenario"]),
    hunt(Join(JoinBug::RestoredUnchecked), ROT_AND_BAD_RELAY, &["I16"]),
    hunt(Core(Planted::DamageIgnored), ROT, &["I16"]),
    // So many are asked for that memory tells of it before the heights that nobody asks for do.
    hunt(Core(Planted::TipsAmongHeights), RISING_TIPS, &["I11", "liveness"]),
    hunt(Core(Planted::NothingRepeated), Scenario("slow-links"), &["scenario"]),
    hunt(
        Core(Planted::NothingRepeated),
        Scenario("slow-client-needed"),
        &["scenario"],
    ),
    hunt(Core(Planted::RoundsAlike), Scenario("slow-messages"), &["scenario"]),
    hunt(Core(Planted::LateBuildsDropped), Scenario("slow-builds"), &["I14"]),
    hunt(
        Core(Planted::EveryProposerAwaited),
        Scenario("gate-closed"),
        &["scenario"],
    ),
    hunt(
        Core(Planted::SilentAwaited),
        Scenario("clients-away-and-one-silent"),
        &["scenario"],
    ),
    hunt(Core(Planted::SpoiltAwaited), Scenario("gas-limit"), &["scenario"]),
    hunt(
        Core(Planted::AnyProofCount),
        Scenario("proof-counts"),
        &["scenario", "blame"],
    ),
    hunt(
        Core(Planted::ParentPlusOneWithheld),
        Scenario("fast-chain"),
        &["scenario"],
    ),
    hunt(
        Core(Planted::PayloadErrorCloses),
        Scenario("payload-error"),
        &["scenario"],
    ),
    hunt(Core(Planted::ClaimsFirst), Scenario("hollow-holders"), &["scenario"]),
    hunt(Core(Planted::NoSecondPeer), Scenario("mute-servers"), &["scenario"]),
    hunt(
        Core(Planted::FailuresForgotten),
        Scenario("mute-servers"),
        &["scenario"],
    ),
    hunt(Core(Planted::NothingRelayed), Scenario("missing-edge"), &["scenario"]),
    hunt(Core(Planted::UnlinkedAway), Scenario("missing-edge"), &["scenario"]),
    hunt(
        Core(Planted::CallsUnheard),
        Scenario("restart-behind-a-missing-edge"),
        &["scenario"],
    ),
    hunt(Core(Planted::CallsUnheard), Scenario("ring"), &["scenario"]),
    hunt(Core(Planted::CallsUnheard), Scenario("star"), &["scenario"]),
    hunt(
        Core(Planted::CallsRestTogether),
        Scenario("restart-behind-replayed-calls"),
        &["scenario"],
    ),
    hunt(Core(Planted::BegunUnready), Scenario("no-round-lost"), &["scenario"]),
    hunt(Core(Planted::EverythingTold), Scenario("thousands-of-rounds"), &["I11"]),
    hunt(
        Core(Planted::AllListenedOut),
        Scenario("killed-and-back"),
        &["scenario"],
    ),
    hunt(Core(Planted::WipedSigns), Scenario("wiped-validator"), &["I8", FOREIGN]),
    hunt(Core(Planted::WipedSigns), Scenario("wiped-in-a-ring"), &["I8", FOREIGN]),
    hunt(Core(Planted::GateOpen), PLAIN, &["I8"]),
    hunt(Core(Planted::BlobsWaived), LIAR, &["I3"]),
    hunt(Core(Planted::OthersKept), PLAIN, &["I10", "outlived its height"]),
    hunt(Core(Planted::PauseUnseen), Scenario("short-pauses"), &["scenario"]),
    hunt(
        Core(Planted::PauseCharged),
        Scenario("pause-while-behind"),
        &["scenario"],
    ),
    hunt(StreamedToAll, Scenario("slow-line"), &["scenario"]),
    hunt(Core(Planted::LineUnmeasured), Scenario("slow-line"), &["scenario"]),
    hunt(SlownessBanned, BANS, &["blame"]),
    hunt(TurnsWaived, Scenario("package-pullers"), &["scenario"]),
    hunt(NobodyGivesWay, Scenario("all-places-taken"), &["scenario"]),
    hunt(StatusesUnmerged, Scenario("status-flood"), &["scenario"]),
];

#[test]
fn skipped_readiness_is_found() {
    is_found(Core(Planted::SkipReadiness));
}

#[test]
fn a_gate_that_any_valid_opens_is_found() {
    is_found(Core(Planted::AnyValidHead));
}

#[test]
fn a_wrong_blob_count_is_found() {
    is_found(Core(Planted::WrongBlobCount));
}

#[test]
fn bytes_looked_up_by_round_are_found() {
    is_found(Core(Planted::BytesByRound));
}

#[test]
fn a_value_called_invalid_for_a_bad_part_is_found() {
    is_found(Core(Planted::RelayBlamed));
}

#[test]
fn signing_from_a_stale_log_is_found() {
    is_found(Core(Planted::StaleLog));
}

#[test]
fn a_prevote_before_execution_is_found() {
    is_found(Core(Planted::PrevoteBeforeExecution));
}

#[test]
fn votes_and_proposals_of_any_chain_are_found() {
    is_found(Core(Planted::AnyChainsVotes));
}

#[test]
fn hellos_and_attestations_of_any_chain_are_found() {
    is_found(AnyChainsHellos);
}

#[test]
fn a_value_whose_proofs_nobody_can_have_is_found() {
    is_found(Core(Planted::ProofsUncounted));
}

#[test]
fn an_init_replaced_by_an_unsigned_one_is_found() {
    is_found(Core(Planted::InitReplaced));
}

#[test]
fn a_parent_that_is_not_proven_is_found() {
    is_found(Core(Planted::AnyBeaconRoot));
}

#[test]
fn a_list_that_its_root_does_not_bind_is_found() {
    is_found(Join(JoinBug::RootUnchecked));
}

#[test]
fn bytes_that_the_lanes_called_wrong_are_found() {
    is_found(Join(JoinBug::DigestUnchecked));
}

#[test]
fn a_blob_taken_before_its_digest_is_found() {
    is_found(Join(JoinBug::PartBeforeDigest));
}

#[test]
fn a_place_that_the_first_comer_keeps_is_found() {
    is_found(Join(JoinBug::FirstComeKept));
}

#[test]
fn a_height_healed_with_other_bytes_is_found() {
    is_found(Join(JoinBug::RestoredUnchecked));
}

#[test]
fn damage_that_nobody_heals_is_found() {
    is_found(Core(Planted::DamageIgnored));
}

#[test]
fn tips_that_take_the_places_of_heights_are_found() {
    is_found(Core(Planted::TipsAmongHeights));
}

#[test]
fn blocks_built_anew_in_each_round_are_found() {
    is_found(Core(Planted::NothingRepeated));
}

#[test]
fn rounds_that_never_grow_are_found() {
    is_found(Core(Planted::RoundsAlike));
}

#[test]
fn late_builds_thrown_away_are_found() {
    is_found(Core(Planted::LateBuildsDropped));
}

#[test]
fn a_proposer_that_is_waited_for_in_vain_is_found() {
    is_found(Core(Planted::EveryProposerAwaited));
}

#[test]
fn a_next_block_of_a_client_out_of_bounds_awaited_is_found() {
    is_found(Core(Planted::SpoiltAwaited));
}

#[test]
fn a_bundle_of_any_number_of_proofs_is_found() {
    is_found(Core(Planted::AnyProofCount));
}

#[test]
fn a_withheld_parent_plus_one_is_found() {
    is_found(Core(Planted::ParentPlusOneWithheld));
}

#[test]
fn a_gate_that_one_payload_closes_is_found() {
    is_found(Core(Planted::PayloadErrorCloses));
}

#[test]
fn claimed_holdings_that_go_before_the_origin_are_found() {
    is_found(Core(Planted::ClaimsFirst));
}

#[test]
fn a_silent_server_that_nobody_stands_in_for_is_found() {
    is_found(Core(Planted::NoSecondPeer));
}

#[test]
fn failures_forgotten_with_the_connection_are_found() {
    is_found(Core(Planted::FailuresForgotten));
}

#[test]
fn nothing_passed_on_is_found() {
    is_found(Core(Planted::NothingRelayed));
}

#[test]
fn a_far_proposer_that_is_not_awaited_is_found() {
    is_found(Core(Planted::UnlinkedAway));
}

#[test]
fn an_unheard_call_is_found() {
    is_found(Core(Planted::CallsUnheard));
}

#[test]
fn a_height_begun_before_the_clients_have_replayed_is_found() {
    is_found(Core(Planted::BegunUnready));
}

#[test]
fn everything_told_again_is_found() {
    is_found(Core(Planted::EverythingTold));
}

#[test]
fn a_start_that_listens_to_the_end_is_found() {
    is_found(Core(Planted::AllListenedOut));
}

#[test]
fn a_wiped_validator_that_signs_at_once_is_found() {
    is_found(Core(Planted::WipedSigns));
}

#[test]
fn messages_before_their_records_are_found() {
    is_found(Core(Planted::GateOpen));
}

#[test]
fn a_height_taken_without_its_blobs_is_found() {
    is_found(Core(Planted::BlobsWaived));
}

#[test]
fn values_that_outlive_their_height_are_found() {
    is_found(Core(Planted::OthersKept));
}

#[test]
fn waits_that_end_before_what_came_is_read_are_found() {
    is_found(Core(Planted::PauseUnseen));
}

#[test]
fn values_streamed_to_full_nodes_that_are_behind_are_found() {
    is_found(StreamedToAll);
}

#[test]
fn second_peers_asked_by_the_clock_alone_are_found() {
    is_found(Core(Planted::LineUnmeasured));
}

#[test]
fn a_ban_for_slowness_is_found() {
    is_found(SlownessBanned);
}

#[test]
fn packages_that_wait_for_no_turn_are_found() {
    is_found(TurnsWaived);
}

#[test]
fn places_that_are_taken_for_ever_are_found() {
    is_found(NobodyGivesWay);
}

#[test]
fn statuses_that_are_never_merged_are_found() {
    is_found(StatusesUnmerged);
}

#[test]
fn one_rest_for_all_calls_of_a_listener_is_found() {
    is_found(Core(Planted::CallsRestTogether));
}

#[test]
fn a_silent_validator_that_is_waited_for_without_limit_is_found() {
    is_found(Core(Planted::SilentAwaited));
}

#[test]
fn a_pause_that_others_pay_for_is_found() {
    is_found(Core(Planted::PauseCharged));
}

/// The bugs and what found them, one line each.
#[test]
fn half_of_them_are_found_within_fifty_seeds() {
    // From the end: tests that run beside this one begin at the front.
    for position in (0..HUNTS.len()).rev() {
        outcome(position);
    }
    print::line_or_end("| bug | found by | seeds | as |\n|---|---|---|---|");
    for (position, hunt) in HUNTS.iter().enumerate() {
        let Found { seeds, violation } = outcome(position);
        print::line_or_end(format_args!(
            "| `{}` | {} | {seeds} | {} |",
            hunt.name(),
            hunt.by.name(),
            violation.invariant
        ));
    }
    let names: BTreeSet<String> = HUNTS.iter().map(Hunt::name).collect();
    // A bug that several things find took as many seeds as the slowest of them.
    let mut seeds: Vec<u64> = names.iter().map(|name| seeds_of(name)).collect();
    seeds.sort_unstable();
    let median = seeds[seeds.len() / 2];
    print::line_or_end(format_args!("{} bugs; seeds in the median: {median}", names.len()));
    assert!(names.len() >= BUGS_MIN, "{} bugs", names.len());
    assert!(median <= MEDIAN_MAX, "{median} seeds in the median");
}

fn seeds_of(name: &str) -> u64 {
    let hunts = (0..HUNTS.len()).filter(|position| HUNTS[*position].name() == name);
    hunts.map(|position| outcome(position).seeds).max().unwrap_or(0)
}
