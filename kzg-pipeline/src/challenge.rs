//! This file knows the Fiat–Shamir challenges of blobs: the points at which their polynomials are opened.
//!
//! EIP-4844, `compute_challenge`: SHA-256 over a domain tag, the degree as 16 bytes big-endian, the blob and its
//! commitment. Before its reduction to a field element it is the blob's digest (`types/src/digest.rs`), by which the
//! bytes are right or wrong.
//!
//! Every blob has its own message of the same 131,152 bytes. SHA-256 is a chain, so no two units can share the work on
//! one message. But several messages can be hashed in step. The blob is never copied, as its blocks lie in it half a
//! block displaced:
//!
//! ```text
//!   block 0          tag and degree (32) │ blob[0..32]
//!   block k          blob[64k − 32 .. 64k + 32]                       k = 1 ..= 2047: one run of memory
//!   block 2048       blob[131,040 ..] (32) │ commitment[..32]
//!   block 2049       commitment[32..] (16) │ 0x80 │ zeros │ length in bits (8)
//! ```

use ultramarine_types::KzgCommitment;
use ultramarine_types::digest::{DIGEST_PREFIX, blob_digest};
use ultramarine_types::limits::BLOB_BYTES;

use self::extension::Extension;
use crate::claim::Claim;
use crate::simd::{Avx2, Avx512};

pub use self::blst::WithoutExtension;

/// Length of every message, in bits.
const MESSAGE_BITS: u64 = (32 + BLOB_BYTES as u64 + 48) * 8;
/// The state before the first block (FIPS 180-4, 5.3.3).
const INITIAL: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19, //
];

/// The eight words that SHA-256 carries from block to block.
type State = [u32; 8];

/// Hashes one claim's message the plain way, of whatever length its blob is.
pub fn hash(blob: &[u8], commitment: &KzgCommitment) -> [u8; 32] {
    #[cfg(test)]
    tests::HASHED_BYTES.set(tests::HASHED_BYTES.get() + blob.len());
    blob_digest(blob, commitment).0
}

/// The instructions that hash messages.
#[derive(Clone, Copy, Debug)]
pub enum HashPath {
    /// AVX-512 for as many messages as it pays for, the SHA extension for the others.
    Both(Avx512, Extension),
    /// AVX-512, sixteen messages in step.
    Avx512(Avx512),
    /// The SHA extension, two messages in step.
    Extension(Extension),
    /// AVX2, eight messages in step.
    Avx2(Avx2),
    /// One message at a time, by the `sha2` crate.
    Single,
    /// One message at a time, by blst, which wants it in one piece. For measurements: see [`WithoutExtension`].
    Blst,
}

impl HashPath {
    /// The fastest path that this processor has.
    pub fn best() -> Self {
        Self::all()[0]
    }

    /// Every path this processor can take, the fastest first.
    pub fn all() -> Vec<Self> {
        let both = || Some(Self::Both(Avx512::detect()?, Extension::detect()?));
        let fast = [
            both(),
            Avx512::detect().map(Self::Avx512),
            Extension::detect().map(Self::Extension),
            Avx2::detect().map(Self::Avx2),
            Some(Self::Single),
            Some(Self::Blst),
        ];
        fast.into_iter().flatten().collect()
    }

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Both(..) => "avx512 ×16, sha-ni ×2",
            Self::Avx512(_) => "avx512 ×16",
            Self::Extension(_) => "sha-ni ×2",
            Self::Avx2(_) => "avx2 ×8",
            Self::Single => "single",
            Self::Blst => "blst",
        }
    }

    /// The hash of each claim, in order. A blob of a wrong length is hashed the plain way.
    pub fn hash_all(self, claims: &[Claim<'_>]) -> Vec<[u8; 32]> {
        let mut hashes = vec![[0; 32]; claims.len()];
        let mut whole: Vec<(usize, Message<'_>)> = Vec::with_capacity(claims.len());
        for (index, claim) in claims.iter().enumerate() {
            match claim.blob.try_into() {
                Ok(blob) => whole.push((index, Message::of(blob, claim.commitment))),
                Err(_) => hashes[index] = hash(claim.blob, claim.commitment),
            }
        }
        #[cfg(test)]
        tests::HASHED_BYTES.set(tests::HASHED_BYTES.get() + whole.len() * BLOB_BYTES);
        match self {
            Self::Both(avx512, extension) => {
                let rest = whole.len() % avx512::LANES;
                let sixteens = whole.len() - if rest < SIXTEEN_LANES_MIN { rest } else { 0 };
                let (by_sixteen, by_two) = whole.split_at(sixteens);
                in_step(by_sixteen, &mut hashes, |states, blocks| {
                    avx512::compress(avx512, states, blocks);
                });
                by_extension(extension, by_two, &mut hashes);
            }
            // Lanes cost the same however many are filled; a few messages are faster by themselves.
            Self::Avx512(avx512) if whole.len() > 2 => {
                in_step(&whole, &mut hashes, |states, blocks| {
                    avx512::compress(avx512, states, blocks)
                });
            }
            Self::Extension(extension) => by_extension(extension, &whole, &mut hashes),
            Self::Avx2(avx2) if whole.len() > 2 => {
                in_step(&whole, &mut hashes, |states, blocks| {
                    avx2::compress(avx2, states, blocks)
                });
            }
            Self::Avx512(_) | Self::Avx2(_) | Self::Single => by_itself(&whole, &mut hashes),
            Self::Blst => in_one_piece(&whole, &mut hashes),
        }
        hashes
    }
}

/// Messages from which sixteen lanes are faster than pairs, where the processor has both; see `benches/BUDGET.md`.
const SIXTEEN_LANES_MIN: usize = 7;

/// Two at a time; a last one by itself, as a repetition beside it would only cost time.
fn by_extension(extension: Extension, messages: &[(usize, Message<'_>)], hashes: &mut [[u8; 32]]) {
    let (pairs, lone) = messages.split_at(messages.len() & !1);
    in_step(pairs, hashes, |states, blocks| {
        extension.compress::<2>(states, blocks);
    });
    by_itself(lone, hashes);
}

fn by_itself(messages: &[(usize, Message<'_>)], hashes: &mut [[u8; 32]]) {
    for (index, message) in messages {
        hashes[*index] = blob_digest(message.blob, message.commitment).0;
    }
}

fn in_one_piece(messages: &[(usize, Message<'_>)], hashes: &mut [[u8; 32]]) {
    let mut piece = Vec::new();
    for (index, message) in messages {
        piece.clear();
        piece.extend_from_slice(&DIGEST_PREFIX);
        piece.extend_from_slice(message.blob);
        piece.extend_from_slice(&message.commitment.0);
        hashes[*index] = blst::hash(&piece);
    }
}

/// One message, as runs of whole blocks.
#[derive(Clone, Copy)]
struct Message<'a> {
    blob: &'a [u8; BLOB_BYTES],
    commitment: &'a KzgCommitment,
    head: [u8; 64],
    tail: [u8; 128],
}

impl<'a> Message<'a> {
    fn of(blob: &'a [u8; BLOB_BYTES], commitment: &'a KzgCommitment) -> Self {
        let (mut head, mut tail) = ([0; 64], [0; 128]);
        head[..32].copy_from_slice(&DIGEST_PREFIX);
        head[32..].copy_from_slice(&blob[..32]);
        tail[..32].copy_from_slice(&blob[BLOB_BYTES - 32..]);
        tail[32..80].copy_from_slice(&commitment.0);
        tail[80] = 0x80;
        tail[120..].copy_from_slice(&MESSAGE_BITS.to_be_bytes());
        Self {
            blob,
            commitment,
            head,
            tail,
        }
    }

    fn runs(&self) -> [&[u8]; 3] {
        [&self.head, &self.blob[32..BLOB_BYTES - 32], &self.tail]
    }
}

/// Hashes messages `LANES` at a time. The last group is filled up with repetitions whose results are dropped.
fn in_step<const LANES: usize>(
    messages: &[(usize, Message<'_>)],
    hashes: &mut [[u8; 32]],
    compress: impl Fn(&mut [State; LANES], [&[u8]; LANES]),
) {
    for group in messages.chunks(LANES) {
        let lane = |lane: usize| &group[lane.min(group.len() - 1)].1;
        let mut states = [INITIAL; LANES];
        for run in 0..3 {
            compress(&mut states, std::array::from_fn(|index| lane(index).runs()[run]));
        }
        for ((index, _), state) in group.iter().zip(states) {
            for (bytes, word) in hashes[*index].chunks_exact_mut(4).zip(state) {
                bytes.copy_from_slice(&word.to_be_bytes());
            }
        }
    }
}

/// The round constants of SHA-256 (FIPS 180-4, 4.2.2).
static ROUNDS: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5, //
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174, //
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da, //
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967, //
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85, //
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070, //
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3, //
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2, //
];

/// Sixteen rounds of the vectors' files, each with its number as a literal. In a loop, the compiler would keep the
/// schedule in memory and move the state about.
macro_rules! sixteen {
    ($round:ident, $state:ident, $words:ident, $first:expr) => {
        sixteen!($round, $state, $words, $first, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($round:ident, $state:ident, $words:ident, $first:expr, $($at:literal)*) => {
        $($round!($state, $words, $first, $at);)*
    };
}

#[allow(unsafe_code)]
mod avx2;
#[allow(unsafe_code)]
mod avx512;
#[allow(unsafe_code)]
mod blst;
#[allow(unsafe_code)]
mod extension;
#[cfg(test)]
pub(crate) mod tests;
