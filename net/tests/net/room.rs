//! Stories of room: how long a value keeps it, and how much work is done in one go.

use ultramarine_net::bounds;
use ultramarine_net::streaming::{Input, StopReason};
use ultramarine_types::limits::{PAYLOAD_BYTES_MAX, PAYLOAD_CHUNKS_MAX};
use ultramarine_types::network::{Fault, NetEvent, OfferId};
use ultramarine_types::storage::Tag;
use ultramarine_types::{Assembly, Machine, Nanos, Outbox};

use crate::fixture::{peer, proposed_by, same_bytes, value};
use crate::rig::{Part, Rig, parts};

/// Streams of the largest values, as many as there is room for, each from another peer. The first brings as much as an
/// honest sender brings in two seconds, the others nothing.
fn full_room(rig: &mut Rig) -> Vec<(OfferId, Assembly)> {
    let mut held = Vec::new();
    for name in 0.. {
        let value = value(3, name, PAYLOAD_BYTES_MAX, 6);
        if rig.join.reserved_bytes() + value.payload.len() + value.lists.bytes() > rig.limits.assembly_bytes() {
            break;
        }
        held.push((rig.listed(peer(name), &value), value));
    }
    assert_eq!(rig.started.len(), held.len());
    let (first, value) = held.first().expect("there is room for one").clone();
    for index in 0..PAYLOAD_CHUNKS_MAX - 1 {
        rig.part(first, Part::Chunk(index), &value);
    }
    held
}

#[test]
fn who_dribbles_loses_its_room_to_who_needs_it() {
    let mut rig = Rig::new(6);
    let held = full_room(&mut rig);
    // The second dribbles.
    let (second, value_two) = &held[1];
    rig.part(*second, Part::Blob(0), value_two);
    let wanted = value(4, 200, PAYLOAD_BYTES_MAX, 6);
    let stream = rig.admitted(peer(200), &wanted);
    assert!(
        !rig.started.contains(&stream),
        "there is no room, and everybody may still get going"
    );
    rig.wait(bounds::LAG_GRACE);
    rig.wait(bounds::ROOM_RETRY);
    assert!(rig.started.contains(&stream));
    // The slowest gave way: one of those that brought nothing at all.
    let (&loser, why) = rig.stopped.iter().next().expect("one gave way");
    assert_eq!(rig.stopped.len(), 1);
    assert_eq!(why, &StopReason::Fault(Fault::Withheld));
    assert!(loser != held[0].0 && loser != *second);
    assert_eq!(rig.charges.len(), 1);
    // The core hears of it, and its value can come back.
    assert_eq!(rig.incomplete(), 0);
    rig.wait(bounds::REFETCH_PAUSE);
    let lost = held.iter().find(|(name, _)| *name == loser).expect("one of them");
    assert!(
        rig.events
            .iter()
            .any(|event| matches!(event, NetEvent::Incomplete { key, .. } if *key == lost.1.key))
    );
}

/// Each but the first brings so many chunks more: half a megabyte in two seconds is no dribble, and too slow for
/// deadlines.
fn bring_slowly(rig: &mut Rig, held: &[(OfferId, Assembly)], chunks: std::ops::Range<usize>) {
    for (name, value) in &held[1..] {
        for index in chunks.clone() {
            rig.part(*name, Part::Chunk(index), value);
        }
    }
}

#[test]
fn who_is_only_slow_keeps_its_room_until_its_value_is_whole() {
    let mut rig = Rig::new(6);
    let held = full_room(&mut rig);
    let wanted = value(4, 200, PAYLOAD_BYTES_MAX, 6);
    let stream = rig.admitted(peer(200), &wanted);
    for second in 0..8 {
        bring_slowly(&mut rig, &held, 4 * second..4 * second + 4);
        let (first, value) = &held[0];
        if second % 2 == 0 {
            rig.part(*first, Part::Blob(second / 2), value);
        }
        rig.wait(Nanos::from_millis(1000));
    }
    assert!(rig.stopped.is_empty() && rig.charges.is_empty(), "{:?}", rig.stopped);
    assert!(!rig.started.contains(&stream), "it waits");
    // The second one becomes whole.
    let (second, value) = &held[1];
    (32..PAYLOAD_CHUNKS_MAX).for_each(|index| rig.part(*second, Part::Chunk(index), value));
    (0..6).for_each(|index| rig.part(*second, Part::Blob(index), value));
    rig.verify_all();
    rig.wait(bounds::ROOM_RETRY);
    assert!(rig.complete.iter().any(|it| same_bytes(&it.assembly, value)));
    assert!(rig.started.contains(&stream), "there is room now");
}

#[test]
fn a_fast_start_keeps_no_room_for_long() {
    let mut rig = Rig::new(6);
    let held = full_room(&mut rig);
    let wanted = value(4, 200, PAYLOAD_BYTES_MAX, 6);
    let (first, first_value) = &held[0];
    // A blob every two seconds and a half is no stall, and half a megabit a second.
    for step in 0..9 {
        // It is told to come back after a while, and does.
        if step % 3 == 0 {
            rig.admitted(peer(200), &wanted);
        }
        match step {
            1..=6 => rig.part(*first, Part::Blob(step - 1), first_value),
            7 => rig.part(*first, Part::Chunk(PAYLOAD_CHUNKS_MAX - 1), first_value),
            _ => {}
        }
        bring_slowly(&mut rig, &held, 10 * step..10 * step + 10);
        rig.wait(Nanos::from_millis(2500));
        if rig.stopped.contains_key(first) {
            break;
        }
    }
    assert_eq!(
        rig.stopped.get(first),
        Some(&StopReason::Busy),
        "it gave way, and is not charged"
    );
    assert!(rig.now < Nanos(2 * bounds::PACE_WINDOW.0) + Nanos::from_millis(2500));
    let others = held[1..].iter().filter(|(name, _)| rig.stopped.contains_key(name));
    assert_eq!(others.count(), 0, "nobody else did");
}

#[test]
fn new_streams_of_the_same_bytes_earn_nothing() {
    let mut rig = Rig::new(6);
    let held = full_room(&mut rig);
    let stream = rig.admitted(peer(200), &value(4, 200, PAYLOAD_BYTES_MAX, 6));
    let (second, value) = &held[1];
    for step in 0..4 {
        // None of these streams lags yet.
        let again = rig.listed(peer(50 + step as u8), value);
        rig.part(again, Part::Chunk(0), value);
        bring_slowly(&mut rig, &held[1..], 4 * step..4 * step + 4);
        rig.wait(Nanos::from_millis(900));
    }
    assert!(rig.started.contains(&stream));
    assert!(rig.stopped.contains_key(second));
    assert!(held[2..].iter().all(|(name, _)| !rig.stopped.contains_key(name)));
}

#[test]
fn a_proposer_with_several_values_gives_way_to_one_without() {
    let mut rig = Rig::new(6);
    let held = full_room(&mut rig);
    // All come slowly. One of them has a little less than the others.
    for (name, value) in &held[1..] {
        let chunks = if value.key == held[2].1.key { 7 } else { 8 };
        (0..chunks).for_each(|index| rig.part(*name, Part::Chunk(index), value));
    }
    let same = rig.admitted(peer(200), &value(4, 200, PAYLOAD_BYTES_MAX, 6));
    rig.wait(bounds::LAG_GRACE);
    rig.wait(bounds::ROOM_RETRY);
    assert!(!rig.started.contains(&same), "it is of the same proposer");
    let other = rig.admitted(peer(201), &proposed_by(9, value(4, 201, PAYLOAD_BYTES_MAX, 6)));
    assert!(rig.started.contains(&other));
    assert_eq!(
        rig.stopped.keys().collect::<Vec<_>>(),
        [&held[2].0],
        "the one with the fewest bytes"
    );
    assert!(rig.charges.is_empty(), "{:?}", rig.charges);
    rig.wait(bounds::REFETCH_PAUSE);
    assert_eq!(rig.incomplete(), 1, "its value can come back");
}

#[test]
fn what_is_certified_takes_the_room_of_the_slow_value_that_has_least() {
    let mut rig = Rig::new(6);
    let held = full_room(&mut rig);
    bring_slowly(&mut rig, &held, 0..8);
    let (third, value_three) = &held[2];
    (8..12).for_each(|index| rig.part(*third, Part::Chunk(index), value_three));
    rig.wait(Nanos(bounds::LAG_GRACE.0 + bounds::ROOM_RETRY.0));
    let decided = value(4, 200, PAYLOAD_BYTES_MAX, 6);
    let stream = rig.begin(peer(200), &decided);
    rig.feed(Input::Admit {
        offer: stream,
        tag: Tag::Certified,
    });
    assert!(rig.started.contains(&stream));
    assert_eq!(rig.stopped.len(), 1);
    assert!(!rig.stopped.contains_key(&held[0].0) && !rig.stopped.contains_key(third));
}

#[test]
fn of_what_nobody_sends_the_value_with_the_fewest_bytes_makes_room() {
    let mut rig = Rig::new(6);
    let held = full_room(&mut rig);
    bring_slowly(&mut rig, &held, 0..8);
    // They are equally old. The one that has more would give way by its name.
    let mut idle = [&held[1], held.last().expect("there is room for some")];
    idle.sort_by_key(|(_, value)| value.key);
    let [(more, value_more), (fewest, value_fewest)] = idle;
    (8..12).for_each(|index| rig.part(*more, Part::Chunk(index), value_more));
    rig.feed(Input::Gone { stream: *more });
    rig.feed(Input::Gone { stream: *fewest });
    let stream = rig.admitted(peer(200), &value(4, 200, PAYLOAD_BYTES_MAX, 6));
    assert!(rig.started.contains(&stream));
    let asked = |rig: &mut Rig, value: &Assembly| {
        let (name, key) = (rig.name(), value.key);
        rig.feed(Input::Fetch {
            stream: name,
            key,
            peer: peer(90),
        });
        let (_, _, missing) = rig.requests.pop().expect("asked");
        missing.expect("it is known").chunks.iter().count()
    };
    assert_eq!(
        asked(&mut rig, value_more),
        PAYLOAD_CHUNKS_MAX - 12,
        "it has its bytes still"
    );
    assert_eq!(asked(&mut rig, value_fewest), PAYLOAD_CHUNKS_MAX);
}

#[test]
fn a_blob_that_was_passed_over_for_its_senders_late_verdict_is_asked_for_at_once() {
    let mut rig = Rig::new(6);
    full_room(&mut rig);
    let lost = value(3, 100, 1000, 1);
    let stream = rig.listed(peer(100), &lost);
    rig.part(stream, Part::Blob(0), &lost);
    rig.feed(Input::Gone { stream });
    // Others need its room while the lanes have its blob.
    rig.admitted(peer(200), &value(4, 200, PAYLOAD_BYTES_MAX, 6));
    let again = rig.begin(peer(100), &lost);
    parts(&lost).into_iter().for_each(|part| rig.part(again, part, &lost));
    assert_eq!(rig.jobs.len(), 1, "a verdict names the sender and the place alone");
    rig.feed(Input::Fin { stream: again });
    let told = rig.incomplete();
    rig.verify(0);
    assert_eq!(rig.incomplete(), told + 1);
    rig.repair(peer(100), &lost);
    assert_eq!(rig.complete.len(), 1);
}

#[test]
fn nobody_loses_room_that_nobody_needs() {
    let mut rig = Rig::new(6);
    full_room(&mut rig);
    rig.wait(Nanos(bounds::STREAM_STALL.0 - 1));
    assert!(rig.stopped.is_empty() && rig.charges.is_empty());
}

#[test]
fn who_keeps_pace_keeps_its_room() {
    let mut rig = Rig::new(6);
    let held = full_room(&mut rig);
    let wanted = value(4, 200, PAYLOAD_BYTES_MAX, 6);
    let stream = rig.admitted(peer(200), &wanted);
    for (name, value) in &held[1..] {
        for index in 0..PAYLOAD_CHUNKS_MAX / 2 {
            rig.part(*name, Part::Chunk(index), value);
        }
    }
    rig.wait(bounds::LAG_GRACE);
    rig.wait(bounds::ROOM_RETRY);
    assert!(rig.stopped.is_empty());
    assert!(!rig.started.contains(&stream), "it waits");
}

#[test]
fn a_large_payload_is_joined_a_piece_at_a_time() {
    let mut rig = Rig::new(6);
    let value = value(3, 0, PAYLOAD_BYTES_MAX, 0);
    let stream = rig.listed(peer(1), &value);
    for index in (0..PAYLOAD_CHUNKS_MAX).rev() {
        rig.part(stream, Part::Chunk(index), &value);
    }
    // All chunks are here. What is left to copy is due at once, in pieces between which votes are read.
    let mut steps = 0;
    while rig.payloads().is_empty() {
        assert_eq!(rig.join.deadline(), Some(rig.now));
        let mut out = Outbox::new();
        rig.join.wake(rig.now, &mut out);
        rig.take(&mut out);
        steps += 1;
    }
    assert!(steps >= 32, "{steps} steps for 16 MiB");
    assert_eq!(rig.payloads(), std::slice::from_ref(&value.payload));
    assert_eq!(rig.complete.len(), 1);
    assert_eq!(rig.complete[0].assembly.payload, value.payload);
}

#[test]
fn a_payload_in_order_is_joined_as_it_comes() {
    let mut rig = Rig::new(6);
    let value = value(3, 0, PAYLOAD_BYTES_MAX, 0);
    let stream = rig.listed(peer(1), &value);
    for index in 0..PAYLOAD_CHUNKS_MAX {
        assert!(rig.payloads().is_empty());
        rig.part(stream, Part::Chunk(index), &value);
    }
    assert_eq!(rig.payloads(), [value.payload]);
}

/// As many abandoned values as the join keeps, each of another proposal of some peer.
fn abandoned(rig: &mut Rig) -> Vec<Assembly> {
    let values: Vec<_> = (0..bounds::VALUES_MAX)
        .map(|salt| value(3, salt as u8, 1000, 1))
        .collect();
    for value in &values {
        rig.now = rig.now + Nanos::from_millis(1);
        let stream = rig.admitted(peer(1), value);
        rig.feed(Input::Gone { stream });
    }
    assert_eq!(rig.join.values_count(), bounds::VALUES_MAX);
    values
}

#[test]
fn values_that_nobody_sends_any_more_make_room_for_new_ones() {
    let mut rig = Rig::new(6);
    let old = abandoned(&mut rig);
    let offers = rig.offers();
    let new = value(3, 200, 1000, 1);
    let stream = rig.admitted(peer(2), &new);
    parts(&new).into_iter().for_each(|part| rig.part(stream, part, &new));
    assert_eq!(rig.join.values_count(), bounds::VALUES_MAX);
    // The oldest was given up: its next stream is offered like a first one.
    rig.begin(peer(2), &old[1]);
    assert_eq!(rig.offers(), offers + 1, "the second oldest is known");
    rig.repair(peer(2), &old[0]);
    assert_eq!(rig.offers(), offers + 2);
    assert!(same_bytes(&rig.complete[0].assembly, &new));
    assert!(same_bytes(&rig.complete[1].assembly, &old[0]));
}

/// A verdict about the bytes of its first life would be taken for one about those of its second.
#[test]
fn a_value_about_which_verdicts_are_awaited_is_kept() {
    let mut rig = Rig::new(6);
    let first = value(3, 201, 1000, 2);
    let stream = rig.listed(peer(1), &first);
    rig.part(stream, Part::Blob(0), &first);
    rig.feed(Input::Gone { stream });
    for salt in 0..2 * bounds::VALUES_MAX {
        let value = value(4, salt as u8, 1000, 1);
        let stream = rig.admitted(peer(1), &value);
        rig.feed(Input::Gone { stream });
    }
    let offers = rig.offers();
    rig.begin(peer(2), &first);
    assert_eq!(rig.offers(), offers, "it is known");
}

#[test]
fn what_was_asked_for_is_not_refused_for_want_of_room() {
    let mut rig = Rig::new(6);
    for salt in 0..bounds::VALUES_MAX {
        let sender = (salt / bounds::OFFERS_PER_PEER_MAX) as u8;
        rig.admitted(peer(sender), &value(3, salt as u8, 1000, 1));
    }
    let unasked = value(3, 200, 1000, 1);
    let stream = rig.begin(peer(20), &unasked);
    assert_eq!(rig.stopped[&stream], StopReason::Busy);
    rig.repair(peer(20), &unasked);
    assert!(same_bytes(&rig.complete[0].assembly, &unasked));
}

#[test]
fn one_peer_has_few_streams_at_a_time() {
    let mut rig = Rig::new(6);
    let value = |salt: usize| value(3, salt as u8, 1000, 1);
    for salt in 0..bounds::OFFERS_PER_PEER_MAX {
        rig.admitted(peer(1), &value(salt));
    }
    let stream = rig.begin(peer(1), &value(200));
    assert_eq!(rig.stopped[&stream], StopReason::Busy);
    assert_eq!(rig.join.streams_count(), bounds::OFFERS_PER_PEER_MAX);
    let stream = rig.begin(peer(2), &value(200));
    assert!(!rig.stopped.contains_key(&stream), "another's are its own");
}
