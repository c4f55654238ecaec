//! Stories of values that are stored, decided, dropped and read back.

use std::sync::Arc;

use ultramarine_types::storage::{Absent, Blobs, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Height, KzgCommitment, KzgProof, Lists, Signature, ValueKey};

use super::support::*;
use crate::Misdecision;

#[test]
fn a_decided_value_is_read_back_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    assert!(store.recovered.head.is_none() && store.recovered.log.is_none() && store.recovered.undecided.is_empty());
    assert_eq!(store.view.head(), Height(0));
    let value = value(1, 7, 3);
    store.put(&value, Tag::Proposed);
    assert_same(&store.view.value(&value.key).expect("stored"), &value);
    assert!(store.view.decided(Height(1)).is_none(), "stored is not decided");
    store.commit(&value);
    assert_eq!(store.view.head(), Height(1));
    let (decided, found) = store.view.decided_value(Height(1)).expect("decided");
    assert_same(&found, &value);
    assert_eq!(decided.certificate, certificate(&value));
    assert_eq!(decided.blobs, Blobs::Held);
    assert_eq!(store.view.height_of_block(&block_hash(1, 7)), Some(Height(1)));
    assert_eq!(store.view.height_of_block(&block_hash(1, 8)), None);
    assert_eq!(
        store.view.decided_payload(Height(1)).expect("decided").payload,
        value.payload
    );
}

#[test]
fn a_value_reads_the_same_from_memory_and_from_the_map() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    for blobs in 0..=6 {
        let height = u64::from(blobs) + 1;
        let value = value_with(height, blobs, blobs, 5000 * usize::from(blobs));
        store.put(&value, Tag::Streamed);
        assert_same(&store.view.value(&value.key).expect("from the map"), &value);
        assert_same(&store.view.value(&value.key).expect("from the map again"), &value);
        store.commit(&value);
        assert_same(&store.view.decided_value(Height(height)).expect("decided").1, &value);
    }
}

#[test]
fn a_value_that_is_not_hot_says_where_it_lies() {
    let folder = tempfile::tempdir().expect("a folder");
    let cold = cold();
    let mut store = Store::open_with(folder.path(), &cold);
    let value = value_with(1, 1, 2, 5000);
    assert_eq!(store.view.on_disk(&value.key), None, "not held");
    store.put(&value, Tag::Streamed);
    for _ in 0..2 {
        let range = store.view.on_disk(&value.key).expect("held, undecided or decided");
        assert!(range.bytes >= 2 * 131_072 + 5000);
        let file_bytes = std::fs::metadata(&range.path).expect("the segment").len();
        assert!(range.offset + range.bytes <= file_bytes);
        if store.view.decided(Height(1)).is_none() {
            store.commit(&value);
        }
    }
}

#[test]
fn other_values_of_a_decided_height_are_gone_and_counted_dead() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = options();
    let mut store = Store::open_with(folder.path(), &options);
    let (decided, loser, next) = (value(1, 1, 2), value(1, 2, 2), value(2, 3, 1));
    for value in [&loser, &decided, &next] {
        store.put(value, Tag::Streamed);
    }
    store.commit(&decided);
    assert_eq!(store.view.value(&loser.key).err(), Some(Absent::Unknown));
    assert_same(&store.view.value(&next.key).expect("a later height's stays"), &next);
    assert_eq!(metric(&options, "ultramarine_store_dead_bytes"), 4096 + 2 * 131_072);
    assert_eq!(metric(&options, "ultramarine_store_drops_total"), 1);
    assert_eq!(metric(&options, "ultramarine_store_promotions_total"), 1);
    assert_eq!(metric(&options, "ultramarine_store_undecided_values"), 1);
}

#[test]
fn storing_twice_answers_twice_and_writes_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = options();
    let mut store = Store::open_with(folder.path(), &options);
    let value = value(1, 1, 1);
    let put = |tag| StoreRequest::Put {
        assembly: value.clone(),
        tag,
    };
    let replies = store.ask([put(Tag::Streamed), put(Tag::Certified)]);
    assert!(matches!(
        &replies[..],
        [
            StoreReply::Stored { .. },
            StoreReply::Stored {
                tag: Tag::Certified,
                ..
            }
        ]
    ));
    let appended = || metric(&options, "ultramarine_store_appended_bytes_total");
    let once = appended();
    store.put(&value, Tag::Streamed);
    assert_eq!(appended(), once);
}

/// What an answer says of the value that is stored.
fn answered(reply: &StoreReply) -> (Signature, Blobs) {
    match reply {
        StoreReply::Stored { init, blobs, .. } => (init.signature, *blobs),
        other => panic!("{other:?}"),
    }
}

#[test]
fn storing_twice_answers_with_what_is_stored() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    // One value id, and an `Init` of another signature each time.
    let signed = |signature: u8, is_whole: bool| {
        let mut value = value(1, 1, 1);
        Arc::make_mut(&mut value.init).signature = Signature([signature; 64]);
        if !is_whole {
            value.blobs.clear();
        }
        let assembly = value;
        StoreRequest::Put {
            assembly,
            tag: Tag::Certified,
        }
    };
    let of = |signature, blobs| (Signature([signature; 64]), blobs);
    // Under one sync: the blobs come later, and with them the second `Init`.
    let replies = store.ask([signed(1, false), signed(2, false), signed(3, true), signed(4, true)]);
    let bare = of(1, Blobs::NeverHeld);
    let whole = of(3, Blobs::Held);
    assert_eq!(
        replies.iter().map(answered).collect::<Vec<_>>(),
        [bare, bare, whole, whole]
    );
    // Once it is durable, after a start, and once it is decided.
    assert_eq!(answered(&store.ask([signed(5, false)])[0]), whole);
    let mut store = reopened(store, folder.path());
    assert_eq!(answered(&store.ask([signed(6, true)])[0]), whole);
    let held = store.view.value(&value(1, 1, 1).key).expect("stored");
    assert_eq!(held.init.signature, Signature([3; 64]), "it is what the record has");
    store.commit(&held);
    assert_eq!(answered(&store.ask([signed(7, false)])[0]), whole);
}

#[test]
fn a_value_for_a_decided_height_is_answered_and_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    store.grow(1..=2, 1);
    let late = value(1, 99, 1);
    store.put(&late, Tag::Streamed);
    assert_eq!(store.view.value(&late.key).err(), Some(Absent::Unknown));
}

#[test]
fn a_group_shares_one_sync_and_is_answered_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = options();
    let mut store = Store::open_with(folder.path(), &options);
    store.begin(1);
    let syncs = || metric(&options, "ultramarine_store_syncs_total");
    let before = syncs();
    let puts = (1..=4).map(|seed| StoreRequest::Put {
        assembly: value(1, seed, 1),
        tag: Tag::Streamed,
    });
    let replies = store.ask(puts);
    let seeds = replies.iter().map(|reply| match reply {
        StoreReply::Stored { init, .. } => init.metadata.header.extra_data[0],
        other => panic!("{other:?}"),
    });
    assert_eq!(seeds.collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(syncs() - before, 1);
}

#[test]
fn a_metadata_only_height_is_never_held_until_its_blobs_come() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let (first, second) = (value(1, 1, 2), value(2, 2, 2));
    for value in [&first, &second] {
        let put = StoreRequest::Put {
            assembly: without_blobs(value),
            tag: Tag::Certified,
        };
        let replies = store.ask([put]);
        assert!(matches!(
            &replies[..],
            [StoreReply::Stored {
                blobs: Blobs::NeverHeld,
                ..
            }]
        ));
        assert_eq!(store.view.value(&value.key).err(), Some(Absent::NeverHeld));
    }
    store.ask([commit(&first, Blobs::NeverHeld)]);
    assert_eq!(store.view.decided_value(Height(1)).err(), Some(Absent::NeverHeld));
    let kept = store.view.decided_payload(Height(1)).expect("kept");
    assert_eq!((kept.payload, kept.lists), (first.payload.clone(), first.lists.clone()));
    assert_eq!(store.view.oldest_blobs(), Height(2));
    let refused = store
        .try_ask([commit(&second, Blobs::Held)])
        .expect_err("its blobs are not here (I3)");
    assert_eq!(refused, Misdecision::WithoutBlobs(second.key).into());
    let mut store = reopened(store, folder.path());
    store.put(&second, Tag::Certified);
    store.commit(&second);
    assert_same(&store.view.decided_value(Height(2)).expect("held").1, &second);
}

#[test]
fn a_value_with_some_of_its_blobs_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let mut partial = value(1, 1, 3);
    partial.blobs.pop();
    let replies = store.ask([StoreRequest::Put {
        assembly: partial.clone(),
        tag: Tag::Streamed,
    }]);
    assert!(matches!(&replies[..], [StoreReply::Refused { key, .. }] if *key == partial.key));
    assert_eq!(store.view.value(&partial.key).err(), Some(Absent::Unknown));
}

#[test]
fn a_decision_without_its_value_or_out_of_turn_stops_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let first = value(1, 1, 1);
    assert!(
        store.try_ask([commit(&first, Blobs::Held)]).is_err(),
        "it is not stored (I1)"
    );
    let mut store = reopened(store, folder.path());
    let third = value(3, 3, 1);
    store.put(&third, Tag::Streamed);
    assert!(
        store.try_ask([commit(&third, Blobs::Held)]).is_err(),
        "height 1 is not decided"
    );
    let mut store = reopened(store, folder.path());
    store.put(&first, Tag::Streamed);
    store.commit(&first);
    store.commit(&first);
    let other = value(1, 2, 1);
    assert!(
        store.try_ask([commit(&other, Blobs::Held)]).is_err(),
        "another value is decided at height 1"
    );
}

#[test]
fn a_loaded_height_brings_metadata_lists_and_payload() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let value = store.grow(1..=1, 2).remove(0);
    let replies = store.ask([
        StoreRequest::Load { height: Height(1) },
        StoreRequest::Load { height: Height(2) },
    ]);
    match &replies[..] {
        [
            StoreReply::Loaded { value: Some(found), .. },
            StoreReply::Loaded {
                height: Height(2),
                value: None,
            },
        ] => {
            assert_eq!(found.decided.init, value.init);
            assert_eq!(found.lists, value.lists);
            assert_eq!(found.payload, value.payload);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_value_of_1024_blobs_is_stored_and_served_from_the_map() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = ultramarine_types::chain::Limits { blobs_per_block: 1024 };
    let options = crate::StoreOptions {
        hot_bytes: 0,
        limits,
        ..options()
    };
    let mut store = Store::open_with(folder.path(), &options);
    let small = value(1, 1, 1);
    let blobs: Vec<_> = (0..1024u16)
        .map(|index| {
            let mut blob = small.blobs[0].to_vec();
            blob[..2].copy_from_slice(&index.to_le_bytes());
            bytes::Bytes::from(blob)
        })
        .collect();
    let lists = Lists::of(
        &small.payload,
        blobs.iter().map(|blob| &blob[..]).zip((0..).map(commitment)),
        (0..1024u16).map(|index| KzgProof(commitment(!index).0)).collect(),
    );
    let large = assemble(1, 1, small.payload, blobs, lists);
    store.put(&large, Tag::Streamed);
    store.commit(&large);
    let (_, found) = store.view.decided_value(Height(1)).expect("decided");
    assert_same(&found, &large);
    drop((found, store));
    let store = Store::open_with(folder.path(), &options);
    assert_same(&store.view.decided_value(Height(1)).expect("decided").1, &large);
    assert!(store.recovered.undecided.is_empty());
}

fn commitment(index: u16) -> KzgCommitment {
    let mut bytes = [0; 48];
    bytes[..2].copy_from_slice(&index.to_le_bytes());
    KzgCommitment(bytes)
}

#[test]
fn a_value_larger_than_a_segment_gets_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let large = value_with(1, 1, 6, 6 << 20);
    store.put(&large, Tag::Streamed);
    let small = value(1, 2, 1);
    store.put(&small, Tag::Streamed);
    assert_same(&store.view.value(&large.key).expect("stored"), &large);
    assert_same(&store.view.value(&small.key).expect("stored"), &small);
}

#[test]
fn an_unknown_value_is_unknown() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    store.grow(1..=1, 1);
    let nothing = ValueKey {
        height: Height(1),
        id: ultramarine_types::ValueId([0; 32]),
    };
    assert_eq!(store.view.value(&nothing).err(), Some(Absent::Unknown));
    assert_eq!(store.view.decided_value(Height(2)).err(), Some(Absent::Unknown));
    assert_eq!(store.view.decided_value(Height(0)).err(), Some(Absent::Unknown));
}

#[test]
fn the_head_and_what_is_near_it_are_read_from_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = options();
    let mut store = Store::open_with(folder.path(), &options);
    store.grow(1..=70, 0);
    let decided = options.registry.gauge("ultramarine_store_decided_heights", "", &[]);
    assert_eq!(decided.get(), 70);
    let hits = options
        .registry
        .counter("ultramarine_store_pointer_hits_total", "", &[]);
    let before = hits.get();
    assert_eq!(store.view.head(), Height(70));
    for height in [70, 7] {
        assert!(store.view.decided(Height(height)).is_some());
    }
    assert_eq!(hits.get() - before, 3);
    assert!(store.view.decided(Height(6)).is_some(), "from the index");
    assert_eq!(hits.get() - before, 3);
}

#[test]
fn a_height_is_found_by_its_blocks_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    assert_eq!(store.view.height_at(1_700_000_001), None);
    store.grow(1..=70, 0);
    for height in [1, 2, 35, 69, 70] {
        assert_eq!(store.view.height_at(1_700_000_000 + height), Some(Height(height)));
    }
    assert_eq!(store.view.height_at(1_700_000_000), None);
    assert_eq!(store.view.height_at(1_700_000_071), None);
}

#[test]
fn a_value_with_other_lists_than_its_metadatas_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let mut wrong = value(1, 1, 2);
    wrong.lists = value(1, 2, 2).lists;
    let key = wrong.key;
    let replies = store.ask([StoreRequest::Put {
        assembly: wrong,
        tag: Tag::Streamed,
    }]);
    assert!(
        matches!(&replies[..], [StoreReply::Refused { key: refused, .. }] if *refused == key),
        "{replies:?}"
    );
    assert_eq!(store.view.value(&key).err(), Some(Absent::Unknown));
}

#[test]
fn evidence_is_kept_once_and_outlives_the_process() {
    let pair = two_votes;
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    assert_eq!(store.evidence(Height(0), Height(u64::MAX), 10), []);
    let replies = store.ask([StoreRequest::Evidence(vec![pair(9), pair(4)])]);
    assert!(
        matches!(&replies[..], [StoreReply::EvidenceTaken { is_durable: true }]),
        "{replies:?}"
    );
    store.ask([StoreRequest::Evidence(vec![pair(4), pair(700)])]);
    drop(store);
    let store = Store::open(folder.path());
    let all = |rows_max| store.evidence(Height(0), Height(u64::MAX), rows_max);
    assert_eq!(all(10), [pair(4), pair(9), pair(700)]);
    assert_eq!(all(2), [pair(4), pair(9)]);
    assert_eq!(store.evidence(Height(5), Height(9), 10), [pair(9)]);
}

#[test]
fn silence_outlives_the_log_and_never_falls() {
    let folder = tempfile::tempdir().expect("a folder");
    for (asked, kept) in [(7, 7), (5, 7), (9, 9)] {
        let through = Height(asked);
        let replies = Store::open(folder.path()).ask([StoreRequest::Silence { through }]);
        assert!(
            matches!(&replies[..], [StoreReply::Silenced { through: said }] if *said == through),
            "{replies:?}"
        );
        let recovered = Store::open(folder.path()).recovered;
        assert_eq!(recovered.silent_through, Height(kept), "after {asked}");
    }
}
