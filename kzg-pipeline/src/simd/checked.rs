//! This file knows the emulated operations as the arithmetic means them: each refuses what a register would silently
//! lose.
//!
//! A column that passes 2⁶⁴, a limb that goes below zero and a factor of more bits than a product reads give a wrong
//! number on some inputs only. Here they are a panic, so the bounds written in the heads of `evaluate/limbs52.rs`,
//! `evaluate/limbs29.rs` and `group/fp.rs` are asserted by every test of that arithmetic.

use super::emulated::Emulated;
use super::{Multiply52, VectorUnit, Work};

/// `N` numbers side by side, none of which loses a bit unasked.
#[derive(Clone, Copy, Debug)]
pub struct Checked<const N: usize>;

fn each<const N: usize>(a: [u64; N], b: [u64; N], operation: impl Fn(u64, u64) -> Option<u64>) -> [u64; N] {
    std::array::from_fn(|lane| operation(a[lane], b[lane]).expect("a number of 64 bits"))
}

fn assert_below<const N: usize>(numbers: [u64; N], bits: u32) {
    assert!(
        numbers.iter().all(|number| number >> bits == 0),
        "{numbers:x?} has more than {bits} bits"
    );
}

impl<const N: usize> VectorUnit<N> for Checked<N> {
    type Vector = [u64; N];

    fn enter<W: Work<N, Self>>(self, work: W) -> W::Output {
        work.work(self)
    }

    fn splat(self, number: u64) -> [u64; N] {
        Emulated.splat(number)
    }

    fn load(self, numbers: &[u64; N]) -> [u64; N] {
        Emulated.load(numbers)
    }

    fn store(self, vector: [u64; N], numbers: &mut [u64; N]) {
        Emulated.store(vector, numbers);
    }

    fn add(self, a: [u64; N], b: [u64; N]) -> [u64; N] {
        each(a, b, u64::checked_add)
    }

    fn sub(self, a: [u64; N], b: [u64; N]) -> [u64; N] {
        each(a, b, u64::checked_sub)
    }

    fn add_modulo(self, a: [u64; N], b: [u64; N]) -> [u64; N] {
        Emulated.add(a, b)
    }

    fn sub_modulo(self, a: [u64; N], b: [u64; N]) -> [u64; N] {
        Emulated.sub(a, b)
    }

    fn and(self, a: [u64; N], b: [u64; N]) -> [u64; N] {
        Emulated.and(a, b)
    }

    fn or(self, a: [u64; N], b: [u64; N]) -> [u64; N] {
        Emulated.or(a, b)
    }

    fn down(self, a: [u64; N], bits: u32) -> [u64; N] {
        Emulated.down(a, bits)
    }

    fn up(self, a: [u64; N], bits: u32) -> [u64; N] {
        Emulated.up(a, bits)
    }

    fn larger(self, a: [u64; N], b: [u64; N]) -> [u64; N] {
        Emulated.larger(a, b)
    }

    fn product32(self, a: [u64; N], b: [u64; N]) -> [u64; N] {
        assert_below(a, 32);
        assert_below(b, 32);
        Emulated.product32(a, b)
    }

    fn unzip(self, a: [u64; N], b: [u64; N]) -> [[u64; N]; 2] {
        Emulated.unzip(a, b)
    }

    fn pairs(self, chunks: &[[u8; 64]; N]) -> [[[u64; N]; 4]; 2] {
        Emulated.pairs(chunks)
    }
}

impl<const N: usize> Multiply52<N> for Checked<N> {
    fn low_52(self, a: [u64; N]) -> [u64; N] {
        self.and(a, [(1 << 52) - 1; N])
    }

    fn add_low(self, sum: [u64; N], a: [u64; N], b: [u64; N]) -> [u64; N] {
        assert_below(a, 52);
        assert_below(b, 52);
        self.add(sum, Emulated.add_low([0; N], a, b))
    }

    fn add_high(self, sum: [u64; N], a: [u64; N], b: [u64; N]) -> [u64; N] {
        assert_below(a, 52);
        assert_below(b, 52);
        self.add(sum, Emulated.add_high([0; N], a, b))
    }

    fn look_up(self, table: &[u64; 8], index: [u64; N]) -> [u64; N] {
        assert_below(index, 3);
        Emulated.look_up(table, index)
    }
}
