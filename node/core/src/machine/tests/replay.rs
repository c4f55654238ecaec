//! What a core makes of its log when it comes back.

use ultramarine_types::{ConsensusMessage, Height, Nanos, Round, VoteKind};

use super::world::{self, World};
use super::{MINUTE, heads};
use crate::Core;
use crate::values::{ROUNDS_KEPT, Value};

#[test]
fn a_value_whose_polka_only_the_log_knows_outlives_the_replay_of_many_rounds() {
    let mut world = World::new(4);
    let set = world::validators(4);
    let height = Height(2);
    let turn = |round| world.node_of(set.proposer(height, Round(round)));
    // The proposer of round 0 locks its value. One node cannot judge it and sees that it has a polka; the other two see none
    // in time. No proposal of a later round arrives anywhere.
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
        core.values.get(&key).is_some_and(Value::is_stored),
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
