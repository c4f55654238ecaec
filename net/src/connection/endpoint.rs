//! This file knows how QUIC is set up: socket, keys, windows, timers.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use quinn_proto::crypto::{CryptoError, HmacKey};
use socket2::{Domain, Protocol, Socket, Type};
use ultramarine_types::canonical::Canonical;

use crate::bounds;
use crate::peers::identity::Identity;

/// Binds the socket for [`crate::run`], asking the kernel for large buffers. Settle the port here: port 0 is chosen
/// by the kernel and can be read back from the socket.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // Best effort: the kernel cuts silently at net.core.{r,w}mem_max, which the node compares with the same at start.
    let _ = socket.set_recv_buffer_size(bounds::SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(bounds::SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // `[::]` serves both families, whatever the machine's default is.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("TLS set-up: {0}")]
    Tls(#[from] rustls::Error),
    /// No cipher suite of TLS fits QUIC.
    #[error(transparent)]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    #[error("QUIC endpoint: {0}")]
    Socket(#[from] io::Error),
}

/// Opens a QUIC endpoint for both directions on one socket. Call it inside the runtime that will drive it.
pub fn open(socket: UdpSocket, identity: &Identity) -> Result<quinn::Endpoint, EndpointError> {
    let server = QuicServerConfig::try_from(identity.server_tls()?)?;
    let client = QuicClientConfig::try_from(identity.client_tls()?)?;
    let transport = Arc::new(transport());

    let mut server = quinn::ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(transport.clone());
    server.max_incoming(bounds::HANDSHAKES_MAX);
    let mut client = quinn::ClientConfig::new(Arc::new(client));
    client.transport_config(transport);

    // Both keys are derived from the node key, so a restarted node recognises connection ids of its last life. It
    // answers them with a stateless reset, and its peers know at once that the connection is gone, not after the idle
    // timeout.
    let reset_key = ResetKey {
        key: identity.derive("ultramarine/quic-reset/2"),
    };
    let [a, b, c, d, e, f, g, h, ..] = identity.derive("ultramarine/quic-connection-id/2");
    let cid_key = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid_key)));
    let _ = config.max_udp_payload_size(bounds::MTU_MAX);

    let runtime = Arc::new(quinn::TokioRuntime);
    let mut endpoint = quinn::Endpoint::new(config, Some(server), socket, runtime)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(bounds::MTU_MAX);
    let mut congestion = quinn::congestion::CubicConfig::default();
    congestion.initial_window(bounds::INITIAL_WINDOW_BYTES);
    transport
        .congestion_controller_factory(Arc::new(congestion))
        .max_concurrent_uni_streams(VarInt::from_u32(bounds::UNI_STREAMS_MAX))
        .max_concurrent_bidi_streams(VarInt::from_u32(bounds::BIDI_STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(bounds::STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(bounds::STRANGER_WINDOW_BYTES))
        .send_window(bounds::SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(Some(discovery))
        // A peer that was not up for the first packet gets the next one after 0.3 s, not after one second.
        .initial_rtt(bounds::INITIAL_RTT)
        .max_idle_timeout(IdleTimeout::try_from(bounds::IDLE).ok())
        .keep_alive_interval(Some(bounds::KEEP_ALIVE));
    transport
}

/// HMAC-SHA-256 for stateless reset tokens (RFC 2104; RFC 9000, section 10.3).
struct ResetKey {
    key: [u8; 32],
}

impl ResetKey {
    fn tag(&self, data: &[u8]) -> [u8; 32] {
        let pad = |byte: u8| {
            let mut block = [byte; 64];
            block.iter_mut().zip(self.key).for_each(|(padded, key)| *padded ^= key);
            block
        };
        let inner = ultramarine_types::canonical::sha256(&[pad(0x36).as_slice(), data].concat());
        ultramarine_types::canonical::sha256(&[pad(0x5c).as_slice(), &inner.0].concat()).0
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out
            .iter_mut()
            .zip(self.tag(data))
            .for_each(|(out, byte)| *out = byte);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // Both are hashed once more, so that the time of the comparison tells nothing about the tag.
        let blind = |tag: &[u8]| {
            Canonical::new("ultramarine/compare/2")
                .bytes(tag)
                .fixed(&self.key)
                .sha256()
        };
        if blind(&self.tag(data)) == blind(signature) {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_tags_are_hmac_sha256() {
        // RFC 4231, test case 2, whose key "Jefe" is padded with zeros as HMAC itself does.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let tag = ResetKey { key }.tag(b"what do ya want for nothing?");
        let known = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(ultramarine_types::Hash(tag).to_string(), format!("0x{known}"));
    }

    #[test]
    fn a_bound_port_can_be_read_back() {
        let socket = bind("127.0.0.1:0".parse().expect("an address")).expect("loopback binds");
        assert_ne!(socket.local_addr().expect("bound").port(), 0);
    }
}
