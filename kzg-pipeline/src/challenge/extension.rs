//! This file knows SHA-256 by the processor's own SHA extension, several messages in step.
//!
//! `sha256rnds2` takes four cycles and waits for the one before it, and a processor can begin one every two: a second
//! message fills the gaps.

use std::arch::x86_64::*;

use super::{ROUNDS, State};

/// Proof that this processor has the SHA extension.
#[derive(Clone, Copy, Debug)]
pub struct Extension(());

impl Extension {
    /// The proof, if it has it.
    pub fn detect() -> Option<Self> {
        let has =
            is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3");
        has.then_some(Self(()))
    }

    /// Takes each run of whole blocks into its state. All runs are equally long.
    pub fn compress<const LANES: usize>(self, states: &mut [State; LANES], runs: [&[u8]; LANES]) {
        assert!(
            runs.iter().all(|run| run.len() == runs[0].len() && run.len() % 64 == 0),
            "equal runs of whole blocks"
        );
        // SAFETY: an `Extension` exists only where the instructions do.
        unsafe { compress(states, runs) }
    }
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress<const LANES: usize>(states: &mut [State; LANES], runs: [&[u8]; LANES]) {
    let reverse = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let zero = [_mm_setzero_si128(); LANES];
    // The instructions want the state as (A, B, E, F) and (C, D, G, H), highest first.
    let (mut abef, mut cdgh) = (zero, zero);
    for lane in 0..LANES {
        let (front, back) = (word4(&states[lane][..4]), word4(&states[lane][4..]));
        let (cdab, efgh) = (_mm_shuffle_epi32::<0xb1>(front), _mm_shuffle_epi32::<0x1b>(back));
        abef[lane] = _mm_alignr_epi8::<8>(cdab, efgh);
        cdgh[lane] = _mm_blend_epi16::<0xf0>(efgh, cdab);
    }
    let mut iterators = runs.map(|run| run.as_chunks::<64>().0.iter());
    for _ in 0..runs[0].len() / 64 {
        let (abef_before, cdgh_before) = (abef, cdgh);
        let mut words = [[_mm_setzero_si128(); 4]; LANES];
        for lane in 0..LANES {
            let block = iterators[lane].next().expect("all runs are equally long");
            let (quarters, _) = block.as_chunks::<16>();
            for (word, quarter) in words[lane].iter_mut().zip(quarters) {
                // SAFETY: reads the sixteen bytes of the array; the instruction needs no alignment.
                let bytes = unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) };
                *word = _mm_shuffle_epi8(bytes, reverse);
            }
        }
        for four in 0..16 {
            let constants = word4(&ROUNDS[4 * four..4 * four + 4]);
            for lane in 0..LANES {
                let words = &mut words[lane];
                if four >= 4 {
                    // W[t] = σ₁(W[t−2]) + W[t−7] + σ₀(W[t−15]) + W[t−16], four at a time.
                    let last = words[(four + 3) % 4];
                    let seven_before = _mm_alignr_epi8::<4>(last, words[(four + 2) % 4]);
                    let begun = _mm_add_epi32(
                        _mm_sha256msg1_epu32(words[four % 4], words[(four + 1) % 4]),
                        seven_before,
                    );
                    words[four % 4] = _mm_sha256msg2_epu32(begun, last);
                }
                let sum = _mm_add_epi32(words[four % 4], constants);
                cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], sum);
                abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], _mm_shuffle_epi32::<0x0e>(sum));
            }
        }
        for lane in 0..LANES {
            abef[lane] = _mm_add_epi32(abef[lane], abef_before[lane]);
            cdgh[lane] = _mm_add_epi32(cdgh[lane], cdgh_before[lane]);
        }
    }
    for lane in 0..LANES {
        let (feba, dchg) = (
            _mm_shuffle_epi32::<0x1b>(abef[lane]),
            _mm_shuffle_epi32::<0xb1>(cdgh[lane]),
        );
        let (front, back) = (_mm_blend_epi16::<0xf0>(feba, dchg), _mm_alignr_epi8::<8>(dchg, feba));
        let (first, last) = states[lane].split_at_mut(4);
        // SAFETY: writes four words to each half of eight; the instruction needs no alignment.
        unsafe {
            _mm_storeu_si128(first.as_mut_ptr().cast(), front);
            _mm_storeu_si128(last.as_mut_ptr().cast(), back);
        }
    }
}

#[inline]
#[target_feature(enable = "sse4.1")]
fn word4(words: &[u32]) -> __m128i {
    assert!(words.len() == 4, "four words");
    // SAFETY: reads the sixteen bytes of four words; the instruction needs no alignment.
    unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
}
