//! What the core does for every message: a log record written and read, beside rkyv's archive of the same vote; votes
//! and a quorum's certificate verified, which is ed25519's arithmetic.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use rkyv::rancor::Error;
use ultramarine_core::certificate::{check_ahead, check_commit, check_vote};
use ultramarine_core::log::LogRecord;
use ultramarine_core::signing::{SignatureVerifier, Signer};
use ultramarine_types::consensus::{CertificateSignature, VoteKind};
use ultramarine_types::{
    CommitCertificate, ConsensusMessage, Height, Round, Validator, ValidatorSet, ValueId, Vote, fixtures, sign,
};

const VALUE: ValueId = ValueId([3; 32]);

fn signers(count: u8) -> (Vec<Signer>, ValidatorSet) {
    let signers: Vec<Signer> = (0..count).map(|node| Signer::new(&[node; 32])).collect();
    let list = signers.iter().map(|signer| Validator {
        public_key: signer.public_key(),
        power: 1,
    });
    let set = ValidatorSet::new(list.collect()).expect("distinct keys");
    (signers, set)
}

fn precommit(signer: &Signer) -> Vote {
    let bytes = sign::vote(&fixtures::CHAIN, VoteKind::Precommit, Height(5), Round(0), Some(&VALUE));
    Vote {
        kind: VoteKind::Precommit,
        height: Height(5),
        round: Round(0),
        value_id: Some(VALUE),
        voter: signer.address(),
        signature: signer.sign(&bytes),
    }
}

fn records(criterion: &mut Criterion) {
    let vote = precommit(&Signer::new(&[1; 32]));
    let record = LogRecord::Vote(vote.clone());
    let mut group = criterion.benchmark_group("log record of a vote");
    group.bench_function("write and read", |bencher| {
        bencher.iter(|| LogRecord::decode(&black_box(&record).encode()).expect("it was just written"));
    });
    group.bench_function("rkyv, write and read", |bencher| {
        bencher.iter(|| {
            let bytes = rkyv::to_bytes::<Error>(black_box(&vote)).expect("memory");
            rkyv::from_bytes::<Vote, Error>(&bytes).expect("it was just written")
        });
    });
    group.finish();
}

fn bursts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("votes that came together");
    for count in [4, 32] {
        let (signers, set) = signers(count);
        let votes: Vec<_> = signers.iter().map(precommit).collect();
        let messages: Vec<_> = votes.iter().cloned().map(ConsensusMessage::Vote).collect();
        group.bench_function(BenchmarkId::new("verify as one batch", count), |bencher| {
            bencher.iter_batched(
                || SignatureVerifier::new(&set),
                |mut verifier| check_ahead(&set, &fixtures::CHAIN, messages.iter(), &mut verifier),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("verify one by one", count), |bencher| {
            bencher.iter_batched(
                || SignatureVerifier::new(&set),
                |mut verifier| {
                    for vote in &votes {
                        check_vote(&set, &fixtures::CHAIN, vote, &mut verifier).expect("it was just signed");
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn certificates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit certificate");
    for validators in [4, 100] {
        let (signers, set) = signers(validators);
        let quorum = usize::from(validators) * 2 / 3 + 1;
        let certificate = CommitCertificate {
            height: Height(5),
            round: Round(0),
            value_id: VALUE,
            signatures: signers[..quorum]
                .iter()
                .map(precommit)
                .map(|vote| CertificateSignature {
                    address: vote.voter,
                    signature: vote.signature,
                })
                .collect(),
        };
        group.bench_function(BenchmarkId::new("verify, nothing remembered", validators), |bencher| {
            bencher.iter_batched(
                || SignatureVerifier::new(&set),
                |mut verifier| check_commit(&set, &fixtures::CHAIN, &certificate, &mut verifier),
                BatchSize::SmallInput,
            );
        });
        let mut verifier = SignatureVerifier::new(&set);
        group.bench_function(BenchmarkId::new("verify, votes seen before", validators), |bencher| {
            bencher.iter(|| check_commit(&set, &fixtures::CHAIN, &certificate, &mut verifier));
        });
    }
    group.finish();
}

criterion_group!(benches, records, bursts, certificates);
criterion_main!(benches);
