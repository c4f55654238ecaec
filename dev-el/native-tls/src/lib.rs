//! The interface of the `native-tls` crate with no TLS behind it: every handshake is refused.
//!
//! ethrex's JSON-RPC crate links an HTTP client for talking to other nodes, and that client asks for `native-tls`,
//! hence for OpenSSL. The embedded execution client talks to nobody, and OpenSSL cannot stay. Its `SHA3_absorb` and
//! `SHA3_squeeze` carry the same symbol names as ethrex's keccak, with other parameters. So a static OpenSSL does not
//! link beside it, and a linker told to take either would take the wrong one. Two minutes of build go with it.
//!
//! A stream cannot be made, so its methods cannot be reached: [`Never`] has no values, and the compiler knows.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Read, Write};

type Never = Infallible;

/// The one thing that ever happens here.
#[derive(Clone, Copy, Debug)]
pub struct Error;

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this program is built without TLS: use http:// on a network you trust")
    }
}

impl std::error::Error for Error {}

/// A certificate, which nobody looks at.
#[derive(Clone, Debug)]
pub struct Certificate(Never);

impl Certificate {
    pub fn from_der(_der: &[u8]) -> Result<Self> {
        Err(Error)
    }

    pub fn from_pem(_pem: &[u8]) -> Result<Self> {
        Err(Error)
    }

    pub fn to_der(&self) -> Result<Vec<u8>> {
        match self.0 {}
    }
}

/// A key with its certificate, which nobody asks for.
#[derive(Clone, Debug)]
pub struct Identity(Never);

impl Identity {
    pub fn from_pkcs12(_der: &[u8], _password: &str) -> Result<Self> {
        Err(Error)
    }

    pub fn from_pkcs8(_pem: &[u8], _key: &[u8]) -> Result<Self> {
        Err(Error)
    }
}

/// Versions of the protocol that is not spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// SSL 3.0.
    Sslv3,
    /// TLS 1.0.
    Tlsv10,
    /// TLS 1.1.
    Tlsv11,
    /// TLS 1.2.
    Tlsv12,
    /// TLS 1.3.
    Tlsv13,
}

/// Takes every setting and forgets it: nothing is ever connected with them.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsConnectorBuilder;

macro_rules! forgotten {
    ($($name:ident($setting:ty)),+ $(,)?) => {$(
        pub fn $name(&mut self, _setting: $setting) -> &mut Self {
            self
        }
    )+};
}

impl TlsConnectorBuilder {
    forgotten!(
        identity(Identity),
        min_protocol_version(Option<Protocol>),
        max_protocol_version(Option<Protocol>),
        add_root_certificate(Certificate),
        disable_built_in_roots(bool),
        request_alpns(&[&str]),
        danger_accept_invalid_certs(bool),
        use_sni(bool),
        danger_accept_invalid_hostnames(bool),
    );

    /// A connector that refuses.
    pub fn build(&self) -> Result<TlsConnector> {
        Ok(TlsConnector)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct TlsConnector;

impl TlsConnector {
    /// A connector that refuses. Making it succeeds, because plain HTTP clients make one and never use it.
    pub fn new() -> Result<Self> {
        Ok(Self)
    }

    pub fn builder() -> TlsConnectorBuilder {
        TlsConnectorBuilder
    }

    pub fn connect<S: Read + Write>(
        &self,
        _domain: &str,
        _stream: S,
    ) -> std::result::Result<TlsStream<S>, HandshakeError<S>> {
        Err(HandshakeError::Failure(Error))
    }
}

/// Refuses every connection, as a server.
#[derive(Clone, Copy, Debug)]
pub struct TlsAcceptor;

impl TlsAcceptor {
    pub fn accept<S: Read + Write>(&self, _stream: S) -> std::result::Result<TlsStream<S>, HandshakeError<S>> {
        Err(HandshakeError::Failure(Error))
    }
}

/// How a handshake ends.
#[derive(Debug)]
pub enum HandshakeError<S> {
    Failure(Error),
    WouldBlock(MidHandshakeTlsStream<S>),
}

impl<S> fmt::Display for HandshakeError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure(error) => error.fmt(f),
            Self::WouldBlock(stream) => match stream.never {},
        }
    }
}

impl<S: fmt::Debug> std::error::Error for HandshakeError<S> {}

/// A handshake under way, of which there are none.
#[derive(Debug)]
pub struct MidHandshakeTlsStream<S> {
    never: Never,
    stream: S,
}

impl<S> MidHandshakeTlsStream<S> {
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    pub fn handshake(self) -> std::result::Result<TlsStream<S>, HandshakeError<S>> {
        match self.never {}
    }
}

/// An encrypted stream, of which there are none.
#[derive(Debug)]
pub struct TlsStream<S> {
    never: Never,
    stream: S,
}

impl<S> TlsStream<S> {
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    pub fn buffered_read_size(&self) -> Result<usize> {
        match self.never {}
    }

    pub fn peer_certificate(&self) -> Result<Option<Certificate>> {
        match self.never {}
    }

    pub fn negotiated_alpn(&self) -> Result<Option<Vec<u8>>> {
        match self.never {}
    }

    pub fn shutdown(&mut self) -> io::Result<()> {
        match self.never {}
    }
}

impl<S> Read for TlsStream<S> {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match self.never {}
    }
}

impl<S> Write for TlsStream<S> {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        match self.never {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_handshake_is_refused_and_says_why() {
        let connector = TlsConnector::builder().use_sni(true).build().expect("making one succeeds");
        let error = connector.connect("example.org", io::Cursor::new(Vec::new())).expect_err("refused");
        assert!(error.to_string().contains("http://"));
        assert!(TlsAcceptor.accept(io::Cursor::new(Vec::new())).is_err());
        assert!(Certificate::from_pem(b"").is_err() && Identity::from_pkcs8(b"", b"").is_err());
    }
}
