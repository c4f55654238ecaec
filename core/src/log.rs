//! This file knows the bytes of the consensus log's records.
//!
//! ```text
//! record  = version u8 (2) | tag u8 | body            all integers little-endian, fixed width
//! vote      1 | kind u8 | height u64 | round u32 | id? | voter 20 | signature 64
//! proposal  2 | height u64 | round u32 | id 32 | round? | proposer 20 | signature 64
//! timeout   3 | kind u8 | round u32
//! value     4 | height u64 | round u32 | round? | proposer 20 | id 32 | valid u8 | synced u8
//! polka     5 | height u64 | round u32 | id 32 | count u32 | (address 20, signature 64)*
//! chosen    6 | height u64 | round u32 | id 32
//! repeated  7 | height u64 | round u32 | id 32
//! x?        = present u8 | x if present
//! ```
//!
//! The store frames records with length, generation, sequence and checksum. So a record that does not decode is not
//! damaged, but of another version, and the caller stops.

use bytes::Bytes;
use malachitebft_core_consensus::{Input, ProposedValue};
use malachitebft_core_types::{Round as MRound, Timeout, TimeoutKind, Validity, ValueOrigin};
use ultramarine_types::canonical::{Cursor, FORMAT_VERSION};
use ultramarine_types::consensus::CertificateSignature;
use ultramarine_types::{
    Address, Height, PolkaCertificate, Proposal, Round, Signature, ValueId, Vote, VoteKind, limits,
};

use crate::context::{Ctx, CtxAddress, CtxHeight, CtxValue};
use crate::convert;

const VERSION: u8 = 2;
const _: () = assert!(VERSION as u32 == FORMAT_VERSION, "all formats of ours have one version");

/// The step that timed out. The other timers are never logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeoutStep {
    /// Waiting for a proposal.
    Propose,
    /// Waiting for more prevotes.
    Prevote,
    /// Waiting for more precommits.
    Precommit,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogRecord {
    /// A vote, ours or another's.
    Vote(Vote),
    /// A proposal, ours or another's.
    Proposal(Proposal),
    Timeout {
        step: TimeoutStep,
        round: Round,
    },
    /// Consensus heard about a value.
    Value {
        height: Height,
        /// The round for which it heard.
        round: Round,
        /// The valid round, if any.
        valid_round: Option<Round>,
        /// The proposer that was named with it.
        proposer: Address,
        value_id: ValueId,
        valid: bool,
        /// Whether a commit certificate vouched for it. Such a record is not replayed: the certificate comes again.
        synced: bool,
    },
    /// A polka certificate from a peer.
    Polka(PolkaCertificate),
    /// We built this value for this round and signed its `Init`. Every `GetValue` of that round gets this choice.
    Chosen {
        height: Height,
        round: Round,
        value_id: ValueId,
    },
    /// We propose this value of an earlier round once more in this round. Every `GetValue` of that round gets this
    /// choice. No `Init` was signed for it in this round.
    Repeated {
        height: Height,
        round: Round,
        value_id: ValueId,
    },
}

/// Why bytes are no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LogRecordError {
    /// Another version of this program wrote it.
    #[error("record version {0}; this program reads version {VERSION}")]
    Version(u8),
    /// A tag or flag outside the format.
    #[error("byte {0} is none of the format's tags")]
    Tag(u8),
    /// The bytes end early.
    #[error("the record ends early")]
    Short,
    /// Bytes are left behind the record.
    #[error("{0} bytes are left behind the record")]
    Long(usize),
    /// A list above its bound.
    #[error("a list of {0} entries")]
    List(u32),
}

impl LogRecord {
    /// The record of an input that Malachite wants logged; `None` for an input that is never logged.
    pub fn of_input(input: &Input<Ctx>) -> Option<Self> {
        match input {
            Input::Vote(vote) => Some(Self::Vote(convert::vote_from(&vote.message, vote.signature))),
            Input::Proposal(proposal) => Some(Self::Proposal(convert::proposal_from(
                &proposal.message,
                proposal.signature,
            ))),
            Input::PolkaCertificate(polka) => Some(Self::Polka(convert::polka_from(polka))),
            Input::TimeoutElapsed(timeout) => {
                let step = match timeout.kind {
                    TimeoutKind::Propose => TimeoutStep::Propose,
                    TimeoutKind::Prevote => TimeoutStep::Prevote,
                    TimeoutKind::Precommit => TimeoutStep::Precommit,
                    TimeoutKind::Rebroadcast | TimeoutKind::FinalizeHeight(_) => return None,
                };
                Some(Self::Timeout {
                    step,
                    round: convert::round_from(timeout.round)?,
                })
            }
            Input::ProposedValue(value, origin) => Some(Self::Value {
                height: value.height.0,
                round: convert::round_from(value.round)?,
                valid_round: convert::round_from(value.valid_round),
                proposer: value.proposer.0,
                value_id: value.value.0,
                valid: value.validity.is_valid(),
                synced: origin.is_sync(),
            }),
            Input::StartHeight(..) | Input::RoundCertificate(_) | Input::Propose(_) | Input::SyncValueResponse(_) => {
                None
            }
        }
    }

    /// The input to replay; `None` for a record that is only our own state.
    pub fn to_input(&self) -> Option<Input<Ctx>> {
        match self {
            Self::Vote(vote) => Some(Input::Vote(convert::vote_to(vote))),
            Self::Proposal(proposal) => Some(Input::Proposal(convert::proposal_to(proposal))),
            Self::Polka(polka) => Some(Input::PolkaCertificate(convert::polka_to(polka))),
            Self::Timeout { step, round } => {
                let round = convert::round_to(*round);
                Some(Input::TimeoutElapsed(match step {
                    TimeoutStep::Propose => Timeout::propose(round),
                    TimeoutStep::Prevote => Timeout::prevote(round),
                    TimeoutStep::Precommit => Timeout::precommit(round),
                }))
            }
            Self::Value { synced: true, .. } | Self::Chosen { .. } | Self::Repeated { .. } => None,
            Self::Value {
                height,
                round,
                valid_round,
                proposer,
                value_id,
                valid,
                synced: false,
            } => {
                let value = ProposedValue {
                    height: CtxHeight(*height),
                    round: convert::round_to(*round),
                    valid_round: valid_round.map_or(MRound::Nil, convert::round_to),
                    proposer: CtxAddress(*proposer),
                    value: CtxValue(*value_id),
                    validity: Validity::from_bool(*valid),
                };
                Some(Input::ProposedValue(value, ValueOrigin::Consensus))
            }
        }
    }

    /// The height the record is of; `None` for a timeout, which names only its round.
    pub fn height(&self) -> Option<Height> {
        match self {
            Self::Vote(vote) => Some(vote.height),
            Self::Proposal(proposal) => Some(proposal.height),
            Self::Timeout { .. } => None,
            Self::Value { height, .. } | Self::Chosen { height, .. } | Self::Repeated { height, .. } => Some(*height),
            Self::Polka(polka) => Some(polka.height),
        }
    }

    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(160);
        out.push(VERSION);
        match self {
            Self::Vote(vote) => {
                out.push(1);
                out.push(match vote.kind {
                    VoteKind::Prevote => 1,
                    VoteKind::Precommit => 2,
                });
                out.extend_from_slice(&vote.height.0.to_le_bytes());
                out.extend_from_slice(&vote.round.0.to_le_bytes());
                put_optional(&mut out, vote.value_id.as_ref().map(|id| &id.0[..]));
                out.extend_from_slice(&vote.voter.0);
                out.extend_from_slice(&vote.signature.0);
            }
            Self::Proposal(proposal) => {
                out.push(2);
                out.extend_from_slice(&proposal.height.0.to_le_bytes());
                out.extend_from_slice(&proposal.round.0.to_le_bytes());
                out.extend_from_slice(&proposal.value_id.0);
                put_optional(
                    &mut out,
                    proposal
                        .valid_round
                        .map(|round| round.0.to_le_bytes())
                        .as_ref()
                        .map(|b| &b[..]),
                );
                out.extend_from_slice(&proposal.proposer.0);
                out.extend_from_slice(&proposal.signature.0);
            }
            Self::Timeout { step, round } => {
                out.push(3);
                out.push(match step {
                    TimeoutStep::Propose => 1,
                    TimeoutStep::Prevote => 2,
                    TimeoutStep::Precommit => 3,
                });
                out.extend_from_slice(&round.0.to_le_bytes());
            }
            Self::Value {
                height,
                round,
                valid_round,
                proposer,
                value_id,
                valid,
                synced,
            } => {
                out.push(4);
                out.extend_from_slice(&height.0.to_le_bytes());
                out.extend_from_slice(&round.0.to_le_bytes());
                put_optional(
                    &mut out,
                    valid_round.map(|round| round.0.to_le_bytes()).as_ref().map(|b| &b[..]),
                );
                out.extend_from_slice(&proposer.0);
                out.extend_from_slice(&value_id.0);
                out.push(u8::from(*valid));
                out.push(u8::from(*synced));
            }
            Self::Polka(polka) => {
                out.push(5);
                out.extend_from_slice(&polka.height.0.to_le_bytes());
                out.extend_from_slice(&polka.round.0.to_le_bytes());
                out.extend_from_slice(&polka.value_id.0);
                let count = polka.signatures.len();
                // The reader refuses a longer list.
                assert!(
                    count <= limits::VALIDATORS_MAX,
                    "a verified certificate has one entry a member"
                );
                let count = u32::try_from(count).expect("there are few validators");
                out.extend_from_slice(&count.to_le_bytes());
                for signed in &polka.signatures {
                    out.extend_from_slice(&signed.address.0);
                    out.extend_from_slice(&signed.signature.0);
                }
            }
            Self::Chosen {
                height,
                round,
                value_id,
            } => {
                out.push(6);
                put_choice(&mut out, *height, *round, value_id);
            }
            Self::Repeated {
                height,
                round,
                value_id,
            } => {
                out.push(7);
                put_choice(&mut out, *height, *round, value_id);
            }
        }
        Bytes::from(out)
    }

    /// Reads a record; never panics, whatever the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogRecordError> {
        let mut fields = Fields(Cursor::new(bytes));
        let version = fields.u8()?;
        if version != VERSION {
            return Err(LogRecordError::Version(version));
        }
        let record = match fields.u8()? {
            1 => {
                let kind = match fields.u8()? {
                    1 => VoteKind::Prevote,
                    2 => VoteKind::Precommit,
                    other => return Err(LogRecordError::Tag(other)),
                };
                Self::Vote(Vote {
                    kind,
                    height: fields.height()?,
                    round: fields.round()?,
                    value_id: if fields.flag()? {
                        Some(ValueId(fields.array()?))
                    } else {
                        None
                    },
                    voter: Address(fields.array()?),
                    signature: Signature(fields.array()?),
                })
            }
            2 => Self::Proposal(Proposal {
                height: fields.height()?,
                round: fields.round()?,
                value_id: ValueId(fields.array()?),
                valid_round: fields.optional_round()?,
                proposer: Address(fields.array()?),
                signature: Signature(fields.array()?),
            }),
            3 => {
                let step = match fields.u8()? {
                    1 => TimeoutStep::Propose,
                    2 => TimeoutStep::Prevote,
                    3 => TimeoutStep::Precommit,
                    other => return Err(LogRecordError::Tag(other)),
                };
                Self::Timeout {
                    step,
                    round: fields.round()?,
                }
            }
            4 => Self::Value {
                height: fields.height()?,
                round: fields.round()?,
                valid_round: fields.optional_round()?,
                proposer: Address(fields.array()?),
                value_id: ValueId(fields.array()?),
                valid: fields.flag()?,
                synced: fields.flag()?,
            },
            5 => {
                let (height, round, value_id) = (fields.height()?, fields.round()?, ValueId(fields.array()?));
                let count = fields.u32()?;
                if count as usize > limits::VALIDATORS_MAX {
                    return Err(LogRecordError::List(count));
                }
                let mut signatures = Vec::with_capacity(count as usize);
                for _ in 0..count {
                    let address = Address(fields.array()?);
                    signatures.push(CertificateSignature {
                        address,
                        signature: Signature(fields.array()?),
                    });
                }
                Self::Polka(PolkaCertificate {
                    height,
                    round,
                    value_id,
                    signatures,
                })
            }
            6 => Self::Chosen {
                height: fields.height()?,
                round: fields.round()?,
                value_id: ValueId(fields.array()?),
            },
            7 => Self::Repeated {
                height: fields.height()?,
                round: fields.round()?,
                value_id: ValueId(fields.array()?),
            },
            other => return Err(LogRecordError::Tag(other)),
        };
        if fields.0.rest().is_empty() {
            Ok(record)
        } else {
            Err(LogRecordError::Long(fields.0.rest().len()))
        }
    }
}

fn put_choice(out: &mut Vec<u8>, height: Height, round: Round, id: &ValueId) {
    out.extend_from_slice(&height.0.to_le_bytes());
    out.extend_from_slice(&round.0.to_le_bytes());
    out.extend_from_slice(&id.0);
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            out.push(1);
            out.extend_from_slice(bytes);
        }
    }
}

/// The cursor over a record's bytes; bytes that end early are an error of the record.
struct Fields<'a>(Cursor<'a>);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], LogRecordError> {
        self.0.array().ok_or(LogRecordError::Short)
    }

    fn u8(&mut self) -> Result<u8, LogRecordError> {
        self.0.u8().ok_or(LogRecordError::Short)
    }

    fn u32(&mut self) -> Result<u32, LogRecordError> {
        self.0.u32().ok_or(LogRecordError::Short)
    }

    fn flag(&mut self) -> Result<bool, LogRecordError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(LogRecordError::Tag(other)),
        }
    }

    fn height(&mut self) -> Result<Height, LogRecordError> {
        self.0.u64().map(Height).ok_or(LogRecordError::Short)
    }

    fn round(&mut self) -> Result<Round, LogRecordError> {
        self.u32().map(Round)
    }

    fn optional_round(&mut self) -> Result<Option<Round>, LogRecordError> {
        if self.flag()? { self.round().map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
#[path = "log/tests.rs"]
mod tests;
