//! This file knows how we learn, and let others learn, what was seen of a validator that has just started.
//!
//! Statuses say it to peers. A call reaches the validators that are not connected to the listener through few relays,
//! which are drawn anew each time that it is made. The answers come back the ways that the call went.

use std::collections::BTreeMap;

use ultramarine_types::hearing::{Call, Heard, Hearing};
use ultramarine_types::network::{Fault, NetCommand};
use ultramarine_types::{Address, Height, PeerId, Signature, sign};

use super::{Core, relay};
use crate::peers;
use crate::relay::Draw;

impl Core {
    /// Whether we have listened to enough validators since the start. Time alone proves nothing: a node that is cut off
    /// hears none. Without a quorum nothing can be decided, so waiting for one costs nothing.
    pub(super) fn has_listened(&mut self) -> bool {
        let Some(until) = self.listening_until else { return true };
        let (set, ours) = (&self.config.validators, &self.address);
        // Each input asks. Before there can be enough, none of them looks through all validators. Nor does it while the
        // one that was missing last is missing still.
        let heard_max = self.peers.of_validators_len() + self.hearings.heard().len() + 1;
        let is_missing = || self.hearings.missing().is_some_and(|missing| !self.is_heard(missing));
        if until > self.now && (heard_max < set.len() || is_missing()) {
            return false;
        }
        let mut heard = self.heard();
        heard.insert(*ours, Height::GENESIS);
        let missing = set
            .iter()
            .map(|(address, _)| *address)
            .find(|it| !heard.contains_key(it));
        self.hearings.miss(missing);
        let all = missing.is_none();
        #[cfg(feature = "planted")]
        let all = all && !self.config.plants(crate::Planted::AllListenedOut);
        let is_over = all || until <= self.now && peers::is_quorum(set, heard.keys());
        if is_over {
            self.listening_until = None;
            self.hearings.end();
        }
        is_over
    }

    /// The validators that were heard since the start, and the newest heights that they told: by their statuses, or by
    /// their answers to our call.
    pub(super) fn heard(&self) -> BTreeMap<Address, Height> {
        let mut heard = self.peers.tips_of_validators();
        for (by, tip) in self.hearings.heard() {
            let told = heard.entry(*by).or_default();
            *told = (*told).max(*tip);
        }
        heard
    }

    /// Whether a validator was heard since the start: the same as for [`heard`](Self::heard), of one alone.
    fn is_heard(&self, validator: &Address) -> bool {
        let tells = |peer: &peers::Peer| peer.validator.as_ref() == Some(validator) && peer.status.is_some();
        self.hearings.heard().contains_key(validator) || self.peers.iter().any(|(_, peer)| tells(peer))
    }

    /// Calls if it is time, and somebody was not heard.
    pub(super) fn call(&mut self) {
        if self.listening_until.is_none() || self.hearings.deadline().is_none_or(|at| at > self.now) {
            return;
        }
        if self.has_listened() {
            return;
        }
        if self.hearings.is_due(self.now) {
            for peer in self.peers.of_validators() {
                self.call_to(peer);
            }
        }
    }

    /// A peer has come: it missed our last call, if we have called.
    pub(super) fn greet(&mut self, peer: PeerId, validator: Option<Address>) {
        if validator.is_some() && self.listening_until.is_some() && self.hearings.is_missed() {
            self.call_to(peer);
        }
    }

    fn call_to(&mut self, peer: PeerId) {
        let Some(signer) = &self.signer else { return };
        let (listener, nonce) = (self.address, self.config.nonce);
        let signature = signer.sign(&sign::call(&self.config.chain.identity, &listener, &nonce));
        let call = Call {
            listener,
            nonce,
            signature,
        };
        self.hearing(peer, Hearing::Call(call));
    }

    pub(super) fn on_hearing(&mut self, peer: PeerId, hearing: Hearing) {
        // Strangers have no part in it, and a full node has nothing to say.
        let is_validator = self.peers.get(&peer).is_some_and(|peer| peer.validator.is_some());
        if !is_validator || self.position().is_none() {
            return;
        }
        #[cfg(feature = "planted")]
        if self.config.plants(crate::Planted::CallsUnheard) {
            return;
        }
        match hearing {
            Hearing::Call(call) => self.on_call(peer, call),
            Hearing::Heard(heard) => self.on_heard(peer, heard),
        }
    }

    fn on_call(&mut self, peer: PeerId, call: Call) {
        let Call { listener, nonce, .. } = call;
        if listener == self.address || self.hearings.rests(self.now, &listener, &nonce, &peer) {
            return;
        }
        let bytes = sign::call(&self.config.chain.identity, &listener, &nonce);
        if !self.holds(&listener, &bytes, &call.signature) {
            let fault = Fault::Signature;
            return self.net(NetCommand::Charge { peer, fault });
        }
        let times = self.hearings.bring(self.now, listener, nonce, peer);
        let set = &self.config.validators;
        if let (Some(times), Some(ours), Some(position)) = (times, self.position(), set.index_of(&listener)) {
            // A peer that is connected to the listener has the call, and the listener has its status.
            let far = self.far_from(position, &peer, |_| true);
            for to in relay::drawn(&far, Draw::of_call(&listener, &nonce, times), ours) {
                self.hearing(to, Hearing::Call(call.clone()));
            }
        }
        if self.peers.is_connected(&listener) {
            return;
        }
        let Some(signer) = &self.signer else { return };
        let mut heard = Heard {
            by: self.address,
            listener,
            nonce,
            tip: self.head.height,
            seen: self.seen.get(&listener).cloned(),
            signature: Signature::ZERO,
        };
        heard.signature = signer.sign(&sign::heard(&self.config.chain.identity, &heard));
        self.hearings.answer(&listener, &nonce, heard.by, &peer);
        self.hearing(peer, Hearing::Heard(heard));
    }

    fn on_heard(&mut self, peer: PeerId, heard: Heard) {
        let is_ours = heard.listener == self.address;
        let is_listener = |id: &PeerId| {
            let known = self.peers.get(id);
            known.is_some_and(|known| known.validator == Some(heard.listener))
        };
        let back = self
            .hearings
            .back(&heard.listener, &heard.nonce, &heard.by, is_listener);
        let is_wanted = if is_ours {
            heard.nonce == self.config.nonce && self.listening_until.is_some() && heard.by != self.address
        } else {
            !back.is_empty()
        };
        if !is_wanted {
            return;
        }
        let bytes = sign::heard(&self.config.chain.identity, &heard);
        if !self.holds(&heard.by, &bytes, &heard.signature) {
            let fault = Fault::Signature;
            return self.net(NetCommand::Charge { peer, fault });
        }
        if !is_ours {
            for to in back {
                self.hearings.answer(&heard.listener, &heard.nonce, heard.by, &to);
                if to != peer {
                    self.hearing(to, Hearing::Heard(heard.clone()));
                }
            }
            return;
        }
        // Who brings it cannot help what it says, so nobody is charged for it.
        if let Some(seen) = heard.seen
            && !self.is_known(&seen)
        {
            if seen.signer() != self.address || self.verify(&seen.clone().into_message()).is_err() {
                return;
            }
            self.note_signed(seen);
        }
        self.hearings.note(heard.by, heard.tip);
    }

    fn holds(&mut self, signer: &Address, bytes: &[u8], signature: &Signature) -> bool {
        let Some(validator) = self.config.validators.get(signer) else {
            return false;
        };
        self.verifier.verify(&validator.public_key, bytes, signature)
    }

    fn hearing(&mut self, to: PeerId, hearing: Hearing) {
        self.net(NetCommand::Hearing { to, hearing });
    }
}
