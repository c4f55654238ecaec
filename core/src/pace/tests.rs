use ultramarine_types::chain::Validator;
use ultramarine_types::{Address, Nanos, ValidatorSet};

use super::{LEAST, Pace};
use crate::signing::Signer;

const RECKONED: Nanos = Nanos::from_millis(4_000);

fn set(powers: &[u64]) -> (ValidatorSet, Vec<Address>) {
    let signers: Vec<Signer> = (0..powers.len())
        .map(|node| Signer::new(&[node as u8 + 1; 32]))
        .collect();
    let list = signers.iter().zip(powers).map(|(signer, power)| Validator {
        public_key: signer.public_key(),
        power: *power,
    });
    let addresses = signers.iter().map(Signer::address).collect();
    (ValidatorSet::new(list.collect()).unwrap(), addresses)
}

fn millis(millis: u64) -> Nanos {
    Nanos::from_millis(millis)
}

#[test]
fn a_node_that_starts_waits_as_long_as_the_largest_block_is_reckoned_to_need() {
    let (set, of) = set(&[1, 1, 1, 1]);
    assert_eq!(Pace::default().wait(&set, &of[0], RECKONED), RECKONED);
}

#[test]
fn the_wait_follows_the_need_within_its_bounds() {
    let (set, of) = set(&[1, 1, 1, 1]);
    let waits = |need: u64| {
        let mut pace = Pace::default();
        for address in &of[1..] {
            pace.note(*address, millis(need));
        }
        pace.check_whole(&set);
        pace.wait(&set, &of[0], RECKONED)
    };
    assert_eq!(waits(3), LEAST);
    assert_eq!(waits(1_500), millis(3_000));
    assert_eq!(
        waits(60_000),
        millis(8_000),
        "twice what the largest block is reckoned to need"
    );
}

#[test]
fn the_largest_of_a_proposers_newest_blocks_counts() {
    let (set, of) = set(&[1, 1, 1, 1]);
    let mut pace = Pace::default();
    for address in &of[1..] {
        pace.note(*address, millis(1_500));
        for _ in 0..3 {
            pace.note(*address, millis(20));
        }
    }
    assert_eq!(pace.wait(&set, &of[0], RECKONED), millis(3_000));
    for address in &of[1..] {
        pace.note(*address, millis(20));
    }
    assert_eq!(pace.wait(&set, &of[0], RECKONED), LEAST);
}

proptest::proptest! {
    /// Whatever less than a third of the power does, the wait stays between what honest proposers need.
    #[test]
    fn a_third_of_the_power_cannot_move_the_wait(
        powers in proptest::collection::vec(1u64..50, 4..10),
        honest in proptest::collection::vec(700u64..3_500, 10),
        lies in proptest::collection::vec(0u64..1_000_000, 10),
    ) {
        let (set, of) = set(&powers);
        let mut pace = Pace::default();
        let mut lying = 0;
        let mut needs = Vec::new();
        for (node, address) in of.iter().enumerate().skip(1) {
            let power = powers[node];
            if (lying + power) * 3 < set.total_power() {
                lying += power;
                pace.note(*address, millis(lies[node]));
            } else {
                needs.push(honest[node]);
                pace.note(*address, millis(honest[node]));
            }
        }
        let (Some(least), Some(most)) = (needs.iter().min(), needs.iter().max()) else { return Ok(()) };
        let wait = pace.wait(&set, &of[0], millis(8_000));
        proptest::prop_assert!(wait <= millis(2 * most), "{wait:?} is above {most} twice");
        if (lying + powers[0]) * 3 <= 2 * set.total_power() {
            proptest::prop_assert!(wait >= millis(2 * least), "{wait:?} is below {least} twice");
        }
    }
}
