//! This file knows how a span of decided heights becomes an object of an archive: gathered, written, read back.

use std::sync::Arc;

use ultramarine_store::archive::object::decode_object;
use ultramarine_store::archive::{HeightSpan, ObjectError, SpanBuilder, SpanObject};
use ultramarine_types::storage::{Absent, Decided, Source};
use ultramarine_types::{Assembly, ChainIdentity, Height, ValueKey};

use super::remote::{ArchiveError, ListedObject, Remote};

/// Why a height cannot be archived.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    #[error("height {0} is damaged here, and waits to be healed before it can be archived")]
    Damaged(Height),
    #[error("height {height} cannot be archived: {why}")]
    Unfit { height: Height, why: String },
}

/// Lays out the first heights of a span: as many as one object takes, at most `heights_max`, and none from a damaged
/// one on.
pub async fn gather(
    source: &dyn Source,
    chain: ChainIdentity,
    span: HeightSpan,
    heights_max: u64,
) -> Result<SpanObject, GatherError> {
    let mut builder = SpanBuilder::new(chain);
    let mut height = span.first;
    while span.has(height) && (builder.heights_count() as u64) < heights_max {
        let Some((decided, assembly)) = read(source, height) else {
            break;
        };
        let pushed = builder.push(&decided.certificate, &assembly);
        let pushed = pushed.map_err(|unfit| GatherError::Unfit {
            height,
            why: unfit.to_string(),
        })?;
        if !pushed {
            break;
        }
        height = height.next();
        tokio::task::yield_now().await;
    }
    builder.finish().ok_or(GatherError::Damaged(height))
}

/// A decided height with its blobs, or without them where they are not held; `None`: it is damaged.
fn read(source: &dyn Source, height: Height) -> Option<(Decided, Assembly)> {
    match source.decided_value(height) {
        Ok(value) => return Some(value),
        Err(Absent::Pruned { .. } | Absent::NeverHeld) => {}
        Err(Absent::Damaged | Absent::Unknown) => return None,
    }
    let payload = source.decided_payload(height)?;
    let assembly = Assembly {
        key: ValueKey {
            height,
            id: payload.decided.certificate.value_id,
        },
        init: Arc::clone(&payload.decided.init),
        lists: payload.lists,
        payload: payload.payload,
        blobs: Vec::new(),
    };
    Some((payload.decided, assembly))
}

/// Writes an object, reads it back, and checks every checksum and hash of it. One of the same name is replaced, unless
/// ours lacks blobs that it may have.
pub async fn write(remote: &Remote, object: &SpanObject) -> Result<ListedObject, ArchiveError> {
    let span = object.index.span();
    let is_whole = object.index.rows.iter().all(|row| row.is_whole);
    if !is_whole && remote.find(span).await?.is_some() {
        return Err(ArchiveError::Refused(format!(
            "{remote} has an object {} already, and this node lacks blobs of its heights and cannot write it again: if \
             `ultramarine archive verify` finds it broken, bring back a whole one or remove it",
            span.object_name()
        )));
    }
    remote.put(object).await?;
    let listed = ListedObject {
        span,
        bytes: object.index.object_bytes,
    };
    let back = remote.get(listed).await?;
    let index = decode_object(&back, remote.chain(), |_| Ok(())).map_err(|flaw| remote.flawed(span, flaw))?;
    if index != object.index {
        return Err(remote.flawed(span, ObjectError::Index));
    }
    Ok(listed)
}
