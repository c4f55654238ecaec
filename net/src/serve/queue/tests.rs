use std::net::IpAddr;

use ultramarine_types::{Address, PeerId};

use super::*;
use crate::peers::origin::Site;

const RATE: u64 = 100_000_000;
const ROUND_WAIT: Nanos = Nanos::from_millis(1_000);
const BYTES: u64 = bounds::STRANGERS_PORTION_BYTES as u64;

fn stranger(site: u8) -> PeerOrigin {
    PeerOrigin::Site(Site::of(IpAddr::from([10, 0, 0, site])))
}

fn validator(number: u8) -> PeerOrigin {
    PeerOrigin::Validator(Address([number; 20]))
}

fn listed(number: u8) -> PeerOrigin {
    PeerOrigin::Listed(PeerId([number; 32]))
}

/// Peers that always have a portion that waits, and a line.
struct Rig {
    queue: ServingQueue,
    now: Nanos,
    line_bytes_per_second: u64,
    tickets: BTreeMap<TurnId, PeerOrigin>,
    sent: BTreeMap<PeerOrigin, u64>,
    next: u64,
}

impl Rig {
    fn new(origins: &[PeerOrigin], line_bytes_per_second: u64) -> Self {
        let mut rig = Self {
            queue: ServingQueue::new(RATE, ROUND_WAIT),
            now: Nanos::ZERO,
            line_bytes_per_second,
            tickets: BTreeMap::new(),
            sent: BTreeMap::new(),
            next: 0,
        };
        origins.iter().for_each(|origin| rig.ask(*origin));
        rig
    }

    fn ask(&mut self, origin: PeerOrigin) {
        self.next += 1;
        let ticket = TurnId(self.next);
        self.tickets.insert(ticket, origin);
        let bytes = BYTES;
        self.queue.ask(self.now, Portion { ticket, origin, bytes });
    }

    /// Portions leave by the line one after the other, and each peer asks for the next.
    fn run(&mut self, millis: u64) {
        let end = self.now + Nanos::from_millis(millis);
        let (mut line, mut free_at) = (VecDeque::new(), self.now);
        while self.now < end {
            while let Some(ticket) = self.queue.next(self.now) {
                free_at = free_at.max(self.now) + Nanos(BYTES * 1_000_000_000 / self.line_bytes_per_second);
                line.push_back((free_at, ticket));
                assert!(self.queue.in_hand_bytes(self.now) <= IN_HAND_BYTES + BYTES);
            }
            let due = self.queue.deadline(self.now);
            let leaves = line.front().map(|(at, _)| *at);
            let at = due.into_iter().chain(leaves).min().expect("somebody waits");
            self.now = at.max(self.now + Nanos(1_000));
            while let Some((_, ticket)) = line.front().copied().filter(|(at, _)| *at <= self.now) {
                line.pop_front();
                self.queue.done(ticket);
                let origin = self.tickets.remove(&ticket).expect("it was asked for");
                *self.sent.entry(origin).or_default() += BYTES;
                self.ask(origin);
            }
        }
    }

    fn sent_to(&self, rank: Rank) -> u64 {
        let of = self.sent.iter().filter(|(origin, _)| Rank::of(origin) == rank);
        of.map(|(_, bytes)| bytes).sum()
    }
}

#[test]
fn one_budget_bounds_all_and_those_of_a_rank_share_it_evenly() {
    let strangers: Vec<PeerOrigin> = (0..64).map(stranger).collect();
    let mut rig = Rig::new(&strangers, 10 * RATE);
    rig.run(2_000);
    let all = rig.sent_to(Rank::Strangers);
    assert!((2 * RATE * 9 / 10..=2 * RATE + RATE / 5).contains(&all), "{all}");
    let (least, most) = (rig.sent.values().min(), rig.sent.values().max());
    assert!(
        most.zip(least).is_some_and(|(most, least)| most - least <= 2 * BYTES),
        "{least:?} {most:?}"
    );
}

#[test]
fn sixty_four_peers_of_one_site_weigh_as_one() {
    let mut rig = Rig::new(&[stranger(1)], 10 * RATE);
    for _ in 0..63 {
        rig.ask(stranger(1));
    }
    rig.ask(stranger(2));
    rig.run(1_000);
    let (many, one) = (rig.sent[&stranger(1)], rig.sent[&stranger(2)]);
    // Only one portion of the second is asked for at a time.
    assert!(one * 4 > many, "{one} beside {many}");
}

#[test]
fn validators_go_before_listed_ones_and_these_before_strangers_and_nobody_starves() {
    let mut origins = vec![stranger(1); 80];
    origins.extend([listed(1); 80]);
    origins.extend([validator(1); 80]);
    let mut rig = Rig::new(&origins, 10 * RATE);
    rig.run(2_000);
    let [validators, listed, strangers] = Rank::ALL.map(|rank| rig.sent_to(rank) / 2);
    assert!(validators > RATE * 3 / 4, "{validators}");
    for floored in [listed, strangers] {
        assert!((RATE / 18..=RATE / 13).contains(&floored), "{floored}");
    }
}

#[test]
fn while_the_round_needs_the_line_the_rest_has_its_floors_and_no_more() {
    let mut origins = vec![stranger(1); 80];
    origins.extend([validator(1); 80]);
    let mut rig = Rig::new(&origins, 10 * RATE);
    rig.run(1_000);
    let before = Rank::ALL.map(|rank| rig.sent_to(rank));
    rig.queue.begin_round(rig.now, TurnId(u64::MAX));
    rig.run(900);
    let [validators, _, strangers] = [0, 1, 2].map(|rank| rig.sent_to(Rank::ALL[rank]) - before[rank]);
    assert!((RATE / 11..=RATE / 7).contains(&validators), "{validators}");
    assert!((RATE / 22..=RATE / 14).contains(&strangers), "{strangers}");
    assert!(rig.queue.shed() > 0);
    // A stream that does not end keeps nothing back for ever.
    rig.run(200);
    let before = rig.sent_to(Rank::Validators);
    rig.run(500);
    assert!(rig.sent_to(Rank::Validators) - before > RATE / 3);
}

#[test]
fn floors_follow_a_line_that_is_slower_than_the_budget() {
    let mut rig = Rig::new(&[stranger(1); 80], RATE / 10);
    rig.run(3_000);
    rig.queue.begin_round(rig.now, TurnId(u64::MAX));
    let before = rig.sent_to(Rank::Strangers);
    rig.run(900);
    let sent = rig.sent_to(Rank::Strangers) - before;
    // What was in hand before, and a sixteenth of the line.
    assert!(sent <= IN_HAND_BYTES + RATE / 10 / 10, "{sent}");
}

#[test]
fn portions_whose_connection_takes_nothing_hold_up_nobody() {
    let mut queue = ServingQueue::new(RATE, ROUND_WAIT);
    let ask = |queue: &mut ServingQueue, ticket, origin| {
        let ticket = TurnId(ticket);
        queue.ask(
            Nanos::ZERO,
            Portion {
                ticket,
                origin,
                bytes: BYTES,
            },
        );
    };
    let stuck = queue.in_hand_max().div_ceil(BYTES);
    (0..stuck).for_each(|ticket| ask(&mut queue, ticket, stranger(1)));
    ask(&mut queue, stuck, stranger(2));
    for _ in 0..stuck {
        assert!(queue.next(Nanos::ZERO).is_some());
    }
    assert_eq!(queue.next(Nanos::ZERO), None);
    let due = queue.deadline(Nanos::ZERO).expect("one waits");
    assert!(due <= bounds::IN_HAND_WAIT);
    assert!(queue.next(bounds::IN_HAND_WAIT).is_some());
    assert_eq!(queue.deadline(bounds::IN_HAND_WAIT), None, "all have gone");
}

#[test]
fn what_is_withdrawn_is_not_granted() {
    let mut queue = ServingQueue::new(RATE, ROUND_WAIT);
    for ticket in 0..3 {
        let (ticket, origin) = (TurnId(ticket), stranger(1));
        queue.ask(
            Nanos::ZERO,
            Portion {
                ticket,
                origin,
                bytes: BYTES,
            },
        );
    }
    queue.done(TurnId(0));
    assert_eq!(queue.waiting_bytes(), 2 * BYTES);
    assert_eq!(queue.next(Nanos::ZERO), Some(TurnId(1)));
    queue.done(TurnId(2));
    assert_eq!((queue.next(Nanos::ZERO), queue.waiting_bytes()), (None, 0));
    assert_eq!(queue.deadline(Nanos::ZERO), None);
}
