//! This file knows who may be connected: each peer once, each validator with few nodes, and full nodes as the operator
//! likes and as far as there are places.
//!
//! | class | place |
//! |---|---|
//! | first node of a validator | its own, always |
//! | second node of a validator | one of [`OTHER_PLACES`], in place of a stranger if need be |
//! | full node that is configured | the same; [`LISTED_PLACES`] of them cannot go to second nodes |
//! | stranger: any other full node | one that nobody else wants |
//!
//! If strangers hold all places, the heaviest give way: of the network with most of them, the site with most, and there
//! the one with the worst record, and then the youngest. That is what Bitcoin Core does with incoming connections
//! (`SelectNodeToEvict` in `src/node/eviction.cpp`): networks cost more than addresses, and addresses more than keys. A
//! newcomer that would only be heavy in its turn has a place now and then: the one with the worst record gives way,
//! then one that has never served us, then the oldest.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::limits::{PEERS_MAX, VALIDATORS_MAX};
use ultramarine_types::{Address, Nanos, PeerId};

use crate::bounds::{self, LISTED_PLACES, OTHER_PLACES};
use crate::peers::origin::{Netgroup, PeerOrigin, Site};
use crate::wire::hello::Goodbye;

/// Which full nodes may be connected, as the operator says. Nodes that a validator attests always may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FullNodes {
    #[default]
    Any,
    /// Those that are configured.
    Listed,
    None,
}

impl FullNodes {
    /// The reason to refuse a peer, if there is one.
    pub fn check(self, guest: &Guest) -> Result<(), Goodbye> {
        match (self, guest.class()) {
            (_, Class::Validator(_)) | (Self::Any, _) | (Self::Listed, Class::Listed) => Ok(()),
            (Self::Listed, Class::Stranger) => Err(Goodbye::Unlisted),
            (Self::None, Class::Listed | Class::Stranger) => Err(Goodbye::NoFullNodes),
        }
    }
}

/// Whether the newer of two connections between the same two processes stays. It does if one side dialed both; else the
/// one that the lower name dialed stays. Both ends come to the same answer.
pub fn newer_stays(ours: &PeerId, theirs: &PeerId, old_dialed_by_us: bool, new_dialed_by_us: bool) -> bool {
    old_dialed_by_us == new_dialed_by_us || new_dialed_by_us == (ours < theirs)
}

/// What counts for a peer's place.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    pub peer: PeerId,
    /// The validator that attests it.
    pub validator: Option<Address>,
    /// Whether it is configured.
    pub is_listed: bool,
    pub site: Site,
    /// Since when it is connected.
    pub since: Nanos,
    /// Points of its score.
    pub points: u64,
    /// Whether it has given us what we asked for.
    pub has_served: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Validator(Address),
    Listed,
    Stranger,
}

impl Guest {
    /// Who stands behind it.
    pub const fn origin(&self) -> PeerOrigin {
        match self.class() {
            Class::Validator(validator) => PeerOrigin::Validator(validator),
            Class::Listed => PeerOrigin::Listed(self.peer),
            Class::Stranger => PeerOrigin::Site(self.site),
        }
    }

    const fn class(&self) -> Class {
        match (self.validator, self.is_listed) {
            (Some(validator), _) => Class::Validator(validator),
            (None, true) => Class::Listed,
            (None, false) => Class::Stranger,
        }
    }
}

/// Gives places, and says who gives way.
///
/// A validator may attest any number of keys, and each has a validator's windows and budgets: so two may be connected
/// at a time. The second is for a stand-in that takes over before the first node's connection is known to be dead.
/// Nodes of validators that are connected stay: if the newest won, three nodes of one validator would push each other
/// out for ever.
#[derive(Debug)]
pub struct Roster {
    /// Places for peers beside the first node of each validator.
    places: usize,
    /// When a stranger last gave way to one with no better claim.
    rotated: Option<Nanos>,
    /// A bug for the simulator to find: nobody ever gives way.
    #[cfg(feature = "planted")]
    pub nobody_gives_way: bool,
}

impl Default for Roster {
    fn default() -> Self {
        Self::new(OTHER_PLACES)
    }
}

impl Roster {
    /// A roster with so many places beside those of validators' first nodes.
    pub const fn new(places: usize) -> Self {
        Self {
            places,
            rotated: None,
            #[cfg(feature = "planted")]
            nobody_gives_way: false,
        }
    }

    /// Finds a place for one more peer beside the connected ones. Returns the stranger that gives way to it, if none is
    /// free.
    pub fn place(
        &mut self,
        now: Nanos,
        connected: impl Iterator<Item = Guest>,
        newcomer: &Guest,
    ) -> Result<Option<PeerId>, Goodbye> {
        let (mut validators, mut strangers) = (BTreeSet::new(), Vec::new());
        let (mut seconds, mut listed, mut siblings) = (0, 0, 0);
        for guest in connected {
            match guest.class() {
                Class::Validator(validator) => {
                    seconds += usize::from(!validators.insert(validator));
                    siblings += usize::from(newcomer.validator == Some(validator));
                }
                Class::Listed => listed += 1,
                Class::Stranger => strangers.push(guest),
            }
        }
        let others = seconds + listed + strangers.len();
        assert!(others <= self.places, "places are bounded");
        if siblings >= bounds::NODES_PER_VALIDATOR_MAX {
            return Err(Goodbye::Crowded);
        }
        let is_full = match newcomer.class() {
            Class::Validator(_) if siblings == 0 => return Ok(None),
            Class::Validator(_) => seconds >= self.places - self.places.min(LISTED_PLACES),
            Class::Listed | Class::Stranger => false,
        };
        if is_full {
            return Err(Goodbye::Full);
        }
        if others < self.places {
            return Ok(None);
        }
        #[cfg(feature = "planted")]
        if self.nobody_gives_way {
            return Err(Goodbye::Full);
        }
        let gone = match newcomer.class() {
            Class::Validator(_) | Class::Listed => Weights::of(&strangers).heaviest(&strangers),
            Class::Stranger => self.for_stranger(now, &strangers, newcomer),
        };
        gone.map(|guest| Some(guest.peer)).ok_or(Goodbye::Full)
    }

    fn for_stranger<'a>(&mut self, now: Nanos, strangers: &'a [Guest], newcomer: &Guest) -> Option<&'a Guest> {
        let weights = Weights::of(strangers);
        let heaviest = weights.heaviest(strangers)?;
        if weights.is_lighter(newcomer.site, heaviest.site) {
            return Some(heaviest);
        }
        if self.rotated.is_some_and(|at| now.since(at) < bounds::ROTATION) {
            return None;
        }
        self.rotated = Some(now);
        let worst = |guest: &&Guest| (guest.points, !guest.has_served, std::cmp::Reverse(guest.since));
        strangers.iter().max_by_key(worst)
    }
}

/// How many strangers each site and each network has.
struct Weights {
    sites: BTreeMap<Site, usize>,
    netgroups: BTreeMap<Netgroup, usize>,
}

impl Weights {
    fn of(strangers: &[Guest]) -> Self {
        let (mut sites, mut netgroups) = (BTreeMap::new(), BTreeMap::new());
        for guest in strangers {
            *sites.entry(guest.site).or_default() += 1;
            *netgroups.entry(guest.site.netgroup()).or_default() += 1;
        }
        Self { sites, netgroups }
    }

    fn netgroup(&self, site: Site) -> usize {
        self.netgroups.get(&site.netgroup()).copied().unwrap_or(0)
    }

    fn site(&self, site: Site) -> usize {
        self.sites.get(&site).copied().unwrap_or(0)
    }

    fn heaviest<'a>(&self, strangers: &'a [Guest]) -> Option<&'a Guest> {
        strangers.iter().max_by_key(|guest| {
            let weight = (self.netgroup(guest.site), self.site(guest.site));
            (weight, guest.points, !guest.has_served, guest.since)
        })
    }

    /// Whether places are shared more evenly if one more of this site takes a place of the other.
    fn is_lighter(&self, site: Site, other: Site) -> bool {
        if site.netgroup() == other.netgroup() {
            self.site(site) + 1 < self.site(other)
        } else {
            self.netgroup(site) + 1 < self.netgroup(other)
        }
    }
}

const _: () = assert!(OTHER_PLACES + VALIDATORS_MAX == PEERS_MAX);

#[cfg(test)]
mod tests;
