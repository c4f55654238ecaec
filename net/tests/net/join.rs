//! Stories of the join.

use ultramarine_net::bounds;
use ultramarine_net::streaming::{Brings, Input, ListSet, Missing, Ranges, StopReason};
use ultramarine_types::limits::PAYLOAD_CHUNK_BYTES;
use ultramarine_types::network::{Fault, NetEvent, OfferKind, Refusal};
use ultramarine_types::storage::Tag;
use ultramarine_types::verify::Urgency;
use ultramarine_types::{Assembly, Height, ListKind, Machine, Nanos, Outbox, ValueKey};

use crate::fixture::{certificate, large, peer, same_bytes, value};
use crate::rig::{Part, Rig, parts, parts_behind_lists};

#[test]
fn a_whole_stream_completes_with_its_last_verdict() {
    let value = value(3, 0, 1000, 2);
    let mut rig = Rig::new(6);
    let stream = rig.begin(peer(1), &value);
    assert!(matches!(
        &rig.events[..],
        [NetEvent::Offer {
            kind: OfferKind::Proposal,
            certificate: None,
            ..
        }]
    ));
    rig.part(stream, Part::Chunk(0), &value);
    assert!(
        rig.started.is_empty() && rig.jobs.is_empty(),
        "nothing is taken before the core admits"
    );
    rig.feed(Input::Admit {
        offer: stream,
        tag: Tag::Streamed,
    });
    for part in parts(&value) {
        rig.now = rig.now + Nanos::from_millis(5);
        rig.part(stream, part, &value);
    }
    let urgencies: Vec<_> = rig.jobs.iter().map(|waiting| waiting.job.urgency).collect();
    assert_eq!(urgencies, [Urgency::Current; 2]);
    rig.now = rig.now + Nanos::from_millis(30);
    rig.feed(Input::Fin { stream });
    assert!(rig.complete.is_empty());
    rig.verify_all();
    let completed = &rig.complete[0];
    assert!(same_bytes(&completed.assembly, &value));
    assert_eq!(completed.streamed, Nanos::from_millis(6 * 5));
    assert_eq!(completed.verified, Some(Nanos::from_millis(30)));
    assert!(rig.charges.is_empty());
    let again = rig.begin(peer(2), &value);
    assert_eq!(rig.stopped[&again], StopReason::Complete);
    assert_eq!(rig.offers(), 1, "a complete value is not asked about again");
}

#[test]
fn a_block_of_1024_blobs_is_joined() {
    let value = value(3, 0, 1000, 1024);
    let mut rig = Rig::new(1024);
    let stream = rig.listed(peer(1), &value);
    for part in parts_behind_lists(&value).into_iter().rev() {
        rig.part(stream, part, &value);
    }
    rig.verify_all();
    assert!(same_bytes(&rig.complete[0].assembly, &value));
}

#[test]
fn verified_blobs_survive_a_broken_stream_and_only_the_rest_is_fetched() {
    let value = value(3, 0, PAYLOAD_CHUNK_BYTES + 1, 4);
    let mut rig = Rig::new(6);
    let stream = rig.listed(peer(1), &value);
    for part in [Part::Chunk(1), Part::Blob(2), Part::Blob(0)] {
        rig.part(stream, part, &value);
    }
    rig.verify_all();
    rig.feed(Input::Gone { stream });
    assert_eq!(rig.incomplete(), 1);
    let stream = rig.name();
    rig.feed(Input::Fetch {
        stream,
        key: value.key,
        peer: peer(2),
    });
    let missing = Missing {
        lists: ListSet::NONE,
        chunks: Ranges::from_iter([0]),
        blobs: Ranges::from_iter([1, 3]),
    };
    assert_eq!(rig.requests, [(stream, peer(2), Some(missing))]);
    assert!(rig.charges.is_empty(), "a broken connection is nobody's fault");
}

#[test]
fn a_refused_init_costs_only_those_who_sent_that_init() {
    let value = value(3, 0, 1000, 0);
    let mut forged = value.clone();
    let mut init = value.init.as_ref().clone();
    init.signature.0[0] ^= 1;
    forged.init = init.into();
    let mut rig = Rig::new(6);
    let first = rig.begin(peer(1), &forged);
    let same = rig.begin(peer(2), &forged);
    let honest = rig.begin(peer(3), &value);
    assert_eq!(rig.offers(), 2, "another signature is another question");
    rig.feed(Input::Refuse {
        offer: first,
        why: Refusal::Invalid { reason: "signature" },
    });
    assert_eq!(rig.charges, [(peer(1), Fault::Signature), (peer(2), Fault::Signature)]);
    assert!(rig.stopped.contains_key(&first) && rig.stopped.contains_key(&same));
    rig.feed(Input::Admit {
        offer: honest,
        tag: Tag::Streamed,
    });
    assert_eq!(rig.started, [honest]);
}

#[test]
fn a_refusal_for_its_height_costs_nothing() {
    let value = value(3, 0, 1000, 0);
    let mut rig = Rig::new(6);
    let stream = rig.begin(peer(1), &value);
    rig.feed(Input::Refuse {
        offer: stream,
        why: Refusal::Height,
    });
    assert!(rig.charges.is_empty());
    assert_eq!(rig.stopped[&stream], StopReason::Refused(Refusal::Height));
    rig.feed(Input::Forget { height: Height(3) });
    let late = rig.begin(peer(1), &value);
    assert_eq!(rig.offers(), 1, "a decided height is refused without asking");
    assert_eq!(rig.stopped[&late], StopReason::Refused(Refusal::Height));
}

#[test]
fn a_stalled_sender_has_withheld() {
    let value = value(3, 0, 1000, 1);
    let mut rig = Rig::new(6);
    let stream = rig.listed(peer(1), &value);
    rig.part(stream, Part::Chunk(0), &value);
    rig.wait(bounds::STREAM_STALL);
    assert_eq!(rig.charges, [(peer(1), Fault::Withheld)]);
    assert_eq!(rig.stopped[&stream], StopReason::Fault(Fault::Withheld));
    assert_eq!(rig.incomplete(), 1);
}

#[test]
fn a_fin_before_all_parts_is_withholding_unless_others_brought_them() {
    let value = value(3, 0, 1000, 1);
    let mut rig = Rig::new(6);
    let (first, second) = (rig.begin(peer(1), &value), rig.begin(peer(2), &value));
    rig.feed(Input::Admit {
        offer: first,
        tag: Tag::Streamed,
    });
    rig.lists(first, &value);
    rig.part(second, Part::Blob(0), &value);
    rig.part(first, Part::Chunk(0), &value);
    rig.feed(Input::Fin { stream: first });
    assert!(rig.charges.is_empty());
    let other = value_two();
    let third = rig.admitted(peer(3), &other);
    rig.feed(Input::Fin { stream: third });
    assert_eq!(rig.charges, [(peer(3), Fault::Withheld)]);
}

fn value_two() -> Assembly {
    value(3, 2, 1000, 1)
}

#[test]
fn our_own_sleep_is_nobodys_fault() {
    let value = value(3, 0, 1000, 1);
    let mut rig = Rig::new(6);
    let stream = rig.admitted(peer(1), &value);
    rig.now = rig.now + bounds::STREAM_STALL + bounds::LATE + Nanos(1);
    let mut out = Outbox::new();
    rig.join.wake(rig.now, &mut out);
    rig.take(&mut out);
    assert!(rig.charges.is_empty());
    for part in parts(&value) {
        rig.part(stream, part, &value);
    }
    rig.verify_all();
    assert_eq!(rig.complete.len(), 1);
}

#[test]
fn waking_early_changes_nothing() {
    let value = value(3, 0, 1000, 1);
    let mut rig = Rig::new(6);
    rig.admitted(peer(1), &value);
    let due = rig.join.deadline().expect("a stream is active");
    let mut out = Outbox::new();
    rig.join.wake(Nanos(due.0 - 1), &mut out);
    assert!(out.is_empty());
    assert_eq!(rig.join.deadline(), Some(due));
}

#[test]
fn a_part_sent_twice_on_one_stream_ends_it() {
    let value = value(3, 0, 1000, 2);
    let mut rig = Rig::new(6);
    let stream = rig.listed(peer(1), &value);
    rig.part(stream, Part::Blob(0), &value);
    rig.part(stream, Part::Blob(0), &value);
    assert_eq!(
        rig.charges,
        [(peer(1), Fault::Protocol)],
        "a stream never brings more bytes than its value has"
    );
}

#[test]
fn the_core_has_a_payload_as_soon_as_its_last_chunk_came() {
    let value = value(3, 0, 2 * PAYLOAD_CHUNK_BYTES + 5, 2);
    let mut rig = Rig::new(6);
    let stream = rig.listed(peer(1), &value);
    for index in [2, 0] {
        rig.part(stream, Part::Chunk(index), &value);
        assert_eq!(rig.payloads().len(), 0);
    }
    rig.part(stream, Part::Chunk(1), &value);
    assert_eq!(
        rig.payloads(),
        std::slice::from_ref(&value.payload),
        "no blob has come yet"
    );
    for index in 0..2 {
        rig.part(stream, Part::Blob(index), &value);
    }
    rig.verify_all();
    assert_eq!(rig.payloads().len(), 1, "once");
    assert!(same_bytes(&rig.complete[0].assembly, &value));
}

fn full(value: &Assembly) -> Brings {
    Brings::Full {
        certificate: certificate(value.key),
        blobs: None,
    }
}

#[test]
fn a_sync_package_is_always_asked_about_and_makes_the_value_certified() {
    let value = value(3, 0, 1000, 2);
    let mut rig = Rig::new(6);
    let proposal = rig.listed(peer(1), &value);
    rig.part(proposal, Part::Blob(0), &value);
    let package = rig.name();
    rig.begin_as(package, peer(2), &value, full(&value));
    assert_eq!(rig.offers(), 2);
    rig.feed(Input::Admit {
        offer: package,
        tag: Tag::Certified,
    });
    parts(&value)
        .into_iter()
        .for_each(|part| rig.part(package, part, &value));
    let urgencies: Vec<_> = rig.jobs.iter().map(|waiting| waiting.job.urgency).collect();
    assert_eq!(urgencies, [Urgency::Current, Urgency::Sync, Urgency::Sync]);
    rig.verify_all();
    assert_eq!(rig.complete[0].tag, Tag::Certified);
    assert_eq!(rig.stopped[&proposal], StopReason::Complete);
}

#[test]
fn a_metadata_only_package_completes_without_blobs() {
    let value = value(3, 0, 1000, 2);
    let mut rig = Rig::new(6);
    let stream = rig.name();
    rig.begin_as(stream, peer(2), &value, Brings::MetadataOnly(certificate(value.key)));
    assert!(matches!(
        &rig.events[..],
        [NetEvent::Offer {
            kind: OfferKind::MetadataOnly,
            certificate: Some(_),
            ..
        }]
    ));
    rig.feed(Input::Admit {
        offer: stream,
        tag: Tag::Certified,
    });
    rig.lists(stream, &value);
    rig.part(stream, Part::Chunk(0), &value);
    let completed = &rig.complete[0];
    assert!(completed.assembly.blobs.is_empty());
    assert_eq!(
        completed.assembly.lists, value.lists,
        "the lists are kept without the blobs"
    );
    assert_eq!(completed.assembly.payload, value.payload);
    assert_eq!(completed.verified, None);
}

#[test]
fn a_stream_that_broke_before_its_admission_leaves_the_core_informed() {
    let value = value(3, 0, 1000, 0);
    let mut rig = Rig::new(6);
    let stream = rig.begin(peer(1), &value);
    rig.feed(Input::Gone { stream });
    assert_eq!(rig.incomplete(), 0, "the core has not admitted it");
    rig.feed(Input::Admit {
        offer: stream,
        tag: Tag::Streamed,
    });
    assert_eq!(rig.incomplete(), 1);
    rig.repair(peer(2), &value);
    assert_eq!(rig.complete.len(), 1);
}

#[test]
fn a_holder_that_has_nothing_is_not_asked_in_a_tight_circle() {
    let value = value(3, 0, 1000, 0);
    let mut rig = Rig::new(6);
    let stream = rig.name();
    rig.feed(Input::Fetch {
        stream,
        key: value.key,
        peer: peer(2),
    });
    assert_eq!(
        rig.requests,
        [(stream, peer(2), None)],
        "all parts of an unknown value are asked for"
    );
    rig.feed(Input::Gone { stream });
    assert_eq!(rig.incomplete(), 0);
    rig.wait(bounds::REFETCH_PAUSE);
    assert_eq!(rig.incomplete(), 1);
    assert!(rig.charges.is_empty());
}

#[test]
fn an_answer_about_another_value_is_a_fault() {
    let (asked, sent) = (value(3, 0, 1000, 0), value(3, 1, 1000, 0));
    let mut rig = Rig::new(6);
    let stream = rig.name();
    rig.feed(Input::Fetch {
        stream,
        key: asked.key,
        peer: peer(2),
    });
    rig.begin_as(stream, peer(2), &sent, Brings::Proposal);
    assert_eq!(rig.charges, [(peer(2), Fault::Protocol)]);
    assert_eq!(rig.offers(), 0);
}

#[test]
fn values_of_failed_rounds_make_room_and_can_come_back() {
    let mut rig = Rig::new(6);
    let total = rig.limits.assembly_bytes();
    let mut keys: Vec<ValueKey> = Vec::new();
    let mut salt = 0;
    // Each value reserves 16 MiB and its stream breaks after one blob.
    while keys.len() < 2 * total / (16 * 1024 * 1024) {
        let value = large(3, salt, 1);
        rig.now = rig.now + Nanos(1);
        let stream = rig.admitted(peer(salt % 4), &value);
        for kind in [ListKind::Commitments, ListKind::Digests, ListKind::Proofs] {
            rig.part(stream, Part::List(kind), &value);
        }
        rig.part(stream, Part::Blob(0), &value);
        rig.feed(Input::Gone { stream });
        keys.push(value.key);
        salt += 1;
    }
    assert_eq!(rig.started.len(), keys.len(), "every new value found room");
    assert_eq!(rig.jobs[0].job.key, keys[0]);
    assert!(rig.forgotten.contains(&keys[0]), "the lanes let go of what was parked");
    // The verdict about a parked value's blob fills no place: its bytes are gone.
    rig.verify(0);
    let stream = rig.name();
    rig.feed(Input::Fetch {
        stream,
        key: keys[0],
        peer: peer(9),
    });
    let (_, _, missing) = rig.requests.pop().expect("asked again");
    let missing = missing.expect("the value is known");
    assert_eq!(missing.blobs.count(), 1);
    assert!(missing.lists.is_all(), "the lists are gone as well");
}

#[test]
fn forgetting_a_height_stops_its_streams_and_frees_its_bytes() {
    let (old, new) = (value(3, 0, 1000, 1), value(4, 0, 1000, 1));
    let mut rig = Rig::new(6);
    let (first, second) = (rig.admitted(peer(1), &old), rig.admitted(peer(1), &new));
    rig.feed(Input::Forget { height: Height(3) });
    assert_eq!(rig.stopped[&first], StopReason::Forgotten);
    assert!(!rig.stopped.contains_key(&second));
    assert_eq!(rig.join.values_count(), 1);
}

#[test]
fn the_lanes_are_told_to_forget_what_is_decided_or_complete() {
    let (old, new) = (value(3, 0, 1000, 2), value(4, 0, 1000, 1));
    let mut rig = Rig::new(6);
    let stream = rig.listed(peer(1), &old);
    rig.part(stream, Part::Blob(0), &old);
    rig.feed(Input::Forget { height: Height(3) });
    assert_eq!(rig.forgotten, [old.key]);
    rig.repair(peer(2), &new);
    assert_eq!(rig.complete.len(), 1);
    assert_eq!(rig.forgotten, [old.key, new.key]);
    rig.verify_all();
    assert_eq!(rig.join.unjudged_bytes(), 0);
}

#[test]
fn only_what_is_missing_of_a_decided_value_is_asked_for_and_nothing_else_was_withheld() {
    let value = value(3, 0, 1000, 4);
    let mut rig = Rig::new(6);
    let package = rig.name();
    rig.begin_as(package, peer(1), &value, full(&value));
    let tag = Tag::Certified;
    rig.feed(Input::Admit { offer: package, tag });
    rig.lists(package, &value);
    for part in [Part::Chunk(0), Part::Blob(0), Part::Blob(1)] {
        rig.part(package, part, &value);
    }
    assert_eq!(
        rig.join.blobs_missing_at(Height(3)),
        Some(Ranges::from_iter([2, 3])),
        "two are being judged"
    );
    rig.verify_all();
    rig.feed(Input::Gone { stream: package });
    let blobs = rig.join.blobs_missing_at(Height(3));
    assert_eq!(blobs, Some(Ranges::from_iter([2, 3])));
    let certificate = certificate(value.key);
    let package = rig.name();
    rig.begin_as(package, peer(2), &value, Brings::Full { certificate, blobs });
    rig.feed(Input::Admit { offer: package, tag });
    rig.lists(package, &value);
    rig.part(package, Part::Blob(2), &value);
    rig.part(package, Part::Blob(3), &value);
    rig.feed(Input::Fin { stream: package });
    rig.verify_all();
    assert!(rig.charges.is_empty(), "{:?}", rig.charges);
    assert!(same_bytes(&rig.complete[0].assembly, &value));
    assert_eq!(rig.join.blobs_missing_at(Height(3)), None);
}
