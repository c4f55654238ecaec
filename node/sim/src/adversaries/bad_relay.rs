//! A relay that spoils parts: blobs whose proof does not hold, chunks whose hash is wrong, of its own values and of others'.

use bytes::Bytes;

use super::{Adversary, Means};
use crate::blobs;
use crate::wire::Frame;

/// Parts spoiled in a thousand.
const SPOILED: u32 = 150;

/// See the file's words.
#[derive(Default)]
pub struct BadRelay;

impl Adversary for BadRelay {
    fn outgoing(&mut self, means: &mut Means<'_>, _to: usize, frame: Frame) -> Vec<Frame> {
        match frame {
            Frame::Blob { stream, index, part } if means.dice.chance(SPOILED) => {
                means.count("bad-blob");
                vec![Frame::Blob {
                    stream,
                    index,
                    part: blobs::spoiled(&part),
                }]
            }
            Frame::Chunk { stream, index, bytes } if means.dice.chance(SPOILED) => {
                means.count("bad-chunk");
                let mut spoiled = bytes.to_vec();
                if let Some(byte) = spoiled.last_mut() {
                    *byte ^= 1;
                }
                vec![Frame::Chunk {
                    stream,
                    index,
                    bytes: Bytes::from(spoiled),
                }]
            }
            other => vec![other],
        }
    }
}
