//! What a core does with a payload that is whole before its blobs are, and how it judges the block.

use std::sync::Arc;

use ultramarine_types::execution::{Built, EngineCall, EngineReply, Executed, ParentBlock, PayloadStatus};
use ultramarine_types::network::{Fault, NetCommand, NetEvent, OfferKind};
use ultramarine_types::storage::{Blobs, StoreReply, Tag};
use ultramarine_types::{Assembly, Height, Init, Nanos, Round, ValueKey, sidecar};

use super::offers::{feed, hand, offer, running, sign_init, sign_metadata};
use super::world::{self, World};
use crate::values::Judgement;
use crate::{Event, Input, Output};

/// A value for node 0's current height that keeps every rule, by the proposer of a round; `salt` makes it another one.
pub fn good(world: &World, height: Height, round: Round, salt: u64) -> Assembly {
    let (_, (below, _)) = world.nodes[0].disk.decided.last_key_value().unwrap();
    let header = &below.init.metadata.header;
    let parent = ParentBlock {
        hash: header.block_hash,
        number: header.number,
        timestamp: header.timestamp,
    };
    let node = world.node_of(world::validators(4).proposer(height, round));
    let mut built = world::build(node, height, round, &parent, header.timestamp + 1, 2, Nanos(salt));
    built.header.parent_beacon_block_root = sidecar::header(&below.init.metadata, world::GENESIS_TIME).root();
    let init = Arc::new(sign_init(node, height, round, built.clone()));
    let Built {
        lists, payload, blobs, ..
    } = built;
    Assembly {
        key: init.key(),
        init,
        lists: Arc::new(lists),
        payload,
        blobs,
    }
}

pub fn judgement(world: &World, key: &ValueKey) -> Judgement {
    let core = world.nodes[0].core.as_ref().unwrap();
    core.values.get(key).unwrap().judgement.clone()
}

fn executions(outputs: &[Output], key: &ValueKey) -> usize {
    let executes =
        |output: &&Output| matches!(output, Output::Engine(EngineCall::Execute { key: of, .. }) if of == key);
    outputs.iter().filter(executes).count()
}

fn valid(key: ValueKey) -> Input {
    executed(key, PayloadStatus::Valid { latest: None })
}

fn executed(key: ValueKey, status: PayloadStatus) -> Input {
    Input::Engine(EngineReply::Executed {
        key,
        outcome: Executed::Answered(status),
    })
}

/// The faults that a validator is charged for, and how often a value is told of as invalid.
pub fn blamed(outputs: &[Output], validator: usize) -> (Vec<Fault>, usize) {
    let proposer = world::peer_id(validator);
    let charge = |output: &Output| match output {
        Output::Net(NetCommand::Charge { peer, fault }) if *peer == proposer => Some(*fault),
        _ => None,
    };
    let told = |output: &&Output| matches!(output, Output::Event(Event::InvalidValue { .. }));
    (
        outputs.iter().filter_map(charge).collect(),
        outputs.iter().filter(told).count(),
    )
}

/// Runs until node 0's execution client has confirmed its head, and takes the offer of a good value.
pub fn offered() -> (World, Init, Assembly) {
    let (mut world, height) = running();
    assert!(world.run(super::MINUTE, |world| {
        world.nodes[0].core.as_ref().is_some_and(|core| {
            core.is_execution_ready() && core.round() == Some(Round(0)) && core.head().next() == height
        })
    }));
    let good = good(&world, height, Round(1), 77);
    let init = Init::clone(&good.init);
    assert_eq!(
        offer(&mut world, 1, &init, OfferKind::Proposal, None),
        Ok(Tag::Streamed)
    );
    (world, init, good)
}

/// The news that lists and payload of a value are whole.
fn whole(key: ValueKey, good: &Assembly) -> NetEvent {
    let (lists, payload) = (good.lists.clone(), good.payload.clone());
    NetEvent::Payload { key, lists, payload }
}

pub fn stored(init: &Init, good: &Assembly) -> Input {
    Input::Store(StoreReply::Stored {
        key: init.key(),
        init: Arc::new(init.clone()),
        lists: good.lists.clone(),
        payload: good.payload.clone(),
        tag: Tag::Streamed,
        blobs: Blobs::Held,
    })
}

#[test]
fn a_block_is_executed_while_its_blobs_still_come_and_valid_only_once_durable() {
    let (mut world, init, good) = offered();
    let key = init.key();
    let event = whole(key, &good);
    let out = hand(&mut world, event.clone());
    assert_eq!(executions(&out, &key), 1, "{out:?}");
    assert_eq!(executions(&hand(&mut world, event), &key), 0, "once");
    feed(&mut world, valid(key));
    assert_eq!(judgement(&world, &key), Judgement::Executed);
    let out = feed(&mut world, stored(&init, &good));
    assert_eq!(judgement(&world, &key), Judgement::Valid);
    assert_eq!(executions(&out, &key), 0, "it was executed before");
}

#[test]
fn a_block_that_is_durable_first_is_valid_once_executed() {
    let (mut world, init, good) = offered();
    let key = init.key();
    let event = whole(key, &good);
    hand(&mut world, event);
    feed(&mut world, stored(&init, &good));
    assert!(matches!(judgement(&world, &key), Judgement::Executing { .. }));
    feed(&mut world, valid(key));
    assert_eq!(judgement(&world, &key), Judgement::Valid);
}

#[test]
fn a_payload_of_a_value_nobody_admitted_is_not_executed() {
    let (mut world, init, good) = offered();
    let mut key = init.key();
    key.id.0[0] ^= 1;
    assert_eq!(executions(&hand(&mut world, whole(key, &good)), &key), 0);
    assert!(world.nodes[0].core.as_ref().unwrap().values.get(&key).is_none());
}

#[test]
fn a_block_that_breaks_a_rule_is_invalid_once_at_its_proposers_cost_and_is_not_executed() {
    let (mut world, honest, good) = offered();
    let mut metadata = honest.metadata.clone();
    metadata.header.gas_limit = world::chain().params.gas_limit_max + 1;
    let node = world.node_of(&metadata.origin_proposer);
    let init = sign_metadata(node, metadata);
    let key = init.key();
    assert_eq!(
        offer(&mut world, 1, &init, OfferKind::Proposal, None),
        Ok(Tag::Streamed)
    );
    let out = hand(&mut world, whole(key, &good));
    assert_eq!(executions(&out, &key), 0);
    assert!(matches!(judgement(&world, &key), Judgement::Invalid(_)));
    let later = feed(&mut world, stored(&init, &good));
    let all: Vec<Output> = out.into_iter().chain(later).collect();
    assert_eq!(blamed(&all, node), (vec![Fault::Rule], 1), "{all:?}");
}

#[test]
fn a_block_that_the_client_rejects_is_invalid_at_a_small_cost_to_its_proposer() {
    let (mut world, init, good) = offered();
    let key = init.key();
    hand(&mut world, whole(key, &good));
    let status = PayloadStatus::Invalid {
        reason: "no such account".to_owned(),
        latest: None,
    };
    let out = feed(&mut world, executed(key, status));
    assert!(matches!(judgement(&world, &key), Judgement::Invalid(_)));
    let proposer = world.node_of(&init.metadata.origin_proposer);
    assert_eq!(blamed(&out, proposer), (vec![Fault::Execution], 1), "{out:?}");
}

#[test]
fn only_a_valid_value_of_a_round_long_past_lets_its_payload_go() {
    let (mut world, init, good) = offered();
    let key = init.key();
    hand(&mut world, whole(key, &good));
    let values = &mut world.nodes[0].core.as_mut().unwrap().values;
    for (judged, kept) in [
        // A certificate may yet vouch for it, and then its bytes are inspected.
        (Judgement::Invalid("the client says so".to_owned()), true),
        (Judgement::Open, true),
        (Judgement::Valid, false),
    ] {
        values.get_mut(&key).unwrap().judgement = judged.clone();
        values.slim(key.height, Round(1 + 5), |_| true);
        assert_eq!(values.get(&key).unwrap().body.is_some(), kept, "{judged:?}");
    }
    // One that nobody can decide as it is goes altogether, unless a polka names it.
    let value = values.get_mut(&key).unwrap();
    (value.judgement, value.polka) = (Judgement::Open, true);
    values.slim(key.height, Round(1 + 5), |_| false);
    values.get_mut(&key).unwrap().polka = false;
    values.slim(key.height, Round(1 + 4), |_| false);
    assert_eq!(values.len(), 1, "its round is not long past");
    values.slim(key.height, Round(1 + 5), |_| false);
    assert_eq!(values.len(), 1, "its blobs are on their way");
    values.get_mut(&key).unwrap().streams.clear();
    values.slim(key.height, Round(1 + 5), |_| false);
    assert_eq!(values.len(), 0);
}
