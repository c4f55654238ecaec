use ultramarine_types::{PublicKey, Signature, Validator, ValidatorSet};

use super::{SignatureVerifier, Signer};

fn parts() -> (Signer, SignatureVerifier) {
    let signer = Signer::new(&[1; 32]);
    let set = ValidatorSet::new(vec![Validator {
        public_key: signer.public_key(),
        power: 1,
    }])
    .unwrap();
    (signer, SignatureVerifier::new(&set))
}

#[test]
fn what_is_signed_verifies_and_nothing_else_does() {
    let (signer, mut verifier) = parts();
    let signature = signer.sign(b"message");
    assert!(verifier.verify(&signer.public_key(), b"message", &signature));
    assert!(!verifier.verify(&signer.public_key(), b"Message", &signature));
    let mut other = signature;
    other.0[5] ^= 1;
    assert!(!verifier.verify(&signer.public_key(), b"message", &other));
    assert!(!verifier.verify(&signer.public_key(), b"message", &Signature::ZERO));
    assert!(
        !verifier.verify(&Signer::new(&[2; 32]).public_key(), b"message", &signature),
        "not a member's key"
    );
    assert!(!verifier.verify(&PublicKey([0xff; 32]), b"message", &signature));
}

#[test]
fn a_signature_is_verified_by_arithmetic_once() {
    let (signer, mut verifier) = parts();
    let signature = signer.sign(b"message");
    for _ in 0..5 {
        assert!(verifier.verify(&signer.public_key(), b"message", &signature));
    }
    assert_eq!(verifier.verified_count(), 1);
    verifier.forget();
    assert!(verifier.verify(&signer.public_key(), b"message", &signature));
    assert_eq!(verifier.verified_count(), 2);
}

#[test]
fn a_bad_signature_is_never_remembered_as_good() {
    let (signer, mut verifier) = parts();
    for _ in 0..3 {
        assert!(!verifier.verify(&signer.public_key(), b"message", &Signature([7; 64])));
    }
    assert_eq!(verifier.verified_count(), 3);
}

#[test]
fn our_own_signatures_need_no_arithmetic() {
    let (signer, mut verifier) = parts();
    let signature = signer.sign(b"mine");
    verifier.trust(&signer.public_key(), b"mine", &signature);
    assert!(verifier.verify(&signer.public_key(), b"mine", &signature));
    assert_eq!(verifier.verified_count(), 0);
}

#[test]
fn signing_is_deterministic() {
    let (signer, _) = parts();
    assert_eq!(signer.sign(b"again"), signer.sign(b"again"));
}
