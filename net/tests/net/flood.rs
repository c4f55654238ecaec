//! Peers that send without end, or a byte now and then.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ultramarine_net::bounds;
use ultramarine_net::frame::{FrameKind, Header};
use ultramarine_net::hello::Goodbye;
use ultramarine_net::message;
use ultramarine_net::streaming::split::split;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::network::{Fault, NetCommand, NetEvent, Recipients};
use ultramarine_types::storage::Tag;
use ultramarine_types::{Assembly, Height, fixtures};

use crate::fixture::{same_bytes, value, vote};
use crate::node::{Node, Setup, attestation_of, identity};
use crate::rogue::{Guise, Rogue};

const FAULTS: &str = "ultramarine_net_faults_total";
const RECEIVED: &str = "ultramarine_net_messages_total";
const IN: &[(&str, &str)] = &[("direction", "in")];

/// Reads away what a node tells its core, as a core would, until a counter has its value.
fn drain_until(node: &mut Node, least: u64) {
    let patience = Instant::now() + Duration::from_secs(20);
    while node.counter(RECEIVED, IN) < least {
        assert!(
            Instant::now() < patience,
            "{} messages were read",
            node.counter(RECEIVED, IN)
        );
        while node.poll().is_some() {}
        std::thread::yield_now();
    }
}

/// Votes without end, from another thread.
fn flood(rogue: &Rogue, mut control: quinn::SendStream) {
    let votes = message::message_frame(&vote(4)).repeat(1000);
    rogue
        .runtime
        .spawn(async move { while control.write_all(&votes).await.is_ok() {} });
}

/// A node that a peer floods, and since when.
fn flooded() -> (Node, Rogue, Instant) {
    let mut node = Node::start(Setup::new(1));
    let mut rogue = Rogue::meet(&node, 3);
    node.expect_peer(identity(3).peer());
    let started = Instant::now();
    let control = rogue.take_control();
    flood(&rogue, control);
    (node, rogue, started)
}

/// Longest burst and then the rate: the least time in which so many messages may be read.
fn least_time(messages: u64) -> Duration {
    Duration::from_millis((messages - bounds::MESSAGES_BURST) * 1000 / bounds::MESSAGES_PER_SECOND)
}

#[test]
fn an_endless_control_stream_is_read_within_its_budget() {
    let (mut node, _rogue, started) = flooded();
    let messages = bounds::MESSAGES_BURST + 2 * bounds::MESSAGES_PER_SECOND;
    drain_until(&mut node, messages);
    assert!(started.elapsed() >= least_time(messages - 1));
}

#[test]
fn a_new_connection_is_no_new_budget() {
    let (mut node, _rogue, started) = flooded();
    drain_until(&mut node, bounds::MESSAGES_BURST);
    let mut again = Rogue::meet_in(
        &node,
        Guise {
            instance: 2,
            ..Guise::validator(3)
        },
    );
    let control = again.take_control();
    flood(&again, control);
    let messages = bounds::MESSAGES_BURST + 3 * bounds::MESSAGES_PER_SECOND;
    drain_until(&mut node, messages);
    // Two that were being read when the connections changed.
    assert!(started.elapsed() >= least_time(messages - 2), "{:?}", started.elapsed());
}

#[test]
fn a_stranger_with_2000_statuses_a_second_costs_the_core_a_few() {
    let mut node = Node::start(Setup::new(1));
    let mut rogue = Rogue::meet_in(&node, Guise::full_node(9));
    let peer = identity(9).peer();
    node.expect_peer(peer);
    let mut control = rogue.take_control();
    let mut tip = 0;
    rogue.runtime.spawn(async move {
        loop {
            tip += 1;
            let frame = message::status_frame(&fixtures::status(Height(tip)));
            if control.write_all(&frame).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    });
    let began = Instant::now();
    let (mut heard, mut newest) = (0, Height(0));
    while began.elapsed() < Duration::from_secs(3) {
        match node.poll() {
            Some(NetEvent::Status { status, .. }) => (heard, newest) = (heard + 1, status.tip),
            Some(_) => {}
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    let sent = node.counter(RECEIVED, IN);
    assert!(sent > 1_000, "it sends {sent} in three seconds");
    let seconds = began.elapsed().as_secs() + 1;
    let most = seconds * bounds::STATUSES_PER_SECOND + bounds::STATUSES_BURST;
    assert!(heard <= most, "the core hears {heard} of {sent}");
    assert!(newest.0 > sent / 2, "of {sent} it hears {newest} as the newest");
    node.expect_count("ultramarine_net_statuses_merged_total", &[], sent / 2);
}

#[test]
fn a_vote_of_a_validator_goes_before_what_strangers_say() {
    let mut node = Node::start(Setup::new(1));
    let mut validator = Rogue::meet(&node, 3);
    node.expect_peer(identity(3).peer());
    let mut strangers: Vec<Rogue> = (0..4)
        .map(|index| Rogue::meet_in(&node, Guise::full_node(20 + index)))
        .collect();
    node.expect_peers((20..24).map(|secret| identity(secret).peer()));
    for stranger in &mut strangers {
        let control = stranger.take_control();
        flood(stranger, control);
    }
    // The core stands still until strangers have as much room as they may have.
    node.expect_count(RECEIVED, IN, bounds::EVENTS_WAITING_MAX as u64);
    validator.say(&message::message_frame(&vote(7)));
    std::thread::sleep(Duration::from_millis(500));
    let own = identity(3).peer();
    let mut before = 0;
    node.expect("vote", |event| match event {
        NetEvent::Message { peer, .. } if peer == own => Some(()),
        _ => {
            before += 1;
            None
        }
    });
    assert!(before <= 32, "{before} inputs of strangers go before it");
}

#[test]
fn a_control_frame_that_never_ends_ends_the_connection() {
    let mut node = Node::start(Setup::new(1));
    let mut rogue = Rogue::meet(&node, 3);
    node.expect_peer(identity(3).peer());
    let started = Instant::now();
    let mut control = rogue.take_control();
    rogue.runtime.spawn(async move {
        let header = [FrameKind::Message as u8, 0, 0, 0, 0, 2, 0, 0];
        let mut sent = control.write_all(&header).await;
        while sent.is_ok() {
            sent = control.write_all(&[0]).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert_eq!(rogue.farewell(), Some(Goodbye::Protocol));
    assert!(started.elapsed() < 2 * bounds::CONTROL_FRAME);
    assert_eq!(node.counter(FAULTS, &[("fault", Fault::Withheld.name())]), 1);
}

#[test]
fn a_value_that_comes_a_byte_now_and_then_is_cut_off() {
    let mut node = Node::start(Setup::new(1));
    let rogue = Rogue::meet(&node, 3);
    node.expect_peer(identity(3).peer());
    let value = value(5, 1, 1000, 1);
    let init = message::init_frame(&value.init);
    let stopped = rogue.runtime.spawn({
        let connection = rogue.connection.clone();
        async move {
            let mut stream = connection.open_uni().await.expect("a stream");
            stream.write_all(&init).await.expect("written");
            let header = [FrameKind::Chunk as u8, 0, 0, 0, 0xec, 3, 0, 0];
            let mut sent = stream.write_all(&header).await;
            while sent.is_ok() {
                sent = stream.write_all(&[0]).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let offer = node.expect("offer", |event| match event {
        NetEvent::Offer { offer, .. } => Some(offer),
        _ => None,
    });
    let started = Instant::now();
    node.tell(NetCommand::Admit {
        offer,
        tag: Tag::Streamed,
    });
    rogue.runtime.block_on(stopped).expect("no panic");
    // As often as a busy machine lets us sleep through a deadline, and no longer.
    assert!(started.elapsed() < bounds::OFFER_WAIT.as_duration());
    assert_eq!(node.counter(FAULTS, &[("fault", Fault::Withheld.name())]), 1);
}

/// Begins a frame and goes on with a byte now and then, until nobody wants more.
async fn dribble(mut stream: quinn::SendStream, kind: FrameKind) {
    let mut sent = stream.write_all(&[kind as u8, 0, 0, 0, 0xe8, 3, 0, 0]).await;
    while sent.is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        sent = stream.write_all(&[0]).await;
    }
}

#[test]
fn a_first_frame_that_comes_a_byte_now_and_then_is_cut_off_on_every_kind_of_stream() {
    let mut node = Node::start(Setup::new(1));
    let rogue = Rogue::meet_in(&node, Guise::full_node(9));
    node.expect_peer(identity(9).peer());
    let patience = bounds::OFFER_WAIT.as_duration();
    for kind in [FrameKind::Init, FrameKind::PartsRequest, FrameKind::ValueRequest] {
        let cut_off = rogue.runtime.block_on(async {
            let stream = if kind == FrameKind::Init {
                rogue.connection.open_uni().await.expect("a stream")
            } else {
                rogue.connection.open_bi().await.expect("a stream").0
            };
            tokio::time::timeout(patience, dribble(stream, kind)).await
        });
        assert!(cut_off.is_ok(), "{kind:?}");
        assert!(rogue.connection.close_reason().is_none(), "slow is no fault: {kind:?}");
    }
}

#[test]
fn a_validators_new_keys_are_no_new_start() {
    let mut node = Node::start(Setup::new(1));
    let keys = 20..28;
    for secret in keys.clone() {
        let guise = Guise {
            attestation: Some(attestation_of(3, secret)),
            ..Guise::full_node(secret)
        };
        let rogue = Rogue::meet_in(&node, guise);
        (0..3).for_each(|_| rogue.stream(&[0xff; 100]));
        assert_eq!(rogue.farewell(), Some(Goodbye::Banned));
    }
    // Two faults are a ban for each key. The later keys were banned before they could do any.
    let faults = node.counter(FAULTS, &[("fault", Fault::Protocol.name())]);
    assert!(faults < 2 * keys.count() as u64, "{faults} faults");
    // Nobody else suffers.
    let _other = Rogue::meet(&node, 4);
    node.expect_peer(identity(4).peer());
}

/// Opens a value's stream with its lists, then brings garbage for every place from one on, as far as it is let.
fn bring_garbage(rogue: &Rogue, value: &Assembly, from: usize) {
    let mut bytes = split(value, None);
    // `Init` and four lists.
    bytes.truncate(5);
    for place in 0..value.blobs.len() {
        let index = (from + place) % value.blobs.len();
        let head = Header {
            kind: FrameKind::Blob,
            body_bytes: 2 + BLOB_BYTES,
        };
        bytes.push(Bytes::copy_from_slice(&head.bytes()));
        bytes.push(Bytes::copy_from_slice(&(index as u16).to_le_bytes()));
        bytes.push(Bytes::from(vec![0xee; BLOB_BYTES]));
    }
    let connection = rogue.connection.clone();
    rogue.runtime.spawn(async move {
        let mut stream = connection.open_uni().await.expect("a stream");
        let _ = stream.write_all_chunks(&mut bytes).await;
    });
}

/// Waits until the other end takes no more: it has as many blobs as it lets one stream bring.
async fn until_held_back(connection: &quinn::Connection) {
    let least = (bounds::UNJUDGED_PER_STREAM_MAX * BLOB_BYTES) as u64;
    let sent = || connection.stats().frame_tx.stream;
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let mut before = 0;
    while connection.stats().udp_tx.bytes < least || sent() != before {
        assert!(std::time::Instant::now() < deadline, "it is never held back");
        before = sent();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[test]
fn three_that_fill_places_with_garbage_and_hang_up_delay_nobody_and_pay() {
    let setup = Setup {
        blobs_per_block: 128,
        ..Setup::new(1)
    };
    // From the start, as a lane that waits for a job takes one more.
    let lanes_hold = setup.lanes_hold.clone();
    lanes_hold.store(true, Ordering::Relaxed);
    let mut node = Node::start(setup);
    let mut honest = Node::start(
        Setup {
            blobs_per_block: 128,
            ..Setup::new(2)
        }
        .dials(&node),
    );
    node.expect_peer(honest.peer);
    honest.expect_peer(node.peer);
    let value = value(5, 1, 100_000, 128);
    // Two that validators attest, and one full node.
    let elsewhere = IpAddr::from([127, 0, 0, 2]);
    let guises = [
        Guise::validator(3),
        Guise::validator(4),
        Guise {
            from: elsewhere,
            ..Guise::full_node(9)
        },
    ];
    for (guise, from) in guises.into_iter().zip([0, 43, 86]) {
        let rogue = Rogue::meet_in(&node, guise);
        node.expect_peer(identity(guise.secret).peer());
        bring_garbage(&rogue, &value, from);
        if from == 0 {
            let offer = node.expect("offer", |event| match event {
                NetEvent::Offer { offer, .. } => Some(offer),
                _ => None,
            });
            let tag = Tag::Streamed;
            node.tell(NetCommand::Admit { offer, tag });
        }
        rogue.runtime.block_on(until_held_back(&rogue.connection));
        rogue
            .connection
            .close(quinn::VarInt::from_u32(Goodbye::Going as u32), b"");
        node.expect("farewell", |event| {
            matches!(event, NetEvent::PeerDown { peer } if peer == identity(guise.secret).peer()).then_some(())
        });
    }
    assert_eq!(node.counter(FAULTS, &[("fault", Fault::Part.name())]), 0);
    honest.shelf.put(value.clone());
    let key = value.key;
    honest.tell(NetCommand::Stream {
        key,
        to: Recipients::One(node.peer),
    });
    lanes_hold.store(false, Ordering::Relaxed);
    assert!(same_bytes(&node.expect_put().0, &value));
    let least = 3 * bounds::UNJUDGED_PER_STREAM_MAX as u64;
    node.expect_count(FAULTS, &[("fault", Fault::Part.name())], least);
    // Who stands behind each has paid, though each was gone: a new key does not start anew.
    let attested = |validator, node| Guise {
        attestation: Some(attestation_of(validator, node)),
        ..Guise::full_node(node)
    };
    let again = [
        attested(3, 20),
        attested(4, 21),
        Guise {
            from: elsewhere,
            ..Guise::full_node(22)
        },
    ];
    for guise in again {
        assert_eq!(Rogue::meet_in(&node, guise).farewell(), Some(Goodbye::Banned));
    }
    let _neighbour = Rogue::meet(&node, 5);
    node.expect_peer(identity(5).peer());
}
