//! For which proposers a node waits, and what looking at them costs.

use ultramarine_types::network::{NetEvent, Status};
use ultramarine_types::{Height, Machine, Nanos, Outbox, PeerId, Positions, Round, fixtures};

use super::MINUTE;
use super::world::{self, World};
use crate::{Core, Input};

/// The height at which a proposer is awaited in vain.
const FAILING: Height = Height(3);

/// A node that has lost its link to a proposer, and waits for that one's proposal.
struct Waiting {
    world: World,
    node: usize,
    proposer: usize,
}

impl Waiting {
    fn new() -> Self {
        let mut world = World::new(4);
        world.start_all();
        assert!(world.run(MINUTE, |world| world.all_at(2)));
        let proposer = world.node_of(world::validators(4).proposer(FAILING, Round(0)));
        let node = (proposer + 1) % 4;
        world.drop = Box::new(move |_, to, message, _| to == node && message.height() == FAILING);
        world.lose_stream = Box::new(move |_, to, _| to == node);
        let waits = |world: &World| {
            let core = world.nodes[node].core.as_ref();
            core.is_some_and(|core| core.head() == FAILING.prev() && core.round() == Some(Round(0)))
        };
        assert!(world.run(MINUTE, waits));
        let mut this = Self { world, node, proposer };
        this.hand(NetEvent::PeerDown {
            peer: world::peer_id(proposer),
        });
        this
    }

    fn core(&mut self) -> &mut Core {
        self.world.nodes[self.node].core.as_mut().expect("it runs")
    }

    fn hand(&mut self, event: NetEvent) {
        let (now, mut out) = (self.world.now, Outbox::new());
        self.core().handle(now, Input::Net(event), &mut out);
    }

    /// The other two say whether they are connected to the proposer.
    fn others_claim(&mut self, claims: [bool; 2]) {
        let set = world::validators(4);
        let position = set.index_of(&world::address_of(self.proposer)).expect("a validator");
        let others = [2, 3].map(|step| (self.proposer + step) % 4);
        for (other, claims) in others.into_iter().zip(claims) {
            let links: Positions = claims.then_some(position).into_iter().collect();
            let status = Status {
                links,
                ..fixtures::status(FAILING.prev())
            };
            let peer = world::peer_id(other);
            self.hand(NetEvent::Status { peer, status });
        }
    }

    /// Whether the proposal is still waited for when it would not be if its proposer were known to be away.
    fn is_patient(&mut self) -> bool {
        let core = self.core();
        let passed = core.contest.round_at + core.durations.propose_away + Nanos::from_millis(1);
        assert!(self.world.now < passed && core_waits(self.core()));
        let mut out = Outbox::new();
        self.core().wake(passed, &mut out);
        core_waits(self.core())
    }
}

fn core_waits(core: &Core) -> bool {
    core.host.is_proposing()
}

#[test]
fn one_validator_cannot_have_a_proposer_awaited_that_is_gone() {
    let mut waiting = Waiting::new();
    waiting.others_claim([false, true]);
    assert!(!waiting.is_patient(), "one of four says that it is there");
}

#[test]
fn a_proposer_that_more_than_a_third_is_connected_to_has_its_time() {
    let mut waiting = Waiting::new();
    waiting.others_claim([true, true]);
    assert!(waiting.is_patient(), "two of four say that it is there");
    let mut waiting = Waiting::new();
    waiting.others_claim([true, true]);
    waiting.others_claim([true, false]);
    assert!(!waiting.is_patient(), "the newest word of each counts");
}

#[test]
fn what_a_certificate_brought_does_not_have_a_dead_proposer_awaited() {
    const NEXT: Height = Height(8);
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(2)));
    let dead = world.node_of(world::validators(4).proposer(NEXT, Round(0)));
    let late = (dead + 1) % 4;
    world.crash(late);
    world.drop = Box::new(move |from, _, message, _| from == dead && message.height() == NEXT);
    world.lose_stream = Box::new(move |from, _, key| from == dead && key.height == NEXT);
    let others = (0..4).filter(|node| *node != late);
    let are_there = |world: &World| others.clone().all(|node| world.head(node) == NEXT.prev());
    assert!(world.run(MINUTE, are_there));
    let (decided, _) = &world.nodes[dead].disk.decided[&NEXT.prev()];
    let signers = &decided.certificate.signatures;
    let has_signed = signers.iter().any(|signed| signed.address == world.address(dead));
    assert!(has_signed, "all three were needed");
    world.crash(dead);
    let noticed = world.now + Nanos::from_millis(100);
    world.run(noticed.since(world.now), |_| false);
    world.start(late);
    assert!(world.run(MINUTE, |world| world.head(late) == NEXT.prev()));
    let shortest = {
        let core = world.nodes[late].core.as_ref().expect("it runs");
        core.durations.propose_away + Nanos::from_millis(300)
    };
    assert!(
        world.run(shortest, |world| world.head(late) == NEXT),
        "the late one knows the signature of the dead one from the certificate alone"
    );
}

/// Records that are looked at while a node waits and so many strangers are connected.
fn visited(strangers: u8) -> u64 {
    let mut waiting = Waiting::new();
    waiting.others_claim([true, true]);
    let peers: Vec<_> = (0..strangers).map(|name| PeerId([100 + name; 32])).collect();
    let status = fixtures::status(FAILING.prev());
    for peer in peers.clone() {
        waiting.hand(NetEvent::PeerUp { peer, validator: None });
        let status = status.clone();
        waiting.hand(NetEvent::Status { peer, status });
    }
    let before = waiting.core().peers.visited.get();
    for _ in 0..400 {
        let (peer, status) = (peers[0], status.clone());
        waiting.hand(NetEvent::Status { peer, status });
    }
    assert!(core_waits(waiting.core()), "for a proposal, as before");
    waiting.core().peers.visited.get() - before
}

#[test]
fn looking_at_an_awaited_proposer_costs_as_much_with_150_peers_as_with_10() {
    let [few, many] = [10, 150].map(visited);
    assert!(many <= few + 140 * 10, "{few} with 10 strangers, {many} with 150");
}
