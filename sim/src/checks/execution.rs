//! I9 and I13: what the execution client must have said before a node proposes or prevotes a value.

use std::collections::BTreeSet;

use ultramarine_types::execution::{EngineReply, Executed, PayloadStatus};
use ultramarine_types::{Hash, Init};

use super::CheckOutcome;

/// What each node's execution client confirmed, over all lives.
#[derive(Default, Debug)]
pub struct ExecutionCheck {
    /// Blocks answered `VALID` to a payload, built ones included.
    executed: BTreeSet<(usize, Hash)>,
    /// Heads answered `VALID` with their own hash to a forkchoice update.
    confirmed: BTreeSet<(usize, Hash)>,
    /// Blocks once called `INVALID` by a node's own client.
    refused: BTreeSet<(usize, Hash)>,
}

impl ExecutionCheck {
    /// A reply is about to be told to a node's core. `block`: of the value that `Execute` was about, `parent` block of
    /// a `Build`.
    pub fn replied(&mut self, node: usize, reply: &EngineReply, block: Option<Hash>) {
        match reply {
            EngineReply::Forkchoice {
                head,
                status: PayloadStatus::Valid { latest },
            } if *latest == Some(*head) => {
                self.confirmed.insert((node, *head));
            }
            EngineReply::Built { result: Ok(built), .. } => {
                self.executed.insert((node, built.header.block_hash));
            }
            EngineReply::Executed {
                outcome: Executed::Answered(PayloadStatus::Valid { .. }),
                ..
            } => {
                self.executed.extend(block.map(|hash| (node, hash)));
            }
            EngineReply::Executed {
                outcome: Executed::Answered(PayloadStatus::Invalid { .. }),
                ..
            } => {
                self.refused.extend(block.map(|hash| (node, hash)));
            }
            EngineReply::Imported {
                payload, forkchoice, ..
            } => {
                if matches!(payload, PayloadStatus::Valid { .. }) {
                    self.executed.extend(block.map(|hash| (node, hash)));
                }
                if let PayloadStatus::Valid { latest } = forkchoice
                    && *latest == block
                {
                    self.confirmed.extend(block.map(|hash| (node, hash)));
                }
            }
            _ => {}
        }
    }

    /// A node says yes to a value for the first time: it proposes it or prevotes for it.
    pub fn accepted(&self, node: usize, init: &Init) -> CheckOutcome {
        let header = &init.metadata.header;
        if !self.executed.contains(&(node, header.block_hash)) {
            return Err((
                "I13",
                format!("{} is accepted and its payload was not executed here", init.key()),
            ));
        }
        if !self.confirmed.contains(&(node, header.parent_hash)) {
            return Err((
                "I9",
                format!(
                    "{} is accepted and the head below it was not confirmed here",
                    init.key()
                ),
            ));
        }
        Ok(())
    }

    /// Whether a node's own client once called a block invalid.
    pub fn refused(&self, node: usize, hash: &Hash) -> bool {
        self.refused.contains(&(node, *hash))
    }
}
