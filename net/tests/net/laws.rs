//! Laws of the join: whatever comes in whatever order.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use ultramarine_net::streaming::Input;
use ultramarine_types::limits::PAYLOAD_CHUNK_BYTES;
use ultramarine_types::network::{Fault, OfferId};
use ultramarine_types::storage::Tag;
use ultramarine_types::{Height, ListKind, Nanos};

use crate::fixture::{large, peer, same_bytes, value};
use crate::rig::{Part, Rig, parts, parts_behind_lists, spoil};

/// One step of a scramble: which of the streams acts, or the verifier does.
type Step = (u8, prop::sample::Index);

/// Several streams bring shuffled subsets of one value's parts, interleaved with verdicts, then break; `bad` says which
/// parts of which streams are spoilt. Honest repair follows until the value is complete.
fn scramble(streams: usize, steps: &[Step], spoilt: &[bool]) -> Result<Rig, TestCaseError> {
    let value = value(5, 1, 2 * PAYLOAD_CHUNK_BYTES + 77, 5);
    let mut rig = Rig::new(6);
    let names: Vec<OfferId> = (0..streams)
        .map(|index| rig.begin(peer(index as u8 + 1), &value))
        .collect();
    prop_assert_eq!(rig.offers(), 1, "the core is asked once");
    rig.feed(Input::Admit {
        offer: names[0],
        tag: Tag::Streamed,
    });
    prop_assert_eq!(&rig.started, &names);
    // The lists come first, and in their order: the last part of each vector is the next.
    let in_order = || parts(&value).into_iter().rev().collect::<Vec<_>>();
    let mut left: Vec<Vec<Part>> = names.iter().map(|_| in_order()).collect();
    let behind_lists = parts_behind_lists(&value).len();
    for (number, (actor, choice)) in steps.iter().enumerate() {
        let actor = usize::from(*actor) % (streams + 1);
        if actor == streams {
            if !rig.jobs.is_empty() {
                let job = choice.index(rig.jobs.len());
                rig.verify(job);
            }
            continue;
        }
        if left[actor].is_empty() || rig.stopped.contains_key(&names[actor]) {
            continue;
        }
        let part = if left[actor].len() > behind_lists {
            left[actor].pop().expect("not empty, as seen above")
        } else {
            let position = choice.index(left[actor].len());
            left[actor].swap_remove(position)
        };
        if actor == 0 && spoilt.get(number).copied().unwrap_or(false) {
            spoil(&mut rig, names[0], part, &value);
        } else {
            rig.part(names[actor], part, &value);
        }
    }
    for name in names {
        rig.feed(Input::Gone { stream: name });
    }
    rig.verify_all();
    for round in 0..4 {
        if !rig.complete.is_empty() {
            break;
        }
        prop_assert!(
            rig.incomplete() > 0,
            "the core hears that parts are missing, round {round}"
        );
        rig.repair(peer(200), &value);
    }
    prop_assert_eq!(rig.complete.len(), 1, "complete exactly once");
    prop_assert!(same_bytes(&rig.complete[0].assembly, &value));
    prop_assert_eq!(rig.join.reserved_bytes(), 0);
    prop_assert_eq!(rig.join.values_count(), 0);
    Ok(rig)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec((any::<u8>(), any::<prop::sample::Index>()), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn parts_in_any_order_from_anyone_make_the_same_value(streams in 1usize..4, steps in steps()) {
        let rig = scramble(streams, &steps, &[])?;
        prop_assert!(rig.charges.is_empty(), "nobody is charged: {:?}", rig.charges);
    }

    #[test]
    fn a_bad_part_costs_its_sender_only(
        streams in 1usize..4,
        steps in steps(),
        spoilt in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let rig = scramble(streams, &steps, &spoilt)?;
        let bad = peer(1);
        let is_earned = |(who, fault): &(_, _)| *who == bad && *fault == Fault::Part;
        prop_assert!(rig.charges.iter().all(is_earned));
    }

    #[test]
    fn reserved_bytes_stay_within_the_budget(
        streams in proptest::collection::vec((0u8..4, 1u64..4, any::<u8>(), 0usize..7, any::<bool>()), 1..60),
    ) {
        let mut rig = Rig::new(6);
        let total = rig.limits.assembly_bytes();
        for (who, height, salt, blobs, certified) in streams {
            let value = large(height, salt, blobs);
            let stream = rig.begin(peer(who), &value);
            let tag = if certified { Tag::Certified } else { Tag::Streamed };
            rig.feed(Input::Admit { offer: stream, tag });
            for kind in [ListKind::Commitments, ListKind::Digests, ListKind::Proofs] {
                rig.part(stream, Part::List(kind), &value);
            }
            for index in 0..blobs {
                rig.part(stream, Part::Blob(index), &value);
            }
            prop_assert!(rig.join.reserved_bytes() <= total);
            for who in 0..4 {
                prop_assert!(rig.join.reserved_bytes_of(peer(who)) <= total / 2);
            }
        }
        rig.verify_all();
        rig.wait(Nanos::from_millis(120_000));
        prop_assert_eq!(rig.join.streams_count(), 0, "every stream ends by its deadline");
        rig.feed(Input::Forget { height: Height(9) });
        prop_assert_eq!(rig.join.reserved_bytes(), 0);
        prop_assert_eq!(rig.join.values_count(), 0);
    }
}
