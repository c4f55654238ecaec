use std::collections::BTreeMap;

use proptest::prelude::*;
use ultramarine_types::chain::address_of;
use ultramarine_types::network::{ClockReading, Echo};
use ultramarine_types::{Address, Nanos, PublicKey, Validator, ValidatorSet};

use super::{ClockLine, Clocks, Grade, News, PeerClock, SAMPLES_MAX, Steady, median};

const SECOND: i64 = 1_000_000_000;

fn set(powers: &[u64]) -> ValidatorSet {
    let list = powers.iter().enumerate().map(|(index, power)| Validator {
        public_key: PublicKey([index as u8 + 1; 32]),
        power: *power,
    });
    ValidatorSet::new(list.collect()).unwrap()
}

fn address(position: usize) -> Address {
    address_of(&PublicKey([position as u8 + 1; 32]))
}

/// The others' clocks, in seconds ahead of the first's.
fn ahead(seconds: &[i64]) -> BTreeMap<Address, i64> {
    let clocks = seconds.iter().enumerate();
    clocks
        .map(|(index, seconds)| (address(index + 1), seconds * SECOND))
        .collect()
}

fn median_of(powers: &[u64], seconds: &[i64]) -> Option<i64> {
    let set = set(powers);
    median(&set, &address(0), &ahead(seconds)).map(|ns| ns / SECOND)
}

#[test]
fn who_disagrees_with_a_majority_is_wrong_and_who_disagrees_with_one_is_not() {
    for (powers, seconds, want) in [
        (&[1, 1, 1, 1][..], &[60, 60, 60][..], Some(60)),
        (&[1, 1, 1, 1], &[0, 0, -60], Some(0)),
        (&[1, 1, 1, 1], &[60, 60], Some(60)),
        (&[1, 1, 1, 1], &[60], None),
        (&[1, 1, 1, 1], &[], None),
        // Two against two, one against one: nobody can tell.
        (&[1, 1, 1, 1], &[0, 60, 60], Some(0)),
        (&[1, 1], &[-60], Some(0)),
        (&[1], &[], Some(0)),
        // Power counts, not heads.
        (&[5, 1, 1, 1], &[60, 60, 60], Some(0)),
        (&[1, 5, 1, 1], &[60, 0, 0], Some(60)),
        // The nearest of those in the middle.
        (&[1, 1, 1], &[3, 60], Some(3)),
    ] {
        assert_eq!(median_of(powers, seconds), want, "{powers:?} {seconds:?}");
    }
}

#[test]
fn a_full_node_compares_itself_with_the_validators() {
    let set = set(&[1, 1, 1]);
    let clocks = (0..3).map(|position| (address(position), 60 * SECOND)).collect();
    assert_eq!(median(&set, &Address::ZERO, &clocks), Some(60 * SECOND));
}

proptest! {
    #[test]
    fn less_than_a_third_cannot_move_it_beyond_honest_clocks(
        honest in proptest::collection::vec(-3 * SECOND..3 * SECOND, 2..20),
        lies in proptest::collection::vec(any::<i64>(), 0..9),
    ) {
        let liars = lies.len().min(honest.len() / 2);
        let set = set(&vec![1; 1 + honest.len() + liars]);
        let all: Vec<i64> = honest.iter().copied().chain(lies.into_iter().take(liars)).collect();
        let ahead = all.iter().enumerate().map(|(index, ahead)| (address(index + 1), *ahead)).collect();
        if let Some(median) = median(&set, &address(0), &ahead) {
            let low = honest.iter().copied().min().unwrap().min(0);
            let high = honest.iter().copied().max().unwrap().max(0);
            prop_assert!((low..=high).contains(&median), "{median} is not within {low} to {high}");
        }
    }

    #[test]
    fn an_estimate_is_off_by_half_the_way_at_most(
        there in 0u64..1_000_000_000,
        back in 0u64..1_000_000_000,
        held in 0u64..5_000_000_000,
        ahead in -4_000_000_000_000i64..4_000_000_000_000,
    ) {
        let (sent, unix) = (Nanos(77), 1_800_000_000 * SECOND as u64);
        let arrives = Nanos(sent.0 + there + held + back);
        // At the peer, when it answers.
        let theirs = (unix + there + held).saturating_add_signed(ahead);
        let reading = ClockReading { unix_ns: theirs, token: 5, echo: Some(Echo { token: sent.0, held_ns: held }) };
        let mut clock = PeerClock::default();
        clock.hear(arrives, unix + there + held + back, &reading);
        let found = clock.ahead_ns(arrives).unwrap();
        prop_assert!(found.abs_diff(ahead) <= there.abs_diff(back) / 2 + 1, "{found} for {ahead}");
    }
}

fn reading(unix_ns: u64, echo: Option<Echo>) -> ClockReading {
    ClockReading {
        unix_ns,
        token: 1,
        echo,
    }
}

#[test]
fn what_took_long_or_is_made_up_measures_nothing() {
    let now = Nanos::from_millis(60_000);
    let unix = 1_800_000_000 * SECOND as u64;
    let hear = |echo| {
        let mut clock = PeerClock::default();
        clock.hear(now, unix, &reading(unix, echo));
        clock.ahead_ns(now)
    };
    let echo = |token_ms: u64, held_ms: u64| {
        Some(Echo {
            token: Nanos::from_millis(token_ms).0,
            held_ns: Nanos::from_millis(held_ms).0,
        })
    };
    assert_eq!(hear(None), None, "nothing came back yet");
    assert_eq!(hear(echo(59_900, 100)), Some(0));
    // What waited in our own queues while the process was stopped.
    assert_eq!(hear(echo(1_000, 900)), None);
    assert_eq!(hear(echo(70_000, 0)), None, "from the future");
    assert_eq!(hear(echo(59_000, 5_000)), None, "held longer than it was away");
    let most = Some(Echo {
        token: u64::MAX,
        held_ns: u64::MAX,
    });
    assert_eq!(hear(most), None);
}

#[test]
fn the_shortest_way_counts_while_it_is_among_the_newest() {
    let unix = 1_800_000_000 * SECOND as u64;
    let mut clock = PeerClock::default();
    // All of the way is the way there, so that the peer seems ahead by half of it.
    let mut hear = |at_ms: u64, way_ms: u64| {
        let now = Nanos::from_millis(at_ms);
        let echo = Some(Echo {
            token: Nanos::from_millis(at_ms - way_ms).0,
            held_ns: 0,
        });
        clock.hear(now, unix, &reading(unix, echo));
        (clock.ahead_ns(now).map(|ns| ns / 1_000_000), clock.samples.len())
    };
    assert_eq!(hear(1_000, 20), (Some(10), 1));
    for longer in 2..=SAMPLES_MAX {
        assert_eq!(hear(1_000 + 100 * longer as u64, 100), (Some(10), longer));
    }
    assert_eq!(hear(2_000, 100), (Some(50), SAMPLES_MAX));
}

#[test]
fn a_step_of_our_own_clock_counts_at_once_and_old_measurements_go() {
    let (now, unix) = (Nanos::from_millis(1_000), 1_800_000_000 * SECOND as u64);
    let mut clock = PeerClock::default();
    let echo = Some(Echo {
        token: now.0,
        held_ns: 0,
    });
    clock.hear(now, unix, &reading(unix, echo));
    clock.shift(-60 * SECOND);
    assert_eq!(clock.ahead_ns(now), Some(60 * SECOND));
    // The peer's is set as well. Its answer took longer than the one before, and counts all the same.
    let later = Nanos::from_millis(2_000);
    let echo = Some(Echo {
        token: Nanos::from_millis(1_900).0,
        held_ns: 0,
    });
    clock.hear(later, unix, &reading(unix, echo));
    assert_eq!(clock.ahead_ns(later), Some(50_000_000));
    assert_eq!(clock.ahead_ns(Nanos::from_millis(12_001)), None);
}

#[test]
fn a_lasting_offset_is_told_once_and_its_end_once() {
    let set = set(&[1, 1, 1, 1]);
    let ours = address(0);
    let mut clocks = Clocks::default();
    let mut now = Nanos::ZERO;
    let mut look = |seconds: &[i64]| {
        now = now + Nanos::from_millis(1_000);
        clocks.look(now, &set, &ours, &ahead(seconds))
    };
    let told = |offset: i64, grade| News::Ours {
        offset_ns: Some(offset * SECOND),
        grade,
    };
    assert_eq!(look(&[0, 0, 0]), [told(0, Grade::Right)]);
    assert_eq!(look(&[0, 0, 0]), []);
    // A moment is no offset, though the figure follows.
    assert_eq!(look(&[60, 60, 60]), [told(-60, Grade::Right)]);
    assert_eq!(look(&[60, 60, 60]), []);
    let third = look(&[60, 60, 60]);
    assert_eq!(third, [told(-60, Grade::Wrong)], "and no peer is blamed");
    assert_eq!(look(&[60, 60, 60]), []);
    look(&[0, 0, 0]);
    look(&[0, 0, 0]);
    assert_eq!(look(&[0, 0, 0]), [told(0, Grade::Right)]);
    // One peer alone is that peer's fault.
    look(&[0, 0, 60]);
    look(&[0, 0, 60]);
    let last = address(3);
    assert_eq!(
        look(&[0, 0, 60]),
        [
            News::Peer {
                validator: last,
                offset_ns: 60 * SECOND,
                grade: Grade::Wrong
            },
            // Ours is as it was, and there is one more that is not.
            told(0, Grade::Right)
        ]
    );
    assert_eq!(look(&[0, 0, 60]), []);
}

#[test]
fn a_grade_is_left_only_well_below_it() {
    for (offset_ms, before, after) in [
        (1_999, Grade::Right, Grade::Right),
        (2_000, Grade::Right, Grade::Off),
        (-2_000, Grade::Right, Grade::Off),
        (1_600, Grade::Off, Grade::Off),
        (1_499, Grade::Off, Grade::Right),
        (4_999, Grade::Off, Grade::Off),
        (-5_000, Grade::Off, Grade::Wrong),
        (4_600, Grade::Wrong, Grade::Wrong),
        (4_499, Grade::Wrong, Grade::Off),
        (0, Grade::Wrong, Grade::Right),
    ] {
        assert_eq!(
            Grade::of(offset_ms * 1_000_000, before),
            after,
            "{offset_ms} {before:?}"
        );
    }
    assert_eq!(Grade::of(i64::MIN, Grade::Right), Grade::Wrong);
}

#[test]
fn looks_that_do_not_agree_change_no_grade() {
    for offsets in [[60, 3], [60, 60], [3, 3]] {
        let mut steady = Steady::default();
        for _ in 0..10 {
            for offset in offsets {
                assert!(!steady.look(offset * SECOND), "{offsets:?}");
            }
            if offsets[0] == offsets[1] {
                steady.look(0);
            }
        }
        assert_eq!(steady.grade, Grade::Right, "{offsets:?}");
    }
}

#[test]
fn our_own_grade_stays_while_too_few_are_heard() {
    let (set, ours) = (set(&[1; 4]), address(0));
    let mut clocks = Clocks::default();
    let mut now = Nanos::ZERO;
    let mut look = |seconds: &[i64]| {
        now = now + Nanos::from_millis(1_000);
        clocks.look(now, &set, &ours, &ahead(seconds))
    };
    let told = |offset: Option<i64>| News::Ours {
        offset_ns: offset.map(|offset| offset * SECOND),
        grade: Grade::Wrong,
    };
    for _ in 0..3 {
        look(&[60; 3]);
    }
    assert_eq!(look(&[60]), [told(None)]);
    for _ in 0..10 {
        assert_eq!(look(&[60]), []);
    }
    assert_eq!(look(&[60; 3]), [told(Some(-60))]);
}

#[test]
fn a_validator_that_swings_its_clock_or_comes_and_goes_has_a_line_a_minute() {
    let (set, ours) = (set(&[1; 4]), address(0));
    let mut clocks = Clocks::default();
    let mut lines = 0;
    for second in 0..600u64 {
        let mut ahead = ahead(&[0, 0, if second / 5 % 2 == 0 { 60 } else { 0 }]);
        if second % 7 == 0 {
            ahead.remove(&address(3));
        }
        let news = clocks.look(Nanos::from_millis(second * 1_000), &set, &ours, &ahead);
        lines += news.iter().filter(|news| matches!(news, News::Peer { .. })).count();
    }
    assert!((1..=11).contains(&lines), "{lines} lines in ten minutes");
}

#[test]
fn without_a_quorum_nobody_is_judged() {
    let (set, ours) = (set(&[1; 4]), address(0));
    let mut clocks = Clocks::default();
    for second in 0..10 {
        let news = clocks.look(Nanos::from_millis(second * 1_000), &set, &ours, &ahead(&[60]));
        assert!(!news.iter().any(|news| matches!(news, News::Peer { .. })), "{news:?}");
    }
    assert_eq!(clocks.peers_off(), 0);
}

#[test]
fn a_clock_that_crosses_to_the_other_side_has_another_line() {
    let (set, ours) = (set(&[1; 4]), address(0));
    let mut clocks = Clocks::default();
    let mut offsets = Vec::new();
    for second in 0..200u64 {
        let seconds = if second < 100 { -60 } else { 60 };
        let news = clocks.look(
            Nanos::from_millis(second * 1_000),
            &set,
            &ours,
            &ahead(&[0, 0, seconds]),
        );
        offsets.extend(news.iter().filter_map(|news| match news {
            News::Peer { offset_ns, .. } => Some(offset_ns / SECOND),
            News::Ours { .. } => None,
        }));
    }
    assert_eq!(offsets, [-60, 60]);
}

#[test]
fn a_clock_that_was_just_set_right_is_not_called_wrong_on_the_other_side() {
    let (set, ours) = (set(&[1; 4]), address(0));
    let mut clocks = Clocks::default();
    let mut offsets = Vec::new();
    // Set right a little to the other side, when the next line about it may come.
    for second in 0..200u64 {
        let offset_ns = if second < 100 { 60 * SECOND } else { -SECOND / 100 };
        let ahead = [(address(1), 0), (address(2), 0), (address(3), offset_ns)].into();
        let news = clocks.look(Nanos::from_millis(second * 1_000), &set, &ours, &ahead);
        offsets.extend(news.iter().filter_map(|news| match news {
            News::Peer { offset_ns, grade, .. } => Some((offset_ns / SECOND, *grade)),
            News::Ours { .. } => None,
        }));
    }
    assert_eq!(offsets, [(60, Grade::Wrong), (0, Grade::Right)]);
}

#[test]
fn a_line_about_our_clock_stays_while_its_grade_follows() {
    let wrong = ClockLine::of(Grade::Wrong, 60 * SECOND, ClockLine::default());
    assert_eq!(ClockLine::of(Grade::Wrong, -1, wrong), wrong);
    assert_eq!(ClockLine::of(Grade::Wrong, 1, wrong), wrong);
    assert_ne!(ClockLine::of(Grade::Wrong, -60 * SECOND, wrong), wrong);
    assert_eq!(ClockLine::of(Grade::Right, -1, wrong), ClockLine::default());
}
