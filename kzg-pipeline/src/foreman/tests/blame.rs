//! What blame may cost those who are not to blame, counted in questions: each is a pairing.

use super::*;

const LIAR: u8 = 1;
const HONEST: u8 = 2;
/// Roughly, on one lane.
const QUESTION_NS: u64 = MS;
const CLAIM_NS: u64 = MS / 4;

fn is_wrong(name: &Name) -> bool {
    name.0 == LIAR
}

/// One lane, on a clock that its work moves.
struct Lane {
    foreman: Crew,
    task: Option<Work>,
    now: u64,
    /// Questions asked so far.
    questions: usize,
    told: BTreeSet<Name>,
}

impl Lane {
    fn new() -> Self {
        let mut foreman = Crew::new(Policy::default());
        assert!(feed(&mut foreman, 0, Input::LaneFree).is_empty());
        Self {
            foreman,
            task: None,
            now: 0,
            questions: 0,
            told: BTreeSet::new(),
        }
    }

    fn send(&mut self, sender: u8, indices: std::ops::Range<u16>, urgency: Urgency) {
        let last = indices.end - 1;
        let job = |index| ticket(sender, index, urgency, index == last);
        let tasks = feed(&mut self.foreman, self.now, Input::Jobs(indices.map(job).collect()));
        self.take(tasks);
    }

    fn take(&mut self, tasks: Vec<Work>) {
        for task in tasks {
            assert!(self.task.replace(task).is_none(), "a lane has one task");
        }
    }

    /// Carries its task out; what it was, or nothing if there is none.
    fn step(&mut self) -> Option<Work> {
        let task = self.task.take()?;
        let answer = match task.clone() {
            Task::Settle(..) | Task::Inquire(..) => {
                let (told, answer) = blamed(task.clone(), Policy::default().questions_max, is_wrong);
                let asked = (2 * told.iter().filter(|name| is_wrong(name)).count()).max(1);
                self.told.extend(told);
                self.questions += asked;
                self.now += asked as u64 * QUESTION_NS;
                answer
            }
            other => {
                if let Task::Open(batch) = &other {
                    self.now += batch.tickets.len() as u64 * CLAIM_NS;
                }
                done(other)
            }
        };
        let tasks = feed(&mut self.foreman, self.now, answer);
        self.take(tasks);
        Some(task)
    }

    /// Goes on until a task is done that `wanted` knows.
    fn until(&mut self, wanted: impl Fn(&Work) -> bool) {
        while let Some(task) = self.step() {
            if wanted(&task) {
                return;
            }
        }
        panic!("there was no such task");
    }
}

fn opens(sender: u8) -> impl Fn(&Work) -> bool {
    move |task| matches!(task, Task::Open(batch) if names(batch).iter().any(|name| name.0 == sender))
}

fn settles(sender: u8) -> impl Fn(&Work) -> bool {
    move |task| matches!(task, Task::Settle(..)) && settled(task).iter().any(|name| name.0 == sender)
}

/// However far the lane is with 2048 wrong claims, at whatever height.
#[test]
fn a_block_of_the_current_height_waits_for_two_turns_of_blame_at_most() {
    let questions_max = Policy::default().questions_max;
    for urgency in [Urgency::Current, Urgency::Sync] {
        for steps in (1..420).step_by(7) {
            let mut lane = Lane::new();
            lane.send(LIAR, 0..2048, urgency);
            for _ in 0..steps {
                assert!(
                    lane.step().is_some(),
                    "blame of 2048 claims takes longer than {steps} steps"
                );
            }
            // More of the liar's wait beside it.
            lane.send(LIAR, 3000..3016, urgency);
            let before = lane.questions;
            lane.send(HONEST, 0..6, Urgency::Current);
            lane.until(opens(HONEST));
            let waited = lane.questions - before;
            assert!(
                waited <= 2 * questions_max,
                "{urgency:?} at {steps}: {waited} questions"
            );
            lane.until(settles(HONEST));
            // Its own settlement is one turn.
            let waited = lane.questions - before;
            assert!(
                waited <= 3 * questions_max,
                "{urgency:?} at {steps}: {waited} questions"
            );
        }
    }
}

#[test]
fn every_wrong_claim_is_named_while_jobs_never_cease_to_wait() {
    let mut lane = Lane::new();
    lane.send(LIAR, 0..64, Urgency::Current);
    let mut index = 0;
    while (0..64).any(|claim| !lane.told.contains(&(LIAR, claim))) {
        lane.send(HONEST, index..index + 16, Urgency::Current);
        index += 16;
        lane.step();
        assert!(lane.foreman.waiting() > 0, "jobs wait");
        // 64 claims are eight turns, one of them the settlement's; a claim may wait 50 ms for its block.
        assert!(lane.now < 9 * 50 * MS, "only {:?} were told of", lane.told);
    }
}

#[test]
fn a_flood_of_wrong_claims_is_bounded_in_memory() {
    let mut foreman = small();
    let mut working = feed(&mut foreman, 0, Input::LaneFree);
    working.extend(feed(&mut foreman, 0, Input::LaneFree));
    let (mut most, mut told, mut sent) = (0, 0, 0);
    for now in 0..20_000u64 {
        if foreman.waiting() < 8 {
            let flood = (0..8).map(|at| ticket(LIAR, (sent + at) % u16::MAX, Urgency::Current, at == 7));
            working.extend(feed(&mut foreman, now, Input::Jobs(flood.collect())));
            sent = (sent + 8) % u16::MAX;
        }
        let task = working.remove(0);
        let answer = match task {
            Task::Settle(..) | Task::Inquire(..) => {
                let (names, answer) = blamed(task, 6, is_wrong);
                told += names.len();
                answer
            }
            other => done(other),
        };
        working.extend(feed(&mut foreman, now, answer));
        most = most.max(foreman.unsettled());
    }
    // An account, a crowd, and what two lanes hold.
    assert!(most <= 40 + 24 + 2 * 40, "{most} claims at a time");
    assert!(told > 10_000, "and it goes on: {told}");
}

#[test]
fn what_does_not_fit_into_a_turn_goes_on_in_further_ones() {
    let mut foreman = small();
    feed(&mut foreman, 0, Input::LaneFree);
    let block = (0..4)
        .map(|index| ticket(LIAR, index, Urgency::Current, index == 3))
        .collect();
    let opened = one(feed(&mut foreman, 1, Input::Jobs(block)));
    let settlement = one(feed(&mut foreman, 2, done(opened)));
    let (told, answer) = blamed(settlement, 2, is_wrong);
    assert_eq!(told, [(LIAR, 0)]);
    let turn = one(feed(&mut foreman, 3, answer));
    assert_eq!(foreman.unsettled(), 3, "they are with a lane, and not settled");
    let (told, answer) = blamed(turn, 4, is_wrong);
    assert_eq!(told, [(LIAR, 1), (LIAR, 2)]);
    // A job that comes now is opened first: there was a turn just now.
    assert!(feed(&mut foreman, 4, jobs(HONEST, 0..1, Urgency::Current)).is_empty());
    let open = one(feed(&mut foreman, 5, answer));
    assert_eq!(super::opened(&open), [(HONEST, 0)]);
    let (told, answer) = blamed(one(feed(&mut foreman, 6, done(open))), 4, is_wrong);
    assert_eq!(told, [(LIAR, 3)]);
    assert!(feed(&mut foreman, 7, answer).is_empty());
    assert_eq!(foreman.unsettled(), 1, "the other's block is not complete");
}
