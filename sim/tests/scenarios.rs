//! Every named scenario, from a few seeds each.

use ultramarine_sim::scenarios::{ALL, report};

fn runs_clean(name: &str, seeds: std::ops::Range<u64>) {
    let scenario = *ALL
        .iter()
        .find(|scenario| scenario.name == name)
        .expect("the scenario is listed");
    for seed in seeds {
        let report = report(scenario, seed, None);
        assert_eq!(
            report.violation,
            None,
            "replay: cargo run --release -p ultramarine-sim -- --scenario {name} --seeds {seed}..{} --trace",
            seed + 1
        );
    }
}

/// Even seeds have another value decided, odd ones the dead proposer's.
#[test]
fn a_proposer_killed_in_mid_stream_does_not_stop_the_chain() {
    runs_clean("proposer-killed", 0..8);
}

#[test]
fn a_locked_value_is_decided_later_through_another_proposer_with_its_origin_named() {
    runs_clean("locked-value", 0..8);
}

#[test]
fn the_parents_sidecar_root_after_kill_9_is_that_of_the_stored_metadata() {
    runs_clean("parent-root", 0..8);
}

#[test]
fn the_chain_comes_back_after_all_nodes_and_clients_were_killed() {
    runs_clean("everything-killed", 0..8);
}

#[test]
fn a_node_behind_catches_up_and_holds_the_same_blobs() {
    runs_clean("catch-up", 0..4);
}

#[test]
fn a_node_away_beyond_retention_catches_up_through_metadata() {
    runs_clean("catch-up-pruned", 0..4);
}

#[test]
fn a_killed_validator_signs_at_the_tip_within_half_a_second() {
    runs_clean("killed-and-back", 0..4);
}

#[test]
fn no_round_is_lost_once_all_clients_have_replayed() {
    runs_clean("no-round-lost", 0..4);
}

#[test]
fn a_height_of_thousands_of_rounds_is_decided_once_the_clients_are_back() {
    runs_clean("thousands-of-rounds", 0..1);
}

#[test]
fn validators_that_are_never_connected_decide_in_the_first_round() {
    runs_clean("missing-edge", 0..4);
}

#[test]
fn a_ring_of_seven_begins_and_decides() {
    runs_clean("ring", 0..3);
}

#[test]
fn a_ring_that_is_left_of_all_links_decides() {
    runs_clean("ring-left", 0..3);
}

#[test]
fn a_star_begins_and_decides() {
    runs_clean("star", 0..3);
}

#[test]
fn a_wiped_validator_in_a_ring_contradicts_nothing() {
    runs_clean("wiped-in-a-ring", 0..4);
}

#[test]
fn a_validator_that_starts_behind_a_missing_edge_signs_again() {
    runs_clean("restart-behind-a-missing-edge", 0..4);
}

#[test]
fn calls_of_earlier_starts_that_are_repeated_silence_nobody() {
    runs_clean("restart-behind-replayed-calls", 0..4);
}

#[test]
fn claimed_tips_that_rise_and_are_refused_late_keep_nobody_from_catching_up() {
    runs_clean("rising-tip", 0..8);
    runs_clean("rising-tip-validator", 0..4);
}

#[test]
fn strangers_that_hold_all_places_keep_nobody_out() {
    runs_clean("all-places-taken", 0..4);
}

#[test]
fn packages_without_end_leave_the_round_its_time() {
    runs_clean("package-pullers", 0..4);
}

#[test]
fn statuses_without_end_cost_a_core_little() {
    runs_clean("status-flood", 0..4);
}

#[test]
fn peers_that_never_answer_hold_up_nobody_for_long() {
    runs_clean("mute-servers", 0..4);
}

#[test]
fn a_client_that_answers_valid_with_another_hash_opens_no_gate() {
    runs_clean("other-head", 0..8);
}

#[test]
fn an_error_for_one_payload_costs_a_round_and_no_gate() {
    runs_clean("payload-error", 0..8);
}

#[test]
fn three_hostile_full_nodes_lengthen_no_commit_by_more_than_half() {
    runs_clean("strangers-under-load", 0..5);
}

#[test]
fn claimed_holdings_keep_nobody_from_a_block() {
    runs_clean("hollow-holders", 0..4);
}

#[test]
fn with_one_of_four_validators_down_58_blocks_a_minute_are_decided() {
    runs_clean("one-down", 0..4);
}

#[test]
fn a_false_link_to_a_dead_validator_slows_nobody() {
    runs_clean("one-down-and-claimed", 0..4);
}

#[test]
fn a_proposer_with_a_closed_gate_is_not_waited_for() {
    runs_clean("gate-closed", 0..4);
}

#[test]
fn a_chain_faster_than_its_timestamps_keeps_its_interval() {
    runs_clean("fast-chain", 0..4);
}

#[test]
fn a_client_that_aims_above_the_gas_limit_slows_nobody() {
    runs_clean("gas-limit", 0..4);
}

#[test]
fn a_bundle_with_another_number_of_proofs_is_proposed_by_nobody() {
    runs_clean("proof-counts", 0..4);
}

#[test]
fn a_slow_client_that_is_needed_for_the_quorum_decides_its_first_block() {
    runs_clean("slow-client-needed", 0..6);
}

#[test]
fn clients_that_build_slower_than_any_round_do_not_stop_the_chain() {
    runs_clean("slow-builds", 0..4);
}

#[test]
fn clients_that_were_away_for_many_rounds_are_followed_soon() {
    runs_clean("clients-away", 0..2);
}

#[test]
fn a_silent_validator_lengthens_no_round_beyond_a_few_seconds() {
    runs_clean("clients-away-and-one-silent", 0..4);
}

#[test]
fn a_late_full_node_on_a_slow_line_catches_up() {
    runs_clean("slow-line", 0..4);
}

#[test]
fn a_block_that_needs_several_timeouts_is_decided_soon_after_it_arrived() {
    runs_clean("slow-links", 0..4);
}

#[test]
fn messages_that_need_several_timeouts_are_waited_for_in_some_round() {
    runs_clean("slow-messages", 0..4);
}

#[test]
fn what_rots_of_decided_heights_comes_back_from_peers() {
    runs_clean("rot", 0..8);
}

#[test]
fn a_payload_that_rots_past_retention_comes_back_without_blobs() {
    runs_clean("rot-pruned", 0..4);
}

#[test]
fn blocks_of_1024_blobs_are_decided_in_round_zero() {
    runs_clean("many-blobs", 0..1);
}

#[test]
fn garbage_for_every_place_of_a_block_loses_none_and_costs_its_senders_and_no_round() {
    runs_clean("garbage-flood", 0..4);
}

#[test]
fn a_value_about_which_the_lanes_lie_is_fetched_anew_and_decided_and_nobody_is_charged() {
    runs_clean("lying-lanes", 0..4);
}

#[test]
fn a_wiped_validator_contradicts_nothing_and_takes_part_again() {
    runs_clean("wiped-validator", 0..9);
}

#[test]
fn what_was_signed_on_a_chains_past_means_nothing() {
    runs_clean("relaunch", 0..8);
}

#[test]
fn a_wrong_clock_is_told_by_who_is_wrong_and_by_nobody_else() {
    runs_clean("clocks", 0..4);
}

#[test]
fn a_chain_whose_clocks_were_all_ahead_goes_on_when_they_are_right() {
    runs_clean("clocks-ahead", 0..2);
}

#[test]
fn a_network_that_starts_together_decides_its_first_height_in_round_zero() {
    runs_clean("first-height", 0..8);
    runs_clean("first-height-without-one", 0..4);
    runs_clean("first-height-by-hand", 0..4);
}

#[test]
fn a_process_that_stood_still_takes_part_again_and_nobody_stops() {
    runs_clean("pause", 0..4);
}

#[test]
fn a_needed_validator_that_stands_still_for_two_seconds_costs_no_round() {
    runs_clean("short-pauses", 0..4);
}

#[test]
fn a_node_that_stood_still_while_peers_answered_charges_nobody() {
    runs_clean("pause-while-behind", 0..4);
}

#[test]
fn a_height_that_stood_still_for_sixty_rounds_is_decided_soon_after() {
    runs_clean("long-height", 0..1);
}

#[test]
fn every_scenario_is_tested() {
    let source = include_str!("scenarios.rs");
    for scenario in ALL {
        assert!(
            source.contains(&format!("runs_clean(\"{}\"", scenario.name)),
            "{} has no test",
            scenario.name
        );
    }
}
