//! A relay that spoils parts: blobs whose proof does not hold, chunks whose hash is wrong, of its own values and of
//! others'.

use bytes::Bytes;

use super::{Adversary, Means};
use crate::blobs;
use crate::wire::SimFrame;

/// Parts spoiled in a thousand.
const SPOILED: u32 = 150;
/// Of a thousand blobs after a spoiled one: often more of a value than a verifier cares to name.
const SPOILED_TOO: u32 = 700;

/// See the file's words.
#[derive(Default)]
pub struct BadRelay {
    /// Whether it has spoiled the newest blob.
    spoils: bool,
}

impl BadRelay {
    fn spoils(&mut self, means: &mut Means<'_>) -> bool {
        self.spoils = means.dice.chance(if self.spoils { SPOILED_TOO } else { SPOILED });
        self.spoils
    }
}

impl Adversary for BadRelay {
    fn outgoing(&mut self, means: &mut Means<'_>, _to: usize, frame: SimFrame) -> Vec<SimFrame> {
        match frame {
            SimFrame::Blob { stream, index, part } if self.spoils(means) => {
                means.count("bad-blob");
                vec![SimFrame::Blob {
                    stream,
                    index,
                    part: blobs::spoiled(&part),
                }]
            }
            SimFrame::Chunk { stream, index, bytes } if means.dice.chance(SPOILED) => {
                means.count("bad-chunk");
                let mut spoiled = bytes.to_vec();
                if let Some(byte) = spoiled.last_mut() {
                    *byte ^= 1;
                }
                vec![SimFrame::Chunk {
                    stream,
                    index,
                    bytes: Bytes::from(spoiled),
                }]
            }
            other => vec![other],
        }
    }
}
