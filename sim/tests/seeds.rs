//! Seeds that run clean, and the same way every time.

use ultramarine_sim::liveness::{self, FaultClass, Measures};
use ultramarine_sim::{RunConfig, faults, run};

#[test]
fn a_seed_always_gives_the_same_trace() {
    for seed in [3, 17, 40] {
        let first = run(RunConfig::of(seed));
        let second = run(RunConfig::of(seed));
        assert_eq!(first.violation, None);
        assert_eq!(
            (first.hash, first.events, &first.faults),
            (second.hash, second.events, &second.faults)
        );
    }
}

#[test]
fn verifying_in_bursts_changes_no_trace() {
    for seed in [3, 17, 40, 41, 52] {
        let [together, singly] = [true, false].map(|bursts| {
            run(RunConfig {
                bursts,
                ..RunConfig::of(seed)
            })
        });
        assert_eq!(together.violation, None);
        assert_eq!((together.hash, together.events), (singly.hash, singly.events));
    }
}

#[test]
fn different_seeds_give_different_traces() {
    assert_ne!(run(RunConfig::quiet(1)).hash, run(RunConfig::quiet(2)).hash);
}

#[test]
fn a_quiet_network_decides_every_height_in_round_zero() {
    let report = run(RunConfig::quiet(5));
    assert_eq!(report.violation, None);
    assert!(
        report.height.0 >= 20 && report.blobs > 20,
        "{} heights, {} blobs",
        report.height,
        report.blobs
    );
    assert_eq!(report.rounds_above_zero, 0);
}

#[test]
fn thirty_seeds_keep_every_invariant() {
    for seed in 0..30 {
        let report = run(RunConfig::of(seed));
        assert_eq!(
            report.violation,
            None,
            "replay: cargo run --release -p ultramarine-sim -- --seeds {seed}..{} --trace",
            seed + 1
        );
        assert!(report.height.0 >= 20);
        for fault in report.faults.keys() {
            assert!(faults::is_listed(fault), "{fault} is no class of fault");
        }
    }
}

/// One seed of each class.
#[test]
fn a_connected_quorum_decides_in_time_whatever_befalls_all_else() {
    for seed in 0..FaultClass::ALL.len() as u64 {
        let run = liveness::run(seed, None);
        assert_eq!(
            run.report.violation,
            None,
            "replay: cargo run --release --bin ultramarine-sim -- liveness --seeds {seed}..{} --trace",
            seed + 1
        );
        let Measures {
            able,
            first,
            following,
            is_done,
        } = run.measures;
        assert!(is_done);
        for measure in [able, first, following].into_iter().flatten() {
            assert!(measure.took <= measure.bound);
        }
    }
}

#[test]
fn a_liveness_seed_always_gives_the_same_trace() {
    for seed in [3, 9] {
        let [first, second] = [(); 2].map(|()| liveness::run(seed, None).report);
        assert_eq!((first.hash, first.events), (second.hash, second.events));
    }
}

#[test]
fn liveness_seeds_that_once_failed_stay_fixed() {
    for (seed, lesson) in [
        (
            32,
            "a proposer that was about to commit what we had just decided passed for behind, and lost its round",
        ),
        (
            129,
            "in a ring that was left of all links, a proposer three links away passed for dead, and lost ten rounds",
        ),
        (
            302,
            "a member that had been away waited in vain for three dead proposers: their signatures came with the \
             certificate of the height before",
        ),
        (
            367,
            "an older status overtook a newer one, as on no stream: a proposer passed for behind, and lost its round",
        ),
        (
            376,
            "two rounds too short for slow clients counted against a value, and proposers built others three times",
        ),
        (
            974,
            "the newest height that a chain of the least retention has freed was demanded with its blobs for ever, so \
             that a chain which needed the node that lacked it stood still",
        ),
        (
            1198,
            "each look at a line that came before its time began one more row of looks, so that strangers who pull \
             packages filled a run with looks: 6,000,001 events, of which 245,534 were needed",
        ),
        (
            1291,
            "a member stood still while the others went on by the help of a validator that stood still next; the \
             heights that it lacked were not in the bound of the next one",
        ),
    ] {
        assert_eq!(
            liveness::run(seed, None).report.violation,
            None,
            "seed {seed}: {lesson}"
        );
    }
}

/// Seeds that once failed, each with what it taught.
#[test]
fn seeds_that_once_failed_stay_fixed() {
    for (seed, lesson) in [
        (
            41,
            "a value withheld for a slow client, then found flawed, is looked at no more: the core was woken without \
             end",
        ),
        (
            84,
            "a mark without its log silences a validator: never more of them than may be faulty",
        ),
    ] {
        let report = run(RunConfig::of(seed));
        assert_eq!(report.violation, None, "seed {seed}: {lesson}");
    }
}
