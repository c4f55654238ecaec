//! What a core does with an `Init` of a value that it has another one of.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha512};
use ultramarine_types::network::{OfferKind, Refusal};
use ultramarine_types::storage::{Blobs, StoreReply, Tag};
use ultramarine_types::{Init, Round, Signature, ValueKey, fixtures, sidecar, sign};

use super::offers::{feed, offer, running};
use super::payload::good;
use super::world::{self, World};
use crate::Input;

/// A signature of a key that is as right as its usual one and has other bytes: its nonce does not follow from the
/// message (RFC 8032, 5.1.6, step 2).
fn another_signature(seed: &[u8; 32], message: &[u8]) -> Signature {
    let (key, nonce) = (SigningKey::from_bytes(seed), SigningKey::from_bytes(&[77; 32]));
    let (scalar, point) = (key.to_scalar(), nonce.verifying_key().to_bytes());
    let challenge = Sha512::new()
        .chain_update(point)
        .chain_update(key.verifying_key().to_bytes())
        .chain_update(message)
        .finalize();
    // The challenge as a scalar, one bit at a time.
    let one = scalar * scalar.invert();
    let bits = challenge
        .iter()
        .rev()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let reduced = bits.fold(one + -one, |sum, bit| match bit {
        0 => sum + sum,
        _ => sum + sum + one,
    });
    let response = nonce.to_scalar() + reduced * scalar;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&point);
    signature[32..].copy_from_slice(&response.to_bytes());
    Signature(signature)
}

/// A world that has not been offered a value yet, its `Init`, the same with another right signature of the sidecar
/// header, and the same with a wrong one.
fn inits() -> (World, [Init; 3]) {
    let (world, height) = running();
    let init = Init::clone(&good(&world, height, Round(1), 77).init);
    let node = world.node_of(&init.metadata.origin_proposer);
    let root = sidecar::header(&init.metadata, world::GENESIS_TIME).root();
    let bytes = sign::sidecar_header(&fixtures::CHAIN, &root);
    let other = Init {
        header_signature: another_signature(&world::seed(node), &bytes),
        ..init.clone()
    };
    let mut wrong = init.clone();
    wrong.header_signature.0[3] ^= 1;
    assert!(other != init && wrong.key() == init.key() && other.key() == init.key());
    (world, [init, other, wrong])
}

fn kept(world: &World, key: &ValueKey) -> Option<Init> {
    let value = world.nodes[0].core.as_ref()?.values.get(key)?;
    value.init.as_ref().map(|init| Init::clone(init))
}

fn stored(world: &mut World, init: &Init) {
    let assembly = good(world, init.metadata.height, Round(1), 77);
    let reply = StoreReply::Stored {
        key: init.key(),
        init: Arc::new(init.clone()),
        lists: assembly.lists,
        payload: assembly.payload,
        tag: Tag::Streamed,
        blobs: Blobs::Held,
    };
    feed(world, Input::Store(reply));
}

const FALSE: Result<Tag, Refusal> = Err(Refusal::Invalid {
    reason: "the sidecar header's signature does not verify",
});

#[test]
fn a_wrong_init_costs_its_sender_and_neither_blocks_nor_replaces_a_right_one() {
    let (mut world, [right, _, wrong]) = inits();
    let key = right.key();
    assert_eq!(offer(&mut world, 1, &wrong, OfferKind::Proposal, None), FALSE);
    assert_eq!(kept(&world, &key), None, "nothing is kept under its id");
    assert_eq!(
        offer(&mut world, 2, &right, OfferKind::Proposal, None),
        Ok(Tag::Streamed)
    );
    // Not even where nobody's stream is wanted: another one's, and the very sender's.
    for peer in [1, 2] {
        assert_eq!(offer(&mut world, peer, &wrong, OfferKind::Proposal, None), FALSE);
        assert_eq!(kept(&world, &key).as_ref(), Some(&right));
    }
    stored(&mut world, &right);
    assert_eq!(offer(&mut world, 1, &wrong, OfferKind::Proposal, None), FALSE);
    assert_eq!(kept(&world, &key), Some(right));
}

#[test]
fn of_two_right_inits_of_a_value_the_first_stays() {
    let (mut world, [first, second, _]) = inits();
    let key = first.key();
    for init in [&first, &second] {
        assert_eq!(offer(&mut world, 1, init, OfferKind::Proposal, None), Ok(Tag::Streamed));
        assert_eq!(kept(&world, &key).as_ref(), Some(&first));
    }
    assert_eq!(
        offer(&mut world, 2, &second, OfferKind::Proposal, None),
        Err(Refusal::Held),
        "it is right, and costs nobody"
    );
}

#[test]
fn the_init_that_is_stored_is_the_one_that_is_decided() {
    let (mut world, [first, second, _]) = inits();
    assert_eq!(
        offer(&mut world, 1, &second, OfferKind::Proposal, None),
        Ok(Tag::Streamed)
    );
    stored(&mut world, &first);
    assert_eq!(kept(&world, &first.key()), Some(first));
}
