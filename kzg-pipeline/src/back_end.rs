//! This file knows which back ends there are, by name, and makes the verifier of each.

use std::sync::Arc;

use crate::ckzg::CKzg;
use crate::fast::Fast;
use crate::verifier::Verifier;

/// Which back end judges.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BackEnd {
    /// Our own, on blst's primitives.
    #[default]
    Fast,
    /// The reference implementation's batch call.
    CKzg,
}

impl BackEnd {
    pub const ALL: [Self; 2] = [Self::Fast, Self::CKzg];

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::CKzg => "c-kzg",
        }
    }
}

impl std::str::FromStr for BackEnd {
    type Err = UnknownBackEnd;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|back_end| back_end.name() == text)
            .ok_or(UnknownBackEnd)
    }
}

/// A configured name that no back end has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no such verifier")]
pub struct UnknownBackEnd;

/// A verifier, warm: the trusted setup is loaded and checked, so that the first blob waits for nothing.
///
/// Panics if the setup compiled into this binary is not the one of Ethereum's ceremony.
pub fn verifier(back_end: BackEnd) -> Arc<dyn Verifier> {
    match back_end {
        BackEnd::Fast => Arc::new(Fast::new()),
        BackEnd::CKzg => Arc::new(CKzg::new()),
    }
}
