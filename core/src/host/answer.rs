//! This file knows the answer to each of Malachite's effects.

use malachitebft_core_consensus::{
    ConsensusMsg, Effect, LivenessMsg, MisbehaviorEvidence, Resumable, Resume, SignedConsensusMsg, VoteExtensionError,
};
use malachitebft_core_types::{CertificateError as MCertificateError, SignedMessage};
use ultramarine_types::{ConsensusMessage, Evidence, Height, Proposal, Round, Signature, ValueKey, Vote, sign};

use super::{Hands, Intent};
use crate::certificate;
use crate::context::{Ctx, CtxProposal, CtxVote};
use crate::convert;
use crate::guard::{Signed, SignedKind};
use crate::log::LogRecord;
use crate::stop::Stop;

pub(super) fn answer(
    effect: Effect<Ctx>,
    hands: &mut Hands<'_>,
    intents: &mut Vec<Intent>,
    fatal: &mut Option<Stop>,
) -> Resume<Ctx> {
    let next = match effect {
        Effect::SignVote(vote, resume) => return resume.resume_with(sign_vote(vote, hands, fatal)),
        Effect::SignProposal(proposal, resume) => return resume.resume_with(sign_proposal(proposal, hands, fatal)),
        Effect::VerifySignature(message, _, resume) => return resume.resume_with(verify(&message, hands)),
        Effect::VerifyCommitCertificate(commit, _, _, resume) => {
            let commit = convert::commit_from(&commit);
            let result = certificate::check_commit(hands.set, hands.chain, &commit, hands.verifier);
            return resume.resume_with(result.map_err(|_| MCertificateError::VerificationError(None)));
        }
        Effect::VerifyExtendedCommitCertificate(commit, _, _, _, resume) => {
            let commit = convert::commit_from(&commit.trim_vote_extensions());
            let result = certificate::check_commit(hands.set, hands.chain, &commit, hands.verifier);
            return resume.resume_with(result.map_err(|_| MCertificateError::VerificationError(None)));
        }
        Effect::VerifyPolkaCertificate(polka, _, _, resume) => {
            let polka = convert::polka_from(&polka);
            let result = certificate::check_polka(hands.set, hands.chain, &polka, hands.verifier);
            return resume.resume_with(result.map_err(|_| MCertificateError::VerificationError(None)));
        }
        Effect::VerifyRoundCertificate(round, _, _, resume) => {
            let round = convert::round_certificate_from(&round);
            let result = certificate::check_round(hands.set, hands.chain, &round, hands.verifier);
            return resume.resume_with(result.map_err(|_| MCertificateError::VerificationError(None)));
        }
        // The policy is `Disabled`: we ask for no extension, and refuse one that comes.
        Effect::ExtendVote(_, _, _, _, resume) => return resume.resume_with(None),
        Effect::VerifyVoteExtension(_, _, _, _, _, _, resume) => {
            return resume.resume_with(Err(VoteExtensionError::InvalidVoteExtension));
        }

        Effect::CancelAllTimeouts(next) => {
            intents.push(Intent::CancelAll);
            next
        }
        Effect::CancelTimeout(timeout, next) => {
            intents.push(Intent::Cancel(timeout));
            next
        }
        Effect::ScheduleTimeout(timeout, next) => {
            intents.push(Intent::Schedule(timeout));
            next
        }
        Effect::StartRound(_, round, _, _, next) => {
            if let Some(round) = convert::round_from(round) {
                intents.push(Intent::Round { round });
            }
            next
        }
        Effect::PublishConsensusMsg(message, next) => {
            intents.push(Intent::Publish(match message {
                SignedConsensusMsg::Vote(vote) => {
                    ConsensusMessage::Vote(convert::vote_from(&vote.message, vote.signature))
                }
                SignedConsensusMsg::Proposal(proposal) => {
                    ConsensusMessage::Proposal(convert::proposal_from(&proposal.message, proposal.signature))
                }
            }));
            next
        }
        Effect::PublishLivenessMsg(message, next) => {
            intents.push(Intent::Publish(match message {
                LivenessMsg::Vote(vote) => ConsensusMessage::Vote(convert::vote_from(&vote.message, vote.signature)),
                LivenessMsg::PolkaCertificate(polka) => ConsensusMessage::Polka(convert::polka_from(&polka)),
                LivenessMsg::SkipRoundCertificate(round) => {
                    ConsensusMessage::Round(convert::round_certificate_from(&round))
                }
            }));
            next
        }
        Effect::RepublishVote(vote, next) => {
            let vote = convert::vote_from(&vote.message, vote.signature);
            intents.push(Intent::Publish(ConsensusMessage::Vote(vote)));
            next
        }
        Effect::RepublishRoundCertificate(round, next) => {
            let round = convert::round_certificate_from(&round);
            intents.push(Intent::Publish(ConsensusMessage::Round(round)));
            next
        }
        Effect::GetValue(height, round, _, next) => {
            if let Some(round) = convert::round_from(round) {
                intents.push(Intent::GetValue {
                    height: height.0,
                    round,
                });
            }
            next
        }
        Effect::RestreamProposal(height, _, _, _, id, next) => {
            intents.push(Intent::Restream(ValueKey { height: height.0, id }));
            next
        }
        Effect::CertVerifiedSyncValue(response, proposer, next) => {
            if let Some(round) = convert::round_from(response.certificate.round) {
                let value_id = response.certificate.value_id;
                intents.push(Intent::Certified {
                    round,
                    proposer: proposer.0,
                    value_id,
                });
            }
            next
        }
        Effect::CertRejectedSyncValue(_, _, error, next) => {
            intents.push(Intent::Rejected(error.to_string()));
            next
        }
        Effect::Decide(commit, _, next) => {
            intents.push(Intent::Decide(convert::commit_from(&commit)));
            next
        }
        Effect::Finalize(_, _, evidence, next) => {
            let evidence = evidence_of(&evidence);
            if !evidence.is_empty() {
                intents.push(Intent::Evidence(evidence));
            }
            intents.push(Intent::Finalize);
            next
        }
        Effect::WalAppend(_, input, next) => {
            if let Some(record) = LogRecord::of_input(&input) {
                intents.push(Intent::Append(record));
            }
            next
        }
    };
    next.resume_with(())
}

fn sign_vote(vote: CtxVote, hands: &mut Hands<'_>, fatal: &mut Option<Stop>) -> SignedMessage<Ctx, CtxVote> {
    let unsigned: Vote = convert::vote_from(&vote, Signature::ZERO);
    let signed = Signed {
        value_id: unsigned.value_id,
        valid_round: None,
    };
    let bytes = sign::vote(
        hands.chain,
        unsigned.kind,
        unsigned.height,
        unsigned.round,
        unsigned.value_id.as_ref(),
    );
    let signature = sign_guarded(
        hands,
        fatal,
        (unsigned.height, unsigned.round, unsigned.kind.into()),
        signed,
        &bytes,
    );
    SignedMessage::new(vote, signature)
}

fn sign_proposal(
    proposal: CtxProposal,
    hands: &mut Hands<'_>,
    fatal: &mut Option<Stop>,
) -> SignedMessage<Ctx, CtxProposal> {
    let unsigned: Proposal = convert::proposal_from(&proposal, Signature::ZERO);
    let Proposal {
        height,
        round,
        value_id,
        valid_round,
        ..
    } = unsigned;
    let bytes = sign::proposal(hands.chain, height, round, &value_id, valid_round);
    let signed = Signed {
        value_id: Some(value_id),
        valid_round,
    };
    let signature = sign_guarded(hands, fatal, (height, round, SignedKind::Proposal), signed, &bytes);
    SignedMessage::new(proposal, signature)
}

/// Signs if the guard allows it. We cannot refuse Malachite a signature: it gets one of zeros, which verifies nowhere,
/// and the node stops before any of it leaves.
fn sign_guarded(
    hands: &mut Hands<'_>,
    fatal: &mut Option<Stop>,
    (height, round, kind): (Height, Round, SignedKind),
    signed: Signed,
    bytes: &[u8],
) -> Signature {
    let signer = hands
        .signer
        .expect("a node without a key runs disabled, and then Malachite asks for no signature");
    if fatal.is_some() {
        return Signature::ZERO;
    }
    match hands.guard.ask(height, round, kind, signed) {
        Ok(()) => {
            let signature = signer.sign(bytes);
            hands.verifier.trust(&signer.public_key(), bytes, &signature);
            signature
        }
        Err(conflict) => {
            *fatal = Some(Stop::Equivocation(conflict));
            Signature::ZERO
        }
    }
}

fn verify(message: &SignedMessage<Ctx, ConsensusMsg<Ctx>>, hands: &mut Hands<'_>) -> bool {
    match &message.message {
        ConsensusMsg::Vote(vote) => {
            let vote = convert::vote_from(vote, message.signature);
            certificate::check_vote(hands.set, hands.chain, &vote, hands.verifier).is_ok()
        }
        ConsensusMsg::Proposal(proposal) => {
            let proposal = convert::proposal_from(proposal, message.signature);
            certificate::check_proposal(hands.set, hands.chain, &proposal, hands.verifier).is_ok()
        }
    }
}

/// Both messages of every pair that convicts, in our types. Malachite also pairs a proposal with itself if its validity
/// changed after its proposer had equivocated, which proves nothing.
fn evidence_of(found: &MisbehaviorEvidence<Ctx>) -> Vec<Evidence> {
    let vote = |vote: &SignedMessage<Ctx, CtxVote>| convert::vote_from(&vote.message, vote.signature);
    let proposal =
        |proposal: &SignedMessage<Ctx, CtxProposal>| convert::proposal_from(&proposal.message, proposal.signature);
    let votes = found.votes.iter().flat_map(|(_, pairs)| pairs);
    let proposals = found.proposals.iter().flat_map(|(_, pairs)| pairs);
    votes
        .map(|(first, second)| Evidence::Votes(vote(first), vote(second)))
        .chain(proposals.map(|(first, second)| Evidence::Proposals(proposal(first), proposal(second))))
        // Neither kind has a blob.
        .filter(|piece| piece.is_contradiction(0))
        .collect()
}
