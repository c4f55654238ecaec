//! Says what it says two thousand times a second, each time a little differently.

use std::collections::BTreeMap;

use ultramarine_types::{Height, Nanos};

use super::{Adversary, Means};
use crate::wire::SimFrame;

/// Two thousand a second.
const PAUSE: Nanos = Nanos(500_000);
/// For a second, with one of its own statuses.
const REPEATS: u64 = 2_000;

/// See the file's words.
#[derive(Default)]
pub struct StatusFlood {
    /// Until when it has begun to flood each node.
    until: BTreeMap<usize, Nanos>,
}

impl Adversary for StatusFlood {
    fn outgoing(&mut self, means: &mut Means<'_>, to: usize, frame: SimFrame) -> Vec<SimFrame> {
        if let SimFrame::Status(status) = &frame
            && self.until.get(&to).is_none_or(|until| *until <= means.now)
        {
            self.until.insert(to, means.now + Nanos(PAUSE.0 * REPEATS));
            for step in 1..=REPEATS {
                let mut again = status.clone();
                again.oldest_blobs = Height(1 + step % 2);
                means.count("status-flood");
                means.send_later(Nanos(PAUSE.0 * step), to, SimFrame::Status(again));
            }
        }
        vec![frame]
    }
}
