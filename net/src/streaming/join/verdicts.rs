//! This file knows what a verdict does: right bytes fill their place, wrong ones cost their sender, and what the lanes
//! say of a whole value completes it or ends it.

use ultramarine_types::network::{Fault, NetEvent};
use ultramarine_types::storage::Tag;
use ultramarine_types::verify::{ValueOutcome, Verdict, VerifyRequest};
use ultramarine_types::{Nanos, Outbox, PeerId, ValueKey};

use super::{Join, State, Stream};
use crate::bounds;
use crate::streaming::contract::{Completed, Output, StopReason};
#[cfg(feature = "planted")]
use crate::streaming::planted::JoinBug;
use crate::streaming::value::Pending;

impl Join {
    pub(super) fn verdict(&mut self, now: Nanos, verdict: Verdict, out: &mut Outbox<Output>) {
        match verdict {
            Verdict::Part {
                key,
                index,
                sender: Some(sender),
                is_right,
                ..
            } => self.part_judged(now, key, index, sender, is_right, out),
            // A bundle of our own client is the engine's.
            Verdict::Part { sender: None, .. } => {}
            Verdict::Value { key, outcome } => self.value_judged(now, key, outcome, out),
        }
    }

    fn part_judged(
        &mut self,
        now: Nanos,
        key: ValueKey,
        index: u16,
        sender: PeerId,
        is_right: bool,
        out: &mut Outbox<Output>,
    ) {
        let Some(judging) = self.unjudged.take(key, index, sender) else {
            return;
        };
        #[cfg(feature = "planted")]
        let is_right = is_right || self.plants(JoinBug::DigestUnchecked);
        if !is_right {
            self.cut_off(key, sender, out);
            self.tell_if_stuck(key, sender, out);
        } else if let Some(blob) = judging.blob {
            if let Some(value) = self.values.get_mut(&key) {
                value.fill(usize::from(index), blob);
            }
            self.settle_value(now, key, out);
        } else if self.values.get(&key).is_some_and(|value| value.reserved.is_some()) {
            // Its bytes were dropped when the value lost its room. Its sender may have brought them again meanwhile:
            // they were passed over, and must be asked for.
            self.tell_if_stuck(key, sender, out);
        }
        self.read_on(now, out);
    }

    /// Charges the sender of wrong bytes, whether it is still here or not, and takes no more of the value from it.
    fn cut_off(&mut self, key: ValueKey, sender: PeerId, out: &mut Outbox<Output>) {
        let fault = Fault::Part;
        out.push(Output::Charge {
            peer: sender,
            fault,
            key,
        });
        let is_its = |stream: &Stream| stream.key == key && stream.peer == sender && stream.state == State::Active;
        self.stop_where(is_its, &StopReason::Fault(fault), out);
    }

    fn value_judged(&mut self, now: Nanos, key: ValueKey, outcome: ValueOutcome, out: &mut Outbox<Output>) {
        let Some(value) = self.values.get_mut(&key) else { return };
        match outcome {
            // A fact about the id: it is kept if the value was parked meanwhile.
            ValueOutcome::Holds => value.hold(),
            // That one is compared with the lists, and dropped if they are gone: the lanes will say it again.
            ValueOutcome::Fails { index, why, proof } => {
                if !value.refute(index, why, &proof) {
                    return self.withheld(now, key, "a blob's proof changed while it was kept", out);
                }
            }
            ValueOutcome::Withheld { why } => return self.withheld(now, key, why, out),
        }
        self.settle_value(now, key, out);
    }

    /// The lanes could say nothing, by a fault of our own. The bytes may be what is broken: they are dropped, and
    /// fetched anew after a pause.
    fn withheld(&mut self, now: Nanos, key: ValueKey, why: &'static str, out: &mut Outbox<Output>) {
        out.push(Output::Alarm { key, why });
        let owner = self.values.get(&key).and_then(|value| value.reserved);
        let Some((peer, _)) = owner else { return };
        self.stop_streams(key, &StopReason::Busy, out);
        self.park(key, out);
        self.later.push_back((now + bounds::REFETCH_PAUSE, key, peer));
        self.start_queued(now, out);
    }

    /// The core finds no flaw where we found one: a fault of our own. The value is wanted again, with other bytes, as
    /// after a verdict that was withheld.
    pub(super) fn rejudge(&mut self, now: Nanos, key: ValueKey, out: &mut Outbox<Output>) {
        let Some(peer) = self.values.get_mut(&key).and_then(Pending::take_back) else {
            return;
        };
        let why = "the evidence of a flaw does not show it";
        out.push(Output::Alarm { key, why });
        self.later.push_back((now + bounds::REFETCH_PAUSE, key, peer));
    }

    /// Completes a value if it is whole, or gives it up if its own proof does not hold.
    pub(super) fn settle_value(&mut self, now: Nanos, key: ValueKey, out: &mut Outbox<Output>) {
        let Some(value) = self.values.get_mut(&key) else { return };
        if value.is_hopeless() {
            return;
        }
        if let Some(flaw) = value.flaw() {
            // It is never stored and never `Valid`. Whoever relayed it could not help it.
            value.give_up();
            self.park(key, out);
            out.push(Output::Ask(NetEvent::Flawed { key, flaw }));
        } else if value.is_whole() {
            let (streamed, verified, tag) = (value.streamed(), value.verified(now), value.tag);
            let (assembly, init) = (value.assemble(), value.init.clone());
            self.let_go(key, out);
            if tag != Tag::Restored {
                self.done.insert(key, init);
            }
            while self.done.len() > bounds::DONE_MAX {
                self.done.pop_first();
            }
            out.push(Output::Complete(Box::new(Completed {
                assembly,
                tag,
                streamed,
                verified,
            })));
        } else {
            return;
        }
        self.stop_streams(key, &StopReason::Complete, out);
        self.start_queued(now, out);
    }

    /// Drops all bytes of a value, and keeps its admission.
    pub(super) fn park(&mut self, key: ValueKey, out: &mut Outbox<Output>) {
        if let Some(value) = self.values.get_mut(&key) {
            value.park();
        }
        self.leave_lanes(key, out);
    }

    /// Forgets a value.
    pub(super) fn let_go(&mut self, key: ValueKey, out: &mut Outbox<Output>) {
        self.leave_lanes(key, out);
        self.values.remove(&key);
    }

    /// No verdict about a value is wanted now, except who sent wrong bytes.
    fn leave_lanes(&mut self, key: ValueKey, out: &mut Outbox<Output>) {
        self.joining.remove(&key);
        self.unjudged.drop_bytes(key);
        if let Some(value) = self.values.get_mut(&key)
            && std::mem::take(&mut value.is_at_lanes)
        {
            out.push(Output::Verify(VerifyRequest::Forget(key)));
        }
    }
}
