//! How long a block waits behind its last blob, on a clock that nothing but the tasks moves: each takes what it would
//! on a Zen 4 core.

use super::*;

const OPEN_BLOB_NS: u64 = MS / 8;
const SUM_CLAIM_NS: u64 = MS / 40;
const PAIRING_NS: u64 = MS * 3 / 4;

fn cost_ns(task: &Work) -> u64 {
    match task {
        Task::Open(batch) => batch.tickets.len() as u64 * OPEN_BLOB_NS,
        Task::Sum(_, piece) => piece.claims.len() as u64 * SUM_CLAIM_NS,
        Task::Settle(_, settlement) => settlement.loose.len() as u64 * SUM_CLAIM_NS + PAIRING_NS,
        Task::Inquire(..) | Task::Return(_) => panic!("nobody is to blame"),
    }
}

struct Crowd {
    foreman: Crew,
    now: u64,
    /// What lanes are at, and until when.
    working: Vec<(u64, Work)>,
    settled: usize,
}

impl Crowd {
    fn tell(&mut self, input: Answer) {
        let tasks = feed(&mut self.foreman, self.now, input);
        self.working
            .extend(tasks.into_iter().map(|task| (self.now + cost_ns(&task), task)));
    }
}

/// From the arrival of a block's last blob to its last verdict, if blobs arrive at nine tenths of what the lanes take.
fn waited_ns(lanes: usize, blobs: u16) -> u64 {
    let mut crowd = Crowd {
        foreman: Foreman::new(Policy::default()),
        now: 0,
        working: Vec::new(),
        settled: 0,
    };
    (0..lanes).for_each(|_| crowd.tell(Input::LaneFree));
    let arrival = |index: u16| u64::from(index) * (OPEN_BLOB_NS + SUM_CLAIM_NS) * 10 / 9 / lanes as u64;
    let mut arrived = 0;
    while crowd.settled < usize::from(blobs) {
        let free = crowd.working.iter().map(|(until, _)| *until).min();
        let next = (arrived < blobs).then(|| arrival(arrived));
        let deadline = crowd.foreman.deadline().map(|at| at.0);
        let at = [free, next, deadline].into_iter().flatten().min();
        crowd.now = crowd
            .now
            .max(at.expect("claims are not settled and nothing is under way"));
        let due: Vec<_> = (arrived..blobs)
            .take_while(|index| arrival(*index) <= crowd.now)
            .collect();
        arrived += due.len() as u16;
        let tickets = due
            .into_iter()
            .map(|index| ticket(1, index, Urgency::Current, index + 1 == blobs));
        crowd.tell(Input::Jobs(tickets.collect()));
        while let Some(at) = crowd.working.iter().position(|(until, _)| *until <= crowd.now) {
            let (_, task) = crowd.working.swap_remove(at);
            if let Task::Settle(..) = task {
                crowd.settled += settled(&task).len();
            }
            crowd.tell(done(task));
        }
    }
    crowd.now - arrival(blobs - 1)
}

/// Of whatever size: how many claims are loose when the last comes, and what lanes are at, differs from each to the
/// next.
#[test]
fn a_block_waits_for_its_verdicts_twice_as_long_as_one_of_six_blobs_at_most() {
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
