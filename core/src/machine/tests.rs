//! Stories of four cores that no single part can tell.

mod asking;
mod catchup;
mod check;
mod client;
mod commit;
mod costs;
mod evidence;
mod healing;
mod hearing;
mod held;
mod inits;
mod messages;
mod offers;
mod outlook;
mod pace;
mod payload;
mod refute;
mod relay;
mod replay;
mod rounds;
mod silence;
mod stall;
mod status;
mod world;

use ultramarine_types::storage::StoreReply;
use ultramarine_types::{ConsensusMessage, Height, Nanos, Round, VoteKind};
use world::World;

use crate::{Input, Stop};

const MINUTE: Nanos = Nanos::from_millis(60_000);

#[test]
fn four_cores_decide_heights_with_blobs() {
    let mut world = World::new(4);
    world.start_all();
    assert!(
        world.run(MINUTE, |world| world.all_at(5)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
    for node in &world.nodes {
        for (_, (decided, assembly)) in node.disk.decided.range(Height(1)..=Height(5)) {
            assert_eq!(assembly.blobs.len(), 3);
            assert_eq!(
                decided.certificate.round,
                Round(0),
                "nothing was slow, so nothing needed a second round"
            );
            assert!(
                node.client.executed.contains(&assembly.init.metadata.header.block_hash),
                "I13"
            );
        }
    }
}

#[test]
fn one_validator_alone_decides() {
    let mut world = World::new(1);
    world.start_all();
    assert!(
        world.run(MINUTE, |world| world.all_at(5)),
        "stuck at {:?}",
        heads(&world)
    );
    world.crash(0);
    world.start_all();
    assert!(
        world.run(MINUTE, |world| world.all_at(8)),
        "stuck at {:?}",
        heads(&world)
    );
}

#[test]
fn seven_validators_decide_with_two_dead() {
    let mut world = World::new(7);
    for node in 0..5 {
        world.start(node);
    }
    assert!(
        world.run(MINUTE, |world| (0..5).all(|node| world.head(node) >= Height(8))),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn a_height_takes_about_one_block_interval() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(1)));
    let since = world.now;
    assert!(world.run(MINUTE, |world| world.all_at(11)));
    let per_height_ms = world.now.since(since).0 / 10_000_000;
    assert!(
        (100..140).contains(&per_height_ms),
        "{per_height_ms} ms per height of 100 ms"
    );
}

#[test]
fn a_dead_proposer_costs_its_round_and_not_more() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    world.crash(3);
    let others = |world: &World, height| (0..3).all(|node| world.head(node) >= Height(height));
    let since = world.now;
    assert!(
        world.run(MINUTE, |world| others(world, 14)),
        "stuck at {:?}",
        heads(&world)
    );
    // Three of twelve heights begin with the dead one: its round must not last a whole propose timeout.
    assert!(
        world.now.since(since) < Nanos::from_millis(12 * 140 + 3 * 500),
        "{:?}",
        world.now.since(since)
    );
    world.assert_agreement();
}

#[test]
fn a_value_locked_in_one_round_is_decided_in_a_later_one() {
    let mut world = World::new(4);
    let set = world::validators(4);
    let turn = |round| world::World::new(4).node_of(set.proposer(Height(2), Round(round)));
    // At height 2 the proposers of rounds 0 and 1 lock the value. The proposer of round 3 cannot judge it and
    // prevotes nil; with one prevote lost each, it and the proposer of round 2 see no polka.
    let (first, second, unsure, slow) = (turn(0), turn(1), turn(2), turn(3));
    world.drop = Box::new(move |from, to, message, round| {
        if message.height() != Height(2) || message.round() != Round(0) || round != Some(Round(0)) {
            return false;
        }
        let blind = to == unsure || to == slow;
        match message {
            ConsensusMessage::Vote(vote) if vote.kind == VoteKind::Prevote => {
                (to == unsure && vote.voter == world::address_of(second))
                    || (to == slow && vote.voter == world::address_of(unsure))
            }
            ConsensusMessage::Polka(_) | ConsensusMessage::Round(_) => blind,
            ConsensusMessage::Vote(_) | ConsensusMessage::Proposal(_) => from == to,
        }
    });
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(1)));
    world.nodes[slow].client.syncing = true;
    let round = |world: &World, node: usize| world.nodes[node].core.as_ref().and_then(crate::Core::round);
    assert!(
        world.run(MINUTE, |world| round(world, first) == Some(Round(1))),
        "stuck at {:?}",
        heads(&world)
    );
    assert_eq!(world.head(first), Height(1), "round 0 did not decide");
    world.nodes[slow].client.syncing = false;
    assert!(
        world.run(MINUTE, |world| world.all_at(3)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
    let (decided, _) = &world.nodes[0].disk.decided[&Height(2)];
    assert!(decided.certificate.round > Round(0));
    assert_eq!(
        decided.init.metadata.origin_round,
        Round(0),
        "the value locked in round 0"
    );
    assert_eq!(
        world.node_of(&decided.init.metadata.origin_proposer),
        first,
        "with its origin named"
    );
    assert_ne!(
        set.proposer(Height(2), decided.certificate.round),
        &decided.init.metadata.origin_proposer
    );
}

#[test]
fn bytes_that_never_arrived_are_fetched() {
    let mut world = World::new(4);
    // Whoever proposes, node 2 gets no stream of it.
    world.lose_stream = Box::new(|_, to, _| to == 2);
    world.start_all();
    assert!(
        world.run(MINUTE, |world| world.all_at(6)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn the_same_inputs_give_the_same_run() {
    let run = || {
        let mut world = World::new(4);
        world.start_all();
        world.run(MINUTE, |world| world.all_at(4));
        let events: Vec<_> = world.nodes.iter().map(|node| format!("{:?}", node.events)).collect();
        (world.now, events)
    };
    assert_eq!(run(), run());
}

#[test]
fn a_block_that_breaks_a_rule_gets_no_vote() {
    let mut world = World::new(4);
    let set = world::validators(4);
    let bad = world.node_of(set.proposer(Height(2), Round(0)));
    // The proposer's own core would refuse it: a spoiled commitment count passes only a proposer that is not ours.
    world.spoil = Box::new(move |node, height, _, built| {
        if node == bad && height == Height(2) {
            built.header.timestamp += 20;
        }
    });
    world.start_all();
    assert!(
        world.run(MINUTE, |world| world.all_at(4)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
    let (decided, _) = &world.nodes[0].disk.decided[&Height(2)];
    assert!(
        decided.certificate.round > Round(0),
        "a timestamp too far ahead is withheld, and the round passes"
    );
    for node in (0..4).filter(|node| *node != bad) {
        let prevote = world.signed[&(node, Height(2), Round(0), "prevote")];
        assert_eq!(prevote, None, "node {node}");
    }
}

#[test]
fn a_failed_disk_stops_the_node_and_nothing_leaves_after() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    let reason = "fdatasync: EIO".to_owned();
    world.tell(0, Input::Store(StoreReply::Failed { reason: reason.clone() }));
    assert_eq!(world.nodes[0].stopped, Some(Stop::Disk(reason)));
    let signed = world.signed.keys().filter(|(node, ..)| *node == 0).count();
    world.run(Nanos::from_millis(2_000), |_| false);
    assert_eq!(world.signed.keys().filter(|(node, ..)| *node == 0).count(), signed);
}

/// Whether a node has signed something at a height that is not decided.
fn is_midway(world: &World, node: usize) -> bool {
    let disk = &world.nodes[node].disk;
    disk.epoch.is_some_and(|epoch| epoch.height == world.head(node).next()) && !disk.records.is_empty()
}

fn heads(world: &World) -> Vec<(Height, Option<String>)> {
    (0..world.nodes.len())
        .map(|node| {
            (
                world.head(node),
                world.nodes[node].core.as_ref().map(|core| format!("{core:?}")),
            )
        })
        .collect()
}
