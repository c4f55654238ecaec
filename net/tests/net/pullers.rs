//! Strangers that pull packages without end, while a proposer streams its block.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ultramarine_net::message::{self, ValueRequest};
use ultramarine_types::network::{NetCommand, NetEvent, Recipients, SyncWant};
use ultramarine_types::storage::Tag;
use ultramarine_types::{Assembly, Height};

use crate::fixture::value;
use crate::node::{Node, Setup};
use crate::rogue::Crowd;

const BLOBS: u32 = 256;
const STRANGERS: u16 = 64;
/// Questions that each has open at one time.
const PULLS: usize = 2;
/// Blocks that are streamed, of which the median counts.
const BLOCKS: u8 = 5;

/// How long a block takes from the command to stream it until a validator has all of it.
fn streamed(proposer: &mut Node, validator: &mut Node, block: &Assembly) -> Duration {
    let key = block.key;
    proposer.shelf.put(block.clone());
    let began = Instant::now();
    proposer.tell(NetCommand::Stream {
        key,
        to: Recipients::One(validator.peer),
    });
    let offer = validator.expect("offer", |event| match event {
        NetEvent::Offer { offer, key: of, .. } if of == key => Some(offer),
        _ => None,
    });
    let tag = Tag::Streamed;
    validator.tell(NetCommand::Admit { offer, tag });
    assert_eq!(validator.expect_put().0.key, key);
    began.elapsed()
}

fn median(proposer: &mut Node, validator: &mut Node, first: u64) -> Duration {
    let blocks = (0..BLOCKS).map(|index| value(first + u64::from(index), 1, 1000, BLOBS as usize));
    let mut times: Vec<Duration> = blocks
        .collect::<Vec<_>>()
        .iter()
        .map(|block| streamed(proposer, validator, block))
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// Asks for the same package again and again.
async fn pull(connection: quinn::Connection) {
    let request = message::value_request_frame(&ValueRequest {
        height: Height(5),
        want: SyncWant::Package.into(),
    });
    while let Ok((mut send, mut receive)) = connection.open_bi().await {
        if send.write_all(&request).await.is_err() {
            return;
        }
        let _ = send.finish();
        while let Ok(Some(_)) = receive.read_chunk(1 << 20, true).await {}
    }
}

#[test]
fn strangers_that_pull_packages_are_served_and_held_back_while_a_block_is_streamed() {
    let setup = |secret| Setup {
        blobs_per_block: BLOBS,
        ..Setup::new(secret)
    };
    let mut proposer = Node::start(setup(1));
    let mut validator = Node::start(setup(2).dials(&proposer));
    proposer.expect_peer(validator.peer);
    validator.expect_peer(proposer.peer);
    let pulled = value(5, 1, 1000, BLOBS as usize);
    proposer.shelf.put(pulled.clone());
    proposer.shelf.decide(pulled.key, None);
    let quiet = median(&mut proposer, &mut validator, 10);
    let from = |key: u16| IpAddr::from([127, 0, 0, 2 + (key % 4) as u8]);
    let crowd = Crowd::meet(&proposer, (0..STRANGERS).map(|key| (key, from(key))));
    for connection in &crowd.connections {
        for _ in 0..PULLS {
            crowd.runtime.spawn(pull(connection.clone()));
        }
    }
    proposer.expect_count("ultramarine_net_requests_served_total", &[], 8);
    let pulled = median(&mut proposer, &mut validator, 30);
    // Times depend on what else the machine does, so they are printed alone: some 3 times with turns on two busy cores
    // that carry the pullers as well, and 7 without.
    let ratio = pulled.as_secs_f64() / quiet.as_secs_f64();
    println!("a block of {BLOBS} blobs: {quiet:?} alone, {pulled:?} beside {STRANGERS} pullers ({ratio:.1} times)");
    println!(
        "{} bytes for the pullers",
        proposer.counter("ultramarine_net_serving_bytes_total", &[("to", "strangers")])
    );
    // They are served as well.
    let served = proposer.counter("ultramarine_net_requests_served_total", &[]);
    proposer.expect_count("ultramarine_net_requests_served_total", &[], served + 4);
    // And they were held back while blocks were streamed.
    proposer.expect_count("ultramarine_net_serving_shed_total", &[], 1);
}
