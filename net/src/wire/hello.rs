//! This file knows the first words of a connection: the wire's versions, the chain, the process, and the validator that
//! vouches for it.
//!
//! ```text
//!   lowest u32 │ highest u32 │ chain identity 32 │ upgrades 32 │ fork schedule 32 │ instance u64
//!   │ attested u8 │ validator 32 │ expiry u64 │ signature 64
//! ```
//! All numbers are little-endian. The versions always come first, so that nodes without a common one part with a reason
//! instead of a parse error. A later version may only add fields at the end: a node that does not know them passes them
//! over.

use bytes::{BufMut, Bytes, BytesMut};
use ultramarine_types::canonical::Cursor;
use ultramarine_types::{Address, ChainIdentity, Hash, PeerId, PublicKey, Signature, ValidatorSet, chain};

use crate::bounds::HELLO_BYTES;
use crate::peers::identity::Attestation;
use crate::wire::frame::{FrameKind, frame};
use crate::wire::versions::WireVersions;

/// The version that stands first in the hello of a node of the format before this one, and how long that hello is.
const OLD_VERSION: u32 = 3;
const OLD_HELLO_BYTES: usize = 157;
const _: () = assert!(OLD_HELLO_BYTES < HELLO_BYTES);

/// The first frame of each side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The versions of the wire that the node speaks.
    pub versions: WireVersions,
    pub chain: ChainIdentity,
    pub plans: Plans,
    /// Drawn when the process starts. It tells a restarted peer from a second connection.
    pub instance: u64,
    /// A validator's word for this node; `None` for a full node.
    pub attestation: Option<Attestation>,
}

/// What a node means to change at heights and times to come. Peers may differ while their operators update one after
/// another, and must agree before the first change is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plans {
    /// Hash of the chain's list of upgrades.
    pub upgrades: Hash,
    /// Hash of the execution client's fork schedule.
    pub fork_schedule: Hash,
}

impl Plans {
    /// What differs between two nodes, in words; `None` if nothing does.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        match (
            self.upgrades == other.upgrades,
            self.fork_schedule == other.fork_schedule,
        ) {
            (true, true) => None,
            (false, true) => Some("its list of the chain's upgrades"),
            (true, false) => Some("its execution client's fork schedule"),
            (false, false) => Some("its list of the chain's upgrades and its execution client's fork schedule"),
        }
    }
}

numbered! {
    /// Why a connection ends, as its close code and in words. Both sides log it once.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, thiserror::Error)]
    pub enum Goodbye: u32 {
        #[error("the node is going down")]
        Going = 0,
        #[error("the two nodes have no version of the protocol in common: update the older one")]
        Version = 1,
        #[error("the peer is on another chain: give both nodes the same genesis file")]
        Chain = 2,
        /// The peer speaks the format that came before this one.
        #[error("the peer speaks the old format: update it, and give it the genesis file of a chain of the new format")]
        OldFormat = 3,
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
        #[error(
            "no room for another full node: its operator keeps a place for each that stands in network.peers there"
        )]
        Full = 7,
        /// The peer broke the protocol.
        #[error("the peer broke the protocol")]
        Protocol = 8,
        #[error("this address is our own")]
        Myself = 9,
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
        /// A full node that is not configured came to a node that takes only those that are.
        #[error(
            "it takes only full nodes that it lists: ask its operator to add this one's PEER_ID to network.peers \
             there, or connect to another node"
        )]
        Unlisted = 15,
        /// A full node came to a node that takes none.
        #[error("it takes no full nodes (network.full_nodes = \"none\"): connect to another node")]
        NoFullNodes = 16,
        /// All places are taken, and another peer has a better claim to this one.
        #[error(
            "its places for full nodes are full, and another has a better claim to this one: ask its operator to add \
             this node's PEER_ID to network.peers there, or connect to other nodes as well"
        )]
        GaveWay = 17,
    }
}

/// What a node expects of the other end's hello.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedHello<'a> {
    pub chain: ChainIdentity,
    pub validators: &'a ValidatorSet,
    /// Our wall clock, in Unix seconds.
    pub unix_seconds: u64,
}

impl Hello {
    pub fn frame(&self) -> Bytes {
        let mut body = BytesMut::with_capacity(HELLO_BYTES);
        body.put_u32_le(self.versions.lowest);
        body.put_u32_le(self.versions.highest);
        body.put_slice(&self.chain.0);
        body.put_slice(&self.plans.upgrades.0);
        body.put_slice(&self.plans.fork_schedule.0);
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

    /// Reads a body, and chooses the version that both nodes speak. The error is the reason to part.
    pub fn parse(body: &[u8], ours: WireVersions) -> Result<(Self, u32), Goodbye> {
        let mut fields = Cursor::new(body);
        let lowest = fields.u32().ok_or(Goodbye::Protocol)?;
        if lowest == OLD_VERSION && body.len() == OLD_HELLO_BYTES {
            return Err(Goodbye::OldFormat);
        }
        let highest = fields.u32().ok_or(Goodbye::Protocol)?;
        if highest < lowest {
            return Err(Goodbye::Protocol);
        }
        let versions = WireVersions { lowest, highest };
        let common = versions.common(ours).ok_or(Goodbye::Version)?;
        let hello = Self::read(versions, &mut fields).ok_or(Goodbye::Protocol)?;
        // Fields that we do not know are those of a version that we do not know.
        if !fields.rest().is_empty() && highest <= ours.highest {
            return Err(Goodbye::Protocol);
        }
        Ok((hello, common))
    }

    /// The fields behind the versions.
    fn read(versions: WireVersions, fields: &mut Cursor<'_>) -> Option<Self> {
        let chain = ChainIdentity(fields.array()?);
        let plans = Plans {
            upgrades: Hash(fields.array()?),
            fork_schedule: Hash(fields.array()?),
        };
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
            versions,
            chain,
            plans,
            instance,
            attestation,
        })
    }

    /// Checks a peer's hello. Returns the validator that vouches for the peer, if any.
    pub fn check(&self, peer: &PeerId, expected: &ExpectedHello<'_>) -> Result<Option<Address>, Goodbye> {
        if self.chain != expected.chain {
            return Err(Goodbye::Chain);
        }
        let Some(attestation) = self.attestation else {
            return Ok(None);
        };
        let address = chain::address_of(&attestation.validator);
        let member = expected.validators.get(&address).is_some();
        if !member || !attestation.is_signed(&expected.chain, peer) {
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

    /// Whether the other end would say the same to this node again.
    pub const fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::Full | Self::Crowded | Self::Unlisted | Self::NoFullNodes | Self::GaveWay
        )
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

    const CHAIN: ChainIdentity = ChainIdentity([7; 32]);
    const OURS: WireVersions = WireVersions { lowest: 2, highest: 3 };

    fn hello(secret: u8) -> Hello {
        let key = SigningKey::from_bytes(&[secret; 32]);
        let attestation = Some(Attestation::sign(&key, &CHAIN, &PEER, 1000));
        Hello {
            versions: OURS,
            chain: CHAIN,
            plans: Plans {
                upgrades: Hash([1; 32]),
                fork_schedule: Hash([2; 32]),
            },
            instance: 3,
            attestation,
        }
    }

    fn body(hello: &Hello) -> Vec<u8> {
        hello.frame()[HEADER_BYTES..].to_vec()
    }

    fn check(hello: &Hello, unix_seconds: u64) -> Result<Option<Address>, Goodbye> {
        let validators = validators();
        hello.check(
            &PEER,
            &ExpectedHello {
                chain: CHAIN,
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
            assert_eq!(body(&hello).len(), HELLO_BYTES);
            assert_eq!(Hello::parse(&body(&hello), OURS), Ok((hello, 3)));
        }
    }

    #[test]
    fn a_stranger_to_the_chain_is_told_why() {
        let one = hello(9);
        assert_eq!(check(&one, 0), Ok(Some(*validators().at(0).expect("one").0)));
        let full_node = Hello {
            attestation: None,
            ..one
        };
        assert_eq!(check(&full_node, 0), Ok(None));
        let chain = ChainIdentity([1; 32]);
        assert_eq!(check(&Hello { chain, ..one }, 0), Err(Goodbye::Chain));
        assert_eq!(check(&one, 1000), Err(Goodbye::Expired));
        assert_eq!(check(&hello(8), 0), Err(Goodbye::Attestation), "no member");
        assert_eq!(
            check(&hello(8), 1000),
            Err(Goodbye::Attestation),
            "nobody else's expiry is of interest"
        );
    }

    #[test]
    fn a_validators_word_counts_for_its_own_node_and_chain_only() {
        let key = SigningKey::from_bytes(&[9; 32]);
        let (node, chain) = (PeerId([5; 32]), ChainIdentity([8; 32]));
        let stretched = Attestation {
            expiry: 2000,
            ..Attestation::sign(&key, &CHAIN, &PEER, 1000)
        };
        for attestation in [
            Attestation::sign(&key, &CHAIN, &node, 1000),
            Attestation::sign(&key, &chain, &PEER, 1000),
            stretched,
        ] {
            let shown = Hello {
                attestation: Some(attestation),
                ..hello(9)
            };
            assert_eq!(check(&shown, 0), Err(Goodbye::Attestation));
        }
    }

    #[test]
    fn nodes_without_a_common_version_are_told_so_whatever_follows() {
        let mut bytes = vec![0xff; 40];
        bytes[..4].copy_from_slice(&4u32.to_le_bytes());
        bytes[4..8].copy_from_slice(&9u32.to_le_bytes());
        assert_eq!(Hello::parse(&bytes, OURS), Err(Goodbye::Version));
        assert_eq!(Hello::parse(&[2, 0], OURS), Err(Goodbye::Protocol));
        bytes[4..8].copy_from_slice(&3u32.to_le_bytes());
        assert_eq!(Hello::parse(&bytes, OURS), Err(Goodbye::Protocol), "no range");
    }

    #[test]
    fn a_node_of_the_old_format_is_told_so() {
        let mut bytes = vec![0xff; OLD_HELLO_BYTES];
        bytes[..4].copy_from_slice(&OLD_VERSION.to_le_bytes());
        assert_eq!(Hello::parse(&bytes, OURS), Err(Goodbye::OldFormat));
        assert!(Goodbye::OldFormat.to_string().contains("update it"));
        bytes[..4].copy_from_slice(&4u32.to_le_bytes());
        assert_eq!(Hello::parse(&bytes, OURS), Err(Goodbye::Version), "of another version");
    }

    #[test]
    fn fields_of_a_later_version_are_passed_over_and_ours_are_all_there_are() {
        let later = Hello {
            versions: WireVersions { lowest: 2, highest: 4 },
            ..hello(9)
        };
        let mut bytes = body(&later);
        bytes.extend([7; 20]);
        assert_eq!(Hello::parse(&bytes, OURS), Ok((later, 3)));
        let mut bytes = body(&hello(9));
        bytes.push(0);
        assert_eq!(Hello::parse(&bytes, OURS), Err(Goodbye::Protocol));
    }

    #[test]
    fn a_hello_is_attested_or_not_and_nothing_else() {
        let mut bytes = body(&hello(9));
        let attested = 2 * 4 + 3 * 32 + 8;
        assert_eq!(bytes[attested], 1);
        bytes[attested] = 2;
        assert_eq!(Hello::parse(&bytes, OURS), Err(Goodbye::Protocol));
    }

    #[test]
    fn plans_that_differ_are_named() {
        let plans = hello(9).plans;
        assert_eq!(plans.difference(&plans), None);
        for (upgrades, fork_schedule) in [
            (plans.upgrades, Hash::ZERO),
            (Hash::ZERO, plans.fork_schedule),
            (Hash::ZERO, Hash::ZERO),
        ] {
            let other = Plans {
                upgrades,
                fork_schedule,
            };
            let what = plans.difference(&other).expect("they differ");
            assert_eq!(what.contains("upgrades"), upgrades != plans.upgrades, "{what}");
            assert_eq!(
                what.contains("fork schedule"),
                fork_schedule != plans.fork_schedule,
                "{what}"
            );
        }
    }

    #[test]
    fn every_close_code_has_its_reason() {
        for reason in Goodbye::ALL {
            assert_eq!(Goodbye::of(*reason as u32), Some(*reason));
        }
        assert_eq!(Goodbye::of(99), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2 * HELLO_BYTES)) {
            let _ = Hello::parse(&bytes, OURS);
            let mut versioned = [2u32.to_le_bytes(), 3u32.to_le_bytes()].concat();
            versioned.extend(bytes);
            versioned.truncate(HELLO_BYTES);
            if let Ok((hello, version)) = Hello::parse(&versioned, OURS) {
                prop_assert_eq!(Hello::parse(&body(&hello), OURS), Ok((hello, version)));
            }
        }
    }
}
