//! This file knows how connections begin: we accept them within caps, and dial configured peers again for ever.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};
use ultramarine_types::{Nanos, PeerId};

use crate::bounds;
use crate::connection::{Parting, Side, live, meet};
use crate::hub::Hub;
use crate::peers::doors::{Knock, Visit};
use crate::peers::identity;
use crate::peers::origin::Site;
use crate::wire::hello::Goodbye;

/// How often we look whether a peer that dialed us is still connected.
const LOOK: Duration = Duration::from_millis(200);
/// After a connection that lived this long, the next dial starts without a wait.
const GOOD: Duration = Duration::from_secs(2);

/// A peer that cannot be reached for this long is worth a warning. Before that it may be starting, as we are.
const UNREACHED: Nanos = Nanos::from_millis(30_000);

/// Where to find a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerConfig {
    /// `host:port`; looked up again on every dial.
    pub address: String,
    /// The key that must answer there, if it is known.
    pub peer: Option<PeerId>,
}

/// Why a dial made no connection that lasts.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum DialError {
    #[error("the name lookup took too long")]
    LookupTimedOut,
    #[error("the name lookup failed: {0}")]
    Lookup(String),
    #[error("the name has no address of our socket's family")]
    Family,
    #[error("the handshake took too long")]
    HandshakeTimedOut,
    /// In the words of QUIC or the operating system.
    #[error("{0}")]
    Transport(String),
    #[error("{0}")]
    Parted(Parting),
}

impl DialError {
    /// Whether nodes that start and stop bring it about.
    const fn is_usual(&self) -> bool {
        match self {
            Self::Parted(why) => why.is_usual(),
            _ => true,
        }
    }

    /// Whether one line in the log is enough for both.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Parted(why), Self::Parted(other)) => why.is_like(*other),
            _ => self == other,
        }
    }
}

/// What the log says already about a peer that cannot be reached.
struct Complaint {
    why: DialError,
    since: Nanos,
    warned: bool,
}

/// Logs one line for each kind of failure, and a warning if it is unusual or lasts.
fn complain(complaint: &mut Option<Complaint>, address: &str, why: DialError, now: Nanos) {
    let since = complaint.as_ref().map_or(now, |before| before.since);
    let text = why.to_string();
    match complaint {
        Some(before) if before.why.is_like(&why) => {}
        _ => {
            let is_usual = why.is_usual();
            if is_usual {
                tracing::info!(%address, "no connection yet: {text}; trying on");
            } else {
                tracing::warn!(%address, "no connection: {text}; trying on");
            }
            let warned = !is_usual || complaint.as_ref().is_some_and(|before| before.warned);
            *complaint = Some(Complaint { why, since, warned });
        }
    }
    if let Some(complaint) = complaint
        && !complaint.warned
        && now.since(since) >= UNREACHED
    {
        complaint.warned = true;
        let seconds = UNREACHED.0 / 1_000_000_000;
        tracing::warn!(%address, "no connection for {seconds} s: {text}; trying on");
    }
}

/// Accepts connections until the endpoint closes.
pub(crate) async fn accept(hub: Rc<Hub>, endpoint: quinn::Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let address = incoming.remote_address();
        let proven = incoming.remote_address_validated();
        let site = Site::of(address.ip());
        let mut visit = match Visit::begin(&hub.doors, hub.now(), address, proven) {
            Ok(visit) => visit,
            Err(Knock::Prove) => {
                let _ = incoming.retry();
                continue;
            }
            Err(Knock::Refuse | Knock::Enter) => {
                incoming.refuse();
                continue;
            }
        };
        let Ok(connecting) = incoming.accept() else { continue };
        let its_hub = hub.clone();
        hub.spawn(async move {
            let hub = its_hub;
            // One deadline covers both TLS and hellos.
            let deadline = Instant::now() + bounds::HANDSHAKE;
            if let Ok(Ok(connection)) = timeout_at(deadline, connecting).await {
                let met = meet(&hub, connection, Side::Accepted { site }, deadline).await;
                visit.introduced(hub.now(), true);
                match met {
                    Ok(met) => {
                        live(hub.clone(), met).await;
                    }
                    Err(why) if why.is_for_operators() && hub.says_refusal() => {
                        tracing::warn!(%address, "refused: {why}")
                    }
                    Err(why) => tracing::debug!(%address, "refused: {why}"),
                }
            }
            visit.end(hub.now());
        });
    }
}

/// Keeps a connection to a configured peer, for ever.
pub(crate) async fn keep(hub: Rc<Hub>, endpoint: quinn::Endpoint, config: PeerConfig) {
    let mut backoff = Backoff::default();
    // Which of its addresses a name is dialed at.
    let mut turn = 0usize;
    let mut known = config.peer;
    let mut complaint: Option<Complaint> = None;
    loop {
        if known.is_some_and(|peer| hub.session(&peer).is_some()) {
            // The peer dialed us first, or the better of two connections is up.
            backoff.reset();
            complaint = None;
            sleep(LOOK).await;
            continue;
        }
        let started = hub.now();
        let failure = match dial(&hub, &endpoint, &config.address, turn).await {
            Ok(connection) => {
                let answered = identity::peer_of(&connection);
                if let (None, Some(answered)) = (config.peer, answered) {
                    hub.list(&config.address, answered);
                }
                known = known.or(answered);
                let deadline = Instant::now() + bounds::HANDSHAKE;
                let side = Side::Dialed { wanted: config.peer };
                match meet(&hub, connection, side, deadline).await {
                    Ok(met) => {
                        let theirs = live(hub.clone(), met).await;
                        if hub.now().since(started).as_duration() >= GOOD {
                            backoff.reset();
                            complaint = None;
                        }
                        theirs
                            .filter(|why| why.is_refusal())
                            .map(|why| DialError::Parted(Parting::Theirs(why)))
                    }
                    // Our own key answered. We saw that ourselves, so we never dial this address again.
                    Err(Parting::Ours(Goodbye::Myself)) => {
                        tracing::debug!(address = %config.address, "{}: not dialed again", Goodbye::Myself);
                        return;
                    }
                    Err(Parting::Ours(Goodbye::Duplicate) | Parting::Theirs(Goodbye::Duplicate)) => None,
                    Err(why) => Some(DialError::Parted(why)),
                }
            }
            Err(why) => Some(why),
        };
        if hub.context.halt.is_stopped() {
            // The endpoint is closing: the failure says nothing about the peer.
            return;
        }
        if let Some(why) = failure {
            turn = turn.wrapping_add(1);
            hub.metrics.dials_failed.inc();
            complain(&mut complaint, &config.address, why, hub.now());
        }
        sleep(backoff.next(rand::random()).as_duration()).await;
    }
}

/// Dials one of the addresses of a name: after each failure the next one has its turn.
async fn dial(hub: &Hub, endpoint: &quinn::Endpoint, name: &str, turn: usize) -> Result<quinn::Connection, DialError> {
    let looked_up = timeout(bounds::HANDSHAKE, tokio::net::lookup_host(name)).await;
    let addresses = looked_up.map_err(|_| DialError::LookupTimedOut)?;
    let addresses = addresses.map_err(|error| DialError::Lookup(error.to_string()))?;
    let ours = endpoint.local_addr().map_err(transport)?;
    let address = choose(addresses, ours, turn).ok_or(DialError::Family)?;
    hub.doors.borrow_mut().find(hub.now(), name, address);
    // TLS asks for a name; we compare keys.
    let connecting = endpoint.connect(address, "ultramarine").map_err(transport)?;
    match timeout(bounds::HANDSHAKE, connecting).await {
        Ok(connection) => connection.map_err(transport),
        Err(_) => Err(DialError::HandshakeTimedOut),
    }
}

fn transport(error: impl std::fmt::Display) -> DialError {
    DialError::Transport(error.to_string())
}

/// How long to wait before the next dial: it doubles from 100 ms to 5 s. A quarter of it is up to chance, so that nodes
/// that fell together do not dial together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure; `chance` is any number.
    pub fn next(&mut self, chance: u64) -> Nanos {
        let whole_ms = (100u64 << self.failures.min(6)).min(5_000);
        self.failures = self.failures.saturating_add(1);
        Nanos::from_millis(whole_ms - chance % (whole_ms / 4 + 1))
    }

    /// A connection was made.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The address whose turn it is, among those that a socket bound to `ours` can send to: those of its own family, then,
/// if it is on all addresses of both families, those of the other.
fn choose(addresses: impl Iterator<Item = SocketAddr>, ours: SocketAddr, turn: usize) -> Option<SocketAddr> {
    let (mut usable, others): (Vec<_>, Vec<_>) = addresses.partition(|address| address.is_ipv4() == ours.is_ipv4());
    if ours.is_ipv6() && ours.ip().is_unspecified() {
        usable.extend(others);
    }
    let turn = turn.checked_rem(usable.len())?;
    usable.get(turn).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_socket_on_all_addresses_reaches_both_families() {
        let (four, six) = ("10.0.0.1:1", "[2001:db8::1]:1");
        for (ours, found, expected) in [
            ("0.0.0.0:1", vec![six, four], Some(four)),
            ("0.0.0.0:1", vec![six], None),
            ("[::]:1", vec![four, six], Some(six)),
            ("[::]:1", vec![four], Some(four)),
            ("[::1]:1", vec![four], None),
            ("[::1]:1", vec![], None),
        ] {
            let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
            let chosen = choose(found.iter().map(|text| parse(text)), parse(ours), 0);
            assert_eq!(chosen, expected.map(parse), "{ours} {found:?}");
        }
    }

    #[test]
    fn every_address_of_a_name_has_its_turn() {
        let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (first, second, other) = (parse("10.0.0.1:1"), parse("10.0.0.2:1"), parse("[2001:db8::1]:1"));
        let chosen = |ours, turn| choose([first, other, second].into_iter(), parse(ours), turn);
        let both: Vec<_> = (0..3).filter_map(|turn| chosen("[::]:1", turn)).collect();
        assert_eq!(both, [other, first, second]);
        let four: Vec<_> = (0..3).filter_map(|turn| chosen("0.0.0.0:1", turn)).collect();
        assert_eq!(four, [first, second, first]);
    }

    proptest! {
        #[test]
        fn a_dial_is_tried_again_for_ever_and_never_in_a_tight_circle(
            chances in proptest::collection::vec(any::<u64>(), 1..100)
        ) {
            let mut backoff = Backoff::default();
            for chance in chances {
                let wait = backoff.next(chance);
                prop_assert!((Nanos::from_millis(75)..=Nanos::from_millis(5_000)).contains(&wait));
            }
        }
    }
}
