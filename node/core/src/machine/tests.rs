//! Stories of four cores that no single part can tell.

mod evidence;
mod load;
mod offers;
mod payload;
mod replay;
mod silence;
mod world;

use ultramarine_types::network::{Fault, NetEvent};
use ultramarine_types::storage::{Blobs, LogCondition, StoreReply};
use ultramarine_types::{ConsensusMessage, Evidence, Height, Nanos, Round, ValueId, Vote, VoteKind, sign};
use world::World;

use crate::log::Record;
use crate::signing::Signer;
use crate::{Event, Input, Stop};

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
fn a_node_that_was_away_catches_up_and_signs_again() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    world.crash(1);
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(12)));
    world.start(1);
    assert!(
        world.run(MINUTE, |world| world.all_at(16)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
    let tip = world.head(1);
    assert!(world.run(MINUTE, |world| {
        world
            .signed
            .keys()
            .any(|(node, height, _, _)| *node == 1 && *height > Height(tip.0 + 1))
    }));
}

#[test]
fn a_full_node_joins_late_and_never_signs() {
    let mut world = World::with_full_nodes(4, 1);
    for node in 0..4 {
        world.start(node);
    }
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(30)));
    world.start(4);
    assert!(
        world.run(MINUTE, |world| world.head(4) >= Height(34)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    assert!(!world.signed.keys().any(|(node, ..)| *node == 4));
    assert!(
        world.nodes[4].client.blocks.values().any(|number| *number >= 33),
        "its own client imports as well"
    );
}

#[test]
fn a_wiped_validator_stays_silent_up_to_the_tip() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(6)));
    world.crash(2);
    world.nodes[2].disk = world::Disk::default();
    world.nodes[2].client.lose_everything();
    let builds = world.nodes[2].builds.len();
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(9)));
    let tip = world.head(0);
    world.start(2);
    assert!(
        world.run(MINUTE, |world| world.all_at(20)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
    for (height, round) in &world.nodes[2].builds[builds..] {
        assert!(
            *height > tip,
            "built its own block at decided height {height}, round {round}"
        );
    }
    let signing = world.nodes[2]
        .events
        .iter()
        .any(|event| matches!(event, Event::Signing { active: true, height, .. } if *height > tip));
    assert!(signing, "and takes part again");
}

#[test]
fn a_wiped_validator_that_hears_nobody_signs_nothing() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(3)));
    for node in 0..4 {
        world.crash(node);
    }
    world.nodes[2].disk = world::Disk::default();
    let signed = world.signed.len();
    world.start(2);
    world.run(Nanos::from_millis(10_000), |_| false);
    assert_eq!(
        world.signed.len(),
        signed,
        "it is cut off, and time alone proves nothing"
    );
    for node in [0, 1, 3] {
        world.start(node);
    }
    assert!(
        world.run(MINUTE, |world| world.all_at(8)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn a_client_that_lost_everything_is_brought_back() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(8)));
    world.nodes[0].client.lose_everything();
    assert!(
        world.run(MINUTE, |world| world.all_at(14)),
        "stuck at {:?}",
        heads(&world)
    );
    assert!(world.nodes[0].client.blocks.values().any(|number| *number >= 13));
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn all_nodes_and_clients_killed_come_back() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(7)));
    for node in 0..4 {
        world.crash(node);
        world.nodes[node].client.lose_everything();
    }
    world.start_all();
    assert!(
        world.run(Nanos::from_millis(10_000), |world| world.all_at(9)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn a_syncing_client_closes_the_gate_and_nobody_else_waits() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    world.nodes[3].client.syncing = true;
    let from = world.head(3);
    let proposals = world.nodes[3].builds.len();
    assert!(
        world.run(MINUTE, |world| world.all_at(12)),
        "stuck at {:?}",
        heads(&world)
    );
    let closed = world.nodes[3]
        .events
        .iter()
        .any(|event| matches!(event, Event::Gate { open: false, .. }));
    assert!(closed);
    assert!(
        world.nodes[3].builds.len() <= proposals + 1,
        "it proposes nothing while its client lags"
    );
    let voted: Vec<_> = world
        .signed
        .iter()
        .filter(|((node, height, _, kind), id)| {
            *node == 3 && *height > from.next() && *kind == "prevote" && id.is_some()
        })
        .collect();
    assert!(voted.is_empty(), "I9: it votes only nil: {voted:?}");
    world.nodes[3].client.syncing = false;
    let tip = world.head(0).0;
    assert!(world.run(MINUTE, |world| world.all_at(tip + 10)));
    let open = world.nodes[3].events.iter().rev().find_map(|event| match event {
        Event::Gate { open, .. } => Some(*open),
        _ => None,
    });
    assert_eq!(open, Some(true));
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn crashes_at_any_moment_never_make_a_node_contradict_itself() {
    for seed in 0..40u64 {
        let mut world = World::new(4);
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        world.start_all();
        for _ in 0..12 {
            world.run(Nanos(random(150_000_000)), |_| false);
            let node = random(4) as usize;
            world.crash(node);
            world.run(Nanos(random(60_000_000)), |_| false);
            world.start(node);
        }
        let target = (0..4).map(|node| world.head(node).0).max().unwrap() + 3;
        assert!(
            world.run(MINUTE, |world| world.all_at(target)),
            "seed {seed}: stuck at {:?}",
            heads(&world)
        );
        world.assert_agreement();
        world.assert_nobody_stopped();
    }
}

#[test]
fn all_four_killed_at_once_again_and_again_lose_nothing() {
    for seed in 0..20u64 {
        let mut world = World::new(4);
        world.start_all();
        for turn in 0..6 {
            world.run(Nanos(20_000_000 + (seed * 7 + turn * 13) % 90 * 2_345_678), |_| false);
            let before: Vec<_> = (0..4).map(|node| world.nodes[node].disk.decided.clone()).collect();
            for node in 0..4 {
                world.crash(node);
            }
            world.start_all();
            for (node, decided) in before.iter().enumerate() {
                assert!(world.nodes[node].disk.decided.len() >= decided.len());
            }
        }
        let target = (0..4).map(|node| world.head(node).0).max().unwrap() + 3;
        assert!(
            world.run(MINUTE, |world| world.all_at(target)),
            "seed {seed}: stuck at {:?}",
            heads(&world)
        );
        world.assert_agreement();
        world.assert_nobody_stopped();
    }
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
fn a_damaged_log_keeps_the_node_silent_at_its_height_only() {
    for condition in [LogCondition::Corrupt, LogCondition::Missing] {
        let mut world = World::new(4);
        world.start_all();
        assert!(world.run(MINUTE, |world| world.all_at(3)));
        // In the middle of a height.
        assert!(world.run(MINUTE, |world| is_midway(world, 2)));
        world.crash(2);
        let silent_at = world.head(2).next();
        let before: Vec<_> = world
            .signed
            .keys()
            .filter(|(node, height, ..)| *node == 2 && *height >= silent_at)
            .cloned()
            .collect();
        world.log_condition = condition;
        world.start(2);
        world.log_condition = LogCondition::Whole;
        assert!(
            world.run(MINUTE, |world| world.all_at(silent_at.0 + 4)),
            "stuck at {:?}",
            heads(&world)
        );
        world.assert_agreement();
        world.assert_nobody_stopped();
        let after: Vec<_> = world
            .signed
            .keys()
            .filter(|(node, height, ..)| *node == 2 && *height == silent_at)
            .cloned()
            .collect();
        assert_eq!(before, after, "nothing was signed at the height whose log is lost");
        assert!(
            world
                .signed
                .keys()
                .any(|(node, height, ..)| *node == 2 && *height > silent_at.next())
        );
    }
}

#[test]
fn replay_waits_for_bytes_that_the_disk_lost() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(3)));
    let valid = |world: &World| {
        let records = world.nodes[2]
            .disk
            .records
            .iter()
            .map(|bytes| Record::decode(bytes).unwrap());
        is_midway(world, 2)
            && records
                .into_iter()
                .any(|record| matches!(record, Record::Value { valid: true, .. }))
    };
    assert!(world.run(MINUTE, valid));
    // Everybody dies before the height is decided, so that nobody has a certificate to give.
    for node in 0..4 {
        world.crash(node);
    }
    world.nodes[2].disk.undecided.clear();
    let height = world.head(2).next();
    world.start_all();
    assert_eq!(
        world.nodes[2].core.as_ref().and_then(crate::Core::round),
        None,
        "nothing is replayed yet"
    );
    assert!(
        world.run(MINUTE, |world| world.all_at(height.0 + 2)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
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

#[test]
fn a_decided_block_the_client_calls_invalid_stops_the_node() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    world.nodes[3].client.condemns = Some(Height(4));
    assert!(
        world.run(MINUTE, |world| world.nodes[3].stopped.is_some()),
        "stuck at {:?}",
        heads(&world)
    );
    assert!(matches!(world.nodes[3].stopped, Some(Stop::DecidedInvalid(_))));
    assert!(
        world.run(MINUTE, |world| world.head(0) >= Height(8)),
        "the others go on"
    );
}

#[test]
fn old_and_far_messages_cost_nothing() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(5)));
    for height in [1, 2, 3, 400, u64::MAX] {
        let vote = ultramarine_types::Vote {
            kind: VoteKind::Prevote,
            height: Height(height),
            round: Round(0),
            value_id: None,
            voter: world::address_of(1),
            signature: ultramarine_types::Signature([7; 64]),
        };
        let message = ConsensusMessage::Vote(vote);
        world.tell(
            0,
            Input::Net(NetEvent::Message {
                peer: world::peer_id(1),
                message,
            }),
        );
    }
    assert_eq!(world.charges, [], "their signatures were not even looked at");
}

#[test]
fn a_forged_vote_costs_its_sender() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    let vote = ultramarine_types::Vote {
        kind: VoteKind::Prevote,
        height: world.head(0).next(),
        round: Round(0),
        value_id: None,
        voter: world::address_of(1),
        signature: ultramarine_types::Signature([7; 64]),
    };
    world.tell(
        0,
        Input::Net(NetEvent::Message {
            peer: world::peer_id(2),
            message: ConsensusMessage::Vote(vote),
        }),
    );
    assert_eq!(
        world.charges,
        [(0, 2, Fault::Signature)],
        "who sent it, not whose name it bears"
    );
}

#[test]
fn heights_past_retention_are_taken_without_blobs_and_no_others() {
    let mut world = World::with_full_nodes(4, 1);
    world.retention_min = 10;
    for node in 0..4 {
        world.start(node);
    }
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(40)));
    world.pruned_below = Height(25);
    world.start(4);
    assert!(
        world.run(MINUTE, |world| world.head(4) >= Height(45)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    for (height, (decided, assembly)) in &world.nodes[4].disk.decided {
        let held = if *height < Height(25) {
            Blobs::NeverHeld
        } else {
            Blobs::Held
        };
        assert_eq!(decided.blobs, held, "{height}");
        assert_eq!(assembly.blobs.is_empty(), held == Blobs::NeverHeld);
    }
}

#[test]
fn blobs_that_must_be_kept_are_not_done_without() {
    let mut world = World::with_full_nodes(4, 1);
    world.retention_min = 10;
    for node in 0..4 {
        world.start(node);
    }
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(20)));
    // Everybody dropped too much: height 15 would have to be served with blobs.
    world.pruned_below = Height(1_000);
    world.start(4);
    world.run(Nanos::from_millis(3_000), |_| false);
    let tip = world.head(0).0;
    assert!(world.head(4).0 > 5, "old heights are taken");
    assert!(
        world.head(4).0 <= tip - 10,
        "but none that must have blobs: {} of {tip}",
        world.head(4)
    );
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

#[test]
fn two_votes_of_one_validator_for_one_round_are_kept_as_evidence() {
    let mut world = World::new(4);
    world.start_all();
    let in_round = |world: &World| {
        let core = world.nodes[0].core.as_ref();
        core.is_some_and(|core| core.head() >= Height(2) && core.round() == Some(Round(0)))
    };
    assert!(world.run(MINUTE, in_round));
    let height = world.head(0).next();
    let signer = Signer::new(&world::seed(3));
    let vote = |value_id: Option<ValueId>| {
        let bytes = sign::vote(7, VoteKind::Precommit, height, Round(0), value_id.as_ref());
        Vote {
            kind: VoteKind::Precommit,
            height,
            round: Round(0),
            value_id,
            voter: signer.address(),
            signature: signer.sign(&bytes),
        }
    };
    let both = [vote(None), vote(Some(ValueId([7; 32])))];
    for vote in &both {
        let message = ConsensusMessage::Vote(vote.clone());
        let peer = world::peer_id(3);
        world.tell(0, Input::Net(NetEvent::Message { peer, message }));
    }
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(height.0 + 1)));
    // Its real vote contradicts one of them as well.
    let evidence = &world.nodes[0].disk.evidence;
    let convicts = |piece: &Evidence| {
        (piece.height(), piece.validator(), piece.is_contradiction()) == (height, signer.address(), true)
    };
    assert!(!evidence.is_empty() && evidence.iter().all(convicts), "{evidence:?}");
    let as_signed = |piece: &Evidence| match piece {
        Evidence::Votes(first, second) => both.contains(first) && both.contains(second),
        Evidence::Proposals(..) => false,
    };
    assert!(evidence.iter().any(as_signed), "{evidence:?}");
    let told = |event: &&Event| matches!(event, Event::Evidence(_));
    assert_eq!(world.nodes[0].events.iter().filter(told).count(), evidence.len());
}
