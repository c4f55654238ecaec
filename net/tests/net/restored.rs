//! Stories of decided values that the join brings back.

use ultramarine_net::streaming::{Brings, Input, Ranges, StopReason};
use ultramarine_types::network::{Fault, OfferId, OfferKind, Refusal};
use ultramarine_types::storage::Tag;
use ultramarine_types::{Assembly, Height, Nanos, PeerId};

use crate::fixture::{certificate, large, peer, same_bytes, value};
use crate::rig::{Part, Rig, parts, spoil};

/// A join that was told that height 10 is decided.
fn rig() -> Rig {
    let mut rig = Rig::new(6);
    rig.feed(Input::Forget { height: Height(10) });
    rig
}

fn full(value: &Assembly, blobs: Option<Ranges>) -> Brings {
    Brings::Full {
        certificate: certificate(value.key),
        blobs,
    }
}

fn admitted(rig: &mut Rig, peer: PeerId, value: &Assembly, brings: Brings) -> OfferId {
    let stream = rig.name();
    rig.begin_as(stream, peer, value, brings);
    let tag = Tag::Restored;
    rig.feed(Input::Admit { offer: stream, tag });
    stream
}

fn assert_nothing_is_left(rig: &Rig) {
    assert_eq!((rig.join.values_count(), rig.join.streams_count()), (0, 0));
    assert_eq!(rig.join.reserved_bytes(), 0);
}

#[test]
fn a_decided_value_is_restored_by_its_hashes_alone() {
    let (value, mut rig) = (value(3, 0, 100_000, 4), rig());
    let stream = admitted(&mut rig, peer(1), &value, full(&value, None));
    assert_eq!(rig.join.lowest_value(), None, "it is no value to be judged");
    parts(&value)
        .into_iter()
        .for_each(|part| rig.part(stream, part, &value));
    let completed = &rig.complete[0];
    assert!(same_bytes(&completed.assembly, &value));
    assert_eq!(completed.tag, Tag::Restored);
    assert!(rig.jobs.is_empty(), "the lanes were not asked");
    assert!(rig.payloads().is_empty(), "nor the execution client");
    assert_nothing_is_left(&rig);
    // It may rot again.
    let stream = admitted(&mut rig, peer(2), &value, full(&value, None));
    parts(&value)
        .into_iter()
        .for_each(|part| rig.part(stream, part, &value));
    assert_eq!(rig.complete.len(), 2);
}

#[test]
fn a_wrong_blob_costs_its_sender_and_only_what_is_missing_is_asked_for() {
    let (value, mut rig) = (value(3, 0, 1000, 4), rig());
    let stream = admitted(&mut rig, peer(1), &value, full(&value, None));
    rig.lists(stream, &value);
    for part in [Part::Chunk(0), Part::Blob(0), Part::Blob(1)] {
        rig.part(stream, part, &value);
    }
    spoil(&mut rig, stream, Part::Blob(2), &value);
    assert_eq!(rig.charges, [(peer(1), Fault::Part)]);
    assert_eq!(rig.incomplete(), 1, "the core asks somebody else");
    let blobs = rig.join.blobs_missing_at(Height(3));
    assert_eq!(blobs, Some(Ranges::from_iter([2, 3])));
    let stream = admitted(&mut rig, peer(2), &value, full(&value, blobs));
    rig.lists(stream, &value);
    rig.part(stream, Part::Blob(2), &value);
    rig.part(stream, Part::Blob(3), &value);
    rig.feed(Input::Fin { stream });
    assert!(same_bytes(&rig.complete[0].assembly, &value));
    assert_eq!(rig.charges.len(), 1, "{:?}", rig.charges);
    assert_nothing_is_left(&rig);
}

#[test]
fn heights_that_are_decided_meanwhile_leave_it_alone() {
    let (old, new, mut rig) = (value(3, 0, 1000, 2), value(11, 0, 1000, 2), rig());
    let restored = admitted(&mut rig, peer(1), &old, full(&old, None));
    let proposal = rig.listed(peer(2), &new);
    rig.lists(restored, &old);
    rig.feed(Input::Forget { height: Height(11) });
    assert_eq!(rig.stopped[&proposal], StopReason::Forgotten);
    assert!(!rig.stopped.contains_key(&restored));
    for part in [Part::Chunk(0), Part::Blob(0), Part::Blob(1)] {
        rig.part(restored, part, &old);
    }
    assert!(same_bytes(&rig.complete[0].assembly, &old));
    assert_nothing_is_left(&rig);
}

/// After a start the join learns what is decided with the next height.
#[test]
fn what_is_restored_before_the_join_knows_what_is_decided_goes_on() {
    let mut rig = Rig::new(6);
    let (first, second) = (value(3, 0, 1000, 2), value(4, 0, 1000, 2));
    let restored = admitted(&mut rig, peer(1), &first, full(&first, None));
    let asked = rig.name();
    rig.begin_as(asked, peer(1), &second, full(&second, None));
    rig.lists(restored, &first);
    rig.feed(Input::Forget { height: Height(10) });
    assert!(rig.stopped.is_empty(), "{:?}", rig.stopped);
    let tag = Tag::Restored;
    rig.feed(Input::Admit { offer: asked, tag });
    for part in [Part::Chunk(0), Part::Blob(0), Part::Blob(1)] {
        rig.part(restored, part, &first);
    }
    parts(&second)
        .into_iter()
        .for_each(|part| rig.part(asked, part, &second));
    assert_eq!(rig.complete.len(), 2);
    assert_nothing_is_left(&rig);
}

#[test]
fn a_package_of_a_decided_height_is_asked_about_and_a_proposal_is_not() {
    let (value, mut rig) = (value(3, 0, 1000, 0), rig());
    let stream = rig.name();
    rig.begin_as(stream, peer(2), &value, full(&value, None));
    assert_eq!(rig.offers(), 1);
    let why = Refusal::Height;
    rig.feed(Input::Refuse { offer: stream, why });
    assert_eq!(rig.stopped[&stream], StopReason::Refused(Refusal::Height));
    let proposal = rig.begin(peer(2), &value);
    assert_eq!(rig.stopped[&proposal], StopReason::Refused(Refusal::Height));
    assert_eq!(rig.offers(), 1);
    assert!(rig.charges.is_empty());
    assert_nothing_is_left(&rig);
}

#[test]
fn a_package_without_blobs_gives_way_to_one_with_them_and_the_other_way_round() {
    for is_full_last in [false, true] {
        let (value, mut rig) = (value(3, 0, 100_000, 2), rig());
        let bare = || Brings::MetadataOnly(certificate(value.key));
        let (first, second) = match is_full_last {
            true => (bare(), full(&value, None)),
            false => (full(&value, None), bare()),
        };
        let before = admitted(&mut rig, peer(1), &value, first);
        rig.lists(before, &value);
        rig.part(before, Part::Chunk(0), &value);
        let after = admitted(&mut rig, peer(2), &value, second);
        assert_eq!(rig.stopped[&before], StopReason::Busy);
        rig.lists(after, &value);
        rig.part(after, Part::Chunk(0), &value);
        rig.part(after, Part::Chunk(1), &value);
        if is_full_last {
            assert!(rig.complete.is_empty());
            rig.part(after, Part::Blob(0), &value);
            rig.part(after, Part::Blob(1), &value);
        }
        let blobs = if is_full_last { 2 } else { 0 };
        assert_eq!(rig.complete[0].assembly.blobs.len(), blobs);
        assert!(rig.charges.is_empty());
        assert_nothing_is_left(&rig);
    }
}

#[test]
fn what_is_restored_takes_no_room_from_what_comes_and_gives_up_its_own() {
    let mut rig = rig();
    let total = rig.limits.assembly_bytes();
    // Values of the heights to come fill all room, and their senders are slow.
    let mut height = 10;
    let mut value_bytes = 0;
    while rig.join.reserved_bytes() + value_bytes <= total {
        height += 1;
        rig.admitted(peer(height as u8), &large(height, 0, 6));
        value_bytes = rig.join.reserved_bytes() / rig.started.len();
    }
    assert_eq!(rig.started.len() as u64, height - 10, "each has room");
    let held = rig.join.reserved_bytes();
    rig.now = rig.now + Nanos::from_millis(2_000);
    let old = large(3, 0, 6);
    let restored = admitted(&mut rig, peer(200), &old, full(&old, None));
    assert!(!rig.started.contains(&restored), "it waits");
    assert_eq!(rig.join.reserved_bytes(), held, "and nobody lost room");
    rig.feed(Input::Forget { height: Height(11) });
    assert!(rig.started.contains(&restored), "there is room now");
    // It breaks off: what it holds is given to whoever needs it.
    rig.feed(Input::Gone { stream: restored });
    let coming = large(height + 1, 0, 6);
    let stream = rig.admitted(peer(201), &coming);
    assert!(rig.started.contains(&stream));
    assert!(rig.charges.is_empty(), "{:?}", rig.charges);
}

#[test]
fn it_is_offered_as_what_it_is() {
    let (value, mut rig) = (value(3, 0, 1000, 2), rig());
    let stream = rig.name();
    rig.begin_as(stream, peer(2), &value, Brings::MetadataOnly(certificate(value.key)));
    let offer = ultramarine_types::network::NetEvent::Offer {
        offer: stream,
        peer: peer(2),
        key: value.key,
        init: value.init.clone(),
        kind: OfferKind::MetadataOnly,
        certificate: Some(certificate(value.key)),
    };
    assert_eq!(format!("{:?}", rig.events), format!("{:?}", [offer]));
}
