//! I1, I2, I3, I4, I6: what a node has on its disk when it carries out a decision; and the order of its heights. I16:
//! what it stores again of a height that rotted.

use ultramarine_types::lists::chunk_hashes;
use ultramarine_types::storage::{Blobs, Decision, StoreRequest, Tag};
use ultramarine_types::{Assembly, Height, ValueKey};

use super::CheckOutcome;
use crate::disk::Disk;
use crate::{blobs, block};

/// One each, on every simulated chain.
const PROOFS_PER_BLOB: u32 = 1;

/// A node hands its store a request. `tip`: the newest height decided anywhere; `retention`: the chain's least, in
/// heights.
pub fn request(disk: &Disk, request: &StoreRequest, tip: Height, retention: u64) -> CheckOutcome {
    match request {
        StoreRequest::Commit(decision) => commit(disk, decision, tip, retention),
        StoreRequest::BeginEpoch { height } if *height != disk.head().next() => Err((
            "I8",
            format!("the log of {height} begins while the head is {}", disk.head()),
        )),
        StoreRequest::Put {
            assembly,
            tag: Tag::Restored,
        } => bound(assembly)
            .and_then(|()| proven(assembly))
            .map_err(|what| ("I16", format!("{what}, and is restored so"))),
        StoreRequest::Put { assembly, .. } => proven(assembly).map_err(|what| ("I3", what)),
        StoreRequest::BeginEpoch { .. }
        | StoreRequest::Vouch(_)
        | StoreRequest::LogAppend { .. }
        | StoreRequest::LogSync { .. }
        | StoreRequest::Load { .. }
        | StoreRequest::Evidence(_)
        | StoreRequest::Silence { .. }
        | StoreRequest::Retire { .. }
        | StoreRequest::Archived { .. } => Ok(()),
    }
}

fn commit(disk: &Disk, decision: &Decision, tip: Height, retention: u64) -> CheckOutcome {
    let certificate = &decision.certificate;
    let (height, key) = (
        certificate.height,
        ValueKey {
            height: certificate.height,
            id: certificate.value_id,
        },
    );
    if height != disk.head().next() {
        return Err((
            "durability",
            format!("height {height} is committed on a head of {}", disk.head()),
        ));
    }
    if decision.init.key() != key {
        return Err((
            "I6",
            format!("metadata of {} is committed for {key}", decision.init.key()),
        ));
    }
    let Some(assembly) = disk.undecided_value(&key) else {
        return Err(("I4", format!("{key} is committed and its proposal is not in the store")));
    };
    if assembly.key != key || assembly.init.metadata != decision.init.metadata {
        return Err(("I6", format!("the bytes stored for {key} are of {}", assembly.key)));
    }
    bound(assembly).map_err(|what| ("I1", what))?;
    let (wanted, held) = (assembly.init.metadata.blobs_count as usize, assembly.blobs.len());
    match decision.blobs {
        Blobs::Held if held != wanted => Err(("I2", format!("{key} has {held} of {wanted} blobs"))),
        Blobs::Held => proven(assembly).map_err(|what| ("I3", what)),
        Blobs::NeverHeld if height.0 + retention > tip.0 => Err((
            "I3",
            format!("{key} is recorded as never held within retention of {tip}"),
        )),
        Blobs::NeverHeld => Ok(()),
        Blobs::Pruned => Err(("I2", format!("{key} is pruned before it is committed"))),
    }
}

/// Whether the metadata binds the lists, and the lists bind the payload.
fn bound(assembly: &Assembly) -> Result<(), String> {
    let Assembly {
        key,
        init,
        lists,
        payload,
        ..
    } = assembly;
    if let Some(kind) = lists.misfit(&init.metadata, PROOFS_PER_BLOB) {
        return Err(format!("{key} has not its list of {kind:?}"));
    }
    if payload.len() != init.metadata.payload_bytes as usize || chunk_hashes(payload) != lists.chunks {
        return Err(format!("{key} has not its payload"));
    }
    Ok(())
}

/// Whether every blob that is there has its digest, and its proof holds.
fn proven(assembly: &Assembly) -> Result<(), String> {
    let lists = &assembly.lists;
    for (index, blob) in assembly.blobs.iter().enumerate() {
        let of_blob = (
            lists.commitments.get(index),
            lists.digests.get(index),
            lists.proofs.get(index),
        );
        let (Some(commitment), Some(digest), Some(proof)) = of_blob else {
            return Err(format!("blob {index} of {} is in no list", assembly.key));
        };
        if blobs::digest(blob, commitment) != *digest {
            return Err(format!("blob {index} of {} is stored with other bytes", assembly.key));
        }
        if blobs::finding(blob, commitment, proof).is_err() {
            return Err(format!(
                "blob {index} of {} is stored and its proof does not hold",
                assembly.key
            ));
        }
    }
    Ok(())
}

/// At the end: what is decided is whole and linked.
pub fn audit(disk: &Disk) -> CheckOutcome {
    let mut next = Height(1);
    let mut parent_root = ultramarine_types::Hash::ZERO;
    for (height, value) in disk.decisions() {
        if *height != next {
            return Err(("durability", format!("height {next} is missing below {height}")));
        }
        next = next.next();
        let metadata = &value.decided.init.metadata;
        if metadata.id() != value.decided.certificate.value_id {
            return Err((
                "I6",
                format!("metadata of height {height} is not that of its certificate"),
            ));
        }
        bound(&value.assembly).map_err(|what| ("I1", what))?;
        let (wanted, held) = (metadata.blobs_count as usize, value.assembly.blobs.len());
        if value.decided.blobs == Blobs::Held && held != wanted {
            return Err(("I2", format!("height {height} has {held} of {wanted} blobs")));
        }
        if metadata.header.parent_beacon_block_root != parent_root {
            return Err((
                "I6",
                format!("height {height} does not name the sidecar header below it"),
            ));
        }
        parent_root = ultramarine_types::sidecar::header(metadata, block::GENESIS_SECONDS).root();
    }
    Ok(())
}
