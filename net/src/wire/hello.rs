//! This file knows the first words of a connection: the chain, the process, and the validator that vouches for it.
//!
//! ```text
//!   version u32 │ chain id u64 │ genesis 32 │ instance u64 │ attested u8 │ validator 32 │ expiry u64 │ signature 64
//! ```
//! All numbers are little-endian. `version` always comes first, so that nodes of different versions part with a reason
//! instead of a parse error.

use bytes::{BufMut, Bytes, BytesMut};
use ultramarine_types::canonical::Cursor;
use ultramarine_types::{Address, Hash, PeerId, PublicKey, Signature, ValidatorSet, chain};

use crate::bounds::{HELLO_BYTES, WIRE_VERSION};
use crate::peers::identity::Attestation;
use crate::wire::frame::{FrameKind, frame};

/// The first frame of each side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Version of the wire.
    pub version: u32,
    pub chain_id: u64,
    /// Hash of the consensus genesis.
    pub genesis_hash: Hash,
    /// Drawn when the process starts. It tells a restarted peer from a second connection.
    pub instance: u64,
    /// A validator's word for this node; `None` for a full node.
    pub attestation: Option<Attestation>,
}

numbered! {
    /// Why a connection ends, as its close code and in words. Both sides log it once.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, thiserror::Error)]
    pub enum Goodbye: u32 {
        #[error("the node is going down")]
        Going = 0,
        /// Versions of the wire differ.
        #[error("the peer speaks another version of the protocol")]
        Version = 1,
        #[error("the peer is on another chain id")]
        Chain = 2,
        #[error("the peer has another genesis")]
        Genesis = 3,
        /// The attestation is not by a validator of the chain, or does not verify.
        #[error("the validator's attestation of the node key does not hold")]
        Attestation = 4,
        /// The peer is banned for its score.
        #[error("the peer is banned for a while for its faults")]
        Banned = 5,
        /// The two nodes have a better connection already.
        #[error("there is a connection already")]
        Duplicate = 6,
        /// No room for another peer of this class.
        #[error("no room for another peer")]
        Full = 7,
        /// The peer broke the protocol.
        #[error("the peer broke the protocol")]
        Protocol = 8,
        #[error("this address is our own")]
        Myself = 9,
        /// The peer does not take its messages in time.
        #[error("the peer does not take its messages")]
        Slow = 10,
        /// No hello came in time.
        #[error("no hello came in time")]
        Silent = 11,
        /// Another node answers at the address of a configured peer.
        #[error("another node answers at this address")]
        Stranger = 12,
        /// The validator that attests it has as many nodes connected as it may.
        #[error("the validator's nodes that are connected already are as many as it may have")]
        Crowded = 13,
        /// The attestation has expired by the closer's clock. The text of the close frame is a
        /// [`crate::wire::lapse::Lapse`].
        #[error("the validator's attestation of the node key has expired")]
        Expired = 14,
    }
}

/// What a node expects of the other end's hello.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedHello<'a> {
    pub chain_id: u64,
    pub genesis_hash: Hash,
    pub validators: &'a ValidatorSet,
    /// Our wall clock, in Unix seconds.
    pub unix_seconds: u64,
}

impl Hello {
    pub fn frame(&self) -> Bytes {
        let mut body = BytesMut::with_capacity(HELLO_BYTES);
        body.put_u32_le(self.version);
        body.put_u64_le(self.chain_id);
        body.put_slice(&self.genesis_hash.0);
        body.put_u64_le(self.instance);
        body.put_u8(u8::from(self.attestation.is_some()));
        let nobody = Attestation {
            validator: PublicKey::ZERO,
            expiry: 0,
            signature: Signature::ZERO,
        };
        let attestation = self.attestation.unwrap_or(nobody);
        body.put_slice(&attestation.validator.0);
        body.put_u64_le(attestation.expiry);
        body.put_slice(&attestation.signature.0);
        frame(FrameKind::Hello, &body)
    }

    /// Reads a body. The error is the reason to part.
    pub fn parse(body: &[u8]) -> Result<Self, Goodbye> {
        let mut fields = Cursor::new(body);
        let version = fields.u32().ok_or(Goodbye::Protocol)?;
        if version != WIRE_VERSION {
            return Err(Goodbye::Version);
        }
        Self::read(version, fields)
            .filter(|_| body.len() == HELLO_BYTES)
            .ok_or(Goodbye::Protocol)
    }

    /// The fields behind the version.
    fn read(version: u32, mut fields: Cursor<'_>) -> Option<Self> {
        let chain_id = fields.u64()?;
        let genesis_hash = Hash(fields.array()?);
        let instance = fields.u64()?;
        let attested = fields.u8()?;
        let attestation = Attestation {
            validator: PublicKey(fields.array()?),
            expiry: fields.u64()?,
            signature: Signature(fields.array()?),
        };
        let attestation = match attested {
            0 => None,
            1 => Some(attestation),
            _ => return None,
        };
        Some(Self {
            version,
            chain_id,
            genesis_hash,
            instance,
            attestation,
        })
    }

    /// Checks a peer's hello. Returns the validator that vouches for the peer, if any.
    pub fn check(&self, peer: &PeerId, expected: &ExpectedHello<'_>) -> Result<Option<Address>, Goodbye> {
        if self.chain_id != expected.chain_id {
            return Err(Goodbye::Chain);
        }
        if self.genesis_hash != expected.genesis_hash {
            return Err(Goodbye::Genesis);
        }
        let Some(attestation) = self.attestation else {
            return Ok(None);
        };
        let address = chain::address_of(&attestation.validator);
        let member = expected.validators.get(&address).is_some();
        if !member || !attestation.is_signed(expected.chain_id, &expected.genesis_hash, peer) {
            Err(Goodbye::Attestation)
        } else if attestation.expiry <= expected.unix_seconds {
            Err(Goodbye::Expired)
        } else {
            Ok(Some(address))
        }
    }
}

impl Goodbye {
    /// The reason that the code of a close frame names.
    pub fn of_code(code: u64) -> Option<Self> {
        Self::of(u32::try_from(code).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;
    use ultramarine_types::Validator;

    use super::*;
    use crate::wire::frame::HEADER_BYTES;

    const PEER: PeerId = PeerId([4; 32]);

    fn validators() -> ValidatorSet {
        let public_key = PublicKey(SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes());
        ValidatorSet::new(vec![Validator { public_key, power: 1 }]).expect("one validator is a set")
    }

    fn hello(secret: u8) -> Hello {
        let key = SigningKey::from_bytes(&[secret; 32]);
        let attestation = Some(Attestation::sign(&key, 5, &Hash([7; 32]), &PEER, 1000));
        Hello {
            version: WIRE_VERSION,
            chain_id: 5,
            genesis_hash: Hash([7; 32]),
            instance: 3,
            attestation,
        }
    }

    fn check(hello: &Hello, unix_seconds: u64) -> Result<Option<Address>, Goodbye> {
        let validators = validators();
        let genesis_hash = Hash([7; 32]);
        hello.check(
            &PEER,
            &ExpectedHello {
                chain_id: 5,
                genesis_hash,
                validators: &validators,
                unix_seconds,
            },
        )
    }

    #[test]
    fn a_hello_comes_back_as_it_was_sent() {
        for hello in [
            hello(9),
            Hello {
                attestation: None,
                ..hello(9)
            },
        ] {
            assert_eq!(Hello::parse(&hello.frame()[HEADER_BYTES..]), Ok(hello));
        }
    }

    #[test]
    fn a_stranger_to_the_chain_is_told_why() {
        assert_eq!(check(&hello(9), 0), Ok(Some(*validators().at(0).expect("one").0)));
        assert_eq!(
            check(
                &Hello {
                    attestation: None,
                    ..hello(9)
                },
                0
            ),
            Ok(None)
        );
        assert_eq!(
            check(
                &Hello {
                    chain_id: 6,
                    ..hello(9)
                },
                0
            ),
            Err(Goodbye::Chain)
        );
        assert_eq!(
            check(
                &Hello {
                    genesis_hash: Hash([1; 32]),
                    ..hello(9)
                },
                0
            ),
            Err(Goodbye::Genesis)
        );
        assert_eq!(check(&hello(9), 1000), Err(Goodbye::Expired));
        assert_eq!(check(&hello(8), 0), Err(Goodbye::Attestation), "no member");
        assert_eq!(
            check(&hello(8), 1000),
            Err(Goodbye::Attestation),
            "nobody else's expiry is of interest"
        );
    }

    #[test]
    fn another_version_is_named_whatever_follows_it() {
        let mut body = vec![0xff; 40];
        body[..4].copy_from_slice(&(WIRE_VERSION + 1).to_le_bytes());
        assert_eq!(Hello::parse(&body), Err(Goodbye::Version));
        assert_eq!(Hello::parse(&[1, 0]), Err(Goodbye::Protocol));
    }

    #[test]
    fn every_close_code_has_its_reason() {
        for (code, reason) in (0..).zip(Goodbye::ALL) {
            assert_eq!(Goodbye::of(code), Some(*reason));
        }
        assert_eq!(Goodbye::of(99), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2 * HELLO_BYTES)) {
            let _ = Hello::parse(&bytes);
            let mut versioned = WIRE_VERSION.to_le_bytes().to_vec();
            versioned.extend(bytes);
            versioned.truncate(HELLO_BYTES);
            if let Ok(hello) = Hello::parse(&versioned) {
                prop_assert_eq!(Hello::parse(&hello.frame()[HEADER_BYTES..]), Ok(hello));
            }
        }
    }
}
