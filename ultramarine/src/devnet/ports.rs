//! This file knows how to find ports nobody uses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use ultramarine_node::home::network::Addresses;

/// Fresh loopback addresses for `count` nodes. All ports are held until all are found, so that none is handed out
/// twice.
pub fn free(count: usize) -> io::Result<Vec<Addresses>> {
    free_on(Ipv4Addr::LOCALHOST.into(), count)
}

/// The same on another address of this machine.
pub fn free_on(address: IpAddr, count: usize) -> io::Result<Vec<Addresses>> {
    let any = SocketAddr::new(address, 0);
    let mut tcp = Vec::with_capacity(3 * count);
    let mut udp = Vec::with_capacity(count);
    let mut nodes = Vec::with_capacity(count);
    for _ in 0..count {
        let mut listen = || -> io::Result<SocketAddr> {
            let listener = TcpListener::bind(any)?;
            let address = listener.local_addr()?;
            tcp.push(listener);
            Ok(address)
        };
        let (http, engine_http, engine_auth) = (listen()?, listen()?, listen()?);
        let socket = UdpSocket::bind(any)?;
        let quic = socket.local_addr()?;
        udp.push(socket);
        nodes.push(Addresses {
            quic,
            http,
            engine_http,
            engine_auth,
        });
    }
    Ok(nodes)
}

/// Whether everything a node listens on can still be had.
pub fn are_free(addresses: &Addresses) -> bool {
    let Addresses {
        quic,
        http,
        engine_http,
        engine_auth,
    } = addresses;
    UdpSocket::bind(quic).is_ok()
        && [http, engine_http, engine_auth]
            .into_iter()
            .all(|tcp| TcpListener::bind(tcp).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_handed_out_twice() {
        let nodes = free(8).expect("loopback has ports");
        let mut tcp: Vec<SocketAddr> = nodes
            .iter()
            .flat_map(|node| [node.http, node.engine_http, node.engine_auth])
            .collect();
        tcp.sort_unstable();
        tcp.dedup();
        assert_eq!(tcp.len(), 24);
        assert!(
            nodes
                .iter()
                .all(|node| node.quic.ip().is_loopback() && node.quic.port() != 0)
        );
    }

    #[test]
    fn a_taken_port_is_noticed() {
        let node = free(1).expect("loopback has ports").remove(0);
        let _held = TcpListener::bind(node.http).expect("was free");
        assert!(!are_free(&node));
    }
}
