use ultramarine_types::consensus::{CertificateSignature, RoundCertificateKind, RoundSignature};
use ultramarine_types::{
    ChainIdentity, CommitCertificate, Height, PolkaCertificate, Proposal, Round, RoundCertificate, Signature,
    Validator, ValidatorSet, ValueId, Vote, VoteKind, sign,
};

use super::{CertificateError, check_polka, check_proposal, check_round, check_vote, verify_commit};
use crate::signing::{SignatureVerifier, Signer};

const CHAIN: &ChainIdentity = &ChainIdentity([7; 32]);
const H: Height = Height(4);
const R: Round = Round(1);
const V: ValueId = ValueId([9; 32]);

fn signers(count: u8) -> Vec<Signer> {
    (1..=count).map(|byte| Signer::new(&[byte; 32])).collect()
}

fn set_of(signers: &[Signer], power: impl Fn(usize) -> u64) -> ValidatorSet {
    let list = signers
        .iter()
        .enumerate()
        .map(|(index, signer)| Validator {
            public_key: signer.public_key(),
            power: power(index),
        })
        .collect();
    ValidatorSet::new(list).unwrap()
}

fn vote_signature(signer: &Signer, kind: VoteKind, value: Option<&ValueId>) -> Signature {
    signer.sign(&sign::vote(CHAIN, kind, H, R, value))
}

fn entries(signers: &[Signer], kind: VoteKind) -> Vec<CertificateSignature> {
    let signature = |signer: &Signer| vote_signature(signer, kind, Some(&V));
    signers
        .iter()
        .map(|signer| CertificateSignature {
            address: signer.address(),
            signature: signature(signer),
        })
        .collect()
}

fn commit(signers: &[Signer]) -> CommitCertificate {
    CommitCertificate {
        height: H,
        round: R,
        value_id: V,
        signatures: entries(signers, VoteKind::Precommit),
    }
}

#[test]
fn more_than_two_thirds_commit() {
    let signers = signers(4);
    let set = set_of(&signers, |_| 1);
    assert_eq!(verify_commit(&set, CHAIN, &commit(&signers[..3])), Ok(()));
    assert_eq!(
        verify_commit(&set, CHAIN, &commit(&signers[..2])),
        Err(CertificateError::Power { signed: 2, total: 4 })
    );
    let three = set_of(&signers[..3], |_| 1);
    assert!(
        verify_commit(&three, CHAIN, &commit(&signers[..2])).is_err(),
        "exactly two thirds are not enough"
    );
}

#[test]
fn power_counts_and_not_heads() {
    let signers = signers(4);
    let set = set_of(&signers, |index| if index == 0 { 100 } else { 1 });
    assert_eq!(verify_commit(&set, CHAIN, &commit(&signers[..1])), Ok(()));
    assert!(verify_commit(&set, CHAIN, &commit(&signers[1..])).is_err());
}

#[test]
fn the_largest_powers_do_not_overflow() {
    let signers = signers(3);
    let third = ultramarine_types::limits::TOTAL_POWER_MAX / 3;
    let set = set_of(&signers, |_| third);
    assert_eq!(verify_commit(&set, CHAIN, &commit(&signers)), Ok(()));
    assert!(verify_commit(&set, CHAIN, &commit(&signers[..2])).is_err());
}

#[test]
fn a_signer_counts_once() {
    let signers = signers(4);
    let set = set_of(&signers, |_| 1);
    let mut certificate = commit(&signers[..2]);
    certificate.signatures.push(certificate.signatures[0].clone());
    assert_eq!(
        verify_commit(&set, CHAIN, &certificate),
        Err(CertificateError::Duplicate(signers[0].address()))
    );
}

#[test]
fn strangers_and_bad_signatures_spoil_a_certificate() {
    let signers = signers(5);
    let set = set_of(&signers[..4], |_| 1);
    let stranger = signers[4].address();
    assert_eq!(
        verify_commit(&set, CHAIN, &commit(&signers)),
        Err(CertificateError::Stranger(stranger))
    );
    let mut forged = commit(&signers[..4]);
    forged.signatures[3].signature = Signature([1; 64]);
    assert_eq!(
        verify_commit(&set, CHAIN, &forged),
        Err(CertificateError::Signature(signers[3].address()))
    );
    assert!(
        verify_commit(
            &set,
            CHAIN,
            &CommitCertificate {
                signatures: Vec::new(),
                ..forged
            }
        )
        .is_err()
    );
}

#[test]
fn a_certificate_holds_for_its_own_height_round_value_chain_and_kind_only() {
    let signers = signers(4);
    let set = set_of(&signers, |_| 1);
    let good = commit(&signers);
    let spoiled = [
        CommitCertificate {
            height: Height(5),
            ..good.clone()
        },
        CommitCertificate {
            round: Round(0),
            ..good.clone()
        },
        CommitCertificate {
            value_id: ValueId([8; 32]),
            ..good.clone()
        },
        CommitCertificate {
            signatures: entries(&signers, VoteKind::Prevote),
            ..good.clone()
        },
    ];
    for certificate in spoiled {
        assert!(verify_commit(&set, CHAIN, &certificate).is_err());
    }
    assert!(verify_commit(&set, &ChainIdentity([8; 32]), &good).is_err());
    let polka = polka(&signers[..3]);
    assert_eq!(
        check_polka(&set, CHAIN, &polka, &mut SignatureVerifier::new(&set)),
        Ok(())
    );
    let precommits = PolkaCertificate {
        signatures: entries(&signers, VoteKind::Precommit),
        ..polka
    };
    assert!(check_polka(&set, CHAIN, &precommits, &mut SignatureVerifier::new(&set)).is_err());
}

fn polka(signers: &[Signer]) -> PolkaCertificate {
    PolkaCertificate {
        height: H,
        round: R,
        value_id: V,
        signatures: entries(signers, VoteKind::Prevote),
    }
}

#[test]
fn a_polka_needs_more_than_two_thirds_and_every_signature() {
    let signers = signers(4);
    let set = set_of(&signers, |_| 1);
    let check = |polka: &PolkaCertificate| check_polka(&set, CHAIN, polka, &mut SignatureVerifier::new(&set));
    assert_eq!(check(&polka(&signers[..3])), Ok(()));
    assert_eq!(
        check(&polka(&signers[..2])),
        Err(CertificateError::Power { signed: 2, total: 4 })
    );
    let mut forged = polka(&signers[..3]);
    forged.signatures[1].signature = Signature([1; 64]);
    assert_eq!(check(&forged), Err(CertificateError::Signature(signers[1].address())));
    let mut twice = polka(&signers[..2]);
    twice.signatures.push(twice.signatures[0].clone());
    assert_eq!(check(&twice), Err(CertificateError::Duplicate(signers[0].address())));
}

fn round_certificate(kind: RoundCertificateKind, votes: &[(&Signer, VoteKind, Option<ValueId>)]) -> RoundCertificate {
    RoundCertificate {
        height: H,
        round: R,
        kind,
        signatures: votes
            .iter()
            .map(|(signer, kind, value_id)| RoundSignature {
                kind: *kind,
                value_id: *value_id,
                address: signer.address(),
                signature: vote_signature(signer, *kind, value_id.as_ref()),
            })
            .collect(),
    }
}

#[test]
fn a_skip_needs_more_than_one_third_and_a_precommit_round_more_than_two() {
    use VoteKind::{Precommit, Prevote};
    let signers = signers(4);
    let set = set_of(&signers, |_| 1);
    let check =
        |certificate: &RoundCertificate| check_round(&set, CHAIN, certificate, &mut SignatureVerifier::new(&set));
    let [a, b, c, _] = &signers[..] else {
        unreachable!("four signers")
    };
    let skip = RoundCertificateKind::Skip;
    assert_eq!(
        check(&round_certificate(skip, &[(a, Prevote, None), (b, Precommit, Some(V))])),
        Ok(())
    );
    assert!(check(&round_certificate(skip, &[(a, Prevote, None)])).is_err());
    let precommit = RoundCertificateKind::Precommit;
    let mixed = [(a, Precommit, None), (b, Precommit, Some(V)), (c, Precommit, None)];
    assert_eq!(check(&round_certificate(precommit, &mixed)), Ok(()));
    assert!(check(&round_certificate(precommit, &mixed[..2])).is_err());
    let prevote_in_it = [(a, Precommit, None), (b, Precommit, Some(V)), (c, Prevote, None)];
    assert_eq!(
        check(&round_certificate(precommit, &prevote_in_it)),
        Err(CertificateError::Kind(c.address()))
    );
}

#[test]
fn votes_and_proposals_are_checked_against_member_and_turn() {
    let signers = signers(4);
    let set = set_of(&signers, |_| 1);
    let mut verifier = SignatureVerifier::new(&set);
    let vote = |signer: &Signer| Vote {
        kind: VoteKind::Prevote,
        height: H,
        round: R,
        value_id: None,
        voter: signer.address(),
        signature: vote_signature(signer, VoteKind::Prevote, None),
    };
    assert_eq!(check_vote(&set, CHAIN, &vote(&signers[0]), &mut verifier), Ok(()));
    let stranger = Signer::new(&[99; 32]);
    assert!(check_vote(&set, CHAIN, &vote(&stranger), &mut verifier).is_err());
    let proposal = |signer: &Signer, valid_round| Proposal {
        height: H,
        round: R,
        value_id: V,
        valid_round,
        proposer: signer.address(),
        signature: signer.sign(&sign::proposal(CHAIN, H, R, &V, None)),
    };
    for signer in &signers {
        let elected = set.proposer(H, R) == &signer.address();
        assert_eq!(
            check_proposal(&set, CHAIN, &proposal(signer, None), &mut verifier).is_ok(),
            elected
        );
        assert!(
            check_proposal(&set, CHAIN, &proposal(signer, Some(Round(0))), &mut verifier).is_err(),
            "the valid round is signed"
        );
    }
}
