//! What later rounds propose, and how long a node waits.

use ultramarine_types::{ConsensusMessage, Height, Machine, Nanos, Outbox, Round};

use super::MINUTE;
use super::world::{self, World};
use crate::log::LogRecord;

/// The height whose first round fails: nobody hears its proposals.
const FAILING: Height = Height(3);

/// A world in which everybody has the value of round 0 and nobody hears that it was proposed.
fn unheard_proposal() -> World {
    let mut world = World::new(4);
    world.drop = Box::new(|_, _, message, _| {
        let is_first = message.height() == FAILING && message.round() == Round(0);
        is_first && matches!(message, ConsensusMessage::Proposal(_))
    });
    world.start_all();
    world
}

#[test]
fn a_later_round_proposes_what_is_valid_here() {
    let mut world = unheard_proposal();
    assert!(world.run(MINUTE, |world| world.all_at(4)));
    let (decided, _) = &world.nodes[0].disk.decided[&FAILING];
    assert_eq!(decided.certificate.round, Round(1));
    assert_eq!(decided.init.metadata.origin_round, Round(0), "nothing new was built");
    let builds = world.nodes.iter().flat_map(|node| &node.builds);
    assert_eq!(builds.filter(|(height, _)| *height == FAILING).count(), 1);
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn a_choice_that_the_log_has_is_made_again_after_a_crash() {
    let mut world = unheard_proposal();
    let set = world::validators(4);
    let again = world.node_of(set.proposer(FAILING, Round(1)));
    let repeated = |world: &World| {
        let records = world.nodes[again].disk.records.iter();
        let mut records = records.filter_map(|record| LogRecord::decode(record).ok());
        records.find_map(|record| match record {
            LogRecord::Repeated { round, value_id, .. } => Some((round, value_id)),
            _ => None,
        })
    };
    assert!(world.run(MINUTE, |world| repeated(world).is_some()));
    let (round, id) = repeated(&world).expect("it is there");
    assert_eq!(round, Round(1));
    world.crash(again);
    world.start(again);
    let core = world.nodes[again].core.as_mut().expect("it runs");
    let chosen = core.proposer.chosen(FAILING, Round(1)).map(|choice| choice.id);
    assert_eq!(chosen, Some(id));
    assert!(world.run(MINUTE, |world| world.all_at(5)));
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn a_value_that_a_quorum_held_and_did_not_decide_gives_way_to_a_new_one() {
    let mut world = World::new(4);
    // One validator's client refuses the first value for good, and another one is down.
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    let set = world::validators(4);
    let first = world.node_of(set.proposer(FAILING, Round(0)));
    let (refuses, dead) = ((first + 1) % 4, (first + 2) % 4);
    world.crash(dead);
    world.nodes[refuses].client.rejects_height = Some(FAILING);
    assert!(world.run(MINUTE, |world| world.head(first) >= Height(4)));
    let (decided, _) = &world.nodes[first].disk.decided[&FAILING];
    assert!(decided.init.metadata.origin_round > Round(0));
    world.assert_agreement();
}

#[test]
fn a_connected_validator_that_never_signs_costs_each_lost_round_a_few_seconds_at_most() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    // It is connected, follows the chain, and says that it could propose. Nobody hears anything that it signs.
    let silent = 3;
    world.drop = Box::new(move |from, _, _, _| from == silent);
    world.lose_stream = Box::new(move |from, _, _| from == silent);
    for node in 0..3 {
        world.nodes[node].client.syncing = true;
    }
    let later = |world: &World| world.nodes[0].core.as_ref().and_then(|core| core.round()) >= Some(Round(200));
    assert!(
        world.run(Nanos::from_millis(3_600_000), later),
        "round 200 within an hour"
    );
    let core = world.nodes[0].core.as_ref().expect("it runs");
    let began: Vec<_> = core.contest.began.iter().collect();
    let two_seconds = Nanos::from_millis(2_000);
    let mut turns = 0;
    for pair in began.windows(2) {
        let ((round, from), (_, to)) = (pair[0], pair[1]);
        let is_its_turn = *world::validators(4).proposer(core.current(), *round) == world::address_of(silent);
        turns += u32::from(is_its_turn);
        let away = core.durations.propose_away;
        let propose = match is_its_turn {
            true => two_seconds,
            false => away + Nanos(away.0 / 4 * u64::from(round.0)),
        };
        let most = propose + two_seconds + Nanos::from_millis(500);
        assert!(to.since(*from) <= most, "round {round} took {:?}", to.since(*from));
    }
    assert!(turns >= 8, "it had {turns} turns");
    for node in 0..3 {
        world.nodes[node].client.syncing = false;
    }
    let stood = world.head(0);
    let ten_seconds = Nanos::from_millis(10_000);
    assert!(world.run(ten_seconds, |world| (0..3).all(|node| world.head(node) > stood)));
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn after_a_pause_what_came_is_read_before_a_wait_ends() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    let set = world::validators(4);
    let proposer = world.node_of(set.proposer(FAILING, Round(0)));
    let paused = (proposer + 1) % 4;
    world.drop = Box::new(move |_, to, message, _| to == paused && message.height() == FAILING);
    world.lose_stream = Box::new(move |_, to, _| to == paused);
    let waits = |world: &World| {
        let core = world.nodes[paused].core.as_ref();
        core.is_some_and(|core| core.head() == FAILING.prev() && core.round() == Some(Round(0)))
    };
    assert!(world.run(MINUTE, waits));
    let later = world.now + Nanos::from_millis(10_000);
    let core = world.nodes[paused].core.as_mut().expect("it runs");
    let mut out = Outbox::new();
    core.wake(later, &mut out);
    assert!(core.host.is_proposing(), "what came meanwhile is read first");
    core.wake(later + Nanos::from_millis(99), &mut out);
    assert!(core.host.is_proposing());
    core.wake(later + Nanos::from_millis(100), &mut out);
    assert!(!core.host.is_proposing(), "and then it is no longer waited for");
}
