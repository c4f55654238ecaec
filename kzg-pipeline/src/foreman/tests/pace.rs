//! How long a block waits behind its last blob, on a clock that nothing but the tasks moves: each takes what it would
//! on a Zen 4 core.

use super::*;

const OPEN_BLOB_NS: u64 = MS / 8;
const SUM_CLAIM_NS: u64 = MS / 40;
const PAIRING_NS: u64 = MS * 3 / 4;

fn cost_ns(task: &Work) -> u64 {
    let claims = |count: usize| count as u64 * SUM_CLAIM_NS;
    match task {
        Task::Open(batch) => batch.tickets.len() as u64 * OPEN_BLOB_NS,
        Task::Sum(_, piece) => claims(piece.len()),
        Task::Settle(values) => claims(values.iter().map(|value| value.loose.len()).sum()) + PAIRING_NS,
        Task::Confirm(..) => panic!("all hold"),
    }
}

struct Crowd {
    foreman: Crew,
    now: u64,
    /// What lanes are at, and until when.
    working: Vec<(u64, Work)>,
    is_settled: bool,
}

impl Crowd {
    fn tell(&mut self, input: Answer) {
        let (tasks, verdicts) = feed(&mut self.foreman, input);
        self.is_settled |= !verdicts.is_empty();
        self.working
            .extend(tasks.into_iter().map(|task| (self.now + cost_ns(&task), task)));
    }
}

/// From the arrival of a block's last blob to its verdict, if blobs arrive at nine tenths of what the lanes take.
fn waited_ns(lanes: usize, blobs: u16) -> u64 {
    let mut crowd = Crowd {
        foreman: Foreman::new(Policy::default()),
        now: 0,
        working: Vec::new(),
        is_settled: false,
    };
    (0..lanes).for_each(|_| crowd.tell(Input::LaneFree));
    let arrival = |index: u16| u64::from(index) * (OPEN_BLOB_NS + SUM_CLAIM_NS) * 10 / 9 / lanes as u64;
    let mut arrived = 0;
    while !crowd.is_settled {
        let free = crowd.working.iter().map(|(until, _)| *until).min();
        let next = (arrived < blobs).then(|| arrival(arrived));
        let at = [free, next].into_iter().flatten().min();
        crowd.now = crowd
            .now
            .max(at.expect("the block is not settled and nothing is under way"));
        let due: Vec<_> = (arrived..blobs)
            .take_while(|index| arrival(*index) <= crowd.now)
            .collect();
        arrived += due.len() as u16;
        crowd.tell(requests(due.into_iter().map(|index| job(1, 1, index, blobs))));
        while let Some(place) = crowd.working.iter().position(|(until, _)| *until <= crowd.now) {
            let (_, task) = crowd.working.swap_remove(place);
            crowd.tell(done(task));
        }
    }
    crowd.now - arrival(blobs - 1)
}

/// Of whatever size: how many claims are loose when the last comes, and what lanes are at, differs from each to the
/// next.
#[test]
fn a_block_waits_for_its_verdict_twice_as_long_as_one_of_six_blobs_at_most() {
    for lanes in [1, 2] {
        let of_six = waited_ns(lanes, 6);
        for blobs in 6..=1024 {
            let waited = waited_ns(lanes, blobs);
            assert!(
                waited <= 2 * of_six && waited <= 10 * MS,
                "{lanes} lanes, {blobs} blobs: {waited} ns, where 6 blobs wait {of_six}"
            );
        }
    }
}
