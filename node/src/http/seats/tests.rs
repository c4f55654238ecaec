//! Claims about who keeps a seat, with made-up times.

use std::net::Ipv4Addr;

use super::*;

const SEATS: usize = 8;
const LIMITS: SeatLimits = SeatLimits {
    seats_max: SEATS,
    downloads_max: 4,
    streams_max: 4,
};

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

struct Room {
    seats: Arc<Seats>,
    start: Instant,
}

impl Room {
    fn new() -> Self {
        Self {
            seats: Seats::new(LIMITS, Patience::default()),
            start: Instant::now(),
        }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn enter(&self, number: u8, seconds: f64) -> Result<(Arc<CallerSeat>, oneshot::Receiver<Leave>), Full> {
        let entered = self.seats.enter(address(number), self.at(seconds));
        self.seats.lock().check_whole(&self.seats);
        entered
    }
}

fn left(receiver: &mut oneshot::Receiver<Leave>) -> Option<Leave> {
    receiver.try_recv().ok()
}

#[test]
fn a_full_room_makes_place_by_the_longest_idle_of_the_address_that_has_most() {
    let room = Room::new();
    let mut lone = room.enter(1, 0.0).expect("empty");
    let mut crowd: Vec<_> = (0..6)
        .map(|at| room.enter(2, 1.0 + f64::from(at)).expect("its share"))
        .collect();
    let _other = room.enter(3, 8.0).expect("the last seat");
    let _new = room.enter(4, 9.0).expect("somebody goes");
    assert_eq!(
        left(&mut lone.1),
        None,
        "it idles longest, and is the only one of its address"
    );
    assert_eq!(
        left(&mut crowd[0].1),
        Some(Leave {
            phase: Phase::Idle,
            wanted: true
        })
    );
    assert!(crowd[1..].iter_mut().all(|(_, receiver)| left(receiver).is_none()));
}

#[test]
fn who_has_only_just_come_is_not_the_first_to_go() {
    let room = Room::new();
    let mut heads: Vec<_> = (0..SEATS as u8)
        .map(|at| room.enter(at, f64::from(at)).expect("empty"))
        .collect();
    for (at, (seat, _)) in heads.iter().enumerate() {
        seat.heard(room.at(at as f64 + 0.1));
    }
    let mut fresh = room.enter(99, 9.0).expect("the first half head goes");
    assert!(left(&mut heads[0].1).is_some());
    let _next = room.enter(100, 9.0).expect("the next goes");
    assert!(left(&mut heads[1].1).is_some());
    assert_eq!(left(&mut fresh.1), None, "its request may be there already");
    heads[5].0.turn_to(Phase::Parting, room.at(9.0));
    let _next = room.enter(101, 9.0).expect("who is done goes first");
    assert!(left(&mut heads[5].1).is_some());
}

#[test]
fn one_address_has_three_quarters_and_takes_no_place_of_others_beyond() {
    let room = Room::new();
    let mut others: Vec<_> = (0..2).map(|at| room.enter(at, 0.0).expect("empty")).collect();
    let mut own: Vec<_> = (0..6).map(|_| room.enter(9, 1.0).expect("its share")).collect();
    for (seat, _) in &own {
        seat.turn_to(Phase::Making, room.at(1.0));
    }
    assert_eq!(
        room.enter(9, 2.0).err(),
        Some(Full::Address),
        "all of its own are at work"
    );
    own[3].0.turn_to(Phase::Idle, room.at(3.0));
    let _again = room.enter(9, 4.0).expect("one of its own goes");
    assert!(left(&mut own[3].1).is_some());
    assert!(others.iter_mut().all(|(_, receiver)| left(receiver).is_none()));
}

#[test]
fn a_reader_that_stands_still_gives_way_and_one_that_reads_does_not() {
    let room = Room::new();
    let mut readers: Vec<_> = (0..SEATS as u8).map(|at| room.enter(at, 0.0).expect("empty")).collect();
    for (seat, _) in &readers {
        seat.turn_to(Phase::Sending, room.at(0.0));
    }
    assert_eq!(room.enter(99, 0.9).err(), Some(Full::All));
    for (seat, _) in &readers[1..] {
        seat.took(1, room.at(0.9));
    }
    let (new, _new) = room.enter(99, 1.0).expect("the first stands still");
    assert!(left(&mut readers[0].1).is_some());
    assert!(readers[1..].iter_mut().all(|(_, receiver)| left(receiver).is_none()));
    new.turn_to(Phase::Making, room.at(1.0));
    assert_eq!(room.enter(100, 1.8).err(), Some(Full::All), "the others read");
    // Who asks for nothing goes before who may read on.
    readers[7].0.turn_to(Phase::Idle, room.at(1.8));
    let _next = room.enter(100, 9.0).expect("all can go");
    assert!(left(&mut readers[7].1).is_some());
    assert!(readers[1..7].iter_mut().all(|(_, receiver)| left(receiver).is_none()));
}

#[test]
fn each_phase_has_its_time() {
    let patience = Patience::default();
    for (phase, seconds) in [(Phase::Idle, 75.0), (Phase::Head, 5.0), (Phase::Sending, 10.0)] {
        let room = Room::new();
        let (seat, mut receiver) = room.enter(1, 0.0).expect("empty");
        seat.turn_to(phase, room.at(0.0));
        room.seats.sweep(room.at(seconds - 0.1));
        assert_eq!(left(&mut receiver), None, "{phase:?}");
        room.seats.sweep(room.at(seconds));
        assert_eq!(left(&mut receiver), Some(Leave { phase, wanted: false }));
        assert_eq!(seat.phase(), Phase::Parting, "it is gone");
    }
    assert!(patience.sweep_interval() <= Duration::from_secs(1));
}

#[test]
fn a_slow_reader_has_its_time_and_a_steady_one_all_it_needs() {
    let room = Room::new();
    let (slow, mut slow_left) = room.enter(1, 0.0).expect("empty");
    let (steady, mut steady_left) = room.enter(2, 0.0).expect("empty");
    for seat in [&slow, &steady] {
        seat.turn_to(Phase::Sending, room.at(0.0));
    }
    for second in 1..=1000 {
        let now = room.at(f64::from(second));
        slow.took(100, now);
        steady.took(300 * 1024, now);
        room.seats.sweep(now);
    }
    assert!(left(&mut slow_left).is_some());
    assert_eq!(left(&mut steady_left), None);
}

#[test]
fn a_head_that_dribbles_in_gains_no_time() {
    let room = Room::new();
    let (seat, mut receiver) = room.enter(1, 0.0).expect("empty");
    for tenth in 1..60 {
        seat.heard(room.at(f64::from(tenth) / 10.0));
    }
    room.seats.sweep(room.at(5.2));
    assert_eq!(
        left(&mut receiver),
        Some(Leave {
            phase: Phase::Head,
            wanted: false
        })
    );
}

#[test]
fn no_address_has_all_downloads_or_streams_and_each_comes_back() {
    let room = Room::new();
    let (one, _one) = room.enter(1, 0.0).expect("empty");
    let (other, _other) = room.enter(2, 0.0).expect("empty");
    for (work, beside) in [(Work::Download, Work::Stream), (Work::Stream, Work::Download)] {
        let mut places: Vec<_> = (0..3).map(|_| one.begin(work).expect("its share")).collect();
        assert!(one.begin(work).is_none(), "three quarters of four");
        assert!(one.begin(beside).is_some(), "each kind is counted by itself");
        let last = other.begin(work).expect("room for others");
        assert!(other.begin(work).is_none(), "all four are under way");
        places.pop();
        assert!(one.begin(work).is_some());
        drop((places, last));
        assert!(room.seats.lock().shares(work).0.is_empty());
    }
}

#[test]
fn who_listens_may_stay_and_who_does_not_take_an_event_is_cut() {
    let room = Room::new();
    let (seat, mut receiver) = room.enter(1, 0.0).expect("empty");
    seat.turn_to(Phase::Listening, room.at(0.0));
    room.seats.sweep(room.at(1e6));
    assert_eq!(left(&mut receiver), None, "there is nothing that it does not take");
    let others: Vec<_> = (0..7).map(|at| room.enter(2 + at, 1e6).expect("empty")).collect();
    for (other, _) in &others {
        other.turn_to(Phase::Making, room.at(1e6));
    }
    assert_eq!(room.enter(99, 1e6).err(), Some(Full::All), "its seat is no one's");
    seat.turn_to(Phase::Sending, room.at(1e6));
    room.seats.sweep(room.at(1e6 + 9.9));
    assert_eq!(left(&mut receiver), None);
    room.seats.sweep(room.at(1e6 + 10.0));
    assert_eq!(
        left(&mut receiver),
        Some(Leave {
            phase: Phase::Sending,
            wanted: false
        })
    );
}

#[test]
fn a_place_comes_back_when_its_connection_ends() {
    let room = Room::new();
    for at in 0..100 {
        let taken = room.enter(1, f64::from(at)).expect("never full");
        drop(taken);
    }
    assert!(room.seats.lock().taken.is_empty());
}

#[test]
fn one_host_is_one_caller_whichever_of_its_addresses_it_takes() {
    let same = ["2001:db8::1", "2001:db8::ffff:1"].map(|text| caller(text.parse().expect("an address")));
    assert_eq!(same[0], same[1]);
    let other = caller("2001:db8:0:1::1".parse().expect("an address"));
    assert_ne!(same[0], other);
    let mapped = caller("::ffff:10.0.0.1".parse().expect("an address"));
    assert_eq!(mapped, address(1));
}
