//! This file knows who may be connected: each peer once, and each validator with few nodes.

use std::collections::BTreeSet;

use ultramarine_types::limits::{PEERS_MAX, VALIDATORS_MAX};
use ultramarine_types::{Address, PeerId};

use crate::bounds;
use crate::wire::hello::Goodbye;

/// Whether the newer of two connections between the same two processes stays. It does if one side dialed both; else the
/// one that the lower name dialed stays. Both ends come to the same answer.
pub fn newer_stays(ours: &PeerId, theirs: &PeerId, old_dialed_by_us: bool, new_dialed_by_us: bool) -> bool {
    old_dialed_by_us == new_dialed_by_us || new_dialed_by_us == (ours < theirs)
}

/// Checks whether one more peer fits beside the connected ones. Each is given by the validator that attests it.
///
/// Every validator has room for one node. Full nodes and second nodes of validators share room for as many again.
///
/// A validator may attest any number of keys, and each has a validator's windows and budgets: so two may be connected
/// at a time. The second is for a stand-in that takes over before the first node's connection is known to be dead.
/// Nodes that are connected stay: if the newest won, three nodes of one validator would push each other out for ever.
pub fn check_room(connected: impl Iterator<Item = Option<Address>>, newcomer: Option<Address>) -> Result<(), Goodbye> {
    let (mut validators, mut others, mut siblings) = (BTreeSet::new(), 0, 0);
    for attested_by in connected {
        let is_first = attested_by.is_some_and(|validator| validators.insert(validator));
        others += usize::from(!is_first);
        siblings += usize::from(attested_by.is_some() && attested_by == newcomer);
    }
    if siblings >= bounds::NODES_PER_VALIDATOR_MAX {
        return Err(Goodbye::Crowded);
    }
    let is_first = newcomer.is_some() && siblings == 0;
    if !is_first && others >= PEERS_MAX - VALIDATORS_MAX {
        return Err(Goodbye::Full);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validator(number: usize) -> Option<Address> {
        let mut address = Address::ZERO;
        address.0[..8].copy_from_slice(&(number as u64).to_le_bytes());
        Some(address)
    }

    #[test]
    fn every_validator_has_room_whatever_the_others_take() {
        let mut connected = Vec::new();
        let mut join = |newcomer| {
            let answer = check_room(connected.iter().copied(), newcomer);
            if answer.is_ok() {
                connected.push(newcomer);
            }
            answer
        };
        let half = VALIDATORS_MAX / 2;
        assert!((0..half).all(|number| join(validator(number)).is_ok() && join(validator(number)).is_ok()));
        assert_eq!(join(validator(0)), Err(Goodbye::Crowded), "a third of one validator");
        assert!((0..VALIDATORS_MAX - half).all(|_| join(None).is_ok()));
        assert_eq!(join(None), Err(Goodbye::Full));
        assert!(
            (half..VALIDATORS_MAX).all(|number| join(validator(number)).is_ok()),
            "each has its first"
        );
        assert_eq!(join(validator(half)), Err(Goodbye::Full), "no room for a stand-in");
        assert!(connected.len() <= PEERS_MAX);
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
}
