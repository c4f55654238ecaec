//! Damage to any header, and any file cut short: a directory opens, or says why not. It never panics.

use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;
use ultramarine_types::Height;
use ultramarine_types::storage::{LogEpoch, Source};

use super::images::{files, killed, live, small};
use super::support::*;
use crate::index::Index;
use crate::log::LogHeader;

fn template() -> &'static Path {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = TEMPLATE.get_or_init(|| {
        let (folder, made) = (tempfile::tempdir(), tempfile::tempdir());
        let (folder, made) = (folder.expect("a folder"), made.expect("a folder"));
        killed(folder.path(), made.path());
        made
    });
    made.path()
}

#[derive(Clone, Debug)]
enum Damage {
    /// A byte of the header, the fields of which are most of the first bytes.
    Byte { at: usize, xor: u8 },
    /// The page of the header, or of the first record or frame.
    Page { page: usize, fill: Vec<u8> },
    /// The file ends early.
    Cut { at: prop::sample::Index },
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        6 => (0..320usize, 1..=255u8).prop_map(|(at, xor)| Damage::Byte { at, xor }),
        2 => (0..3 * 4096usize, 1..=255u8).prop_map(|(at, xor)| Damage::Byte { at, xor }),
        1 => (0..3usize, proptest::collection::vec(any::<u8>(), 4096))
            .prop_map(|(page, fill)| Damage::Page { page, fill }),
        1 => any::<prop::sample::Index>().prop_map(|at| Damage::Cut { at }),
    ]
}

fn apply(damage: &Damage, file: &mut Vec<u8>) {
    match damage {
        Damage::Byte { at, xor } => {
            if let Some(byte) = file.get_mut(*at) {
                *byte ^= xor;
            }
        }
        Damage::Page { page, fill } => {
            if let Some(bytes) = file.get_mut(page * 4096..(page + 1) * 4096) {
                bytes.copy_from_slice(fill);
            }
        }
        Damage::Cut { at } => file.truncate(at.index(file.len().max(1))),
    }
}

/// Opens it once more after a clean end, for redb reads a file that was closed in another way.
fn close(folder: &Path) {
    drop(Store::open_with(folder, &small()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_header_never_panics(file in any::<prop::sample::Index>(), damage in damage(), closed: bool) {
        let folder = tempfile::tempdir().expect("a folder");
        copy(template(), folder.path());
        if closed {
            close(folder.path());
        }
        let path = file.get(&files(folder.path())).clone();
        let mut bytes = std::fs::read(&path).expect("the file");
        apply(&damage, &mut bytes);
        std::fs::write(&path, bytes).expect("written");
        live(folder.path());
    }
}

/// The one header that is not ours, byte by byte, of a file that was closed and of one that was not.
#[test]
fn a_damaged_byte_of_the_indexs_header_never_panics() {
    for closed in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        copy(template(), folder.path());
        if closed {
            close(folder.path());
        }
        let whole = std::fs::read(folder.path().join("index.redb")).expect("the index");
        let path = folder.path().join("damaged.redb");
        let mut opened_count = 0;
        for at in 0..320 {
            let mut bytes = whole.clone();
            bytes[at] ^= if at % 2 == 0 { 0xff } else { 1 };
            std::fs::write(&path, bytes).expect("written");
            let Ok(index) = Index::open(&path, CHAIN) else {
                continue;
            };
            opened_count += 1;
            let _ = (index.marks(), index.head(), index.decided(Height(1)));
            let _ = index.locations(|_, _| {});
            let _ = index.mark(None, None);
        }
        assert!(opened_count < 320, "a byte of the magic counts");
    }
}

#[test]
fn numbers_that_no_other_follows_never_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    copy(template(), folder.path());
    for name in ["values", "payloads", "free"] {
        let path = folder.path().join(format!("segments/{name}-ffffffffffffffff.seg"));
        std::fs::write(path, vec![0; 8192]).expect("written");
    }
    let mut store = Store::open_with(folder.path(), &small());
    let head = store.view.head().0;
    store.grow(head + 1..=head + 1, 1);
    drop(store);
    let last = LogHeader {
        epoch: LogEpoch {
            height: Height(99),
            generation: u64::MAX,
        },
        salt: 1,
        chain: CHAIN,
    };
    for number in 0..3 {
        let copied = tempfile::tempdir().expect("a folder");
        copy(folder.path(), copied.path());
        let path = copied.path().join(format!("log-{number}"));
        let mut log = std::fs::read(&path).expect("the log");
        log[..4096].copy_from_slice(&last.encode());
        std::fs::write(path, log).expect("written");
        live(copied.path());
    }
}
