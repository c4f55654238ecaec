//! A relay that spoils what it sends, of its own values and of others': blobs, chunks and lists of another hash, lists
//! that never come, `Init`s whose signature is wrong.

use std::sync::Arc;

use bytes::Bytes;
use ultramarine_types::Init;

use super::{Adversary, Means};
use crate::blobs;
use crate::wire::SimFrame;

/// Parts spoiled in a thousand.
const SPOILED: u32 = 150;
/// Of a thousand blobs after a spoiled one: often every place of a value is tried.
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

fn spoil_signature(means: &mut Means<'_>, init: &mut Init) {
    let signature = match means.dice.chance(500) {
        true => &mut init.header_signature,
        false => &mut init.signature,
    };
    signature.0[0] ^= 1;
}

impl Adversary for BadRelay {
    fn outgoing(&mut self, means: &mut Means<'_>, _to: usize, frame: SimFrame) -> Vec<SimFrame> {
        match frame {
            SimFrame::Begin { stream, init, answers } if means.dice.chance(SPOILED) => {
                means.count("bad-init");
                let mut init = Arc::unwrap_or_clone(init);
                spoil_signature(means, &mut init);
                vec![SimFrame::Begin {
                    stream,
                    init: Arc::new(init),
                    answers,
                }]
            }
            SimFrame::Package {
                stream,
                certificate,
                bytes,
            } if means.dice.chance(SPOILED) => {
                let package = SimFrame::repacked(stream, certificate, &bytes, |value, _, is_full| {
                    match means.dice.below(3) {
                        0 => {
                            means.count("bad-init");
                            spoil_signature(means, &mut value.init);
                        }
                        1 => {
                            means.count("bad-list");
                            match value.lists.proofs.last_mut() {
                                Some(proof) => proof.0[0] ^= 1,
                                None => value.lists.chunks.clear(),
                            }
                        }
                        _ => {
                            means.count("bad-chunk");
                            if let Some(byte) = value.payload.last_mut() {
                                *byte ^= 1;
                            }
                        }
                    }
                    is_full
                });
                vec![package]
            }
            SimFrame::List { stream, kind, items } if means.dice.chance(SPOILED) => {
                let mut items = items.to_vec();
                match means.dice.below(3) {
                    // A part before its list is its sender's fault.
                    0 => {
                        means.count("no-list");
                        // Nor are its bytes then those that the list would bind.
                        self.spoils = true;
                        return vec![];
                    }
                    1 => {
                        means.count("long-list");
                        items.extend([7; 48]);
                    }
                    _ => {
                        means.count("bad-list");
                        match items.last_mut() {
                            Some(byte) => *byte ^= 1,
                            None => items.push(1),
                        }
                    }
                }
                let items = Bytes::from(items);
                vec![SimFrame::List { stream, kind, items }]
            }
            SimFrame::Blob { stream, index, bytes } if self.spoils(means) => {
                means.count("bad-blob");
                let bytes = blobs::spoiled(&bytes);
                vec![SimFrame::Blob { stream, index, bytes }]
            }
            SimFrame::PackageBlob { stream, bytes } if self.spoils(means) => {
                means.count("bad-blob");
                let bytes = blobs::spoiled(&bytes);
                vec![SimFrame::PackageBlob { stream, bytes }]
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
