//! Golden roots, computed by an independent implementation that merkleizes all 4096 leaves.

use super::*;
use crate::value::tests::sample;

fn hex(hash: &Hash) -> String {
    hex::encode(hash.0)
}

#[test]
fn roots_match_an_independent_merkleization() {
    let golden = [
        (
            0,
            "9626db247d707f39a1724a325dbc2a0f7c5f516eeadac1f41ccd1de602574a6e",
            "583b52eab36c1b827724cc6ce2fe6226a227dda0cd76e8a2c71d244f4a22b4a4",
        ),
        (
            1,
            "0d871adc50ef884f54aa4a281408749d0984876d9cf22592f228312bd8797b9f",
            "11e564d247b7814abf0e94151cad0f4a103702ca6fc378b5318dffa349aaee43",
        ),
        (
            6,
            "5ecfac3a07ebcac016eedc089866ae54aac58c6282dbb3422555da328ddade19",
            "a54318655e91ae0593b18aa1d7fec5a505de917fca9103f5d5b675a06e03bc30",
        ),
        (
            7,
            "a545360873b271fe40c439ab2aa3b51b404205cc5b3b1036063b39d3d597179e",
            "d2e1e98ee78d01269e967ca82c19b69bf4be4cbf45d9c9f76f5fed3c3e8fd5e2",
        ),
        (
            1024,
            "2a6ba502a410b6f3c2ffa499edbd99a83fd8c7076f02e4d1996d611da29fe00b",
            "a3cda4f7a919f5865a40ca9a5ebbe5c03d563fba4fd17891a8eed9bad76deb0d",
        ),
    ];
    for (blobs, body, root) in golden {
        let metadata = sample(blobs);
        assert_eq!(hex(&body_root(&metadata)), body, "{blobs} blobs");
        assert_eq!(hex(&header(&metadata).root()), root, "{blobs} blobs");
    }
}

#[test]
fn every_commitment_is_proven_at_its_own_index_only() {
    for blobs in [1, 2, 3, 6, 7, 64, 200] {
        let metadata = sample(blobs);
        let tree = BodyTree::of(&metadata);
        let root = tree.root();
        for (index, commitment) in metadata.commitments.iter().enumerate() {
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
    let metadata = sample(6);
    let root = body_root(&metadata);
    let proof = inclusion_proof(&metadata, 4).expect("six blobs");
    for level in 0..INCLUSION_PROOF_DEPTH {
        let mut changed = proof;
        changed[level].0[31] ^= 1;
        assert!(
            !verify_inclusion_proof(&metadata.commitments[4], 4, &changed, &root),
            "level {level}"
        );
    }
    assert!(!verify_inclusion_proof(&metadata.commitments[3], 4, &proof, &root));
    assert!(!verify_inclusion_proof(
        &metadata.commitments[4],
        4,
        &proof,
        &Hash::ZERO
    ));
}

#[test]
fn the_largest_block_is_proven_whole() {
    let metadata = sample(1024);
    let tree = BodyTree::of(&metadata);
    let root = body_root(&metadata);
    for (index, commitment) in metadata.commitments.iter().enumerate() {
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
    let proof = inclusion_proof(&sample(6), 0).expect("six blobs");
    assert_eq!(proof[12], number(6));
}

#[test]
fn the_header_takes_its_fields_from_what_the_value_id_binds() {
    let metadata = sample(3);
    let header = header(&metadata);
    assert_eq!((header.slot, header.proposer_index), (7, 3));
    assert_eq!(
        (header.parent_root, header.state_root),
        (metadata.parent_blob_root, metadata.header.state_root)
    );
    assert_eq!(header.body_root, body_root(&metadata));
}
