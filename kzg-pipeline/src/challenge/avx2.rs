//! This file knows SHA-256 of eight messages in step, a message in each 32-bit lane of AVX2.
//!
//! For processors without the SHA extension: each operation of the standard is one instruction on eight words (a
//! rotation is three), and no lane waits for another.

use std::arch::x86_64::*;

use super::{ROUNDS, State};
use crate::simd::Avx2;

/// Messages that are hashed in step.
pub const LANES: usize = 8;

/// Takes each run of whole blocks into its state. All runs are equally long.
pub fn compress(_: Avx2, states: &mut [State; LANES], runs: [&[u8]; LANES]) {
    assert!(
        runs.iter().all(|run| run.len() == runs[0].len() && run.len() % 64 == 0),
        "equal runs of whole blocks"
    );
    // SAFETY: an `Avx2` exists only where the instructions do.
    unsafe { compress_runs(states, runs) }
}

/// Round `$at` of the sixteen that begin with the constant `$first`. The word that the standard calls A stands at
/// position −`$at` modulo 8, and so on.
macro_rules! round {
    ($state:ident, $words:ident, $first:expr, $at:literal) => {{
        let [a, b, c, e, f, g] = [0, 1, 2, 4, 5, 6].map(|name: usize| $state[(16 + name - $at) % 8]);
        let (d_at, h_at) = ((19 - $at) % 8, (23 - $at) % 8);
        let constant = _mm256_set1_epi32(ROUNDS[$first + $at] as i32);
        let choice = _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)));
        let turned = xor3(rotate::<6, 26>(e), rotate::<11, 21>(e), rotate::<25, 7>(e));
        let begun = _mm256_add_epi32(_mm256_add_epi32($state[h_at], constant), $words[$at]);
        let first = _mm256_add_epi32(_mm256_add_epi32(begun, choice), turned);
        let turned = xor3(rotate::<2, 30>(a), rotate::<13, 19>(a), rotate::<22, 10>(a));
        let majority = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(c, _mm256_or_si256(a, b)));
        $state[d_at] = _mm256_add_epi32($state[d_at], first);
        $state[h_at] = _mm256_add_epi32(first, _mm256_add_epi32(turned, majority));
    }};
}

/// The same, with a word that is made from those before.
macro_rules! schedule_and_round {
    ($state:ident, $words:ident, $first:expr, $at:literal) => {{
        let (two, fifteen) = ($words[($at + 14) % 16], $words[($at + 1) % 16]);
        let sum = _mm256_add_epi32($words[$at], $words[($at + 9) % 16]);
        let low = xor3(
            rotate::<7, 25>(fifteen),
            rotate::<18, 14>(fifteen),
            _mm256_srli_epi32::<3>(fifteen),
        );
        let high = xor3(
            rotate::<17, 15>(two),
            rotate::<19, 13>(two),
            _mm256_srli_epi32::<10>(two),
        );
        $words[$at] = _mm256_add_epi32(_mm256_add_epi32(sum, low), high);
        round!($state, $words, $first, $at);
    }};
}

#[target_feature(enable = "avx2")]
fn compress_runs(states: &mut [State; LANES], runs: [&[u8]; LANES]) {
    let mut state = [_mm256_setzero_si256(); 8];
    for (word, vector) in state.iter_mut().enumerate() {
        let lanes: [u32; LANES] = std::array::from_fn(|lane| states[lane][word]);
        // SAFETY: reads the eight words of the array; the instruction needs no alignment.
        *vector = unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) };
    }
    let mut blocks = runs.map(|run| run.as_chunks::<64>().0.iter());
    for _ in 0..runs[0].len() / 64 {
        let before = state;
        let mut words = load(
            blocks
                .each_mut()
                .map(|blocks| blocks.next().expect("all runs are equally long")),
        );
        // Sixteen rounds written out: so schedule and state have fixed positions, and what turns is their names.
        sixteen!(round, state, words, 0);
        for first in [16, 32, 48] {
            sixteen!(schedule_and_round, state, words, first);
        }
        for (total, part) in state.iter_mut().zip(before) {
            *total = _mm256_add_epi32(*total, part);
        }
    }
    for (word, vector) in state.iter().enumerate() {
        let mut lanes = [0u32; LANES];
        // SAFETY: writes the eight words of the array; the instruction needs no alignment.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), *vector) };
        for (state, value) in states.iter_mut().zip(lanes) {
            state[word] = value;
        }
    }
}

/// The sixteen big-endian words of eight blocks, word by word.
#[inline]
#[target_feature(enable = "avx2")]
fn load(blocks: [&[u8; 64]; LANES]) -> [__m256i; 16] {
    let reverse = _mm256_setr_epi8(
        3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12,
    );
    let mut words = [_mm256_setzero_si256(); 16];
    for half in 0..2 {
        let mut rows = [_mm256_setzero_si256(); LANES];
        for (row, block) in rows.iter_mut().zip(blocks) {
            let (halves, _) = block.as_chunks::<32>();
            // SAFETY: reads the 32 bytes of the array; the instruction needs no alignment.
            let bytes = unsafe { _mm256_loadu_si256(halves[half].as_ptr().cast()) };
            *row = _mm256_shuffle_epi8(bytes, reverse);
        }
        // Transposes eight rows of eight words: pairs of words, then of pairs, then of halves.
        let mut pairs = [_mm256_setzero_si256(); LANES];
        for pair in 0..4 {
            pairs[2 * pair] = _mm256_unpacklo_epi32(rows[2 * pair], rows[2 * pair + 1]);
            pairs[2 * pair + 1] = _mm256_unpackhi_epi32(rows[2 * pair], rows[2 * pair + 1]);
        }
        for side in 0..2 {
            let [one, two, three, four] = [pairs[side], pairs[side + 2], pairs[side + 4], pairs[side + 6]];
            let fours = [
                (_mm256_unpacklo_epi64(one, two), _mm256_unpacklo_epi64(three, four)),
                (_mm256_unpackhi_epi64(one, two), _mm256_unpackhi_epi64(three, four)),
            ];
            for (position, (front, back)) in fours.into_iter().enumerate() {
                let word = 8 * half + 2 * side + position;
                words[word] = _mm256_permute2x128_si256::<0x20>(front, back);
                words[word + 4] = _mm256_permute2x128_si256::<0x31>(front, back);
            }
        }
    }
    words
}

/// Rotation right by `RIGHT`; `LEFT` is 32 − `RIGHT`.
#[inline]
#[target_feature(enable = "avx2")]
fn rotate<const RIGHT: i32, const LEFT: i32>(value: __m256i) -> __m256i {
    const { assert!(RIGHT + LEFT == 32) };
    _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(value), _mm256_slli_epi32::<LEFT>(value))
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor3(one: __m256i, two: __m256i, three: __m256i) -> __m256i {
    _mm256_xor_si256(_mm256_xor_si256(one, two), three)
}
