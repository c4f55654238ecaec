//! Repeats the calls of all starts that it has heard of, for ever, and neither votes nor answers a call.
//!
//! It can make up no call of another validator: it has those that the validator made at its earlier starts. The newest
//! call is among them, so it repeats that one as well, at moments of its own.

use std::collections::BTreeMap;

use ultramarine_types::hearing::{Call, Hearing};
use ultramarine_types::{Address, Nanos, Nonce};

use super::{Adversary, Means};
use crate::wire::SimFrame;

/// A little longer than anybody lets a call rest: each is passed on.
const PAUSE: Nanos = Nanos::from_millis(405);
/// It has planned so much at a time.
const REPEATS: u64 = 5;

/// See the file's words.
#[derive(Default)]
pub struct OldCaller {
    heard: BTreeMap<(Address, Nonce), Call>,
    /// Until when it has planned what it says to each node.
    until: BTreeMap<usize, Nanos>,
}

impl Adversary for OldCaller {
    fn outgoing(&mut self, means: &mut Means<'_>, to: usize, frame: SimFrame) -> Vec<SimFrame> {
        if self.until.get(&to).is_none_or(|until| *until <= means.now) {
            self.until.insert(to, means.now + Nanos(PAUSE.0 * REPEATS));
            for step in 1..=REPEATS {
                for call in self.heard.values() {
                    means.count("old-call");
                    let frame = SimFrame::Hearing(Hearing::Call(call.clone()));
                    means.send_later(Nanos(PAUSE.0 * step), to, frame);
                }
            }
        }
        match frame {
            SimFrame::Message(_) | SimFrame::Hearing(_) => vec![],
            other => vec![other],
        }
    }

    fn incoming(&mut self, _means: &mut Means<'_>, _from: usize, frame: &SimFrame) {
        if let SimFrame::Hearing(Hearing::Call(call)) = frame {
            self.heard.insert((call.listener, call.nonce), call.clone());
        }
    }
}
