//! Sync packages: what is served, and what is refused.

use std::sync::atomic::Ordering;

use rkyv::util::AlignedVec;
use tokio::runtime::Builder;
use ultramarine_net::frame::{FrameKind, read_frame};
use ultramarine_net::message::{self, ValueRequest, ValueResponse, ValueWant};
use ultramarine_net::streaming::Ranges;
use ultramarine_net::sync::{Answer, OpenedPackage, PackageFault, RawDecidedValue};
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::network::SyncWant;
use ultramarine_types::package::{PackagedValue, SyncedValuePackage};
use ultramarine_types::storage::Absent;
use ultramarine_types::{Assembly, ChainIdentity, Height, ListKind};

use crate::fixture::{Shelf, certificate, chain, value};

fn answer(shelf: &Shelf, height: Height, want: SyncWant) -> Answer {
    let want = want.into();
    ultramarine_net::sync::answer(shelf, &ValueRequest { height, want }).expect("an honest request")
}

fn shelf(absent: Option<Absent>) -> (Shelf, Assembly) {
    let (shelf, value) = (Shelf::default(), value(4, 1, 100_000, 3));
    shelf.put(value.clone());
    shelf.decide(value.key, absent);
    (shelf, value)
}

/// What a client reads from an answer: the response, and the package's frame body if one follows.
fn read(answer: &Answer) -> (ValueResponse, Option<AlignedVec>) {
    let bytes = answer.pieces[..answer.pieces.len().min(2)].concat();
    let mut reader = &bytes[..];
    Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(async {
            let head = read_frame(&mut reader, FrameKind::ValueResponse)
                .await
                .expect("a frame")
                .expect("not the end");
            let package = if reader.is_empty() {
                None
            } else {
                read_frame(&mut reader, FrameKind::ValueBytes).await.expect("a frame")
            };
            (message::read_value_response(&head).expect("a response"), package)
        })
}

fn open(answer: &Answer, height: u64) -> Result<OpenedPackage, PackageFault> {
    let (response, package) = read(answer);
    let ValueResponse::Package { certificate } = response else {
        panic!("no package: {response:?}")
    };
    let raw = RawDecidedValue {
        certificate,
        value_bytes: package.expect("a package"),
    };
    raw.open(Height(height), &chain(6))
}

#[test]
fn a_held_height_is_served_whole_and_its_blobs_as_they_lie() {
    let (shelf, value) = shelf(None);
    let answer = answer(&shelf, Height(4), SyncWant::Package);
    assert!(!answer.alarm);
    assert_eq!(answer.pieces.len(), 2 + 3);
    let blobs = answer.pieces[2..].iter().zip(&value.blobs);
    assert!(
        blobs
            .clone()
            .all(|(sent, held)| sent.as_ptr() == held.as_ptr() && sent.len() == BLOB_BYTES)
    );
    let opened = open(&answer, 4).expect("usable");
    assert_eq!(opened.certificate, certificate(value.key));
    assert_eq!((opened.init.key(), &opened.payload), (value.key, &value.payload));
    assert!(opened.is_full);
    assert_eq!(opened.lists, *value.lists);
}

#[test]
fn only_the_blobs_that_were_asked_for_are_served() {
    let (shelf, value) = shelf(None);
    let ask = |blobs: Ranges| {
        let want = ValueWant::Package { blobs: Some(blobs) };
        let height = Height(4);
        ultramarine_net::sync::answer(&shelf, &ValueRequest { height, want })
    };
    let answer = ask(Ranges::from_iter([0, 2])).expect("an honest request");
    assert_eq!(answer.pieces[2..], [value.blobs[0].clone(), value.blobs[2].clone()]);
    assert!(open(&answer, 4).expect("usable").is_full);
    assert_eq!(ask(Ranges::new()).expect("an honest request").pieces.len(), 2);
    assert!(ask(Ranges::from_iter([3])).is_err(), "it has three");
    assert_eq!(shelf.blobs_read.load(Ordering::Relaxed), 2, "the others are not read");
    let (damaged, _) = self::shelf(Some(Absent::Damaged));
    let want = ValueWant::Package {
        blobs: Some(Ranges::below(1)),
    };
    let height = Height(4);
    let answer = ultramarine_net::sync::answer(&damaged, &ValueRequest { height, want }).expect("an honest request");
    assert_eq!(read(&answer).0, ValueResponse::Unavailable);
    assert!(answer.alarm);
}

#[test]
fn a_pruned_height_is_served_without_blobs() {
    for absent in [Absent::Pruned { oldest: Height(9) }, Absent::NeverHeld] {
        let (shelf, value) = shelf(Some(absent));
        let opened = open(&answer(&shelf, Height(4), SyncWant::Package), 4).expect("usable");
        assert!(!opened.is_full);
        assert_eq!(opened.payload, value.payload);
    }
}

#[test]
fn a_height_not_decided_is_answered_with_the_tip() {
    let (shelf, _) = shelf(None);
    for want in [SyncWant::Package, SyncWant::Certificate] {
        let answer = answer(&shelf, Height(5), want);
        assert_eq!(read(&answer).0, ValueResponse::NotDecided { tip: Height(4) });
        assert!(!answer.alarm);
    }
}

#[test]
fn what_should_be_here_and_is_not_is_an_alarm_and_never_a_package() {
    let (damaged, value) = shelf(Some(Absent::Damaged));
    let (short, _) = shelf(None);
    let mut torn = value.clone();
    torn.blobs.pop();
    short.put(torn);
    for shelf in [damaged, short] {
        let answer = answer(&shelf, Height(4), SyncWant::Package);
        assert_eq!(read(&answer).0, ValueResponse::Unavailable);
        assert!(answer.alarm);
    }
    let (gap, _) = shelf(None);
    let answer = answer(&gap, Height(3), SyncWant::Certificate);
    assert_eq!(
        read(&answer).0,
        ValueResponse::Unavailable,
        "below the tip and not here"
    );
}

#[test]
fn only_the_certificate_is_sent_when_only_it_is_asked_for() {
    let (shelf, value) = shelf(None);
    let answer = answer(&shelf, Height(4), SyncWant::Certificate);
    let (response, package) = read(&answer);
    assert_eq!(
        response,
        ValueResponse::Certificate {
            certificate: certificate(value.key)
        }
    );
    assert!(package.is_none());
}

fn raw(package: &SyncedValuePackage, head: ultramarine_types::CommitCertificate) -> RawDecidedValue {
    let value_bytes = rkyv::to_bytes::<rkyv::rancor::Error>(package).expect("plain data archives");
    RawDecidedValue {
        certificate: head,
        value_bytes,
    }
}

#[test]
fn a_package_that_does_not_fit_together_is_refused() {
    let value = value(4, 1, 1000, 2);
    let good = PackagedValue {
        certificate: certificate(value.key),
        init: value.init.as_ref().clone(),
        lists: value.lists.as_ref().clone(),
        payload: value.payload.to_vec(),
    };
    let head = certificate(value.key);
    let full = |value: PackagedValue| SyncedValuePackage::Full { value };
    let open =
        |package: &SyncedValuePackage, height| raw(package, head.clone()).open(Height(height), &chain(6)).map(|_| ());
    assert_eq!(open(&full(good.clone()), 4), Ok(()));
    assert_eq!(
        open(&full(good.clone()), 5),
        Err(PackageFault::Height { found: Height(4) })
    );

    let mut other = good.clone();
    other.init.metadata.header.gas_used += 1;
    assert_eq!(open(&full(other), 4), Err(PackageFault::Id));

    let mut other = good.clone();
    other.certificate.round.0 += 1;
    assert_eq!(open(&full(other), 4), Err(PackageFault::Certificate));

    let mut other = good.clone();
    other.payload.pop();
    assert_eq!(
        open(&SyncedValuePackage::MetadataOnly { value: other }, 4),
        Err(PackageFault::Payload)
    );

    for kind in ListKind::ALL {
        let mut other = good.clone();
        let mut items = Vec::new();
        other.lists.write(kind, &mut items);
        items[0] ^= 1;
        assert!(other.lists.read(kind, &items));
        assert_eq!(open(&full(other), 4), Err(PackageFault::List(kind)));
        let mut other = good.clone();
        assert!(other.lists.read(kind, &[]));
        assert_eq!(open(&full(other), 4), Err(PackageFault::List(kind)), "none");
    }

    let mut other = good;
    other.init.metadata.chain = ChainIdentity([1; 32]);
    assert!(matches!(open(&full(other), 4), Err(PackageFault::Init(_))));

    let mut garbage = AlignedVec::new();
    garbage.extend_from_slice(&[0xff; 300]);
    let garbage = RawDecidedValue {
        certificate: head.clone(),
        value_bytes: garbage,
    };
    assert_eq!(
        garbage.open(Height(4), &chain(6)).map(|_| ()),
        Err(PackageFault::Archive)
    );
}
