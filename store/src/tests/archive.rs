//! What an archive holds back here: nothing is freed before it is archived, whatever the disk says.

use std::time::{Duration, Instant};

use ultramarine_types::Height;
use ultramarine_types::storage::{Absent, Source, StoreReply, StoreRequest, Tag};

use super::full_disk::SmallDisk;
use super::support::*;
use crate::StoreOptions;

fn archiving() -> StoreOptions {
    StoreOptions {
        archives: true,
        ..cold()
    }
}

fn archived(store: &mut Store, through: u64) {
    let through = Height(through);
    assert!(store.ask([StoreRequest::Archived { through }]).is_empty());
}

#[test]
fn blobs_are_freed_up_to_what_is_archived_and_no_further() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &archiving());
    let values = store.grow(1..=24, 6);
    assert_eq!(store.retire(20), Height(1));
    archived(&mut store, 10);
    for reopened in [false, true] {
        if reopened {
            drop(store);
            store = Store::open_with(folder.path(), &archiving());
        }
        let oldest = store.retire(20);
        assert!(oldest > Height(1) && oldest <= Height(11), "{oldest}");
        assert_eq!(store.view.archived_through(), Height(10));
        for value in &values[10..] {
            assert_same(&store.view.decided_value(value.key.height).expect("held").1, value);
        }
    }
    archived(&mut store, 3);
    assert_eq!(store.view.archived_through(), Height(10), "it never falls");
    archived(&mut store, 1_000);
    assert_eq!(
        store.view.archived_through(),
        Height(24),
        "what is not decided is not archived"
    );
    assert!(store.retire(20) > Height(11));
}

#[test]
fn what_was_pruned_before_there_was_an_archive_is_not_called_archived() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    store.grow(1..=24, 6);
    let oldest = store.retire(20);
    assert!(oldest > Height(2));
    drop(store);
    let mut store = Store::open_with(folder.path(), &archiving());
    archived(&mut store, 20);
    for reopened in [false, true] {
        if reopened {
            drop(store);
            store = Store::open_with(folder.path(), &archiving());
        }
        for height in 0..=24 {
            let expected = (oldest.0..=20).contains(&height);
            assert_eq!(store.view.is_archived(Height(height)), expected, "height {height}");
        }
    }
}

#[test]
fn while_the_archive_is_away_a_full_disk_refuses_new_values_keeps_every_decided_one_and_goes_on_when_it_is_back() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut store = Store::open_with(disk.path(), &archiving());
    let mut values = Vec::new();
    let refused = loop {
        let height = values.len() as u64 + 1;
        let value = value(height, height as u8, 6);
        let replies = store.ask([StoreRequest::Put {
            assembly: value.clone(),
            tag: Tag::Streamed,
        }]);
        match &replies[..] {
            [StoreReply::Stored { .. }] => store.commit(&value),
            [StoreReply::Refused { reason, .. }] => break reason.clone(),
            other => panic!("{other:?}"),
        }
        values.push(value);
        // Retention has ended for all but two, and nothing is archived.
        assert_eq!(store.retire(height.saturating_sub(1)), Height(1));
        assert!(height < 200, "the disk is small");
    };
    assert!(refused.contains("archive"), "it says why nothing comes free: {refused}");
    for value in &values {
        assert_same(
            &store.view.decided_value(value.key.height).expect("it is decided").1,
            value,
        );
    }
    // Votes are kept all the same.
    let head = values.len() as u64;
    store.begin(head + 1);
    store.log(&[b"a vote"]);

    archived(&mut store, head - 2);
    let oldest = store.retire(head - 1);
    assert!(oldest > Height(1), "room again");
    assert_eq!(
        store.view.decided_value(Height(1)).err(),
        Some(Absent::Pruned { oldest })
    );
    let next = value(head + 1, 7, 6);
    // Files go in a thread of their own.
    let until = Instant::now() + Duration::from_secs(20);
    while !matches!(
        store.ask([StoreRequest::Put {
            assembly: next.clone(),
            tag: Tag::Streamed
        }])[..],
        [StoreReply::Stored { .. }]
    ) {
        assert!(Instant::now() < until, "there is no room although blobs were freed");
        store.retire(head - 1);
        std::thread::sleep(Duration::from_millis(10));
    }
    store.commit(&next);
    assert_same(
        &store.view.decided_value(Height(head)).expect("held").1,
        &values[values.len() - 1],
    );
}
