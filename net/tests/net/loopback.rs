//! Whole nodes on loopback: real sockets, TLS and links.

use std::net::UdpSocket;

use ultramarine_net::bounds::{HELLO_BYTES, WIRE_VERSIONS};
use ultramarine_net::frame::{FrameKind, frame};
use ultramarine_net::hello::{Goodbye, Hello, Plans};
use ultramarine_net::{endpoint, message};
use ultramarine_types::hearing::{Call, Hearing};
use ultramarine_types::network::{Fault, NetCommand, NetEvent, OfferId, OfferKind, Recipients, SyncEnd, SyncWant};
use ultramarine_types::storage::{Absent, Tag};
use ultramarine_types::{
    Assembly, ChainIdentity, CommitCertificate, ConsensusMessage, Hash, Height, Nonce, PeerId, Signature, fixtures,
};

use crate::fixture::{certificate, same_bytes, value, vote};
use crate::node::{Node, Setup, attestation, identity, validator};
use crate::rogue::{Guise, Rogue};

const FAULTS: &str = "ultramarine_net_faults_total";

fn pair() -> (Node, Node) {
    let mut listener = Node::start(Setup::new(1));
    let mut dialer = Node::start(Setup::new(2).dials(&listener));
    assert_eq!(listener.expect_peer(dialer.peer), Some(validator(2)));
    assert_eq!(dialer.expect_peer(listener.peer), Some(validator(1)));
    (listener, dialer)
}

struct Offer {
    offer: OfferId,
    from: PeerId,
    kind: OfferKind,
    certificate: Option<CommitCertificate>,
}

fn expect_offer(node: &mut Node, value: &Assembly) -> Offer {
    let wanted = value.key;
    node.expect("offer", |event| match event {
        NetEvent::Offer {
            offer,
            peer,
            key,
            kind,
            certificate,
            ..
        } if key == wanted => Some(Offer {
            offer,
            from: peer,
            kind,
            certificate,
        }),
        _ => None,
    })
}

fn expect_message(node: &mut Node, from: PeerId) -> ConsensusMessage {
    node.expect("message", |event| match event {
        NetEvent::Message { peer, message } if peer == from => Some(message),
        _ => None,
    })
}

#[test]
fn votes_statuses_and_calls_travel() {
    let (mut one, mut two) = pair();
    one.tell(NetCommand::Send {
        to: Recipients::All,
        message: vote(4),
    });
    two.tell(NetCommand::Send {
        to: Recipients::One(one.peer),
        message: vote(5),
    });
    assert_eq!(expect_message(&mut two, one.peer), vote(4));
    assert_eq!(expect_message(&mut one, two.peer), vote(5));
    let status = fixtures::status(Height(3));
    one.tell(NetCommand::Status {
        to: two.peer,
        status: status.clone(),
    });
    let (from, got) = two.expect("status", |event| match event {
        NetEvent::Status { peer, status } => Some((peer, status)),
        _ => None,
    });
    assert_eq!((from, got), (one.peer, status));
    let call = Hearing::Call(Call {
        listener: validator(1),
        nonce: Nonce([4; 32]),
        signature: Signature([5; 64]),
    });
    one.tell(NetCommand::Hearing {
        to: two.peer,
        hearing: call.clone(),
    });
    let (from, got) = two.expect("call", |event| match event {
        NetEvent::Hearing { peer, hearing } => Some((peer, hearing)),
        _ => None,
    });
    assert_eq!((from, got), (one.peer, call));
}

#[test]
fn a_value_is_streamed_verified_and_handed_to_the_store() {
    let (one, mut two) = pair();
    let value = value(5, 1, 100_000, 6);
    one.shelf.put(value.clone());
    one.tell(NetCommand::Stream {
        key: value.key,
        to: Recipients::All,
    });
    let Offer { offer, from, kind, .. } = expect_offer(&mut two, &value);
    assert_eq!((from, kind), (one.peer, OfferKind::Proposal));
    two.tell(NetCommand::Admit {
        offer,
        tag: Tag::Streamed,
    });
    let (assembly, tag) = two.expect_put();
    assert!(same_bytes(&assembly, &value));
    assert_eq!(tag, Tag::Streamed);
    assert!(
        assembly
            .blobs
            .iter()
            .all(|blob| blob.as_ptr().addr().is_multiple_of(4096)),
        "ready for O_DIRECT"
    );
    let stages = two.registry.histograms();
    for stage in ["stream", "verify"] {
        let found = stages
            .iter()
            .find(|(_, labels, _)| labels.iter().any(|(_, label)| label == stage));
        assert_eq!(found.map(|(_, _, histogram)| histogram.len()), Some(1), "{stage}");
    }
}

#[test]
fn a_block_of_1024_blobs_crosses_the_wire() {
    let mut one = Node::start(Setup {
        blobs_per_block: 1024,
        ..Setup::new(1)
    });
    let mut two = Node::start(Setup {
        blobs_per_block: 1024,
        ..Setup::new(2).dials(&one)
    });
    one.expect_peer(two.peer);
    two.expect_peer(one.peer);
    let value = value(5, 1, 100_000, 1024);
    one.shelf.put(value.clone());
    one.tell(NetCommand::Stream {
        key: value.key,
        to: Recipients::One(two.peer),
    });
    let Offer { offer, .. } = expect_offer(&mut two, &value);
    two.tell(NetCommand::Admit {
        offer,
        tag: Tag::Streamed,
    });
    assert!(same_bytes(&two.expect_put().0, &value));
}

#[test]
fn a_relays_bad_blob_is_fetched_from_another_holder() {
    let mut bad = Node::start(Setup::new(1));
    let mut good = Node::start(Setup::new(2));
    let mut node = Node::start(Setup::new(3).dials(&bad).dials(&good));
    bad.expect_peer(node.peer);
    good.expect_peer(node.peer);
    let value = value(5, 1, 100_000, 6);
    let mut spoilt = value.clone();
    let mut blob = spoilt.blobs[3].to_vec();
    blob[70_000] ^= 1;
    spoilt.blobs[3] = blob.into();
    bad.shelf.put(spoilt);
    good.shelf.put(value.clone());
    bad.tell(NetCommand::Stream {
        key: value.key,
        to: Recipients::All,
    });
    let Offer { offer, .. } = expect_offer(&mut node, &value);
    node.tell(NetCommand::Admit {
        offer,
        tag: Tag::Streamed,
    });
    let from = node.expect("incomplete", |event| match event {
        NetEvent::Incomplete { key, peer } if key == value.key => Some(peer),
        _ => None,
    });
    assert_eq!(from, bad.peer);
    assert_eq!(node.counter(FAULTS, &[("fault", Fault::Part.name())]), 1);
    node.tell(NetCommand::Fetch {
        key: value.key,
        peer: good.peer,
    });
    assert!(same_bytes(&node.expect_put().0, &value));
}

#[test]
fn a_whole_value_can_be_fetched_and_a_missing_one_is_said_to_be_missing() {
    let (one, mut two) = pair();
    let value = value(5, 1, 100_000, 2);
    two.tell(NetCommand::Fetch {
        key: value.key,
        peer: one.peer,
    });
    two.expect("incomplete", |event| {
        matches!(event, NetEvent::Incomplete { .. }).then_some(())
    });
    one.shelf.put(value.clone());
    two.tell(NetCommand::Fetch {
        key: value.key,
        peer: one.peer,
    });
    let Offer { offer, .. } = expect_offer(&mut two, &value);
    two.tell(NetCommand::Admit {
        offer,
        tag: Tag::Certified,
    });
    let (assembly, tag) = two.expect_put();
    assert!(same_bytes(&assembly, &value));
    assert_eq!(tag, Tag::Certified);
}

fn sync(node: &mut Node, peer: PeerId, height: u64, want: SyncWant) -> SyncEnd {
    node.tell(NetCommand::Sync {
        peer,
        height: Height(height),
        want,
    });
    node.expect("end of sync", |event| match event {
        NetEvent::SyncEnded { height: ended, end, .. } if ended == Height(height) => Some(end),
        _ => None,
    })
}

#[test]
fn decided_heights_are_synced() {
    let (one, mut two) = pair();
    let (held, pruned, damaged) = (value(1, 1, 100_000, 6), value(2, 1, 1000, 6), value(3, 1, 1000, 1));
    for (value, absent) in [
        (&held, None),
        (&pruned, Some(Absent::Pruned { oldest: Height(3) })),
        (&damaged, Some(Absent::Damaged)),
    ] {
        one.shelf.put(value.clone());
        one.shelf.decide(value.key, absent);
    }
    for (value, kind) in [(&held, OfferKind::Full), (&pruned, OfferKind::MetadataOnly)] {
        two.tell(NetCommand::Sync {
            peer: one.peer,
            height: value.key.height,
            want: SyncWant::Package,
        });
        let offer = expect_offer(&mut two, value);
        assert_eq!((offer.kind, offer.certificate), (kind, Some(certificate(value.key))));
        two.tell(NetCommand::Admit {
            offer: offer.offer,
            tag: Tag::Certified,
        });
        let (assembly, tag) = two.expect_put();
        assert_eq!(
            (assembly.key, &assembly.payload, tag),
            (value.key, &value.payload, Tag::Certified)
        );
        assert_eq!(assembly.blobs.len(), if kind == OfferKind::Full { 6 } else { 0 });
    }
    assert_eq!(sync(&mut two, one.peer, 3, SyncWant::Package), SyncEnd::Unavailable);
    assert_eq!(
        sync(&mut two, one.peer, 3, SyncWant::Certificate),
        SyncEnd::Certificate(certificate(damaged.key))
    );
    assert_eq!(
        sync(&mut two, one.peer, 4, SyncWant::Package),
        SyncEnd::NotDecided { tip: Height(3) }
    );
    assert_eq!(
        sync(&mut two, PeerId([0; 32]), 4, SyncWant::Package),
        SyncEnd::TimedOut,
        "nobody we know"
    );
}

#[test]
fn a_node_of_another_chain_is_no_peer() {
    let mut one = Node::start(Setup::new(1));
    let mut other = Node::start(Setup {
        chain: ChainIdentity([1; 32]),
        ..Setup::new(2).dials(&one)
    });
    other.expect_count("ultramarine_net_dials_failed_total", &[], 2);
    assert!(one.poll().is_none() && other.poll().is_none());
}

#[test]
fn a_node_without_attestation_is_a_full_node() {
    let mut one = Node::start(Setup::new(1));
    let mut full = Node::start(Setup {
        attested: false,
        ..Setup::new(9).dials(&one)
    });
    assert_eq!(one.expect_peer(full.peer), None);
    assert_eq!(full.expect_peer(one.peer), Some(validator(1)));
}

#[test]
fn two_that_dial_each_other_end_up_with_one_connection() {
    let reserved = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let listen = reserved.local_addr().expect("bound");
    drop(reserved);
    let mut two_setup = Setup {
        listen,
        ..Setup::new(2)
    };
    let placeholder = ultramarine_net::PeerConfig {
        address: listen.to_string(),
        peer: Some(identity(2).peer()),
    };
    let mut one = Node::start(Setup {
        peers: vec![placeholder],
        ..Setup::new(1)
    });
    two_setup = two_setup.dials(&one);
    let mut two = Node::start(two_setup);
    one.expect_peer(two.peer);
    two.expect_peer(one.peer);
    // Whatever connection lost, what is sent again after `PeerUp` arrives, as the core does it.
    for (height, left, right) in [(1, true, false), (2, false, true)] {
        let (from, to) = if left {
            (&mut one, &mut two)
        } else {
            (&mut two, &mut one)
        };
        assert!(left != right);
        loop {
            from.tell(NetCommand::Send {
                to: Recipients::All,
                message: vote(height),
            });
            let got = to.expect("anything", |event| match event {
                NetEvent::Message { message, .. } => Some(Some(message)),
                NetEvent::PeerUp { .. } => Some(None),
                _ => None,
            });
            if got == Some(vote(height)) {
                break;
            }
        }
    }
}

#[test]
fn a_restarted_peer_is_met_again() {
    let (one, mut two) = pair();
    let (listen, first) = (one.address, one.peer);
    one.stop();
    two.expect("farewell", |event| {
        matches!(event, NetEvent::PeerDown { peer } if peer == first).then_some(())
    });
    let mut one = Node::start(Setup {
        listen,
        ..Setup::new(1)
    });
    assert_eq!(two.expect_peer(first), Some(validator(1)));
    one.expect_peer(two.peer);
    two.tell(NetCommand::Send {
        to: Recipients::All,
        message: vote(7),
    });
    assert_eq!(expect_message(&mut one, two.peer), vote(7));
}

#[test]
fn a_peer_that_died_without_a_word_is_met_again_at_once() {
    let mut one = Node::start(Setup::new(1));
    let peer = identity(3).peer();
    let dead = Rogue::meet(&one, 3);
    one.expect_peer(peer);
    // Its tasks are gone before they could say anything, as after kill -9.
    dead.runtime.shutdown_background();
    let started = std::time::Instant::now();
    let _alive = Rogue::meet_in(
        &one,
        Guise {
            instance: 2,
            ..Guise::validator(3)
        },
    );
    one.expect("end of the old life", |event| {
        matches!(event, NetEvent::PeerDown { .. }).then_some(())
    });
    one.expect_peer(peer);
    assert!(
        started.elapsed() < ultramarine_net::bounds::IDLE,
        "nobody waited for the idle timeout"
    );
}

#[test]
fn a_peer_that_reads_nothing_holds_nobody_up() {
    let (mut one, mut two) = pair();
    let _deaf = Rogue::meet(&one, 3);
    one.expect_peer(identity(3).peer());
    for salt in 0..12 {
        let value = value(5, salt, 1000, 6);
        one.shelf.put(value.clone());
        one.tell(NetCommand::Stream {
            key: value.key,
            to: Recipients::All,
        });
        let Offer { offer, .. } = expect_offer(&mut two, &value);
        two.tell(NetCommand::Admit {
            offer,
            tag: Tag::Streamed,
        });
        assert!(same_bytes(&two.expect_put().0, &value));
    }
    // Its windows hold 128 KiB, so none of the twelve got through, and only the newest six still try.
    one.expect_count("ultramarine_net_bulk_dropped_total", &[], 6);
    one.tell(NetCommand::Send {
        to: Recipients::All,
        message: vote(6),
    });
    assert_eq!(expect_message(&mut two, one.peer), vote(6));
}

#[test]
fn garbage_on_the_control_stream_ends_the_connection_and_disturbs_nobody() {
    let (mut one, two) = pair();
    for garbage in [
        vec![0xff; 100],
        frame(FrameKind::Message, &[7; 64]).to_vec(),
        frame(FrameKind::Fin, &[]).to_vec(),
        [FrameKind::Message as u8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff].to_vec(),
    ]
    .into_iter()
    .enumerate()
    .map(|(index, garbage)| (index as u8 + 3, garbage))
    {
        let (secret, bytes) = garbage;
        let mut rogue = Rogue::meet(&one, secret);
        one.expect_peer(identity(secret).peer());
        rogue.say(&bytes);
        assert_eq!(rogue.farewell(), Some(Goodbye::Protocol), "from rogue {secret}");
    }
    assert_eq!(one.counter(FAULTS, &[("fault", "protocol")]), 4);
    two.tell(NetCommand::Send {
        to: Recipients::All,
        message: vote(4),
    });
    assert_eq!(expect_message(&mut one, two.peer), vote(4));
}

#[test]
fn garbage_streams_are_cut_off_and_lead_to_a_ban() {
    let (mut one, _two) = pair();
    let rogue = Rogue::meet(&one, 3);
    one.expect_peer(identity(3).peer());
    rogue.stream(&vec![0xff; 1 << 20]);
    let oversized = value(1, 0, 1000, 7);
    rogue.stream(&message::init_frame(&oversized.init));
    assert_eq!(rogue.farewell(), Some(Goodbye::Banned));
    let again = Rogue::meet(&one, 3);
    assert_eq!(again.farewell(), Some(Goodbye::Banned), "and it stays away for a while");
}

#[test]
fn a_peer_without_a_valid_hello_is_told_why() {
    let (one, _two) = pair();
    let attested_for_another = Hello {
        versions: WIRE_VERSIONS,
        chain: fixtures::CHAIN,
        plans: Plans {
            upgrades: Hash::ZERO,
            fork_schedule: Hash::ZERO,
        },
        instance: 1,
        attestation: Some(attestation(4)),
    };
    let mut other_version = frame(FrameKind::Hello, &[0; HELLO_BYTES]).to_vec();
    (other_version[8], other_version[12]) = (98, 99);
    let mut old_format = frame(FrameKind::Hello, &[0; 157]).to_vec();
    old_format[8] = 3;
    for (hello, reason) in [
        (attested_for_another.frame().to_vec(), Goodbye::Attestation),
        (other_version, Goodbye::Version),
        (old_format, Goodbye::OldFormat),
        (frame(FrameKind::Status, &[]).to_vec(), Goodbye::Protocol),
    ] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let farewell = runtime.block_on(async {
            let socket = endpoint::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
            let endpoint = endpoint::open(socket, &identity(5)).expect("an endpoint");
            let connection = endpoint
                .connect(one.address, "x")
                .expect("dials")
                .await
                .expect("connects");
            let (mut control, _receive) = connection.open_bi().await.expect("a stream");
            control.write_all(&hello).await.expect("written");
            connection.closed().await
        });
        let quinn::ConnectionError::ApplicationClosed(close) = farewell else {
            panic!("{farewell}")
        };
        assert_eq!(Goodbye::of_code(close.error_code.into_inner()), Some(reason));
    }
}
