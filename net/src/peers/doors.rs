//! This file knows which connections may come in: it caps handshakes and connections, of each site and of all.
//!
//! ```text
//!   knock ─▶ Enter ─▶ (TLS, hellos: at most `bounds::HANDSHAKE`) ─▶ introduced ─▶ (the connection's life) ─▶ left
//! ```
//! A connection that never says who it is holds its entry until the deadline, and may then come again. With a few
//! addresses, or with one behind a validator's own NAT, strangers can so hold all entries there are.
//!
//! So each configured peer has an entry of its own. We know the peer by the address at which we find it when we dial,
//! port included, because a node dials from the port it listens on. It must prove that address, and has a rate of its
//! own.
//!
//! Keeps: the caps of [`bounds`] hold for all handshakes, and for the handshakes and connections of each site. Every
//! handshake in a common entry is counted at its site.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use ultramarine_types::Nanos;

use crate::bounds;
use crate::peers::origin::Site;
use crate::peers::pace::Bucket;

/// What to do with a new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Knock {
    /// Let it in. It is counted.
    Enter,
    /// Let it prove first that it receives at its address.
    Prove,
    Refuse,
}

#[derive(Debug)]
struct Here {
    handshakes: usize,
    connections: usize,
    /// Rate of completed handshakes. Only those count, because only they prove the address; so a spoofed source address
    /// cannot exhaust the real owner's allowance.
    arrivals: Bucket,
}

#[derive(Debug)]
struct Found {
    /// Where the peer was found last.
    address: SocketAddr,
    /// Rate of handshakes in the peer's own entry, however they end. Their address was proven at the start.
    handshakes: Bucket,
}

/// Handshakes and connections by site.
#[derive(Debug, Default)]
pub struct Doors {
    handshakes: usize,
    sites: BTreeMap<Site, Here>,
    /// Configured peers by their names.
    found: BTreeMap<String, Found>,
    /// Handshakes in progress in the entries of configured peers.
    expected: BTreeSet<SocketAddr>,
}

/// What a connection occupies.
#[derive(Clone, Copy, Debug)]
enum Entry {
    /// One of the entries of its site.
    Common(Site),
    /// The own entry of a configured peer.
    Own(SocketAddr),
}

impl Doors {
    /// Learns the address of a configured peer.
    pub fn find(&mut self, now: Nanos, name: &str, address: SocketAddr) {
        let address = canonical(address);
        match self.found.get_mut(name) {
            Some(found) => found.address = address,
            None => {
                let handshakes = Bucket::new(bounds::EXPECTED_PER_SECOND, bounds::EXPECTED_BURST, now);
                self.found.insert(name.to_owned(), Found { address, handshakes });
            }
        }
    }

    /// Judges a new connection, and counts it if it may enter. `proven`: it has proven its address.
    fn knock(&mut self, now: Nanos, address: SocketAddr, proven: bool) -> Result<Entry, Knock> {
        let (address, site) = (canonical(address), Site::of(address.ip()));
        match self.judge(now, site, proven) {
            Knock::Enter => {
                self.enter(now, site);
                Ok(Entry::Common(site))
            }
            Knock::Refuse if !self.expected.contains(&address) => {
                let mut here = self.found.values_mut().filter(|found| found.address == address);
                let found = here.find(|found| !found.handshakes.is_in_debt(now));
                let found = found.ok_or(Knock::Refuse)?;
                if !proven {
                    return Err(Knock::Prove);
                }
                found.handshakes.take(now, 1);
                self.expected.insert(address);
                Ok(Entry::Own(address))
            }
            other => Err(other),
        }
    }

    /// Whether one of the common entries is free.
    ///
    /// Beyond half of a ceiling on handshakes an address must be proven. So a spoofed source address cannot fill its
    /// owner's entries.
    fn judge(&self, now: Nanos, site: Site, proven: bool) -> Knock {
        let mut handshakes_here = 0;
        if let Some(here) = self.sites.get(&site) {
            if here.handshakes >= bounds::HANDSHAKES_PER_ADDRESS_MAX
                || here.connections >= bounds::CONNECTIONS_PER_ADDRESS_MAX
                || here.arrivals.is_in_debt(now)
            {
                return Knock::Refuse;
            }
            handshakes_here = here.handshakes;
        }
        if self.handshakes >= bounds::HANDSHAKES_MAX {
            return Knock::Refuse;
        }
        let crowded =
            self.handshakes >= bounds::HANDSHAKES_MAX / 2 || handshakes_here >= bounds::HANDSHAKES_PER_ADDRESS_MAX / 2;
        if crowded && !proven {
            return Knock::Prove;
        }
        Knock::Enter
    }

    fn enter(&mut self, now: Nanos, site: Site) {
        self.make_room(now);
        let here = self.sites.entry(site).or_insert_with(|| Here {
            handshakes: 0,
            connections: 0,
            arrivals: Bucket::new(bounds::ARRIVALS_PER_SECOND, bounds::ARRIVALS_BURST, now),
        });
        here.handshakes += 1;
        here.connections += 1;
        self.handshakes += 1;
        self.check(site);
    }

    /// Every count stays within its ceiling.
    fn check(&self, site: Site) {
        assert!(self.handshakes <= bounds::HANDSHAKES_MAX, "handshakes are bounded");
        if let Some(here) = self.sites.get(&site) {
            assert!(
                here.handshakes <= bounds::HANDSHAKES_PER_ADDRESS_MAX,
                "handshakes of one site are bounded"
            );
            assert!(
                here.connections <= bounds::CONNECTIONS_PER_ADDRESS_MAX,
                "connections of one site are bounded"
            );
            assert!(
                here.handshakes <= here.connections,
                "a handshake counts as a connection"
            );
        }
        if cfg!(test) {
            let here: usize = self.sites.values().map(|here| here.handshakes).sum();
            assert_eq!(self.handshakes, here, "every handshake is counted at its site");
        }
    }

    /// A handshake is over, in whatever way. `proven`: the handshake has proven the address.
    fn introduced(&mut self, now: Nanos, entry: Entry, proven: bool) {
        let site = match entry {
            Entry::Common(site) => site,
            Entry::Own(address) => {
                self.expected.remove(&address);
                return;
            }
        };
        self.handshakes -= 1;
        if let Some(here) = self.sites.get_mut(&site) {
            here.handshakes -= 1;
            if proven {
                here.arrivals.take(now, 1);
            }
        }
        self.check(site);
    }

    /// A connection is gone.
    fn left(&mut self, now: Nanos, entry: Entry) {
        let Entry::Common(site) = entry else { return };
        if let Some(here) = self.sites.get_mut(&site) {
            here.connections -= 1;
            if here.connections == 0 && here.arrivals.is_full(now) {
                self.sites.remove(&site);
            }
        }
        self.check(site);
    }

    /// Forgets sites without connections whose rate is unused. If there is none, forgets the one that was quiet
    /// longest.
    fn make_room(&mut self, now: Nanos) {
        if self.sites.len() < bounds::SITES_MAX {
            return;
        }
        self.sites
            .retain(|_, here| here.connections > 0 || !here.arrivals.is_full(now));
        if self.sites.len() >= bounds::SITES_MAX {
            let empty = self.sites.iter().filter(|(_, here)| here.connections == 0);
            let quiet = empty
                .min_by_key(|(_, here)| here.arrivals.used())
                .map(|(site, _)| *site);
            if let Some(quiet) = quiet {
                self.sites.remove(&quiet);
            }
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A connection that was let in. It is counted until this is dropped.
#[derive(Debug)]
pub struct Visit {
    doors: Rc<RefCell<Doors>>,
    entry: Entry,
    introduced: bool,
    left: Nanos,
}

impl Visit {
    /// Asks for entry; a visit if it is granted.
    pub fn begin(doors: &Rc<RefCell<Doors>>, now: Nanos, address: SocketAddr, proven: bool) -> Result<Self, Knock> {
        let entry = doors.borrow_mut().knock(now, address, proven)?;
        Ok(Self {
            doors: doors.clone(),
            entry,
            introduced: false,
            left: now,
        })
    }

    /// The handshake is over. `proven`: TLS was completed.
    pub fn introduced(&mut self, now: Nanos, proven: bool) {
        if !self.introduced {
            self.introduced = true;
            self.doors.borrow_mut().introduced(now, self.entry, proven);
        }
    }

    /// The connection is gone.
    pub fn end(mut self, now: Nanos) {
        self.left = now;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let left = self.left;
        self.introduced(left, false);
        self.doors.borrow_mut().left(left, self.entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any port of an address.
    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 1000))
    }

    fn doors() -> Rc<RefCell<Doors>> {
        Rc::new(RefCell::new(Doors::default()))
    }

    #[test]
    fn a_site_has_few_handshakes_until_they_are_over() {
        let doors = doors();
        let now = Nanos::ZERO;
        let mut visits: Vec<Visit> = (0..bounds::HANDSHAKES_PER_ADDRESS_MAX)
            .map(|_| Visit::begin(&doors, now, at(1), true).expect("an entry"))
            .collect();
        assert_eq!(Visit::begin(&doors, now, at(1), true).err(), Some(Knock::Refuse));
        assert!(Visit::begin(&doors, now, at(2), true).is_ok());
        visits[0].introduced(now, true);
        assert!(Visit::begin(&doors, now, at(1), true).is_ok(), "its handshake is over");
        visits.clear();
        assert_eq!(doors.borrow().handshakes, 0);
    }

    #[test]
    fn a_spoofed_address_takes_half_of_its_owners_entries_at_most() {
        let doors = doors();
        let now = Nanos::ZERO;
        let enter = |proven| Visit::begin(&doors, now, at(1), proven);
        let half = bounds::HANDSHAKES_PER_ADDRESS_MAX / 2;
        let _forged: Vec<Visit> = (0..half).map(|_| enter(false).expect("an entry")).collect();
        assert_eq!(enter(false).err(), Some(Knock::Prove));
        assert!(enter(true).is_ok(), "the owner comes in");
    }

    #[test]
    fn all_entries_are_bounded_and_half_of_them_are_for_proven_addresses() {
        let doors = doors();
        let now = Nanos::ZERO;
        let mut visits = Vec::new();
        for number in 0..bounds::HANDSHAKES_MAX {
            let address = at(u8::try_from(number).expect("small"));
            if number >= bounds::HANDSHAKES_MAX / 2 {
                assert_eq!(Visit::begin(&doors, now, address, false).err(), Some(Knock::Prove));
            }
            visits.push(Visit::begin(&doors, now, address, true).expect("an entry"));
        }
        assert_eq!(Visit::begin(&doors, now, at(255), true).err(), Some(Knock::Refuse));
    }

    #[test]
    fn a_configured_peer_has_an_entry_whatever_strangers_hold() {
        let doors = doors();
        let now = Nanos::ZERO;
        let peer = SocketAddr::from(([10, 0, 0, 1], 7000));
        doors.borrow_mut().find(now, "peer", peer);
        let here = |_| Visit::begin(&doors, now, at(1), true).expect("an entry");
        let _beside_it: Vec<Visit> = (0..bounds::HANDSHAKES_PER_ADDRESS_MAX).map(here).collect();
        let enter = |address, proven| Visit::begin(&doors, now, address, proven);
        assert_eq!(enter(peer, false).err(), Some(Knock::Prove));
        let mut visit = enter(peer, true).expect("its own entry");
        assert_eq!(enter(peer, true).err(), Some(Knock::Refuse), "one at a time");
        assert_eq!(enter(at(1), true).err(), Some(Knock::Refuse), "another port is not it");
        visit.introduced(now, true);
        drop(enter(peer, true).expect("the entry is free"));
        drop(enter(peer, true).expect("and free again"));
        // The peer is found elsewhere: its entry goes with it.
        doors.borrow_mut().find(now, "peer", at(9));
        assert_eq!(enter(peer, true).err(), Some(Knock::Refuse));
        let elsewhere = |number| enter(at(10 + number), true).expect("an entry");
        let all = u8::try_from(bounds::HANDSHAKES_MAX - bounds::HANDSHAKES_PER_ADDRESS_MAX).expect("few");
        let _everywhere: Vec<Visit> = (0..all).map(elsewhere).collect();
        assert_eq!(enter(at(2), true).err(), Some(Knock::Refuse));
        assert!(enter(at(9), true).is_ok());
    }

    #[test]
    fn a_site_that_comes_and_goes_is_held_to_a_rate() {
        let doors = doors();
        let mut now = Nanos::ZERO;
        let come_and_go = |now: Nanos, proven: bool| {
            let mut visit = Visit::begin(&doors, now, at(1), true)?;
            visit.introduced(now, proven);
            visit.end(now);
            Ok::<_, Knock>(())
        };
        for _ in 0..10 * bounds::ARRIVALS_BURST {
            assert_eq!(come_and_go(now, false), Ok(()), "a spoofed address");
        }
        for _ in 0..=bounds::ARRIVALS_BURST {
            assert_eq!(come_and_go(now, true), Ok(()));
        }
        assert_eq!(come_and_go(now, true), Err(Knock::Refuse));
        now = now + Nanos::from_millis(1_000);
        assert_eq!(come_and_go(now, true), Ok(()));
    }

    #[test]
    fn a_configured_peers_own_entry_is_held_to_a_rate() {
        let doors = doors();
        let peer = SocketAddr::from(([10, 0, 0, 1], 7000));
        let now = Nanos::ZERO;
        doors.borrow_mut().find(now, "peer", peer);
        let here = |_| Visit::begin(&doors, now, at(1), true).expect("an entry");
        let _beside_it: Vec<Visit> = (0..bounds::HANDSHAKES_PER_ADDRESS_MAX).map(here).collect();
        let enter = |now, proven| Visit::begin(&doors, now, peer, proven).map(|visit| visit.end(now));
        for _ in 0..10 * bounds::EXPECTED_BURST {
            assert_eq!(enter(now, false), Err(Knock::Prove), "a spoofed address takes nothing");
        }
        // One after the other, and each is over at once.
        for _ in 0..=bounds::EXPECTED_BURST {
            assert_eq!(enter(now, true), Ok(()));
        }
        for proven in [false, true] {
            assert_eq!(enter(now, proven), Err(Knock::Refuse));
        }
        doors.borrow_mut().find(now, "peer", at(9));
        doors.borrow_mut().find(now, "peer", peer);
        assert_eq!(enter(now, true), Err(Knock::Refuse), "another lookup brings nothing");
        let later = Nanos::from_millis(1_000);
        assert_eq!(enter(later, true), Ok(()));
        assert_eq!(enter(later, true), Err(Knock::Refuse));
    }

    #[test]
    fn memory_for_sites_is_bounded() {
        let doors = doors();
        for number in 0..2 * bounds::SITES_MAX as u32 {
            let address = SocketAddr::from((number.to_be_bytes(), 1000));
            let mut visit = Visit::begin(&doors, Nanos::ZERO, address, true).expect("an entry");
            visit.introduced(Nanos::ZERO, true);
            visit.end(Nanos::ZERO);
        }
        assert!(doors.borrow().sites.len() <= bounds::SITES_MAX);
    }
}
