//! A liar: statuses with tips, values and times that do not exist, sync answers that are false, cut short, or never
//! come.

use ultramarine_net::message::ValueResponse;
use ultramarine_types::consensus::SignedMessage;
use ultramarine_types::hearing::Hearing;
use ultramarine_types::{Height, Round, ValueId, sign};

use super::{Adversary, Means};
use crate::wire::SimFrame;

/// See the file's words.
#[derive(Default)]
pub struct Liar;

impl Adversary for Liar {
    fn outgoing(&mut self, means: &mut Means<'_>, _to: usize, frame: SimFrame) -> Vec<SimFrame> {
        match frame {
            SimFrame::Status(mut status) if means.dice.chance(500) => {
                means.count("false-status");
                if means.dice.chance(300) {
                    means.count("false-clock");
                    status.clock.unix_ns = means.dice.between(0, u64::MAX - 1);
                    status.clock.token = means.dice.between(0, u64::MAX - 1);
                    if let Some(echo) = &mut status.clock.echo {
                        echo.held_ns = means.dice.between(0, u64::MAX - 1);
                    }
                    status.ready = !status.ready;
                }
                match means.dice.below(6) {
                    0 => status.tip = Height(status.tip.0 + means.dice.between(1, 50)),
                    1 => status.tip = Height(u64::MAX - means.dice.between(0, 2)),
                    2 => status.round = Round(means.dice.between(0, u64::from(u32::MAX)) as u32),
                    3 => {
                        // A message of the receiver that it never signed.
                        if let Some(SignedMessage::Vote(vote)) = &mut status.seen_signed {
                            vote.height = Height(vote.height.0 + means.dice.between(1, 4));
                        }
                    }
                    4 => {
                        status.links = (0..7).filter(|_| means.dice.chance(500)).collect();
                        status.proposes = !status.proposes;
                    }
                    _ => status.holds = (0..8).map(|_| ValueId(means.dice.hash().0)).collect(),
                }
                status.oldest_blobs = Height(means.dice.between(0, 100));
                vec![SimFrame::Status(status)]
            }
            SimFrame::Hearing(Hearing::Heard(mut heard)) if means.dice.chance(500) => {
                means.count("false-answer-to-a-call");
                heard.tip = Height(means.dice.between(0, 50));
                heard.seen = None;
                // Others' answers it can only spoil, and spoils at its own cost.
                if heard.by == means.address {
                    let bytes = sign::heard(&means.chain.identity, &heard);
                    heard.signature = means.sign(&bytes);
                } else if means.dice.chance(500) {
                    return vec![];
                }
                vec![SimFrame::Hearing(Hearing::Heard(heard))]
            }
            SimFrame::SyncAnswer { stream, .. } if means.dice.chance(100) => {
                means.count("false-sync-answer");
                let response = if means.dice.chance(500) {
                    ValueResponse::Unavailable
                } else {
                    ValueResponse::NotDecided {
                        tip: Height(means.dice.between(0, u64::MAX - 1)),
                    }
                };
                vec![SimFrame::SyncAnswer { stream, response }]
            }
            SimFrame::SyncAnswer { .. } if means.dice.chance(50) => {
                means.count("silent-sync");
                vec![]
            }
            SimFrame::Package {
                stream,
                certificate,
                bytes,
            } if means.dice.chance(700) => {
                means.count("false-package");
                let package = SimFrame::repacked(stream, certificate, &bytes, |value, certificate, is_full| {
                    let mut is_full = is_full;
                    match means.dice.below(5) {
                        // The metadata no longer hashes to the certificate's value id.
                        0 => value.init.metadata.header.gas_used += 1,
                        1 => certificate.signatures.truncate(1),
                        2 => {
                            if let Some(signature) = certificate.signatures.first_mut() {
                                signature.signature.0[0] ^= 1;
                            }
                        }
                        // Blobs withheld as if past retention.
                        3 => is_full = false,
                        _ => certificate.round = Round(certificate.round.0 + 1),
                    }
                    value.certificate = certificate.clone();
                    is_full
                });
                vec![package]
            }
            other => vec![other],
        }
    }
}
