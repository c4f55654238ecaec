//! A validator that starts behind missing links: whom it hears through others, and what it makes of it.

use ultramarine_types::consensus::SignedMessage;
use ultramarine_types::hearing::{Call, Heard, Hearing};
use ultramarine_types::network::{Fault, NetCommand, NetEvent};
use ultramarine_types::{Height, Nanos, Nonce, Round, Signature, fixtures, sign};

use super::offers::{feed, running};
use super::silence::{foreign, hear, signatures, signed_since, wiped_alone};
use super::world::{self, World};
use super::{MINUTE, heads};
use crate::signing::Signer;
use crate::{Input, Output};

/// What node `by` answers to the call of node 2's life.
fn heard(by: usize, life: u8, tip: Height, seen: Option<SignedMessage>) -> Heard {
    let signer = Signer::new(&world::seed(by));
    let mut heard = Heard {
        by: signer.address(),
        listener: world::address_of(2),
        nonce: Nonce([life; 32]),
        tip,
        seen,
        signature: Signature::ZERO,
    };
    heard.signature = signer.sign(&sign::heard(&fixtures::CHAIN, &heard));
    heard
}

/// Node 2 is brought an answer by a peer.
fn bring(world: &mut World, peer: usize, heard: Heard) {
    let (peer, hearing) = (world::peer_id(peer), Hearing::Heard(heard));
    world.tell(2, Input::Net(NetEvent::Hearing { peer, hearing }));
}

#[test]
fn a_validator_that_starts_behind_missing_links_signs_again() {
    let mut world = World::new(4);
    // Node 2 has node 3 alone, through which it reaches node 1. Node 0 dies.
    world.missing.extend([(0, 2), (1, 2)]);
    world.start_all();
    assert!(
        world.run(MINUTE, |world| world.all_at(3)),
        "stuck at {:?}",
        heads(&world)
    );
    world.crash(0);
    world.crash(2);
    let before = signatures(&world, 2);
    world.start(2);
    let since = world.now;
    assert!(
        world.run(MINUTE, |world| signatures(world, 2) > before),
        "stuck at {:?}",
        heads(&world)
    );
    let took_ms = world.now.since(since).0 / 1_000_000;
    assert!(took_ms < 500, "{took_ms} ms");
    let tip = world.head(1);
    let goes_on = |world: &World| (1..4).all(|node| world.head(node) >= Height(tip.0 + 4));
    assert!(world.run(MINUTE, goes_on), "stuck at {:?}", heads(&world));
    world.assert_agreement();
    world.assert_nobody_stopped();
}

#[test]
fn what_is_heard_through_others_keeps_a_wiped_validator_silent() {
    let mut world = World::new(4);
    let tip = wiped_alone(&mut world);
    let before = signatures(&world, 2);
    hear(&mut world, 3, tip, None);
    // Another process signs with its key, and node 1 alone has heard that one.
    let claimed = Height(tip.0 + 2);
    bring(&mut world, 3, heard(1, 1, Height(tip.0 + 1), Some(foreign(2, claimed))));
    world.run(MINUTE, |_| false);
    assert_eq!(world.nodes[2].disk.silent_through, claimed.next());
    assert_eq!(signed_since(&world, 2, before), None);
}

#[test]
fn heights_told_through_others_count_as_if_told_directly() {
    let mut world = World::new(4);
    let tip = wiped_alone(&mut world);
    let before = signatures(&world, 2);
    hear(&mut world, 3, tip, None);
    world.run(MINUTE, |_| false);
    assert_eq!(signed_since(&world, 2, before), None, "two of four are no quorum");
    bring(&mut world, 3, heard(1, 1, tip, None));
    world.run(MINUTE, |_| false);
    let core = world.nodes[2].core.as_ref().unwrap();
    assert_eq!(core.guard.watermark(), tip, "nothing is signed at what they decided");
    assert_eq!(signed_since(&world, 2, before), None);
}

#[test]
fn an_answer_of_another_start_or_signer_counts_for_nothing() {
    let mut world = World::new(4);
    let tip = wiped_alone(&mut world);
    hear(&mut world, 3, tip, None);
    let listens = |world: &World| world.nodes[2].core.as_ref().unwrap().listening_until.is_some();
    bring(&mut world, 3, heard(1, 0, tip, None));
    world.run(Nanos::from_millis(100), |_| false);
    assert!(listens(&world), "it is of the life before");
    assert_eq!(world.charges, []);
    let forged = Heard {
        by: world::address_of(0),
        ..heard(1, 1, tip, None)
    };
    bring(&mut world, 3, forged);
    world.run(Nanos::from_millis(100), |_| false);
    assert!(listens(&world), "node 0 did not sign it");
    assert_eq!(world.charges, [(2, 3, Fault::Signature)], "who brings it can tell");
    // Whoever brings it cannot tell what node 1 made up.
    bring(&mut world, 3, heard(1, 1, tip, Some(foreign(0, tip.next()))));
    world.run(Nanos::from_millis(100), |_| false);
    assert!(listens(&world), "it shows a message of another");
    assert_eq!(world.charges.len(), 1);
    bring(&mut world, 3, heard(1, 1, tip, None));
    world.run(Nanos::from_millis(100), |_| false);
    assert!(!listens(&world));
}

#[test]
fn a_call_is_answered_and_passed_on_where_the_listener_is_not_linked() {
    let (mut world, _) = running();
    let signer = Signer::new(&world::seed(3));
    let (listener, nonce) = (signer.address(), Nonce([9; 32]));
    let signature = signer.sign(&sign::call(&fixtures::CHAIN, &listener, &nonce));
    let call = |signature| {
        let call = Call {
            listener,
            nonce,
            signature,
        };
        let (peer, hearing) = (world::peer_id(1), Hearing::Call(call));
        Input::Net(NetEvent::Hearing { peer, hearing })
    };
    let hearings = |out: Vec<Output>| {
        let sent = out.into_iter().filter_map(|output| match output {
            Output::Net(NetCommand::Hearing { to, hearing }) => Some((to, hearing)),
            _ => None,
        });
        sent.collect::<Vec<_>>()
    };
    assert_eq!(hearings(feed(&mut world, call(signature))), [], "all are linked to it");
    assert_eq!(hearings(feed(&mut world, call(signature))), []);
    feed(
        &mut world,
        Input::Net(NetEvent::PeerDown {
            peer: world::peer_id(3),
        }),
    );
    world.now = world.now + Nanos::from_millis(500);
    let sent = hearings(feed(&mut world, call(signature)));
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(
        matches!(&sent[0], (to, Hearing::Heard(heard)) if *to == world::peer_id(1) && heard.seen.is_some()),
        "{sent:?}"
    );
    world.now = world.now + Nanos::from_millis(500);
    let out = feed(&mut world, call(Signature([3; 64])));
    let charged = |output: &Output| match output {
        Output::Net(NetCommand::Charge { peer, fault }) => *fault == Fault::Signature && *peer == world::peer_id(1),
        _ => false,
    };
    assert!(out.iter().any(charged), "{out:?}");
}

#[test]
fn the_first_height_waits_for_a_proposer_that_still_listens() {
    let mut world = World::new(4);
    world.listen = Nanos::from_millis(2_000);
    let first = (Height(1), Round(0));
    let proposer = world.node_of(world::validators(4).proposer(first.0, first.1));
    let late = (proposer + 1) % 4;
    // The late one starts behind the proposer's call, and hears of the proposer from the others at once.
    world.missing.insert((proposer.min(late), proposer.max(late)));
    (0..4).filter(|node| *node != late).for_each(|node| world.start(node));
    world.run(Nanos::from_millis(150), |_| false);
    world.start(late);
    // The proposer hears of the late one before it calls again, and later than a round waits for who cannot propose.
    world.run(Nanos::from_millis(300), |_| false);
    assert_eq!(world.head(proposer), Height::GENESIS);
    world.missing.clear();
    world.connect(proposer, late);
    assert!(
        world.run(MINUTE, |world| world.all_at(1)),
        "stuck at {:?}",
        heads(&world)
    );
    let (decided, _) = &world.nodes[proposer].disk.decided[&first.0];
    assert_eq!(decided.certificate.round, first.1);
}

#[test]
fn a_call_of_an_earlier_start_keeps_the_one_of_this_start_from_nobody() {
    let (mut world, _) = running();
    let signer = Signer::new(&world::seed(3));
    let listener = signer.address();
    let call = |start: u8| {
        let nonce = Nonce([start; 32]);
        let signature = signer.sign(&sign::call(&fixtures::CHAIN, &listener, &nonce));
        let call = Call {
            listener,
            nonce,
            signature,
        };
        let (peer, hearing) = (world::peer_id(1), Hearing::Call(call));
        Input::Net(NetEvent::Hearing { peer, hearing })
    };
    let peer = world::peer_id(3);
    feed(&mut world, Input::Net(NetEvent::PeerDown { peer }));
    let mut answered = [0; 2];
    for _ in 0..20 {
        // The same peer brings both, the old one just before the new one.
        for start in [0, 1] {
            for output in feed(&mut world, call(start)) {
                if let Output::Net(NetCommand::Hearing { to, hearing }) = output
                    && let Hearing::Heard(heard) = hearing
                {
                    assert_eq!((to, heard.nonce), (world::peer_id(1), Nonce([start; 32])));
                    answered[usize::from(start)] += 1;
                }
            }
            world.now = world.now + Nanos::from_millis(5);
        }
        world.now = world.now + Nanos::from_millis(490);
    }
    assert_eq!(answered[1], 20, "each time that it came");
    assert!(
        (5..=11).contains(&answered[0]),
        "and the old one every second time: {answered:?}"
    );
}
