//! What a core does with a value that its own blob refutes.

use ultramarine_types::evidence::FalseValue;
use ultramarine_types::network::{Fault, Flaw, NetCommand, NetEvent, OfferKind};
use ultramarine_types::storage::{StoreReply, StoreRequest, Tag};
use ultramarine_types::verify::Refutation;
use ultramarine_types::{
    Assembly, CommitCertificate, Evidence, Init, KzgProof, Lists, Machine, Outbox, Round, VoteKind,
};

use super::offers::{feed, hand, offer, quorum};
use super::payload::{blamed, good, judgement, offered};
use super::world::World;
use crate::stop::{DecidedFault, Stop};
use crate::values::Judgement;
use crate::{Event, Input, Output};

/// What the network says once the proof of a value's second blob was found not to hold.
fn flaw(good: &Assembly) -> Flaw {
    Flaw {
        index: 1,
        why: Refutation::Wrong,
        evidence: Box::new(FalseValue {
            init: Init::clone(&good.init),
            lists: Lists::clone(&good.lists),
            index: 1,
            blob: good.blobs[1].to_vec(),
        }),
    }
}

/// What a core wants the store to keep, and what it tells people.
fn evidence(outputs: &[Output]) -> (Vec<Evidence>, usize) {
    let kept = outputs.iter().filter_map(|output| match output {
        Output::Store(StoreRequest::Evidence(pieces)) => Some(pieces.clone()),
        _ => None,
    });
    let told = |output: &&Output| matches!(output, Output::Event(Event::Evidence(_)));
    (kept.flatten().collect(), outputs.iter().filter(told).count())
}

#[test]
fn a_value_that_its_blob_refutes_is_invalid_at_its_proposers_cost_and_kept_as_evidence() {
    let (mut world, init, good) = offered();
    let (key, flaw) = (init.key(), flaw(&good));
    let event = NetEvent::Flawed {
        key,
        flaw: flaw.clone(),
    };
    let out = hand(&mut world, event.clone());
    let Judgement::Invalid(reason) = judgement(&world, &key) else {
        panic!("{:?}", judgement(&world, &key));
    };
    assert_eq!(reason, "blob 1: its proof does not hold");
    let proposer = world.node_of(&init.metadata.origin_proposer);
    assert_eq!(blamed(&out, proposer), (vec![Fault::Proof], 1), "{out:?}");
    assert_eq!(evidence(&out), (vec![Evidence::Value(flaw.evidence)], 1), "{out:?}");
    let out = hand(&mut world, event);
    assert_eq!(
        (blamed(&out, proposer), evidence(&out)),
        ((vec![], 0), (vec![], 0)),
        "once"
    );
    let (now, mut out) = (world.now, Outbox::new());
    world.nodes[0].core.as_mut().unwrap().wake(now, &mut out);
    assert!(out.is_empty(), "said once");
}

#[test]
fn a_validator_is_convicted_once_at_a_height() {
    let (mut world, init, first) = offered();
    let second = good(&world, init.metadata.height, Round(1), 78);
    assert_eq!(
        offer(&mut world, 1, &second.init, OfferKind::Proposal, None),
        Ok(Tag::Streamed)
    );
    let mut kept = Vec::new();
    for value in [&first, &second] {
        let (key, flaw) = (value.key, flaw(value));
        let out = hand(&mut world, NetEvent::Flawed { key, flaw });
        assert!(
            matches!(judgement(&world, &key), Judgement::Invalid(_)),
            "each is invalid"
        );
        kept.extend(evidence(&out).0);
    }
    assert_eq!(kept, [Evidence::Value(flaw(&first).evidence)]);
    let core = world.nodes[0].core.as_mut().unwrap();
    assert_eq!(core.held().refuted, 1);
    core.values.commit(&first.key);
    assert_eq!(core.held().refuted, 0, "the height is over");
}

#[test]
fn evidence_that_convicts_nobody_says_nothing_about_a_value() {
    let (mut world, init, first) = offered();
    let other = good(&world, init.metadata.height, Round(1), 78);
    type Spoil = fn(&mut Flaw, &Assembly);
    let table: [(&str, Spoil); 6] = [
        ("of another value", |flaw, other| {
            // Its signature is that of the value.
            flaw.evidence.init.metadata = other.init.metadata.clone();
            flaw.evidence.init.header_signature = other.init.header_signature;
            flaw.evidence.lists = Lists::clone(&other.lists);
        }),
        ("of another blob", |flaw, _| flaw.index = 0),
        ("beyond the blobs", |flaw, _| (flaw.index, flaw.evidence.index) = (2, 2)),
        ("of other bytes", |flaw, _| flaw.evidence.blob[0] ^= 1),
        ("of other lists", |flaw, _| {
            flaw.evidence.lists.proofs[0] = KzgProof([9; 48])
        }),
        ("unsigned", |flaw, _| flaw.evidence.init.signature.0[0] ^= 1),
    ];
    for (name, spoil) in table {
        let (key, mut flaw) = (first.key, flaw(&first));
        spoil(&mut flaw, &other);
        let out = hand(&mut world, NetEvent::Flawed { key, flaw });
        let proposer = world.node_of(&init.metadata.origin_proposer);
        assert_eq!(judgement(&world, &key), Judgement::Open, "{name}");
        assert_eq!(blamed(&out, proposer), (vec![], 0), "{name}");
        assert_eq!(evidence(&out).0, [], "{name}");
        let is_its = |output: &Output| matches!(output, Output::Net(NetCommand::Rejudge { key: its }) if *its == key);
        assert!(
            out.iter().any(is_its),
            "{name}: the network must judge it anew: {out:?}"
        );
    }
    // Nor does evidence about a value that nobody admitted.
    let (key, flaw) = (other.key, flaw(&other));
    let out = hand(&mut world, NetEvent::Flawed { key, flaw });
    assert_eq!(evidence(&out).0, []);
    assert!(world.nodes[0].core.as_ref().unwrap().values.get(&key).is_none());
}

/// A world whose first node has the certificate of a value that was offered to it.
fn decided_and_flawed() -> (World, Assembly) {
    let (mut world, init, good) = offered();
    let key = init.key();
    let certificate = CommitCertificate {
        height: key.height,
        round: Round(1),
        value_id: key.id,
        signatures: quorum(&key, VoteKind::Precommit),
    };
    let core = world.nodes[0].core.as_mut().unwrap();
    core.sync.certify(certificate);
    (world, good)
}

/// What a node says that stops because of a decided value, and the value.
fn stopped_by_a_flaw(is_durable: bool) -> (String, Assembly) {
    let (mut world, good) = decided_and_flawed();
    let (key, flaw) = (good.key, flaw(&good));
    let kept = Evidence::Value(flaw.evidence.clone());
    let flawed = NetEvent::Flawed { key, flaw };
    let out = hand(&mut world, flawed.clone());
    assert_eq!(evidence(&out), (vec![kept], 1), "{out:?}");
    assert!(
        !out.iter().any(|output| matches!(output, Output::Stop(_))),
        "not before the store has it: {out:?}"
    );
    assert_eq!(hand(&mut world, flawed).len(), 0, "said once");
    let receipt = Input::Store(StoreReply::EvidenceTaken { is_durable });
    let out = feed(&mut world, receipt);
    let [Output::Stop(stop @ Stop::DecidedInvalid(DecidedFault::Flawed(_)))] = &out[..] else {
        panic!("{out:?}");
    };
    (stop.to_string(), good)
}

#[test]
fn a_decided_value_that_its_blob_refutes_stops_the_node_once_its_evidence_is_kept() {
    let (words, good) = stopped_by_a_flaw(true);
    let lists = &good.lists;
    for named in [
        good.key.to_string(),
        "blob 1: its proof does not hold".to_owned(),
        good.init.metadata.origin_proposer.to_string(),
        good.init.signature.to_string(),
        lists.commitments[1].to_string(),
        lists.proofs[1].to_string(),
        lists.digests[1].to_string(),
        "The evidence is in the data directory".to_owned(),
    ] {
        assert!(words.contains(&named), "{named} is not in: {words}");
    }
}

#[test]
fn a_stop_says_that_there_was_no_room_for_its_evidence() {
    let (words, _) = stopped_by_a_flaw(false);
    assert!(words.contains("The evidence is not kept"), "{words}");
}

#[test]
fn a_disk_that_fails_before_evidence_is_kept_ends_the_wait() {
    let (mut world, good) = decided_and_flawed();
    let (key, flaw) = (good.key, flaw(&good));
    hand(&mut world, NetEvent::Flawed { key, flaw });
    let reason = "fdatasync: EIO".to_owned();
    let out = feed(&mut world, Input::Store(StoreReply::Failed { reason }));
    let [Output::Stop(stop)] = &out[..] else {
        panic!("{out:?}");
    };
    assert!(stop.to_string().contains("The evidence is not kept"), "{stop}");
}
