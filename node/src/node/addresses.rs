//! This file knows the addresses that a node must get before its first tile starts, and says which setting to change.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::config::EmbeddedEngine;

/// An address that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.explain())]
pub struct AddressError {
    address: SocketAddr,
    /// The setting that holds it.
    key: &'static str,
    source: io::Error,
}

impl AddressError {
    fn of(address: SocketAddr, key: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { address, key, source }
    }

    fn explain(&self) -> String {
        let Self { address, key, source } = self;
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                format!("{address} is in use by another process; stop it, or choose another port with {key}")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("{address} is no address of this machine; correct {key}")
            }
            io::ErrorKind::PermissionDenied => {
                format!("{address} may not be bound by this user; choose a port above 1023 with {key}")
            }
            _ => format!("{address}: {source}; see {key}"),
        }
    }
}

/// The listener of the node's own HTTP.
pub fn listen_http(address: SocketAddr) -> Result<TcpListener, AddressError> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(AddressError::of(address, "http.listen"))
}

/// The socket of QUIC.
pub fn bind_network(address: SocketAddr) -> Result<UdpSocket, AddressError> {
    ultramarine_net::endpoint::bind(address).map_err(AddressError::of(address, "network.listen"))
}

/// Says early, and by our settings' names, that the embedded client will not get an address: its own message would name
/// flags of its own.
pub fn check_free(embedded: EmbeddedEngine) -> Result<(), AddressError> {
    let addresses = [
        (embedded.http, "engine.embedded_http"),
        (embedded.auth, "engine.embedded_auth"),
    ];
    for (address, key) in addresses {
        TcpListener::bind(address).map_err(AddressError::of(address, key))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_of_the_embedded_client_is_named_by_its_setting() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let taken = held.local_addr().expect("bound");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let refused = |http, auth| {
            check_free(EmbeddedEngine { http, auth })
                .expect_err("taken")
                .to_string()
        };
        let about_http = refused(taken, any);
        assert!(
            about_http.contains(&taken.to_string()) && about_http.contains("engine.embedded_http"),
            "{about_http}"
        );
        assert!(refused(any, taken).contains("engine.embedded_auth"));
        assert!(check_free(EmbeddedEngine { http: any, auth: any }).is_ok());
    }
}
