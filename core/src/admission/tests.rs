use std::sync::Arc;

use ultramarine_types::{
    ChainIdentity, Hash, Height, Init, Lists, Roots, Round, Validator, ValidatorSet, ValueMetadata,
};

use super::{check_init, check_roots};
use crate::proposal;
use crate::rules::tests::{chain, metadata_at};
use crate::signing::{SignatureVerifier, Signer};

fn parts() -> (Vec<Signer>, Arc<ValidatorSet>) {
    let signers: Vec<Signer> = (1..=4).map(|byte| Signer::new(&[byte; 32])).collect();
    let list = signers
        .iter()
        .map(|signer| Validator {
            public_key: signer.public_key(),
            power: 1,
        })
        .collect();
    (signers, Arc::new(ValidatorSet::new(list).unwrap()))
}

/// Metadata by the elected proposer of its height and round.
fn elected(set: &ValidatorSet) -> ValueMetadata {
    let mut metadata = metadata_at(9);
    metadata.origin_round = Round(2);
    metadata.origin_proposer = *set.proposer(Height(9), Round(2));
    metadata.origin_proposer_index = set.index_of(&metadata.origin_proposer).unwrap();
    metadata.validator_set_hash = set.hash();
    metadata
}

fn author<'a>(signers: &'a [Signer], metadata: &ValueMetadata) -> &'a Signer {
    let mut signers = signers.iter();
    signers
        .find(|signer| signer.address() == metadata.origin_proposer)
        .unwrap()
}

fn sign_as(signer: &Signer, metadata: ValueMetadata) -> Init {
    proposal::sign(&chain(), signer, metadata.id(), metadata)
}

fn verdict(set: &ValidatorSet, init: &Init) -> Result<(), &'static str> {
    check_init(
        set,
        &chain(),
        init,
        &init.metadata.id(),
        &mut SignatureVerifier::new(set),
    )
}

#[test]
fn an_init_by_the_elected_proposer_is_admitted() {
    let (signers, set) = parts();
    let metadata = elected(&set);
    let signer = author(&signers, &metadata);
    assert_eq!(verdict(&set, &sign_as(signer, metadata)), Ok(()));
}

#[test]
fn an_init_by_anybody_else_is_not() {
    let (signers, set) = parts();
    for signer in &signers {
        let metadata = elected(&set);
        if signer.address() == metadata.origin_proposer {
            continue;
        }
        // In the elected one's name, and in its own.
        assert!(verdict(&set, &sign_as(signer, metadata.clone())).is_err());
        let own = ValueMetadata {
            origin_proposer: signer.address(),
            origin_proposer_index: set.index_of(&signer.address()).unwrap(),
            ..metadata
        };
        assert_eq!(verdict(&set, &sign_as(signer, own)), Err("not by the elected proposer"));
    }
}

#[test]
fn each_malformed_field_is_refused() {
    let (signers, set) = parts();
    let good = elected(&set);
    let signer = author(&signers, &good);
    type Break = fn(&mut ValueMetadata);
    let table: [(&str, Break); 8] = [
        ("chain", |m| m.chain = ChainIdentity([8; 32])),
        ("set", |m| m.validator_set_hash = Hash::ZERO),
        ("index", |m| m.origin_proposer_index = (m.origin_proposer_index + 1) % 4),
        ("blobs", |m| m.blobs_count = 7),
        ("no payload", |m| m.payload_bytes = 0),
        ("payload", |m| m.payload_bytes = 16 * 1024 * 1024 + 1),
        ("not after the genesis", |m| m.header.timestamp = 1_000),
        ("extra data", |m| m.header.extra_data = vec![0; 33]),
    ];
    for (name, broken) in table {
        let mut metadata = good.clone();
        broken(&mut metadata);
        assert!(verdict(&set, &sign_as(signer, metadata)).is_err(), "{name}");
    }
}

#[test]
fn a_list_has_the_root_of_no_items_exactly_if_it_has_none() {
    type Break = fn(&mut ValueMetadata);
    let (blobs, empty) = (metadata_at(9), Lists::default().roots());
    let none = ValueMetadata {
        blobs_count: 0,
        roots: Roots {
            chunks: blobs.roots.chunks,
            ..empty
        },
        ..blobs.clone()
    };
    let params = chain().params;
    assert_eq!(check_roots(&params, &blobs), Ok(()));
    assert_eq!(check_roots(&params, &none), Ok(()));
    let table: [(&str, Break); 4] = [
        ("chunks", |m| m.roots.chunks = Lists::default().roots().chunks),
        ("commitments", |m| {
            m.roots.commitments = Lists::default().roots().commitments
        }),
        ("digests", |m| m.roots.digests = Lists::default().roots().digests),
        ("proofs", |m| m.roots.proofs = Lists::default().roots().proofs),
    ];
    for (name, broken) in table {
        let mut metadata = blobs.clone();
        broken(&mut metadata);
        assert!(
            check_roots(&params, &metadata).is_err(),
            "no {name} in a block with blobs"
        );
    }
    let table: [(&str, Break); 3] = [
        ("commitments", |m| m.roots.commitments = Hash([1; 32])),
        ("digests", |m| m.roots.digests = Hash([1; 32])),
        ("proofs", |m| m.roots.proofs = Hash([1; 32])),
    ];
    for (name, broken) in table {
        let mut metadata = none.clone();
        broken(&mut metadata);
        assert!(
            check_roots(&params, &metadata).is_err(),
            "{name} in a block without blobs"
        );
    }
}

#[test]
fn both_signatures_are_checked() {
    let (signers, set) = parts();
    let metadata = elected(&set);
    let signer = author(&signers, &metadata);
    let good = sign_as(signer, metadata);
    let mut other = good.clone();
    other.signature.0[0] ^= 1;
    assert!(verdict(&set, &other).is_err());
    let mut other = good.clone();
    other.header_signature = good.signature;
    assert!(
        verdict(&set, &other).is_err(),
        "the sidecar header has its own signature"
    );
}
