//! Golden roots, printed by `docs/formats/recompute.py golden`, and what does not fit.

use super::*;
use crate::value::tests::{pattern, sample, sample_lists};

#[test]
fn roots_never_change() {
    let golden = [
        (
            ListKind::Chunks,
            "10b99252783b36f240f0371c8a79c68a08f2608696fafacfcb7af319559e9517",
            None,
        ),
        (
            ListKind::Commitments,
            "268c0589f4ee1351ba1f10481ee57c306b55dfbd7c0005177071868fa47fa073",
            Some("dba9671bac9513c9482f1416a53aabd2c6ce90d5a5f865ce5a55c775325c9136"),
        ),
        (
            ListKind::Digests,
            "a1f1791471764c6bec6e65c9261c1f26e5f763620df2c4be1ca22beab745b083",
            Some("fa4b4655198f9e073912a2da47e94519dd5dea019c947461eda65158ba75aa0f"),
        ),
        (
            ListKind::Proofs,
            "b85b1d249e0f69a542b256af73f20b031624f10ba3352f6c43f84639504dd916",
            Some("f03baf82cad115bc928e6246de0bcb9d11b69379571e64dc1c918f65bb4347c8"),
        ),
    ];
    for (kind, three, none) in golden {
        assert_eq!(hex::encode(sample_lists(3).root(kind).0), three, "{kind:?}");
        if let Some(none) = none {
            assert_eq!(hex::encode(sample_lists(0).root(kind).0), none, "no {kind:?}");
        }
    }
}

#[test]
fn a_digest_never_changes() {
    let digest = blob_digest(&pattern::<131_072>(5), &KzgCommitment(pattern(1)));
    assert_eq!(
        hex::encode(digest.0),
        "0c179ac92976ae7fbdcb508d75a83614273438fcbc2537af4e5237b0aa4ec1dc"
    );
}

#[test]
fn a_list_fits_its_metadata_alone() {
    let (metadata, lists) = (sample(3), sample_lists(3));
    assert_eq!(lists.misfit(&metadata, 1), None);
    for kind in ListKind::ALL {
        // The length follows from the fixed fields, whatever the root says.
        let mut longer = metadata.clone();
        match kind {
            ListKind::Chunks => longer.payload_bytes += 65_536,
            _ => longer.blobs_count += 1,
        }
        assert!(!lists.fits(kind, &longer, 1), "{kind:?} of another length");
        let mut bytes = Vec::new();
        lists.write(kind, &mut bytes);
        assert_eq!(bytes.len(), lists.len(kind) * kind.item_bytes());
        let mut changed = lists.clone();
        *bytes.last_mut().expect("three blobs and two chunks") ^= 1;
        assert!(changed.read(kind, &bytes), "whole items");
        assert_eq!(changed.misfit(&metadata, 1), Some(kind));
        let before = changed.clone();
        bytes.pop();
        assert!(!changed.read(kind, &bytes), "half an item");
        assert_eq!(changed, before, "nothing is taken of half an item");
    }
    assert_eq!(
        lists.misfit(&metadata, 0),
        Some(ListKind::Proofs),
        "proofs where none belong"
    );
    assert_eq!(lists.bytes(), 2 * 32 + 3 * (48 + 32 + 48));
}

#[test]
fn every_list_is_read_back_as_it_was_written() {
    let lists = sample_lists(7);
    let mut read = Lists::default();
    for kind in ListKind::ALL {
        let mut bytes = Vec::new();
        lists.write(kind, &mut bytes);
        assert!(read.read(kind, &bytes));
        assert_eq!(ListKind::of(kind as u8), Some(kind));
    }
    assert_eq!(read, lists);
    assert_eq!((ListKind::of(0), ListKind::of(5)), (None, None));
}

#[test]
fn lists_of_a_value_are_made_the_plain_way() {
    let payload = vec![1; PAYLOAD_CHUNK_BYTES + 1];
    let blob = vec![2; 131_072];
    let commitment = KzgCommitment(pattern(1));
    let lists = Lists::of(&payload, [(blob.as_slice(), commitment)], vec![KzgProof(pattern(2))]);
    assert_eq!(
        lists.chunks,
        [
            sha256(&payload[..PAYLOAD_CHUNK_BYTES]),
            sha256(&payload[PAYLOAD_CHUNK_BYTES..])
        ]
    );
    assert_eq!(lists.digests, [blob_digest(&blob, &commitment)]);
    assert_eq!(
        (lists.commitments, lists.proofs),
        (vec![commitment], vec![KzgProof(pattern(2))])
    );
}
