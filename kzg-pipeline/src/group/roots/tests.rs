use super::*;
use crate::fixtures::{INFINITY, Seeded, lines};
use crate::group::tests::ALWAYS;
use crate::group::{Point, PointPath, lanes};
use crate::simd::checked::Checked;

/// The bytes of an x with flags over it.
fn encoding(x: &Words, flags: u8) -> [u8; 48] {
    let mut bytes = [0; 48];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(x.iter().rev()) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    bytes[0] |= flags << 5;
    bytes
}

fn assert_all_agree(encodings: &[[u8; 48]]) {
    let references: Vec<_> = encodings.iter().collect();
    let coordinates = |points: Vec<Option<Point>>| -> Vec<_> {
        points
            .into_iter()
            .map(|point| point.map(|Point(point)| (point.x.l, point.y.l)))
            .collect()
    };
    let expected = coordinates(encodings.iter().map(Point::decompress).collect());
    for path in PointPath::all() {
        let found = coordinates(path.decompress_all(&references));
        for ((found, expected), bytes) in found.iter().zip(&expected).zip(encodings) {
            assert_eq!(found, expected, "{bytes:02x?} by {}", path.name());
        }
        assert_eq!(found.len(), expected.len());
    }
    assert_eq!(
        coordinates(lanes::decompress_all(Checked::<8>, ALWAYS, &references)),
        expected
    );
}

#[test]
fn every_flag_over_every_border_reads_as_blst_reads_it() {
    let near = |offset: i64| -> Words {
        let mut x = P;
        x[0] = x[0].wrapping_add_signed(offset);
        x
    };
    let mut seeded = Seeded(89);
    let mut xs: Vec<Words> = (0..12).map(|small| [small, 0, 0, 0, 0, 0]).collect();
    xs.extend((-6..6).map(near));
    xs.extend([HALF, [u64::MAX, u64::MAX, u64::MAX, u64::MAX, u64::MAX, u64::MAX >> 3]]);
    xs.extend((0..20).map(|_| std::array::from_fn(|word| seeded.next() >> if word == 5 { 3 } else { 0 })));
    let encodings: Vec<_> = xs.iter().flat_map(|x| (0..8).map(|flags| encoding(x, flags))).collect();
    assert_all_agree(&encodings);
}

#[test]
fn points_of_claims_read_as_blst_reads_them_at_every_number() {
    let mut encodings: Vec<_> = lines(20)
        .iter()
        .flat_map(|line| [line.commitment.0, line.proof.0])
        .collect();
    encodings.insert(3, INFINITY);
    // The other root of each.
    let others: Vec<_> = encodings
        .iter()
        .map(|bytes| {
            let mut other = *bytes;
            other[0] ^= 0x20;
            other
        })
        .collect();
    encodings.extend(others);
    for count in [0, 1, 2, 7, 8, 9, 15, 16, 17, 33, encodings.len()] {
        assert_all_agree(&encodings[..count]);
    }
}

#[test]
fn infinity_has_one_encoding() {
    let mut encodings = vec![INFINITY];
    for at in 0..48 {
        for bit in 0..8 {
            let mut bytes = INFINITY;
            bytes[at] ^= 1 << bit;
            encodings.push(bytes);
        }
    }
    assert_all_agree(&encodings);
}
