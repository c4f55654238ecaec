//! This file knows what the vector units of different processors have in common: numbers side by side, 64 bits each.
//!
//! Arithmetic is written once, over [`VectorUnit`], and compiled for each processor's instructions. In tests it is also
//! compiled for an emulation of them that runs everywhere ([`Emulated`](emulated::Emulated)), and for one that refuses
//! whatever does not fit ([`Checked`](checked::Checked)). A value of a type here, such as [`Ifma`], is the proof that
//! its instructions exist: `detect` alone makes one.
//!
//! ```text
//!   Work::work(lanes)        generic, inlined into ──▶ VectorUnit::enter, a function compiled for the instructions
//!     lanes.add(a, b)        one instruction each, once it stands inside such a function
//! ```
//!
//! Everything on the way must be inlined for that (`#[inline(always)]`, no closures), or each operation becomes a call:
//! slow, but not wrong.
#![allow(
    clippy::needless_range_loop,
    reason = "limbs of several numbers go together, and closures would not be inlined"
)]

/// `N` numbers of 64 bits side by side, and what every vector unit here does with them.
pub trait VectorUnit<const N: usize>: Copy {
    /// The numbers in a register.
    type Vector: Copy;

    /// Does the work in a function compiled for these instructions.
    fn enter<W: Work<N, Self>>(self, work: W) -> W::Output;
    /// The same number in every lane.
    fn splat(self, number: u64) -> Self::Vector;
    /// From memory, lane by lane.
    fn load(self, numbers: &[u64; N]) -> Self::Vector;
    fn store(self, vector: Self::Vector, numbers: &mut [u64; N]);
    /// `a + b`, which must be below 2⁶⁴; else [`add_modulo`](Self::add_modulo). (The processor drops what passes 2⁶⁴.)
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a − b`, not below zero; else [`sub_modulo`](Self::sub_modulo).
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a + b` modulo 2⁶⁴, and meant so.
    #[inline(always)]
    fn add_modulo(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.add(a, b)
    }
    /// `a − b` modulo 2⁶⁴, and meant so.
    #[inline(always)]
    fn sub_modulo(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.sub(a, b)
    }
    /// Bits that both have.
    fn and(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Bits that either has.
    fn or(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Shifted down by a constant below 64.
    fn down(self, a: Self::Vector, bits: u32) -> Self::Vector;
    /// Shifted up by a constant below 64.
    fn up(self, a: Self::Vector, bits: u32) -> Self::Vector;
    /// The larger of both, unsigned.
    fn larger(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The product of numbers below 2³².
    fn product32(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The lanes of even and of odd number: of `a` first, then of `b`.
    fn unzip(self, a: Self::Vector, b: Self::Vector) -> [Self::Vector; 2];
    /// Two numbers of 32 big-endian bytes in each chunk: the four words, lowest first, of all first and of all second
    /// numbers.
    fn pairs(self, chunks: &[[u8; 64]; N]) -> [[Self::Vector; 4]; 2];
}

/// Products of 52-bit numbers, as AVX-512's IFMA has them.
pub trait Multiply52<const N: usize>: VectorUnit<N> {
    /// The part of a number that products read. By default there is nothing to do, as products read 52 bits only.
    #[inline(always)]
    fn low_52(self, a: Self::Vector) -> Self::Vector {
        a
    }
    /// `sum` plus the low 52 bits of the 104-bit product of `a` and `b`, both below 2⁵², or said to be cut:
    /// [`low_52`](Self::low_52).
    fn add_low(self, sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `sum` plus the high 52 bits of that product.
    fn add_high(self, sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// In each lane, the entry of `table` with this index, below eight.
    fn look_up(self, table: &[u64; 8], index: Self::Vector) -> Self::Vector;
}

/// Work for one kind of vectors.
pub trait Work<const N: usize, L> {
    type Output;
    /// Does it; mark it `#[inline(always)]`.
    fn work(self, lanes: L) -> Self::Output;
}

/// Limbs of several numbers in memory: all first limbs, then all second ones; on a cache line of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(64))]
pub struct Group<const N: usize, const LIMBS: usize>(pub [[u64; N]; LIMBS]);

impl<const N: usize, const LIMBS: usize> Group<N, LIMBS> {
    pub const ZERO: Self = Self([[0; N]; LIMBS]);

    /// From the limbs of each number.
    pub fn of(numbers: &[[u64; LIMBS]; N]) -> Self {
        let mut group = Self::ZERO;
        for (lane, number) in numbers.iter().enumerate() {
            for (limb, target) in number.iter().zip(&mut group.0) {
                target[lane] = *limb;
            }
        }
        group
    }

    /// The limbs of one of the numbers.
    pub fn lane(&self, lane: usize) -> [u64; LIMBS] {
        self.0.map(|limb| limb[lane])
    }

    /// The same number in every lane.
    pub fn splat(number: &[u64; LIMBS]) -> Self {
        Self(number.map(|limb| [limb; N]))
    }

    #[inline(always)]
    pub fn load<L: VectorUnit<N>>(&self, lanes: L) -> [L::Vector; LIMBS] {
        let mut vectors = [lanes.splat(0); LIMBS];
        for limb in 0..LIMBS {
            vectors[limb] = lanes.load(&self.0[limb]);
        }
        vectors
    }

    #[inline(always)]
    pub fn store<L: VectorUnit<N>>(&mut self, lanes: L, vectors: &[L::Vector; LIMBS]) {
        for limb in 0..LIMBS {
            lanes.store(vectors[limb], &mut self.0[limb]);
        }
    }
}

/// The limbs of `BITS` bits of a number, lowest first; they must be enough for it.
pub const fn cut<const BITS: u32, const WORDS: usize, const LIMBS: usize>(words: &[u64; WORDS]) -> [u64; LIMBS] {
    let mut limbs = [0; LIMBS];
    let mut position = 0;
    while position < LIMBS {
        let (word, bit) = (position * BITS as usize / 64, position * BITS as usize % 64);
        if word < WORDS {
            limbs[position] = words[word] >> bit;
            if bit + BITS as usize > 64 && word + 1 < WORDS {
                limbs[position] |= words[word + 1] << (64 - bit);
            }
            limbs[position] &= (1 << BITS) - 1;
        }
        position += 1;
    }
    limbs
}

/// The number of tight limbs of `BITS` bits; what passes the last word is dropped.
pub const fn join<const BITS: u32, const LIMBS: usize, const WORDS: usize>(limbs: &[u64; LIMBS]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    let mut position = 0;
    while position < LIMBS {
        let (word, bit) = (position * BITS as usize / 64, position * BITS as usize % 64);
        if word < WORDS {
            words[word] |= limbs[position] << bit;
            if bit + BITS as usize > 64 && word + 1 < WORDS {
                words[word + 1] |= limbs[position] >> (64 - bit);
            }
        }
        position += 1;
    }
    words
}

#[allow(unsafe_code)]
mod avx2;
#[allow(unsafe_code)]
mod avx512;
#[cfg(test)]
pub mod checked;
mod doubled;
#[cfg(test)]
pub mod emulated;
#[cfg(test)]
mod tests;

pub use avx2::Avx2;
pub use avx512::{Avx512, Ifma};
pub use doubled::Doubled;
