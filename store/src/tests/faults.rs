//! A disk that fails at its n-th operation: nothing unsafe is ever acknowledged, and what was is still there.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use ultramarine_runtime::medium::{Medium, MediumFile, Pwrite, PwriteFile, ready};
use ultramarine_types::storage::{Blobs, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Assembly, Height, Lsn};

use super::support::*;
use crate::{OpenStore, Writer, open};

/// What goes wrong, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    WriteFull,
    WriteBroken,
    SyncFull,
    SyncBroken,
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::WriteFull | Self::SyncFull => io::ErrorKind::StorageFull.into(),
            Self::WriteBroken | Self::SyncBroken => io::Error::other("the disk said no"),
        }
    }
}

/// Counts down to the fault.
#[derive(Clone)]
struct Fuse {
    fault: Fault,
    left: Rc<Cell<u32>>,
    syncs_after: Rc<Cell<u32>>,
}

impl Fuse {
    fn burn(&self, on: [Fault; 2]) -> io::Result<()> {
        if !on.contains(&self.fault) {
            return Ok(());
        }
        match self.left.get() {
            0 => Ok(()),
            1 => {
                self.left.set(0);
                Err(self.fault.error())
            }
            left => {
                self.left.set(left - 1);
                Ok(())
            }
        }
    }

    fn has_blown(&self) -> bool {
        self.left.get() == 0
    }
}

struct Faulty {
    disk: Pwrite,
    fuse: Fuse,
}

impl Medium for Faulty {
    type File = FaultyFile;

    fn name(&self) -> &'static str {
        "faulty"
    }

    async fn open(&self, path: &Path) -> io::Result<FaultyFile> {
        Ok(FaultyFile {
            file: self.disk.open(path).await?,
            fuse: self.fuse.clone(),
        })
    }
}

struct FaultyFile {
    file: PwriteFile,
    fuse: Fuse,
}

impl MediumFile for FaultyFile {
    type Buffer = <PwriteFile as MediumFile>::Buffer;

    async fn buffer(&self, bytes: usize) -> Self::Buffer {
        self.file.buffer(bytes).await
    }

    async fn write(&self, at: u64, buffer: Self::Buffer) -> io::Result<()> {
        self.fuse.burn([Fault::WriteFull, Fault::WriteBroken])?;
        self.file.write(at, buffer).await
    }

    async fn sync(&self) -> io::Result<()> {
        if self.fuse.has_blown() {
            self.fuse.syncs_after.set(self.fuse.syncs_after.get() + 1);
        }
        self.fuse.burn([Fault::SyncFull, Fault::SyncBroken])?;
        self.file.sync().await
    }

    async fn read(&self, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
        self.file.read(at, bytes).await
    }
}

/// A short life of three heights, request by request.
fn life() -> Vec<StoreRequest> {
    let mut requests = Vec::new();
    for height in 1..=3 {
        let value = value(height, height as u8, 2);
        requests.push(StoreRequest::BeginEpoch { height: Height(height) });
        requests.push(StoreRequest::Put {
            assembly: value.clone(),
            tag: Tag::Streamed,
        });
        requests.push(StoreRequest::LogAppend {
            lsn: Lsn(height),
            record: Bytes::from(vec![height as u8; 50]),
        });
        requests.push(StoreRequest::LogSync { lsn: Lsn(height) });
        requests.push(commit(&value, Blobs::Held));
    }
    requests
}

/// What was acknowledged before the store stopped, if it did.
struct Outcome {
    stored: Vec<Assembly>,
    committed: Vec<Height>,
    durable: u64,
    refused: usize,
    stopped: bool,
}

fn live(folder: &Path, fuse: &Fuse) -> Outcome {
    let OpenStore { state, .. } = open(folder, &options()).expect("it opens");
    let mut writer = Writer::new(
        Faulty {
            disk: Pwrite::new(None),
            fuse: fuse.clone(),
        },
        state,
    );
    let mut outcome = Outcome {
        stored: vec![],
        committed: vec![],
        durable: 0,
        refused: 0,
        stopped: false,
    };
    for request in life() {
        let put = match &request {
            StoreRequest::Put { assembly, .. } => Some(assembly.clone()),
            _ => None,
        };
        let mut replies = Vec::new();
        let taken = ready(async {
            writer.handle(request, &mut replies).await?;
            writer.flush(&mut replies).await
        });
        for reply in replies {
            match reply {
                StoreReply::Stored { .. } => outcome.stored.push(put.clone().expect("only a put is stored")),
                StoreReply::Refused { .. } => outcome.refused += 1,
                StoreReply::Committed { height } => outcome.committed.push(height),
                StoreReply::LogDurable { lsn } => outcome.durable = lsn.0,
                StoreReply::EpochBegun(_) => {}
                other => panic!("{other:?}"),
            }
        }
        if taken.is_err() {
            outcome.stopped = true;
            break;
        }
    }
    outcome
}

/// Every operation fails once in its own life; then the process ends and the directory is opened again.
fn fails_at_every_operation(fault: Fault) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for at in 1.. {
        let folder = tempfile::tempdir().expect("a folder");
        let fuse = Fuse {
            fault,
            left: Rc::new(Cell::new(at)),
            syncs_after: Rc::default(),
        };
        let outcome = live(folder.path(), &fuse);
        if !fuse.has_blown() {
            break;
        }
        if matches!(fault, Fault::WriteBroken | Fault::SyncBroken) {
            assert_eq!(
                fuse.syncs_after.get(),
                0,
                "a failed sync is never tried again ({fault:?} at {at})"
            );
        }
        let store = Store::open(folder.path());
        assert_eq!(store.view.head().0, outcome.committed.len() as u64, "{fault:?} at {at}");
        for value in &outcome.stored {
            assert_same(&store.view.value(&value.key).expect("it was acknowledged"), value);
        }
        if let Some(log) = store.recovered.log.filter(|log| log.epoch.height.0 == outcome.durable) {
            assert_eq!(
                log.records,
                [Bytes::from(vec![outcome.durable as u8; 50])],
                "{fault:?} at {at}"
            );
        }
        outcomes.push(outcome);
    }
    assert!(outcomes.len() >= 3, "the life has several operations");
    outcomes
}

#[test]
fn a_failed_sync_stops_the_store_and_acknowledges_nothing_more() {
    assert!(
        fails_at_every_operation(Fault::SyncBroken)
            .iter()
            .all(|outcome| outcome.stopped)
    );
}

#[test]
fn a_failed_write_stops_the_store_and_acknowledges_nothing_more() {
    assert!(
        fails_at_every_operation(Fault::WriteBroken)
            .iter()
            .all(|outcome| outcome.stopped)
    );
}

#[test]
fn a_disk_that_fills_up_refuses_the_value_and_names_no_lost_byte() {
    for fault in [Fault::WriteFull, Fault::SyncFull] {
        for outcome in fails_at_every_operation(fault) {
            // A value is refused; its commit then cannot be. The log has its own reserve, and stops the store without
            // it.
            assert!(outcome.refused <= 1 && outcome.stopped);
        }
    }
}

/// Height 2 is damaged, and stored again on a medium that fails. Whether it was acknowledged.
fn restores(folder: &Path, value: &Assembly, fuse: &Fuse) -> bool {
    let OpenStore { state, view, .. } = open(folder, &cold()).expect("it opens");
    assert!(view.decided_payload(Height(2)).is_none(), "it is damaged");
    let disk = Pwrite::new(None);
    let fuse = fuse.clone();
    let mut writer = Writer::new(Faulty { disk, fuse }, state);
    let put = StoreRequest::Put {
        assembly: value.clone(),
        tag: Tag::Restored,
    };
    let mut replies = Vec::new();
    let outcome = ready(async {
        writer.handle(put, &mut replies).await?;
        writer.flush(&mut replies).await
    });
    match (outcome, &replies[..]) {
        (Ok(()), [StoreReply::Stored { .. }]) => true,
        (Ok(()), [StoreReply::Refused { .. }]) | (Err(_), []) => false,
        (outcome, replies) => panic!("{outcome:?}, {replies:?}"),
    }
}

#[test]
fn a_damaged_height_that_could_not_be_stored_again_is_damaged_still_and_can_be_later() {
    for fault in [Fault::WriteFull, Fault::WriteBroken, Fault::SyncFull, Fault::SyncBroken] {
        let mut failures_count = 0;
        for at in 1.. {
            let folder = tempfile::tempdir().expect("a folder");
            let mut store = Store::open_with(folder.path(), &cold());
            let values = store.grow(1..=3, 2);
            damage_payload(&store, &values[1].key);
            drop(store);
            let fuse = Fuse {
                fault,
                left: Rc::new(Cell::new(at)),
                syncs_after: Rc::default(),
            };
            let is_stored = restores(folder.path(), &values[1], &fuse);
            if !fuse.has_blown() {
                assert!(is_stored);
                break;
            }
            failures_count += 1;
            let mut store = Store::open_with(folder.path(), &cold());
            let is_whole = store.view.decided_value(Height(2)).is_ok();
            assert!(
                is_whole || !is_stored,
                "{fault:?} at {at}: what was acknowledged is there"
            );
            store.ask([StoreRequest::Put {
                assembly: values[1].clone(),
                tag: Tag::Restored,
            }]);
            for value in &values {
                assert_same(&store.view.decided_value(value.key.height).expect("whole").1, value);
            }
        }
        assert!(failures_count > 0, "{fault:?} never happened");
    }
}
