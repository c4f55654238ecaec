//! Follows the chain, says so, and answers no question. A hollow one claims to hold every value as well.

use std::collections::BTreeSet;

use ultramarine_types::network::Status;
use ultramarine_types::{ConsensusMessage, Nanos};

use super::{Adversary, Means};
use crate::wire::SimFrame;

/// See the file's words.
#[derive(Default)]
pub struct Mute {
    is_hollow: bool,
    /// Those whom it has heard, and what it told one of them last.
    heard: BTreeSet<usize>,
    told: Option<Status>,
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
            SimFrame::Status(status) if self.is_hollow => {
                self.told = Some(status.clone());
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

    fn incoming(&mut self, means: &mut Means<'_>, from: usize, frame: &SimFrame) {
        self.heard.insert(from);
        let SimFrame::Message(ConsensusMessage::Proposal(proposal)) = frame else {
            return;
        };
        if let Some(told) = self.told.as_mut().filter(|_| self.is_hollow) {
            (told.tip, told.holds) = (proposal.height.prev(), vec![proposal.value_id]);
            for peer in &self.heard {
                means.count("hollow-holding");
                means.send_later(Nanos::ZERO, *peer, SimFrame::Status(told.clone()));
            }
        }
    }
}
