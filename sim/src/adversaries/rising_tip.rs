//! Claims tips that nobody has decided, a new one several times a second, and refuses what it is asked for just before
//! the asker gives up.

use ultramarine_net::message::ValueResponse;
use ultramarine_types::{Height, Nanos};

use super::{Adversary, Means};
use crate::wire::SimFrame;

/// How often the tip rises.
const RISE: Nanos = Nanos::from_millis(300);
/// How many times it rises between two statuses of the node's own.
const RISES: u64 = 3;
/// How long before the deadline a question is refused.
const EARLY: Nanos = Nanos::from_millis(60);
/// How far ahead the first tip is: beyond what blobs are kept for, so that it is worth a certificate.
const AHEAD: u64 = 100_000;

/// See the file's words.
#[derive(Default)]
pub struct RisingTip {
    rises: u64,
}

impl RisingTip {
    fn rise(&mut self) -> Height {
        self.rises += 1;
        Height(AHEAD + self.rises)
    }
}

impl Adversary for RisingTip {
    fn outgoing(&mut self, means: &mut Means<'_>, to: usize, frame: SimFrame) -> Vec<SimFrame> {
        match frame {
            SimFrame::Status(mut status) => {
                for step in 1..=RISES {
                    let mut risen = status.clone();
                    risen.tip = self.rise();
                    means.count("rising-tip");
                    means.send_later(Nanos(RISE.0 * step), to, SimFrame::Status(risen));
                }
                status.tip = self.rise();
                vec![SimFrame::Status(status)]
            }
            SimFrame::PackageBlob { .. } => vec![],
            SimFrame::SyncAnswer { stream, .. } | SimFrame::Package { stream, .. } => {
                means.count("late-refusal");
                let wait = Nanos(means.chain.params.limits().sync_timeout().0 - EARLY.0);
                let response = ValueResponse::Unavailable;
                means.send_later(wait, to, SimFrame::SyncAnswer { stream, response });
                vec![]
            }
            other => vec![other],
        }
    }
}
