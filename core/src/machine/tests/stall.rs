//! What people are told of a height that does not move, and of clocks.

use ultramarine_types::storage::StoreReply;
use ultramarine_types::{Height, Machine, Nanos, Round, ValueId, ValueKey};

use super::MINUTE;
use super::world::World;
use crate::{Event, Input};

fn stalls(world: &World, node: usize) -> Vec<(Height, Nanos, String, bool)> {
    let events = world.nodes[node].events.iter();
    events
        .filter_map(|event| match event {
            Event::Stalled {
                height,
                still,
                why,
                is_news,
            } => Some((*height, *still, why.clone(), *is_news)),
            _ => None,
        })
        .collect()
}

/// What the last look at the clocks told, in seconds that our clock says too much.
fn clock_offset(world: &World, node: usize) -> Option<i64> {
    let told = world.nodes[node].events.iter().rev().find_map(|event| match event {
        Event::Clock { offset_ns, .. } => Some(*offset_ns),
        _ => None,
    });
    told.flatten().map(|ns| ns / 1_000_000_000)
}

fn last_why(world: &World, node: usize) -> String {
    stalls(world, node).pop().map(|(_, _, why, _)| why).unwrap_or_default()
}

#[test]
fn a_chain_that_moves_is_no_stall_even_if_a_proposer_is_away() {
    let mut world = World::new(4);
    (0..3).for_each(|node| world.start(node));
    // Longer than any height may stand.
    world.run(Nanos::from_millis(30_000), |_| false);
    for node in 0..3 {
        assert!(world.head(node) >= Height(12));
        assert_eq!(stalls(&world, node), []);
    }
}

#[test]
fn without_a_quorum_the_missing_power_is_named_and_its_return_ends_that() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(3)));
    world.crash(2);
    world.crash(3);
    world.run(Nanos::from_millis(200_000), |_| false);
    let told = stalls(&world, 0);
    let (_, still, why, is_news) = told.first().expect("it is told").clone();
    assert!(is_news && still < Nanos::from_millis(10_000), "{still:?}");
    assert!(why.contains("validators with 2 of 4 power are connected"), "{why}");
    let (.., still, _, _) = told.last().expect("it is told").clone();
    assert!(still > Nanos::from_millis(190_000), "it goes on being told: {still:?}");
    let lines = told.iter().filter(|(.., is_news)| *is_news).count();
    assert!((3..=5).contains(&lines), "{lines} lines in 200 s");
    world.start(2);
    world.start(3);
    let head = world.head(0);
    assert!(world.run(MINUTE, |world| world.all_at(head.0 + 2)));
    assert!(matches!(
        world.nodes[0]
            .events
            .iter()
            .rev()
            .find(|event| matches!(event, Event::Moving { .. } | Event::Stalled { .. })),
        Some(Event::Moving { .. })
    ));
}

#[test]
fn a_cause_that_changes_every_second_has_a_line_in_ten_seconds() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(3)));
    for node in &mut world.nodes {
        node.client.syncing = true;
    }
    // Two links that flap: now the quorum is missing, now the client.
    for second in 0..120 {
        for other in [2, 3] {
            if second % 2 == 0 {
                world.disconnect(0, other);
            } else {
                world.connect(0, other);
            }
        }
        world.run(Nanos::from_millis(1_000), |_| false);
    }
    let lines: Vec<_> = stalls(&world, 0)
        .into_iter()
        .filter(|(.., is_news)| *is_news)
        .map(|(_, still, why, _)| (still, why))
        .collect();
    assert!((8..=12).contains(&lines.len()), "{lines:#?}");
    for pair in lines.windows(2) {
        let pause = pair[1].0.since(pair[0].0);
        assert!(pause >= Nanos::from_millis(10_000), "{pause:?}: {pair:#?}");
        let [before, after] = [0, 1].map(|at| pair[at].1.contains("are connected"));
        assert_ne!(before, after, "the same has a line a minute: {pair:#?}");
    }
}

#[test]
fn a_process_that_was_stopped_blames_no_height_for_it() {
    let mut world = World::new(1);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    // Nothing runs for two minutes, and then the wall clock is told first.
    world.now = world.now + Nanos::from_millis(120_000);
    let unix_ns = 1_800_000_000_000_000_000;
    world.tell(0, Input::WallClock { unix_ns });
    assert_eq!(stalls(&world, 0), []);
    // Nobody decides while we do look: that is a stall.
    for _ in 0..20 {
        world.now = world.now + Nanos::from_millis(1_000);
        world.tell(0, Input::WallClock { unix_ns });
    }
    assert!(!stalls(&world, 0).is_empty());
}

#[test]
fn a_client_that_is_not_ready_is_named_with_round_votes_and_peers() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(3)));
    for node in &mut world.nodes {
        node.client.syncing = true;
    }
    world.run(MINUTE, |_| false);
    let why = last_why(&world, 0);
    for part in [
        "execution client",
        "round ",
        "proposer",
        "prevotes of",
        "precommits of",
        "3 peers at",
    ] {
        assert!(why.contains(part), "{part} is not in: {why}");
    }
}

#[test]
fn votes_that_do_not_arrive_are_waited_for_by_name() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(3)));
    world.drop = Box::new(|_, _, _, _| true);
    world.run(MINUTE, |_| false);
    let why = last_why(&world, 0);
    assert!(why.contains("out of 4") && why.contains("round "), "{why}");
    for other in ["are connected", "execution client"] {
        assert!(!why.contains(other), "not that: {why}");
    }
}

#[test]
fn a_network_that_starts_together_waits_for_the_slowest_client() {
    let mut world = World::new(4);
    for node in &mut world.nodes {
        node.client.syncing = true;
    }
    world.start_all();
    for node in 0..4 {
        world.run(Nanos::from_millis(2_000), |_| false);
        assert_eq!(world.head(0), Height(0));
        world.nodes[node].client.syncing = false;
    }
    assert!(world.run(MINUTE, |world| world.all_at(1)));
    let (decided, _) = &world.nodes[0].disk.decided[&Height(1)];
    assert_eq!(decided.certificate.round, Round(0));
}

#[test]
fn a_first_height_that_waits_for_clients_is_no_stall_before_it_has_begun() {
    let mut world = World::new(4);
    for node in &mut world.nodes {
        node.client.syncing = true;
    }
    world.start_all();
    // A second longer than the wait for the clients of a network that starts together.
    world.run(Nanos::from_millis(16_500), |_| false);
    assert_eq!(stalls(&world, 0), []);
    world.run(Nanos::from_millis(15_000), |_| false);
    let (_, still, why, _) = stalls(&world, 0).first().expect("it is told").clone();
    assert!(still < Nanos::from_millis(10_000), "{still:?}");
    assert!(why.contains("execution client"), "{why}");
}

#[test]
fn a_network_that_is_ready_begins_at_once() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(Nanos::from_millis(1_500), |world| world.all_at(1)));
}

#[test]
fn a_quorum_that_comes_back_waits_anew_for_the_rest() {
    let mut world = World::new(4);
    (0..3).for_each(|node| world.start(node));
    world.run(Nanos::from_millis(2_000), |_| false);
    world.crash(1);
    world.run(Nanos::from_millis(2_000), |_| false);
    world.start(1);
    world.run(Nanos::from_millis(2_000), |_| false);
    assert_eq!(world.head(0), Height(0), "the last may come in this moment");
    assert!(world.run(Nanos::from_millis(3_000), |world| world.head(0) >= Height(1)));
}

#[test]
fn a_client_that_is_never_ready_holds_nobody_back_for_long() {
    let mut world = World::new(4);
    world.nodes[1].client.syncing = true;
    world.start_all();
    assert!(world.run(Nanos::from_millis(12_000), |world| world.head(0) >= Height(1)));
}

#[test]
fn a_wall_clock_that_steps_back_or_before_the_genesis_moves_no_timer() {
    let mut world = World::new(1);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    for unix_ns in [0, 1, 1_000] {
        world.tell(0, Input::WallClock { unix_ns });
        let due = world.nodes[0].core.as_ref().and_then(Machine::deadline);
        assert!(due.is_none_or(|due| due > world.now), "no timer is due for it");
        world.run(Nanos::from_millis(400), |_| false);
    }
    world.assert_nobody_stopped();
    let head = world.head(0);
    assert!(
        world.run(MINUTE, |world| world.all_at(head.0 + 3)),
        "its clock is right again"
    );
}

#[test]
fn a_step_of_our_own_clock_is_told_at_the_next_look() {
    let mut world = World::new(4);
    world.start_all();
    world.run(Nanos::from_millis(10_000), |_| false);
    assert_eq!(clock_offset(&world, 0), Some(0));
    let unix_ns = 1_800_000_060_000_000_000 + world.now.0;
    world.tell(0, Input::WallClock { unix_ns });
    assert_eq!(clock_offset(&world, 0), Some(60));
}

#[test]
fn a_data_directory_with_room_again_is_no_reason_any_more() {
    let mut world = World::new(1);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    let head = world.head(0);
    let key = ValueKey {
        height: Height(head.0 + 1),
        id: ValueId([7; 32]),
    };
    let reason = "no room for more values".to_owned();
    world.tell(0, Input::Store(StoreReply::Refused { key, reason }));
    let unix_ns = 1_800_000_000_000_000_000 + world.now.0;
    world.tell(0, Input::WallClock { unix_ns });
    world.run(Nanos::from_millis(2_500), |_| false);
    assert!(world.head(0) > head, "another value had room");
    assert_eq!(stalls(&world, 0), [], "a height that moves is no stall");
    world.nodes[0].client.syncing = true;
    world.run(MINUTE, |_| false);
    let why = last_why(&world, 0);
    assert!(why.contains("execution client") && !why.contains("no room"), "{why}");
}

#[test]
fn a_data_directory_that_takes_no_block_has_a_line_a_minute() {
    let mut world = World::new(1);
    world.start_all();
    let mut lines = 0;
    for _ in 0..120 {
        world.run(Nanos::from_millis(1_000), |_| false);
        let core = world.nodes[0].core.as_mut().expect("it runs");
        lines += u32::from(core.note_refused("no room"));
    }
    assert_eq!(lines, 2);
}

#[test]
fn a_data_directory_that_takes_no_block_is_the_reason_at_once() {
    let mut world = World::new(1);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    let key = ValueKey {
        height: Height(world.head(0).0 + 1),
        id: ValueId([7; 32]),
    };
    let reason = "no room for more values: free at least 64 MiB".to_owned();
    world.tell(0, Input::Store(StoreReply::Refused { key, reason }));
    for _ in 0..6 {
        world.now = world.now + Nanos::from_millis(1_000);
        let unix_ns = 1_800_000_000_000_000_000;
        world.tell(0, Input::WallClock { unix_ns });
    }
    let why = last_why(&world, 0);
    assert!(why.contains("no room for more values"), "{why}");
}
