//! A withholding proposer: streams that end early, lack a part, never say that they end, or go to some peers only; and
//! requests that are not answered.

use std::collections::BTreeMap;

use ultramarine_types::Height;

use super::{Adversary, Means};
use crate::wire::{SimFrame, StreamId};

/// What is kept back of one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Withheld {
    Nothing,
    /// All of it: the peer does not hear of the value.
    Everything,
    /// Everything behind the `Init`.
    Parts,
    /// One part in two.
    SomeParts,
    Fin,
}

/// See the file's words.
#[derive(Default)]
pub struct Withholder {
    streams: BTreeMap<StreamId, Withheld>,
}

impl Adversary for Withholder {
    fn outgoing(&mut self, means: &mut Means<'_>, _to: usize, frame: SimFrame) -> Vec<SimFrame> {
        let stream = match &frame {
            SimFrame::Begin { stream, .. } | SimFrame::Package { stream, .. } => {
                let withheld = match means.dice.below(8) {
                    0 | 1 => Withheld::Everything,
                    2 => Withheld::Parts,
                    3 | 4 => Withheld::SomeParts,
                    5 => Withheld::Fin,
                    _ => Withheld::Nothing,
                };
                if withheld != Withheld::Nothing {
                    means.count("withholding");
                }
                self.streams.insert(*stream, withheld);
                *stream
            }
            SimFrame::List { stream, .. }
            | SimFrame::Chunk { stream, .. }
            | SimFrame::Blob { stream, .. }
            | SimFrame::PackageBlob { stream, .. }
            | SimFrame::Fin { stream } => *stream,
            _ => return vec![frame],
        };
        let withheld = self.streams.get(&stream).copied().unwrap_or(Withheld::Nothing);
        let kept_back = match (withheld, &frame) {
            (Withheld::Everything, _) => true,
            (Withheld::Parts, SimFrame::List { .. } | SimFrame::Chunk { .. }) => true,
            (Withheld::Parts, SimFrame::Blob { .. } | SimFrame::PackageBlob { .. }) => true,
            (Withheld::SomeParts, SimFrame::Chunk { .. } | SimFrame::Blob { .. }) => means.dice.chance(500),
            (Withheld::SomeParts, SimFrame::PackageBlob { .. }) => true,
            (Withheld::Fin, SimFrame::Fin { .. }) => true,
            _ => false,
        };
        if kept_back { vec![] } else { vec![frame] }
    }

    fn forget(&mut self, _below: Height) {
        // Streams of old heights have ended; a few newest are enough to know.
        while self.streams.len() > 256 {
            self.streams.pop_first();
        }
    }
}
