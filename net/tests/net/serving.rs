//! Which answers are served first, and which are not served.

use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use ultramarine_net::bounds;
use ultramarine_net::message::{self, PartsRequest, ValueRequest};
use ultramarine_net::streaming::{ListSet, Missing, Ranges};
use ultramarine_runtime::{IoMode, skip};
use ultramarine_types::network::{Fault, NetCommand, NetEvent, Recipients, SyncWant};
use ultramarine_types::storage::OnDisk;
use ultramarine_types::{Assembly, Height, fixtures};

use crate::fixture::{PATIENCE, params, value};
use crate::node::{Node, Setup, identity};
use crate::rogue::{Guise, Rogue};

const FAULTS: &str = "ultramarine_net_faults_total";

fn expect_offer(node: &mut Node) {
    node.expect("offer", |event| matches!(event, NetEvent::Offer { .. }).then_some(()));
}

#[test]
fn full_nodes_cannot_keep_a_validator_from_what_it_misses() {
    let mut node = Node::start(Setup::new(1));
    let mut validator = Node::start(Setup::new(2).dials(&node));
    node.expect_peer(validator.peer);
    let (slow, wanted) = (value(5, 1, 1000, 1), value(5, 2, 1000, 1));
    node.shelf.put(slow.clone());
    node.shelf.put(wanted.clone());
    let disk = node.shelf.stick(slow.key);
    let rogues: Vec<Rogue> = (0..4)
        .map(|index| Rogue::meet_in(&node, Guise::full_node(20 + index)))
        .collect();
    node.expect_peers((20..24).map(|secret| identity(secret).peer()));
    let request = message::parts_request_frame(&PartsRequest {
        key: slow.key,
        missing: None,
    });
    let _answers: Vec<_> = (0..12)
        .flat_map(|_| rogues.iter().map(|rogue| rogue.ask(&request)))
        .collect();
    node.shelf.expect_waiting(bounds::SERVING_FULL_NODES_MAX);
    validator.tell(NetCommand::Fetch {
        key: wanted.key,
        peer: node.peer,
    });
    expect_offer(&mut validator);
    drop(disk);
}

fn height_request(height: u64, want: SyncWant) -> Bytes {
    let height = Height(height);
    message::value_request_frame(&ValueRequest {
        height,
        want: want.into(),
    })
}

/// Waits for the whole answer.
fn expect_answer(rogue: &Rogue, request: &[u8]) {
    let mut answer = rogue.ask(request);
    let answered = async { tokio::time::timeout(PATIENCE, answer.read_to_end(1 << 20)).await };
    let answer = rogue.runtime.block_on(answered).expect("it comes in time");
    assert!(!answer.expect("it comes whole").is_empty());
}

#[test]
fn what_one_full_node_cannot_afford_its_neighbours_do_not_owe() {
    let mut node = Node::start(Setup::new(1));
    let value = value(5, 1, 1000, 1);
    node.shelf.put(value.clone());
    node.shelf.decide(value.key, None);
    // A full node would pay for this for half a minute. If its address alone paid, it would pay for more than six
    // seconds.
    node.shelf.lie_at(OnDisk {
        path: "/nowhere".into(),
        offset: 0,
        bytes: 30 * bounds::SERVE_FULL_NODE_BYTES_PER_SECOND,
    });
    let glutton = Rogue::meet_in(&node, Guise::full_node(9));
    let neighbour = Rogue::meet_in(&node, Guise::full_node(10));
    for secret in [9, 10] {
        node.expect_peer(identity(secret).peer());
    }
    let package = height_request(5, SyncWant::Package);
    let _answers: Vec<_> = (0..11).map(|_| glutton.ask(&package)).collect();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        expect_answer(&neighbour, &height_request(5, SyncWant::Certificate));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// Values of heights 5 and 6, decided by the node.
fn decided(node: &Node) -> [Assembly; 2] {
    let values = [value(5, 1, 1000, 1), value(6, 2, 1000, 1)];
    for value in &values {
        node.shelf.put(value.clone());
        node.shelf.decide(value.key, None);
    }
    values
}

#[test]
fn a_repair_waits_neither_for_turns_nor_for_bytes_behind_packages() {
    let mut node = Node::start(Setup::new(1));
    let [slow, wanted] = decided(&node);
    // A package takes all that a validator has to spend at once and all that may wait for it, and never comes from the
    // disk.
    node.shelf.lie_at(OnDisk {
        path: "/nowhere".into(),
        offset: 0,
        bytes: bounds::SERVE_VALIDATOR_BYTES_PER_SECOND,
    });
    let disk = node.shelf.stick(slow.key);
    let rogue = Rogue::meet(&node, 3);
    node.expect_peer(identity(3).peer());
    let package = height_request(5, SyncWant::Package);
    let _answers: Vec<_> = (0..8).map(|_| rogue.ask(&package)).collect();
    node.shelf.expect_waiting(1);
    let began = Instant::now();
    expect_answer(&rogue, &height_request(6, SyncWant::Certificate));
    let one_blob = Missing {
        lists: ListSet::NONE,
        chunks: Ranges::new(),
        blobs: Ranges::below(1),
    };
    let part = PartsRequest {
        key: wanted.key,
        missing: Some(one_blob),
    };
    expect_answer(&rogue, &message::parts_request_frame(&part));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(disk);
}

#[test]
fn packages_that_are_read_leave_turns_for_repairs() {
    let mut node = Node::start(Setup::new(1));
    let [slow, _] = decided(&node);
    let disk = node.shelf.stick(slow.key);
    let rogues: Vec<Rogue> = (3..6).map(|secret| Rogue::meet(&node, secret)).collect();
    for secret in 3..6 {
        node.expect_peer(identity(secret).peer());
    }
    let package = height_request(5, SyncWant::Package);
    let _answers: Vec<_> = (0..4)
        .flat_map(|_| rogues.iter().map(|rogue| rogue.ask(&package)))
        .collect();
    node.shelf.expect_waiting(bounds::SERVING_VALIDATORS_MAX);
    for rogue in &rogues {
        expect_answer(rogue, &height_request(6, SyncWant::Certificate));
    }
    drop(disk);
}

#[test]
fn parts_of_heights_long_decided_leave_turns_to_the_round() {
    let mut node = Node::start(Setup::new(1));
    let [old, newest] = decided(&node);
    let under_way = value(7, 3, 1000, 1);
    node.shelf.put(under_way.clone());
    let disk = node.shelf.stick(old.key);
    let rogues: Vec<Rogue> = (3..6).map(|secret| Rogue::meet(&node, secret)).collect();
    for secret in 3..6 {
        node.expect_peer(identity(secret).peer());
    }
    let parts = |value: &Assembly| {
        message::parts_request_frame(&PartsRequest {
            key: value.key,
            missing: None,
        })
    };
    let _answers: Vec<_> = (0..4)
        .flat_map(|_| rogues.iter().map(|rogue| rogue.ask(&parts(&old))))
        .collect();
    node.shelf.expect_waiting(bounds::SERVING_VALIDATORS_MAX);
    for rogue in &rogues {
        expect_answer(rogue, &parts(&under_way));
        expect_answer(rogue, &parts(&newest));
    }
    drop(disk);
}

#[test]
fn a_full_node_leaves_turns_of_both_classes_to_the_next() {
    let mut node = Node::start(Setup::new(1));
    let [_, slow] = decided(&node);
    let disk = node.shelf.stick(slow.key);
    let [greedy, next] = [9, 10].map(|secret| {
        let rogue = Rogue::meet_in(&node, Guise::full_node(secret));
        node.expect_peer(identity(secret).peer());
        rogue
    });
    let parts = message::parts_request_frame(&PartsRequest {
        key: slow.key,
        missing: None,
    });
    let package = height_request(6, SyncWant::Package);
    let _answers: Vec<_> = (0..4)
        .flat_map(|_| [greedy.ask(&parts), greedy.ask(&package)])
        .collect();
    node.shelf.expect_waiting(2);
    // Several times: what else the first one asked for is on its way.
    for _ in 0..20 {
        for want in [SyncWant::Package, SyncWant::Certificate] {
            expect_answer(&next, &height_request(5, want));
        }
    }
    drop(disk);
}

#[test]
fn a_request_is_paid_for_before_it_is_answered() {
    let mut node = Node::start(Setup::new(1));
    let rogue = Rogue::meet_in(&node, Guise::full_node(9));
    node.expect_peer(identity(9).peer());
    let value = value(5, 1, 1000, 1);
    node.shelf.put(value.clone());
    // As the index has it: three times what a full node has to spend at once.
    node.shelf.lie_at(OnDisk {
        path: "/nowhere".into(),
        offset: 0,
        bytes: 3 * bounds::SERVE_FULL_NODE_BYTES_PER_SECOND,
    });
    let request = message::parts_request_frame(&PartsRequest {
        key: value.key,
        missing: None,
    });
    let asked = Instant::now();
    let mut answer = rogue.ask(&request);
    let read = rogue.runtime.block_on(answer.read_to_end(1 << 20));
    assert!(read.is_ok());
    assert!(asked.elapsed() >= Duration::from_secs(2));
}

#[test]
fn a_request_for_nothing_is_a_fault() {
    let mut node = Node::start(Setup::new(1));
    let value = value(5, 1, 1000, 3);
    node.shelf.put(value.clone());
    let of = |chunks: &[usize], blobs: &[usize]| Missing {
        lists: ListSet::NONE,
        chunks: chunks.iter().copied().collect(),
        blobs: blobs.iter().copied().collect(),
    };
    let nothings = [of(&[], &[]), of(&[1], &[3]), of(&[], &[6]), of(&[5000], &[])];
    for (count, missing) in (1u8..).zip(nothings) {
        let rogue = Rogue::meet(&node, 2 + count);
        node.expect_peer(identity(2 + count).peer());
        let request = message::parts_request_frame(&PartsRequest {
            key: value.key,
            missing: Some(missing.clone()),
        });
        let mut answer = rogue.ask(&request);
        let read = rogue.runtime.block_on(answer.read_to_end(1 << 20));
        assert!(read.is_err(), "{missing:?} was answered");
        assert_eq!(
            node.counter(FAULTS, &[("fault", Fault::Protocol.name())]),
            u64::from(count),
            "{missing:?}"
        );
    }
}

/// Whether a read of a byte would not wait for the disk. To ask reads ahead, so ask once for a position.
fn is_resident(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT) != Err(Errno::AGAIN)
}

#[test]
fn a_cold_value_is_read_off_the_core_on_either_back_end() {
    for io in [IoMode::Uring, IoMode::Fallback] {
        if io == IoMode::Uring && skip::without_ring("cold reads through the ring") {
            continue;
        }
        let mut node = Node::start(Setup { io, ..Setup::new(1) });
        let mut other = Node::start(Setup::new(2).dials(&node));
        node.expect_peer(other.peer);
        let path = std::env::temp_dir().join(format!("ultramarine-cold-{io:?}-{}", std::process::id()));
        let mut file = File::create_new(&path).expect("a file");
        file.write_all(&vec![7; 4 << 20]).expect("written");
        file.sync_all().expect("synced");
        let file = File::open(&path).expect("there");
        fadvise(&file, 0, None, Advice::DontNeed).expect("advised");
        if is_resident(&file, 0) {
            std::fs::remove_file(&path).expect("there");
            skip::say("cold reads: this file system keeps everything in memory, or does not tell");
            return;
        }
        let value = value(5, 1, 1000, 1);
        node.shelf.put(value.clone());
        node.shelf.lie_at(OnDisk {
            path: path.clone(),
            offset: 0,
            bytes: 4 << 20,
        });
        other.tell(NetCommand::Fetch {
            key: value.key,
            peer: node.peer,
        });
        expect_offer(&mut other);
        // In the middle of a step, where only a reader of the whole step comes by.
        assert!(is_resident(&file, (2 << 20) + (256 << 10)), "{io:?}");
        let operations = node.counter("ultramarine_ring_operations_total", &[("ring", "net")]);
        assert_eq!(operations > 0, io == IoMode::Uring, "{operations} by {io:?}");
        std::fs::remove_file(&path).expect("there");
    }
}

#[test]
fn full_nodes_get_a_value_behind_the_validators() {
    let mut node = Node::start(Setup::new(1));
    let mut full_node = Node::start(Setup {
        attested: false,
        ..Setup::new(9).dials(&node)
    });
    node.expect_peer(full_node.peer);
    let validator = Rogue::meet(&node, 3);
    node.expect_peer(identity(3).peer());
    let value = value(5, 1, 1000, 6);
    node.shelf.put(value.clone());
    // The validator does not read; its stream is longer than its window.
    let started = Instant::now();
    node.tell(NetCommand::Stream {
        key: value.key,
        to: Recipients::All,
    });
    expect_offer(&mut full_node);
    let round = params(6).limits().propose_timeout().as_duration();
    assert!(started.elapsed() >= round, "it had a round's time before the full node");
    drop(validator);
}

#[test]
fn a_full_node_that_is_behind_is_streamed_nothing() {
    let mut node = Node::start(Setup::new(1));
    let full_node = |secret: u8, node: &Node| {
        Node::start(Setup {
            attested: false,
            ..Setup::new(secret).dials(node)
        })
    };
    let (mut behind, mut other) = (full_node(8, &node), full_node(9, &node));
    behind.expect_peer(node.peer);
    other.expect_peer(node.peer);
    let tells = |full_node: &Node, node: &mut Node, tip: u64| {
        let status = fixtures::status(Height(tip));
        full_node.tell(NetCommand::Status { to: node.peer, status });
        node.expect("its status", |event| match event {
            NetEvent::Status { peer, status } => (peer == full_node.peer && status.tip.0 == tip).then_some(()),
            _ => None,
        });
    };
    for _ in 0..2 {
        node.expect("peer", |event| matches!(event, NetEvent::PeerUp { .. }).then_some(()));
    }
    tells(&behind, &mut node, 2);
    tells(&other, &mut node, 3);
    let value = value(5, 1, 1000, 1);
    node.shelf.put(value.clone());
    let stream = NetCommand::Stream {
        key: value.key,
        to: Recipients::All,
    };
    node.tell(stream.clone());
    expect_offer(&mut other);
    // Both are streamed to at one time.
    std::thread::sleep(Duration::from_millis(200));
    while let Some(event) = behind.poll() {
        assert!(
            !matches!(event, NetEvent::Offer { .. }),
            "it lacks the two heights before"
        );
    }
    tells(&behind, &mut node, 3);
    node.tell(stream);
    expect_offer(&mut behind);
}

#[test]
fn full_nodes_that_take_nothing_keep_the_others_from_one_value_only() {
    let mut node = Node::start(Setup::new(1));
    let value = value(5, 1, 1000, 6);
    node.shelf.put(value.clone());
    let stream = |to| NetCommand::Stream { key: value.key, to };
    let greedy: Vec<Rogue> = (20..)
        .take(bounds::FULL_NODE_STREAMS_MAX)
        .map(|secret| {
            let rogue = Rogue::meet_in(&node, Guise::full_node(secret));
            node.expect_peer(identity(secret).peer());
            rogue
        })
        .collect();
    node.tell(stream(Recipients::All));
    for rogue in &greedy {
        let begun = async { tokio::time::timeout(PATIENCE, rogue.connection.accept_uni()).await };
        let begun = rogue.runtime.block_on(begun).expect("it is its turn");
        std::mem::forget(begun.expect("a stream"));
    }
    // One that reads, and is sent the next value.
    let mut full_node = Node::start(Setup {
        attested: false,
        ..Setup::new(9).dials(&node)
    });
    node.expect_peer(full_node.peer);
    let began = Instant::now();
    node.tell(stream(Recipients::One(full_node.peer)));
    expect_offer(&mut full_node);
    assert!(began.elapsed() < bounds::WRITE_STALL, "{:?}", began.elapsed());
}

#[test]
fn full_nodes_do_not_wait_for_validators_that_have_it() {
    let mut node = Node::start(Setup::new(1));
    let mut full_node = Node::start(Setup {
        attested: false,
        ..Setup::new(9).dials(&node)
    });
    node.expect_peer(full_node.peer);
    let mut validator = Node::start(Setup::new(2).dials(&node));
    node.expect_peer(validator.peer);
    let value = value(5, 1, 1000, 1);
    node.shelf.put(value.clone());
    node.tell(NetCommand::Stream {
        key: value.key,
        to: Recipients::All,
    });
    expect_offer(&mut validator);
    expect_offer(&mut full_node);
    node.expect_count("ultramarine_net_values_streamed_total", &[], 2);
}
