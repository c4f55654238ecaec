use ultramarine_types::{PublicKey, Signature, Validator, ValidatorSet};

use super::{Seal, SignatureVerifier, Signer};

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

fn four() -> (Vec<Signer>, SignatureVerifier) {
    let signers: Vec<_> = (1..=4).map(|byte| Signer::new(&[byte; 32])).collect();
    let list = signers.iter().map(|signer| Validator {
        public_key: signer.public_key(),
        power: 1,
    });
    let verifier = SignatureVerifier::new(&ValidatorSet::new(list.collect()).unwrap());
    (signers, verifier)
}

fn seals(signers: &[Signer], bad: &[usize]) -> Vec<Seal<'static>> {
    let seal = |(index, signer): (usize, &Signer)| Seal {
        key: signer.public_key(),
        message: b"message",
        signature: signer.sign(if bad.contains(&index) { b"another" } else { b"message" }),
    };
    signers.iter().enumerate().map(seal).collect()
}

#[test]
fn the_first_bad_signature_is_named_whatever_is_known_of_the_others() {
    for bad in [&[][..], &[0], &[3], &[1, 2], &[0, 1, 2, 3]] {
        for known in 0..16 {
            let (signers, mut verifier) = four();
            let seals = seals(&signers, bad);
            let of_known = |(index, seal): (usize, &Seal<'static>)| (known >> index & 1 == 1).then_some(*seal);
            let ahead: Vec<_> = seals.iter().enumerate().filter_map(of_known).collect();
            verifier.verify_ahead(&ahead);
            assert_eq!(verifier.first_bad(&seals), bad.first().copied(), "{bad:?}, {known:b}");
            for (index, seal) in seals.iter().enumerate() {
                let holds = verifier.verify(&seal.key, seal.message, &seal.signature);
                assert_eq!(holds, !bad.contains(&index), "{bad:?}, {known:b}");
            }
            verifier.check();
        }
    }
}

#[test]
fn a_stranger_is_bad_at_its_place() {
    let (mut signers, mut verifier) = four();
    signers.insert(2, Signer::new(&[9; 32]));
    assert_eq!(verifier.first_bad(&seals(&signers, &[])), Some(2));
    assert_eq!(verifier.first_bad(&seals(&signers, &[3])), Some(2));
    assert_eq!(verifier.first_bad(&seals(&signers, &[1])), Some(1));
}

#[test]
fn what_was_verified_ahead_needs_no_arithmetic_good_or_bad() {
    let (signers, mut verifier) = four();
    let seals = seals(&signers, &[2]);
    verifier.verify_ahead(&seals);
    assert_eq!(verifier.verified_count(), 4);
    verifier.verify_ahead(&seals);
    assert_eq!(
        verifier.verified_count(),
        5,
        "good ones are remembered, bad ones until the next time"
    );
    for (index, seal) in seals.iter().enumerate() {
        assert_eq!(verifier.verify(&seal.key, seal.message, &seal.signature), index != 2);
    }
    assert_eq!(verifier.verified_count(), 5);
}

#[test]
#[should_panic(expected = "its point is of small order")]
fn a_set_with_a_flawed_key_is_refused() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let list = vec![Validator {
        public_key: PublicKey(neutral),
        power: 1,
    }];
    SignatureVerifier::new(&ValidatorSet::new(list).unwrap());
}
