use std::cell::Cell;

use super::*;

thread_local! {
    /// Bytes that this thread has summed as frames.
    pub(super) static CHECKED_BYTES: Cell<u64> = const { Cell::new(0) };
}

const PAGE: usize = PAGE_BYTES as usize;
const HEADER: LogHeader = LogHeader {
    epoch: LogEpoch {
        height: Height(7),
        generation: 3,
    },
    salt: 0x5a17,
    chain: ChainIdentity([1; 32]),
};

/// A log of one frame a record.
fn log_of(records: &[&'static [u8]]) -> Vec<u8> {
    let mut file = HEADER.encode();
    for (sequence, record) in (0..).zip(records) {
        file.extend(encode_frame(HEADER.lineage(), sequence, &[Bytes::from_static(record)]));
    }
    file
}

fn read_back(file: Vec<u8>) -> FoundLog {
    read(&file.into(), HEADER.epoch, HEADER.chain)
}

/// A page on which a frame of another length begins: it claims everything up to the file's end, and is not whole.
fn greedy(lineage: Lineage, sequence: u64, body_bytes: usize) -> Vec<u8> {
    let mut page = encode_frame(lineage, sequence, &[Bytes::from_static(b"a vote")]);
    page[36..40].copy_from_slice(&(body_bytes as u32).to_le_bytes());
    page
}

/// Pages behind the last frame may hold anything: another use's frames, or what a stranger put into a record.
#[test]
fn no_byte_is_summed_twice_whatever_the_pages_claim() {
    const PAGES: usize = 512;
    let other = Lineage {
        salt: HEADER.salt + 1,
        ..HEADER.lineage()
    };
    let kinds = [
        ("of another use", other, 9, false),
        ("of this use, before the last", HEADER.lineage(), 0, false),
        ("of this use, behind the last", HEADER.lineage(), 9, true),
    ];
    for (what, lineage, sequence, is_corrupt) in kinds {
        let mut file = log_of(&[b"first", b"second"]);
        for page in (0..PAGES).rev() {
            file.extend(greedy(lineage, sequence, page * PAGE + PAGE - FRAME_HEADER_BYTES));
        }
        let file_bytes = file.len() as u64;
        let before = CHECKED_BYTES.get();
        let found = read_back(file);
        let checked = CHECKED_BYTES.get() - before;
        assert!(checked <= file_bytes, "{what}: {checked} bytes of {file_bytes}");
        assert_eq!(found == FoundLog::Corrupt, is_corrupt, "{what}: {found:?}");
    }
}

/// The one behind was begun when this one was durable, so a vote that was told to peers is missing.
#[test]
fn a_damaged_frame_before_a_torn_one_is_corruption() {
    let torn = |mut file: Vec<u8>| {
        let last = file.len() - PAGE;
        file[last + FRAME_HEADER_BYTES + 6..].fill(0);
        file
    };
    let file = torn(log_of(&[b"first", b"second", b"a longer third"]));
    let whole = [b"first".as_slice(), b"second"].map(Bytes::from_static);
    assert_eq!(read_back(file.clone()), FoundLog::Whole(whole.into()));
    for damaged in [PAGE, 2 * PAGE] {
        for at in [0, 8, 16, 24, 44, FRAME_HEADER_BYTES + 5] {
            let mut file = file.clone();
            file[damaged + at] ^= 1;
            assert_eq!(read_back(file), FoundLog::Corrupt, "byte {at} of the page at {damaged}");
        }
    }
}
