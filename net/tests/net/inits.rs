//! Stories of an `Init` beside the one of its value that the core has checked.

use std::sync::Arc;

use ultramarine_net::streaming::{Brings, Input, StopReason};
use ultramarine_types::network::{Fault, OfferId, Refusal};

use crate::fixture::{peer, value};
use crate::rig::{Rig, parts_behind_lists};

#[test]
fn an_init_with_other_signatures_is_never_taken_for_one_that_was_checked() {
    let value = value(3, 0, 1000, 2);
    let mut other = value.clone();
    Arc::make_mut(&mut other.init).signature.0[0] ^= 1;
    let mut rig = Rig::new(6);
    let first = rig.listed(peer(1), &value);
    let refuse = |rig: &mut Rig, offer: OfferId| {
        let reason = "it does not verify";
        let why = Refusal::Invalid { reason };
        rig.feed(Input::Refuse { offer, why });
    };
    // Of a value in assembly, and as an answer to a request for its parts.
    let wrong = rig.begin(peer(2), &other);
    assert!(!rig.started.contains(&wrong) && rig.offers() == 2, "the core is asked");
    refuse(&mut rig, wrong);
    let (stream, key) = (rig.name(), value.key);
    let peer_3 = peer(3);
    rig.feed(Input::Fetch {
        stream,
        key,
        peer: peer_3,
    });
    rig.begin_as(stream, peer_3, &other, Brings::Proposal);
    assert!(!rig.started.contains(&stream) && rig.offers() == 3, "the core is asked");
    refuse(&mut rig, stream);
    // Of one that is whole.
    for part in parts_behind_lists(&value) {
        rig.part(first, part, &value);
    }
    rig.verify_all();
    assert_eq!(rig.complete.len(), 1);
    let late = rig.begin(peer(4), &other);
    assert_eq!(rig.offers(), 4, "the core is asked");
    refuse(&mut rig, late);
    let charges: Vec<_> = (2..5).map(|byte| (peer(byte), Fault::Signature)).collect();
    assert_eq!(rig.charges, charges);
    let same = rig.begin(peer(5), &value);
    assert_eq!((rig.offers(), &rig.stopped[&same]), (4, &StopReason::Complete));
}
