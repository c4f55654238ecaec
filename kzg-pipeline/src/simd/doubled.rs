//! This file knows how to do two vectors' work in step, so that one's instructions run while the other's wait for their
//! operands.
//!
//! A product of 52 bits takes four cycles and two may begin in each; a reduction is a chain of them. The processor
//! looks ahead far enough to find the next independent chain only if it stands close by.

use super::{Multiply52, VectorUnit, Work};

/// Sixteen lanes: the eight lanes of `L`, twice.
#[derive(Clone, Copy, Debug)]
pub struct Doubled<L>(pub L);

/// Work for sixteen lanes, as work for eight.
struct Through<W>(W);

impl<L: VectorUnit<8>, W: Work<16, Doubled<L>>> Work<8, L> for Through<W> {
    type Output = W::Output;

    #[inline(always)]
    fn work(self, lanes: L) -> W::Output {
        self.0.work(Doubled(lanes))
    }
}

#[inline(always)]
fn halves(numbers: &[u64; 16]) -> &[[u64; 8]] {
    numbers.as_chunks::<8>().0
}

type Two<L> = [<L as VectorUnit<8>>::Vector; 2];

impl<L: VectorUnit<8>> VectorUnit<16> for Doubled<L> {
    type Vector = Two<L>;

    #[inline(always)]
    fn enter<W: Work<16, Self>>(self, work: W) -> W::Output {
        self.0.enter(Through(work))
    }

    #[inline(always)]
    fn splat(self, number: u64) -> Two<L> {
        [self.0.splat(number); 2]
    }

    #[inline(always)]
    fn load(self, numbers: &[u64; 16]) -> Two<L> {
        let halves = halves(numbers);
        [self.0.load(&halves[0]), self.0.load(&halves[1])]
    }

    #[inline(always)]
    fn store(self, vector: Two<L>, numbers: &mut [u64; 16]) {
        let (halves, _) = numbers.as_chunks_mut::<8>();
        self.0.store(vector[0], &mut halves[0]);
        self.0.store(vector[1], &mut halves[1]);
    }

    #[inline(always)]
    fn add(self, a: Two<L>, b: Two<L>) -> Two<L> {
        [self.0.add(a[0], b[0]), self.0.add(a[1], b[1])]
    }

    #[inline(always)]
    fn sub(self, a: Two<L>, b: Two<L>) -> Two<L> {
        [self.0.sub(a[0], b[0]), self.0.sub(a[1], b[1])]
    }

    #[inline(always)]
    fn add_modulo(self, a: Two<L>, b: Two<L>) -> Two<L> {
        [self.0.add_modulo(a[0], b[0]), self.0.add_modulo(a[1], b[1])]
    }

    #[inline(always)]
    fn sub_modulo(self, a: Two<L>, b: Two<L>) -> Two<L> {
        [self.0.sub_modulo(a[0], b[0]), self.0.sub_modulo(a[1], b[1])]
    }

    #[inline(always)]
    fn and(self, a: Two<L>, b: Two<L>) -> Two<L> {
        [self.0.and(a[0], b[0]), self.0.and(a[1], b[1])]
    }

    #[inline(always)]
    fn or(self, a: Two<L>, b: Two<L>) -> Two<L> {
        [self.0.or(a[0], b[0]), self.0.or(a[1], b[1])]
    }

    #[inline(always)]
    fn down(self, a: Two<L>, bits: u32) -> Two<L> {
        [self.0.down(a[0], bits), self.0.down(a[1], bits)]
    }

    #[inline(always)]
    fn up(self, a: Two<L>, bits: u32) -> Two<L> {
        [self.0.up(a[0], bits), self.0.up(a[1], bits)]
    }

    #[inline(always)]
    fn larger(self, a: Two<L>, b: Two<L>) -> Two<L> {
        [self.0.larger(a[0], b[0]), self.0.larger(a[1], b[1])]
    }

    #[inline(always)]
    fn product32(self, a: Two<L>, b: Two<L>) -> Two<L> {
        [self.0.product32(a[0], b[0]), self.0.product32(a[1], b[1])]
    }

    #[inline(always)]
    fn unzip(self, a: Two<L>, b: Two<L>) -> [Two<L>; 2] {
        let (front, back) = (self.0.unzip(a[0], a[1]), self.0.unzip(b[0], b[1]));
        [[front[0], back[0]], [front[1], back[1]]]
    }

    #[inline(always)]
    fn pairs(self, chunks: &[[u8; 64]; 16]) -> [[Two<L>; 4]; 2] {
        let (halves, _) = chunks.as_chunks::<8>();
        let (front, back) = (self.0.pairs(&halves[0]), self.0.pairs(&halves[1]));
        let mut sides = [[self.splat(0); 4]; 2];
        for side in 0..2 {
            for word in 0..4 {
                sides[side][word] = [front[side][word], back[side][word]];
            }
        }
        sides
    }
}

impl<L: Multiply52<8>> Multiply52<16> for Doubled<L> {
    #[inline(always)]
    fn low_52(self, a: Two<L>) -> Two<L> {
        [self.0.low_52(a[0]), self.0.low_52(a[1])]
    }

    #[inline(always)]
    fn add_low(self, sum: Two<L>, a: Two<L>, b: Two<L>) -> Two<L> {
        [self.0.add_low(sum[0], a[0], b[0]), self.0.add_low(sum[1], a[1], b[1])]
    }

    #[inline(always)]
    fn add_high(self, sum: Two<L>, a: Two<L>, b: Two<L>) -> Two<L> {
        [self.0.add_high(sum[0], a[0], b[0]), self.0.add_high(sum[1], a[1], b[1])]
    }

    #[inline(always)]
    fn look_up(self, table: &[u64; 8], index: Two<L>) -> Two<L> {
        [self.0.look_up(table, index[0]), self.0.look_up(table, index[1])]
    }
}
