//! This file knows which peers the operator configured.
//!
//! A peer that is configured with its key is known by the key, whoever dials. One that is configured by its address
//! alone is known once we have reached it: by the key that answered there last.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::PeerId;

#[derive(Debug, Default)]
pub struct Listed {
    keys: BTreeSet<PeerId>,
    /// The key that answered last at each address that is configured without one.
    answered: BTreeMap<String, PeerId>,
}

impl Listed {
    pub fn new(keys: impl IntoIterator<Item = PeerId>) -> Self {
        Self {
            keys: keys.into_iter().collect(),
            answered: BTreeMap::new(),
        }
    }

    /// A key has answered at an address that is configured without one.
    pub fn answers(&mut self, address: &str, peer: PeerId) {
        self.answered.insert(address.to_owned(), peer);
    }

    pub fn has(&self, peer: &PeerId) -> bool {
        self.keys.contains(peer) || self.answered.values().any(|answered| answered == peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_key_stands_for_the_key_that_answered_last() {
        let [known, first, second] = [1, 2, 3].map(|byte| PeerId([byte; 32]));
        let mut listed = Listed::new([known]);
        assert!(listed.has(&known) && !listed.has(&first));
        listed.answers("node.example:26650", first);
        assert!(listed.has(&known) && listed.has(&first));
        listed.answers("node.example:26650", second);
        assert!(listed.has(&second) && !listed.has(&first));
    }
}
