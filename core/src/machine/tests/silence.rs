//! What a validator does when somebody else signs, or has signed, with its key.

use ultramarine_types::consensus::SignedMessage;
use ultramarine_types::network::{Fault, NetCommand, NetEvent, OfferKind, Status};
use ultramarine_types::storage::{LogCondition, StoreReply, StoreRequest};
use ultramarine_types::{ConsensusMessage, Height, Nanos, Round, Vote, VoteKind, fixtures, sign};

use super::offers::{feed, init_by, offer, running};
use super::world::{self, World};
use super::{MINUTE, heads, is_midway};
use crate::signing::Signer;
use crate::{Event, Input, Output, Stop};

/// A prevote with a node's key that the node itself never makes.
pub fn foreign(node: usize, height: Height) -> SignedMessage {
    let signer = Signer::new(&world::seed(node));
    let round = Round(7);
    let bytes = sign::vote(&fixtures::CHAIN, VoteKind::Prevote, height, round, None);
    SignedMessage::Vote(Vote {
        kind: VoteKind::Prevote,
        height,
        round,
        value_id: None,
        voter: signer.address(),
        signature: signer.sign(&bytes),
    })
}

fn foreign_from(peer: usize, node: usize, height: Height) -> Input {
    Input::Net(NetEvent::Message {
        peer: world::peer_id(peer),
        message: foreign(node, height).into_message(),
    })
}

/// The lowest and the highest height at which a node signed since it had signed `before` things.
pub fn signed_since(world: &World, node: usize, before: usize) -> Option<(Height, Height)> {
    let events = world.nodes[node].events.iter().filter_map(|event| match event {
        Event::Signed { height, .. } => Some(*height),
        _ => None,
    });
    let heights: Vec<Height> = events.skip(before).collect();
    Some((*heights.iter().min()?, *heights.iter().max()?))
}

pub fn signatures(world: &World, node: usize) -> usize {
    let is_signed = |event: &&Event| matches!(event, Event::Signed { .. });
    world.nodes[node].events.iter().filter(is_signed).count()
}

/// What a supervisor does.
fn restart(world: &mut World, node: usize) {
    world.crash(node);
    world.nodes[node].stopped = None;
    world.start(node);
}

#[test]
fn an_old_copy_of_a_directory_follows_before_it_signs() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.head(1) >= Height(3) && is_midway(world, 1)));
    let copy = world.nodes[1].disk.clone();
    assert!(world.run(MINUTE, |world| world.all_at(8)));
    let before = signatures(&world, 1);
    let known = world
        .signed
        .keys()
        .filter(|(node, ..)| *node == 1)
        .map(|(_, height, ..)| *height);
    let newest = known.max().unwrap();
    world.crash(1);
    world.nodes[1].disk = copy;
    world.start(1);
    world.run(Nanos::from_millis(100), |_| false);
    let silent = world.nodes[1].disk.silent_through;
    assert!(
        silent >= newest.next(),
        "what it learnt is durable: {silent}, signed up to {newest}"
    );
    restart(&mut world, 1);
    assert!(
        world.run(MINUTE, |world| world.all_at(newest.0 + 6)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
    let (first, _) = signed_since(&world, 1, before).expect("it takes part again");
    assert!(
        first > newest.next(),
        "{first} was signed, the other life signed up to {newest}"
    );
}

#[test]
fn the_stop_waits_until_the_silence_is_durable() {
    let (mut world, height) = running();
    let out = feed(&mut world, foreign_from(1, 0, height));
    let through = height.next();
    assert!(
        matches!(&out[..], [Output::Store(StoreRequest::Silence { through: asked })] if *asked == through),
        "nothing else leaves: {out:?}"
    );
    assert_eq!(feed(&mut world, foreign_from(1, 0, height)).len(), 0);
    let before = StoreReply::Silenced { through: height };
    assert_eq!(feed(&mut world, Input::Store(before)).len(), 0, "another receipt");
    let receipt = Input::Store(StoreReply::Silenced { through });
    let out = feed(&mut world, receipt);
    assert!(
        matches!(&out[..], [Output::Stop(Stop::ForeignSignatures(_))]),
        "{out:?}"
    );
}

#[test]
fn a_disk_that_fails_meanwhile_ends_the_wait() {
    let (mut world, height) = running();
    feed(&mut world, foreign_from(1, 0, height));
    let reason = "fdatasync: EIO".to_owned();
    let out = feed(&mut world, Input::Store(StoreReply::Failed { reason }));
    assert!(
        matches!(&out[..], [Output::Stop(Stop::ForeignSignatures(_))]),
        "{out:?}"
    );
}

#[test]
fn who_hears_its_key_signing_elsewhere_is_silent_for_as_long_as_that_goes_on() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| is_midway(world, 1) && world.all_at(3)));
    let height = world.head(1).next();
    world.tell(1, foreign_from(0, 1, height));
    assert!(world.run(MINUTE, |world| world.nodes[1].stopped.is_some()));
    let before = signatures(&world, 1);
    restart(&mut world, 1);
    // The other process signs at ten more heights.
    for ahead in 1..=10 {
        let height = Height(height.0 + ahead);
        assert!(
            world.run(MINUTE, |world| world.head(1) >= height.prev()),
            "stuck at {:?}",
            heads(&world)
        );
        world.tell(1, foreign_from(0, 1, height));
    }
    let last = Height(height.0 + 10);
    assert!(world.run(MINUTE, |world| world.all_at(last.0 + 6)));
    world.assert_agreement();
    let stopped = &world.nodes[1].stopped;
    assert_eq!(*stopped, None, "who does not sign need not stop");
    let (first, _) = signed_since(&world, 1, before).expect("it takes part again");
    assert!(
        first > last.next(),
        "signed at {first} beside another that signed up to {last}"
    );
}

#[test]
fn an_init_of_ours_that_we_did_not_make_stops_us() {
    let mut world = World::new(4);
    world.start_all();
    let set = world::validators(4);
    let ours_next = |world: &World| {
        let core = world.nodes[0].core.as_ref();
        let next = world.head(0).next().next();
        core.is_some_and(|core| core.round().is_some()) && *set.proposer(next, Round(0)) == world::address_of(0)
    };
    assert!(world.run(MINUTE, |world| world.all_at(2) && ours_next(world)));
    let at = world.head(0).next().next();
    let init = init_by(0, at, Round(0), 9);
    let key = init.key();
    let event = NetEvent::Offer {
        offer: ultramarine_types::network::OfferId(1 << 60),
        peer: world::peer_id(1),
        key,
        init: std::sync::Arc::new(init),
        kind: OfferKind::Proposal,
        certificate: None,
    };
    let out = feed(&mut world, Input::Net(event));
    let through = at.next();
    assert!(
        matches!(&out[..], [Output::Store(StoreRequest::Silence { through: asked })] if *asked == through),
        "{at}: {out:?}"
    );
}

#[test]
fn an_init_of_ours_that_we_made_is_no_alarm() {
    let mut world = World::new(4);
    world.start_all();
    // A value that node 0 built comes back to it, from whoever holds it.
    let set = world::validators(4);
    let built = |world: &World| {
        let height = world.head(0).next();
        let is_ours = *set.proposer(height, Round(0)) == world::address_of(0);
        is_ours && world.nodes[0].disk.undecided.keys().any(|key| key.height == height)
    };
    assert!(world.run(MINUTE, built));
    let height = world.head(0).next();
    let undecided = &world.nodes[0].disk.undecided;
    let (_, (assembly, _)) = undecided.iter().find(|(key, _)| key.height == height).unwrap();
    let init = assembly.init.clone();
    let _ = offer(&mut world, 1, &init, OfferKind::Proposal, None);
    assert!(world.run(MINUTE, |world| world.all_at(height.0 + 2)));
    world.assert_nobody_stopped();
}

#[test]
fn a_wiped_validator_stays_silent_up_to_the_tip() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(6)));
    world.crash(2);
    world.nodes[2].disk = world::Disk::default();
    world.nodes[2].client.lose_everything();
    let builds = world.nodes[2].builds.len();
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(9)));
    let tip = world.head(0);
    world.start(2);
    assert!(
        world.run(MINUTE, |world| world.all_at(20)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
    for (height, round) in &world.nodes[2].builds[builds..] {
        assert!(
            *height > tip,
            "built its own block at decided height {height}, round {round}"
        );
    }
    let signing = world.nodes[2]
        .events
        .iter()
        .any(|event| matches!(event, Event::Signing { active: true, height, .. } if *height > tip));
    assert!(signing, "and takes part again");
}

#[test]
fn a_wiped_validator_that_hears_nobody_signs_nothing() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(3)));
    for node in 0..4 {
        world.crash(node);
    }
    world.nodes[2].disk = world::Disk::default();
    let signed = world.signed.len();
    world.start(2);
    world.run(Nanos::from_millis(10_000), |_| false);
    assert_eq!(
        world.signed.len(),
        signed,
        "it is cut off, and time alone proves nothing"
    );
    for node in [0, 1, 3] {
        world.start(node);
    }
    assert!(
        world.run(MINUTE, |world| world.all_at(8)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    world.assert_nobody_stopped();
}

/// Why node 2 is not signing, as it was said last; `None` once it signs.
fn why_silent(world: &World) -> Option<String> {
    let told = world.nodes[2].events.iter().rev().find_map(|event| match event {
        Event::Signing { active, why, .. } => Some((*active, why.clone())),
        _ => None,
    });
    let (active, why) = told.expect("it was said whether it signs");
    (!active).then_some(why)
}

#[test]
fn a_validator_that_is_silent_after_its_start_says_at_once_why_and_until_when() {
    for (log_condition, rebuilt_through, why) in [
        (LogCondition::Whole, Height(9), "was rebuilt"),
        (LogCondition::Whole, Height(0), "that this directory did not make"),
        (LogCondition::Missing, Height(0), "the log of this height is missing"),
    ] {
        let mut world = World::new(4);
        world.start_all();
        assert!(world.run(MINUTE, |world| world.all_at(4) && is_midway(world, 2)));
        for node in 0..4 {
            world.crash(node);
        }
        let head = world.head(2);
        let through = if log_condition == LogCondition::Whole {
            Height(9)
        } else {
            head.next()
        };
        world.log_condition = log_condition;
        let disk = &mut world.nodes[2].disk;
        if log_condition == LogCondition::Whole {
            (disk.silent_through, disk.rebuilt_through) = (through, rebuilt_through);
            (disk.epoch, disk.records) = (None, Vec::new());
        }
        let events = world.nodes[2].events.len();
        world.start(2);
        assert!(world.nodes[2].events.len() > events, "nobody else was heard yet");
        let said = why_silent(&world).expect("it does not sign");
        assert!(
            said.contains(why) && said.contains(&format!("up to height {through} ")),
            "{said}"
        );
        world.log_condition = LogCondition::Whole;
        for node in [0, 1, 3] {
            world.start(node);
        }
        assert!(
            world.run(MINUTE, |world| world.all_at(through.0 + 3)),
            "stuck at {:?}",
            heads(&world)
        );
        assert_eq!(why_silent(&world), None);
    }
}

/// Everybody dies at a height above 3; node 2 loses its disk and starts alone. The tip of all.
pub fn wiped_alone(world: &mut World) -> Height {
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(4)));
    for node in 0..4 {
        world.crash(node);
    }
    world.nodes[2].disk = world::Disk::default();
    world.start(2);
    (0..4).map(|node| world.head(node)).max().unwrap()
}

/// Node 2 hears a peer's status.
pub fn hear(world: &mut World, peer: usize, tip: Height, seen_signed: Option<SignedMessage>) {
    let up = NetEvent::PeerUp {
        peer: world::peer_id(peer),
        validator: Some(world::address_of(peer)),
    };
    world.tell(2, Input::Net(up));
    let status = Status {
        seen_signed,
        ..fixtures::status(tip)
    };
    let peer = world::peer_id(peer);
    world.tell(2, Input::Net(NetEvent::Status { peer, status }));
}

#[test]
fn what_one_peer_knew_of_a_wiped_validator_outlives_a_second_crash() {
    let mut world = World::new(4);
    let tip = wiped_alone(&mut world);
    // Node 1 alone has a signature of node 2 two heights above everybody's tip; nobody can decide meanwhile.
    let claimed = Height(tip.0 + 2);
    for peer in [0, 1, 3] {
        hear(&mut world, peer, tip, (peer == 1).then(|| foreign(2, claimed)));
    }
    world.run(Nanos::from_millis(100), |_| false);
    assert_eq!(world.nodes[2].disk.silent_through, claimed.next());
    let before = signatures(&world, 2);
    restart(&mut world, 2);
    for node in [0, 1, 3] {
        world.start(node);
    }
    // Node 1 has forgotten: it counts signatures that it finds in its own log and certificates.
    assert!(
        world.run(MINUTE, |world| world.all_at(claimed.0 + 4)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    let (first, _) = signed_since(&world, 2, before).expect("it takes part again");
    assert!(first > claimed, "{first} is signed, {claimed} was claimed");
}

#[test]
fn a_message_of_ours_that_does_not_prove_itself_costs_its_sender_and_silences_nobody() {
    let mut world = World::new(4);
    let tip = wiped_alone(&mut world);
    let SignedMessage::Vote(vote) = foreign(2, Height(1_000_000)) else {
        unreachable!("it is a vote");
    };
    // Of another height than the one signed; and true, but another validator's.
    let forged = SignedMessage::Vote(Vote {
        height: Height(tip.0 + 1),
        ..vote
    });
    for (peer, lie) in [(0, None), (1, Some(forged)), (3, Some(foreign(0, Height(tip.0 + 1))))] {
        hear(&mut world, peer, tip, lie);
    }
    world.run(Nanos::from_millis(100), |_| false);
    assert_eq!(world.nodes[2].disk.silent_through, Height(0));
    let charged = [(2, 1, Fault::Signature), (2, 3, Fault::Signature)];
    assert_eq!(world.charges, charged);
}

#[test]
fn who_lies_low_about_the_tip_hides_no_signature() {
    let mut world = World::new(4);
    let tip = wiped_alone(&mut world);
    let signed = tip.next();
    // One is away; one says that nothing was ever decided; the third has the proof.
    hear(&mut world, 0, Height(0), None);
    hear(&mut world, 1, tip, Some(foreign(2, signed)));
    world.run(Nanos::from_millis(100), |_| false);
    assert_eq!(world.nodes[2].disk.silent_through, signed.next());
}

#[test]
fn a_certificate_with_a_signature_of_ours_counts_like_a_message() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(6)));
    let certificate = world.nodes[0].disk.decided[&Height(5)].0.certificate.clone();
    let signer = world.node_of(&certificate.signatures[0].address);
    // A directory that knows of nothing above height 3, and peers that say nothing of what it signed.
    for node in 0..4 {
        world.crash(node);
    }
    let disk = &mut world.nodes[signer].disk;
    disk.decided.retain(|height, _| *height <= Height(3));
    disk.undecided.clear();
    (disk.epoch, disk.silent_through) = (None, Height(0));
    disk.records.clear();
    world.start(signer);
    let core = world.nodes[signer].core.as_mut().unwrap();
    core.note_signers(&certificate);
    assert!(core.guard.watermark() >= Height(6), "{}", core.guard.watermark());
}

#[test]
fn nothing_is_signed_before_the_others_were_listened_to_even_if_the_log_is_not_needed() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(3) && is_midway(world, 1)));
    let copy = world.nodes[1].disk.clone();
    assert!(world.run(MINUTE, |world| world.all_at(8)));
    for node in 0..4 {
        world.crash(node);
    }
    world.nodes[1].disk = copy;
    let before = signatures(&world, 1);
    // One peer alone is there; it serves what the copy lacks up to a height, and no further.
    world.nodes[0].disk.decided.retain(|height, _| *height <= Height(5));
    world.nodes[0].disk.undecided.clear();
    world.nodes[0].disk.epoch = None;
    world.start(0);
    world.start(1);
    world.run(Nanos::from_millis(10_000), |_| false);
    assert!(world.head(1) >= Height(4), "it catches up as far as it is served");
    assert_eq!(
        signed_since(&world, 1, before),
        None,
        "who hears one of three signs nothing"
    );
}

#[test]
fn where_nothing_is_signed_nothing_is_logged() {
    let mut world = World::new(4);
    wiped_alone(&mut world);
    // The others have forgotten everything as well, and say so; its log of the first height is open.
    for peer in [0, 1, 3] {
        hear(&mut world, peer, Height(0), None);
    }
    assert!(world.run(MINUTE, |world| world.nodes[2].disk.epoch.is_some()));
    let before = signatures(&world, 2);
    // Then a vote of an earlier life comes back, before the height begins or just after.
    world.tell(2, foreign_from(1, 2, Height(1)));
    world.run(Nanos::from_millis(2_000), |_| false);
    let disk = &world.nodes[2].disk;
    assert_eq!(signed_since(&world, 2, before), None);
    assert!(
        disk.records.is_empty() && disk.pending.is_empty(),
        "a log that is not empty is replayed, and signed from, at the next start"
    );
    assert!(disk.silent_through >= Height(1));
}

#[test]
fn what_peers_signed_is_known_after_a_restart() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.head(0) >= Height(3) && is_midway(world, 0)));
    let head = world.head(0);
    for node in 0..4 {
        world.crash(node);
    }
    world.start(0);
    let signers: Vec<_> = world.nodes[0].disk.decided[&head].0.certificate.signatures.clone();
    let signer = signers
        .iter()
        .map(|signed| world.node_of(&signed.address))
        .find(|node| *node != 0);
    let signer = signer.expect("a quorum of four is three");
    let up = NetEvent::PeerUp {
        peer: world::peer_id(signer),
        validator: Some(world::address_of(signer)),
    };
    let told = feed(&mut world, Input::Net(up))
        .into_iter()
        .find_map(|output| match output {
            Output::Net(NetCommand::Status { status, .. }) => status.seen_signed,
            _ => None,
        });
    let seen = told.expect("it signed the head's certificate");
    let (height, ..) = seen.step();
    assert!(height >= head, "{seen:?}, the head is {head}");
}

#[test]
fn a_copy_from_the_same_height_signs_nothing_there() {
    let mut world = World::new(4);
    world.start_all();
    assert!(world.run(MINUTE, |world| world.all_at(3) && is_midway(world, 1)));
    let height = world.head(1).next();
    let copy = world.nodes[1].disk.clone();
    // All precommits for the value but its own are lost, so that the height cannot end.
    world.drop = Box::new(|from, _, message, _| {
        from != 1
            && matches!(
                message,
                ConsensusMessage::Vote(vote) if vote.kind == VoteKind::Precommit && vote.value_id.is_some()
            )
    });
    let before = signatures(&world, 1);
    world.run(Nanos::from_millis(4_000), |_| false);
    assert_eq!(world.head(0), height.prev(), "it stands still");
    let known = signed_since(&world, 1, before);
    assert_eq!(known, Some((height, height)), "and has signed more since the copy");
    world.crash(1);
    world.nodes[1].disk = copy;
    let before = signatures(&world, 1);
    world.start(1);
    world.run(Nanos::from_millis(2_000), |_| false);
    // The prevote that the copy knows of is handed on; the precommit, which it does not know of, is not made again.
    let signed = world.nodes[1].events.iter().filter_map(|event| match event {
        Event::Signed { kind, .. } => Some(*kind),
        _ => None,
    });
    let kinds: Vec<&str> = signed.skip(before).collect();
    assert!(kinds.iter().all(|kind| *kind == "prevote"), "{kinds:?}");
    assert_eq!(world.nodes[1].disk.silent_through, height.next());
    world.assert_nobody_stopped();
    let before = signatures(&world, 1);
    world.drop = Box::new(|_, _, _, _| false);
    assert!(
        world.run(MINUTE, |world| world.all_at(height.0 + 5)),
        "stuck at {:?}",
        heads(&world)
    );
    world.assert_agreement();
    let (_, last) = signed_since(&world, 1, before).expect("it takes part again");
    assert!(last > height.next());
}
