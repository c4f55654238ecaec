//! This file knows how the project names things: fixed-size identifiers and the numbers that order them.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

/// Declares a fixed-size byte array newtype that prints as `0x…` hex and archives as plain bytes.
macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $bytes:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
        #[rkyv(derive(Debug))]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// The identifier of all zero bytes.
            pub const ZERO: Self = Self([0; $bytes]);
            pub const BYTES: usize = $bytes;

            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Eight hex digits are enough to tell two apart in a log line.
                write!(f, concat!(stringify!($name), "({}…)"), hex::encode(&self.0[..4]))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }

        impl std::str::FromStr for $name {
            type Err = hex::FromHexError;

            /// Reads hex, with or without `0x`.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

byte_id!(
    /// Drawn by a validator at its start, so that answers to its call are younger than that.
    Nonce,
    32
);
byte_id!(
    /// A 256-bit hash: SHA-256 unless the field says keccak.
    Hash, 32
);
byte_id!(
    /// Tells a chain from every other, its own past included: [`Chain::new`](crate::chain::Chain::new) computes it.
    /// Every signature and every value id binds it.
    ChainIdentity, 32
);
byte_id!(
    /// The value consensus decides: [`ValueMetadata::id`](crate::ValueMetadata::id).
    ValueId, 32
);
byte_id!(
    /// A validator: the first 20 bytes of SHA-256 of its ed25519 public key.
    Address, 20
);
byte_id!(
    /// An ed25519 public key.
    PublicKey, 32
);
byte_id!(
    /// An ed25519 signature over bytes that [`crate::sign`] lays out.
    Signature, 64
);
byte_id!(
    /// A node on the network, named by the ed25519 key of its QUIC identity.
    PeerId, 32
);
byte_id!(
    /// A compressed G1 point that commits to a blob (EIP-4844).
    KzgCommitment, 48
);
byte_id!(
    /// A compressed G1 point that proves a blob's evaluation (EIP-4844).
    KzgProof, 48
);

impl From<ValueId> for Hash {
    fn from(id: ValueId) -> Self {
        Self(id.0)
    }
}

/// A block height; the first block after genesis has height 1.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Default,
    Archive,
    Serialize,
    Deserialize,
    serde::Serialize,
    serde::Deserialize,
)]
#[rkyv(derive(Debug))]
#[serde(transparent)]
pub struct Height(pub u64);

impl Height {
    /// The execution genesis; nothing is decided at it.
    pub const GENESIS: Self = Self(0);

    /// The height after this one; saturates, as no chain gets there.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The height before this one; genesis for genesis.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A consensus round within a height, from 0.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Default,
    Archive,
    Serialize,
    Deserialize,
    serde::Serialize,
    serde::Deserialize,
)]
#[rkyv(derive(Debug))]
#[serde(transparent)]
pub struct Round(pub u32);

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A position in the consensus log: the count of records appended so far in this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lsn(pub u64);

/// What everything about a proposal is keyed by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct ValueKey {
    /// The height the value is for.
    pub height: Height,
    pub id: ValueId,
}

impl fmt::Display for ValueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/0x{}", self.height, hex::encode(&self.id.0[..4]))
    }
}
