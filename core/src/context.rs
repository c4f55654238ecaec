//! This file knows our chain in Malachite's terms: addresses, heights, votes, proposals and who proposes when.
//!
//! Malachite's value is just the value's 32-byte id: its bytes never pass through consensus. Most types here are
//! new-types, because both the traits and the wire types belong to other crates.

use std::fmt;
use std::sync::Arc;

use malachitebft_core_types as malachite;
use malachitebft_core_types::{LinearTimeouts, NilOrVal, Round as MRound, SignedExtension, VoteType};
use ultramarine_types::{Address, Height, PublicKey, Signature, ValidatorSet, ValueId};

/// The chain, as Malachite's generic parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ctx;

/// A height that Malachite can count with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CtxHeight(pub Height);

impl fmt::Display for CtxHeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl malachite::Height for CtxHeight {
    const ZERO: Self = Self(Height(0));
    const INITIAL: Self = Self(Height(1));

    fn increment_by(&self, n: u64) -> Self {
        Self(Height(self.0.0.saturating_add(n)))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.0.checked_sub(n).map(|height| Self(Height(height)))
    }

    fn as_u64(&self) -> u64 {
        self.0.0
    }
}

/// An address that Malachite can compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CtxAddress(pub Address);

impl fmt::Display for CtxAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl malachite::Address for CtxAddress {}

/// The value consensus decides: nothing but its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CtxValue(pub ValueId);

impl malachite::Value for CtxValue {
    type Id = ValueId;

    fn id(&self) -> ValueId {
        self.0
    }
}

/// A validator as Malachite sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CtxValidator {
    address: CtxAddress,
    public_key: PublicKey,
    power: u64,
}

impl malachite::Validator<Ctx> for CtxValidator {
    fn address(&self) -> &CtxAddress {
        &self.address
    }

    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn voting_power(&self) -> u64 {
        self.power
    }
}

/// The validator set behind one reference: Malachite clones it into every verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CtxValidatorSet(Arc<Members>);

#[derive(Debug, PartialEq, Eq)]
struct Members {
    set: Arc<ValidatorSet>,
    validators: Vec<CtxValidator>,
}

impl CtxValidatorSet {
    /// Wraps the chain's set; positions stay those of address order.
    pub fn new(set: Arc<ValidatorSet>) -> Self {
        let validators = set
            .iter()
            .map(|(address, validator)| CtxValidator {
                address: CtxAddress(*address),
                public_key: validator.public_key,
                power: validator.power,
            })
            .collect();
        Self(Arc::new(Members { set, validators }))
    }
}

impl malachite::ValidatorSet<Ctx> for CtxValidatorSet {
    fn count(&self) -> usize {
        self.0.validators.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.0.set.total_power()
    }

    fn get_by_address(&self, address: &CtxAddress) -> Option<&CtxValidator> {
        let index = self.0.set.index_of(&address.0)?;
        self.0.validators.get(index as usize)
    }

    fn get_by_index(&self, index: usize) -> Option<&CtxValidator> {
        self.0.validators.get(index)
    }
}

/// The unsigned part of a vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CtxVote {
    pub kind: VoteType,
    pub height: CtxHeight,
    pub round: MRound,
    /// The value voted for, or nil.
    pub value: NilOrVal<ValueId>,
    pub voter: CtxAddress,
    extension: Option<SignedExtension<Ctx>>,
}

impl malachite::Vote<Ctx> for CtxVote {
    fn height(&self) -> CtxHeight {
        self.height
    }

    fn round(&self) -> MRound {
        self.round
    }

    fn value(&self) -> &NilOrVal<ValueId> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<ValueId> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &CtxAddress {
        &self.voter
    }

    fn extension(&self) -> Option<&SignedExtension<Ctx>> {
        self.extension.as_ref()
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Ctx>> {
        self.extension.take()
    }

    fn extend(self, extension: SignedExtension<Ctx>) -> Self {
        Self {
            extension: Some(extension),
            ..self
        }
    }
}

/// The unsigned part of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CtxProposal {
    pub height: CtxHeight,
    pub round: MRound,
    pub value: CtxValue,
    /// Round of the polka the proposer saw, or nil.
    pub pol_round: MRound,
    pub proposer: CtxAddress,
}

impl malachite::Proposal<Ctx> for CtxProposal {
    fn height(&self) -> CtxHeight {
        self.height
    }

    fn round(&self) -> MRound {
        self.round
    }

    fn value(&self) -> &CtxValue {
        &self.value
    }

    fn take_value(self) -> CtxValue {
        self.value
    }

    fn pol_round(&self) -> MRound {
        self.pol_round
    }

    fn validator_address(&self) -> &CtxAddress {
        &self.proposer
    }
}

/// Malachite wants a part type. Our parts travel outside consensus, so this one is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPart {}

impl malachite::ProposalPart<Ctx> for NoPart {
    fn is_first(&self) -> bool {
        match *self {}
    }

    fn is_last(&self) -> bool {
        match *self {}
    }
}

/// ed25519 with keys and signatures as plain bytes; [`crate::signing`] does the arithmetic, with keys decoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEd25519;

impl malachite::SigningScheme for RawEd25519 {
    type DecodingError = std::array::TryFromSliceError;
    type Signature = Signature;
    type PublicKey = PublicKey;
    /// Keys never enter Malachite.
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<Signature, Self::DecodingError> {
        bytes.try_into().map(Signature)
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<PublicKey, Self::DecodingError> {
        bytes.try_into().map(PublicKey)
    }

    fn encode_public_key(public_key: &PublicKey) -> Vec<u8> {
        public_key.0.to_vec()
    }
}

impl malachite::Context for Ctx {
    type Address = CtxAddress;
    type Height = CtxHeight;
    type ProposalPart = NoPart;
    type Proposal = CtxProposal;
    type Validator = CtxValidator;
    type ValidatorSet = CtxValidatorSet;
    type Timeouts = LinearTimeouts;
    type Value = CtxValue;
    type Vote = CtxVote;
    type Extension = ();
    type SigningScheme = RawEd25519;

    fn select_proposer<'a>(&self, set: &'a CtxValidatorSet, height: CtxHeight, round: MRound) -> &'a CtxValidator {
        let round = ultramarine_types::Round(round.as_u32().unwrap_or(0));
        let address = set.0.set.proposer(height.0, round);
        let index = set.0.set.index_of(address).map(|index| index as usize);
        let validator = index.and_then(|index| set.0.validators.get(index));
        validator.expect("the elected proposer is a member")
    }

    fn new_proposal(
        &self,
        height: CtxHeight,
        round: MRound,
        value: CtxValue,
        pol_round: MRound,
        proposer: CtxAddress,
    ) -> CtxProposal {
        CtxProposal {
            height,
            round,
            value,
            pol_round,
            proposer,
        }
    }

    fn new_prevote(&self, height: CtxHeight, round: MRound, value: NilOrVal<ValueId>, voter: CtxAddress) -> CtxVote {
        CtxVote {
            kind: VoteType::Prevote,
            height,
            round,
            value,
            voter,
            extension: None,
        }
    }

    fn new_precommit(&self, height: CtxHeight, round: MRound, value: NilOrVal<ValueId>, voter: CtxAddress) -> CtxVote {
        CtxVote {
            kind: VoteType::Precommit,
            height,
            round,
            value,
            voter,
            extension: None,
        }
    }
}
