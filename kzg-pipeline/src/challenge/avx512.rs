//! This file knows SHA-256 of sixteen messages in step, a message in each 32-bit lane of AVX-512.
//!
//! A rotation is one instruction here. So is any function of three words bit by bit (`vpternlogd`, by its truth table).
//! A round takes 17 instructions and a word of the schedule 11, for sixteen messages at once.

#![allow(clippy::needless_range_loop, reason = "sixteen runs go together")]

use std::arch::x86_64::*;

use super::{ROUNDS, State};
use crate::simd::Avx512;

/// Messages that are hashed in step.
pub const LANES: usize = 16;

/// Takes each run of whole blocks into its state. All runs are equally long.
pub fn compress(_: Avx512, states: &mut [State; LANES], runs: [&[u8]; LANES]) {
    assert!(
        runs.iter().all(|run| run.len() == runs[0].len() && run.len() % 64 == 0),
        "equal runs of whole blocks"
    );
    // SAFETY: an `Avx512` exists only where the instructions do.
    unsafe { compress_runs(states, runs) }
}

/// Blocks fetched ahead: sixteen runs are more than the processor follows by itself.
const AHEAD: usize = 8;

/// Truth tables of functions of three bits: bit 4a + 2b + c of the table is f(a, b, c).
const XOR: i32 = 0b1001_0110;
/// b where a, else c.
const CHOICE: i32 = 0b1100_1010;
/// The bit that at least two of the three have.
const MAJORITY: i32 = 0b1110_1000;

/// Round `$at` of the sixteen that begin with the constant `$first`. The word that the standard calls A stands at
/// position −`$at` modulo 8, and so on.
macro_rules! round {
    ($state:ident, $words:ident, $first:expr, $at:literal) => {{
        let [a, b, c, e, f, g] = [0, 1, 2, 4, 5, 6].map(|name: usize| $state[(16 + name - $at) % 8]);
        let (d_at, h_at) = ((19 - $at) % 8, (23 - $at) % 8);
        let constant = _mm512_set1_epi32(ROUNDS[$first + $at] as i32);
        let begun = _mm512_add_epi32(_mm512_add_epi32($state[h_at], constant), $words[$at]);
        let choice = _mm512_ternarylogic_epi32::<CHOICE>(e, f, g);
        let turned = _mm512_ternarylogic_epi32::<XOR>(
            _mm512_ror_epi32::<6>(e),
            _mm512_ror_epi32::<11>(e),
            _mm512_ror_epi32::<25>(e),
        );
        let first = _mm512_add_epi32(_mm512_add_epi32(begun, choice), turned);
        let majority = _mm512_ternarylogic_epi32::<MAJORITY>(a, b, c);
        let turned = _mm512_ternarylogic_epi32::<XOR>(
            _mm512_ror_epi32::<2>(a),
            _mm512_ror_epi32::<13>(a),
            _mm512_ror_epi32::<22>(a),
        );
        $state[d_at] = _mm512_add_epi32($state[d_at], first);
        $state[h_at] = _mm512_add_epi32(first, _mm512_add_epi32(turned, majority));
    }};
}

/// The same, with a word that is made from those before.
macro_rules! schedule_and_round {
    ($state:ident, $words:ident, $first:expr, $at:literal) => {{
        let (two, fifteen) = ($words[($at + 14) % 16], $words[($at + 1) % 16]);
        let sum = _mm512_add_epi32($words[$at], $words[($at + 9) % 16]);
        let low = _mm512_ternarylogic_epi32::<XOR>(
            _mm512_ror_epi32::<7>(fifteen),
            _mm512_ror_epi32::<18>(fifteen),
            _mm512_srli_epi32::<3>(fifteen),
        );
        let high = _mm512_ternarylogic_epi32::<XOR>(
            _mm512_ror_epi32::<17>(two),
            _mm512_ror_epi32::<19>(two),
            _mm512_srli_epi32::<10>(two),
        );
        $words[$at] = _mm512_add_epi32(_mm512_add_epi32(sum, low), high);
        round!($state, $words, $first, $at);
    }};
}

#[target_feature(enable = "avx512f,avx512bw")]
fn compress_runs(states: &mut [State; LANES], runs: [&[u8]; LANES]) {
    let mut state = [_mm512_setzero_si512(); 8];
    for (word, vector) in state.iter_mut().enumerate() {
        let lanes: [u32; LANES] = std::array::from_fn(|lane| states[lane][word]);
        // SAFETY: reads the sixteen words of the array; the instruction needs no alignment.
        *vector = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) };
    }
    let blocks = runs.map(|run| run.as_chunks::<64>().0);
    for block in 0..runs[0].len() / 64 {
        let before = state;
        let mut rows = [_mm512_setzero_si512(); LANES];
        for lane in 0..LANES {
            // SAFETY: reads the 64 bytes of one block; the instruction needs no alignment. The second only fetches, and
            // does nothing at an address that is not mapped.
            unsafe {
                rows[lane] = _mm512_loadu_si512(blocks[lane][block].as_ptr().cast());
                _mm_prefetch::<_MM_HINT_T0>(blocks[lane].as_ptr().wrapping_add(block + AHEAD).cast());
            }
        }
        let mut words = transpose(rows);
        // Sixteen rounds written out: so the schedule and the state stay in registers, and what turns is their names.
        sixteen!(round, state, words, 0);
        for first in [16, 32, 48] {
            sixteen!(schedule_and_round, state, words, first);
        }
        for (total, part) in state.iter_mut().zip(before) {
            *total = _mm512_add_epi32(*total, part);
        }
    }
    for (word, vector) in state.iter().enumerate() {
        let mut lanes = [0u32; LANES];
        // SAFETY: writes the sixteen words of the array; the instruction needs no alignment.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), *vector) };
        for (state, value) in states.iter_mut().zip(lanes) {
            state[word] = value;
        }
    }
}

/// The sixteen big-endian words of sixteen blocks, word by word.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(mut rows: [__m512i; LANES]) -> [__m512i; LANES] {
    let reverse = _mm512_broadcast_i32x4(_mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12));
    for row in &mut rows {
        *row = _mm512_shuffle_epi8(*row, reverse);
    }
    // Four rows at a time: pairs of words, then of pairs. Quarter q of fours[k][w] holds word 4q + w of rows
    // 4k .. 4k + 4.
    let mut fours = [[_mm512_setzero_si512(); 4]; 4];
    for (four, rows) in fours.iter_mut().zip(rows.as_chunks::<4>().0) {
        let low = [
            _mm512_unpacklo_epi32(rows[0], rows[1]),
            _mm512_unpacklo_epi32(rows[2], rows[3]),
        ];
        let high = [
            _mm512_unpackhi_epi32(rows[0], rows[1]),
            _mm512_unpackhi_epi32(rows[2], rows[3]),
        ];
        *four = [
            _mm512_unpacklo_epi64(low[0], low[1]),
            _mm512_unpackhi_epi64(low[0], low[1]),
            _mm512_unpacklo_epi64(high[0], high[1]),
            _mm512_unpackhi_epi64(high[0], high[1]),
        ];
    }
    // Then quarters, as one transposes four by four.
    let mut words = [_mm512_setzero_si512(); LANES];
    for word in 0..4 {
        let [one, two, three, four] = [fours[0][word], fours[1][word], fours[2][word], fours[3][word]];
        let even = [
            _mm512_shuffle_i32x4::<0x88>(one, two),
            _mm512_shuffle_i32x4::<0x88>(three, four),
        ];
        let odd = [
            _mm512_shuffle_i32x4::<0xdd>(one, two),
            _mm512_shuffle_i32x4::<0xdd>(three, four),
        ];
        words[word] = _mm512_shuffle_i32x4::<0x88>(even[0], even[1]);
        words[8 + word] = _mm512_shuffle_i32x4::<0xdd>(even[0], even[1]);
        words[4 + word] = _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]);
        words[12 + word] = _mm512_shuffle_i32x4::<0xdd>(odd[0], odd[1]);
    }
    words
}
