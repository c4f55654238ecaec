//! Values that fail, and faults of our own.

use ultramarine_types::verify::{BlobFlaw, Malformed, PointFlaw};

use super::*;

/// Hashes as if its blob's bytes had still been these. So bytes change after they are hashed.
struct Flips(Fast, Hash);

impl Verifier for Flips {
    fn name(&self) -> &'static str {
        "flips"
    }

    fn open(&self, claims: &[Claim<'_>], hashed: &mut dyn FnMut(usize, Hash) -> bool) -> Vec<Opening> {
        self.0.open(claims, &mut |at, _| hashed(at, self.1))
    }

    fn sum(&self, claims: &[OpenedClaim]) -> Sums {
        self.0.sum(claims)
    }

    fn hold(&self, pieces: &[&Sums]) -> bool {
        self.0.hold(pieces)
    }
}

#[test]
fn a_bit_that_flips_between_hashing_and_settling_withholds_the_verdict() {
    let value = lines(1);
    let mut job = real(1, 1, 0, &value);
    let verifier = Flips(Fast::new(), job.digest.expect("the value's"));
    let mut flipped = value[0].blob.clone();
    flipped[77] ^= 1;
    job.blob = Bytes::from(flipped);
    let found = outcomes(&judge([job], Arc::new(verifier)));
    assert!(
        matches!(found[..], [(1, ValueOutcome::Withheld { why })] if why.contains("changed")),
        "{found:?}"
    );
}

/// Says of true claims that they do not hold.
struct Doubts(Fast);

impl Verifier for Doubts {
    fn name(&self) -> &'static str {
        "doubts"
    }

    fn open(&self, claims: &[Claim<'_>], hashed: &mut dyn FnMut(usize, Hash) -> bool) -> Vec<Opening> {
        self.0.open(claims, hashed)
    }

    fn sum(&self, claims: &[OpenedClaim]) -> Sums {
        self.0.sum(claims)
    }

    fn hold(&self, _: &[&Sums]) -> bool {
        false
    }
}

#[test]
fn a_mistake_of_our_own_blames_nobody_and_is_counted() {
    let (client, end) = client(8);
    let value = lines(2);
    (0..2).for_each(|at| client.send(real(1, 1, at, &value)));
    let (halt, registry) = (Halt::new(), Registry::new());
    let Client { requests, mut verdicts } = client;
    drop(requests);
    Lanes::new(vec![end], Arc::new(Doubts(Fast::new())), LaneOptions::default())
        .run(&TileContext::new("kzg-0", &halt, &registry))
        .expect("it ends well");
    let found = outcomes(&std::iter::from_fn(|| verdicts.try_recv()).collect::<Vec<_>>());
    assert!(matches!(found[..], [(1, ValueOutcome::Withheld { .. })]), "{found:?}");
    assert_eq!(counted(&registry, "ultramarine_kzg_values_total", "withheld"), 1);
}

/// The count of a metric's line with this word in it.
fn counted(registry: &Registry, name: &str, word: &str) -> u64 {
    let text = registry.render();
    let line = text.lines().find(|line| line.starts_with(name) && line.contains(word));
    let (_, count) = line.expect("registered").rsplit_once(' ').expect("a count");
    count.parse().expect("a number")
}

#[test]
fn real_values_pass_through_a_lane_and_what_is_false_is_named_and_counted() {
    pass_and_count(Arc::new(crate::ckzg::CKzg::new()));
    pass_and_count(Arc::new(Fast::new()));
}

fn pass_and_count(verifier: Arc<dyn Verifier>) {
    let (client, end) = client(64);
    let spoiled = |spoil: fn(&mut Vec<Owned>)| {
        let mut owned = fixtures::random().to_vec();
        spoil(&mut owned);
        owned
    };
    let values = [
        spoiled(|_| ()),
        spoiled(|value| value[3].proof = value[2].proof),
        spoiled(|value| value[1].blob.truncate(7)),
        spoiled(|value| value[4].proof.0 = [0; 48]),
        // Two: the first is named.
        spoiled(|value| (value[2].commitment, value[5].proof) = (value[3].commitment, value[4].proof)),
    ];
    for (value, height) in values.iter().zip(1..) {
        (0..6).for_each(|at| client.send(real(height, 1, at, value)));
    }
    client.send(VerifyJob {
        digest: Some(Hash::ZERO),
        ..real(9, 1, 0, &values[0])
    });
    let Client { requests, mut verdicts } = client;
    drop(requests);
    let (halt, registry) = (Halt::new(), Registry::new());
    Lanes::new(vec![end], verifier, LaneOptions::default())
        .run(&TileContext::new("kzg-0", &halt, &registry))
        .expect("it ends well");
    let found: Vec<_> = std::iter::from_fn(|| verdicts.try_recv()).collect();
    let found: BTreeMap<_, _> = outcomes(&found).into_iter().collect();
    let fails = |height: usize, index: u16, why| ValueOutcome::Fails {
        index,
        why,
        proof: values[height - 1][usize::from(index)].proof,
    };
    let expected = [
        (1, ValueOutcome::Holds),
        (2, fails(2, 3, Why::Wrong)),
        (3, fails(3, 1, Why::Malformed(Malformed::Blob(BlobFlaw::Length(7))))),
        (4, fails(4, 4, Why::Malformed(Malformed::Proof(PointFlaw::Encoding)))),
        (5, fails(5, 2, Why::Wrong)),
    ];
    assert_eq!(found, BTreeMap::from(expected));
    for (name, word, count) in [
        ("blobs", "right", 30),
        ("blobs", "wrong", 1),
        ("values", "holds", 1),
        ("values", "fails", 4),
    ] {
        assert_eq!(
            counted(&registry, &format!("ultramarine_kzg_{name}_total"), word),
            count,
            "{word}"
        );
    }
}

#[test]
fn a_false_bundle_of_our_own_is_named_though_nobody_knew_its_digests() {
    let mut value = lines(3);
    value[1].proof = value[2].proof;
    let jobs = (0..3).map(|at| VerifyJob {
        sender: None,
        digest: None,
        ..real(1, 1, at, &value)
    });
    let found = outcomes(&judge(jobs, Arc::new(Fast::new())));
    let (index, why, proof) = (1, Why::Wrong, value[1].proof);
    assert_eq!(found, [(1, ValueOutcome::Fails { index, why, proof })]);
}

/// A value of this height in pieces of two, as the accounts give it.
fn whole(fast: &Fast, height: u64, owned: &[Owned]) -> WholeValue<OpenedClaim, Sums> {
    let open = |opening| match opening {
        Opening::Open(claim) => claim,
        other => panic!("not open: {other:?}"),
    };
    let claims = fast
        .open(&fixtures::claims(owned), &mut |_, _| true)
        .into_iter()
        .map(open);
    let claims: Vec<_> = claims.collect();
    let (summed, loose) = claims.split_at(claims.len() / 2);
    WholeValue {
        name: crate::account::Accounts::<(), ()>::new(Policy::default().accounts)
            .begin(0, &fixtures::job(height, 1, 0, 1)),
        sums: summed.chunks(2).map(|piece| fast.sum(piece)).collect(),
        loose: loose.to_vec(),
    }
}

#[test]
fn values_share_a_pairing_and_are_asked_about_alone_if_not_all_hold() {
    let fast = Fast::new();
    let good = lines(6);
    let mut bad = good.clone();
    bad[1].proof = good[2].proof;
    for (falses, pairings) in [(&[][..], 1), (&[0], 4), (&[1], 4), (&[0, 2], 4), (&[0, 1, 2], 4)] {
        let values = (0..3).map(|at| whole(&fast, at, if falses.contains(&at) { &bad } else { &good }));
        let values: Vec<_> = values.collect();
        COUNTS.take();
        let found: Vec<_> = settle(&fast, values).into_iter().map(|(_, holds)| holds).collect();
        assert_eq!(COUNTS.take().pairings, pairings);
        let expected: Vec<_> = (0..3).map(|at| !falses.contains(&at)).collect();
        assert_eq!(found, expected);
    }
    assert!(!settle(&fast, vec![whole(&fast, 1, &bad)])[0].1);
    assert_eq!(COUNTS.take().pairings, 1, "one alone is asked about once");
}
