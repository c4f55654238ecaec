//! This file knows how a node's store requests reach its disk and how the answers come back.

use ultramarine_core::io::Input;
use ultramarine_core::log::LogRecord;
use ultramarine_types::Evidence;
use ultramarine_types::storage::{StoreReply, StoreRequest};

use super::{Event, World, WorldNotice};
use crate::checks::{CheckOutcome, storage};

impl World {
    pub(crate) fn store_request(&mut self, index: usize, request: StoreRequest) {
        self.trace
            .line(self.now, format_args!("{index} store {}", describe(&request)));
        let (tip, retention) = (
            self.checks.agreement.tip(),
            self.config.chain.blob_retention_heights_min,
        );
        let checked = storage::request(&self.nodes[index].disk, &request, tip, retention);
        self.note(index, checked);
        match &request {
            StoreRequest::Put { assembly, tag } => {
                self.checks.learn(assembly.key.id, &assembly.init);
                let checked = self.checks.agreement.stored(assembly.key, *tag);
                self.note(index, checked);
            }
            StoreRequest::Commit(decision) if self.nodes[index].is_honest() => {
                let checked = self.checks.agreement.commit(
                    decision,
                    &self.validators,
                    &self.config.voting_chain(&self.chain.identity),
                );
                self.note(index, checked);
                let checked = self.admissible(&decision.init);
                self.note(index, checked);
            }
            StoreRequest::LogAppend { record, .. } => {
                let checked = self.check_verdict(index, record);
                self.note(index, checked);
            }
            StoreRequest::Evidence(evidence) if self.nodes[index].is_honest() => {
                for piece in evidence {
                    let checked = self.check_evidence(piece);
                    self.note(index, checked);
                    self.count("evidence-kept");
                }
            }
            _ => {}
        }
        if self.checks.violation.is_some() {
            return;
        }
        let node = &mut self.nodes[index];
        let span = node.disk.submit(self.now, request);
        let life = node.life;
        let checked = self.checks.bounds.store_queue(node.disk.waiting());
        self.note(index, checked);
        if let Some(span) = span {
            self.queue.plan(self.now + span, Event::DiskDone { node: index, life });
        }
    }

    /// A node logs a verdict at the moment it gives it: a yes that no certificate vouches for needs a confirmed head.
    fn check_verdict(&self, index: usize, record: &[u8]) -> CheckOutcome {
        let Ok(LogRecord::Value {
            value_id,
            valid: true,
            synced: false,
            ..
        }) = LogRecord::decode(record)
        else {
            return Ok(());
        };
        match self.checks.values.get(&value_id) {
            Some(init) => self.checks.execution.judged(index, init),
            None => Err(("I4", format!("{value_id:?} is judged and nobody has its metadata"))),
        }
    }

    /// Evidence convicts adversaries only, and of something: an honest node never signs what contradicts it.
    fn check_evidence(&self, evidence: &Evidence) -> CheckOutcome {
        let signer = self
            .nodes
            .iter()
            .position(|node| node.address == Some(evidence.validator()));
        match signer {
            Some(signer) if self.convicts(evidence) && !self.nodes[signer].is_honest() => Ok(()),
            _ => Err((
                "blame",
                format!(
                    "evidence against {signer:?} at height {}: {evidence}",
                    evidence.height()
                ),
            )),
        }
    }

    /// Whether the contents convict: an own blob refutes only what was forged so.
    fn convicts(&self, evidence: &Evidence) -> bool {
        let is_false = match evidence {
            Evidence::Value(value) => self.checks.false_values.contains(&value.init.metadata.id()),
            Evidence::Votes(..) | Evidence::Proposals(..) => true,
        };
        is_false && evidence.is_contradiction(1)
    }

    /// Somebody reads a decided height that may be rotten.
    pub(crate) fn scrub(&mut self, index: usize, height: ultramarine_types::Height) {
        if self.nodes[index].disk.find_rot(height) {
            self.trace.line(self.now, format_args!("{index} finds {height} rotten"));
            self.feed(index, Input::Store(StoreReply::Damaged { height }));
        }
    }

    pub(crate) fn disk_done(&mut self, index: usize) {
        let life = self.nodes[index].life;
        if self.nodes[index].disk.loses_log_now() {
            self.crash(index);
            self.start_later(index);
            return;
        }
        let (replies, span) = self.nodes[index].disk.finish(self.now);
        if let Some(span) = span {
            self.queue.plan(self.now + span, Event::DiskDone { node: index, life });
        }
        for reply in replies {
            if !self.lives(index, life) {
                return;
            }
            if let StoreReply::Committed { height } = &reply {
                self.checks.agreement.acknowledge(index, *height);
            }
            if let StoreReply::Stored { key, .. } = &reply {
                let key = *key;
                self.notices.push(WorldNotice::Stored { node: index, key });
            }
            self.trace
                .line(self.now, format_args!("{index} stored {}", answer(&reply)));
            self.feed(index, Input::Store(reply));
        }
    }
}

fn describe(request: &StoreRequest) -> String {
    match request {
        StoreRequest::Put { assembly, tag } => format!("put {} {tag:?} blobs {}", assembly.key, assembly.blobs.len()),
        StoreRequest::Vouch(certificate) => format!("vouch {}", certificate.height),
        StoreRequest::LogAppend { lsn, record } => format!("append {} {} bytes", lsn.0, record.len()),
        StoreRequest::LogSync { lsn } => format!("sync {}", lsn.0),
        StoreRequest::BeginEpoch { height } => format!("begin {height}"),
        StoreRequest::Commit(decision) => format!("commit {} {:?}", decision.init.key(), decision.blobs),
        StoreRequest::Load { height } => format!("load {height}"),
        StoreRequest::Evidence(evidence) => format!("evidence of {}", evidence.len()),
        StoreRequest::Silence { through } => format!("silence through {through}"),
        StoreRequest::Retire { blobs_below } => format!("retire below {blobs_below}"),
        StoreRequest::Archived { through } => format!("archived through {through}"),
    }
}

fn answer(reply: &StoreReply) -> String {
    match reply {
        StoreReply::Stored { key, tag, .. } => format!("value {key} {tag:?}"),
        StoreReply::Refused { key, .. } => format!("refused {key}"),
        StoreReply::LogDurable { lsn } => format!("log {}", lsn.0),
        StoreReply::EpochBegun(epoch) => format!("epoch {} generation {}", epoch.height, epoch.generation),
        StoreReply::Committed { height } => format!("commit {height}"),
        StoreReply::Loaded { height, value } => format!("loaded {height} {}", value.is_some()),
        StoreReply::Silenced { through } => format!("silent through {through}"),
        StoreReply::EvidenceTaken { .. } => "evidence taken".to_owned(),
        StoreReply::Retired { blobs_below } => format!("retired {blobs_below}"),
        StoreReply::Damaged { height } => format!("damaged {height}"),
        StoreReply::Failed { .. } => "failed".to_owned(),
    }
}
