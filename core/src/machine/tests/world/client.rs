//! A scripted execution client, and the blocks that it builds.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ultramarine_types::canonical::Canonical;
use ultramarine_types::execution::{Built, EngineCall, EngineReply, Executed, ParentBlock, PayloadStatus};
use ultramarine_types::{
    Address, ExecutionHeader, Hash, Height, KzgCommitment, KzgProof, Lists, Nanos, Round, fixtures,
};

use super::{GENESIS, World};
use crate::Input;
use crate::rules::{EMPTY_ROOT, GAS_PER_BLOB, PREV_RANDAO};

/// The scripted execution client of one node.
#[derive(Clone, Debug)]
pub struct Client {
    pub known: BTreeSet<Hash>,
    pub blocks: BTreeMap<Hash, u64>,
    pub executed: BTreeSet<Hash>,
    pub syncing: bool,
    /// Answers `ACCEPTED` to every new payload, and yet confirms it as head.
    pub accepts: bool,
    /// Confirms heads without naming them.
    pub nameless: bool,
    /// Calls the block of this height invalid when it is to be imported.
    pub condemns: Option<Height>,
    /// Calls this block invalid when it is to be executed.
    pub rejects: Option<Hash>,
    /// Calls the next block of this height invalid when it is to be executed, and that one ever after.
    pub rejects_height: Option<Height>,
    pub blobs: usize,
    /// How long a build takes.
    pub build_micros: u64,
}

impl Client {
    fn know(&mut self, header: &ExecutionHeader) {
        self.known.insert(header.block_hash);
        self.executed.insert(header.block_hash);
        self.blocks.insert(header.block_hash, header.number);
    }

    fn execute(&mut self, header: &ExecutionHeader) -> PayloadStatus {
        if self.syncing || !self.known.contains(&header.parent_hash) {
            return PayloadStatus::Syncing;
        }
        self.know(header);
        if self.accepts {
            return PayloadStatus::Accepted;
        }
        PayloadStatus::Valid {
            latest: Some(header.block_hash),
        }
    }

    fn confirm(&self, head: &Hash) -> PayloadStatus {
        if self.syncing || !self.known.contains(head) {
            return PayloadStatus::Syncing;
        }
        let latest = (!self.nameless).then_some(*head);
        PayloadStatus::Valid { latest }
    }

    /// A restart of an in-memory client.
    pub fn lose_everything(&mut self) {
        self.known = BTreeSet::from([GENESIS]);
        self.blocks = BTreeMap::from([(GENESIS, 0)]);
        self.executed.clear();
    }
}

impl World {
    pub(super) fn engine(&mut self, node: usize, call: EngineCall) {
        let now = self.now;
        let client = &mut self.nodes[node].client;
        let micros = match call {
            EngineCall::Build { .. } => client.build_micros,
            _ => 3000,
        };
        let reply = match call {
            EngineCall::Forkchoice { head, .. } => {
                let status = client.confirm(&head);
                EngineReply::Forkchoice { head, status }
            }
            EngineCall::Build {
                height,
                round,
                parent,
                parent_beacon_block_root,
                timestamp,
            } => {
                let (blobs, accepts) = (client.blobs, client.accepts);
                let mut built = build(node, height, round, &parent, timestamp, blobs, now);
                built.header.parent_beacon_block_root = parent_beacon_block_root;
                client.know(&built.header);
                (self.spoil)(node, height, round, &mut built);
                self.nodes[node].builds.push((height, round));
                let result = match accepts {
                    true => Err("the execution client answers newPayload of its own block with ACCEPTED".to_owned()),
                    false => Ok(Box::new(built)),
                };
                EngineReply::Built { height, round, result }
            }
            EngineCall::Execute { key, init, .. } => {
                if client.rejects_height.take_if(|height| *height == key.height).is_some() {
                    client.rejects = Some(init.metadata.header.block_hash);
                }
                let header = &init.metadata.header;
                let status = if client.rejects == Some(header.block_hash) {
                    PayloadStatus::Invalid {
                        latest: None,
                        reason: "bad state root".to_owned(),
                    }
                } else {
                    client.execute(header)
                };
                EngineReply::Executed {
                    key,
                    outcome: Executed::Answered(status),
                }
            }
            EngineCall::Inspect { key, .. } => EngineReply::Inspected { key, result: Ok(()) },
            EngineCall::Import { height, init, .. } => {
                let payload = if client.condemns == Some(height) {
                    PayloadStatus::Invalid {
                        latest: None,
                        reason: "bad state root".to_owned(),
                    }
                } else {
                    client.execute(&init.metadata.header)
                };
                let forkchoice = match &payload {
                    PayloadStatus::Invalid { .. } => payload.clone(),
                    _ => client.confirm(&init.metadata.header.block_hash),
                };
                EngineReply::Imported {
                    height,
                    payload,
                    forkchoice,
                }
            }
            EngineCall::Newest => EngineReply::Newest {
                number: client.blocks.values().max().copied(),
            },
        };
        self.deliver(node, micros, Input::Engine(reply));
    }
}

/// A block that keeps every rule at the first height; the moment makes it unlike any other.
pub fn build(
    node: usize,
    height: Height,
    round: Round,
    parent: &ParentBlock,
    timestamp: u64,
    blobs: usize,
    now: Nanos,
) -> Built {
    let block_hash = Canonical::new("test/block")
        .u64(node as u64)
        .height(height)
        .round(round)
        .hash(&parent.hash)
        .u64(timestamp)
        .u64(now.0)
        .sha256();
    let payload = Bytes::from(block_hash.0.to_vec());
    let header = ExecutionHeader {
        parent_hash: parent.hash,
        fee_recipient: Address([9; 20]),
        state_root: block_hash,
        transactions_root: EMPTY_ROOT,
        receipts_root: EMPTY_ROOT,
        gas_used: 21_000,
        timestamp,
        prev_randao: PREV_RANDAO,
        withdrawals_root: EMPTY_ROOT,
        blob_gas_used: blobs as u64 * GAS_PER_BLOB,
        block_hash,
        ..fixtures::header(parent.number + 1)
    };
    let blobs = vec![Bytes::from_static(&[0; 8]); blobs];
    let numbered = blobs.iter().zip(1..);
    let lists = Lists::of(
        &payload,
        numbered.map(|(blob, number)| (&blob[..], KzgCommitment([number; 48]))),
        vec![KzgProof::ZERO; blobs.len()],
    );
    Built {
        header,
        payload,
        lists,
        blobs,
    }
}
