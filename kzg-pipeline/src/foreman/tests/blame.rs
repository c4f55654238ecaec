//! What blame may cost honest senders, counted in steps of inquiries. A step takes as long as a pairing.

use super::*;

const HONEST: u8 = 1;
const OTHER: u8 = 2;
/// So are all with higher numbers.
const LIAR: u8 = 100;
/// Roughly, on one lane.
const STEP_NS: u64 = MS;
const CLAIM_NS: u64 = MS / 4;

fn is_wrong(name: &Name) -> bool {
    name.0 >= LIAR
}

/// One lane, on a clock that its work moves.
struct Lane {
    foreman: Crew,
    task: Option<Work>,
    now: u64,
    /// Steps of inquiries so far, and turns: but for settlements of others' claims.
    steps: usize,
    turns: usize,
    told: BTreeSet<Name>,
    /// What a claim takes to be opened.
    claim_ns: u64,
}

/// What a task was.
enum Did {
    Open(Vec<Name>),
    Sum,
    Settle(Vec<Name>),
    Inquire,
    Return(Vec<Name>),
}

impl Lane {
    fn new() -> Self {
        let mut foreman = Crew::new(Policy::default());
        assert!(feed(&mut foreman, 0, Input::LaneFree).is_empty());
        Self {
            foreman,
            task: None,
            now: 0,
            steps: 0,
            turns: 0,
            told: BTreeSet::new(),
            claim_ns: CLAIM_NS,
        }
    }

    /// The last of them completes a block.
    fn send(&mut self, sender: u8, indices: std::ops::Range<u16>, urgency: Urgency) {
        let last = indices.end - 1;
        self.send_all(
            indices
                .map(|index| ticket(sender, index, urgency, index == last))
                .collect(),
        );
    }

    fn send_all(&mut self, tickets: Vec<Ticket>) {
        let tasks = feed(&mut self.foreman, self.now, Input::Jobs(tickets));
        self.take(tasks);
    }

    fn take(&mut self, tasks: Vec<Work>) {
        for task in tasks {
            assert!(self.task.replace(task).is_none(), "a lane has one task");
        }
    }

    fn step(&mut self) -> Option<Did> {
        self.step_by(is_wrong)
    }

    /// Carries its task out; what it was, or nothing if there is none.
    fn step_by(&mut self, wrong: impl Fn(&Name) -> bool) -> Option<Did> {
        let task = self.task.take()?;
        let did = match &task {
            Task::Open(batch) => Did::Open(names(batch)),
            Task::Sum(..) => Did::Sum,
            Task::Settle(..) => Did::Settle(settled(&task)),
            Task::Inquire(..) => Did::Inquire,
            Task::Return(tickets) => Did::Return(tickets.iter().map(name).collect()),
        };
        let answer = match task {
            Task::Settle(..) | Task::Inquire(..) => {
                let turn = inquire(task, Policy::default().steps_max, wrong);
                self.told.extend(turn.told);
                self.steps += turn.steps;
                self.turns += usize::from(!settles(OTHER)(&did));
                self.now += turn.steps as u64 * STEP_NS;
                turn.answer
            }
            other => {
                if let Task::Open(batch) = &other {
                    self.now += batch.tickets.len() as u64 * self.claim_ns;
                }
                if let Did::Return(names) = &did {
                    self.told.extend(names);
                }
                done(other)
            }
        };
        let tasks = feed(&mut self.foreman, self.now, answer);
        self.take(tasks);
        Some(did)
    }

    /// Goes on until a task is done that `wanted` knows.
    fn until(&mut self, wanted: impl Fn(&Did) -> bool) {
        while let Some(did) = self.step() {
            if wanted(&did) {
                return;
            }
        }
        panic!("there was no such task");
    }
}

fn opens(sender: u8) -> impl Fn(&Did) -> bool {
    move |did| matches!(did, Did::Open(names) if names.iter().any(|name| name.0 == sender))
}

fn settles(sender: u8) -> impl Fn(&Did) -> bool {
    move |did| matches!(did, Did::Settle(names) if names.iter().any(|name| name.0 == sender))
}

/// However far the lane is with 2048 wrong claims of 128 senders, at whatever height.
#[test]
fn a_block_of_the_current_height_is_opened_after_three_turns_of_blame_at_most() {
    let steps_max = Policy::default().steps_max;
    for urgency in [Urgency::Current, Urgency::Sync] {
        for steps in (1..350).step_by(7) {
            let mut lane = Lane::new();
            let flood = (0..2048).map(|at| ticket(LIAR + (at % 128) as u8, at / 128, urgency, at == 2047));
            // At once, so that none of them waits beside the block.
            lane.claim_ns = 0;
            lane.send_all(flood.collect());
            for _ in 0..steps {
                assert!(
                    lane.step().is_some(),
                    "blame of 2048 claims takes longer than {steps} steps"
                );
            }
            // More of the last liar's wait beside it.
            lane.send(LIAR + 127, 3000..3016, urgency);
            let before = lane.steps;
            lane.claim_ns = CLAIM_NS;
            lane.send(HONEST, 0..6, Urgency::Current);
            lane.until(opens(HONEST));
            let waited = lane.steps - before;
            assert!(waited <= 3 * steps_max, "{urgency:?} at {steps}: {waited} steps");
            lane.until(settles(HONEST));
            // Its own settlement is one turn.
            let waited = lane.steps - before;
            assert!(waited <= 4 * steps_max, "{urgency:?} at {steps}: {waited} steps");
        }
    }
}

/// Blobs of both in each piece, in whatever shares, while jobs of others never cease to wait.
#[test]
fn who_shares_pieces_with_a_sender_of_wrong_claims_has_its_verdicts_in_few_turns() {
    for (honest, liars, wrong_of_16) in [
        (6, 512, 16),
        (6, 2042, 16),
        (512, 64, 16),
        (512, 512, 16),
        (512, 512, 1),
        (960, 64, 16),
        (1024, 1024, 16),
        (1024, 1024, 1),
        (1984, 64, 16),
    ] {
        let wrong = |name: &Name| name.0 == LIAR && name.1 % 16 < wrong_of_16;
        let mut lane = Lane::new();
        let of = |sender, count| (0..count).map(move |index| ticket(sender, index, Urgency::Current, false));
        let mut tickets: Vec<_> = of(LIAR, liars).chain(of(HONEST, honest)).collect();
        // Evenly mixed, though their numbers are not even.
        tickets.sort_by_key(|ticket| {
            let of_all = if ticket.job.sender == Some(PeerId([LIAR; 32])) {
                liars
            } else {
                honest
            };
            (u64::from(ticket.job.index) << 32) / u64::from(of_all)
        });
        // At once, so that all of them are in one account.
        lane.claim_ns = 0;
        let all = tickets.len();
        tickets[all - 1].job.last = true;
        for some in tickets.chunks(16) {
            lane.send_all(some.to_vec());
            while lane.turns == 0 && lane.step_by(wrong).is_some() {}
        }
        lane.claim_ns = CLAIM_NS;
        assert_eq!(lane.turns, 1, "one settlement, of all of them");
        let (mut index, mut done, mut named) = (0, None, None);
        while done.is_none() || named.is_none() {
            if lane.told.iter().filter(|name| name.0 == HONEST).count() == usize::from(honest) {
                done.get_or_insert((lane.turns, lane.now));
            }
            if lane.told.iter().any(wrong) {
                named.get_or_insert((lane.turns, lane.now));
            }
            if lane.foreman.waiting() == 0 {
                lane.send(OTHER, index..index + 16, Urgency::Current);
                index += 16;
            }
            assert!(lane.step_by(wrong).is_some(), "jobs wait");
        }
        let (done, named) = (done.expect("found"), named.expect("found"));
        // A question about all and one about each of the two, and a sum for each 32 claims; then the halvings to a
        // claim.
        let sorted = (3 + 2 + all.div_ceil(32)).div_ceil(16);
        assert!(done.0 <= sorted, "{honest} {liars} {wrong_of_16}: {done:?}");
        assert!(named.0 <= sorted + 2, "{honest} {liars} {wrong_of_16}: {named:?}");
        // Each is a turn of 16 ms and a batch of 4, settled in one. There is no pause until every sender was tested.
        assert!(
            done.1 <= sorted as u64 * 21 * MS,
            "{honest} {liars} {wrong_of_16}: {done:?}"
        );
        assert!(
            named.1 <= (sorted as u64 * 21 + 2 * 66) * MS,
            "{honest} {liars} {wrong_of_16}: {named:?}"
        );
    }
}

#[test]
fn every_wrong_claim_is_answered_while_jobs_never_cease_to_wait() {
    let mut lane = Lane::new();
    let flood: Vec<_> = (0..64)
        .map(|at| ticket(LIAR + at as u8 % 16, at / 16, Urgency::Current, at == 63))
        .collect();
    let names: Vec<_> = flood.iter().map(name).collect();
    lane.send_all(flood);
    let mut index = 0;
    while names.iter().any(|name| !lane.told.contains(name)) {
        lane.send(HONEST, index..index + 16, Urgency::Current);
        index += 16;
        lane.step();
        assert!(lane.foreman.waiting() > 0, "jobs wait");
        // 64 claims are eight turns, one of them the settlement's; a claim may wait 50 ms for its block.
        assert!(lane.now < 9 * 50 * MS, "only {:?} have findings", lane.told);
    }
}

#[test]
fn a_sender_at_fault_has_no_more_opened_until_its_inquiry_is_over() {
    // Too few to convict it, and where they take the most questions.
    let wrong = |name: &Name| [(LIAR, 0), (LIAR, 1024)].contains(name);
    let mut lane = Lane::new();
    lane.claim_ns = 0;
    lane.send(LIAR, 0..2048, Urgency::Current);
    while !lane.told.iter().any(wrong) {
        assert!(lane.step_by(wrong).is_some(), "there is something to do");
    }
    lane.claim_ns = CLAIM_NS;
    assert!(lane.told.len() < 2048);
    lane.send(LIAR, 3000..3016, Urgency::Current);
    lane.send(HONEST, 0..16, Urgency::Current);
    let mut honest = false;
    loop {
        let over = lane.told.iter().filter(|name| name.0 == LIAR).count() == 2048;
        match lane.step_by(wrong).expect("there is something to do") {
            Did::Open(names) if names.contains(&(LIAR, 3000)) => {
                assert!(over, "only {} have findings", lane.told.len());
                break;
            }
            Did::Open(names) => honest |= names.contains(&(HONEST, 0)),
            Did::Sum | Did::Settle(_) | Did::Inquire => {}
            Did::Return(_) => panic!("nobody is convicted"),
        }
    }
    assert!(honest, "others' are opened meanwhile");
    lane.until(settles(LIAR));
}

#[test]
fn what_a_convicted_peer_has_waiting_is_given_back_at_once() {
    let mut lane = Lane::new();
    lane.claim_ns = 0;
    lane.send(LIAR, 0..2048, Urgency::Current);
    lane.until(settles(LIAR));
    lane.claim_ns = CLAIM_NS;
    assert!(lane.told.len() < 2048, "there is an inquiry");
    lane.send(LIAR, 3000..3512, Urgency::Sync);
    lane.send(LIAR, 4000..4512, Urgency::Current);
    let mut index = 0;
    // One after the other, without end.
    let mut wait_for = |lane: &mut Lane| {
        if lane.foreman.waiting() < 1040 {
            lane.send(OTHER, index..index + 16, Urgency::Current);
            index += 16;
        }
    };
    loop {
        wait_for(&mut lane);
        match lane.step().expect("there is something to do") {
            Did::Return(names) => {
                assert_eq!(names.len(), 1024);
                break;
            }
            Did::Open(names) => assert!(!names.iter().any(is_wrong), "a convicted peer's are not opened"),
            Did::Sum | Did::Settle(_) | Did::Inquire => {}
        }
    }
    assert_eq!(
        lane.told.iter().filter(|name| is_wrong(name)).count(),
        2048 + 1024,
        "nothing of it is left"
    );
    // Some 40 questions: 16 a turn, 50 ms from one to the next.
    assert!(lane.now < 3 * 66 * MS, "{}", lane.now);
    // It begins anew with what it sends next.
    lane.send(LIAR, 5000..5001, Urgency::Current);
    lane.until(opens(LIAR));
}

#[test]
fn who_is_convicted_by_what_was_opened_has_the_rest_given_back() {
    let mut foreman = small();
    feed(&mut foreman, 0, Input::LaneFree);
    let batch = match one(feed(&mut foreman, 0, jobs(LIAR, 0..10, Urgency::Current))) {
        Task::Open(batch) => batch,
        other => panic!("not a batch: {other:?}"),
    };
    feed(&mut foreman, 0, jobs(HONEST, 0..1, Urgency::Current));
    let opened = Input::Opened {
        lot: batch.lot,
        claims: Vec::new(),
        convicted: vec![PeerId([LIAR; 32])],
    };
    match one(feed(&mut foreman, 1, opened)) {
        Task::Return(tickets) => assert_eq!(
            tickets.iter().map(name).collect::<Vec<_>>(),
            (4..10).map(|at| (LIAR, at)).collect::<Vec<_>>()
        ),
        other => panic!("not given back: {other:?}"),
    }
    let next = one(feed(&mut foreman, 2, Input::LaneFree));
    assert_eq!(super::opened(&next), [(HONEST, 0)]);
}

#[test]
fn a_flood_of_wrong_claims_is_bounded_in_memory() {
    let mut foreman = small();
    let mut working = feed(&mut foreman, 0, Input::LaneFree);
    working.extend(feed(&mut foreman, 0, Input::LaneFree));
    let (mut most, mut told, mut sent) = (0, 0, 0);
    for now in 0..20_000u64 {
        if foreman.waiting() < 8 {
            // Each block another sender's: one at fault would wait.
            let sender = (sent / 8 % 200) as u8;
            let flood = (0..8).map(|at| ticket(sender, (sent + at) % u16::MAX, Urgency::Current, at == 7));
            working.extend(feed(&mut foreman, now, Input::Jobs(flood.collect())));
            sent = (sent + 8) % u16::MAX;
        }
        let task = working.remove(0);
        let answer = match task {
            Task::Settle(..) | Task::Inquire(..) => {
                let turn = inquire(task, 6, |_| true);
                told += turn.told.len();
                turn.answer
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
    let is_wrong = |name: &Name| [(LIAR, 0), (LIAR, 2)].contains(name);
    let mut foreman = small();
    feed(&mut foreman, 0, Input::LaneFree);
    let block = (0..4)
        .map(|index| ticket(LIAR, index, Urgency::Current, index == 3))
        .collect();
    let opened = one(feed(&mut foreman, 1, Input::Jobs(block)));
    let settlement = one(feed(&mut foreman, 2, done(opened)));
    // All, the first two, the first.
    let turn = inquire(settlement, 3, is_wrong);
    assert_eq!(turn.told, [(LIAR, 0)]);
    let task = one(feed(&mut foreman, 3, turn.answer));
    assert_eq!(foreman.unsettled(), 3, "they are with a lane, and not settled");
    // The last two, the third, the second.
    let turn = inquire(task, 3, is_wrong);
    assert_eq!(turn.told, [(LIAR, 2), (LIAR, 1)]);
    // A job that comes now is opened first: there was a turn just now.
    assert!(feed(&mut foreman, 4, jobs(HONEST, 0..1, Urgency::Current)).is_empty());
    let open = one(feed(&mut foreman, 5, turn.answer));
    assert_eq!(super::opened(&open), [(HONEST, 0)]);
    let turn = inquire(one(feed(&mut foreman, 6, done(open))), 4, is_wrong);
    assert_eq!(turn.told, [(LIAR, 3)]);
    assert!(feed(&mut foreman, 7, turn.answer).is_empty());
    assert_eq!(foreman.unsettled(), 1, "the other's block is not complete");
}
