//! A hoarder: it kept what the same validators signed on the chain that they ran before, and plays it in again, beside
//! its own honest messages. It can cost nobody anything but itself.

use std::sync::Arc;

use ultramarine_types::consensus::CertificateSignature;
use ultramarine_types::network::OfferKind;
use ultramarine_types::{
    Address, CommitCertificate, ConsensusMessage, Init, PolkaCertificate, Proposal, Round, ValueId, Vote, VoteKind,
    sidecar, sign,
};

use super::{Adversary, Means};
use crate::wire::SimFrame;

/// Old messages beside a thousand of its own. Each costs its receivers arithmetic.
const OLD_MESSAGES: u32 = 100;
/// Old values in a thousand of its own. Packages are old, all of them.
const OLD_VALUES: u32 = 300;

/// See the file's words.
#[derive(Default)]
pub struct Relaunch;

/// What was decided at each height of the past.
const THEN: ValueId = ValueId([0x0d; 32]);

fn old_vote(means: &Means<'_>, voter: Address, kind: VoteKind, like: &Vote) -> Vote {
    let bytes = sign::vote(&means.past.voting_chain, kind, like.height, like.round, Some(&THEN));
    Vote {
        kind,
        value_id: Some(THEN),
        voter,
        signature: means.past.sign(&voter, &bytes),
        ..like.clone()
    }
}

/// The signatures of all validators of the past.
fn old_quorum(means: &Means<'_>, kind: VoteKind, like: &Vote, id: &ValueId) -> Vec<CertificateSignature> {
    let bytes = sign::vote(&means.past.voting_chain, kind, like.height, like.round, Some(id));
    let signed = |address: &Address| CertificateSignature {
        address: *address,
        signature: means.past.sign(address, &bytes),
    };
    means.past.keys.keys().map(signed).collect()
}

/// An `Init` as the past had it.
fn old_init(means: &Means<'_>, init: &Init) -> Init {
    let chain = &means.past.chain;
    let mut metadata = init.metadata.clone();
    metadata.chain = chain.identity;
    let proposer = metadata.origin_proposer;
    let root = sidecar::header(&metadata, chain.params.genesis_time).root();
    Init {
        signature: means.past.sign(&proposer, &sign::init(&chain.identity, &metadata.id())),
        header_signature: means
            .past
            .sign(&proposer, &sign::sidecar_header(&chain.identity, &root)),
        metadata,
    }
}

impl Adversary for Relaunch {
    fn outgoing(&mut self, means: &mut Means<'_>, _to: usize, frame: SimFrame) -> Vec<SimFrame> {
        match frame {
            SimFrame::Message(ConsensusMessage::Vote(vote)) if means.dice.chance(OLD_MESSAGES) => {
                means.count("old-message");
                let voters: Vec<Address> = means.past.keys.keys().copied().collect();
                let voter = *means.dice.pick(&voters);
                let old = match means.dice.below(4) {
                    0 => ConsensusMessage::Vote(old_vote(means, voter, VoteKind::Prevote, &vote)),
                    1 => ConsensusMessage::Vote(old_vote(means, voter, VoteKind::Precommit, &vote)),
                    2 => ConsensusMessage::Polka(PolkaCertificate {
                        height: vote.height,
                        round: vote.round,
                        value_id: THEN,
                        signatures: old_quorum(means, VoteKind::Prevote, &vote, &THEN),
                    }),
                    _ => {
                        let proposer = *means.past.validators.proposer(vote.height, vote.round);
                        let identity = &means.past.voting_chain;
                        let bytes = sign::proposal(identity, vote.height, vote.round, &THEN, None);
                        ConsensusMessage::Proposal(Proposal {
                            height: vote.height,
                            round: vote.round,
                            value_id: THEN,
                            valid_round: None,
                            proposer,
                            signature: means.past.sign(&proposer, &bytes),
                        })
                    }
                };
                vec![SimFrame::Message(ConsensusMessage::Vote(vote)), SimFrame::Message(old)]
            }
            SimFrame::Begin {
                stream,
                init,
                kind,
                certificate,
                answers,
            } if certificate.is_some() || means.dice.chance(OLD_VALUES) => {
                means.count(if kind == OfferKind::Proposal {
                    "old-init"
                } else {
                    "old-package"
                });
                let init = old_init(means, &init);
                let key = init.key();
                let certificate = certificate.map(|certificate| {
                    let like = Vote {
                        kind: VoteKind::Precommit,
                        height: key.height,
                        round: Round(certificate.round.0),
                        value_id: Some(key.id),
                        voter: means.address,
                        signature: ultramarine_types::Signature::ZERO,
                    };
                    CommitCertificate {
                        value_id: key.id,
                        signatures: old_quorum(means, VoteKind::Precommit, &like, &key.id),
                        ..certificate
                    }
                });
                vec![SimFrame::Begin {
                    stream,
                    init: Arc::new(init),
                    kind,
                    certificate,
                    answers,
                }]
            }
            other => vec![other],
        }
    }
}
