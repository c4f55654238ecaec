//! An honest store, and what of it survives a crash.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ultramarine_types::storage::{Blobs, Decided, DecidedPayload, LogEpoch, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Assembly, Evidence, Height, Lsn, ValueKey};

use super::World;
use crate::Input;

/// The disk of one node: what survives a crash.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub decided: BTreeMap<Height, (Decided, Assembly)>,
    pub undecided: BTreeMap<ValueKey, (Assembly, Tag)>,
    pub epoch: Option<LogEpoch>,
    pub records: Vec<Bytes>,
    pub evidence: Vec<Evidence>,
    pub silent_through: Height,
    /// The index was rebuilt, and so nothing is signed up to here.
    pub rebuilt_through: Height,
    /// Decided heights whose bytes rotted.
    pub rotten: BTreeSet<Height>,
    /// There is no room for values.
    pub full: bool,
    /// Values whose certificates were shown.
    pub vouched: BTreeSet<ValueKey>,
    /// Appended and not synced: lost in a crash.
    pub pending: Vec<(Lsn, Bytes)>,
}

impl World {
    pub(super) fn store(&mut self, node: usize, request: StoreRequest) {
        let (disk, micros, reply) = (&mut self.nodes[node].disk, 300, |reply| Input::Store(reply));
        match request {
            StoreRequest::Put { assembly, tag } => {
                let key = assembly.key;
                if disk.full {
                    let reason = "no room".to_owned();
                    return self.deliver(node, micros, reply(StoreReply::Refused { key, reason }));
                }
                let stored = if tag == Tag::Restored {
                    let (decided, here) = disk.decided.get_mut(&key.height).expect("what is restored is decided");
                    assert_eq!(decided.certificate.value_id, key.id, "another value is restored");
                    assert!(
                        disk.vouched.contains(&key),
                        "no certificate vouches for what is restored"
                    );
                    let held = assembly.blobs.len() == assembly.init.metadata.blobs_count as usize;
                    decided.blobs = if held { Blobs::Held } else { Blobs::NeverHeld };
                    here.clone_from(&assembly);
                    disk.rotten.remove(&key.height);
                    assembly
                } else {
                    let stored = &mut disk.undecided.entry(key).or_insert((assembly.clone(), tag)).0;
                    if stored.blobs.len() < assembly.blobs.len() {
                        *stored = assembly;
                    }
                    stored.clone()
                };
                let Assembly {
                    key,
                    init,
                    lists,
                    payload,
                    blobs,
                } = stored;
                let held = blobs.len() == init.metadata.blobs_count as usize;
                let blobs = if held { Blobs::Held } else { Blobs::NeverHeld };
                self.deliver(
                    node,
                    micros,
                    reply(StoreReply::Stored {
                        key,
                        init,
                        lists,
                        payload,
                        tag,
                        blobs,
                    }),
                );
            }
            StoreRequest::Vouch(certificate) => {
                disk.vouched.insert(ValueKey {
                    height: certificate.height,
                    id: certificate.value_id,
                });
            }
            StoreRequest::LogAppend { lsn, record } => disk.pending.push((lsn, record)),
            StoreRequest::LogSync { lsn } => {
                let synced: Vec<_> = disk.pending.iter().take_while(|(at, _)| *at <= lsn).cloned().collect();
                disk.pending.drain(..synced.len());
                disk.records.extend(synced.into_iter().map(|(_, record)| record));
                self.deliver(node, micros, reply(StoreReply::LogDurable { lsn }));
            }
            StoreRequest::BeginEpoch { height } => {
                let generation = disk.epoch.map_or(1, |epoch| epoch.generation + 1);
                let epoch = LogEpoch { height, generation };
                assert_eq!(
                    disk.decided.keys().next_back().copied().unwrap_or_default().next(),
                    height
                );
                disk.epoch = Some(epoch);
                disk.records.clear();
                disk.pending.clear();
                self.deliver(node, micros, reply(StoreReply::EpochBegun(epoch)));
            }
            StoreRequest::Commit(decision) => {
                let height = decision.certificate.height;
                let key = ValueKey {
                    height,
                    id: decision.certificate.value_id,
                };
                let (assembly, _) = disk.undecided.remove(&key).expect("a decided value is stored");
                let held = assembly.blobs.len() == assembly.init.metadata.blobs_count as usize;
                assert_eq!(held, decision.blobs == Blobs::Held, "I2");
                let decided = Decided {
                    certificate: decision.certificate,
                    init: decision.init,
                    blobs: decision.blobs,
                };
                disk.decided.insert(height, (decided, assembly));
                disk.undecided.retain(|key, _| key.height > height);
                self.deliver(node, micros, reply(StoreReply::Committed { height }));
            }
            StoreRequest::Load { height } => {
                let sound = disk.decided.get(&height).filter(|_| !disk.rotten.contains(&height));
                let value = sound.map(|(decided, assembly)| DecidedPayload {
                    decided: decided.clone(),
                    lists: assembly.lists.clone(),
                    payload: assembly.payload.clone(),
                });
                self.deliver(node, micros, reply(StoreReply::Loaded { height, value }));
            }
            StoreRequest::Evidence(evidence) => {
                disk.evidence.extend(evidence);
                self.deliver(node, micros, reply(StoreReply::EvidenceTaken { is_durable: true }));
            }
            StoreRequest::Silence { through } => {
                disk.silent_through = disk.silent_through.max(through);
                self.deliver(node, micros, reply(StoreReply::Silenced { through }));
            }
            StoreRequest::Archived { .. } => {}
            StoreRequest::Retire { blobs_below } => {
                self.deliver(node, micros, reply(StoreReply::Retired { blobs_below }));
            }
        }
    }
}
