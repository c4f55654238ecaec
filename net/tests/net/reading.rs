//! Peers that ask and do not read, or are sent to and do not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ultramarine_net::message::{self, PartsRequest};
use ultramarine_types::Assembly;
use ultramarine_types::network::{Fault, NetCommand, Recipients};

use crate::fixture::value;
use crate::node::{Node, Setup, identity};
use crate::rogue::Rogue;

const FAULTS: &str = "ultramarine_net_faults_total";

/// Bytes that count who holds them, as slices of a mapped segment do.
struct Leased {
    bytes: Bytes,
    held: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A value like another one, whose blobs are leased.
fn leased(mut value: Assembly) -> (Assembly, Arc<AtomicUsize>) {
    let held = Arc::new(AtomicUsize::new(0));
    for blob in &mut value.blobs {
        held.fetch_add(1, Ordering::SeqCst);
        *blob = Bytes::from_owner(Leased {
            bytes: blob.clone(),
            held: held.clone(),
        });
    }
    (value, held)
}

fn expect_free(held: &AtomicUsize) {
    let patience = Instant::now() + Duration::from_secs(40);
    while held.load(Ordering::SeqCst) > 0 {
        assert!(
            Instant::now() < patience,
            "{} blobs are still held",
            held.load(Ordering::SeqCst)
        );
        std::thread::yield_now();
    }
}

/// The node begins to send the value, gives up, and holds none of its bytes.
fn gives_up(node: &mut Node, rogue: &Rogue, value: Assembly, held: &AtomicUsize) {
    // It has begun: the window that the rogue gives is full.
    rogue.runtime.block_on(async {
        while rogue.connection.stats().udp_rx.bytes < 64 * 1024 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    node.shelf.clear();
    drop(value);
    expect_free(held);
    node.expect_count(FAULTS, &[("fault", Fault::Withheld.name())], 1);
}

#[test]
fn who_asks_and_does_not_read_holds_no_bytes_for_long() {
    let mut node = Node::start(Setup::new(1));
    let (value, held) = leased(value(5, 1, 1000, 6));
    node.shelf.put(value.clone());
    let rogue = Rogue::meet(&node, 3);
    node.expect_peer(identity(3).peer());
    let request = message::parts_request_frame(&PartsRequest {
        key: value.key,
        missing: None,
    });
    let _unread = rogue.ask(&request);
    gives_up(&mut node, &rogue, value, &held);
}

#[test]
fn who_is_sent_a_value_and_does_not_read_holds_no_bytes_for_long() {
    let mut node = Node::start(Setup::new(1));
    let (value, held) = leased(value(5, 1, 1000, 6));
    node.shelf.put(value.clone());
    let rogue = Rogue::meet(&node, 3);
    node.expect_peer(identity(3).peer());
    node.tell(NetCommand::Stream {
        key: value.key,
        to: Recipients::All,
    });
    gives_up(&mut node, &rogue, value, &held);
}
