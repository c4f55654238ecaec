//! The store as a tile, on every medium this machine allows: the same story, the same answers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ultramarine_runtime::topology::Seat;
use ultramarine_runtime::{Halt, Io, Reason, Receiver, Sender, Tile, link, skip};
use ultramarine_types::storage::{Absent, Blobs, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Height, Lsn};

use super::support::*;
use crate::{OpenStore, StoreOptions, open, tile};

struct Running {
    requests: Sender<StoreRequest>,
    replies: Receiver<StoreReply>,
    halt: Halt,
    tile: ultramarine_runtime::JoinHandle,
}

impl Running {
    fn start(state: crate::State, io: Io, options: &StoreOptions) -> Self {
        let (requests, incoming) = link("core-store", 64).expect("a link");
        let (outgoing, replies) = link("store-core", 64).expect("a link");
        let halt = Halt::new();
        let tile = Tile::spawn(&options.registry, "store", Seat::default(), &halt, move |context| {
            tile::run(context, state, io, incoming, outgoing).map_err(|error| error.to_string())
        });
        Self {
            requests,
            replies,
            halt,
            tile: tile.expect("a thread"),
        }
    }

    fn answer(&mut self) -> StoreReply {
        let clock = ultramarine_runtime::Clock::start();
        loop {
            if let Some(reply) = self.replies.recv_until(None, &clock) {
                return reply;
            }
            assert!(!self.replies.is_closed(), "the tile ended: {:?}", self.halt.reason());
        }
    }

    fn ask(&mut self, request: StoreRequest) -> StoreReply {
        self.requests.send(request).expect("the tile runs");
        self.answer()
    }
}

fn ios() -> Vec<Io> {
    if skip::without_ring("the store's tile") {
        return vec![Io::Fallback];
    }
    vec![Io::Fallback, Io::Uring]
}

#[test]
fn the_tile_stores_decides_and_recovers_on_every_medium() {
    for io in ios() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = options();
        let OpenStore { state, view, .. } = open(folder.path(), &options).expect("it opens");
        let mut store = Running::start(state, io, &options);
        assert!(matches!(
            store.ask(StoreRequest::BeginEpoch { height: Height(1) }),
            StoreReply::EpochBegun(_)
        ));
        for height in 1..=12 {
            let value = value(height, height as u8, 6);
            let put = StoreRequest::Put {
                assembly: value.clone(),
                tag: Tag::Streamed,
            };
            assert!(matches!(store.ask(put), StoreReply::Stored { .. }));
            assert_same(&view.value(&value.key).expect("stored"), &value);
            let record = Bytes::from(vec![height as u8; 300]);
            store
                .requests
                .send(StoreRequest::LogAppend {
                    lsn: Lsn(height),
                    record,
                })
                .expect("the tile runs");
            let synced = store.ask(StoreRequest::LogSync { lsn: Lsn(height) });
            assert!(matches!(synced, StoreReply::LogDurable { lsn } if lsn.0 == height));
            assert!(matches!(
                store.ask(commit(&value, Blobs::Held)),
                StoreReply::Committed { .. }
            ));
            let next = Height(height + 1);
            let begun = store.ask(StoreRequest::BeginEpoch { height: next });
            assert!(matches!(begun, StoreReply::EpochBegun(epoch) if epoch.height == next));
        }
        assert!(matches!(
            store.ask(StoreRequest::Load { height: Height(3) }),
            StoreReply::Loaded { value: Some(_), .. }
        ));
        let until = Instant::now() + Duration::from_secs(20);
        while !matches!(
            store.ask(StoreRequest::Retire { blobs_below: Height(8) }),
            StoreReply::Retired { blobs_below } if blobs_below > Height(1)
        ) {
            assert!(Instant::now() < until, "nothing is freed");
        }
        store
            .requests
            .send(StoreRequest::LogAppend {
                lsn: Lsn(13),
                record: Bytes::from_static(b"last"),
            })
            .expect("it runs");
        assert!(matches!(
            store.ask(StoreRequest::LogSync { lsn: Lsn(13) }),
            StoreReply::LogDurable { .. }
        ));
        store.halt.stop(Reason::Asked);
        store.tile.join();
        if io == Io::Uring {
            let operations = metric(&options, "ultramarine_ring_operations_total{ring=\"store\"}");
            assert!(operations > 50, "{operations}");
        }
        drop((view, store.requests, store.replies));
        let store = Store::open_with(folder.path(), &options);
        assert_eq!(store.view.head(), Height(12));
        for height in 8..=12 {
            assert_same(
                &store.view.decided_value(Height(height)).expect("held").1,
                &value(height, height as u8, 6),
            );
        }
        assert_eq!(
            store.recovered.log.expect("the log").records,
            [Bytes::from_static(b"last")]
        );
    }
}

#[test]
fn a_failure_is_told_before_the_tile_stops_the_node() {
    for io in ios() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = options();
        let OpenStore { state, .. } = open(folder.path(), &options).expect("it opens");
        let mut store = Running::start(state, io, &options);
        let reply = store.ask(commit(&value(1, 1, 1), Blobs::Held));
        assert!(
            matches!(&reply, StoreReply::Failed { reason } if reason.contains("not stored")),
            "{reply:?}"
        );
        store.tile.join();
        assert!(matches!(
            store.halt.reason(),
            Some(Reason::Failed { tile: "store", .. })
        ));
    }
}

#[test]
fn the_tile_ends_when_nobody_can_ask_any_more() {
    for io in ios() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = options();
        let OpenStore { state, .. } = open(folder.path(), &options).expect("it opens");
        let Running {
            requests,
            replies,
            halt,
            tile,
        } = Running::start(state, io, &options);
        drop(requests);
        tile.join();
        assert!(!halt.is_stopped());
        drop(replies);
    }
}

/// Nobody asks the store for anything when a reader of another thread meets the damage.
#[test]
fn the_core_is_told_once_of_damage_that_a_reader_met() {
    for io in ios() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = cold();
        let OpenStore { state, view, .. } = open(folder.path(), &options).expect("it opens");
        let mut store = Running::start(state, io, &options);
        let values: Vec<_> = (1..=3).map(|height| value(height, height as u8, 2)).collect();
        for value in &values {
            let put = StoreRequest::Put {
                assembly: value.clone(),
                tag: Tag::Streamed,
            };
            assert!(matches!(store.ask(put), StoreReply::Stored { .. }));
            assert!(matches!(
                store.ask(commit(value, Blobs::Held)),
                StoreReply::Committed { .. }
            ));
        }
        damage(&view, &values[1].key, 700);
        assert_eq!(view.decided_value(Height(2)).err(), Some(Absent::Damaged));
        assert!(matches!(store.answer(), StoreReply::Damaged { height } if height == Height(2)));
        assert_eq!(view.damaged(), [Height(2)]);
        // Its readers meet it again, and its payload is not served to the core either.
        assert_eq!(view.value(&values[1].key).err(), Some(Absent::Damaged));
        let loaded = store.ask(StoreRequest::Load { height: Height(2) });
        assert!(matches!(loaded, StoreReply::Loaded { value: None, .. }), "{loaded:?}");
        let loaded = store.ask(StoreRequest::Load { height: Height(3) });
        assert!(
            matches!(loaded, StoreReply::Loaded { value: Some(_), .. }),
            "{loaded:?}"
        );
        // The same bit flipped again makes it whole: the reader believes it once it is said to be restored.
        damage(&view, &values[1].key, 700);
        assert_eq!(view.decided_value(Height(2)).err(), Some(Absent::Damaged));
        view.restored(Height(2));
        assert_same(&view.decided_value(Height(2)).expect("whole").1, &values[1]);
        assert!(view.damaged().is_empty());
        store.halt.stop(Reason::Asked);
        store.tile.join();
    }
}
