use malachitebft_core_types::{Round as MRound, Timeout};
use ultramarine_types::{ChainParams, Hash, Nanos};

use super::{Durations, Timers};

fn chain(blobs: u32) -> ChainParams {
    ChainParams {
        chain_id: 1,
        execution_genesis_hash: Hash::ZERO,
        blobs_per_block_max: blobs,
        block_interval_ms: 1000,
        blob_retention_heights_min: 100,
        gas_limit_min: 0,
        gas_limit_max: 1,
        genesis_time: 0,
        prague_time: None,
    }
}

#[test]
fn timers_fire_in_order_and_once() {
    let mut timers = Timers::new();
    timers.schedule(Nanos(20), Timeout::prevote(MRound::new(0)));
    timers.schedule(Nanos(10), Timeout::propose(MRound::new(0)));
    assert_eq!(timers.deadline(), Some(Nanos(10)));
    assert_eq!(timers.fire(Nanos(5)), None);
    assert_eq!(timers.fire(Nanos(30)), Some(Timeout::propose(MRound::new(0))));
    assert_eq!(timers.fire(Nanos(30)), Some(Timeout::prevote(MRound::new(0))));
    assert_eq!(timers.fire(Nanos(30)), None);
}

#[test]
fn a_timer_set_again_replaces_itself() {
    let mut timers = Timers::new();
    timers.schedule(Nanos(10), Timeout::rebroadcast(MRound::new(1)));
    timers.schedule(Nanos(40), Timeout::rebroadcast(MRound::new(1)));
    assert_eq!(timers.fire(Nanos(20)), None);
    timers.cancel(Timeout::rebroadcast(MRound::new(1)));
    assert_eq!(timers.deadline(), None);
}

#[test]
fn only_a_timer_that_runs_is_changed_or_hurried() {
    let mut timers = Timers::new();
    let timeout = Timeout::propose(MRound::new(0));
    timers.change(Nanos(5), timeout);
    timers.hurry(Nanos(5), timeout);
    assert_eq!(timers.deadline(), None);
    timers.schedule(Nanos(10), timeout);
    timers.change(Nanos(50), timeout);
    assert_eq!(timers.deadline(), Some(Nanos(50)));
    timers.hurry(Nanos(7), timeout);
    assert_eq!(timers.fire(Nanos(7)), Some(timeout));
}

#[test]
fn a_wait_is_limited_once_from_when_it_began() {
    let mut timers = Timers::new();
    let timeout = Timeout::precommit(MRound::new(9));
    let second = |seconds: u64| Nanos::from_millis(1000 * seconds);
    timers.limit(second(8), second(2), timeout);
    assert_eq!(timers.deadline(), None, "it does not run");
    // It began at 5 s, for 8 s.
    timers.schedule(second(13), timeout);
    timers.limit(second(8), second(9), timeout);
    assert_eq!(timers.deadline(), Some(second(13)), "it is not made longer");
    for _ in 0..2 {
        timers.limit(second(8), second(2), timeout);
        assert_eq!(timers.deadline(), Some(second(7)));
    }
    timers.hurry(second(6), timeout);
    timers.limit(second(8), second(2), timeout);
    assert_eq!(timers.deadline(), Some(second(6)));
}

#[test]
fn what_is_overdue_after_a_pause_is_put_off_once() {
    let mut timers = Timers::new();
    let timeout = Timeout::propose(MRound::new(0));
    let second = |seconds: u64| Nanos::from_millis(1000 * seconds);
    timers.schedule(second(1), timeout);
    timers.put_off(second(1));
    assert_eq!(timers.deadline(), Some(second(1)), "it is on time");
    timers.put_off(second(5));
    let later = second(5) + super::CATCH_UP;
    assert_eq!(timers.deadline(), Some(later));
    timers.change(second(1), timeout);
    timers.put_off(second(9));
    timers.check_whole();
    assert_eq!(timers.deadline(), Some(later), "a process that is always late goes on");
}

#[test]
fn an_absent_proposer_is_not_waited_for_as_long() {
    let durations = Durations::of(&chain(6));
    let round = MRound::new(0);
    let propose = durations.duration(Timeout::propose(round), durations.propose_away);
    assert!(propose.0 * 5 < chain(6).limits().propose_timeout().0);
    // One dead validator of four, block interval one second: 58 blocks a minute.
    assert!(propose + durations.duration(Timeout::precommit(round), Nanos::ZERO) <= Nanos::from_millis(300));
}

#[test]
fn each_round_adds_a_quarter_to_each_step_without_a_ceiling() {
    let (small, large) = (Durations::of(&chain(6)), Durations::of(&chain(1024)));
    let base = Nanos::from_millis(1000);
    let at = |round| small.duration(Timeout::propose(MRound::new(round)), base);
    assert_eq!([at(0), at(1), at(4)].map(|it| it.0 / 1_000_000), [1000, 1250, 2000]);
    assert_eq!(at(4000), Nanos::from_millis(1_001_000));
    for kind in [Timeout::prevote, Timeout::precommit] {
        let of = |durations: &Durations, round| durations.duration(kind(MRound::new(round)), base);
        assert!(of(&small, 0) <= of(&large, 0));
        assert!(of(&small, 0) < of(&small, 1));
        let grown = |round| at(round).since(at(round - 1));
        assert!(
            of(&small, 9).since(of(&small, 8)) < grown(9),
            "waits for votes grow more slowly"
        );
    }
    assert_eq!(
        small.duration(Timeout::rebroadcast(MRound::new(900)), base),
        small.rebroadcast
    );
}
