//! Who has a place, and who is told that there is none.

use std::net::IpAddr;

use ultramarine_net::bounds::{CONNECTIONS_PER_ADDRESS_MAX, OTHER_PLACES};
use ultramarine_net::hello::Goodbye;
use ultramarine_net::{FullNodes, PeerConfig};
use ultramarine_types::network::NetEvent;

use crate::node::{Node, Setup, identity};
use crate::rogue::{Crowd, Guise, Rogue};

const REFUSED: &str = "ultramarine_net_places_refused_total";
const GIVEN: &str = "ultramarine_net_places_given_total";

fn full_node(secret: u8) -> Setup {
    Setup {
        attested: false,
        ..Setup::new(secret)
    }
}

/// A node that has a full node of this key among its configured peers, at an address where nobody answers.
fn lists(setup: Setup, secret: u8) -> Setup {
    let peers = vec![PeerConfig {
        address: "127.0.0.1:9".to_owned(),
        peer: Some(identity(secret).peer()),
    }];
    Setup { peers, ..setup }
}

/// Strangers at four addresses that hold all places there are.
fn four_addresses(node: &mut Node) -> Crowd {
    let from = |key: u16| IpAddr::from([127, 0, 0, 2 + (key / CONNECTIONS_PER_ADDRESS_MAX as u16) as u8]);
    let crowd = Crowd::meet(node, (0..OTHER_PLACES as u16).map(|key| (key, from(key))));
    for _ in 0..OTHER_PLACES {
        node.expect("stranger", |event| {
            matches!(event, NetEvent::PeerUp { .. }).then_some(())
        });
    }
    crowd.expect_connected(OTHER_PLACES);
    crowd
}

#[test]
fn a_node_shows_who_is_connected_and_who_dialed() {
    let mut called = Node::start(Setup::new(1));
    let peers = vec![PeerConfig {
        address: called.address.to_string(),
        peer: Some(called.peer),
    }];
    let mut caller = Node::start(Setup { peers, ..full_node(9) });
    called.expect_peer(caller.peer);
    caller.expect_peer(called.peer);
    let [shown] = &called.book.peers()[..] else {
        panic!("{:?}", called.book)
    };
    assert_eq!((shown.peer, shown.address), (caller.peer, caller.address));
    assert!(!shown.dialed && !shown.is_listed && shown.validator.is_none());
    let [shown] = &caller.book.peers()[..] else {
        panic!("{:?}", caller.book)
    };
    assert_eq!((shown.peer, shown.address), (called.peer, called.address));
    assert!(shown.dialed && shown.is_listed && shown.validator.is_some());
    assert!(!shown.round_trip.is_zero());
    drop(caller);
    called.expect("peer that leaves", |event| {
        matches!(event, NetEvent::PeerDown { .. }).then_some(())
    });
    assert_eq!(called.book.peers(), []);
}

#[test]
fn a_node_that_takes_listed_full_nodes_tells_others_what_to_do() {
    let setup = Setup {
        full_nodes: FullNodes::Listed,
        ..lists(Setup::new(1), 9)
    };
    let mut node = Node::start(setup);
    let _validator = Rogue::meet(&node, 3);
    node.expect_peer(identity(3).peer());
    let _listed = Rogue::meet_in(&node, Guise::full_node(9));
    node.expect_peer(identity(9).peer());
    let stranger = Rogue::meet_in(&node, Guise::full_node(10));
    assert_eq!(stranger.farewell(), Some(Goodbye::Unlisted));
    assert!(Goodbye::Unlisted.to_string().contains("network.peers"));
    assert_eq!(node.counter(REFUSED, &[]), 1);
}

#[test]
fn a_node_that_takes_no_full_nodes_takes_validators() {
    let setup = Setup {
        full_nodes: FullNodes::None,
        ..lists(Setup::new(1), 9)
    };
    let mut node = Node::start(setup);
    for secret in [9, 10] {
        let refused = Rogue::meet_in(&node, Guise::full_node(secret));
        assert_eq!(refused.farewell(), Some(Goodbye::NoFullNodes));
    }
    let _validator = Rogue::meet(&node, 3);
    node.expect_peer(identity(3).peer());
}

#[test]
fn configured_full_nodes_have_a_place_whoever_dials_and_strangers_give_way() {
    let mut dialed = Node::start(full_node(8));
    let setup = lists(Setup::new(1), 9);
    let mut node = Node::start(setup);
    let crowd = four_addresses(&mut node);
    // It dials us.
    let mut listed = Node::start(full_node(9).dials(&node));
    node.expect_peer(listed.peer);
    listed.expect_peer(node.peer);
    assert_eq!(node.counter(GIVEN, &[]), 1);
    crowd.expect_connected(OTHER_PLACES - 1);
    drop((listed, node, crowd));
    // We dial it, by its address alone.
    let peers = vec![PeerConfig {
        address: dialed.address.to_string(),
        peer: None,
    }];
    let mut node = Node::start(Setup { peers, ..Setup::new(2) });
    dialed.expect_peer(node.peer);
    let address = dialed.address;
    let peer = dialed.peer;
    node.expect_peer(peer);
    drop(dialed);
    node.expect("farewell", |event| {
        matches!(event, NetEvent::PeerDown { peer: down } if down == peer).then_some(())
    });
    let _crowd = four_addresses(&mut node);
    let mut again = Node::start(Setup {
        listen: address,
        ..full_node(8)
    });
    again.expect_peer(node.peer);
    node.expect_peer(peer);
    assert_eq!(node.counter(GIVEN, &[]), 1);
}

#[test]
fn four_addresses_leave_a_fifth_its_share() {
    let mut node = Node::start(Setup::new(1));
    let crowd = four_addresses(&mut node);
    let share = OTHER_PLACES / 5;
    let newcomers = Crowd::meet(
        &node,
        (0..share as u16).map(|key| (1000 + key, IpAddr::from([127, 0, 0, 9]))),
    );
    for _ in 0..share {
        node.expect("newcomer", |event| {
            matches!(event, NetEvent::PeerUp { .. }).then_some(())
        });
    }
    crowd.expect_connected(OTHER_PLACES - share);
    newcomers.expect_connected(share);
    assert_eq!(node.counter(GIVEN, &[]), share as u64);
}
