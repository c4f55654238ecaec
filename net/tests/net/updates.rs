//! Nodes whose operators update one after another: other versions of the wire, and other plans.

use ultramarine_net::hello::Goodbye;
use ultramarine_net::versions::WireVersions;
use ultramarine_types::network::{NetCommand, NetEvent, Recipients, SyncWant};
use ultramarine_types::storage::Tag;
use ultramarine_types::{Assembly, Hash, Height, fixtures};

use crate::fixture::{same_bytes, value};
use crate::node::{Node, Setup};
use crate::rogue::Rogue;

const OLDER: WireVersions = WireVersions { lowest: 1, highest: 2 };
const NEWER: WireVersions = WireVersions { lowest: 2, highest: 3 };

fn speaking(secret: u8, versions: WireVersions) -> Setup {
    Setup {
        versions,
        ..Setup::new(secret)
    }
}

fn take(node: &mut Node, value: &Assembly, tag: Tag) {
    let offer = node.expect("offer", |event| match event {
        NetEvent::Offer { offer, key, .. } if key == value.key => Some(offer),
        _ => None,
    });
    node.tell(NetCommand::Admit { offer, tag });
    let (assembly, its_tag) = node.expect_put();
    assert!(same_bytes(&assembly, value));
    assert_eq!(its_tag, tag);
}

#[test]
fn nodes_of_two_versions_each_are_one_network() {
    let mut one = Node::start(speaking(1, OLDER));
    let mut two = Node::start(speaking(2, NEWER).dials(&one));
    let mut three = Node::start(speaking(3, OLDER).dials(&one).dials(&two));
    let mut four = Node::start(speaking(4, NEWER).dials(&one).dials(&two).dials(&three));
    let peers = [one.peer, two.peer, three.peer, four.peer];
    let mut nodes = [&mut one, &mut two, &mut three, &mut four];
    for (index, node) in nodes.iter_mut().enumerate() {
        node.expect_peers(peers.into_iter().filter(|peer| *peer != peers[index]));
    }
    for (from, to) in (0..4).flat_map(|from| (0..4).map(move |to| (from, to))) {
        if from != to {
            let status = fixtures::status(Height(10 + from as u64));
            nodes[from].tell(NetCommand::Status {
                to: peers[to],
                status: status.clone(),
            });
            let got = nodes[to].expect("status", |event| match event {
                NetEvent::Status { peer, status } if peer == peers[from] => Some(status),
                _ => None,
            });
            assert_eq!(got, status);
        }
    }
    let (streamed, decided) = (value(5, 1, 100_000, 6), value(4, 1, 1000, 3));
    for (from, to) in [(0, 1), (1, 2)] {
        nodes[from].shelf.put(streamed.clone());
        nodes[from].tell(NetCommand::Stream {
            key: streamed.key,
            to: Recipients::One(peers[to]),
        });
        take(nodes[to], &streamed, Tag::Streamed);
        nodes[from].shelf.put(decided.clone());
        nodes[from].shelf.decide(decided.key, None);
        nodes[to].tell(NetCommand::Sync {
            peer: peers[from],
            height: Height(4),
            want: SyncWant::Package,
        });
        take(nodes[to], &decided, Tag::Certified);
    }
}

#[test]
fn nodes_without_a_common_version_part_and_know_why() {
    let mut one = Node::start(speaking(1, WireVersions { lowest: 4, highest: 5 }));
    let rogue = Rogue::meet(&one, 3);
    assert_eq!(rogue.farewell(), Some(Goodbye::Version));
    let mut two = Node::start(speaking(2, OLDER).dials(&one));
    two.expect_count("ultramarine_net_dials_failed_total", &[], 2);
    assert!(one.poll().is_none() && two.poll().is_none());
}

#[test]
fn nodes_of_other_plans_stay_connected_and_are_counted() {
    let mut one = Node::start(Setup::new(1));
    let mut two = Node::start(
        Setup {
            upgrades_hash: Hash([9; 32]),
            ..Setup::new(2)
        }
        .dials(&one),
    );
    let mut three = Node::start(
        Setup {
            fork_schedule_hash: Hash([9; 32]),
            ..Setup::new(3)
        }
        .dials(&one),
    );
    let mut alike = Node::start(Setup::new(4).dials(&one));
    one.expect_peers([two.peer, three.peer, alike.peer]);
    for node in [&mut two, &mut three, &mut alike] {
        node.expect_peer(one.peer);
    }
    let differing = |node: &Node, what| {
        let labels = &[("what", what)];
        node.registry
            .gauge("ultramarine_net_peers_differing_items", "", labels)
            .get()
    };
    let of_both = |node: &Node| (differing(node, "upgrades"), differing(node, "fork_schedule"));
    assert_eq!(of_both(&one), (1, 1));
    assert_eq!([&two, &three, &alike].map(of_both), [(1, 0), (0, 1), (0, 0)]);
    one.tell(NetCommand::Status {
        to: two.peer,
        status: fixtures::status(Height(3)),
    });
    two.expect("status", |event| matches!(event, NetEvent::Status { .. }).then_some(()));
}
