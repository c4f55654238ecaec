use ultramarine_types::hearing::{Call, Hearing};
use ultramarine_types::{Address, Nonce, Signature};

use super::*;

const RATE: u64 = 12_500;

fn uplink(peers: usize) -> Uplink {
    let mut uplink = Uplink::new(RATE, Nanos::from_millis(1_000));
    for peer in 0..peers {
        let origin = PeerOrigin::Validator(Address([u8::try_from(peer).expect("few"); 20]));
        uplink.connect(peer, origin, true);
    }
    uplink
}

fn packets(stream: u64, count: usize, bytes: usize) -> Vec<Packet> {
    let piece = Bytes::from(vec![0; bytes]);
    let place = Place::Value(StreamId(stream));
    let packet = || Packet {
        place,
        pieces: vec![piece.clone()],
    };
    std::iter::repeat_with(packet).take(count).collect()
}

/// Sends all that may be sent; when the last of it has left, and to whom each frame went.
fn drain(uplink: &mut Uplink) -> (Nanos, Vec<usize>) {
    let (mut now, mut to) = (Nanos::ZERO, Vec::new());
    loop {
        match uplink.next(now) {
            Some(departure) => {
                now = departure.at;
                to.push(departure.to);
            }
            None => return (now, to),
        }
    }
}

#[test]
fn who_sends_to_all_pays_for_all_and_peers_have_turns() {
    let mut uplink = uplink(9);
    for peer in 0..9 {
        uplink.value(
            Nanos::ZERO,
            peer,
            StreamId(peer as u64),
            packets(peer as u64, 4, 131_072),
            u64::MAX,
        );
    }
    let (end, to) = drain(&mut uplink);
    assert_eq!(to.len(), 36);
    assert_eq!(&to[..9], [0, 1, 2, 3, 4, 5, 6, 7, 8], "each has a turn");
    let bare = 36 * 131_072 * 1_000_000 / RATE;
    assert!(
        end.0 > bare && end.0 < bare * 108 / 100,
        "{end:?} for {bare} ns of bytes"
    );
}

#[test]
fn answers_go_behind_values_on_one_connection_and_messages_before_both() {
    let mut uplink = uplink(1);
    uplink.stream(Nanos::ZERO, 0, StreamId(1), packets(1, 2, 100_000), Dispatch::Repair);
    uplink.stream(Nanos::ZERO, 0, StreamId(2), packets(2, 2, 100_000), Dispatch::Value);
    let mut places = Vec::new();
    let mut now = Nanos::ZERO;
    while let Some(departure) = uplink.next(now) {
        now = departure.at;
        places.push(departure.packet.place);
        if places.len() == 1 {
            let call = Hearing::Call(Call {
                listener: Address::ZERO,
                nonce: Nonce::ZERO,
                signature: Signature::ZERO,
            });
            uplink.message(0, MessageName::of_hearing(&call), Bytes::from_static(&[1; 300]));
            let message = uplink.next_message(Nanos::ZERO).expect("it may go");
            assert!(message.at < now, "it does not wait for a frame");
            assert!(message.at > transfer(300, RATE), "but for a burst");
            now = uplink.busy_until(now).expect("more waits");
        }
    }
    let [values, answers] = [2, 1].map(|stream| Place::Value(StreamId(stream)));
    assert_eq!(places, [values, values, answers, answers]);
}

#[test]
fn packages_wait_while_a_value_is_under_way_to_another_peer() {
    let mut uplink = uplink(2);
    for package in 10..14 {
        uplink.stream(
            Nanos::ZERO,
            0,
            StreamId(package),
            packets(package, 64, 131_072),
            Dispatch::Package,
        );
    }
    let (mut now, mut to) = (Nanos::ZERO, Vec::new());
    // Long enough to know the line.
    let before = 150;
    for turn in 0..before + 30 {
        if turn == before {
            uplink.value(now, 1, StreamId(2), packets(2, 20, 131_072), u64::MAX);
        }
        let departure = loop {
            match uplink.next(now) {
                Some(departure) => break departure,
                None => now = uplink.busy_until(now).expect("more waits"),
            }
        };
        now = departure.at;
        to.push(departure.to);
        if let Place::Value(stream) = departure.packet.place {
            uplink.read(departure.to, Some(stream), 131_072);
        }
    }
    let last = to.iter().rposition(|peer| *peer == 1).expect("it was sent");
    assert_eq!(to.iter().filter(|peer| **peer == 1).count(), 20, "all of it");
    let between = to[before..last].iter().filter(|peer| **peer == 0).count();
    // What was in hand, and its floor.
    assert!(between <= 8, "{between} packets of packages leave meanwhile");
}

#[test]
fn nobody_sends_more_than_the_window_of_who_does_not_read() {
    let mut uplink = uplink(1);
    let frames = 2 * STREAM_WINDOW_BYTES as usize / 131_072;
    uplink.value(Nanos::ZERO, 0, StreamId(1), packets(1, frames, 131_072), u64::MAX);
    let (_, to) = drain(&mut uplink);
    assert_eq!(to.len(), frames / 2);
    uplink.read(0, Some(StreamId(1)), 3 * 131_072);
    let mut more = 0;
    let mut now = Nanos::from_millis(10_000);
    while let Some(departure) = uplink.next(now) {
        now = departure.at;
        more += 1;
    }
    assert_eq!(more, 3);
}
