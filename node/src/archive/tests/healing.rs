//! What is damaged or pruned here comes back from the archive.

use ultramarine_types::storage::{Absent, BlobState, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Assembly, Height};

use super::rig::*;
use crate::archive::address::BucketAccess;

#[test]
fn a_damaged_height_is_healed_from_the_archive_while_the_store_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    let address = folder_address(&dir.path().join("archive"));
    let mut rig = Rig::open(&dir.path().join("data"));
    let values = rig.grow(1..=8, 2);
    let uploading = rig.upload(&address, &BucketAccess::default(), 4);
    rig.wait_archived(&uploading, 8);
    let damaged = [&values[2], &values[6]];
    for value in damaged {
        rig.damage(value);
        let found = rig.view.decided_value(value.key.height).err();
        assert_eq!(found, Some(Absent::Damaged));
    }
    for value in damaged {
        let healed = || rig.view.decided_value(value.key.height).is_ok();
        until(healed, || format!("{:?} is damaged", rig.view.damaged()));
        assert_same(&rig.view.decided_value(value.key.height).expect("healed").1, value);
    }
    assert!(rig.view.damaged().is_empty());
    drop((uploading, rig));
    let rig = Rig::open(&dir.path().join("data"));
    for value in &values {
        assert_same(&rig.view.decided_value(value.key.height).expect("held").1, value);
    }
}

#[test]
fn what_was_pruned_is_served_again_after_it_is_brought_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let address = folder_address(&dir.path().join("archive"));
    let access = BucketAccess::default();
    let mut rig = Rig::open(&dir.path().join("data"));
    let values = rig.grow(1..=20, 3);
    let uploading = rig.upload(&address, &access, 4);
    rig.wait_archived(&uploading, 20);
    drop(uploading);
    let oldest = rig.retire(18);
    assert!(oldest > Height(3), "{oldest}");
    let state = |rig: &Rig, height| rig.view.blob_status(Height(height)).expect("it is decided").state;
    let back: Vec<&Assembly> = values.iter().filter(|value| value.key.height < oldest).collect();
    for value in &back {
        let height = value.key.height.0;
        assert_eq!(state(&rig, height), BlobState::Archived);
        let assembly = archived(&address, &access, height).expect("it is in the archive");
        let tag = Tag::Restored;
        rig.requests
            .send(StoreRequest::Put { assembly, tag })
            .expect("the tile runs");
    }
    // Its answer comes after those.
    rig.ask(StoreRequest::Load { height: Height(1) });
    drop(rig);
    let mut rig = Rig::open(&dir.path().join("data"));
    for value in &back {
        assert_eq!(state(&rig, value.key.height.0), BlobState::Decided);
        assert_same(&rig.view.decided_value(value.key.height).expect("it is back").1, value);
    }
    let loaded = rig.ask(StoreRequest::Load { height: Height(1) });
    assert!(
        matches!(loaded, StoreReply::Loaded { value: Some(_), .. }),
        "{loaded:?}"
    );
}
