//! What a core makes of its directory when it comes back after a crash.

use ultramarine_types::storage::LogCondition;
use ultramarine_types::{ConsensusMessage, Height, Nanos, Round, ValueId, Vote, VoteKind, fixtures, sign};

use super::world::{self, World};
use super::{MINUTE, heads, is_midway};
use crate::Core;
use crate::log::{LogRecord, TimeoutStep};
use crate::signing::Signer;
use crate::stop::{ReplayFault, Stop};
use crate::values::{KnownValue, ROUNDS_KEPT};

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

fn goes_on(world: &mut World, seed: u64) {
    let target = (0..4).map(|node| world.head(node).0).max().unwrap() + 3;
    assert!(
        world.run(MINUTE, |world| world.all_at(target)),
        "seed {seed}: stuck at {:?}",
        heads(world)
    );
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
        goes_on(&mut world, seed);
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
        goes_on(&mut world, seed);
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
fn a_log_with_a_vote_that_consensus_does_not_come_to_again_stops_the_node() {
    let mut world = World::new(4);
    let height = Height(4);
    let proposer = world.node_of(world::validators(4).proposer(height, Round(0)));
    let node = (proposer + 1) % 4;
    world.drop = Box::new(move |_, _, message, _| message.height() == height);
    world.start_all();
    let waits = |world: &World| world.head(node) == height.prev() && is_midway(world, node);
    assert!(world.run(MINUTE, waits));
    world.crash(node);
    // By the log it voted for a value in a round of which it had no proposal.
    let signer = Signer::new(&world::seed(node));
    let (kind, round, value_id) = (VoteKind::Prevote, Round(0), Some(ValueId([7; 32])));
    let vote = LogRecord::Vote(Vote {
        kind,
        height,
        round,
        value_id,
        voter: signer.address(),
        signature: signer.sign(&sign::vote(&fixtures::CHAIN, kind, height, round, value_id.as_ref())),
    });
    let step = TimeoutStep::Propose;
    let records = [vote, LogRecord::Timeout { step, round }];
    world.nodes[node].disk.records = records.iter().map(LogRecord::encode).collect();
    let before = world.signed.clone();
    world.start(node);
    assert!(
        world.run(MINUTE, |world| world.nodes[node].stopped.is_some()),
        "it goes on"
    );
    let stop = world.nodes[node].stopped.clone();
    assert!(
        matches!(stop, Some(Stop::Replay(ReplayFault::Divergence(_)))),
        "{stop:?}"
    );
    let signs = |(of, at, ..): &&(usize, Height, Round, &'static str)| *of == node && *at >= height;
    assert_eq!(
        world.signed.keys().filter(signs).count(),
        before.keys().filter(signs).count(),
        "and it signs nothing more"
    );
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
            .map(|bytes| LogRecord::decode(bytes).unwrap());
        is_midway(world, 2)
            && records
                .into_iter()
                .any(|record| matches!(record, LogRecord::Value { valid: true, .. }))
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
fn a_value_whose_polka_only_the_log_knows_outlives_the_replay_of_many_rounds() {
    let mut world = World::new(4);
    let set = world::validators(4);
    let height = Height(2);
    let turn = |round| world.node_of(set.proposer(height, Round(round)));
    // The proposer of round 0 locks its value. One node cannot judge it and sees that it has a polka; the other two see
    // none in time. No proposal of a later round arrives anywhere.
    let (first, unsure, late) = (turn(0), turn(1), [turn(2), turn(3)]);
    world.drop = Box::new(move |_, to, message, round| {
        let is_blind = late.contains(&to) && round <= Some(Round(0));
        message.height() == height
            && match message {
                ConsensusMessage::Proposal(proposal) => proposal.round > Round(0),
                ConsensusMessage::Vote(vote) => {
                    is_blind && vote.kind == VoteKind::Prevote && vote.voter == world::address_of(first)
                }
                ConsensusMessage::Polka(_) => is_blind,
                ConsensusMessage::Round(_) => false,
            }
    });
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(1)));
    world.nodes[unsure].client.syncing = true;
    let round = |world: &World| world.nodes[unsure].core.as_ref().and_then(Core::round);
    let last = Round(ROUNDS_KEPT + 2);
    let limit = Nanos(MINUTE.0 * 2);
    assert!(
        world.run(limit, |world| round(world) >= Some(last)),
        "stuck at {:?}",
        heads(&world)
    );
    assert_eq!(world.head(first), Height(1), "no round decided");
    let locked = world.signed[&(first, height, Round(0), "precommit")];
    let mut held = world.nodes[unsure].disk.undecided.keys().copied();
    let key = held.find(|key| Some(key.id) == locked).expect("it has the bytes");

    world.crash(unsure);
    world.start(unsure);
    assert!(world.run(MINUTE, |world| round(world).is_some()));
    assert!(round(&world) >= Some(last), "its log takes it back to where it was");
    let core = world.nodes[unsure].core.as_ref().unwrap();
    assert_eq!(core.host.verdict(&key.id), None, "the log does not judge it");
    assert!(
        core.values.get(&key).is_some_and(KnownValue::is_stored),
        "no round that was replayed let it go"
    );
    // Nothing is decided without it now, and nothing but what is locked.
    world.crash(late[0]);
    world.nodes[unsure].client.syncing = false;
    world.drop = Box::new(|_, _, _, _| false);
    let decided = |world: &World| [first, unsure, late[1]].iter().all(|node| world.head(*node) >= height);
    assert!(world.run(limit, decided), "stuck at {:?}", heads(&world));
    world.assert_agreement();
    world.assert_nobody_stopped();
    let certificate = &world.nodes[unsure].disk.decided[&height].0.certificate;
    assert_eq!(certificate.value_id, key.id);
    assert!(certificate.round > last);
}
