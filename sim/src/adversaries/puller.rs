//! Asks for decided heights again and again, and throws away what comes.

use std::collections::BTreeMap;

use ultramarine_net::message::ValueWant;
use ultramarine_types::{Height, Nanos};

use super::{Adversary, Means};
use crate::wire::{SimFrame, StreamId};

/// Requests in one go: what a peer may have open at one time.
const PULLS: u64 = 12;
/// How often it asks as many again.
const PAUSE: Nanos = Nanos::from_millis(250);
/// Names of streams that no honest node gives.
const STREAMS: u64 = 1 << 48;

/// See the file's words.
#[derive(Default)]
pub struct Puller {
    asked: u64,
    /// Until when each node has been asked.
    until: BTreeMap<usize, Nanos>,
}

impl Adversary for Puller {
    fn outgoing(&mut self, _means: &mut Means<'_>, _to: usize, frame: SimFrame) -> Vec<SimFrame> {
        vec![frame]
    }

    fn incoming(&mut self, means: &mut Means<'_>, from: usize, frame: &SimFrame) {
        let SimFrame::Status(status) = frame else { return };
        if status.tip == Height::GENESIS || self.until.get(&from).is_some_and(|until| *until > means.now) {
            return;
        }
        self.until.insert(from, means.now + PAUSE);
        let own = u64::from(means.peer.0[0]) << 32;
        for _ in 0..PULLS {
            self.asked += 1;
            means.count("pull");
            let request = SimFrame::SyncRequest {
                stream: StreamId(STREAMS + own + self.asked),
                height: Height(means.dice.between(1, status.tip.0)),
                want: ValueWant::Package { blobs: None },
            };
            means.send_later(Nanos(1), from, request);
        }
    }
}
