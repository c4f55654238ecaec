//! Which connections are let in or turned away, and which peers are dialed again.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ultramarine_net::bounds;
use ultramarine_net::hello::Goodbye;
use ultramarine_net::lapse::Lapse;
use ultramarine_types::network::NetEvent;

use crate::node::{Node, Setup, attestation_of, expired_attestation, identity, validator};
use crate::rogue::{Guise, Rogue, answer, endpoint_at, runtime};

#[test]
fn one_address_cannot_hold_every_entry_for_a_handshake() {
    let mut node = Node::start(Setup::new(1));
    let runtime = runtime();
    let _inside = runtime.enter();
    let endpoint = endpoint_at(Ipv4Addr::LOCALHOST.into(), 9);
    let knock = || runtime.block_on(endpoint.connect(node.address, "x").expect("dials"));
    // They never say who they are.
    let silent: Vec<_> = (0..bounds::HANDSHAKES_PER_ADDRESS_MAX)
        .map(|_| knock().expect("there is an entry"))
        .collect();
    let refused = knock().err().map(|error| error.to_string());
    assert!(
        refused.as_ref().is_some_and(|why| why.contains("refused")),
        "{refused:?}"
    );
    // Others come in beside them.
    let neighbour = Rogue::meet_in(
        &node,
        Guise {
            from: IpAddr::from([127, 0, 0, 2]),
            ..Guise::validator(3)
        },
    );
    node.expect_peer(identity(3).peer());
    drop(neighbour);
    // And they hold their entries for a while only.
    for connection in silent {
        let quinn::ConnectionError::ApplicationClosed(close) = runtime.block_on(connection.closed()) else {
            panic!("closed without a word");
        };
        assert_eq!(Goodbye::of_code(close.error_code.into_inner()), Some(Goodbye::Silent));
    }
    let _late = Rogue::meet(&node, 4);
    node.expect_peer(identity(4).peer());
}

#[test]
fn a_peer_that_we_dialed_is_met_again_at_once_after_it_died_and_its_second_connection_is_not() {
    // Of two connections of one process the one that the lower name dialed stays: here the node's own.
    let (low, high) = if identity(1).peer() < identity(2).peer() {
        (1, 2)
    } else {
        (2, 1)
    };
    let old_life = runtime();
    let inside = old_life.enter();
    let dialed = endpoint_at(Ipv4Addr::LOCALHOST.into(), high);
    drop(inside);
    let peer = identity(high).peer();
    let mut node = Node::start(Setup {
        peers: vec![ultramarine_net::PeerConfig {
            address: dialed.local_addr().expect("bound").to_string(),
            peer: Some(peer),
        }],
        ..Setup::new(low)
    });
    let _first = old_life.block_on(answer(&dialed, Guise::validator(high)));
    node.expect_peer(peer);
    let second = Rogue::meet(&node, high);
    assert_eq!(second.farewell(), Some(Goodbye::Duplicate));
    // Its tasks are gone before they could say anything, as after kill -9.
    old_life.shutdown_background();
    let started = Instant::now();
    let _new_life = Rogue::meet_in(
        &node,
        Guise {
            instance: 2,
            ..Guise::validator(high)
        },
    );
    node.expect("end of the old life", |event| {
        matches!(event, NetEvent::PeerDown { .. }).then_some(())
    });
    node.expect_peer(peer);
    assert!(started.elapsed() < bounds::IDLE, "nobody waited for the idle timeout");
}

#[test]
fn a_process_calls_itself_the_same_to_all_and_otherwise_than_the_one_before() {
    let said = |node: &Node, secret: u8| Rogue::meet(node, secret).hello().instance;
    let before = Node::start(Setup::new(1));
    let of_before = said(&before, 3);
    assert_eq!(said(&before, 4), of_before);
    drop(before);
    assert_ne!(said(&Node::start(Setup::new(1)), 3), of_before);
}

#[test]
fn strangers_at_a_configured_peers_address_do_not_keep_it_out() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let peer = endpoint_at(Ipv4Addr::LOCALHOST.into(), 2);
    let node = Node::start(Setup {
        peers: vec![ultramarine_net::PeerConfig {
            address: peer.local_addr().expect("bound").to_string(),
            peer: Some(identity(2).peer()),
        }],
        ..Setup::new(1)
    });
    // It is looked for, and cannot be reached from outside.
    let dialed = runtime.block_on(async { tokio::time::timeout(bounds::IDLE, peer.accept()).await });
    dialed.expect("dialed").expect("the endpoint is open").ignore();
    let strangers = endpoint_at(Ipv4Addr::LOCALHOST.into(), 9);
    let knock = |endpoint: &quinn::Endpoint| runtime.block_on(endpoint.connect(node.address, "x").expect("dials"));
    let _silent: Vec<_> = (0..bounds::HANDSHAKES_PER_ADDRESS_MAX)
        .map(|_| knock(&strangers).expect("there is an entry"))
        .collect();
    assert!(knock(&strangers).is_err());
    assert!(knock(&peer).is_ok());
}

#[test]
fn a_lie_about_who_we_are_does_not_end_dialing() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let liar = endpoint_at(Ipv4Addr::LOCALHOST.into(), 9);
    let _node = Node::start(Setup {
        peers: vec![ultramarine_net::PeerConfig {
            address: liar.local_addr().expect("bound").to_string(),
            peer: None,
        }],
        ..Setup::new(1)
    });
    runtime.block_on(async {
        for _ in 0..3 {
            let dialed = tokio::time::timeout(bounds::IDLE, liar.accept());
            let incoming = dialed.await.expect("dialed again").expect("the endpoint is open");
            let connection = incoming.await.expect("connects");
            connection.close(
                quinn::VarInt::from_u32(Goodbye::Myself as u32),
                b"this address is your own",
            );
        }
    });
}

#[test]
fn who_answers_at_a_configured_peers_address_under_another_key_is_no_peer() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let other = endpoint_at(Ipv4Addr::LOCALHOST.into(), 3);
    let mut node = Node::start(Setup {
        peers: vec![ultramarine_net::PeerConfig {
            address: other.local_addr().expect("bound").to_string(),
            peer: Some(identity(2).peer()),
        }],
        ..Setup::new(1)
    });
    let closed = runtime.block_on(async {
        let dialed = tokio::time::timeout(bounds::IDLE, other.accept());
        let incoming = dialed.await.expect("dialed").expect("the endpoint is open");
        let connection = incoming.await.expect("connects");
        // It says nothing, so whoever waits for a hello parts for another reason.
        connection.closed().await
    });
    let quinn::ConnectionError::ApplicationClosed(close) = closed else {
        panic!("{closed}")
    };
    assert_eq!(Goodbye::of_code(close.error_code.into_inner()), Some(Goodbye::Stranger));
    assert!(node.poll().is_none());
}

#[test]
fn a_node_that_dials_itself_parts() {
    let reserved = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let listen = reserved.local_addr().expect("bound");
    drop(reserved);
    let mut node = Node::start(Setup {
        listen,
        peers: vec![ultramarine_net::PeerConfig {
            address: listen.to_string(),
            peer: None,
        }],
        ..Setup::new(1)
    });
    // It has long dialed by the time that others are met.
    for secret in [3, 4] {
        let _rogue = Rogue::meet(&node, secret);
        let met = node.expect("peer", |event| match event {
            NetEvent::PeerUp { peer, .. } => Some(peer),
            _ => None,
        });
        assert_eq!(met, identity(secret).peer(), "it is no peer of its own");
    }
}

#[test]
fn a_validator_has_two_nodes_at_most_and_those_that_are_here_stay() {
    let mut node = Node::start(Setup::new(1));
    let attested = |secret| Guise {
        attestation: Some(attestation_of(3, secret)),
        ..Guise::full_node(secret)
    };
    let _first = Rogue::meet_in(&node, attested(20));
    assert_eq!(node.expect_peer(identity(20).peer()), Some(validator(3)));
    let _stand_in = Rogue::meet_in(&node, attested(21));
    assert_eq!(node.expect_peer(identity(21).peer()), Some(validator(3)));
    let third = Rogue::meet_in(&node, attested(22));
    assert_eq!(third.farewell(), Some(Goodbye::Crowded));
    // A new connection of the same node takes no second entry, and one that left makes room.
    let first_again = Rogue::meet_in(
        &node,
        Guise {
            instance: 2,
            ..attested(20)
        },
    );
    assert_eq!(node.expect_peer(identity(20).peer()), Some(validator(3)));
    first_again
        .connection
        .close(quinn::VarInt::from_u32(Goodbye::Going as u32), b"");
    node.expect("farewell", |event| {
        matches!(event, NetEvent::PeerDown { peer } if peer == identity(20).peer()).then_some(())
    });
    let _third = Rogue::meet_in(&node, attested(22));
    assert_eq!(node.expect_peer(identity(22).peer()), Some(validator(3)));
}

#[test]
fn a_node_whose_clock_was_slow_by_more_than_a_year_is_let_in_when_it_is_set_right() {
    let now = ultramarine_runtime::Clock::unix_ns() / 1_000_000_000;
    let wall = Arc::new(AtomicU64::new(now - 400 * 24 * 3600));
    let mut node = Node::start(Setup::new(1));
    let slow = Node::start(
        Setup {
            wall: Some(wall.clone()),
            ..Setup::new(2)
        }
        .dials(&node),
    );
    // Its hello is refused, and that is nobody's fault.
    slow.expect_count("ultramarine_net_dials_failed_total", &[], 2);
    wall.store(now, Ordering::Relaxed);
    assert_eq!(node.expect_peer(slow.peer), Some(validator(2)));
}

#[test]
fn who_comes_with_an_expired_attestation_is_told_both_times() {
    let node = Node::start(Setup::new(1));
    let attestation = expired_attestation(3, 1_000);
    let guise = Guise {
        attestation: Some(attestation),
        ..Guise::full_node(3)
    };
    let rogue = Rogue::meet_in(&node, guise);
    let closed = rogue.runtime.block_on(rogue.connection.closed());
    let quinn::ConnectionError::ApplicationClosed(close) = closed else {
        panic!("{closed}")
    };
    assert_eq!(Goodbye::of_code(close.error_code.into_inner()), Some(Goodbye::Expired));
    let lapse = Lapse::parse(&close.reason).expect("both times");
    assert_eq!(lapse.expiry, 1_000);
    assert!(lapse.clock > 1_577_836_800, "{lapse:?}");
}
