//! Whom a core asks for what it misses, and who pays for an answer that brings nothing.

use ultramarine_types::network::{Fault, NetCommand, NetEvent, OfferKind, Status, SyncEnd};
use ultramarine_types::storage::Tag;
use ultramarine_types::{
    ConsensusMessage, Height, Init, Machine, Nanos, Outbox, PeerId, Round, ValueId, ValueKey, fixtures,
};

use super::offers::{hand, init_by, offer, proposal, running};
use super::world::{self, World};
use crate::Output;
use crate::reputation::{PACE, PATIENCE_MIN};

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

/// A proposal of a value of somebody else's, whose bytes are missing here.
struct Missed {
    world: World,
    origin: usize,
    init: Init,
}

impl Missed {
    fn new() -> Self {
        let (world, height) = running();
        let origin = world.node_of(world::validators(4).proposer(height, Round(1)));
        let init = init_by(origin, height, Round(1), 7);
        Self { world, origin, init }
    }

    /// The proposal comes.
    fn propose(&mut self) {
        let message = ConsensusMessage::Proposal(proposal(self.origin, &self.init.key(), Round(1)));
        let peer = world::peer_id(self.origin);
        hand(&mut self.world, NetEvent::Message { peer, message });
    }

    /// A node begins to send the value.
    fn begin(&mut self, node: usize) {
        let admitted = offer(&mut self.world, node, &self.init, OfferKind::Proposal, None);
        assert_eq!(admitted, Ok(Tag::Streamed));
    }

    /// A step passes. Returns the nodes that are asked for the value meanwhile.
    fn asked(&mut self) -> Vec<usize> {
        let key = self.init.key();
        let commands = passes(&mut self.world, STEP).into_iter();
        let peers = commands.filter_map(|command| match command {
            NetCommand::Fetch { key: wanted, peer } => (wanted == key).then_some(peer),
            _ => None,
        });
        let node_of = |peer| (1..4).find(|node| world::peer_id(*node) == peer);
        peers.map(|peer| node_of(peer).expect("a validator's node")).collect()
    }

    /// Whether a span is the time that one source has, on a line that carries so many copies: a few of the world's
    /// short round trips, and twice the time for the bytes.
    fn is_time_for(&self, copies: u64, span: Nanos) -> bool {
        let bytes = self.init.metadata.whole_bytes() * copies;
        let time = PATIENCE_MIN + Nanos::from_millis(2 * bytes / PACE);
        time <= span && span < time + Nanos(2 * STEP.0)
    }
}

#[test]
fn a_source_that_drips_is_joined_by_a_second_one_after_a_few_round_trips() {
    let mut missed = Missed::new();
    let from = missed.origin;
    missed.propose();
    while missed.asked() != [from] {}
    missed.begin(from);
    // It begins, and brings next to nothing. So does the second one.
    let (began, mut asked) = (missed.world.now, Vec::new());
    while asked.len() < 2 {
        let new = missed.asked();
        let since = missed.world.now.since(began);
        if let ([second], []) = (&new[..], &asked[..]) {
            missed.begin(*second);
        }
        asked.extend(new.into_iter().map(|node| (node, since)));
    }
    let stream_time = world::chain().params.limits().propose_timeout();
    let [(second, soon), (third, late)] = asked[..] else {
        panic!("{asked:?}")
    };
    assert!(missed.is_time_for(1, soon), "the second after {soon:?}");
    assert!(late >= soon + stream_time, "a third copy after {late:?}");
    assert!(second != from && third != from && second != third);
}

#[test]
fn a_proposer_that_sends_unasked_has_time_for_a_copy_to_each_before_a_second_one_joins() {
    for is_sent_first in [true, false] {
        let mut missed = Missed::new();
        let from = missed.origin;
        if !is_sent_first {
            missed.propose();
            passes(&mut missed.world, Nanos::from_millis(100));
        }
        missed.begin(from);
        if is_sent_first {
            missed.propose();
        }
        let began = missed.world.now;
        let mut asked = Vec::new();
        while asked.is_empty() {
            asked = missed.asked();
            asked.retain(|node| *node != from);
        }
        let span = missed.world.now.since(began);
        assert!(
            missed.is_time_for(3, span),
            "after {span:?}, sent first: {is_sent_first}"
        );
    }
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
