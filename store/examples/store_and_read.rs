//! Opens a store in a fresh folder, stores a value with two blobs, decides it, and reads a blob back from the map.
//!
//! `cargo run --release --example store_and_read`

use std::sync::Arc;

use bytes::Bytes;
use ultramarine_runtime::Registry;
use ultramarine_runtime::medium::{Pwrite, ready};
use ultramarine_store::{OpenStore, StoreOptions, Writer, open};
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::{Blobs, Decision, Source, StoreRequest, Tag};
use ultramarine_types::{Assembly, Height, KzgCommitment, KzgProof, Lists, Round, fixtures};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let limits = Limits { blobs_per_block: 6 };
    let options = StoreOptions::new(limits, fixtures::CHAIN, Registry::new());
    let OpenStore { state, view, .. } = open(folder.path(), &options)?;

    // In a node, the store's tile owns the writer. What it does is asked of it over a link.
    let mut writer = Writer::new(Pwrite::new(None), state);
    let mut replies = Vec::new();
    let assembly = value();
    let decision = decision(&assembly);
    ready(async {
        let put = StoreRequest::Put {
            assembly: assembly.clone(),
            tag: Tag::Streamed,
        };
        writer.handle(put, &mut replies).await?;
        writer
            .handle(StoreRequest::Commit(Box::new(decision)), &mut replies)
            .await?;
        // Nothing is answered before it is durable.
        writer.flush(&mut replies).await
    })?;
    println!("the store answered {replies:?}");

    let (_, read) = view.decided_value(Height(1)).expect("it is decided and held");
    println!(
        "height 1 has {} blobs; the second begins with {:?}",
        read.blobs.len(),
        &read.blobs[1][..4]
    );
    assert_eq!(read.blobs[1], assembly.blobs[1]);
    Ok(())
}

/// A made-up value: whole in shape, and true of no block.
fn value() -> Assembly {
    let payload = Bytes::from_static(b"an execution payload");
    let blobs = [1, 2].map(|byte| Bytes::from(vec![byte; BLOB_BYTES]));
    let commitments = [KzgCommitment([1; 48]), KzgCommitment([2; 48])];
    let proofs = vec![KzgProof([1; 48]), KzgProof([2; 48])];
    let committed = blobs.iter().map(|blob| &blob[..]).zip(commitments);
    let lists = Lists::of(&payload, committed, proofs);
    let init = fixtures::unsigned(fixtures::metadata(1, &payload, &lists));
    fixtures::assembly(init, lists, payload, blobs.into())
}

/// What consensus hands to the store when it has decided.
fn decision(assembly: &Assembly) -> Decision {
    Decision {
        certificate: fixtures::certificate(assembly.key, Round(0)),
        init: Arc::clone(&assembly.init),
        blobs: Blobs::Held,
    }
}
