use std::time::Instant;

use super::kept::MAPS_MAX;
use super::retired::LEASE_DEADLINE;
use super::*;
use crate::format::PAGE_BYTES;

const CHAIN: ChainIdentity = ChainIdentity([1; 32]);
const CAPACITY: u64 = 64 * PAGE_BYTES;

fn segments(folder: &Path) -> Segments {
    let segments = Segments::open(folder, CHAIN, 1).expect("it opens").0;
    segments.recycle(Recycling {
        file_bytes: CAPACITY,
        bytes_max: 2 * CAPACITY,
    });
    segments
}

/// A segment with one synced page of a byte, and where that lies.
fn filled(segments: &Segments, fill: u8) -> (Begun, Location) {
    filled_of(Class::Values, segments, fill)
}

fn filled_of(class: Class, segments: &Segments, fill: u8) -> (Begun, Location) {
    let begun = segments
        .begin(segments.take_number(), class, CAPACITY)
        .expect("a segment");
    let file = OpenOptions::new().write(true).open(&begun.path).expect("it opens");
    file.write_all_at(&[fill; PAGE_BYTES as usize], PAGE_BYTES)
        .expect("written");
    file.sync_all().expect("synced");
    segments.advance(begun.id, 2 * PAGE_BYTES);
    let location = Location {
        segment: begun.id,
        offset: PAGE_BYTES,
        bytes: PAGE_BYTES,
    };
    (begun, location)
}

#[test]
fn only_synced_bytes_are_mapped() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path());
    let (_, location) = filled(&segments, 7);
    let slice = segments.slice(&location).expect("mapped").expect("synced");
    assert!(slice.iter().all(|byte| *byte == 7) && slice.len() == PAGE_BYTES as usize);
    let beyond = Location {
        offset: 2 * PAGE_BYTES,
        ..location
    };
    assert!(segments.slice(&beyond).expect("no failure").is_none());
    let elsewhere = Location {
        segment: SegmentId(99),
        ..location
    };
    assert!(segments.slice(&elsewhere).expect("no failure").is_none());
}

#[test]
fn a_leased_segment_is_not_recycled_and_a_free_one_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path());
    let (begun, location) = filled(&segments, 7);
    let leased = segments.slice(&location).expect("mapped").expect("synced");
    let part = leased.slice(10..20);
    drop(leased);
    segments.retire(&[begun.id]);
    assert!(segments.slice(&location).expect("no failure").is_none(), "no new lease");
    segments.sweep();
    assert_eq!(segments.waiting_count(), 1, "a part of a slice is a lease, too");
    let (other, _) = filled(&segments, 8);
    assert_ne!(other.path, begun.path);
    assert!(part.iter().all(|byte| *byte == 7));
    drop(part);
    segments.sweep();
    assert_eq!(segments.waiting_count(), 0);
    assert!(!begun.path.exists());
    let (recycled, location) = filled(&segments, 9);
    assert!(recycled.id > other.id);
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("the folder").count(),
        2,
        "the file was used again"
    );
    assert!(
        segments
            .slice(&location)
            .expect("mapped")
            .expect("synced")
            .iter()
            .all(|byte| *byte == 9)
    );
}

/// A clean-up script may take it for rubbish.
#[test]
fn a_free_file_that_somebody_removed_is_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path());
    let (begun, _) = filled(&segments, 7);
    segments.retire(&[begun.id]);
    segments.sweep();
    assert!(segments.has_free(CAPACITY));
    std::fs::remove_file(folder.path().join(free_file_name(begun.id))).expect("it was there");
    let (anew, location) = filled(&segments, 9);
    assert!(!segments.has_free(CAPACITY));
    assert!(occupied_bytes(&anew.path) >= CAPACITY);
    let slice = segments.slice(&location).expect("mapped").expect("synced");
    assert!(slice.iter().all(|byte| *byte == 9));
    segments.check_whole();
}

#[test]
fn a_lease_past_its_deadline_keeps_its_bytes_and_loses_the_file_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path());
    let (begun, location) = filled(&segments, 7);
    let leased = segments.slice(&location).expect("mapped").expect("synced");
    segments.retire(&[begun.id]);
    segments.sweep_at(Instant::now() + LEASE_DEADLINE);
    assert_eq!(segments.waiting_count(), 0);
    assert!(!begun.path.exists());
    filled(&segments, 8);
    assert!(leased.iter().all(|byte| *byte == 7), "its blocks are nobody else's");
}

#[test]
fn a_number_is_never_given_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = segments(folder.path());
    let (begun, _) = filled(&first, 7);
    first.retire(&[begun.id]);
    first.sweep();
    drop(first);
    let second = segments(folder.path());
    assert!(second.take_number() > begun.id, "the free file's number counts");
}

#[test]
fn sealing_gives_the_tail_back_and_keeps_the_length() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path());
    let capacity = 8 << 20;
    let begin = || segments.begin(segments.take_number(), Class::Values, capacity);
    let begun = begin().expect("a segment");
    segments.advance(begun.id, 2 * PAGE_BYTES);
    let location = Location {
        segment: begun.id,
        offset: PAGE_BYTES,
        bytes: PAGE_BYTES,
    };
    let slice = segments.slice(&location).expect("mapped").expect("synced");
    segments.seal(begun.id);
    segments.sweep();
    assert_eq!(std::fs::metadata(&begun.path).expect("metadata").len(), capacity);
    assert!(occupied_bytes(&begun.path) <= 4 * PAGE_BYTES);
    assert!(slice.iter().all(|byte| *byte == 0));
    drop(slice);
    // Of that little, a new file is as good.
    segments.recycle(Recycling {
        file_bytes: capacity,
        bytes_max: u64::MAX,
    });
    segments.retire(&[begun.id]);
    segments.sweep();
    assert!(!segments.has_free(capacity));
    // What lacks its tail alone is recycled, and whole again.
    let begun = begin().expect("a segment");
    segments.advance(begun.id, capacity - (1 << 20));
    segments.seal(begun.id);
    segments.retire(&[begun.id]);
    segments.sweep();
    assert!(segments.has_free(capacity));
    let recycled = begin().expect("a segment");
    assert!(occupied_bytes(&recycled.path) >= capacity);
}

/// A page of a punched range is shown to nobody, and to those who held it as long as they do.
#[test]
fn a_hole_waits_for_the_slices_that_show_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path());
    let begun = segments
        .begin(segments.take_number(), Class::Values, 4 << 20)
        .expect("a segment");
    let file = OpenOptions::new().write(true).open(&begun.path).expect("it opens");
    file.write_all_at(&[7; 2 << 20], PAGE_BYTES).expect("written");
    file.sync_all().expect("synced");
    segments.advance(begun.id, PAGE_BYTES + (2 << 20));
    let at = |offset, bytes| Location {
        segment: begun.id,
        offset,
        bytes,
    };
    let (first, second) = (at(PAGE_BYTES, 1 << 20), at(PAGE_BYTES + (1 << 20), 1 << 20));
    let held = segments.slice(&first).expect("mapped").expect("synced");
    let before = occupied_bytes(&begun.path);
    segments.punch(begun.id, [first].map(|at| at.offset..at.end()).into());
    assert!(segments.slice(&first).expect("no failure").is_none(), "no new slice");
    let other = segments.slice(&second).expect("mapped").expect("synced");
    segments.sweep();
    assert!(held.iter().all(|byte| *byte == 7), "what a map shows never changes");
    assert_eq!(occupied_bytes(&begun.path), before);
    drop(held);
    segments.sweep();
    assert!(
        occupied_bytes(&begun.path) <= before - (1 << 20),
        "a slice of the rest delays nothing"
    );
    assert!(other.iter().all(|byte| *byte == 7));
    assert!(segments.slice(&first).expect("no failure").is_none());
}

/// A map from before an earlier hole shows what a later one takes away.
#[test]
fn a_second_hole_waits_for_the_slices_from_before_the_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path());
    let begun = segments
        .begin(segments.take_number(), Class::Values, 4 << 20)
        .expect("a segment");
    let file = OpenOptions::new().write(true).open(&begun.path).expect("it opens");
    file.write_all_at(&[7; 2 << 20], PAGE_BYTES).expect("written");
    file.sync_all().expect("synced");
    segments.advance(begun.id, PAGE_BYTES + (2 << 20));
    let at = |offset, bytes| Location {
        segment: begun.id,
        offset,
        bytes,
    };
    let (first, second) = (at(PAGE_BYTES, 1 << 20), at(PAGE_BYTES + (1 << 20), 1 << 20));
    let held = segments.slice(&second).expect("mapped").expect("synced");
    let before = occupied_bytes(&begun.path);
    for location in [first, second] {
        segments.punch(begun.id, [location].map(|at| at.offset..at.end()).into());
    }
    segments.sweep();
    assert!(held.iter().all(|byte| *byte == 7), "what a map shows never changes");
    assert_eq!(occupied_bytes(&begun.path), before);
    drop(held);
    segments.sweep();
    segments.sweep();
    assert!(
        occupied_bytes(&begun.path) <= before - (2 << 20),
        "both holes are there"
    );
}

#[test]
fn maps_are_kept_up_to_a_bound_and_the_one_read_longest_ago_goes_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path());
    let all: Vec<_> = (0..MAPS_MAX + 8).map(|_| payloads(&segments, 7).1).collect();
    let read = |location| segments.slice(location).expect("mapped").expect("synced");
    let held = read(&all[1]);
    for location in &all {
        read(location);
        read(&all[0]);
    }
    assert_eq!(segments.maps_count(), MAPS_MAX);
    let is_kept = |location: &Location| {
        let segment = segments.segment(location.segment).expect("in use");
        matches!(lock(&segment.shown).newest, Newest::Mapped(_))
    };
    assert!(is_kept(&all[0]) && !is_kept(&all[1]) && is_kept(&all[MAPS_MAX]));
    assert!(held.iter().all(|byte| *byte == 7));
    read(&all[1]);
}

/// A segment of payloads, which is removed and not recycled, with a page of a byte.
fn payloads(segments: &Segments, fill: u8) -> (Begun, Location) {
    filled_of(Class::Payloads, segments, fill)
}

#[test]
fn a_lease_that_never_ends_delays_no_other_removal() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path());
    let all: Vec<_> = (0..8).map(|fill| payloads(&segments, fill)).collect();
    let leased: Vec<_> = all
        .iter()
        .step_by(2)
        .map(|(_, location)| segments.slice(location).expect("mapped").expect("synced"))
        .collect();
    segments.retire(&all.iter().map(|(begun, _)| begun.id).collect::<Vec<_>>());
    segments.sweep_at(Instant::now() + LEASE_DEADLINE);
    for (begun, _) in &all {
        assert!(!begun.path.exists());
    }
    let (later, _) = payloads(&segments, 9);
    segments.retire(&[later.id]);
    segments.sweep();
    assert!(!later.path.exists());
    for (slice, fill) in leased.iter().zip([0, 2, 4, 6]) {
        assert!(slice.iter().all(|byte| *byte == fill));
    }
}

/// A reader looks the segment up, the segment is retired, and only then the reader maps it.
#[test]
fn a_map_made_after_the_retirement_is_no_lease_without_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path());
    let (begun, location) = filled(&segments, 7);
    let entry = segments.segment(begun.id).expect("in use");
    segments.retire(&[begun.id]);
    assert!(
        entry.map_to(&location).expect("no failure").is_none(),
        "it is looked up again"
    );
    drop(entry);
    segments.sweep();
    assert_eq!(segments.waiting_count(), 0);
    assert!(!begun.path.exists(), "it waits to be recycled");
}

#[test]
fn descriptors_of_leased_files_are_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path());
    let mut lingering = Lingering::default();
    let mut slices = Vec::new();
    for fill in 0..80 {
        let (begun, location) = payloads(&segments, fill);
        slices.push(segments.slice(&location).expect("mapped").expect("synced"));
        segments.retire(&[begun.id]);
        let waiting = segments.state().waiting.pop().expect("retired");
        lingering.unlink(waiting);
        lingering.close_ended();
        assert!(!begun.path.exists());
        assert!(lingering.files_count() <= 64, "{}", lingering.files_count());
    }
    assert_eq!(lingering.files_count(), 64);
    for (slice, fill) in slices.iter().zip(0..) {
        assert!(
            slice.iter().all(|byte| *byte == fill),
            "whether or not it has a descriptor"
        );
    }
    slices.clear();
    lingering.close_ended();
    assert_eq!(lingering.files_count(), 0);
}
