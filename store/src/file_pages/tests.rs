use super::*;

const PAGE: usize = PAGE_BYTES as usize;

/// The kernel ends a direct read at the first sector that it cannot get, and says no more than how much it read.
#[test]
fn pages_that_a_short_read_leaves_out_are_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let content = [7; 3 * PAGE + 100];
    std::fs::write(&path, content).expect("written");
    let open = |file_bytes| FilePages::open(&Pwrite::new(None), &path, file_bytes).expect("it opens");

    let mut pages = open(5 * PAGE_BYTES);
    let (read, lost_pages) = pages.read_around(0, 8 * PAGE).expect("no failure");
    assert_eq!(lost_pages, [3 * PAGE_BYTES, 4 * PAGE_BYTES]);
    assert_eq!(read.len(), 5 * PAGE);
    assert!(read[..3 * PAGE] == content[..3 * PAGE], "what is there");
    assert!(read[3 * PAGE..].iter().all(|byte| *byte == 0), "and zeros for the rest");
    let (read, lost_pages) = pages.read_around(PAGE_BYTES, 2 * PAGE).expect("no failure");
    assert_eq!((read.len(), lost_pages.len()), (2 * PAGE, 0));
    let _ = pages.read(2 * PAGE_BYTES, 2 * PAGE).expect("no failure");
    assert_eq!(pages.lost_pages, 1);

    // As long as it should be, it lacks nothing, though its last page is not whole.
    let (read, lost_pages) = open(content.len() as u64).read_around(0, 4 * PAGE).expect("no failure");
    assert!(read == content[..] && lost_pages.is_empty());
}
