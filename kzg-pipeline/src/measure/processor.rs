//! This file knows how to measure as a lesser processor would do the work: by the code that we would choose there, and
//! with `c-kzg` held to it as well.

use crate::challenge::{HashPath, WithoutExtension};
use crate::evaluate::EvaluationPath;
use crate::fast::Fast;
use crate::group::PointPath;

/// A kind of processor that this one can play.
///
/// The code plays it: ours takes the paths that it would take there, and `c-kzg` and blst do without the SHA extension.
/// The clock, the caches and the width of the units stay this processor's. So ratios carry over, and microseconds do
/// not. The `eip4844` crate finds the SHA extension by itself and keeps it. So does the `sha2` crate, by which ours
/// hashes one or two blobs. Batches of one or two are therefore not measured where the extension should be missing.
/// `scalar` hashes by blst instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Processor {
    /// This one, with all it has.
    #[default]
    Here,
    /// AVX-512 with IFMA and no SHA extension.
    Avx512Ifma,
    /// AVX-512 without either: Skylake-SP to Cascade Lake.
    Avx512,
    /// AVX2 and the SHA extension: Zen 1 to Zen 3.
    Avx2Sha,
    /// AVX2 alone: Haswell to Coffee Lake.
    Avx2,
    /// No vectors at all, but `mulx` and `adx`.
    Scalar,
}

impl Processor {
    /// All, the ablest first.
    pub const ALL: [Self; 6] = [
        Self::Here,
        Self::Avx512Ifma,
        Self::Avx512,
        Self::Avx2Sha,
        Self::Avx2,
        Self::Scalar,
    ];

    /// The name in commands and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Avx512Ifma => "avx512-ifma",
            Self::Avx512 => "avx512",
            Self::Avx2Sha => "avx2-sha",
            Self::Avx2 => "avx2",
            Self::Scalar => "scalar",
        }
    }

    /// Our verifier as it would be there; `None` if this processor lacks what that one has.
    pub(super) fn verifier(self) -> Option<Fast> {
        let fast = Fast::new();
        let (hashing, evaluating, points) = match self {
            Self::Here => return Some(fast),
            Self::Avx512Ifma => ("avx512 ×16", "ifma", "ifma"),
            Self::Avx512 => ("avx512 ×16", "avx512 doubles", "avx512"),
            Self::Avx2Sha => ("sha-ni ×2", "avx2", "blst"),
            Self::Avx2 => ("avx2 ×8", "avx2", "blst"),
            Self::Scalar => ("blst", "mulx", "blst"),
        };
        let hashing = HashPath::all().into_iter().find(|path| path.name() == hashing)?;
        let evaluating = EvaluationPath::all()
            .into_iter()
            .find(|path| path.name() == evaluating)?;
        let points = PointPath::all().into_iter().find(|path| path.name() == points)?;
        Some(fast.by(hashing, evaluating, points))
    }

    /// Whether it has the SHA extension, where this one has it.
    const fn has_extension(self) -> bool {
        matches!(self, Self::Here | Self::Avx2Sha)
    }

    /// Whether batches of `blobs` blobs can be measured as that processor would do them.
    pub(super) const fn can_play(self, blobs: usize) -> bool {
        blobs > 2 || self.has_extension() || matches!(self, Self::Scalar)
    }

    /// If that processor has no SHA extension, takes it from blst, and so from `c-kzg`, while the result lives.
    pub(super) fn play(self) -> Option<WithoutExtension> {
        (!self.has_extension()).then(WithoutExtension::begin)
    }
}
