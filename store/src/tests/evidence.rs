//! Values that their own blobs refute are kept as evidence, few of each validator.

use ultramarine_types::storage::{Source, StoreRequest};
use ultramarine_types::{Address, Evidence, Height};

use super::support::*;
use crate::index::{EVIDENCE_ROWS_MAX, FALSE_VALUES_PER_VALIDATOR_MAX};

fn held(store: &Store) -> Vec<Evidence> {
    store.evidence(Height(0), Height(u64::MAX), usize::MAX)
}

#[test]
fn one_false_value_of_a_validator_and_height_is_kept_and_outlives_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let first = false_value(3, 9, 0);
    let others = [false_value(4, 9, 0), false_value(3, 4, 1), two_votes(7), two_votes(9)];
    store.ask([StoreRequest::Evidence(vec![first.clone()])]);
    store.ask([StoreRequest::Evidence(others.to_vec())]);
    store.ask([StoreRequest::Evidence(vec![first.clone(), false_value(3, 9, 1)])]);
    let [fourth, early, votes_at_7, votes_at_9] = others;
    let expected = [early, votes_at_7, votes_at_9, first, fourth];
    for _ in 0..2 {
        assert_eq!(held(&store), expected, "in order of height");
        assert_eq!(store.evidence(Height(0), Height(u64::MAX), 2), expected[..2]);
        assert_eq!(store.evidence(Height(5), Height(8), 10), expected[1..2]);
        assert_eq!(store.evidence(Height(8), Height(5), 10), [], "from above to below");
        store = reopened(store, folder.path());
    }
    assert!(held(&store).iter().all(|piece| piece.is_contradiction(1)));
    let found = |culprit: u8, height| store.view.false_value(&Address([culprit; 20]), Height(height));
    assert_eq!(
        found(3, 9).map(|value| Evidence::Value(value.into())).as_ref(),
        Some(&expected[3])
    );
    assert_eq!([found(3, 8), found(5, 9), found(3, 7)], [None, None, None]);
}

#[test]
fn of_each_validator_the_first_false_values_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let of_one: Vec<_> = (1..=10).map(|height| false_value(3, 100 - height, 0)).collect();
    store.ask([StoreRequest::Evidence(of_one.clone())]);
    let of_another = false_value(4, 50, 0);
    store.ask([StoreRequest::Evidence(vec![of_another.clone()])]);
    let mut expected = vec![of_another];
    expected.extend(of_one[..FALSE_VALUES_PER_VALIDATOR_MAX].iter().rev().cloned());
    assert_eq!(held(&store), expected);
}

#[test]
fn false_values_are_found_by_height_whichever_validators_they_are_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    // The first and the last of all addresses, and heights that lie crosswise.
    let places = [(0, 9), (0, 2), (7, 1), (7, 8), (0xff, 2), (0xff, 3), (0xff, 20)];
    let pieces = places.map(|(culprit, height)| false_value(culprit, height, 0));
    store.ask([StoreRequest::Evidence(pieces.to_vec())]);
    let mut expected = pieces.to_vec();
    expected.sort_by_key(|piece| (piece.height(), piece.validator()));
    for (from, to) in (0..=21).flat_map(|from| (0..=21).map(move |to| (Height(from), Height(to)))) {
        let in_range = expected.iter().filter(|piece| (from..=to).contains(&piece.height()));
        for rows_max in [1, 3, 10] {
            let wanted: Vec<_> = in_range.clone().take(rows_max).cloned().collect();
            assert_eq!(store.evidence(from, to, rows_max), wanted, "{from} to {to}");
        }
    }
    assert_eq!(held(&store), expected);
}

#[test]
fn of_more_pairs_than_are_kept_the_oldest_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let highest = EVIDENCE_ROWS_MAX + 5;
    store.ask([StoreRequest::Evidence((1..=highest).map(two_votes).collect())]);
    let oldest = store.evidence(Height(0), Height(10), 100);
    assert_eq!(oldest, (6..=10).map(two_votes).collect::<Vec<_>>());
    let newest = store.evidence(Height(highest), Height(highest), 100);
    assert_eq!(newest, [two_votes(highest)]);
}

#[test]
fn a_false_value_above_the_limits_is_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let change = |change: fn(&mut ultramarine_types::evidence::FalseValue)| {
        let Evidence::Value(mut value) = false_value(3, 9, 0) else {
            panic!("it is a value");
        };
        change(&mut value);
        Evidence::Value(value)
    };
    let large = vec![
        change(|value| value.blob.push(0)),
        change(|value| value.lists.proofs = vec![ultramarine_types::KzgProof::ZERO; 10_000]),
        change(|value| value.init.metadata.header.extra_data = vec![0; 33]),
        two_votes(9),
    ];
    store.ask([StoreRequest::Evidence(large)]);
    assert_eq!(held(&store), [two_votes(9)]);
}
