//! Golden bytes of each building block, the cursor that reads them back, and the one hash over a set of validators.

use super::*;
use crate::chain::{Validator, ValidatorSet, address_of};
use crate::ids::PublicKey;
use crate::value::tests::pattern;

#[test]
fn each_building_block_has_its_bytes() {
    let empty = || Canonical::new("");
    let bytes = |canonical: Canonical| hex::encode(canonical.into_bytes());
    assert_eq!(bytes(Canonical::new("ab")), "026162");
    assert_eq!(bytes(empty().u8(0x12)), "0012");
    assert_eq!(bytes(empty().u32(0x1234_5678)), "0078563412");
    assert_eq!(bytes(empty().u64(0x0102_0304_0506_0708)), "000807060504030201");
    assert_eq!(bytes(empty().height(Height(1))), "000100000000000000");
    assert_eq!(bytes(empty().round(Round(258))), "0002010000");
    assert_eq!(bytes(empty().fixed(&[9, 8])), "000908");
    assert_eq!(bytes(empty().bytes(&[9, 8])), "00020000000908");
    assert_eq!(bytes(empty().optional::<2>(None)), "0000");
    assert_eq!(bytes(empty().optional(Some(&[9, 8]))), "00010908");
    assert_eq!(bytes(empty().list([[1, 2], [3, 4]].iter())), "000200000001020304");
}

#[test]
fn lists_and_strings_cannot_be_shifted_into_each_other() {
    let split = |left: &[u8], right: &[u8]| Canonical::new("x").bytes(left).bytes(right).sha256();
    assert_ne!(split(b"ab", b"c"), split(b"a", b"bc"));
    assert_ne!(split(b"", b"abc"), split(b"abc", b""));
}

#[test]
fn the_hash_is_sha256() {
    assert_eq!(
        hex::encode(sha256(b"abc").0),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn validator_set_hashes_never_change() {
    let first = Validator {
        public_key: PublicKey(pattern(1)),
        power: 5,
    };
    let second = Validator {
        public_key: PublicKey(pattern(0x41)),
        power: 9,
    };
    assert_eq!(
        address_of(&first.public_key),
        "ae216c2ef5247a3782c135efa279a3e4cdc61094".parse().expect("hex")
    );
    let golden = "2881901e5851e1c422642b4d67274bd4b2b39f363c6061bb584399fca8d51c39"
        .parse()
        .expect("hex");
    assert_eq!(
        ValidatorSet::new(vec![first.clone(), second.clone()])
            .expect("legal")
            .hash(),
        golden
    );
    assert_eq!(
        ValidatorSet::new(vec![second, first]).expect("legal").hash(),
        golden,
        "the order of the list is nothing"
    );
}

#[test]
fn a_cursor_reads_back_what_was_laid_out() {
    let bytes = Canonical::new("")
        .u8(0x12)
        .u32(0x1234_5678)
        .height(Height(9))
        .bytes(&[7, 8])
        .fixed(&[1, 2, 3])
        .into_bytes();
    let mut cursor = Cursor::new(&bytes);
    assert_eq!(cursor.u8(), Some(0), "the length of an empty domain");
    assert_eq!(cursor.u8(), Some(0x12));
    assert_eq!(cursor.u32(), Some(0x1234_5678));
    assert_eq!(cursor.u64(), Some(9));
    assert_eq!(cursor.u32(), Some(2));
    assert_eq!(cursor.slice(2), Some(&[7, 8][..]));
    assert_eq!(cursor.rest(), [1, 2, 3]);
    assert_eq!(cursor.u16(), Some(0x0201));
    assert_eq!(cursor.array(), Some([3]));
    assert!(cursor.rest().is_empty());
}

#[test]
fn a_cursor_takes_nothing_where_too_little_is_left() {
    let mut cursor = Cursor::new(&[1, 2, 3]);
    assert_eq!(cursor.u32(), None);
    assert_eq!(cursor.u64(), None);
    assert_eq!(cursor.slice(4), None);
    assert_eq!(cursor.slice(usize::MAX), None);
    assert_eq!(cursor.array::<4>(), None);
    assert_eq!(cursor.rest(), [1, 2, 3]);
    assert_eq!(cursor.slice(0), Some(&[][..]));
    assert_eq!(cursor.slice(3), Some(&[1, 2, 3][..]));
    assert_eq!((cursor.u8(), cursor.u16()), (None, None));
}
