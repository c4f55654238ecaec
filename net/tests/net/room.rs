//! Who has room for how long, and how much is done in one go.

use ultramarine_types::limits::{PAYLOAD_BYTES_MAX, PAYLOAD_CHUNKS_MAX};
use ultramarine_types::{Machine, Outbox};

use crate::fixture::{peer, value};
use crate::join::{Part, Rig};

#[test]
fn a_large_payload_is_joined_a_piece_at_a_time() {
    let mut rig = Rig::new(6);
    let value = value(3, 0, PAYLOAD_BYTES_MAX, 0);
    let stream = rig.admitted(peer(1), &value);
    for index in (0..PAYLOAD_CHUNKS_MAX).rev() {
        rig.part(stream, Part::Chunk(index), &value);
    }
    // All chunks are here. What is left to hash is due at once, in pieces between which votes are read.
    let mut steps = 0;
    while rig.payloads().is_empty() {
        assert_eq!(rig.join.deadline(), Some(rig.now));
        let mut out = Outbox::new();
        rig.join.wake(rig.now, &mut out);
        rig.take(&mut out);
        steps += 1;
    }
    assert!(steps >= 32, "{steps} steps for 16 MiB");
    assert_eq!(rig.payloads(), std::slice::from_ref(&value.payload));
    assert_eq!(rig.complete.len(), 1);
    assert_eq!(rig.complete[0].assembly.payload, value.payload);
}

#[test]
fn a_payload_in_order_is_joined_as_it_comes() {
    let mut rig = Rig::new(6);
    let value = value(3, 0, PAYLOAD_BYTES_MAX, 0);
    let stream = rig.admitted(peer(1), &value);
    for index in 0..PAYLOAD_CHUNKS_MAX {
        assert!(rig.payloads().is_empty());
        rig.part(stream, Part::Chunk(index), &value);
    }
    assert_eq!(rig.payloads(), [value.payload]);
}
