//! A hoarder: it kept what the same validators signed on the chain that they ran before, and plays it in again, beside
//! its own honest messages. It can cost nobody anything but itself.

use std::sync::Arc;

use ultramarine_net::Attestation;
use ultramarine_net::hello::Hello;
use ultramarine_types::consensus::{CertificateSignature, RoundCertificateKind, RoundSignature, SignedMessage};
use ultramarine_types::{
    Address, ConsensusMessage, Height, Init, PolkaCertificate, Proposal, PublicKey, Round, RoundCertificate, ValueId,
    Vote, VoteKind, sidecar, sign,
};

use super::{Adversary, Means};
use crate::wire::SimFrame;

/// Old messages beside a thousand of its own. Each costs its receivers arithmetic.
const OLD_MESSAGES: u32 = 100;
/// Old values in a thousand of its own. Packages are old, all of them.
const OLD_VALUES: u32 = 300;
/// Old claims in a thousand of its statuses.
const OLD_CLAIMS: u32 = 100;
/// Old words in a thousand of its hellos.
const OLD_HELLOS: u32 = 300;

/// See the file's words.
#[derive(Default)]
pub struct Relaunch;

/// What was decided at each height of the past.
const THEN: ValueId = ValueId([0x0d; 32]);

/// A step of consensus.
#[derive(Clone, Copy)]
struct Step {
    height: Height,
    round: Round,
}

fn old_vote(means: &Means<'_>, voter: Address, kind: VoteKind, step: Step) -> Vote {
    let Step { height, round } = step;
    let bytes = sign::vote(&means.past.voting_chain, kind, height, round, Some(&THEN));
    Vote {
        kind,
        height,
        round,
        value_id: Some(THEN),
        voter,
        signature: means.past.sign(&voter, &bytes),
    }
}

fn old_proposal(means: &Means<'_>, step: Step) -> Proposal {
    let Step { height, round } = step;
    let proposer = *means.past.validators.proposer(height, round);
    let bytes = sign::proposal(&means.past.voting_chain, height, round, &THEN, None);
    Proposal {
        height,
        round,
        value_id: THEN,
        valid_round: None,
        proposer,
        signature: means.past.sign(&proposer, &bytes),
    }
}

/// The signatures of all validators of the past.
fn old_quorum(means: &Means<'_>, kind: VoteKind, step: Step, id: &ValueId) -> Vec<CertificateSignature> {
    let bytes = sign::vote(&means.past.voting_chain, kind, step.height, step.round, Some(id));
    let signed = |address: &Address| CertificateSignature {
        address: *address,
        signature: means.past.sign(address, &bytes),
    };
    means.past.keys.keys().map(signed).collect()
}

fn old_round(means: &Means<'_>, kind: RoundCertificateKind, votes: VoteKind, step: Step) -> RoundCertificate {
    let signed = |signed: CertificateSignature| RoundSignature {
        kind: votes,
        value_id: Some(THEN),
        address: signed.address,
        signature: signed.signature,
    };
    RoundCertificate {
        height: step.height,
        round: step.round,
        kind,
        signatures: old_quorum(means, votes, step, &THEN).into_iter().map(signed).collect(),
    }
}

/// Some message of the past.
fn old_message(means: &mut Means<'_>, step: Step) -> ConsensusMessage {
    let voters: Vec<Address> = means.past.keys.keys().copied().collect();
    let voter = *means.dice.pick(&voters);
    match means.dice.below(6) {
        0 => ConsensusMessage::Vote(old_vote(means, voter, VoteKind::Prevote, step)),
        1 => ConsensusMessage::Vote(old_vote(means, voter, VoteKind::Precommit, step)),
        2 => ConsensusMessage::Proposal(old_proposal(means, step)),
        3 => ConsensusMessage::Polka(PolkaCertificate {
            height: step.height,
            round: step.round,
            value_id: THEN,
            signatures: old_quorum(means, VoteKind::Prevote, step, &THEN),
        }),
        4 => {
            let kind = RoundCertificateKind::Precommit;
            ConsensusMessage::Round(old_round(means, kind, VoteKind::Precommit, step))
        }
        _ => {
            let kind = RoundCertificateKind::Skip;
            ConsensusMessage::Round(old_round(means, kind, VoteKind::Prevote, step))
        }
    }
}

/// A message of the past that the receiver signed itself.
fn old_claim(means: &mut Means<'_>, step: Step) -> Option<SignedMessage> {
    let signer = means.receiver?;
    let kind = match means.dice.below(3) {
        0 => VoteKind::Prevote,
        1 => VoteKind::Precommit,
        _ => {
            let proposal = old_proposal(means, step);
            return (proposal.proposer == signer).then_some(SignedMessage::Proposal(proposal));
        }
    };
    Some(SignedMessage::Vote(old_vote(means, signer, kind, step)))
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
    fn hello(&mut self, means: &mut Means<'_>, hello: Hello) -> Hello {
        if !means.dice.chance(OLD_HELLOS) {
            return hello;
        }
        means.count("old-hello");
        let attesting: Vec<Address> = means.past.keys.keys().copied().collect();
        let validator = *means.dice.pick(&attesting);
        let (chain, expiry) = (means.past.attesting_chain, u64::MAX);
        let public_key = means.past.validators.get(&validator).map(|member| member.public_key);
        let attestation = Attestation {
            validator: public_key.unwrap_or(PublicKey::ZERO),
            expiry,
            signature: means
                .past
                .sign(&validator, &sign::attestation(&chain, &means.peer, expiry)),
        };
        Hello {
            attestation: Some(attestation),
            ..hello
        }
    }

    fn outgoing(&mut self, means: &mut Means<'_>, _to: usize, frame: SimFrame) -> Vec<SimFrame> {
        match frame {
            SimFrame::Message(ConsensusMessage::Vote(vote)) if means.dice.chance(OLD_MESSAGES) => {
                means.count("old-message");
                let step = Step {
                    height: vote.height,
                    round: vote.round,
                };
                let old = old_message(means, step);
                vec![SimFrame::Message(ConsensusMessage::Vote(vote)), SimFrame::Message(old)]
            }
            SimFrame::Status(mut status) if means.dice.chance(OLD_CLAIMS) => {
                let step = Step {
                    height: status.tip.next(),
                    round: status.round,
                };
                if let Some(claim) = old_claim(means, step) {
                    means.count("old-claim");
                    status.seen_signed = Some(claim);
                }
                vec![SimFrame::Status(status)]
            }
            SimFrame::Begin { stream, init, answers } if means.dice.chance(OLD_VALUES) => {
                means.count("old-init");
                let init = Arc::new(old_init(means, &init));
                vec![SimFrame::Begin { stream, init, answers }]
            }
            SimFrame::Package {
                stream,
                certificate,
                bytes,
            } => {
                means.count("old-package");
                let package = SimFrame::repacked(stream, certificate, &bytes, |value, certificate, is_full| {
                    value.init = old_init(means, &value.init);
                    let key = value.init.key();
                    let step = Step {
                        height: key.height,
                        round: certificate.round,
                    };
                    certificate.value_id = key.id;
                    certificate.signatures = old_quorum(means, VoteKind::Precommit, step, &key.id);
                    value.certificate = certificate.clone();
                    is_full
                });
                vec![package]
            }
            other => vec![other],
        }
    }
}
