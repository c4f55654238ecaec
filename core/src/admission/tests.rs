use std::sync::Arc;

use ultramarine_types::{Hash, Height, Init, Round, Validator, ValidatorSet, ValueMetadata};

use super::check_init;
use crate::proposal;
use crate::rules::tests::metadata_at;
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

fn chain() -> ultramarine_types::ChainParams {
    ultramarine_types::ChainParams {
        chain_id: 7,
        execution_genesis_hash: Hash::ZERO,
        blobs_per_block_max: 6,
        block_interval_ms: 1000,
        blob_retention_heights_min: 100,
        gas_limit_min: 0,
        gas_limit_max: 36_000_000,
        prague_time: None,
    }
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
    proposal::sign(signer, metadata.id(), metadata)
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
        ("chain", |m| m.chain_id = 8),
        ("set", |m| m.validator_set_hash = Hash::ZERO),
        ("index", |m| m.origin_proposer_index = (m.origin_proposer_index + 1) % 4),
        ("blobs", |m| {
            m.commitments = vec![ultramarine_types::KzgCommitment::ZERO; 7]
        }),
        ("payload", |m| m.payload_bytes = u32::MAX),
        ("chunks missing", |m| m.chunk_hashes.clear()),
        ("chunks left over", |m| m.chunk_hashes.push(Hash::ZERO)),
        ("extra data", |m| m.header.extra_data = vec![0; 33]),
    ];
    for (name, broken) in table {
        let mut metadata = good.clone();
        broken(&mut metadata);
        assert!(verdict(&set, &sign_as(signer, metadata)).is_err(), "{name}");
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
