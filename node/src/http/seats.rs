//! This file knows who is connected, what each connection is at, and which one gives way when its place is wanted.
//!
//! ```text
//!   Idle ──first byte──▶ Head ──whole──▶ Making ──answer begins──▶ Sending ──last byte handed over──▶ Idle …
//!   evictable            evictable                                 evictable once it has stood still
//! ```
//!
//! An answer of many blobs is a *download*, and only so many are under way. So most connections wait for their caller, and a
//! new caller always finds one that can go. One address has three quarters of the places and of the downloads at most: a
//! reverse proxy is one address and loses little, and a single greedy caller leaves the rest to others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// A reader that took nothing for this long gives its place to a new caller.
const STANDING_STILL: Duration = Duration::from_secs(1);
/// An answer may take longer the more of it was read: a reader of this pace is never cut off.
const READ_BYTES_PER_SECOND_MIN: u64 = 256 * 1024;

/// How long a caller may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Between two requests.
    pub idle: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Without taking a byte of its answer.
    pub stall: Duration,
    /// For a whole answer, if it is read slower than [`READ_BYTES_PER_SECOND_MIN`].
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(75),
            head: Duration::from_secs(5),
            stall: Duration::from_secs(10),
            answer: Duration::from_secs(120),
        }
    }
}

impl Patience {
    /// How often connections must be looked at for none to stay much too long.
    pub fn sweep_interval(&self) -> Duration {
        let shortest = self.idle.min(self.head).min(self.stall).min(self.answer);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// What a connection is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// We said our last word; what the caller still sends is thrown away.
    Parting,
    /// No byte of a request has come, or none since the last answer.
    Idle,
    /// A request's head is arriving.
    Head,
    /// The answer is being sent.
    Sending,
    /// The answer is being made.
    Making,
}

/// Why a connection must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leave {
    /// What it was at.
    pub phase: Phase,
    /// Whether its place was wanted by a new caller; otherwise it took too long.
    pub wanted: bool,
}

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// This address has its share.
    Address,
    /// Everybody is at work.
    All,
}

/// All places.
#[derive(Debug)]
pub struct Seats {
    places_max: usize,
    downloads_max: usize,
    patience: Patience,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    taken: HashMap<u64, Record>,
    /// Downloads under way, by address; an address without one has no entry.
    downloads: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Record {
    who: IpAddr,
    phase: Phase,
    /// Since when it is at this.
    since: Instant,
    /// When it last took a byte.
    moved: Instant,
    sent_bytes: u64,
    leave: oneshot::Sender<Leave>,
}

/// Three quarters, and at least one.
const fn share(all: usize) -> usize {
    all - all / 4
}

/// Whom we take for one caller: an IPv4 address, or an IPv6 network of 64 bits, as a host has many addresses of one.
fn caller(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

impl Seats {
    /// Places for so many connections and downloads.
    pub fn new(places_max: usize, downloads_max: usize, patience: Patience) -> Arc<Self> {
        Arc::new(Self {
            places_max,
            downloads_max,
            patience,
            table: Mutex::default(),
        })
    }

    /// Takes a place, if need be that of a connection that can go.
    pub fn enter(
        self: &Arc<Self>,
        peer: IpAddr,
        now: Instant,
    ) -> Result<(Arc<CallerSeat>, oneshot::Receiver<Leave>), Full> {
        let who = caller(peer);
        let mut table = self.lock();
        if table.taken.values().filter(|record| record.who == who).count() >= share(self.places_max) {
            table.evict(now, |record| record.who == who).ok_or(Full::Address)?;
        }
        if table.taken.len() >= self.places_max {
            table.evict(now, |_| true).ok_or(Full::All)?;
        }
        let (leave, left) = oneshot::channel();
        let id = table.next;
        table.next += 1;
        table.taken.insert(
            id,
            Record {
                who,
                phase: Phase::Idle,
                since: now,
                moved: now,
                sent_bytes: 0,
                leave,
            },
        );
        table.check(self);
        drop(table);
        let seats = Arc::clone(self);
        Ok((Arc::new(CallerSeat { id, who, seats }), left))
    }

    /// Ends the connections that took too long.
    pub fn sweep(&self, now: Instant) {
        let mut table = self.lock();
        let late: Vec<u64> = table
            .taken
            .iter()
            .filter(|(_, record)| record.is_late(&self.patience, now))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            table.send_away(id, false);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Every change leaves the table whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Places and downloads stay within their bounds. Called where one is taken.
    fn check(&self, seats: &Seats) {
        assert!(self.taken.len() <= seats.places_max, "connections are bounded");
        assert!(
            self.downloads.values().sum::<usize>() <= seats.downloads_max,
            "downloads are bounded"
        );
    }

    /// Checks the rest too: what one address holds, and that nothing is left of a download that is over.
    #[cfg(test)]
    fn check_whole(&self, seats: &Seats) {
        self.check(seats);
        for own in self.downloads.values() {
            assert!(
                (1..=share(seats.downloads_max)).contains(own),
                "one address has its share of the downloads"
            );
        }
        let mut of_address: HashMap<IpAddr, usize> = HashMap::new();
        for record in self.taken.values() {
            *of_address.entry(record.who).or_default() += 1;
        }
        let most = of_address.values().max().copied().unwrap_or_default();
        assert!(
            most <= share(seats.places_max),
            "one address has its share of the places"
        );
    }

    /// Sends away the connection that is missed least: of the address that has most, and there the longest waiting. One that has
    /// only just come is not idle, whatever it looks like: its request may be there, unread.
    fn evict(&mut self, now: Instant, among: impl Fn(&Record) -> bool) -> Option<()> {
        let mut of_address: HashMap<IpAddr, usize> = HashMap::new();
        for record in self.taken.values() {
            *of_address.entry(record.who).or_default() += 1;
        }
        let can_go = self
            .taken
            .iter()
            .filter(|(_, record)| among(record) && record.can_go(now));
        let (id, _) = can_go.min_by_key(|(_, record)| {
            let others = of_address.get(&record.who).copied().unwrap_or_default();
            let class = match record.phase {
                Phase::Parting => 0,
                Phase::Idle | Phase::Head => 1,
                Phase::Sending | Phase::Making => 2,
            };
            (std::cmp::Reverse(others), class, record.since)
        })?;
        let id = *id;
        self.send_away(id, true);
        Some(())
    }

    fn send_away(&mut self, id: u64, wanted: bool) {
        if let Some(record) = self.taken.remove(&id) {
            // A connection that has just ended needs no telling.
            let _ = record.leave.send(Leave {
                phase: record.phase,
                wanted,
            });
        }
    }
}

impl Record {
    fn can_go(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Parting | Phase::Idle | Phase::Head => true,
            Phase::Sending => now.saturating_duration_since(self.moved) >= STANDING_STILL,
            Phase::Making => false,
        }
    }

    fn is_late(&self, patience: &Patience, now: Instant) -> bool {
        let at_it = now.saturating_duration_since(self.since);
        match self.phase {
            Phase::Idle => at_it >= patience.idle,
            Phase::Head => at_it >= patience.head,
            Phase::Sending => {
                let earned = Duration::from_secs(self.sent_bytes / READ_BYTES_PER_SECOND_MIN);
                now.saturating_duration_since(self.moved) >= patience.stall || at_it >= patience.answer + earned
            }
            // Both are bounded by those who do them.
            Phase::Parting | Phase::Making => false,
        }
    }
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub struct CallerSeat {
    id: u64,
    who: IpAddr,
    seats: Arc<Seats>,
}

impl CallerSeat {
    /// What the connection is at; `Parting` once it was sent away.
    pub fn phase(&self) -> Phase {
        let table = self.seats.lock();
        table.taken.get(&self.id).map_or(Phase::Parting, |record| record.phase)
    }

    /// The connection is at something else now.
    pub fn turn_to(&self, phase: Phase, now: Instant) {
        self.change(|record| {
            record.phase = phase;
            record.since = now;
            record.moved = now;
            record.sent_bytes = 0;
        });
    }

    /// The caller sent something.
    pub fn heard(&self, now: Instant) {
        if self.phase() == Phase::Idle {
            self.turn_to(Phase::Head, now);
        }
    }

    /// The caller took so much of its answer.
    pub fn took(&self, bytes: usize, now: Instant) {
        self.change(|record| {
            record.moved = now;
            record.sent_bytes += bytes as u64;
        });
    }

    /// Room for a download; `None` while all are taken, or all of this caller.
    pub fn download(&self) -> Option<Download> {
        let mut table = self.seats.lock();
        let all: usize = table.downloads.values().sum();
        let own = table.downloads.get(&self.who).copied().unwrap_or_default();
        if all >= self.seats.downloads_max || own >= share(self.seats.downloads_max) {
            return None;
        }
        table.downloads.insert(self.who, own + 1);
        table.check(&self.seats);
        Some(Download {
            who: self.who,
            seats: Arc::clone(&self.seats),
        })
    }

    fn change(&self, change: impl FnOnce(&mut Record)) {
        self.seats.lock().taken.get_mut(&self.id).map(change);
    }
}

impl Drop for CallerSeat {
    fn drop(&mut self) {
        self.seats.lock().taken.remove(&self.id);
    }
}

/// A download under way; over when dropped.
#[derive(Debug)]
pub struct Download {
    who: IpAddr,
    seats: Arc<Seats>,
}

impl Drop for Download {
    fn drop(&mut self) {
        let mut table = self.seats.lock();
        if let Some(own) = table.downloads.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                table.downloads.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests;
