//! This file knows how a node's calls reach its execution client and how the answers come back.

use ultramarine_core::io::Input;
use ultramarine_types::Hash;
use ultramarine_types::execution::{EngineCall, EngineReply};

use super::{Event, World};

impl World {
    pub(crate) fn engine_call(&mut self, index: usize, call: EngineCall) {
        let node = &mut self.nodes[index];
        let latency = node.el.latency(self.now, &call);
        let mut at = self.now + latency;
        // Forkchoice updates keep their order.
        if matches!(call, EngineCall::Forkchoice { .. } | EngineCall::Import { .. }) {
            at = at.max(node.forkchoice_until);
            node.forkchoice_until = at;
        }
        let (life, el_life) = (node.life, node.el.life());
        self.trace
            .line(self.now, format_args!("{index} engine {}", describe(&call)));
        self.queue.plan(
            at,
            Event::EngineDone {
                node: index,
                life,
                el_life,
                call: Box::new(call),
            },
        );
    }

    pub(crate) fn engine_done(&mut self, index: usize, el_life: u32, call: EngineCall) {
        let block: Option<Hash> = match &call {
            EngineCall::Execute { init, .. } | EngineCall::Import { init, .. } => Some(init.metadata.header.block_hash),
            _ => None,
        };
        let reply = self.nodes[index].el.answer(self.now, el_life, call, &self.config.chain);
        self.trace
            .line(self.now, format_args!("{index} engine answers {}", answer(&reply)));
        self.checks.execution.replied(index, &reply, block);
        self.feed(index, Input::Engine(reply));
    }
}

fn describe(call: &EngineCall) -> String {
    match call {
        EngineCall::Forkchoice { head, height } => format!("forkchoice {height} {head:?}"),
        EngineCall::Build {
            height,
            round,
            timestamp,
            ..
        } => format!("build {height}/{round} at {timestamp}"),
        EngineCall::Execute { key, .. } => format!("execute {key}"),
        EngineCall::Inspect { key, .. } => format!("inspect {key}"),
        EngineCall::Import { height, .. } => format!("import {height}"),
        EngineCall::Newest => "newest".to_owned(),
    }
}

fn answer(reply: &EngineReply) -> String {
    match reply {
        EngineReply::Forkchoice { status, .. } => format!("forkchoice {status:?}"),
        EngineReply::Built { height, round, result } => format!(
            "built {height}/{round} {}",
            match result {
                Ok(built) => format!("{:?} blobs {}", built.header.block_hash, built.blobs.len()),
                Err(reason) => reason.clone(),
            }
        ),
        EngineReply::Executed { key, outcome } => format!("executed {key} {outcome:?}"),
        EngineReply::Inspected { key, result } => format!("inspected {key} {result:?}"),
        EngineReply::Imported {
            height,
            payload,
            forkchoice,
        } => format!("imported {height} {payload:?} {forkchoice:?}"),
        EngineReply::Newest { number } => format!("newest {number:?}"),
    }
}
