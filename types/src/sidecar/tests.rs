//! Golden roots, printed by `docs/formats/recompute.py golden`, which merkleizes all 4096 leaves.

use super::*;
use crate::value::tests::{sample, sample_lists};

const GENESIS_TIME: u64 = 1_600_000_000;

fn tree(blobs: usize) -> BodyTree {
    BodyTree::of(&sample(blobs).header.block_hash, &sample_lists(blobs).commitments)
}

fn hex(hash: &Hash) -> String {
    hex::encode(hash.0)
}

#[test]
fn roots_match_an_independent_merkleization() {
    let golden = [
        (
            0,
            "9626db247d707f39a1724a325dbc2a0f7c5f516eeadac1f41ccd1de602574a6e",
            "38f643608f99d21a7a5473e5b2a476cdd3e0112d4fe4cc6f70f32ef1d1eb9b45",
        ),
        (
            1,
            "0d871adc50ef884f54aa4a281408749d0984876d9cf22592f228312bd8797b9f",
            "e4709d25bb45ae6febb4ddb2d62744b34caa42f75729abef0cabee35988ab44c",
        ),
        (
            6,
            "5ecfac3a07ebcac016eedc089866ae54aac58c6282dbb3422555da328ddade19",
            "060be4aeef836e0e18c16384e734c1d4b9c3bf12b6bf953fc766a9e85cdd535e",
        ),
        (
            7,
            "a545360873b271fe40c439ab2aa3b51b404205cc5b3b1036063b39d3d597179e",
            "3712119f4450ca293ff46315ea868ed99c6c646f2cb4fad17623b31fef9458fe",
        ),
        (
            1024,
            "2a6ba502a410b6f3c2ffa499edbd99a83fd8c7076f02e4d1996d611da29fe00b",
            "38f3bb111ad85f1f7322b6b6995f5074358e7d8e53ca428da31c6898dbdda796",
        ),
    ];
    for (blobs, body, root) in golden {
        let metadata = sample(blobs);
        assert_eq!(hex(&body_root(&metadata)), body, "{blobs} blobs");
        assert_eq!(hex(&header(&metadata, GENESIS_TIME).root()), root, "{blobs} blobs");
    }
}

#[test]
fn every_commitment_is_proven_at_its_own_index_only() {
    for blobs in [1, 2, 3, 6, 7, 64, 200] {
        let tree = tree(blobs);
        let root = tree.root();
        assert_eq!(root, body_root(&sample(blobs)));
        for (index, commitment) in sample_lists(blobs).commitments.iter().enumerate() {
            let proof = tree.proof(index).expect("the blob exists");
            assert!(verify_inclusion_proof(commitment, index, &proof, &root));
            assert!(!verify_inclusion_proof(commitment, index ^ 1, &proof, &root));
            assert!(
                !verify_inclusion_proof(commitment, index + 4096, &proof, &root),
                "an index beyond the list"
            );
        }
        assert_eq!(tree.proof(blobs), None);
    }
}

#[test]
fn a_changed_proof_commitment_or_root_does_not_verify() {
    let commitments = sample_lists(6).commitments;
    let root = body_root(&sample(6));
    let proof = tree(6).proof(4).expect("six blobs");
    for level in 0..INCLUSION_PROOF_DEPTH {
        let mut changed = proof;
        changed[level].0[31] ^= 1;
        assert!(
            !verify_inclusion_proof(&commitments[4], 4, &changed, &root),
            "level {level}"
        );
    }
    assert!(!verify_inclusion_proof(&commitments[3], 4, &proof, &root));
    assert!(!verify_inclusion_proof(&commitments[4], 4, &proof, &Hash::ZERO));
}

#[test]
fn the_largest_block_is_proven_whole() {
    let tree = tree(1024);
    let root = body_root(&sample(1024));
    for (index, commitment) in sample_lists(1024).commitments.iter().enumerate() {
        assert!(verify_inclusion_proof(
            commitment,
            index,
            &tree.proof(index).expect("in range"),
            &root
        ));
    }
}

#[test]
fn the_proof_carries_the_length_of_the_list() {
    let proof = tree(6).proof(0).expect("six blobs");
    assert_eq!(proof[12], number(6));
}

#[test]
fn the_header_takes_its_fields_from_what_the_value_id_binds() {
    let metadata = sample(3);
    let header = header(&metadata, GENESIS_TIME);
    assert_eq!((header.slot, header.proposer_index), (100_000_000, 3));
    assert_eq!(
        (header.parent_root, header.state_root),
        (metadata.header.parent_beacon_block_root, metadata.header.state_root)
    );
    assert_eq!(header.body_root, body_root(&metadata));
}
