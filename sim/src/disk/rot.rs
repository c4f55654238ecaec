//! This file knows how decided heights rot on a disk, who finds that, and how they are stored again.
//!
//! Checksums tell rotten bytes from sound ones, so nothing rotten is ever read as if it were sound. The core is told
//! once of each height that was found.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ultramarine_types::storage::{Absent, Blobs, DecidedPayload, StoreReply, Tag};
use ultramarine_types::{Assembly, CommitCertificate, Height, Nanos};

use super::Disk;

/// What of a height rots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rot {
    Blob,
    Payload,
    /// The row of the index: nobody here knows any more what was decided.
    Row,
}

impl Rot {
    pub const ALL: [Self; 3] = [Self::Blob, Self::Payload, Self::Row];
}

/// The rotten heights of a disk.
#[derive(Debug, Default)]
pub(super) struct Rotten {
    /// What rotted, and whether the process that runs has found it.
    heights: BTreeMap<Height, (Rot, bool)>,
    /// Certificates that the core has shown.
    vouched: BTreeMap<Height, CommitCertificate>,
}

impl Rotten {
    /// The process is gone: the next one finds everything afresh.
    pub fn forget(&mut self) {
        self.heights.values_mut().for_each(|(_, is_found)| *is_found = false);
        self.vouched.clear();
    }

    pub fn contains(&self, height: &Height) -> bool {
        self.heights.contains_key(height)
    }

    /// What of a height is rotten, if anything.
    pub fn of(&self, height: Height) -> Option<Rot> {
        self.heights.get(&height).map(|(rot, _)| *rot)
    }

    pub fn vouch(&mut self, certificate: CommitCertificate) {
        self.vouched.insert(certificate.height, certificate);
    }
}

impl Disk {
    /// A decided height rots; `false` if there is nothing of the kind.
    pub fn rot(&mut self, height: Height, rot: Rot) -> bool {
        let is_head = height == self.head();
        let Some(value) = self.decided.get_mut(&height) else {
            return false;
        };
        let spoil = |bytes: &mut Bytes| {
            let mut spoiled = bytes.to_vec();
            if let Some(byte) = spoiled.last_mut() {
                *byte ^= 4;
            }
            *bytes = spoiled.into();
        };
        match rot {
            Rot::Blob => match value.assembly.blobs.last_mut() {
                Some(blob) => spoil(blob),
                None => return false,
            },
            Rot::Payload => spoil(&mut value.assembly.payload),
            // A start needs the newest.
            Rot::Row if is_head => return false,
            Rot::Row => {}
        }
        self.rotten.heights.entry(height).or_insert((rot, false)).0 = rot;
        self.count("rot");
        true
    }

    pub fn is_rotten(&self, height: Height) -> bool {
        self.rotten.contains(&height)
    }

    /// The rotten heights.
    pub fn rotten(&self) -> impl Iterator<Item = Height> {
        self.rotten.heights.keys().copied()
    }

    /// Somebody reads a rotten height: whether that is news.
    pub fn find_rot(&mut self, height: Height) -> bool {
        let rotten = self.rotten.heights.get_mut(&height);
        rotten.is_some_and(|(_, is_found)| !std::mem::replace(is_found, true))
    }

    /// A decided height's metadata, lists and payload, and whether damage was found on the way.
    pub(super) fn load(&mut self, height: Height) -> (Option<DecidedPayload>, bool) {
        if matches!(self.rotten.heights.get(&height), Some((Rot::Payload | Rot::Row, _))) {
            return (None, self.find_rot(height));
        }
        let value = self.decided.get(&height).map(|value| DecidedPayload {
            decided: value.decided.clone(),
            lists: Arc::clone(&value.assembly.lists),
            payload: value.assembly.payload.clone(),
        });
        (value, false)
    }

    pub(super) fn check_rot(&self, height: Height) -> Result<(), Absent> {
        if self.is_rotten(height) {
            return Err(Absent::Damaged);
        }
        Ok(())
    }

    /// Stores a decided height's value again.
    pub(super) fn restore(&mut self, now: Nanos, assembly: Assembly) -> StoreReply {
        let key = assembly.key;
        let refuse = |reason: &str| StoreReply::Refused {
            key,
            reason: reason.to_owned(),
        };
        let Some(value) = self.decided.get_mut(&key.height) else {
            return refuse("not decided here");
        };
        let vouched = self.rotten.vouched.get(&key.height);
        if matches!(self.rotten.heights.get(&key.height), Some((Rot::Row, _))) {
            match vouched.filter(|certificate| certificate.value_id == key.id) {
                Some(certificate) => value.decided.certificate = certificate.clone(),
                None => return refuse("no certificate vouches for it"),
            }
        } else if value.decided.certificate.value_id != key.id {
            return refuse("another value was decided");
        }
        if now < self.full_until {
            self.count("disk-full");
            return refuse("no space left on device");
        }
        let blobs = match (Self::blobs_of(&assembly), value.decided.blobs) {
            (Blobs::Held, _) => Blobs::Held,
            (_, Blobs::Held) => Blobs::Pruned,
            (_, before) => before,
        };
        value.decided.blobs = blobs;
        value.assembly = assembly.clone();
        if blobs != Blobs::Held {
            self.oldest_blobs = self.oldest_blobs.max(key.height.next());
        }
        if self.rotten.heights.remove(&key.height).is_some() {
            self.count("restored");
        }
        StoreReply::Stored {
            key,
            init: assembly.init,
            lists: assembly.lists,
            payload: assembly.payload,
            tag: Tag::Restored,
            blobs,
        }
    }
}
