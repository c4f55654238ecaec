use super::*;
use crate::fixtures::{self, Seeded, line, random};
use crate::simd::checked::Checked;
use crate::simd::emulated::Emulated;

fn blob(bytes: &[u8]) -> &[u8; BLOB_BYTES] {
    bytes.try_into().expect("a blob")
}

/// The value by every path, which must agree, and by the vectors' arithmetic where it must not lose a bit.
fn value_at(bytes: &[u8], z: &Fr) -> Option<Fr> {
    let value = |path| Domain::get().evaluate(path, blob(bytes), z, &mut Scratch::default());
    let expected = value(EvaluationPath::Portable);
    for path in EvaluationPath::all() {
        assert_eq!(value(path), expected, "{}", path.name());
    }
    if expected.is_some() {
        static FACTORS: Factors = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let (domain, (fours, eights, sixteens)) = (Domain::get(), &FACTORS);
        let checked = [
            domain.by_vectors::<4, _, Limbs29>(Checked::<4>, fours, blob(bytes), z, &mut Vec::new()),
            domain.by_vectors::<8, _, Limbs29>(Checked::<8>, eights, blob(bytes), z, &mut Vec::new()),
            domain.by_vectors::<16, _, Limbs52>(Checked::<16>, sixteens, blob(bytes), z, &mut Vec::new()),
        ];
        assert_eq!(checked, [expected; 3], "checked");
    }
    expected
}

/// As a [`Domain`] holds them; made once for all tests.
type Factors = (
    OnceLock<Vec<Group<4, 9>>>,
    OnceLock<Vec<Group<8, 9>>>,
    OnceLock<Vec<[Group<16, 5>; 2]>>,
);

fn big_endian(element: &Fr) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, limb) in bytes.chunks_exact_mut(8).zip(element.limbs().iter().rev()) {
        chunk.copy_from_slice(&limb.to_be_bytes());
    }
    bytes
}

#[test]
fn values_agree_with_c_kzg_at_random_and_extreme_points() {
    let settings = c_kzg::ethereum_kzg_settings(0);
    let mut seeded = Seeded(5);
    let minus_one = Fr::ONE.negate();
    let points = [
        Fr::ZERO,
        Fr::ONE,
        minus_one,
        Fr::from_hash(&seeded.element()),
        Fr::from_hash(&seeded.element()),
    ];
    for (index, z) in points.into_iter().enumerate() {
        let claim = &random()[index];
        let theirs = c_kzg::Blob::from_bytes(&claim.blob).expect("the right length");
        let (_, y) = settings
            .compute_kzg_proof(&theirs, &c_kzg::Bytes32::from(big_endian(&z)))
            .expect("canonical");
        assert_eq!(value_at(&claim.blob, &z), Some(Fr::from_hash(&y)), "point {index}");
    }
}

#[test]
fn a_line_has_its_value_everywhere_and_the_domain_is_nothing_special() {
    let claim = line(1);
    let first = Fr::from_hash(claim.blob[..32].try_into().expect("an element"));
    let second = Fr::from_hash(claim.blob[32..64].try_into().expect("an element"));
    // The domain begins 1, −1: p(1) = a + b and p(−1) = a − b.
    let half = Fr::small(2).inverse();
    let a = first.add(&second).mul(&half);
    let b = first.add(&second.negate()).mul(&half);
    let mut seeded = Seeded(9);
    for _ in 0..20 {
        let z = Fr::from_hash(&seeded.element());
        assert_eq!(value_at(&claim.blob, &z), Some(a.add(&b.mul(&z))));
    }
    assert_eq!(value_at(&claim.blob, &Fr::ONE), Some(first));
    assert_eq!(value_at(&claim.blob, &Fr::ONE.negate()), Some(second));
}

/// At a root of unity the value is the blob's own element. In bit-reversed order the roots of order 2ᵏ stand from 2ᵏ⁻¹
/// to 2ᵏ − 1.
#[test]
fn at_every_kind_of_root_the_value_is_the_blobs_own_element() {
    let (elements, _) = random()[3].blob.as_chunks::<32>();
    let mut seeded = Seeded(43);
    for order in 0..=FOLDS {
        let (first, count) = if order == 0 {
            (0, 1)
        } else {
            (1 << (order - 1), 1 << (order - 1))
        };
        for index in [first, first + seeded.below(count), first + count - 1] {
            let z = Fr::from_hash(&fixtures::bytes(&fixtures::roots()[index]));
            let expected = Fr::from_hash(&elements[index]);
            assert_eq!(value_at(&random()[3].blob, &z), Some(expected), "element {index}");
        }
    }
}

#[test]
fn a_fold_by_words_meets_no_number_that_is_not_canonical() {
    let (mark, z) = ([7; 4], Fr::small(5).prepare());
    for element in [crate::wellformed::MODULUS, [0xff; 32]] {
        for position in [0, 1, 1002, 1003, 4094, 4095] {
            let mut bytes = vec![1; BLOB_BYTES];
            bytes[32 * position..32 * (position + 1)].copy_from_slice(&element);
            let mut values = vec![mark; ELEMENTS / 2];
            let canonical = fold_blob(Portable, blob(&bytes), &Domain::get().prepared, &z, &mut values);
            assert!(!canonical, "element {position}");
            let (before, after) = values.split_at(position / 2);
            assert!(!before.contains(&mark) && after.iter().all(|value| *value == mark));
        }
    }
}

#[test]
fn blobs_of_extreme_elements_keep_their_residues() {
    let mut largest = crate::wellformed::MODULUS;
    largest[31] = 0;
    let mut seeded = Seeded(13);
    let z = Fr::from_hash(&seeded.element());
    assert_eq!(value_at(&[0; BLOB_BYTES], &z), Some(Fr::ZERO));
    assert_eq!(value_at(&largest.repeat(4096), &z), Some(Fr::ONE.negate()));
    // 0 and r − 1 in turn: differences of both signs at their largest. It is (−1 + X²⁰⁴⁸… )/2 of nothing simple, so
    // compare with the sum of its two halves, each a constant blob cut in two.
    let one_way = [[0; 32], largest].concat().repeat(2048);
    let other_way = [largest, [0; 32]].concat().repeat(2048);
    let sum = value_at(&one_way, &z)
        .expect("canonical")
        .add(&value_at(&other_way, &z).expect("canonical"));
    assert_eq!(sum, Fr::ONE.negate());
}

#[test]
fn an_element_that_is_not_canonical_is_refused_wherever_it_stands() {
    for position in [0, 1, 2, 2047, 2048, 4094, 4095] {
        let mut bytes = vec![0; BLOB_BYTES];
        bytes[32 * position..32 * (position + 1)].copy_from_slice(&crate::wellformed::MODULUS);
        assert_eq!(value_at(&bytes, &Fr::small(5)), None, "element {position}");
        bytes[32 * position + 31] = 0;
        assert!(value_at(&bytes, &Fr::small(5)).is_some(), "element {position} is r − 1");
    }
}

#[test]
fn elements_that_share_their_highest_words_with_the_modulus_are_judged_exactly() {
    let mut seeded = Seeded(17);
    for round in 0..64 {
        let mut element = crate::wellformed::MODULUS;
        for byte in &mut element[8 + round % 24..] {
            *byte = seeded.next() as u8;
        }
        let mut bytes = vec![1; BLOB_BYTES];
        let position = seeded.below(4096);
        bytes[32 * position..32 * (position + 1)].copy_from_slice(&element);
        let canonical = element < crate::wellformed::MODULUS;
        assert_eq!(value_at(&bytes, &Fr::small(77)).is_some(), canonical);
    }
    // A set top bit makes a signed word negative: below r's as a signed number.
    for top in [0x80, 0xff] {
        let mut bytes = vec![0; BLOB_BYTES];
        bytes[32 * 1001] = top;
        assert_eq!(value_at(&bytes, &Fr::small(77)), None);
    }
}

/// A number of hundredths of r, rounded down.
pub fn hundredths_of_r(hundredths: u64) -> Limbs {
    let mut words = [0; 5];
    let mut carry = 0;
    for (word, limb) in words.iter_mut().zip(R.into_iter().chain([0])) {
        carry += u128::from(limb) * u128::from(hundredths);
        *word = carry as u64;
        carry >>= 64;
    }
    let mut rest = 0;
    for word in words.iter_mut().rev() {
        let part = rest << 64 | u128::from(*word);
        *word = (part / 100) as u64;
        rest = part % 100;
    }
    assert_eq!(words[4], 0, "below 2^256");
    [words[0], words[1], words[2], words[3]]
}

/// Whether a number is at most this large.
pub fn is_at_most(number: &Limbs, largest: &Limbs) -> bool {
    number.iter().rev().le(largest.iter().rev())
}

/// Values at borders, below 1.0625·r, and random ones.
fn borders() -> Vec<Limbs> {
    let mut all = vec![
        [0; 4],
        [1, 0, 0, 0],
        R,
        [R[0] - 1, R[1], R[2], R[3]],
        [R[0] + 1, R[1], R[2], R[3]],
        [u64::MAX, u64::MAX, u64::MAX, R[3] + (R[3] >> 4)],
        // Every limb full, but for the top.
        [u64::MAX, u64::MAX, u64::MAX, (1 << 62) - 1],
    ];
    let mut seeded = Seeded(23);
    all.extend((0..40).map(|_| {
        let mut limbs: Limbs = std::array::from_fn(|_| seeded.next());
        limbs[3] %= R[3];
        limbs
    }));
    all
}

/// For the tests of each way to fold: borders beside random numbers, in every lane. `largest` is what the way's head
/// allows a number to be, before a fold and after it.
pub fn folds_agree_with_plain_arithmetic_at_every_border<const N: usize, L, F, const LIMBS: usize>(
    lanes: L,
    largest: Limbs,
    cut: impl Fn(&Limbs) -> [u64; LIMBS],
    tight: impl Fn(&[u64]) -> bool,
) where
    L: VectorUnit<N>,
    F: Folds<N, L, Values = Group<N, LIMBS>>,
{
    let minus_one = Fr::ONE.negate();
    let mut seeded = Seeded(29);
    let points = [Fr::ZERO, Fr::ONE, minus_one, Fr::from_hash(&seeded.element())];
    let mut values = borders();
    values.push(largest);
    for round in 0..8 * values.len() {
        for z in &points {
            let picked: [[Limbs; N]; 2] = std::array::from_fn(|group| {
                std::array::from_fn(|lane| match (round + group + lane) % 3 {
                    0 => values[round % values.len()],
                    _ => values[seeded.below(values.len())],
                })
            });
            let factors: [Fr; N] = std::array::from_fn(|lane| match (round + lane) % 4 {
                0 => minus_one,
                1 => Fr::ONE,
                _ => Fr::from_hash(&seeded.element()),
            });
            let groups = picked.map(|numbers| Group::of(&numbers.map(|number| cut(&number))));
            let folded = vectors::fold_groups::<N, L, F>(lanes, groups, &factors, z);
            let picked = picked.as_flattened();
            for lane in 0..N {
                let (a, b) = (Fr::reduced(picked[2 * lane]), Fr::reduced(picked[2 * lane + 1]));
                let expected = a.add(&b).add(&factors[lane].mul(z).mul(&a.add(&b.negate())));
                let found = F::value(&folded, lane);
                assert_eq!(Fr::reduced(found), expected, "lane {lane}");
                assert!(is_at_most(&found, &largest), "as small as the next fold wants it");
                assert!(tight(&folded.lane(lane)), "tight");
            }
        }
    }
}

/// The same for folds by words, whose bound is lower: r and 2²⁵⁰.
#[test]
fn folds_by_words_agree_with_plain_arithmetic_at_every_border() {
    let largest = [u64::MAX, u64::MAX, u64::MAX, R[3] + (1 << 58) - 1];
    let mut values = borders();
    values.retain(|number| is_at_most(number, &largest));
    values.push(largest);
    let mut seeded = Seeded(41);
    let factors = [Fr::ZERO, Fr::ONE, Fr::ONE.negate(), Fr::from_hash(&seeded.element())];
    let check = |found: Limbs, expected, by| {
        assert_eq!(Fr::reduced(found), expected, "by {by}");
        assert!(
            is_at_most(&found, &largest),
            "as small as the next fold wants it, by {by}"
        );
    };
    for a in &values {
        for b in &values {
            let (left, right) = (Fr::reduced(*a), Fr::reduced(*b));
            for v in &factors {
                let z = &factors[seeded.below(factors.len())];
                let expected = left.add(&right).add(&v.mul(z).mul(&left.add(&right.negate())));
                let prepared = [v.prepare(), z.prepare()];
                check(fold(Portable, a, b, &prepared[0], &prepared[1]), expected, "portable");
                if let Some(mulx) = Mulx::detect() {
                    check(fold(mulx, a, b, &prepared[0], &prepared[1]), expected, "mulx");
                }
            }
        }
    }
}

#[test]
fn emulated_vectors_evaluate_like_the_rest() {
    let claim = &random()[1];
    let z = Fr::from_hash(&Seeded(37).element());
    let expected = value_at(&claim.blob, &z).expect("canonical");
    let domain = Domain::get();
    let mut noncanonical = claim.blob.clone();
    noncanonical[32 * 77..32 * 78].copy_from_slice(&crate::wellformed::MODULUS);
    for (bytes, expected) in [(&claim.blob, Some(expected)), (&noncanonical, None)] {
        let (blob, z) = (blob(bytes), &z);
        let [fours, eights, sixteens] = [
            domain.by_vectors::<4, _, Limbs29>(Emulated::<4>, &OnceLock::new(), blob, z, &mut Vec::new()),
            domain.by_vectors::<8, _, Limbs29>(Emulated::<8>, &OnceLock::new(), blob, z, &mut Vec::new()),
            domain.by_vectors::<16, _, Limbs52>(Emulated::<16>, &OnceLock::new(), blob, z, &mut Vec::new()),
        ];
        assert_eq!([fours, eights, sixteens], [expected; 3]);
    }
}
