//! Follows the chain, says so, and answers no question. A hollow one claims to hold every value as well.

use ultramarine_types::ValueId;

use super::{Adversary, Means};
use crate::wire::SimFrame;

/// See the file's words.
#[derive(Default)]
pub struct Mute {
    is_hollow: bool,
    /// The value that the newest proposal names.
    named: Vec<ValueId>,
}

impl Mute {
    /// One that claims to hold every value.
    pub fn hollow() -> Self {
        Self {
            is_hollow: true,
            ..Self::default()
        }
    }
}

impl Adversary for Mute {
    fn outgoing(&mut self, means: &mut Means<'_>, _to: usize, frame: SimFrame) -> Vec<SimFrame> {
        match frame {
            SimFrame::Status(mut status) if self.is_hollow => {
                means.count("hollow-holding");
                for id in &self.named {
                    if !status.holds.contains(id) {
                        status.holds.push(*id);
                    }
                }
                vec![SimFrame::Status(status)]
            }
            SimFrame::PackageBlob { .. } => vec![],
            SimFrame::SyncAnswer { .. }
            | SimFrame::Package { .. }
            | SimFrame::NotHeld { .. }
            | SimFrame::Begin { answers: true, .. } => {
                means.count("unanswered");
                vec![]
            }
            other => vec![other],
        }
    }

    fn incoming(&mut self, frame: &SimFrame) {
        if let SimFrame::Message(ultramarine_types::ConsensusMessage::Proposal(proposal)) = frame {
            self.named = vec![proposal.value_id];
        }
    }
}
