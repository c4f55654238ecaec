//! This file knows how connections come about: accepted within caps, dialed again for ever.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::bounds;
use crate::connection::live;
use crate::hello::Goodbye;
use crate::hub::Hub;
use crate::peers::{Backoff, PeerConfig};

/// How often it is looked whether a peer that dialed us is still there.
const LOOK: Duration = Duration::from_millis(200);
/// A connection that lived this long was a good one: the next dial starts without a wait.
const GOOD: Duration = Duration::from_secs(2);

/// Connections and handshakes by address.
#[derive(Debug, Default)]
struct Doors {
    handshakes: usize,
    connections: BTreeMap<IpAddr, usize>,
}

/// Accepts connections until the endpoint closes.
pub(crate) async fn accept(hub: Rc<Hub>, endpoint: quinn::Endpoint) {
    let doors = Rc::new(RefCell::new(Doors::default()));
    while let Some(incoming) = endpoint.accept().await {
        let address = incoming.remote_address().ip();
        let (handshakes, here) = {
            let doors = doors.borrow();
            (doors.handshakes, doors.connections.get(&address).copied().unwrap_or(0))
        };
        if handshakes >= bounds::HANDSHAKES_MAX || here >= bounds::CONNECTIONS_PER_ADDRESS_MAX {
            incoming.refuse();
            continue;
        }
        if handshakes >= bounds::HANDSHAKES_MAX / 2 && !incoming.remote_address_validated() {
            let _ = incoming.retry();
            continue;
        }
        let Ok(connecting) = incoming.accept() else { continue };
        {
            let mut doors = doors.borrow_mut();
            doors.handshakes += 1;
            *doors.connections.entry(address).or_insert(0) += 1;
        }
        let (its_hub, doors) = (hub.clone(), doors.clone());
        hub.spawn(async move {
            let hub = its_hub;
            let connection = timeout(bounds::HANDSHAKE, connecting).await;
            doors.borrow_mut().handshakes -= 1;
            if let Ok(Ok(connection)) = connection
                && let Err(why) = live(hub, connection, false, None).await
            {
                tracing::debug!(%address, "refused: {why}");
            }
            let mut doors = doors.borrow_mut();
            if let Some(count) = doors.connections.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    doors.connections.remove(&address);
                }
            }
        });
    }
}

/// Keeps a connection to a configured peer, for ever.
pub(crate) async fn keep(hub: Rc<Hub>, endpoint: quinn::Endpoint, config: PeerConfig) {
    let mut backoff = Backoff::default();
    let mut known = config.peer;
    let mut logged: Option<String> = None;
    loop {
        if known.is_some_and(|peer| hub.link(&peer).is_some()) {
            // It dialed us first, or the better connection is up.
            backoff.reset();
            logged = None;
            sleep(LOOK).await;
            continue;
        }
        let started = hub.now();
        let failure = match dial(&endpoint, &config.address).await {
            Ok(connection) => {
                known = known.or_else(|| crate::identity::peer_of(&connection));
                match live(hub.clone(), connection, true, config.peer).await {
                    Ok(_) if hub.now().since(started).as_duration() >= GOOD => {
                        backoff.reset();
                        logged = None;
                        None
                    }
                    Ok(_) | Err(Goodbye::Duplicate) => None,
                    Err(Goodbye::Myself) => {
                        tracing::debug!(address = %config.address, "{}: not dialed again", Goodbye::Myself);
                        return;
                    }
                    Err(why) => Some(why.to_string()),
                }
            }
            Err(why) => Some(why),
        };
        if let Some(why) = failure {
            hub.metrics.dials_failed.inc();
            if logged.as_ref() != Some(&why) {
                tracing::warn!(address = %config.address, "no connection: {why}; trying on");
                logged = Some(why);
            }
        }
        sleep(backoff.next(rand::random()).as_duration()).await;
    }
}

async fn dial(endpoint: &quinn::Endpoint, address: &str) -> Result<quinn::Connection, String> {
    let looked_up = timeout(bounds::HANDSHAKE, tokio::net::lookup_host(address)).await;
    let addresses = looked_up.map_err(|_| "the name lookup took too long".to_owned())?;
    let ours = endpoint.local_addr().map_err(|error| error.to_string())?;
    let address = addresses
        .map_err(|error| format!("the name lookup failed: {error}"))?
        .find(|address| address.is_ipv4() == ours.is_ipv4())
        .ok_or_else(|| "the name has no address of our socket's family".to_owned())?;
    // The name is for TLS's sake only: keys are compared, not names.
    let connecting = endpoint
        .connect(address, "ultramarine")
        .map_err(|error| error.to_string())?;
    match timeout(bounds::HANDSHAKE, connecting).await {
        Ok(connection) => connection.map_err(|error| error.to_string()),
        Err(_) => Err("the handshake took too long".to_owned()),
    }
}
