//! I9 and I13: what the execution client must have said before a node proposes or prevotes a value.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::execution::{EngineReply, Executed, PayloadStatus};
use ultramarine_types::{Hash, Init};

use super::CheckOutcome;

/// What each node's execution client said.
#[derive(Default, Debug)]
pub struct ExecutionCheck {
    /// Blocks answered `VALID` to a payload, built ones included, over all lives.
    executed: BTreeSet<(usize, Hash)>,
    /// The head that the client confirmed with its last answer to a forkchoice update: `VALID`, with its own hash.
    confirmed: BTreeMap<usize, Hash>,
    /// Blocks once called `INVALID` by a node's own client.
    refused: BTreeSet<(usize, Hash)>,
}

impl ExecutionCheck {
    /// A reply is about to be told to a node's core. `block`: of the value that `Execute` was about, `parent` block of
    /// a `Build`.
    pub fn replied(&mut self, node: usize, reply: &EngineReply, block: Option<Hash>) {
        match reply {
            EngineReply::Forkchoice { head, status } => self.note_head(node, *head, status),
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
                if let Some(head) = block {
                    self.note_head(node, head, forkchoice);
                }
            }
            _ => {}
        }
    }

    fn note_head(&mut self, node: usize, head: Hash, status: &PayloadStatus) {
        match status {
            PayloadStatus::Valid { latest } if *latest == Some(head) => self.confirmed.insert(node, head),
            _ => self.confirmed.remove(&node),
        };
    }

    /// A node's process starts: nothing that its client said to an earlier one counts.
    pub fn started(&mut self, node: usize) {
        self.confirmed.remove(&node);
    }

    /// A node gives its first verdict about a value, and says yes. Its client confirms our head now.
    pub fn judged(&self, node: usize, init: &Init) -> CheckOutcome {
        let parent = init.metadata.header.parent_hash;
        if self.confirmed.get(&node) == Some(&parent) {
            return Ok(());
        }
        let what = format!(
            "{} is called valid, and the client does not confirm the head below it now",
            init.key()
        );
        Err(("I9", what))
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
        Ok(())
    }

    /// Whether a node's own client once called a block invalid.
    pub fn refused(&self, node: usize, hash: &Hash) -> bool {
        self.refused.contains(&(node, *hash))
    }
}
