//! This file knows the product by a prepared factor in x86-64 instructions of 2014 and later: BMI2's `mulx`, ADX's
//! `adcx` and `adox`.
//!
//! Compilers make poor code of many carries at once: they move them through registers. `mulx` touches no flag, `adcx`
//! only the carry flag and `adox` only the overflow flag, so a row of products is added in two chains that do not meet:
//!
//! ```text
//!   row j:      low₀     low₁     low₂     low₃            carry flag ──▶
//!               high₀    high₁    high₂    high₃           overflow flag ──▶
//!     s₀   +    s₁   +   s₂   +   s₃   +   s₄  ▶ s₅
//! ```

use std::arch::asm;

use super::{Limbs, Multiply, Prepared, R, Wide};

/// Proof that this processor has BMI2 and ADX.
#[derive(Clone, Copy, Debug)]
pub struct Mulx(());

impl Mulx {
    /// The proof, if it has them.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("adx")).then_some(Self(()))
    }
}

/// r in memory, for `mulx` to read.
static R_LIMBS: Limbs = R;

impl Multiply for Mulx {
    #[inline(always)]
    fn times(&self, factor: &Prepared, a: &Limbs) -> Wide {
        let (s1, s2, s3, s4, s5): (u64, u64, u64, u64, u64);
        // SAFETY: a `Mulx` exists only where the instructions do. The block reads the sixteen limbs behind `factor`,
        // the four behind `a` and the four of `R_LIMBS`, all borrowed for its duration; it writes registers only, and
        // declares each.
        unsafe {
            asm!(
                // Row 0 begins the sums.
                "mov rdx, [{a}]",
                "xor {zero:e}, {zero:e}",
                "mulx {s1}, {s0}, [{p}]",
                "mulx {s2}, {low}, [{p} + 8]",
                "adcx {s1}, {low}",
                "mulx {s3}, {low}, [{p} + 16]",
                "adcx {s2}, {low}",
                "mulx {s4}, {low}, [{p} + 24]",
                "adcx {s3}, {low}",
                "adcx {s4}, {zero}",
                "xor {s5:e}, {s5:e}",
                // Row 1; `xor` has cleared both flags, here and at the end of each row nothing is left in them.
                "mov rdx, [{a} + 8]",
                "mulx {high}, {low}, [{p} + 32]",
                "adcx {s0}, {low}",
                "adox {s1}, {high}",
                "mulx {high}, {low}, [{p} + 40]",
                "adcx {s1}, {low}",
                "adox {s2}, {high}",
                "mulx {high}, {low}, [{p} + 48]",
                "adcx {s2}, {low}",
                "adox {s3}, {high}",
                "mulx {high}, {low}, [{p} + 56]",
                "adcx {s3}, {low}",
                "adox {s4}, {high}",
                "adcx {s4}, {zero}",
                "adox {s5}, {zero}",
                "adcx {s5}, {zero}",
                // Row 2.
                "mov rdx, [{a} + 16]",
                "mulx {high}, {low}, [{p} + 64]",
                "adcx {s0}, {low}",
                "adox {s1}, {high}",
                "mulx {high}, {low}, [{p} + 72]",
                "adcx {s1}, {low}",
                "adox {s2}, {high}",
                "mulx {high}, {low}, [{p} + 80]",
                "adcx {s2}, {low}",
                "adox {s3}, {high}",
                "mulx {high}, {low}, [{p} + 88]",
                "adcx {s3}, {low}",
                "adox {s4}, {high}",
                "adcx {s4}, {zero}",
                "adox {s5}, {zero}",
                "adcx {s5}, {zero}",
                // Row 3.
                "mov rdx, [{a} + 24]",
                "mulx {high}, {low}, [{p} + 96]",
                "adcx {s0}, {low}",
                "adox {s1}, {high}",
                "mulx {high}, {low}, [{p} + 104]",
                "adcx {s1}, {low}",
                "adox {s2}, {high}",
                "mulx {high}, {low}, [{p} + 112]",
                "adcx {s2}, {low}",
                "adox {s3}, {high}",
                "mulx {high}, {low}, [{p} + 120]",
                "adcx {s3}, {low}",
                "adox {s4}, {high}",
                "adcx {s4}, {zero}",
                "adox {s5}, {zero}",
                "adcx {s5}, {zero}",
                // One step of the reduction: m = −s₀·(2³² + 1), as r⁻¹ = 2³² + 1 modulo 2⁶⁴; then add m·r, which makes
                // s₀ zero.
                "mov rdx, {s0}",
                "shl rdx, 32",
                "add rdx, {s0}",
                "neg rdx",
                "xor {low:e}, {low:e}",
                "mulx {high}, {low}, [rip + {r}]",
                "adcx {s0}, {low}",
                "adox {s1}, {high}",
                "mulx {high}, {low}, [rip + {r} + 8]",
                "adcx {s1}, {low}",
                "adox {s2}, {high}",
                "mulx {high}, {low}, [rip + {r} + 16]",
                "adcx {s2}, {low}",
                "adox {s3}, {high}",
                "mulx {high}, {low}, [rip + {r} + 24]",
                "adcx {s3}, {low}",
                "adox {s4}, {high}",
                "adcx {s4}, {zero}",
                "adox {s5}, {zero}",
                "adcx {s5}, {zero}",
                a = in(reg) a.as_ptr(),
                p = in(reg) factor.0.as_ptr(),
                r = sym R_LIMBS,
                s0 = out(reg) _,
                s1 = out(reg) s1,
                s2 = out(reg) s2,
                s3 = out(reg) s3,
                s4 = out(reg) s4,
                s5 = out(reg) s5,
                low = out(reg) _,
                high = out(reg) _,
                zero = out(reg) _,
                out("rdx") _,
                options(pure, readonly, nostack),
            );
        }
        [s1, s2, s3, s4, s5]
    }
}
