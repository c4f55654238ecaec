use super::*;
use crate::fixtures::{INFINITY, Seeded, by_blst, shifted_by_order_three};
use crate::setup::{GENERATOR_G1, TAU_G1};
use crate::simd::checked::Checked;

/// u² − 1, the eigenvalue of the endomorphism.
const LAMBDA: u128 = crate::check::LAMBDA;

/// Lanes for any number of points.
pub const ALWAYS: Minimum = Minimum { roots: 1, judged: 1 };

fn compress(sum: &Sum) -> [u8; 48] {
    by_blst::compress(&sum.0)
}

fn of(terms: &[(&Point, u128)]) -> [u8; 48] {
    let mut all = PointTerms::default();
    for (point, scalar) in terms {
        all.push(point, *scalar);
    }
    compress(&all.sum())
}

/// `scalar · point` by blst's plain multiplication.
fn times(point: &Point, scalar: u128) -> Sum {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&scalar.to_le_bytes());
    Sum(by_blst::times(&by_blst::from_affine(&point.0), &bytes))
}

#[test]
fn the_endomorphism_multiplies_by_lambda() {
    let beta = Beta::new();
    for bytes in [GENERATOR_G1, TAU_G1] {
        let point = Point::decompress(&bytes).expect("a constant");
        assert_eq!(of(&[(&point.endomorphism(&beta), 1)]), compress(&times(&point, LAMBDA)));
    }
    let infinity = Point::decompress(&INFINITY).expect("an encoding");
    assert!(infinity.endomorphism(&beta).is_infinity());
}

#[test]
fn sums_are_right_at_every_size_with_equal_opposite_and_missing_points() {
    let generator = Point::decompress(&GENERATOR_G1).expect("a constant");
    let mut negated = GENERATOR_G1;
    negated[0] ^= 0x20;
    let negated = Point::decompress(&negated).expect("the opposite point");
    let tau = Point::decompress(&TAU_G1).expect("a constant");
    let infinity = Point::decompress(&INFINITY).expect("an encoding");
    let pool = [generator, generator, negated, tau, tau, infinity, generator];
    let mut seeded = Seeded(11);
    for size in [
        0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 33, 34, 63, 64, 65, 200, 513, 1900,
    ] {
        let mut terms = PointTerms::default();
        let mut expected = Sum::default();
        for index in 0..size {
            let point = &pool[seeded.below(pool.len())];
            let scalar = match index % 5 {
                0 => 0,
                1 => u128::MAX,
                2 => 1,
                _ => u128::from(seeded.next()) << 64 | u128::from(seeded.next()),
            };
            terms.push(point, scalar);
            expected = expected.plus(&times(point, scalar));
        }
        for path in PointPath::all() {
            assert_eq!(
                compress(&path.sum(&terms)),
                compress(&expected),
                "{size} terms by {}",
                path.name()
            );
        }
        if size > 0 && size < 40 || size == 513 {
            let sum = lanes::sum(Checked::<8>, &terms.points, &terms.scalars);
            assert_eq!(compress(&sum), compress(&expected), "{size} terms by emulation");
        }
    }
    assert_eq!(of(&[(&generator, 5), (&negated, 5)]), INFINITY);
    assert_eq!(of(&[]), INFINITY);
}

#[test]
fn the_pairing_tells_the_setup_from_another() {
    let (one, tau) = (Lines::generator(), Lines::decompress(&crate::setup::TAU_G2));
    let sum = |bytes: &[u8; 48], scalar| times(&Point::decompress(bytes).expect("a constant"), scalar);
    let (g, tau_g) = (sum(&GENERATOR_G1, 3), sum(&TAU_G1, 3));
    assert!(pairings_equal(&tau_g, &one, &g, &tau), "e(3τG, H) = e(3G, τH)");
    assert!(!pairings_equal(&tau_g, &one, &sum(&GENERATOR_G1, 4), &tau));
    assert!(pairings_equal(&Sum::default(), &one, &Sum::default(), &tau));
    assert!(!pairings_equal(&Sum::default(), &one, &g, &tau));
    assert!(!pairings_equal(&tau_g, &one, &Sum::default(), &tau));
}

#[test]
fn a_point_moved_by_order_three_is_on_the_curve_and_not_in_the_group() {
    let moved = Point::decompress(&shifted_by_order_three(&GENERATOR_G1)).expect("on the curve");
    assert!(!moved.is_in_group());
    assert!(Point::decompress(&INFINITY).expect("an encoding").is_in_group());
}

/// `scalar · point` for any point of the curve: doubling and complete addition, bit by bit.
fn times_anywhere(point: &Point, scalar: &[u64]) -> Sum {
    let (point, mut sum) = (by_blst::from_affine(&point.0), blst_p1::default());
    for bit in (0..64 * scalar.len()).rev() {
        sum = by_blst::sum(&sum, &sum);
        if scalar[bit / 64] >> (bit % 64) & 1 == 1 {
            sum = by_blst::sum(&sum, &point);
        }
    }
    Sum(sum)
}

/// The order of the curve is COFACTOR·r; (u − 1)²/3 = 3·11²·10177²·859267²·52437899².
const COFACTOR: u128 = 0x396c_8c00_5555_e156_8c00_aaab_0000_aaab;

/// A point of the curve that is in no small subgroup.
fn somewhere(seeded: &mut Seeded) -> Point {
    loop {
        let mut bytes: [u8; 48] = std::array::from_fn(|_| seeded.next() as u8);
        bytes[0] = bytes[0] & 0x0f | 0x80;
        if let Some(point) = Point::decompress(&bytes) {
            return point;
        }
    }
}

/// Points of the curve whose x is next to 0, to p, or to a border of limbs: as a number, and as blst holds it.
fn with_extreme_coordinates() -> Vec<Point> {
    let encoding = |words: [u64; 6], as_held: bool| {
        let element = if as_held {
            blst_fp { l: words }
        } else {
            by_blst::fp(&words)
        };
        let mut bytes = by_blst::fp_bytes(&element);
        bytes[0] |= 0x80;
        bytes
    };
    let small = (1..40).map(|small| [small, 0, 0, 0, 0, 0]);
    let large = (1..40).map(|below| {
        let mut words = fp::P;
        words[0] -= below;
        words
    });
    let limbs = (0..24).flat_map(|at: usize| {
        let mut full = [u64::MAX; 6];
        full[5] >>= 4;
        full[at % 6] -= at as u64;
        let mut lone = [0; 6];
        lone[at % 6] = 1 << (at * 2);
        [full, lone]
    });
    let all = small
        .chain(large)
        .chain(limbs)
        .filter(|words| words.iter().rev().lt(fp::P.iter().rev()));
    let encodings = all.flat_map(|words| [encoding(words, false), encoding(words, true)]);
    let points: Vec<_> = encodings.filter_map(|bytes| Point::decompress(&bytes)).collect();
    assert!(points.len() > 80, "half of all x have points: {}", points.len());
    points
}

#[test]
fn sums_are_right_for_points_with_extreme_coordinates() {
    let mut seeded = Seeded(107);
    let points = with_extreme_coordinates();
    for round in 0..6 {
        let mut terms = PointTerms::default();
        let mut expected = Sum::default();
        for point in points.iter().cycle().skip(round).take(30 + 31 * round) {
            let scalar = match seeded.below(4) {
                0 => u128::MAX,
                1 => 1 << seeded.below(128),
                _ => u128::from(seeded.next()) << 64 | u128::from(seeded.next()),
            };
            terms.push(point, scalar);
            expected = expected.plus(&times_anywhere(point, &[scalar as u64, (scalar >> 64) as u64]));
        }
        for path in PointPath::all() {
            assert_eq!(compress(&path.sum(&terms)), compress(&expected), "by {}", path.name());
        }
        if let Some(avx512) = Avx512::detect() {
            let sum = lanes::sum(avx512, &terms.points, &terms.scalars);
            assert_eq!(compress(&sum), compress(&expected), "by doubles");
        }
        let sum = lanes::sum(Checked::<8>, &terms.points, &terms.scalars);
        assert_eq!(compress(&sum), compress(&expected), "by emulation");
    }
}

/// A point of this order, or infinity if the point that it starts from has no such part.
fn of_order(order: u128, part: u128, seeded: &mut Seeded) -> Point {
    assert_eq!(COFACTOR % part, 0);
    let outside = times_anywhere(&somewhere(seeded), &crate::field::R).to_point();
    let rest = COFACTOR / part;
    let point = times_anywhere(&outside, &[rest as u64, (rest >> 64) as u64]).to_point();
    let multiple = times_anywhere(&point, &[order as u64, (order >> 64) as u64]);
    assert!(multiple.is_infinity(), "of order {order}");
    point
}

/// The primes of the cofactor, and the part of it that belongs to each.
const PRIMES: [(u128, u128); 5] = [
    (3, 3),
    (11, 121),
    (10_177, 10_177 * 10_177),
    (859_267, 859_267 * 859_267),
    (52_437_899, 52_437_899 * 52_437_899),
];

fn plus(left: &Point, right: &Point) -> Point {
    times_anywhere(left, &[1]).plus(&times_anywhere(right, &[1])).to_point()
}

fn negated(point: &Point) -> Point {
    let mut opposite = *point;
    opposite.0.y = by_blst::fp_negated(&point.0.y);
    opposite
}

fn member(seeded: &mut Seeded) -> Point {
    let scalar = [seeded.next(), seeded.next(), seeded.next(), 1];
    times_anywhere(&Point::generator(), &scalar).to_point()
}

/// A point of each prime order, not infinity.
fn of_each_prime(seeded: &mut Seeded) -> [Point; 5] {
    PRIMES.map(|(order, part)| {
        loop {
            let point = of_order(order, part, seeded);
            if !point.is_infinity() {
                return point;
            }
        }
    })
}

/// By every path of this processor, and by the emulation where it is affordable.
fn assert_judged(points: &[Point], expected: &[bool], emulated: bool, what: &str) {
    for path in PointPath::all() {
        assert_eq!(path.are_in_group(points), expected, "{what} by {}", path.name());
    }
    if emulated {
        let judged = lanes::are_in_group(Checked::<8>, ALWAYS, points);
        assert_eq!(judged, expected, "{what} by emulation");
    }
}

/// One point that has a part of small order, alone or amid members: at every number of points, in every lane.
#[test]
fn a_stranger_of_any_order_is_refused_in_every_place_at_every_number() {
    let mut seeded = Seeded(101);
    let members: Vec<_> = (0..33).map(|_| member(&mut seeded)).collect();
    for ((order, _), stranger) in PRIMES.into_iter().zip(of_each_prime(&mut seeded)) {
        for count in 1..=members.len() {
            for index in 0..count {
                let mut points = members[..count].to_vec();
                points[index] = match (count + index) % 2 {
                    0 => stranger,
                    _ => plus(&members[index], &stranger),
                };
                let mut expected = vec![true; count];
                expected[index] = false;
                let what = format!("of order {order}, at {index} of {count}");
                assert_judged(&points, &expected, count == 8 || count == 16, &what);
            }
        }
    }
}

/// Two points whose parts of small order cancel would pass any test of their sum, and with weights of one bit half of
/// the time.
#[test]
fn strangers_that_cancel_are_refused_in_every_two_positions() {
    let mut seeded = Seeded(103);
    let members: Vec<_> = (0..17).map(|_| member(&mut seeded)).collect();
    for ((order, _), stranger) in PRIMES.into_iter().zip(of_each_prime(&mut seeded)) {
        let opposite = negated(&stranger);
        assert!(plus(&stranger, &opposite).is_infinity(), "they cancel");
        for first in 0..members.len() {
            for second in (0..members.len()).filter(|second| *second != first) {
                let mut points = members.clone();
                points[first] = plus(&members[first], &stranger);
                points[second] = plus(&members[second], &opposite);
                let expected: Vec<_> = (0..points.len()).map(|at| at != first && at != second).collect();
                let what = format!("of order {order}, at {first} and {second}");
                assert_judged(&points, &expected, first + 1 == second, &what);
            }
        }
        // As they come, compressed: every other point, all of them cancelling.
        let moved = |at: usize| match at % 4 {
            1 => plus(&members[at], &stranger),
            3 => plus(&members[at], &opposite),
            _ => members[at],
        };
        let encodings: Vec<_> = (0..16).map(|at| compress(&times_anywhere(&moved(at), &[1]))).collect();
        let references: Vec<_> = encodings.iter().collect();
        for path in PointPath::all() {
            let read = path.read_all(&references);
            for (at, point) in read.iter().enumerate() {
                assert_eq!(
                    point.is_some(),
                    at % 2 == 0,
                    "order {order}, at {at} by {}",
                    path.name()
                );
            }
        }
    }
}

#[test]
fn every_path_knows_the_subgroup_from_points_of_every_other_order() {
    let mut seeded = Seeded(97);
    let generator = Point::generator();
    assert_eq!(PRIMES.iter().map(|(_, part)| part).product::<u128>(), COFACTOR);
    let mut strangers = Vec::new();
    for (order, part) in PRIMES {
        for _ in 0..3 {
            let point = of_order(order, part, &mut seeded);
            assert!(
                order == 3 || !point.is_infinity(),
                "one in {part} starts without such a part"
            );
            strangers.push(point);
        }
    }
    // Orders that are products: 33 and others.
    for index in 0..strangers.len() {
        strangers.push(plus(&strangers[index], &strangers[(index + 4) % 15]));
        strangers.push(plus(&strangers[index], &strangers[(index + 7) % 15]));
    }
    let mut points = vec![Point::default(), generator];
    points.extend(with_extreme_coordinates());
    for stranger in &strangers {
        let member = member(&mut seeded);
        points.extend([*stranger, member, plus(&member, stranger), somewhere(&mut seeded)]);
    }
    // Multiples of the generator that the ladder itself meets.
    for scalar in [2, 3, 0xd201_0000_0001_0000, 0xd201_0000_0000_ffff, u64::MAX] {
        points.push(times_anywhere(&generator, &[scalar]).to_point());
        points.push(times_anywhere(&strangers[4], &[scalar]).to_point());
    }
    let expected: Vec<_> = points
        .iter()
        .map(|point| times_anywhere(point, &crate::field::R).is_infinity())
        .collect();
    assert!(expected.iter().filter(|member| **member).count() > 45 && expected.contains(&false));
    assert_judged(&points, &expected, true, "many");
}

#[test]
fn reading_takes_points_of_the_subgroup_only_and_keeps_their_order() {
    let mut not_of_the_curve = GENERATOR_G1;
    not_of_the_curve[47] ^= 1;
    let moved = shifted_by_order_three(&GENERATOR_G1);
    let encodings = [
        &GENERATOR_G1,
        &moved,
        &INFINITY,
        &not_of_the_curve,
        &[0; 48],
        &TAU_G1,
        &[0xff; 48],
    ];
    for path in PointPath::all() {
        for turn in 0..encodings.len() {
            let mut turned = encodings;
            turned.rotate_left(turn);
            let read = path.read_all(&turned);
            for (bytes, point) in turned.iter().zip(read) {
                let expected = [GENERATOR_G1, INFINITY, TAU_G1].contains(*bytes);
                assert_eq!(point.is_some(), expected, "{bytes:02x?} by {}", path.name());
                if let Some(point) = point {
                    assert_eq!(&compress(&times_anywhere(&point, &[1])), *bytes);
                }
            }
        }
    }
}
