//! This file knows a job on its way through the lanes, and which account it is for.

use ultramarine_types::verify::VerifyJob;
use ultramarine_types::{Hash, ValueKey};

use crate::claim::Claim;

/// Names an account. It differs from the name of any other, also from one of the same value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name {
    /// Position in the lanes' list of clients.
    pub client: usize,
    pub key: ValueKey,
    pub(crate) life: u64,
}

/// A job with the account that it was sent for.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub name: Name,
    /// Whether it shall be opened if its bytes are right. If not, it is hashed alone.
    pub is_wanted: bool,
    pub job: VerifyJob,
}

impl Ticket {
    /// What the job claims.
    pub fn claim(&self) -> Claim<'_> {
        Claim::of(&self.job)
    }

    /// Whether bytes of this digest are what the job asks for.
    pub fn is_right(&self, digest: &Hash) -> bool {
        self.job.digest.is_none_or(|wanted| wanted == *digest)
    }
}
