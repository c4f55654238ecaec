//! The nouns every other crate speaks, and the contracts between them.
//!
//! ```text
//!            NetEvent            VerifyJob / Verdict          StoreRequest / StoreReply
//!   net ───────────────▶ core    net ◀──────▶ kzg-pipeline    {net, core} ◀──────▶ store
//!       ◀───────────────              EngineCall / EngineReply
//!          NetCommand           core ◀────────────────────────▶ engine
//! ```
//!
//! A *value* is what consensus decides: 32 bytes that hash a [`ValueMetadata`]. An [`Init`] is that metadata with the
//! signatures of the validator who first proposed it. [`Lists`] stand behind the metadata's roots. An [`Assembly`] is
//! the whole of a value in memory: metadata, lists, payload bytes, blobs. A [`ValueKey`] (height and value id) names it
//! everywhere; rounds never do, because a value streamed in one round may be decided in another.
//!
//! Nothing here does I/O, waits, or decides a policy, and unsafe code is forbidden below.
#![forbid(unsafe_code)]
// What is archived here comes from peers.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)
)]

pub mod assembly;
pub mod canonical;
pub mod chain;
pub mod consensus;
pub mod digest;
pub mod evidence;
pub mod execution;
#[doc(hidden)]
pub mod fixtures;
pub mod hearing;
pub mod host;
pub mod ids;
pub mod limits;
pub mod lists;
pub mod machine;
pub mod network;
pub mod package;
pub mod positions;
pub mod sidecar;
pub mod sign;
pub mod stage;
pub mod storage;
pub mod url;
pub mod value;
pub mod verify;

pub use assembly::Assembly;
pub use chain::{Chain, ChainParams, Validator, ValidatorSet};
pub use consensus::{
    CommitCertificate, ConsensusMessage, PolkaCertificate, Proposal, RoundCertificate, Vote, VoteKind,
};
pub use evidence::Evidence;
pub use ids::{
    Address, ChainIdentity, Hash, Height, KzgCommitment, KzgProof, Lsn, Nonce, PeerId, PublicKey, Round, Signature,
    ValueId, ValueKey,
};
pub use lists::{ListKind, Lists};
pub use machine::{Machine, Nanos, Outbox};
pub use positions::Positions;
pub use stage::Stage;
pub use value::{ExecutionHeader, Init, Roots, ValueMetadata};
