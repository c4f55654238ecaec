use super::*;
use crate::format::PAGE_BYTES;

const CHAIN: ChainIdentity = ChainIdentity([1; 32]);
const CAPACITY: u64 = 64 * PAGE_BYTES;

fn segments(folder: &Path) -> Segments {
    Segments::open(folder, CHAIN, 1).expect("it opens").0
}

/// A segment with one synced page of a byte, and where that lies.
fn filled(segments: &Segments, fill: u8) -> (Begun, Location) {
    filled_of(Class::Values, segments, fill)
}

fn filled_of(class: Class, segments: &Segments, fill: u8) -> (Begun, Location) {
    let begun = segments.begin(class, CAPACITY).expect("a segment");
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

#[test]
fn a_lease_past_its_deadline_keeps_its_bytes_and_loses_the_file_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path());
    let (begun, location) = filled(&segments, 7);
    let leased = segments.slice(&location).expect("mapped").expect("synced");
    segments.retire(&[begun.id]);
    segments.sweep_at(Instant::now() + LEASE_DEADLINE);
    assert_eq!(segments.waiting_count(), 0);
    let until = Instant::now() + Duration::from_secs(20);
    while begun.path.exists() {
        assert!(Instant::now() < until, "the file was never unlinked");
        std::thread::yield_now();
    }
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
    assert!(
        second.begin(Class::Values, CAPACITY).expect("a segment").id > begun.id,
        "the free file's number counts"
    );
}

#[test]
fn sealing_gives_the_tail_back_and_keeps_what_is_mapped() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path());
    let begun = segments.begin(Class::Values, 8 << 20).expect("a segment");
    segments.advance(begun.id, 2 * PAGE_BYTES);
    let location = Location {
        segment: begun.id,
        offset: PAGE_BYTES,
        bytes: PAGE_BYTES,
    };
    let slice = segments.slice(&location).expect("mapped").expect("synced");
    segments.seal(begun.id);
    assert_eq!(std::fs::metadata(&begun.path).expect("metadata").len(), 2 * PAGE_BYTES);
    assert!(slice.iter().all(|byte| *byte == 0));
}

/// A segment of payloads, which is removed and not recycled, with a page of a byte.
fn payloads(segments: &Segments, fill: u8) -> (Begun, Location) {
    filled_of(Class::Payloads, segments, fill)
}

fn wait_until_gone(path: &Path) {
    let until = Instant::now() + Duration::from_secs(20);
    while path.exists() {
        assert!(Instant::now() < until, "{} was never unlinked", path.display());
        std::thread::yield_now();
    }
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
        wait_until_gone(&begun.path);
    }
    let (later, _) = payloads(&segments, 9);
    segments.retire(&[later.id]);
    segments.sweep();
    wait_until_gone(&later.path);
    for (slice, fill) in leased.iter().zip([0, 2, 4, 6]) {
        assert!(slice.iter().all(|byte| *byte == fill));
    }
}

/// A reader looks the segment up, the segment is retired, and only then the reader maps it.
#[test]
fn a_map_made_after_the_retirement_is_no_lease_without_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path());
    let (begun, _) = filled(&segments, 7);
    let entry = segments.segment(begun.id).expect("in use");
    segments.retire(&[begun.id]);
    assert!(
        entry.map_to(2 * PAGE_BYTES).expect("no failure").is_none(),
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
    let mut lingering = unlink::Lingering::default();
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
