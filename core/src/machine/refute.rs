//! This file knows what follows when a value's own blob refutes it: the value is invalid, and its origin proposer
//! signed what convicts it.
//!
//! Wrong bytes never come here: they have another digest, and cost their sender. The value binds this blob, its
//! commitment and its proof, and the network's verdict says that they do not fit each other.

use ultramarine_types::network::{Fault, Flaw, NetCommand};
use ultramarine_types::{Evidence, ValueKey};

use super::Core;
use crate::stop::{DecidedFault, DecidedFlaw, Stop};
use crate::values::Judgement;

impl Core {
    /// An admitted value can never be whole. The fault is in what its id binds, not in anything local.
    pub(super) fn on_flawed(&mut self, key: ValueKey, flaw: Flaw) {
        let Some(value) = self.values.get(&key) else { return };
        if value.init.is_none() || value.is_stored() {
            return;
        }
        let is_condemned = matches!(value.judgement, Judgement::Invalid(_));
        if let Err(why) = self.check_flaw(&key, &flaw) {
            // Our own network made the evidence. What does not convict the proposer is a fault of ours, or of our
            // memory, and says nothing about the value.
            tracing::error!(%key, %flaw, why, "a value is said to be false, and the evidence does not show it");
            return self.net(NetCommand::Rejudge { key });
        }
        if self.sync.certifies(key.height, &key.id) {
            let fault = DecidedFault::Flawed(Box::new(DecidedFlaw::new(key, &flaw)));
            self.keep_evidence(vec![Evidence::Value(flaw.evidence)]);
            return self.stop(Stop::DecidedInvalid(fault));
        }
        if !is_condemned {
            self.condemn(key, flaw.to_string(), Fault::Proof);
        }
        let evidence = Evidence::Value(flaw.evidence);
        let is_near = key.height <= self.current().next();
        if is_near && self.values.refute(key.height, evidence.validator()) {
            self.keep_evidence(vec![evidence]);
        }
    }

    /// Whether the evidence is of this value, bound by it, and signed. That the proof fails is the lanes' word.
    fn check_flaw(&mut self, key: &ValueKey, flaw: &Flaw) -> Result<(), &'static str> {
        let evidence = &flaw.evidence;
        if evidence.init.key() != *key {
            return Err("it is of another value");
        }
        if evidence.index != flaw.index {
            return Err("it is of another blob");
        }
        let timestamp = evidence.init.metadata.header.timestamp;
        if !evidence.is_bound(self.config.chain.params.proofs_per_blob(timestamp)) {
            return Err("the value does not bind the blob");
        }
        self.verify_init(key, &evidence.init)
    }
}
