//! How a peer that is rounds behind at one height comes to the round of the others.

use std::cell::Cell;
use std::rc::Rc;

use ultramarine_types::{ConsensusMessage, Height, Nanos, Round};

use super::MINUTE;
use super::world::World;
use crate::Event;
use crate::held::ROUNDS_AHEAD;

const FAILING: Height = Height(3);
/// The round of the others: further ahead than a vote or a proposal may be, so that no such message helps.
const AHEAD: Round = Round(ROUNDS_AHEAD + 2);
const BEHIND: usize = 3;

fn round_of(world: &World, node: usize) -> Option<Round> {
    let core = world.nodes[node].core.as_ref()?;
    core.round().filter(|_| core.head() == FAILING.prev())
}

/// The rounds that the peer has begun at the height.
fn begun(world: &World) -> Vec<Round> {
    let begun = world.nodes[BEHIND].events.iter().filter_map(|event| match event {
        Event::Round { height, round, .. } if *height == FAILING => Some(*round),
        _ => None,
    });
    begun.collect()
}

#[test]
fn one_certificate_carries_a_peer_forward_over_more_rounds_than_it_takes_votes_of() {
    let mut world = World::new(4);
    // The others lose round after round, and the peer hears nothing of it.
    world.drop = Box::new(|_, to, message, _| {
        let is_proposal = matches!(message, ConsensusMessage::Proposal(_));
        message.height() == FAILING && (to == BEHIND || is_proposal)
    });
    world.start_all();
    let is_ahead = |world: &World| (0..BEHIND).all(|node| round_of(world, node) == Some(AHEAD));
    assert!(world.run(Nanos(10 * MINUTE.0), is_ahead));
    assert_eq!(begun(&world), [Round(0)]);
    // From here on the others stay in their round. The peer hears one certificate and nothing else.
    let heard = Rc::new(Cell::new(0));
    let count = Rc::clone(&heard);
    world.drop = Box::new(move |_, to, message, _| {
        let is_first = || matches!(message, ConsensusMessage::Round(_)) && count.replace(count.get() + 1) == 0;
        message.height() == FAILING && !(to == BEHIND && is_first())
    });
    assert!(world.run(MINUTE, |world| round_of(world, BEHIND) == Some(AHEAD)));
    // The certificate is of the round before, which the peer sees end.
    let ended = Round(AHEAD.0 - 1);
    assert_eq!(begun(&world), [Round(0), ended, AHEAD], "over all that lie between");
    assert_eq!(world.charges, []);
    // It takes part in that round as if it had been there from the start.
    world.drop = Box::new(|_, _, _, _| false);
    assert!(world.run(MINUTE, |world| world.all_at(FAILING.0 + 1)));
    let (decided, _) = &world.nodes[BEHIND].disk.decided[&FAILING];
    assert!(decided.certificate.round >= AHEAD);
    world.assert_agreement();
    world.assert_nobody_stopped();
}
