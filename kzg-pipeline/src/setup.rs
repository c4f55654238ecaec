//! This file knows the trusted setup, as far as verification needs it: two points, and the digest that pins them.
//!
//! The setup is the outcome of Ethereum's KZG ceremony (EIP-4844, `trusted_setup_4096.json`): powers of a secret τ in
//! both groups. Making commitments takes all 4096 of them and stays with `c-kzg`, which embeds them. Verifying takes
//! only `[τ]₂`. `[τ]₁` stands here because it turns the check of another library's setup into one pairing: see
//! [`known_claim`].

use sha2::{Digest, Sha256};
use ultramarine_types::{KzgCommitment, KzgProof};

/// `[τ]₁`, compressed: `g1_monomial[1]` of the ceremony.
pub const TAU_G1: [u8; 48] =
    hex48("ad3eb50121139aa34db1d545093ac9374ab7bca2c0f3bf28e27c8dcd8fc7cb42d25926fc0c97b336e9f0fb35e5a04c81");

/// `[τ]₂`, compressed: `g2_monomial[1]` of the ceremony.
pub const TAU_G2: [u8; 96] = hex96(
    "b5bfd7dd8cdeb128843bc287230af38926187075cbfbefa81009a2ce615ac53d2914e5870cb452d2afaaab24f3499f72\
     185cbfee53492714734429b7b38608e23926c911cceceac9a36851477ba4c60b087041de621000edc98edada20c1def2",
);

/// The generator of G1, compressed (the standard point of BLS12-381).
pub const GENERATOR_G1: [u8; 48] =
    hex48("97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb");

/// SHA-256 of `TAU_G1 ‖ TAU_G2`.
const DIGEST: &str = "6a309f7a8c3a45f168b49e414aa8b1c2f9a4ea78ce6810985bdbc15e0db72cb4";

/// Checks that the points above are the ceremony's. Panics otherwise: the binary itself is damaged.
pub fn check_digest() {
    let digest = Sha256::new().chain_update(TAU_G1).chain_update(TAU_G2).finalize();
    let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found, DIGEST, "the embedded trusted setup is damaged");
}

/// A claim `p(z) = y` that holds under the ceremony's τ and no other, with `p(X) = X`. The commitment is `[τ]₁`, and
/// `y = z`. The proof, a commitment to `(X − z)/(X − z) = 1`, is the generator. Returns (commitment, z = y, proof).
pub fn known_claim() -> (KzgCommitment, [u8; 32], KzgProof) {
    let mut z = [0; 32];
    z[31] = 7;
    (KzgCommitment(TAU_G1), z, KzgProof(GENERATOR_G1))
}

/// The bytes that this text writes in hexadecimal digits.
pub const fn hex48(text: &str) -> [u8; 48] {
    let mut bytes = [0; 48];
    assert!(text.len() == 96);
    let mut at = 0;
    while at < 48 {
        bytes[at] = nibble(text.as_bytes()[2 * at]) << 4 | nibble(text.as_bytes()[2 * at + 1]);
        at += 1;
    }
    bytes
}

const fn hex96(text: &str) -> [u8; 96] {
    let mut bytes = [0; 96];
    assert!(text.len() == 192);
    let mut at = 0;
    while at < 96 {
        bytes[at] = nibble(text.as_bytes()[2 * at]) << 4 | nibble(text.as_bytes()[2 * at + 1]);
        at += 1;
    }
    bytes
}

const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => panic!("not a hex digit"),
    }
}
