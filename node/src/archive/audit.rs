//! This file knows how to look an archive over: which heights it lacks, and whether what it has is whole.

use ultramarine_store::archive::object::decode_object;
use ultramarine_store::archive::{ArchivedHeight, HeightSpan};
use ultramarine_types::Height;

use super::remote::{ArchiveError, ListedObject, Remote};

/// What an archive has, by the names and indexes of its objects.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Coverage {
    pub objects_count: usize,
    /// The highest height that it has.
    pub last: Height,
    /// Heights that no readable object has.
    pub missing: Vec<HeightSpan>,
    /// Heights whose blobs no object has, though they have some.
    pub without_blobs: Vec<HeightSpan>,
    /// Objects whose header or index cannot be used, with the reason.
    pub broken: Vec<String>,
}

/// Looks which heights an archive has, from the first up to `through` at least. Bodies are not read. `tell` is told at
/// each object how many of all it has looked at.
pub async fn coverage(
    remote: &Remote,
    through: Height,
    mut tell: impl FnMut(u64, u64),
) -> Result<Coverage, ArchiveError> {
    let objects = remote.list().await?;
    let total = objects.len() as u64;
    let mut found = Coverage {
        objects_count: objects.len(),
        ..Coverage::default()
    };
    let (mut spans, mut whole, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for (done, object) in (0..).zip(objects) {
        tell(done, total);
        let index = match remote.index(object).await {
            Ok(index) if index.span() == object.span => index,
            Ok(_) => {
                found.broken.push(format!(
                    "{}: its heights are not those of its name",
                    object.span.object_name()
                ));
                continue;
            }
            Err(error @ ArchiveError::Flawed { .. }) => {
                found.broken.push(error.to_string());
                continue;
            }
            Err(error) => return Err(error),
        };
        spans.push(object.span);
        for row in &index.rows {
            let height = HeightSpan::new(row.key.height, row.key.height);
            join(if row.is_whole { &mut whole } else { &mut bare }, height);
        }
    }
    found.last = spans.iter().map(|span| span.last).max().unwrap_or_default();
    let last = found.last.max(through);
    if last > Height::GENESIS {
        found.missing = HeightSpan::new(Height(1), last).missing_from(spans);
    }
    for span in bare {
        for lacking in span.missing_from(whole.iter().copied()) {
            join(&mut found.without_blobs, lacking);
        }
    }
    found.without_blobs.sort_unstable();
    found.without_blobs.dedup();
    Ok(found)
}

/// Adds a span to the last one if it follows on it.
fn join(spans: &mut Vec<HeightSpan>, next: HeightSpan) {
    match spans.last_mut() {
        Some(last) if last.last.next() == next.first => last.last = next.last,
        _ => spans.push(next),
    }
}

/// Reads every byte of an object and checks it, and that its heights are those of its name.
pub async fn verify(
    remote: &Remote,
    object: ListedObject,
    mut each: impl FnMut(ArchivedHeight) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let bytes = remote.get(object).await?;
    let flawed = |flaw| remote.flawed(object.span, flaw);
    let mut outcome = Ok(());
    let index = decode_object(&bytes, remote.chain(), |height| {
        if outcome.is_ok() {
            outcome = each(height);
        }
        Ok(())
    });
    let index = index.map_err(flawed)?;
    if index.span() != object.span {
        return Err(flawed(ultramarine_store::archive::ObjectError::Index));
    }
    outcome
}
