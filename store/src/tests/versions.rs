//! Directories of another version are refused, with what to do, and the index says which version it is.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use ultramarine_types::canonical::sha256;
use ultramarine_types::storage::{Source, StoreRequest, Tag};
use ultramarine_types::{Address, Assembly, Evidence, Height, Proposal, Round, Signature, ValueId};

use super::formats::of_version_2;
use super::support::*;
use crate::format::{Lineage, crc32c};
use crate::index::encode_row_with_init;
use crate::record::{self, RecordHeader};
use crate::{OpenError, check, look};

const MARKS: TableDefinition<&str, &[u8]> = TableDefinition::new("marks");
const LOCATIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("locations");
const DECIDED: TableDefinition<u64, &[u8]> = TableDefinition::new("decided");
const BLOCKS: TableDefinition<&[u8; 32], u64> = TableDefinition::new("blocks");
const EVIDENCE: TableDefinition<(u64, &[u8; 32]), &[u8]> = TableDefinition::new("evidence");
const FALSE_VALUES: TableDefinition<(&[u8; 20], u64), &[u8]> = TableDefinition::new("false_values");

/// A segment's header as version 1 wrote it: of chain 7 and genesis `ab…`.
const OLD_SEGMENT: &str = "554c545253454700010001000000000002010000000000008877665544332211000000020000000007000000\
                           00000000ababababababababababababababababababababababababababababababababc211a7db";
/// A log's header as version 1 wrote it: of chain 4242 and genesis `09…`.
const OLD_LOG: &str = "554c54524c4f4700010000000000000003000000000000008877665544332211080000000000000092100000\
                       000000000909090909090909090909090909090909090909090909090909090909090909f859b1f0";
/// The `format` mark as version 1 wrote it: of the same chain.
const OLD_MARK: &str = "0100000092100000000000000909090909090909090909090909090909090909090909090909090909090909";

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.map(byte).collect()
}

fn index_with(folder: &Path, mark: &[u8]) {
    let database = Database::create(folder.join("index.redb")).expect("a database");
    let transaction = database.begin_write().expect("a transaction");
    transaction
        .open_table(MARKS)
        .expect("the table")
        .insert("format", mark)
        .expect("inserted");
    transaction.commit().expect("committed");
}

#[track_caller]
fn assert_is_old(refused: &OpenError, folder: &Path) {
    assert!(matches!(refused, OpenError::Format { found: 1, .. }), "{refused}");
    let said = refused.to_string();
    assert!(said.contains(folder.to_str().expect("UTF-8")), "{said}");
    assert!(said.contains("has format 1, and this version reads format 2"), "{said}");
    assert!(said.contains("keep that version for it, or make a new chain"), "{said}");
    assert!(!said.contains('\n'), "{said}");
}

#[test]
fn a_directory_of_version_1_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    index_with(folder.path(), &bytes(OLD_MARK));
    std::fs::write(folder.path().join("log-0"), bytes(OLD_LOG)).expect("written");
    for _ in 0..2 {
        let refused = Store::try_open(folder.path(), &options()).err().expect("it is old");
        assert_is_old(&refused, folder.path());
    }
}

#[test]
fn a_look_finds_version_1_in_logs_and_in_segments() {
    for (name, header) in [
        ("log-2", OLD_LOG),
        ("segments/values-0000000000000102.seg", OLD_SEGMENT),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("segments")).expect("a folder");
        let mut page = bytes(header);
        assert_eq!(page.len(), 84);
        page.resize(4096, 0);
        std::fs::write(folder.path().join(name), &page).expect("written");
        let refused = look(folder.path(), CHAIN).expect_err("it is old");
        assert_is_old(&refused, folder.path());
        // What is damaged has no version.
        page[8] = 3;
        std::fs::write(folder.path().join(name), &page).expect("written");
        look(folder.path(), CHAIN).expect("nothing names a chain");
    }
}

#[test]
fn a_directory_of_a_later_version_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    index_with(folder.path(), &4u32.to_le_bytes());
    let refused = Store::try_open(folder.path(), &options()).err().expect("it is newer");
    assert!(matches!(refused, OpenError::Format { found: 4, .. }), "{refused}");
    assert!(refused.to_string().contains("a newer version wrote it"), "{refused}");
}

/// Makes a directory what version 2 of index and records would have left.
fn to_version_2(folder: &Path, store: Store, values: &[Assembly]) {
    for value in values {
        let held = store.view.on_disk(&value.key).expect("it is held");
        let mut record = vec![0; held.bytes as usize];
        let file = File::options()
            .read(true)
            .write(true)
            .open(&held.path)
            .expect("a segment");
        file.read_exact_at(&mut record, held.offset).expect("read");
        file.write_all_at(&of_version_2(&record), held.offset).expect("written");
    }
    drop(store);
    let database = Database::open(folder.join("index.redb")).expect("the index");
    let transaction = database.begin_write().expect("a transaction");
    {
        let mut marks = transaction.open_table(MARKS).expect("the marks");
        let format = [2u32.to_le_bytes().as_slice(), &CHAIN.0].concat();
        marks.insert("format", format.as_slice()).expect("written");
        marks.remove("head").expect("removed").expect("it was there");
        let mut decided = transaction.open_table(DECIDED).expect("the decided");
        for value in values {
            let row = encode_row_with_init(&certificate(value), &value.init);
            decided.insert(value.key.height.0, row.as_slice()).expect("written");
        }
    }
    transaction.commit().expect("committed");
}

#[test]
fn a_directory_of_version_2_goes_on_and_an_older_program_refuses_it_from_then_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let mut values = store.grow(1..=6, 2);
    to_version_2(folder.path(), store, &values);
    let wrong = check(folder.path(), CHAIN, &mut |_| ()).expect("it can be read");
    assert!(wrong.is_empty(), "{wrong:?}");
    for life in 0..2 {
        let mut store = Store::open_with(folder.path(), &cold());
        assert_eq!(
            store.recovered.head.as_ref().map(|head| &head.init),
            values.last().map(|value| &value.init)
        );
        for value in &values {
            let (decided, found) = store.view.decided_value(value.key.height).expect("whole");
            assert_same(&found, value);
            assert_eq!(decided.init, value.init);
            assert_eq!(store.view.decided(value.key.height).expect("decided").init, value.init);
        }
        values.extend(store.grow(7 + life..=7 + life, 2));
        drop(store);
        let database = Database::open(folder.path().join("index.redb")).expect("the index");
        let transaction = database.begin_read().expect("a transaction");
        let marks = transaction.open_table(MARKS).expect("the marks");
        let format = marks.get("format").expect("read").expect("there").value().to_vec();
        assert_eq!(format[..4], [3, 0, 0, 0]);
    }
    // Rebuilt from rows and records of both versions.
    let store = Store::open_with(folder.path(), &cold());
    drop(store);
    let file = File::options()
        .write(true)
        .open(folder.path().join("index.redb"))
        .expect("the index");
    file.write_all_at(&[0; 4096], 0).expect("written");
    let store = Store::open_with(folder.path(), &cold());
    assert_eq!(store.view.head(), Height(8));
    for value in &values {
        assert_same(&store.view.decided_value(value.key.height).expect("whole").1, value);
    }
}

/// The `Init` lies in the record alone: a height that is not in memory is asked for it there.
#[test]
fn a_rotten_init_is_damage_and_what_the_index_says_of_its_height_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=6, 2);
    for value in [&values[2], &values[5]] {
        damage_init(&store, &value.key);
    }
    drop(store);
    let mut store = Store::open_with(folder.path(), &cold());
    // The head's is in the index as well: without it no start could go on.
    let head = store.recovered.head.as_ref().expect("a head");
    assert_eq!(head.init, values[5].init);
    assert_eq!(store.view.decided(Height(6)).expect("the head").init, values[5].init);
    assert!(store.view.decided(Height(3)).is_none());
    assert_eq!(store.view.damaged(), [Height(3)]);
    let entry = store.view.entry(Height(3)).expect("the index has it");
    assert_eq!(entry.key(), values[2].key);
    assert_eq!(entry.blobs_count, 2);
    assert_eq!(store.view.height_at(entry.timestamp), Some(Height(3)));
    assert_eq!(store.view.height_of_block(&entry.block_hash), Some(Height(3)));
    let stored = store.ask([StoreRequest::Put {
        assembly: values[2].clone(),
        tag: Tag::Restored,
    }]);
    assert_eq!(stored.len(), 1);
    assert_eq!(store.view.decided(Height(3)).expect("whole again").init, values[2].init);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A row with its checksum, which covers its key as well.
fn sealed(key: &[u8], row: &str) -> Vec<u8> {
    let row = bytes(row);
    let crc = crc32c(&[key, &row].concat());
    [row, crc.to_le_bytes().to_vec()].concat()
}

#[test]
fn the_indexs_rows_have_these_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    store.grow(1..=1, 1);
    assert_eq!(store.view.head(), Height(1));
    drop(store);
    let database = Database::open(folder.path().join("index.redb")).expect("the index");
    let transaction = database.begin_read().expect("a transaction");
    let marks = transaction.open_table(MARKS).expect("the marks");
    let mark = |name: &str| marks.get(name).expect("read").expect("there").value().to_vec();
    assert_eq!(mark("format"), bytes(&["03000000", &"09".repeat(32)].concat()));
    assert_eq!(mark("epoch"), sealed(b"epoch", "02000000000000000100000000000000"));
    let locations = transaction.open_table(LOCATIONS).expect("the places");
    let place = locations.get(1).expect("read").expect("there").value().to_vec();
    let (segment, offset, length) = ("0100000000000000", "0010000000000000", "0010020000000000");
    assert_eq!(place[..25], bytes(&["01", segment, offset, length].concat()));
    let since = u64::from_le_bytes(place[25..33].try_into().expect("eight bytes"));
    assert!(since > 1_577_836_800, "unix seconds, after 2020: {since}");
    assert_eq!(place, sealed(&1u64.to_le_bytes(), &hex(&place[..33])));
    let tallies = mark("tallies");
    let (one, none) = ("0100000000000000", "00".repeat(48));
    assert_eq!(tallies, sealed(b"tallies", &[one, length, &none].concat()));
    let head = mark("head");
    let (archive, _) = head.split_at(head.len() - 4);
    assert_eq!(head, sealed(b"head", &hex(archive)));
    // As it lies in a row of version 2.
    assert_archive(
        "head",
        &[&[2, 0], archive].concat(),
        "0x44a22acda923c9d9eda35cf27151fdfa83275624f63cdb96a11c4498633a747d",
    );
    let decided = transaction.open_table(DECIDED).expect("the decided");
    let row = decided.get(1).expect("read").expect("there").value().to_vec();
    assert_eq!(
        row[..2],
        [2, 3],
        "the row's version, and that it has a checksum and no `Init`"
    );
    let (row, _) = row.split_at(row.len() - 4);
    assert_archive(
        "decided",
        &[&[2, 0], &row[2..]].concat(),
        "0x09931159d614bc2c5f4c789b38028be5200ab2e0da48fe97f922495f7155236c",
    );
}

#[test]
fn the_marks_of_a_long_chain_have_these_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    store.grow(1..=20, 6);
    let through = Height(0x0102);
    store.ask([StoreRequest::Silence { through }]);
    let oldest = store.retire(11);
    store.ask([StoreRequest::Archived { through: Height(14) }]);
    drop(store);
    let database = Database::open(folder.path().join("index.redb")).expect("the index");
    let transaction = database.begin_read().expect("a transaction");
    let marks = transaction.open_table(MARKS).expect("the marks");
    let mark = |name: &str| marks.get(name).expect("read").expect("there").value().to_vec();
    for (name, numbers) in [
        ("silent_through", &[0x0102][..]),
        ("oldest_blobs", &[oldest.0]),
        // What was pruned is not in the archive.
        ("archived_through", &[14, oldest.0]),
    ] {
        let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(mark(name), sealed(name.as_bytes(), &hex(&numbers)), "{name}");
    }
    for name in ["floor", "payloads"] {
        let mark = mark(name);
        let [segment, offset, sequence] = [0, 8, 16].map(|at| mark[at..at + 8].try_into().map(u64::from_le_bytes));
        assert_eq!(mark, sealed(name.as_bytes(), &hex(&mark[..24])), "{name}");
        assert!(segment.is_ok_and(|segment| (1..20).contains(&segment)), "{name}");
        assert!(
            offset.is_ok_and(|offset| offset >= 4096 && offset.is_multiple_of(4096)),
            "{name}"
        );
        assert!(sequence.is_ok_and(|sequence| sequence <= 20), "{name}");
    }
    let blocks = transaction.open_table(BLOCKS).expect("the blocks");
    let height = blocks.get(&block_hash(3, 3).0).expect("read").expect("there").value();
    assert_eq!(height, 3);
}

/// Two proposals of one validator that contradict each other.
fn two_proposals(height: u64) -> Evidence {
    let proposal = |value: u8, valid_round| Proposal {
        height: Height(height),
        round: Round(2),
        value_id: ValueId([value; 32]),
        valid_round,
        proposer: Address([3; 20]),
        signature: Signature([value; 64]),
    };
    Evidence::Proposals(proposal(1, None), proposal(2, Some(Round(1))))
}

/// Compares the SHA-256 of bytes that have an archive in them with what this version of the formats writes. Archives
/// outlive the process, and rkyv lays them out. If a type or rkyv changes the layout, the version of all formats must
/// change with it: then these hashes do.
#[track_caller]
fn assert_archive(what: &str, bytes: &[u8], golden: &str) {
    let found = sha256(bytes).to_string();
    assert_eq!(found, golden, "{what}: {} bytes", bytes.len());
}

#[test]
fn the_archive_in_a_record_has_these_bytes() {
    let value = value(7, 5, 2);
    let content = record::content_of(&value).expect("all blobs or none");
    let mut encoded = record::encode(&value, Tag::Streamed, content).expect("within every limit");
    encoded.stamp(Lineage { generation: 3, salt: 4 }, 0);
    let head = encoded.parts().next().expect("what stands before the blobs");
    let header = RecordHeader::decode(head).expect("its header");
    let init = &head[header.init_at() as usize..header.init_end() as usize];
    assert_archive(
        "Init",
        init,
        "0x0ae340b47a1232d4994e995c7e8457f44a7d8185858982db08d482465ee13507",
    );
}

#[test]
fn the_rows_of_evidence_have_these_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let evidence = vec![two_votes(7), two_proposals(8), false_value(3, 9, 1)];
    store.ask([StoreRequest::Evidence(evidence)]);
    drop(store);
    let database = Database::open(folder.path().join("index.redb")).expect("the index");
    let transaction = database.begin_read().expect("a transaction");
    let pairs = transaction.open_table(EVIDENCE).expect("the pairs");
    let rows = pairs
        .iter()
        .expect("read")
        .map(|entry| entry.expect("read").1.value().to_vec());
    let [votes, proposals] = rows.collect::<Vec<_>>().try_into().expect("two rows");
    let false_values = transaction.open_table(FALSE_VALUES).expect("the false values");
    let value = false_values.get((&[3; 20], 9)).expect("read").expect("there");
    assert_archive(
        "two votes",
        &votes,
        "0xf0527c4192bf390944d3cd36fadb0a1f755c3508b78dbedcb9d4cfafd5d084c8",
    );
    assert_archive(
        "two proposals",
        &proposals,
        "0x8895d68a5e690a577a780a8356b9a4af987a6540dd423242897a0fe169641c73",
    );
    assert_eq!(value.value()[..2], [2, 1]);
    let (mask, masked) = value.value()[2..value.value().len() - 4].split_at(8);
    let unmasked: Vec<u8> = masked
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    assert_archive(
        "false value",
        &[&[2, 0], &unmasked[..]].concat(),
        "0x46d8a5c7aa8349978f9f30993903fe47d401610e180e347527241f3e2017d443",
    );
}
