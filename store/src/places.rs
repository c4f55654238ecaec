//! This file knows how to find decided values in the segments whose rows the index lost.

use std::collections::HashMap;
use std::io;

use ultramarine_runtime::medium::Pwrite;
use ultramarine_types::storage::Blobs;
use ultramarine_types::{Height, ValueKey};

use crate::file_pages::FilePages;
use crate::index::LocationRow;
use crate::mapped::FoundFile;
use crate::scan::headers;
use crate::segment::SegmentId;

/// How many more heights a segment has than the index has rows of.
pub(crate) type Lacking = HashMap<SegmentId, u64>;

/// Where the records of these values lie. A value may have left a copy in a segment that it was moved out of. So where
/// it is known what each segment lacks, none gets more than that.
pub(crate) fn find_places(
    files: &[FoundFile],
    wanted: impl IntoIterator<Item = ValueKey>,
    mut lacking: Option<Lacking>,
) -> Vec<(Height, LocationRow)> {
    let mut wanted: HashMap<ValueKey, Vec<LocationRow>> = wanted.into_iter().map(|key| (key, Vec::new())).collect();
    let lacks = |id: SegmentId, lacking: &Option<Lacking>| match lacking {
        Some(lacking) => lacking.get(&id).copied().unwrap_or(0) > 0,
        None => true,
    };
    for file in files.iter().filter(|file| lacks(file.id, &lacking)) {
        if wanted.is_empty() {
            break;
        }
        if let Err(error) = walk(file, &mut wanted) {
            tracing::error!("{}: {error}: records may lie there", file.path.display());
        }
    }
    let mut wanted: Vec<_> = wanted.into_iter().collect();
    wanted.sort_by_key(|(key, _)| key.height);
    let found = wanted.into_iter().filter_map(|(key, places)| {
        let places = places
            .into_iter()
            .filter(|place| lacks(place.location.segment, &lacking));
        // The newest that has the blobs, or the newest.
        let place = places.max_by_key(|place| {
            let location = place.location;
            (place.blobs == Blobs::Held, location.segment, location.offset)
        })?;
        let left = lacking
            .as_mut()
            .and_then(|lacking| lacking.get_mut(&place.location.segment));
        if let Some(left) = left {
            *left -= 1;
        }
        Some((key.height, place))
    });
    found.collect()
}

fn walk(file: &FoundFile, wanted: &mut HashMap<ValueKey, Vec<LocationRow>>) -> io::Result<()> {
    let mut pages = FilePages::open(&Pwrite::new(None), &file.path, file.file_bytes)?;
    let Some(lineage) = pages.lineage(file)? else {
        return Ok(());
    };
    headers(&mut pages, lineage, file.id, |location, header| {
        if let Some(places) = wanted.get_mut(&header.key) {
            places.push(LocationRow {
                location,
                blobs: header.blobs(),
                since: 0,
            });
        }
    })
}
