//! This file knows how a validator that has just started learns what others have seen of it, also from those that are
//! not connected to it.
//!
//! It calls, and whoever hears the call answers. Both travel from validator to validator. The nonce shows that an
//! answer is younger than the start, and its signature who gave it.

use rkyv::{Archive, Deserialize, Serialize};

use crate::consensus::SignedMessage;
use crate::ids::{Address, Height, Nonce, Signature};

/// A validator that has just started asks what was seen of it.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct Call {
    pub listener: Address,
    /// Drawn at its start.
    pub nonce: Nonce,
    /// Signs the bytes of [`crate::sign::call`].
    pub signature: Signature,
}

/// A validator has heard a call.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct Heard {
    /// Who heard it.
    pub by: Address,
    /// The call's.
    pub listener: Address,
    /// The call's.
    pub nonce: Nonce,
    /// The newest height that `by` has decided.
    pub tip: Height,
    /// The newest message of the listener that `by` has seen, if any. Its own signature proves it.
    pub seen: Option<SignedMessage>,
    /// Signs the bytes of [`crate::sign::heard`].
    pub signature: Signature,
}

#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub enum Hearing {
    Call(Call),
    Heard(Heard),
}
