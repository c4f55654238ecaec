//! This file knows what each peer may still make us spend. It outlives connections, so that a peer that comes back has
//! only what it had left.
//!
//! Keys cost nothing, so a peer's origin pays:
//!
//! - All nodes of a validator share the validator's purse.
//! - A full node that is configured has a purse of its own.
//! - A stranger, which is any other full node, has a purse of its own, and pays from its site's as well. A site may
//!   spend as much as a few strangers, because that many may live behind one address. The stranger pays first, so that
//!   its debt is not its neighbours'.
//! - All strangers together have a purse, from which each pays last. Sites cost little, and a core's time is one.
//!
//! Keeps: at most [`bounds::PURSES_MAX`] purses are remembered, and one in debt is forgotten only when all are in debt.

use std::collections::BTreeMap;

use ultramarine_types::{Nanos, PeerId};

use crate::bounds;
use crate::peers::origin::PeerOrigin;
use crate::peers::pace::Bucket;

/// Strangers of one site that may spend all they have at one time.
const STRANGERS_PER_SITE: u64 = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spender {
    pub peer: PeerId,
    /// Who stands behind the peer.
    pub origin: PeerOrigin,
}

impl Spender {
    /// Those who pay, in this order: each pays once the one before can afford it.
    pub fn payers(self) -> impl Iterator<Item = Payer> {
        let itself = matches!(self.origin, PeerOrigin::Site(_)).then_some(Payer::Stranger(self.peer));
        let all = itself.map(|_| Payer::Strangers);
        itself.into_iter().chain([Payer::Origin(self.origin)]).chain(all)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spend {
    /// A control message that we read.
    Message,
    /// A value stream that we begin to read.
    Stream,
    /// Bytes that we read from the source and send.
    Serving { bytes: u64 },
}

impl Spend {
    const fn count(self) -> u64 {
        match self {
            Self::Message | Self::Stream => 1,
            Self::Serving { bytes } => bytes,
        }
    }
}

/// The owner of a purse.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Payer {
    Stranger(PeerId),
    /// All nodes of a validator, a configured full node, or all strangers of a site.
    Origin(PeerOrigin),
    Strangers,
}

#[derive(Clone, Copy, Debug)]
struct Purse {
    messages: Bucket,
    streams: Bucket,
    serving: Bucket,
}

impl Purse {
    fn of(payer: Payer, now: Nanos) -> Self {
        let (many, serving) = match payer {
            Payer::Origin(PeerOrigin::Validator(_)) => (1, bounds::SERVE_VALIDATOR_BYTES_PER_SECOND),
            Payer::Stranger(_) | Payer::Origin(PeerOrigin::Listed(_)) => (1, bounds::SERVE_FULL_NODE_BYTES_PER_SECOND),
            Payer::Origin(PeerOrigin::Site(_)) => (STRANGERS_PER_SITE, bounds::SERVE_FULL_NODE_BYTES_PER_SECOND),
            // What all of them are sent is bounded where it is sent.
            Payer::Strangers => (
                bounds::STRANGERS_TOGETHER,
                bounds::OTHER_PLACES as u64 * bounds::SERVE_FULL_NODE_BYTES_PER_SECOND,
            ),
        };
        let bucket = |rate: u64, burst: u64| Bucket::new(many * rate, many * burst, now);
        Self {
            messages: bucket(bounds::MESSAGES_PER_SECOND, bounds::MESSAGES_BURST),
            streams: bucket(bounds::STREAMS_PER_SECOND, bounds::STREAMS_BURST),
            serving: bucket(serving, serving),
        }
    }

    const fn bucket(&mut self, spend: Spend) -> &mut Bucket {
        match spend {
            Spend::Message => &mut self.messages,
            Spend::Stream => &mut self.streams,
            Spend::Serving { .. } => &mut self.serving,
        }
    }

    /// Whether nothing is lost when the purse is forgotten.
    fn is_full(&self, now: Nanos) -> bool {
        [self.messages, self.streams, self.serving]
            .iter()
            .all(|bucket| bucket.is_full(now))
    }

    fn owes(&self, now: Nanos) -> bool {
        [self.messages, self.streams, self.serving]
            .iter()
            .any(|bucket| bucket.is_in_debt(now))
    }

    fn used(&self) -> Nanos {
        self.messages.used().max(self.streams.used()).max(self.serving.used())
    }
}

/// Purses of peers, validators and sites.
#[derive(Debug, Default)]
pub struct Budgets {
    purses: BTreeMap<Payer, Purse>,
}

impl Budgets {
    /// Takes the cost from a payer's purse. Returns how long to wait until the payer can afford it.
    pub fn take(&mut self, now: Nanos, payer: Payer, spend: Spend) -> Nanos {
        self.purse(now, payer).bucket(spend).take(now, spend.count())
    }

    /// Gives back the cost of something that is not done after all.
    pub fn give_back(&mut self, now: Nanos, payer: Payer, spend: Spend) {
        self.purse(now, payer).bucket(spend).give_back(spend.count());
    }

    fn purse(&mut self, now: Nanos, payer: Payer) -> &mut Purse {
        if self.purses.len() >= bounds::PURSES_MAX && !self.purses.contains_key(&payer) {
            self.purses.retain(|_, purse| !purse.is_full(now));
            if self.purses.len() >= bounds::PURSES_MAX {
                self.forget_one(now);
            }
        }
        self.purses.entry(payer).or_insert_with(|| Purse::of(payer, now));
        self.check();
        self.purses.get_mut(&payer).expect("made above if it was not there")
    }

    /// Forgets a purse that owes nothing, or any if all owe: of those, the one that was not used for longest.
    fn forget_one(&mut self, now: Nanos) {
        let quiet = self
            .purses
            .iter()
            .min_by_key(|(_, purse)| (purse.owes(now), purse.used()))
            .map(|(payer, _)| *payer);
        let forgotten = quiet.and_then(|quiet| self.purses.remove(&quiet));
        if forgotten.is_some_and(|purse| purse.owes(now)) {
            assert!(
                self.purses.values().all(|purse| purse.owes(now)),
                "a purse in debt is forgotten only when all are in debt"
            );
        }
    }

    fn check(&self) {
        assert!(self.purses.len() <= bounds::PURSES_MAX, "memory for purses is bounded");
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use ultramarine_types::Address;

    use super::*;
    use crate::peers::origin::Site;

    fn peer(key: u64) -> PeerId {
        let mut peer = PeerId([1; 32]);
        peer.0[..8].copy_from_slice(&key.to_le_bytes());
        peer
    }

    /// A full node among others at one address, or the node of a validator of its own.
    fn spender(key: u64, is_validator: bool) -> Spender {
        let origin = if is_validator {
            let mut address = Address::ZERO;
            address.0[..8].copy_from_slice(&key.to_le_bytes());
            PeerOrigin::Validator(address)
        } else {
            PeerOrigin::Site(Site::of(IpAddr::from([10, 0, 0, 1])))
        };
        Spender {
            peer: peer(key),
            origin,
        }
    }

    /// Charges every payer, whatever the others owe.
    fn spend(budgets: &mut Budgets, now: Nanos, spender: Spender, spend: Spend) -> Nanos {
        let wait = spender.payers().map(|payer| budgets.take(now, payer, spend)).max();
        wait.expect("somebody pays")
    }

    fn streams_at_once(budgets: &mut Budgets, spender: Spender) -> u64 {
        let can_afford = |_: &u64| spend(budgets, Nanos::ZERO, spender, Spend::Stream) == Nanos::ZERO;
        (0..10_000).take_while(can_afford).count() as u64
    }

    #[test]
    fn what_was_spent_comes_back_with_time_only() {
        let mut budgets = Budgets::default();
        let one = spender(1, true);
        assert_eq!(streams_at_once(&mut budgets, one), bounds::STREAMS_BURST);
        assert_eq!(streams_at_once(&mut budgets, one), 0);
        assert_eq!(
            spend(&mut budgets, Nanos::ZERO, one, Spend::Message),
            Nanos::ZERO,
            "of another kind"
        );
        assert_eq!(
            spend(&mut budgets, Nanos::from_millis(10_000), one, Spend::Stream),
            Nanos::ZERO
        );
    }

    #[test]
    fn new_keys_at_one_address_are_no_new_budget() {
        let mut budgets = Budgets::default();
        let all: u64 = (0..100)
            .map(|key| streams_at_once(&mut budgets, spender(key, false)))
            .sum();
        assert!(all <= STRANGERS_PER_SITE * bounds::STREAMS_BURST, "{all}");
        let validator = spender(1000, true);
        assert_eq!(
            streams_at_once(&mut budgets, validator),
            bounds::STREAMS_BURST,
            "its neighbours cost it nothing"
        );
    }

    #[test]
    fn strangers_of_many_sites_are_no_new_budget_for_the_core() {
        let mut budgets = Budgets::default();
        let at = |site: u8, key: u64| Spender {
            peer: peer(key),
            origin: PeerOrigin::Site(Site::of(IpAddr::from([10, 0, site, 1]))),
        };
        let all: u64 = (0..100)
            .map(|site| streams_at_once(&mut budgets, at(site, u64::from(site))))
            .sum();
        assert!(all <= bounds::STRANGERS_TOGETHER * bounds::STREAMS_BURST, "{all}");
    }

    #[test]
    fn what_a_configured_full_node_has_its_neighbours_cannot_spend() {
        let mut budgets = Budgets::default();
        for key in 0..100 {
            streams_at_once(&mut budgets, spender(key, false));
        }
        let listed = Spender {
            peer: peer(200),
            origin: PeerOrigin::Listed(peer(200)),
        };
        assert_eq!(streams_at_once(&mut budgets, listed), bounds::STREAMS_BURST);
    }

    #[test]
    fn new_keys_of_one_validator_are_no_new_budget() {
        let mut budgets = Budgets::default();
        let one = spender(1, true);
        assert_eq!(streams_at_once(&mut budgets, one), bounds::STREAMS_BURST);
        let again = Spender { peer: peer(2), ..one };
        assert_eq!(streams_at_once(&mut budgets, again), 0);
    }

    #[test]
    fn what_is_not_done_costs_nothing() {
        let mut budgets = Budgets::default();
        let one = spender(1, false);
        let much = Spend::Serving { bytes: 100 << 30 };
        assert!(spend(&mut budgets, Nanos::ZERO, one, much) > Nanos::ZERO);
        one.payers()
            .for_each(|payer| budgets.give_back(Nanos::ZERO, payer, much));
        assert_eq!(
            spend(&mut budgets, Nanos::ZERO, one, Spend::Serving { bytes: 1 }),
            Nanos::ZERO
        );
    }

    #[test]
    fn memory_for_budgets_is_bounded_and_who_owes_is_remembered() {
        let mut budgets = Budgets::default();
        let debtor = spender(0, true);
        let owed = spend(&mut budgets, Nanos::ZERO, debtor, Spend::Serving { bytes: 100 << 30 });
        // A nanosecond apart, so that nobody has back what it spent.
        let mut now = Nanos::ZERO;
        for key in 1..3 * bounds::PURSES_MAX as u64 {
            now = Nanos(key);
            spend(&mut budgets, now, spender(key, true), Spend::Message);
            assert!(budgets.purses.len() <= bounds::PURSES_MAX);
        }
        assert!(owed > now, "it still owes");
        assert!(spend(&mut budgets, now, debtor, Spend::Serving { bytes: 0 }) > Nanos::ZERO);
    }
}
