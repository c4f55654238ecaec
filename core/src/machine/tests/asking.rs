//! Whom a core asks for what it misses, and who pays for an answer that brings nothing.

use ultramarine_types::network::{Fault, NetCommand, NetEvent, OfferKind, Status, SyncEnd};
use ultramarine_types::storage::Tag;
use ultramarine_types::{ConsensusMessage, Height, Machine, Nanos, Outbox, PeerId, Round, ValueId, ValueKey, fixtures};

use super::offers::{hand, init_by, offer, proposal, running};
use super::world::{self, World};
use crate::Output;

const STEP: Nanos = Nanos::from_millis(10);

fn stranger(name: u8) -> PeerId {
    PeerId([0x70 + name; 32])
}

/// A stranger comes, claims a tip, and claims to hold a value.
fn comes(world: &mut World, name: u8, tip: Height, holds: Vec<ValueId>) {
    let (peer, validator) = (stranger(name), None);
    hand(world, NetEvent::PeerUp { peer, validator });
    let status = Status {
        holds,
        ..fixtures::status(tip)
    };
    hand(world, NetEvent::Status { peer, status });
}

/// Time passes for node 0 alone. Returns what it tells its network.
fn passes(world: &mut World, span: Nanos) -> Vec<NetCommand> {
    let (until, mut commands) = (world.now + span, Vec::new());
    while world.now < until {
        world.now = world.now + STEP;
        let (now, mut out) = (world.now, Outbox::new());
        world.nodes[0].core.as_mut().unwrap().wake(now, &mut out);
        commands.extend(of_net(out.drain()));
    }
    commands
}

fn of_net(outputs: impl IntoIterator<Item = Output>) -> impl Iterator<Item = NetCommand> {
    outputs.into_iter().filter_map(|output| match output {
        Output::Net(command) => Some(command),
        _ => None,
    })
}

#[test]
fn missing_bytes_are_asked_of_their_origin_then_of_validators_and_of_two_at_one_time() {
    let (mut world, height) = running();
    let id = ValueId([7; 32]);
    let key = ValueKey { height, id };
    // They claim to hold it.
    (0..4).for_each(|name| comes(&mut world, name, height.prev(), vec![id]));
    let origin = world.node_of(world::validators(4).proposer(height, Round(1)));
    let (peer, message) = (
        world::peer_id(origin),
        ConsensusMessage::Proposal(proposal(origin, &key, Round(1))),
    );
    hand(&mut world, NetEvent::Message { peer, message });
    let mut asked = Vec::new();
    while asked.len() < 4 {
        let fetched = passes(&mut world, STEP)
            .into_iter()
            .filter_map(|command| match command {
                NetCommand::Fetch { key: wanted, peer } => (wanted == key).then_some(peer),
                _ => None,
            });
        asked.extend(fetched);
        let search = world.nodes[0].core.as_ref().unwrap().values.get(&key).unwrap();
        let at_one_time = search.search.as_ref().map_or(0, |search| search.asked.len());
        assert!(at_one_time <= 2, "{at_one_time} are asked at one time");
    }
    assert_eq!(asked[0], world::peer_id(origin));
    let validators: Vec<PeerId> = (1..4).map(world::peer_id).collect();
    assert!(asked[..3].iter().all(|peer| validators.contains(peer)), "{asked:?}");
    assert!((0..4).any(|name| asked[3] == stranger(name)), "{asked:?}");
}

#[test]
fn a_source_that_drips_is_joined_by_a_second_one_after_a_few_round_trips() {
    let (mut world, height) = running();
    let origin = world.node_of(world::validators(4).proposer(height, Round(1)));
    let (from, init) = (world::peer_id(origin), init_by(origin, height, Round(1), 7));
    let key = init.key();
    let message = ConsensusMessage::Proposal(proposal(origin, &key, Round(1)));
    hand(&mut world, NetEvent::Message { peer: from, message });
    let fetched = |world: &mut World| {
        let commands = passes(world, STEP).into_iter();
        let mut of_it = commands.filter_map(|command| match command {
            NetCommand::Fetch { key: wanted, peer } => (wanted == key).then_some(peer),
            _ => None,
        });
        of_it.next()
    };
    while fetched(&mut world) != Some(from) {}
    let admitted = offer(&mut world, origin, &init, OfferKind::Proposal, None);
    assert_eq!(admitted, Ok(Tag::Streamed));
    // It begins, and brings next to nothing.
    let (began, mut asked) = (world.now, Vec::new());
    while asked.len() < 2 {
        asked.extend(fetched(&mut world).map(|peer| (peer, world.now.since(began))));
    }
    let stream_time = world::chain().params.limits().propose_timeout();
    let [(second, soon), (third, late)] = asked[..] else {
        panic!("{asked:?}")
    };
    assert!(
        soon < Nanos(stream_time.0 / 2),
        "the second after {soon:?} of {stream_time:?}"
    );
    assert!(late >= stream_time, "a third copy after {late:?}");
    assert!(second != from && third != from && second != third);
}

#[test]
fn who_refuses_a_claimed_height_at_once_pays_nothing_and_who_refuses_late_pays() {
    let (mut world, height) = running();
    comes(&mut world, 1, height, Vec::new());
    let peer = stranger(1);
    for (waits, pays) in [(Nanos::from_millis(10), false), (Nanos::from_millis(2_500), true)] {
        let mut is_asked = false;
        while !is_asked {
            let commands = passes(&mut world, STEP);
            let is_ask = |command: &NetCommand| matches!(command, NetCommand::Sync { peer: of, .. } if *of == peer);
            is_asked = commands.iter().any(is_ask);
        }
        passes(&mut world, waits);
        let end = SyncEnd::Unavailable;
        let told = hand(&mut world, NetEvent::SyncEnded { peer, height, end });
        let is_charged = of_net(told)
            .any(|command| matches!(command, NetCommand::Charge { peer: of, fault: Fault::Withheld } if of == peer));
        assert_eq!(is_charged, pays, "after {waits:?}");
    }
}
