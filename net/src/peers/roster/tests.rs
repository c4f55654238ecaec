use std::net::IpAddr;

use super::*;

/// The places of a node.
#[derive(Default)]
struct Places {
    roster: Roster,
    guests: Vec<Guest>,
    now: Nanos,
}

impl Places {
    /// A newcomer comes a millisecond later.
    fn join(&mut self, newcomer: Guest) -> Result<Option<Guest>, Goodbye> {
        self.now = self.now + Nanos::from_millis(1);
        let newcomer = Guest {
            since: self.now,
            ..newcomer
        };
        let gone = self
            .roster
            .place(self.now, self.guests.iter().copied(), &newcomer)?
            .map(|gone| {
                let place = self.guests.iter().position(|guest| guest.peer == gone);
                self.guests.swap_remove(place.expect("it is connected"))
            });
        self.guests.push(newcomer);
        assert!(self.guests.len() <= PEERS_MAX);
        Ok(gone)
    }

    fn of_site(&self, address: [u8; 4]) -> usize {
        let site = site(address);
        self.guests.iter().filter(|guest| guest.site == site).count()
    }
}

fn site(address: [u8; 4]) -> Site {
    Site::of(IpAddr::from(address))
}

fn address(number: usize) -> Address {
    let mut address = Address::ZERO;
    address.0[..8].copy_from_slice(&(number as u64).to_le_bytes());
    address
}

/// A full node with this key, at an address.
fn stranger(key: usize, from: [u8; 4]) -> Guest {
    let mut peer = PeerId([1; 32]);
    peer.0[..8].copy_from_slice(&(key as u64).to_le_bytes());
    Guest {
        peer,
        validator: None,
        is_listed: false,
        site: site(from),
        since: Nanos::ZERO,
        points: 0,
        has_served: false,
    }
}

const ELSEWHERE: [u8; 4] = [10, 0, 0, 1];

fn node_of(validator: usize, key: usize) -> Guest {
    Guest {
        validator: Some(address(validator)),
        ..stranger(key, ELSEWHERE)
    }
}

fn listed(key: usize) -> Guest {
    Guest {
        is_listed: true,
        ..stranger(key, ELSEWHERE)
    }
}

/// Places that strangers of four addresses hold, 64 each.
fn held_by_four() -> Places {
    let mut places = Places::default();
    for key in 0..OTHER_PLACES {
        let from = [192, 0, 2, u8::try_from(key % 4).expect("small")];
        assert!(places.join(stranger(key, from)).is_ok_and(|gone| gone.is_none()));
    }
    places
}

#[test]
fn every_validator_has_room_whatever_the_others_take() {
    let mut places = Places::default();
    let half = VALIDATORS_MAX / 2;
    for number in 0..half {
        assert!(
            places
                .join(node_of(number, 2 * number))
                .is_ok_and(|gone| gone.is_none())
        );
        assert!(
            places
                .join(node_of(number, 2 * number + 1))
                .is_ok_and(|gone| gone.is_none())
        );
    }
    let third = places.join(node_of(0, 9000)).err();
    assert_eq!(third, Some(Goodbye::Crowded), "a third of one validator");
    for key in 1000..1000 + VALIDATORS_MAX - half {
        assert!(places.join(listed(key)).is_ok_and(|gone| gone.is_none()));
    }
    assert_eq!(places.join(stranger(9001, ELSEWHERE)).err(), Some(Goodbye::Full));
    for number in half..VALIDATORS_MAX {
        let first = places.join(node_of(number, 2 * number));
        assert!(first.is_ok_and(|gone| gone.is_none()), "each has its first");
    }
    let stand_in = places.join(node_of(half, 9002)).err();
    assert_eq!(stand_in, Some(Goodbye::Full), "no room for a stand-in");
}

#[test]
fn strangers_give_way_to_configured_full_nodes_and_to_nodes_of_validators() {
    let mut places = held_by_four();
    for key in 1000..1000 + OTHER_PLACES - 10 {
        let gone = places.join(listed(key)).expect("a place").expect("somebody gives way");
        assert_eq!(gone.class(), Class::Stranger);
    }
    places.join(node_of(1, 5000)).expect("a place");
    let gone = places
        .join(node_of(1, 5001))
        .expect("a place")
        .expect("somebody gives way");
    assert_eq!(gone.class(), Class::Stranger);
    for key in 6000..6009 {
        places.join(listed(key)).expect("a place");
    }
    assert_eq!(
        places.join(listed(7000)).err(),
        Some(Goodbye::Full),
        "they have all places"
    );
}

#[test]
fn second_nodes_of_validators_leave_places_to_configured_full_nodes() {
    let mut places = Places::default();
    let most = OTHER_PLACES - LISTED_PLACES;
    for number in 0..VALIDATORS_MAX {
        places.join(node_of(number, 2 * number)).expect("its first");
        let second = places.join(node_of(number, 2 * number + 1));
        assert_eq!(second.is_ok(), number < most);
    }
    for key in 1000..1000 + LISTED_PLACES {
        assert!(places.join(listed(key)).is_ok());
    }
}

#[test]
fn four_addresses_do_not_hold_all_places() {
    let mut places = held_by_four();
    let fifth = [192, 0, 2, 9];
    let mut came = 0;
    while places
        .join(stranger(1000 + came, fifth))
        .is_ok_and(|gone| gone.is_some())
        && came < OTHER_PLACES
    {
        came += 1;
    }
    assert_eq!(
        came,
        OTHER_PLACES / 5 + 1,
        "its share, and the one that has a turn now and then"
    );
    for last in 0..4 {
        assert!(places.of_site([192, 0, 2, last]) <= OTHER_PLACES / 5 + 1);
    }
}

#[test]
fn many_addresses_of_one_network_weigh_as_one() {
    let mut places = Places::default();
    for key in 0..OTHER_PLACES {
        let byte = u8::try_from(key).expect("small");
        places.join(stranger(key, [192, 0, byte, 1])).expect("a place");
    }
    for key in 0..OTHER_PLACES / 2 {
        let from = [20, u8::try_from(key).expect("small"), 0, 1];
        let gone = places.join(stranger(1000 + key, from)).expect("a place");
        assert!(gone.is_some_and(|gone| gone.site.netgroup() == site([192, 0, 0, 1]).netgroup()));
    }
}

#[test]
fn where_all_have_as_good_a_claim_one_gives_way_now_and_then() {
    let mut places = Places::default();
    for key in 0..OTHER_PLACES {
        let byte = u8::try_from(key).expect("small");
        places.join(stranger(key, [20, byte, 0, 1])).expect("a place");
    }
    places.guests[7].points = 5;
    places.guests[0].has_served = true;
    let newcomer = |key| stranger(key, [21, 0, 0, 1]);
    let key_of = |guest: Option<Guest>| guest.map(|guest| guest.peer);
    let gone = places.join(newcomer(1000)).expect("its turn");
    assert_eq!(key_of(gone), Some(stranger(7, ELSEWHERE).peer), "the worst record");
    assert_eq!(places.join(newcomer(1001)).err(), Some(Goodbye::Full), "not so soon");
    places.now = places.now + bounds::ROTATION;
    let gone = places.join(stranger(1002, [22, 0, 0, 1])).expect("its turn");
    assert_eq!(
        key_of(gone),
        Some(stranger(1, ELSEWHERE).peer),
        "the oldest that never served us"
    );
}

#[test]
fn the_operator_says_which_full_nodes_are_let_in() {
    let (validator, listed, stranger) = (node_of(1, 1), listed(2), stranger(3, ELSEWHERE));
    for (rule, answers) in [
        (FullNodes::Any, [Ok(()), Ok(()), Ok(())]),
        (FullNodes::Listed, [Ok(()), Ok(()), Err(Goodbye::Unlisted)]),
        (
            FullNodes::None,
            [Ok(()), Err(Goodbye::NoFullNodes), Err(Goodbye::NoFullNodes)],
        ),
    ] {
        assert_eq!([validator, listed, stranger].map(|guest| rule.check(&guest)), answers);
    }
}

#[test]
fn both_ends_keep_the_same_connection() {
    let (low, high) = (PeerId([1; 32]), PeerId([2; 32]));
    for low_dialed_first in [true, false] {
        let at_low = newer_stays(&low, &high, low_dialed_first, !low_dialed_first);
        let at_high = newer_stays(&high, &low, !low_dialed_first, low_dialed_first);
        assert_eq!(at_low, at_high);
        assert_eq!(at_low, !low_dialed_first, "the lower name's dial stays");
    }
}
