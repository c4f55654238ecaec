//! I8: no signed message leaves before the record that justifies it is durable, and nothing signed is ever
//! contradicted, over all lives of a node.

use std::collections::BTreeMap;

use ultramarine_types::{ConsensusMessage, Height, Init, Round, Signature, ValueId, VoteKind};

use super::CheckOutcome;
use crate::disk::Disk;

/// What a node said at one step.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Said {
    value_id: Option<ValueId>,
    valid_round: Option<Round>,
}

/// The steps of a round in which a node signs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SignedStep {
    Init,
    Proposal,
    Prevote,
    Precommit,
}

/// Every message that every honest node ever signed and sent.
#[derive(Default, Debug)]
pub struct Signing {
    said: BTreeMap<(usize, Height, Round, SignedStep), Said>,
}

impl Signing {
    /// A node sends a consensus message of its own; answers whether it is said for the first time.
    pub fn sent(
        &mut self,
        node: usize,
        message: &ConsensusMessage,
        disk: &Disk,
    ) -> Result<bool, (&'static str, String)> {
        match message {
            ConsensusMessage::Vote(vote) => {
                let step = match vote.kind {
                    VoteKind::Prevote => SignedStep::Prevote,
                    VoteKind::Precommit => SignedStep::Precommit,
                };
                let said = Said {
                    value_id: vote.value_id,
                    valid_round: None,
                };
                self.say(node, (vote.height, vote.round, step), said, &vote.signature, disk)
            }
            ConsensusMessage::Proposal(proposal) => {
                let said = Said {
                    value_id: Some(proposal.value_id),
                    valid_round: proposal.valid_round,
                };
                self.say(
                    node,
                    (proposal.height, proposal.round, SignedStep::Proposal),
                    said,
                    &proposal.signature,
                    disk,
                )
            }
            ConsensusMessage::Polka(_) | ConsensusMessage::Round(_) => Ok(false),
        }
    }

    /// A node streams a value of its own making.
    pub fn streamed(&mut self, node: usize, init: &Init, disk: &Disk) -> CheckOutcome {
        let metadata = &init.metadata;
        let said = Said {
            value_id: Some(metadata.id()),
            valid_round: None,
        };
        self.say(
            node,
            (metadata.height, metadata.origin_round, SignedStep::Init),
            said,
            &init.signature,
            disk,
        )
        .map(|_| ())
    }

    /// How many distinct messages were signed.
    pub fn count(&self) -> usize {
        self.said.len()
    }

    /// The newest height at which a node has signed.
    pub fn newest(&self, node: usize) -> Option<Height> {
        self.said
            .keys()
            .filter(|(other, ..)| *other == node)
            .map(|(_, height, ..)| *height)
            .max()
    }

    fn say(
        &mut self,
        node: usize,
        (height, round, step): (Height, Round, SignedStep),
        said: Said,
        signature: &Signature,
        disk: &Disk,
    ) -> Result<bool, (&'static str, String)> {
        if let Some(before) = self.said.get(&(node, height, round, step)) {
            if *before != said {
                return Err((
                    "I8",
                    format!("{step:?} of {height}/{round} says {said:?} and said {before:?}"),
                ));
            }
            return Ok(false);
        }
        // The signature is in the record of the message itself; an origin signature may be recorded by its value's id.
        let justified = disk.log_holds(&signature.0)
            || said
                .value_id
                .is_some_and(|id| step == SignedStep::Init && disk.log_holds(&id.0));
        if !justified {
            return Err((
                "I8",
                format!("{step:?} of {height}/{round} leaves and no durable record justifies it"),
            ));
        }
        self.said.insert((node, height, round, step), said);
        Ok(true)
    }
}
