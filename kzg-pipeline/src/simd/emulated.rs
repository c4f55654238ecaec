//! This file knows the vector operations of every width in plain Rust, so that arithmetic written over them is tested
//! on processors that lack them.

use super::{Multiply52, VectorUnit, Work};

/// `N` numbers side by side, on any processor.
#[derive(Clone, Copy, Debug)]
pub struct Emulated<const N: usize>;

const MASK_52: u64 = (1 << 52) - 1;

fn each<const N: usize>(a: [u64; N], b: [u64; N], operation: impl Fn(u64, u64) -> u64) -> [u64; N] {
    std::array::from_fn(|lane| operation(a[lane], b[lane]))
}

impl<const N: usize> VectorUnit<N> for Emulated<N> {
    type Vector = [u64; N];

    fn enter<W: Work<N, Self>>(self, work: W) -> W::Output {
        work.work(self)
    }

    fn splat(self, number: u64) -> [u64; N] {
        [number; N]
    }

    fn load(self, numbers: &[u64; N]) -> [u64; N] {
        *numbers
    }

    fn store(self, vector: [u64; N], numbers: &mut [u64; N]) {
        *numbers = vector;
    }

    fn add(self, a: [u64; N], b: [u64; N]) -> [u64; N] {
        each(a, b, u64::wrapping_add)
    }

    fn sub(self, a: [u64; N], b: [u64; N]) -> [u64; N] {
        each(a, b, u64::wrapping_sub)
    }

    fn and(self, a: [u64; N], b: [u64; N]) -> [u64; N] {
        each(a, b, |a, b| a & b)
    }

    fn or(self, a: [u64; N], b: [u64; N]) -> [u64; N] {
        each(a, b, |a, b| a | b)
    }

    fn down(self, a: [u64; N], bits: u32) -> [u64; N] {
        a.map(|a| a >> bits)
    }

    fn up(self, a: [u64; N], bits: u32) -> [u64; N] {
        a.map(|a| a << bits)
    }

    fn larger(self, a: [u64; N], b: [u64; N]) -> [u64; N] {
        each(a, b, u64::max)
    }

    fn product32(self, a: [u64; N], b: [u64; N]) -> [u64; N] {
        each(a, b, |a, b| (a & 0xffff_ffff) * (b & 0xffff_ffff))
    }

    fn unzip(self, a: [u64; N], b: [u64; N]) -> [[u64; N]; 2] {
        let both = [a.as_slice(), b.as_slice()].concat();
        [0, 1].map(|parity| std::array::from_fn(|lane| both[2 * lane + parity]))
    }

    fn pairs(self, chunks: &[[u8; 64]; N]) -> [[[u64; N]; 4]; 2] {
        let word = |side: usize, word: usize, lane: usize| {
            let at = 32 * side + 8 * (3 - word);
            let bytes = chunks[lane][at..at + 8].try_into().expect("eight bytes");
            u64::from_be_bytes(bytes)
        };
        [0, 1].map(|side| std::array::from_fn(|limb| std::array::from_fn(|lane| word(side, limb, lane))))
    }
}

impl<const N: usize> Multiply52<N> for Emulated<N> {
    fn add_low(self, sum: [u64; N], a: [u64; N], b: [u64; N]) -> [u64; N] {
        let low = each(a, b, |a, b| {
            (u128::from(a & MASK_52) * u128::from(b & MASK_52)) as u64 & MASK_52
        });
        self.add(sum, low)
    }

    fn add_high(self, sum: [u64; N], a: [u64; N], b: [u64; N]) -> [u64; N] {
        let high = each(a, b, |a, b| {
            ((u128::from(a & MASK_52) * u128::from(b & MASK_52)) >> 52) as u64
        });
        self.add(sum, high)
    }

    fn look_up(self, table: &[u64; 8], index: [u64; N]) -> [u64; N] {
        index.map(|index| table[index as usize % 8])
    }
}
