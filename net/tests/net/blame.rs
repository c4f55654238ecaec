//! Stories of blame: who pays for wrong bytes, who does not, and what is never lost to them.

use ultramarine_net::bounds;
use ultramarine_net::streaming::{Brings, Input, StopReason};
use ultramarine_types::digest::blob_digest;
use ultramarine_types::limits::{BLOB_BYTES, PAYLOAD_CHUNK_BYTES};
use ultramarine_types::network::{Fault, NetEvent, OfferId};
use ultramarine_types::storage::Tag;
use ultramarine_types::verify::{Refutation, ValueOutcome, Verdict};
use ultramarine_types::{Assembly, ListKind, Nanos, PeerId};

use crate::fixture::{certificate, false_value, peer, same_bytes, value};
use crate::rig::{Part, Rig, parts, parts_behind_lists, spoil, wanted};

fn part_verdict(value: &Assembly, index: u16, sender: Option<PeerId>, is_right: bool) -> Verdict {
    let at = usize::from(index);
    Verdict::Part {
        key: value.key,
        index,
        sender,
        digest: blob_digest(&value.blobs[at], &value.lists.commitments[at]),
        is_right,
    }
}

fn withhold(rig: &mut Rig, value: &Assembly) {
    let outcome = ValueOutcome::Withheld { why: "a test says so" };
    rig.say(Verdict::Value {
        key: value.key,
        outcome,
    });
}

#[test]
fn wrong_bytes_keep_no_place_from_right_ones_whoever_is_judged_first() {
    for good_first in [true, false] {
        let value = value(3, 0, 1000, 3);
        let mut rig = Rig::new(6);
        let (bad, good) = (peer(1), peer(2));
        let from_bad = rig.listed(bad, &value);
        let from_good = rig.begin(good, &value);
        spoil(&mut rig, from_bad, Part::Blob(2), &value);
        for part in parts(&value) {
            rig.part(from_good, part, &value);
        }
        assert_eq!(rig.jobs.len(), 4, "nothing is passed over for what is not yet judged");
        rig.feed(Input::Fin { stream: from_good });
        if good_first {
            rig.verify(3);
        }
        rig.verify_all();
        assert_eq!(rig.charges, [(bad, Fault::Part)]);
        assert!(same_bytes(&rig.complete[0].assembly, &value));
        assert_eq!(rig.incomplete(), 0, "nothing is asked for again");
    }
}

#[test]
fn a_value_whose_every_place_is_in_hashing_still_takes_a_new_stream() {
    let value = value(3, 0, 1000, 2);
    let mut rig = Rig::new(6);
    let from_bad = rig.listed(peer(1), &value);
    rig.part(from_bad, Part::Chunk(0), &value);
    spoil(&mut rig, from_bad, Part::Blob(0), &value);
    spoil(&mut rig, from_bad, Part::Blob(1), &value);
    rig.feed(Input::Fin { stream: from_bad });
    let from_good = rig.begin(peer(2), &value);
    assert!(rig.started.contains(&from_good));
    for part in parts(&value) {
        rig.part(from_good, part, &value);
    }
    rig.verify_all();
    assert_eq!(rig.charges, [(peer(1), Fault::Part); 2]);
    assert!(same_bytes(&rig.complete[0].assembly, &value));
}

#[test]
fn three_that_fill_every_place_with_garbage_and_hang_up_lose_nothing_for_anybody() {
    let value = value(3, 0, 100_000, 128);
    let mut rig = Rig::new(128);
    let bad: Vec<PeerId> = (1..4).map(peer).collect();
    let streams: Vec<OfferId> = bad.iter().map(|peer| rig.begin(*peer, &value)).collect();
    rig.feed(Input::Admit {
        offer: streams[0],
        tag: Tag::Streamed,
    });
    for (stream, index) in streams.iter().zip(0usize..) {
        rig.lists(*stream, &value);
        // As far as flow control lets each go before the first verdict; the three begin at three places.
        for place in 0..128 {
            if !rig.paused.contains(stream) {
                spoil(&mut rig, *stream, Part::Blob((place + index * 43) % 128), &value);
            }
        }
        assert!(rig.paused.contains(stream));
        rig.feed(Input::Gone { stream: *stream });
    }
    let garbage = 3 * bounds::UNJUDGED_PER_STREAM_MAX;
    assert_eq!(rig.jobs.len(), garbage);
    let honest = rig.begin(peer(9), &value);
    for part in parts(&value) {
        rig.part(honest, part, &value);
    }
    rig.feed(Input::Fin { stream: honest });
    rig.verify_all();
    assert!(same_bytes(&rig.complete[0].assembly, &value));
    for peer in bad {
        let its = rig.charges.iter().filter(|charge| **charge == (peer, Fault::Part));
        assert_eq!(its.count(), bounds::UNJUDGED_PER_STREAM_MAX);
    }
    assert_eq!(rig.charges.len(), garbage, "and nobody else is charged");
    assert_eq!(
        rig.incomplete(),
        1,
        "as the last of the three hung up, and never for the honest one's parts"
    );
    assert_eq!((rig.join.unjudged_bytes(), rig.join.reserved_bytes()), (0, 0));
}

#[test]
fn a_wrong_blob_ends_all_streams_of_its_sender_and_the_core_hears_of_it() {
    let value = value(3, 0, 1000, 3);
    let mut rig = Rig::new(6);
    let bad = peer(1);
    let streams = [rig.listed(bad, &value), rig.begin(bad, &value)];
    for part in [Part::Chunk(0), Part::Blob(0), Part::Blob(1)] {
        rig.part(streams[0], part, &value);
    }
    spoil(&mut rig, streams[0], Part::Blob(2), &value);
    rig.verify_all();
    assert_eq!(rig.charges, [(bad, Fault::Part)]);
    for stream in streams {
        assert_eq!(rig.stopped[&stream], StopReason::Fault(Fault::Part));
    }
    assert_eq!(rig.incomplete(), 1);
    let (key, peer, stream) = (value.key, peer(2), rig.name());
    rig.feed(Input::Fetch { stream, key, peer });
    let missing = rig.requests.last().and_then(|(_, _, missing)| missing.clone());
    assert!(wanted(missing.as_ref(), Part::Blob(2)) && !wanted(missing.as_ref(), Part::Blob(1)));
}

#[test]
fn a_wrong_list_or_chunk_ends_its_stream_at_its_senders_cost() {
    let value = value(3, 0, 2 * PAYLOAD_CHUNK_BYTES, 2);
    for kind in ListKind::ALL {
        let mut items = Vec::new();
        value.lists.write(kind, &mut items);
        let mut other = items.clone();
        other[3] ^= 1;
        let shorter = items[kind.item_bytes()..].to_vec();
        let longer = [items.as_slice(), &items[..kind.item_bytes()]].concat();
        let torn = items[1..].to_vec();
        for wrong in [other, shorter, longer, torn, Vec::new()] {
            let mut rig = Rig::new(6);
            let stream = rig.admitted(peer(1), &value);
            rig.list(stream, kind, wrong);
            assert_eq!(rig.charges, [(peer(1), Fault::Part)], "{kind:?}");
            assert_eq!(rig.stopped[&stream], StopReason::Fault(Fault::Part));
            assert_eq!(rig.incomplete(), 1);
            rig.repair(peer(2), &value);
            assert!(same_bytes(&rig.complete[0].assembly, &value));
        }
    }
    let mut rig = Rig::new(6);
    let stream = rig.listed(peer(1), &value);
    spoil(&mut rig, stream, Part::Chunk(0), &value);
    assert_eq!(rig.charges, [(peer(1), Fault::Part)]);
    assert_eq!(rig.stopped[&stream], StopReason::Fault(Fault::Part));
}

#[test]
fn a_wrong_list_costs_its_sender_though_the_right_one_is_here() {
    let value = value(3, 0, 1000, 2);
    let mut rig = Rig::new(6);
    rig.listed(peer(1), &value);
    let second = rig.begin(peer(2), &value);
    spoil(&mut rig, second, Part::List(ListKind::Digests), &value);
    assert_eq!(rig.charges, [(peer(2), Fault::Part)]);
}

#[test]
fn a_part_before_its_list_is_a_fault_unless_the_list_is_here() {
    let value = value(3, 0, 1000, 2);
    let needs = [
        (Part::Chunk(0), vec![ListKind::Chunks]),
        (
            Part::Blob(0),
            vec![ListKind::Commitments, ListKind::Digests, ListKind::Proofs],
        ),
    ];
    for (part, kinds) in needs {
        for left_out in kinds {
            let mut rig = Rig::new(6);
            let stream = rig.admitted(peer(1), &value);
            let others = ListKind::ALL.into_iter().filter(|kind| *kind != left_out);
            others.for_each(|kind| rig.part(stream, Part::List(kind), &value));
            rig.part(stream, part, &value);
            assert_eq!(rig.charges, [(peer(1), Fault::Protocol)], "{part:?} {left_out:?}");
        }
    }
    let mut rig = Rig::new(6);
    rig.listed(peer(1), &value);
    let second = rig.begin(peer(2), &value);
    rig.part(second, Part::Chunk(0), &value);
    rig.part(second, Part::Blob(0), &value);
    assert!(rig.charges.is_empty());
    let lists_twice = rig.listed(peer(3), &value);
    rig.part(lists_twice, Part::List(ListKind::Chunks), &value);
    assert_eq!(rig.charges, [(peer(3), Fault::Protocol)]);
}

#[test]
fn a_value_that_lost_its_lists_meanwhile_charges_nobody_who_left_them_out() {
    let value = value(3, 0, 1000, 2);
    let mut rig = Rig::new(6);
    let first = rig.listed(peer(1), &value);
    rig.feed(Input::Gone { stream: first });
    let (key, holder, stream) = (value.key, peer(2), rig.name());
    rig.feed(Input::Fetch {
        stream,
        key,
        peer: holder,
    });
    let (_, _, missing) = rig.requests.pop().expect("asked");
    assert!(missing.expect("known").lists.is_empty());
    // Its answer has begun when its value loses its room. A stream that is stopped is not read: it begins again.
    let again = rig.name();
    withhold(&mut rig, &value);
    assert!(rig.stopped.contains_key(&stream));
    rig.feed(Input::Fetch {
        stream: again,
        key,
        peer: holder,
    });
    let (_, _, missing) = rig.requests.pop().expect("asked again");
    assert!(missing.expect("known").lists.is_all());
    rig.begin_as(again, holder, &value, Brings::Proposal);
    parts(&value).into_iter().for_each(|part| rig.part(again, part, &value));
    rig.verify_all();
    assert!(rig.charges.is_empty(), "{:?}", rig.charges);
    assert!(same_bytes(&rig.complete[0].assembly, &value));
}

#[test]
fn a_stream_waits_with_many_blobs_unjudged_and_is_not_overdue_meanwhile() {
    let value = value(3, 0, 1000, 40);
    let mut rig = Rig::new(40);
    let stream = rig.listed(peer(1), &value);
    for index in 0..bounds::UNJUDGED_PER_STREAM_MAX {
        assert!(!rig.paused.contains(&stream));
        rig.part(stream, Part::Blob(index), &value);
    }
    assert!(rig.paused.contains(&stream));
    rig.wait(Nanos::from_millis(60_000));
    assert!(rig.charges.is_empty() && rig.stopped.is_empty(), "we let it wait");
    rig.verify(0);
    assert!(!rig.paused.contains(&stream));
    rig.part(stream, Part::Blob(bounds::UNJUDGED_PER_STREAM_MAX), &value);
    assert!(rig.paused.contains(&stream));
    rig.verify_all();
    rig.wait(bounds::STREAM_STALL);
    assert_eq!(rig.charges, [(peer(1), Fault::Withheld)], "now it lets us wait");
}

#[test]
fn if_too_many_bytes_are_unjudged_all_streams_wait_and_go_on_in_turn() {
    let value = value(3, 0, 1000, 128);
    let mut rig = Rig::new(128);
    let limit = bounds::UNJUDGED_BYTES_MAX / BLOB_BYTES;
    // Each with one place less than makes its reader wait.
    let share = bounds::UNJUDGED_PER_STREAM_MAX - 1;
    let mut streams = vec![rig.listed(peer(1), &value)];
    while rig.jobs.len() < limit {
        let stream = *streams.last().expect("one at least");
        if rig.jobs.len() == share * streams.len() {
            let stream = rig.begin(peer(streams.len() as u8 + 1), &value);
            streams.push(stream);
            continue;
        }
        let index = rig.jobs.len() % share;
        rig.part(stream, Part::Blob(index), &value);
    }
    assert_eq!(rig.paused.len(), streams.len());
    let newcomer = rig.begin(peer(200), &value);
    assert!(rig.started.contains(&newcomer) && rig.paused.contains(&newcomer));
    rig.verify(0);
    assert_eq!(rig.paused.len(), streams.len(), "there is room for one");
    rig.verify_all();
    assert!(rig.paused.is_empty());
    assert!(rig.charges.is_empty());
}

#[test]
fn a_value_whose_own_proof_fails_costs_no_relay_and_leaves_evidence() {
    let value = false_value(3, 3, 1);
    let mut rig = Rig::new(6);
    let stream = rig.listed(peer(1), &value);
    parts(&value)
        .into_iter()
        .skip(4)
        .for_each(|part| rig.part(stream, part, &value));
    rig.verify_all();
    assert!(rig.charges.is_empty() && rig.complete.is_empty());
    let [flaw] = &rig.flaws()[..] else {
        panic!("the core hears why, once")
    };
    assert_eq!((flaw.index, flaw.why), (1, Refutation::Wrong));
    assert!(flaw.evidence.is_bound(1), "anybody can see it");
    assert_eq!(flaw.evidence.init, *value.init);
    assert_eq!(rig.join.reserved_bytes(), 0);
    assert_eq!(rig.forgotten, [value.key]);
    let again = rig.begin(peer(2), &value);
    assert_eq!(rig.stopped[&again], StopReason::Complete);
    rig.repair(peer(2), &value);
    assert!(rig.complete.is_empty() && rig.requests.is_empty(), "nobody is asked");
}

#[test]
fn a_flaw_that_the_core_does_not_find_is_taken_back_and_all_is_fetched_anew() {
    let value = value(3, 0, 1000, 3);
    let mut rig = Rig::new(6);
    let stream = rig.listed(peer(1), &value);
    for part in parts_behind_lists(&value) {
        rig.part(stream, part, &value);
    }
    // The lanes lie, or the memory that their word came through.
    let (index, why) = (1, Refutation::Wrong);
    let proof = value.lists.proofs[1];
    let outcome = ValueOutcome::Fails { index, why, proof };
    let key = value.key;
    for job in 0..3 {
        rig.say(part_verdict(&value, job, Some(peer(1)), true));
    }
    rig.jobs.clear();
    rig.say(Verdict::Value { key, outcome });
    assert_eq!(rig.flaws().len(), 1);
    rig.feed(Input::Rejudge { key });
    assert_eq!(rig.alarms, [key]);
    assert_eq!(rig.incomplete(), 0, "after a pause");
    rig.feed(Input::Rejudge { key });
    assert_eq!(rig.alarms.len(), 1, "once");
    rig.wait(bounds::REFETCH_PAUSE);
    assert_eq!(rig.incomplete(), 1);
    rig.repair(peer(2), &value);
    assert!(same_bytes(&rig.complete[0].assembly, &value));
    assert!(rig.charges.is_empty());
}

#[test]
fn a_refutation_that_comes_before_its_blob_waits_for_it() {
    let value = value(3, 0, 1000, 2);
    let mut rig = Rig::new(6);
    let stream = rig.listed(peer(1), &value);
    rig.part(stream, Part::Blob(1), &value);
    let (index, why) = (1, Refutation::Wrong);
    let proof = value.lists.proofs[1];
    let outcome = ValueOutcome::Fails { index, why, proof };
    rig.say(Verdict::Value {
        key: value.key,
        outcome,
    });
    assert!(rig.flaws().is_empty(), "its bytes are not known to be right");
    rig.verify_all();
    assert_eq!(rig.flaws().len(), 1);
}

#[test]
fn what_was_refuted_is_judged_anew_once_it_is_certified() {
    let value = value(3, 0, 1000, 2);
    let mut rig = Rig::new(6);
    let stream = rig.listed(peer(1), &value);
    parts_behind_lists(&value)
        .into_iter()
        .for_each(|part| rig.part(stream, part, &value));
    // Our own memory lied: the value is good, and the others decide it.
    let (index, why, proof) = (1, Refutation::Wrong, value.lists.proofs[1]);
    let outcome = ValueOutcome::Fails { index, why, proof };
    let key = value.key;
    rig.say(Verdict::Value { key, outcome });
    rig.verify(1);
    assert_eq!(rig.flaws().len(), 1);
    let package = rig.name();
    let certificate = certificate(key);
    let brings = Brings::Full {
        certificate,
        blobs: None,
    };
    rig.begin_as(package, peer(2), &value, brings);
    rig.feed(Input::Admit {
        offer: package,
        tag: Tag::Certified,
    });
    assert!(rig.started.contains(&package), "its bytes are wanted again");
    rig.lists(package, &value);
    parts_behind_lists(&value)
        .into_iter()
        .for_each(|part| rig.part(package, part, &value));
    rig.feed(Input::Fin { stream: package });
    rig.verify_all();
    assert!(same_bytes(&rig.complete[0].assembly, &value));
    assert!(rig.charges.is_empty());
}

#[test]
fn what_is_said_of_another_proof_than_the_value_binds_is_a_fault_of_ours() {
    let value = value(3, 0, 1000, 2);
    let mut rig = Rig::new(6);
    let stream = rig.listed(peer(1), &value);
    parts(&value)
        .into_iter()
        .skip(4)
        .for_each(|part| rig.part(stream, part, &value));
    let (index, why, proof) = (1, Refutation::Wrong, value.lists.proofs[0]);
    assert_ne!(proof, value.lists.proofs[1], "two blobs have two proofs");
    let outcome = ValueOutcome::Fails { index, why, proof };
    rig.say(Verdict::Value {
        key: value.key,
        outcome,
    });
    assert_eq!(rig.alarms, [value.key]);
    rig.verify_all();
    assert!(rig.flaws().is_empty() && rig.charges.is_empty(), "nobody is blamed");
    rig.repair(peer(2), &value);
    assert!(same_bytes(&rig.complete[0].assembly, &value));
}

#[test]
fn a_list_that_is_here_is_compared_and_costs_who_sends_another() {
    let value = value(3, 0, 1000, 2);
    let mut rig = Rig::new(6);
    rig.listed(peer(1), &value);
    let same = rig.admitted(peer(2), &value);
    rig.lists(same, &value);
    assert!(rig.charges.is_empty());
    let other = rig.admitted(peer(3), &value);
    let mut items = Vec::new();
    value.lists.write(ListKind::Digests, &mut items);
    items[0] ^= 1;
    rig.list(other, ListKind::Digests, items);
    assert_eq!(rig.charges.len(), 1);
    assert_eq!(rig.stopped[&other], StopReason::Fault(Fault::Part));
}

#[test]
fn a_stream_brings_no_more_than_it_was_asked_for() {
    let value = value(3, 0, 1000, 2);
    let mut rig = Rig::new(6);
    let first = rig.listed(peer(1), &value);
    rig.part(first, Part::Chunk(0), &value);
    spoil(&mut rig, first, Part::Blob(0), &value);
    // While that is judged, somebody else is asked for the other blob alone.
    let second = rig.name();
    rig.feed(Input::Fetch {
        stream: second,
        key: value.key,
        peer: peer(2),
    });
    rig.begin_as(second, peer(2), &value, Brings::Proposal);
    rig.part(second, Part::Blob(1), &value);
    let before = rig.incomplete();
    rig.verify_all();
    assert!(rig.incomplete() > before, "nobody will bring the blob that was wrong");
}

#[test]
fn what_our_own_verifier_cannot_say_alarms_and_is_fetched_anew_at_nobodys_cost() {
    let value = value(3, 0, 1000, 2);
    let mut rig = Rig::new(6);
    let stream = rig.listed(peer(1), &value);
    rig.part(stream, Part::Chunk(0), &value);
    rig.part(stream, Part::Blob(0), &value);
    rig.verify_all();
    withhold(&mut rig, &value);
    assert_eq!(rig.alarms, [value.key]);
    assert_eq!(rig.forgotten, [value.key]);
    assert_eq!(rig.join.reserved_bytes(), 0, "the bytes may be what is broken");
    assert_eq!(rig.incomplete(), 0, "not in a tight circle");
    rig.wait(bounds::REFETCH_PAUSE);
    assert!(rig.events.iter().any(
        |event| matches!(event, NetEvent::Incomplete { key, peer: from } if *key == value.key && *from == peer(1))
    ));
    rig.repair(peer(2), &value);
    assert!(rig.charges.is_empty() && rig.flaws().is_empty());
    assert!(same_bytes(&rig.complete[0].assembly, &value));
}

#[test]
fn that_a_value_holds_stays_true_when_it_has_lost_its_bytes() {
    for is_late in [true, false] {
        let value = value(3, 0, 1000, 2);
        let mut rig = Rig::new(6);
        let stream = rig.listed(peer(1), &value);
        rig.part(stream, Part::Blob(0), &value);
        let holds = Verdict::Value {
            key: value.key,
            outcome: ValueOutcome::Holds,
        };
        if is_late {
            withhold(&mut rig, &value);
            rig.say(holds);
        } else {
            rig.say(holds);
            withhold(&mut rig, &value);
        }
        let stream = rig.listed(peer(2), &value);
        for part in [Part::Chunk(0), Part::Blob(0), Part::Blob(1)] {
            rig.part(stream, part, &value);
        }
        assert!(
            rig.complete.is_empty(),
            "that these are the value's bytes is not known yet"
        );
        for index in 0..2 {
            rig.say(part_verdict(&value, index, Some(peer(2)), true));
        }
        assert!(same_bytes(&rig.complete[0].assembly, &value));
    }
}

#[test]
fn a_verdict_counts_only_for_the_bytes_it_was_given_for() {
    let value = value(3, 0, 1000, 1);
    let mut rig = Rig::new(6);
    let stream = rig.listed(peer(1), &value);
    rig.part(stream, Part::Chunk(0), &value);
    rig.part(stream, Part::Blob(0), &value);
    rig.say(part_verdict(&value, 0, Some(peer(2)), true));
    rig.say(part_verdict(&value, 0, Some(peer(2)), false));
    rig.say(part_verdict(&value, 0, None, false));
    assert!(rig.charges.is_empty(), "nobody else sent any");
    assert_eq!(rig.join.unjudged_bytes(), BLOB_BYTES);
    rig.verify_all();
    assert_eq!(rig.complete.len(), 1);
    rig.say(part_verdict(&value, 0, Some(peer(1)), false));
    assert!(rig.charges.is_empty());
}

#[test]
fn the_verdict_about_bytes_that_were_dropped_is_not_taken_for_that_of_later_ones() {
    let value = value(3, 0, 1000, 1);
    let mut rig = Rig::new(6);
    let stream = rig.listed(peer(1), &value);
    rig.part(stream, Part::Blob(0), &value);
    withhold(&mut rig, &value);
    // The same sender brings other bytes for the place while the first are being judged.
    let again = rig.listed(peer(1), &value);
    rig.part(again, Part::Chunk(0), &value);
    spoil(&mut rig, again, Part::Blob(0), &value);
    rig.say(part_verdict(&value, 0, Some(peer(1)), true));
    let outcome = ValueOutcome::Holds;
    rig.say(Verdict::Value {
        key: value.key,
        outcome,
    });
    assert!(rig.complete.is_empty(), "no wrong bytes are taken for right ones");
    rig.repair(peer(2), &value);
    assert!(same_bytes(&rig.complete[0].assembly, &value));
}

#[test]
fn nobody_has_withheld_what_it_was_not_asked_for() {
    let value = value(3, 0, 1000, 3);
    let mut rig = Rig::new(6);
    let (first, second) = (peer(1), peer(2));
    let from_first = rig.listed(first, &value);
    for part in [Part::Chunk(0), Part::Blob(0)] {
        rig.part(from_first, part, &value);
    }
    spoil(&mut rig, from_first, Part::Blob(1), &value);
    let (key, stream) = (value.key, rig.name());
    rig.feed(Input::Fetch {
        stream,
        key,
        peer: second,
    });
    let missing = rig.requests.last().and_then(|(_, _, missing)| missing.clone());
    assert!(!wanted(missing.as_ref(), Part::Blob(1)), "it is being judged");
    rig.begin_as(stream, second, &value, Brings::Proposal);
    rig.verify_all();
    rig.part(stream, Part::Blob(2), &value);
    rig.feed(Input::Fin { stream });
    assert_eq!(rig.charges, [(first, Fault::Part)]);
}
