use proptest::prelude::*;
use ultramarine_types::Lsn;

use super::Gate;

#[test]
fn a_message_waits_for_its_record() {
    let mut gate = Gate::new();
    assert_eq!(gate.pass(Lsn(1), "vote"), None);
    assert_eq!(gate.wanted(), Some(Lsn(1)));
    assert!(gate.open(Lsn(0)).is_empty());
    assert_eq!(gate.open(Lsn(1)), ["vote"]);
    assert_eq!(gate.wanted(), None);
}

#[test]
fn a_message_whose_record_is_durable_passes_at_once() {
    let mut gate = Gate::new();
    assert!(gate.open(Lsn(4)).is_empty());
    assert_eq!(gate.pass(Lsn(4), "again"), Some("again"));
}

#[test]
fn nobody_overtakes_at_the_gate() {
    let mut gate = Gate::new();
    assert_eq!(gate.pass(Lsn(2), 1), None);
    assert_eq!(gate.pass(Lsn(2), 2), None);
    assert_eq!(gate.pass(Lsn(3), 3), None);
    assert_eq!(gate.open(Lsn(2)), [1, 2]);
    assert_eq!(gate.open(Lsn(3)), [3]);
}

#[test]
#[should_panic(expected = "durability never moves back")]
fn durability_never_moves_back() {
    let mut gate = Gate::<()>::new();
    let _ = gate.open(Lsn(5));
    let _ = gate.open(Lsn(4));
}

proptest! {
    #[test]
    fn messages_leave_in_order_and_never_early(steps in proptest::collection::vec((0u64..3, any::<bool>()), 1..200)) {
        let mut gate = Gate::new();
        let (mut lsn, mut durable, mut next, mut left) = (0u64, 0u64, 0u64, Vec::new());
        for (more, sync) in steps {
            lsn += more;
            left.extend(gate.pass(Lsn(lsn), (lsn, next)));
            next += 1;
            if sync {
                durable = lsn;
                left.extend(gate.open(Lsn(durable)));
            }
            prop_assert!(left.iter().all(|(at, _)| *at <= durable));
            prop_assert!(left.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1));
        }
        left.extend(gate.open(Lsn(lsn)));
        prop_assert_eq!(left.len() as u64, next);
    }
}
