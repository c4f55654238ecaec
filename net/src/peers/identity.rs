//! This file knows who a node is on the network: an ed25519 key, shown and checked as a raw public key (RFC 7250) in
//! TLS 1.3.
//!
//! TLS proves that the other end holds the key behind its [`PeerId`]. [`crate::wire::hello`] settles whether that key
//! belongs to a validator of our chain.

use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use ultramarine_runtime::Clock;
use ultramarine_types::{ChainIdentity, PeerId, PublicKey, Signature, sign};

use crate::bounds::ALPN;

/// DER before the 32 bytes of an ed25519 `SubjectPublicKeyInfo` (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// DER before the 32 bytes of an ed25519 PKCS#8 private key (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A node's network key.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
}

impl Identity {
    /// The identity of a 32-byte secret.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self {
            key: SigningKey::from_bytes(secret),
        }
    }

    /// The name by which peers know the node.
    pub fn peer(&self) -> PeerId {
        PeerId(self.key.verifying_key().to_bytes())
    }

    /// 32 bytes that only this node can compute, different for each purpose.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        ultramarine_types::canonical::Canonical::new(purpose)
            .fixed(self.key.as_bytes())
            .sha256()
            .0
    }

    /// TLS for connections we accept.
    pub(crate) fn server_tls(&self) -> Result<rustls::ServerConfig, Error> {
        let provider = provider();
        let verifier = Arc::new(RawKeys {
            algorithms: provider.signature_verification_algorithms,
        });
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.certified()?)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // No session is resumed, so nothing can be sent or replayed before the handshake ends.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// TLS for connections we dial.
    pub(crate) fn client_tls(&self) -> Result<rustls::ClientConfig, Error> {
        let provider = provider();
        let verifier = Arc::new(RawKeys {
            algorithms: provider.signature_verification_algorithms,
        });
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.certified()?)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        Ok(config)
    }

    fn certified(&self) -> Result<Arc<CertifiedKey>, Error> {
        let secret = [PKCS8_PREFIX.as_slice(), self.key.as_bytes()].concat();
        let key = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(secret))?;
        let spki = [SPKI_PREFIX.as_slice(), self.key.verifying_key().as_bytes()].concat();
        Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], key)))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.peer())
    }
}

/// A validator's word that a network key is its own, until a given time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attestation {
    /// Whose word it is.
    pub validator: PublicKey,
    /// It holds until then, in Unix seconds.
    pub expiry: u64,
    /// Over the bytes of [`sign::attestation`].
    pub signature: Signature,
}

impl Attestation {
    /// Attests `peer` with a validator's key.
    pub fn sign(validator: &SigningKey, chain: &ChainIdentity, peer: &PeerId, expiry: u64) -> Self {
        let signature = validator.sign(&sign::attestation(chain, peer, expiry));
        Self {
            validator: PublicKey(validator.verifying_key().to_bytes()),
            expiry,
            signature: Signature(signature.to_bytes()),
        }
    }

    /// Whether the validator really vouches for `peer` on this chain at `unix_seconds`.
    pub fn holds(&self, chain: &ChainIdentity, peer: &PeerId, unix_seconds: u64) -> bool {
        unix_seconds < self.expiry && self.is_signed(chain, peer)
    }

    /// Whether the validator vouched for `peer` on this chain, without regard to the expiry.
    pub fn is_signed(&self, chain: &ChainIdentity, peer: &PeerId) -> bool {
        let message = sign::attestation(chain, peer, self.expiry);
        sign::holds(&self.validator, &message, &self.signature)
    }
}

/// How long an attestation holds.
pub const ATTESTATION_SECONDS: u64 = 365 * 24 * 3600;

/// A validator's key that signs nothing but attestations of one node key.
///
/// Each handshake gets a new attestation, which costs as much as the handshake's own signature. So a process that runs
/// for years, or whose clock was wrong at the start, never shows one that has expired.
#[derive(Clone)]
pub struct Attester {
    validator: SigningKey,
    chain: ChainIdentity,
    peer: PeerId,
    wall: Wall,
}

/// A wall clock, in Unix seconds.
type Wall = Arc<dyn Fn() -> u64 + Send + Sync>;

impl Attester {
    /// Attests `peer` with a validator's key, by the system's clock.
    pub fn new(validator: SigningKey, chain: ChainIdentity, peer: PeerId) -> Self {
        Self {
            validator,
            chain,
            peer,
            wall: Arc::new(|| Clock::unix_ns() / 1_000_000_000),
        }
    }

    /// Signs by another wall clock, in Unix seconds.
    pub fn by(self, wall: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            wall: Arc::new(wall),
            ..self
        }
    }

    /// An attestation that begins now.
    pub fn attest(&self) -> Attestation {
        let expiry = (self.wall)().saturating_add(ATTESTATION_SECONDS);
        Attestation::sign(&self.validator, &self.chain, &self.peer, expiry)
    }
}

impl std::fmt::Debug for Attester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the key.
        f.debug_struct("Attester")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// The peer at the other end of a connection; `None` if it showed no usable key.
pub(crate) fn peer_of(connection: &quinn::Connection) -> Option<PeerId> {
    let shown = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    peer_in(shown.first()?)
}

fn peer_in(spki: &[u8]) -> Option<PeerId> {
    spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok().map(PeerId)
}

/// The ring provider. It is named because a second one may be linked into the process, and rustls would not choose.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Accepts any ed25519 raw key whose owner signs the handshake.
#[derive(Debug)]
struct RawKeys {
    algorithms: WebPkiSupportedAlgorithms,
}

impl RawKeys {
    fn check(spki: &CertificateDer<'_>) -> Result<(), Error> {
        peer_in(spki)
            .map(|_| ())
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
    }

    fn verify(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(spki.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }
}

/// Writes the methods that rustls asks of both verifiers, each in a trait of its own.
macro_rules! signed_by_raw_keys {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _spki: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            spki: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.verify(message, spki, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

impl ServerCertVerifier for RawKeys {
    fn verify_server_cert(
        &self,
        spki: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::check(spki).map(|()| ServerCertVerified::assertion())
    }

    signed_by_raw_keys!();
}

impl ClientCertVerifier for RawKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        spki: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::check(spki).map(|()| ClientCertVerified::assertion())
    }

    signed_by_raw_keys!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_bytes(&[byte; 32])
    }

    #[test]
    fn an_attestation_holds_for_its_chain_peer_and_time_only() {
        let (chain, peer) = (ChainIdentity([7; 32]), Identity::from_secret(&[1; 32]).peer());
        let attestation = Attestation::sign(&key(9), &chain, &peer, 1000);
        assert!(attestation.holds(&chain, &peer, 999));
        assert!(!attestation.holds(&chain, &peer, 1000), "expired");
        assert!(
            !attestation.holds(&ChainIdentity([8; 32]), &peer, 999),
            "another chain, or another life of this one"
        );
        assert!(!attestation.holds(&chain, &PeerId([3; 32]), 999), "another node");
        assert!(
            !Attestation {
                expiry: 2000,
                ..attestation
            }
            .holds(&chain, &peer, 999),
            "stretched"
        );
    }

    #[test]
    fn every_attestation_is_signed_by_the_clock_of_its_moment() {
        use std::sync::atomic::{AtomicU64, Ordering};
        let (chain, peer) = (ChainIdentity([7; 32]), Identity::from_secret(&[1; 32]).peer());
        let now = Arc::new(AtomicU64::new(1_000));
        let hand = now.clone();
        let attester = Attester::new(key(9), chain, peer).by(move || hand.load(Ordering::Relaxed));
        let truth = 400 * 24 * 3600;
        assert!(
            !attester.attest().holds(&chain, &peer, truth),
            "signed by a clock that is 400 days slow"
        );
        // Set right, set back, and a year later.
        for clock in [truth, 500, truth + 2 * ATTESTATION_SECONDS] {
            now.store(clock, Ordering::Relaxed);
            let attestation = attester.attest();
            assert!(attestation.holds(&chain, &peer, clock + ATTESTATION_SECONDS - 1));
            assert!(!attestation.holds(&chain, &peer, clock + ATTESTATION_SECONDS));
        }
    }

    /// Lets two ends shake hands in memory.
    fn shake_hands(client: rustls::ClientConfig, server: rustls::ServerConfig) -> Result<(), Error> {
        let name = ServerName::try_from("x").expect("a name");
        let mut client = rustls::ClientConnection::new(Arc::new(client), name)?;
        let mut server = rustls::ServerConnection::new(Arc::new(server))?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).expect("memory");
            }
            let mut unread = bytes.as_slice();
            while !unread.is_empty() {
                server.read_tls(&mut unread).expect("memory");
                server.process_new_packets()?;
            }
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).expect("memory");
            }
            let mut unread = bytes.as_slice();
            while !unread.is_empty() {
                client.read_tls(&mut unread).expect("memory");
                client.process_new_packets()?;
            }
        }
        Ok(())
    }

    #[test]
    fn who_shows_a_key_that_is_not_its_own_is_not_met() {
        let [honest, impostor, victim] = [1, 2, 3].map(|secret| Identity::from_secret(&[secret; 32]));
        let tls = |of: &Identity| (of.client_tls().expect("a key"), of.server_tls().expect("a key"));
        assert_eq!(shake_hands(tls(&impostor).0, tls(&honest).1), Ok(()));
        // The victim's name, and a signature of the impostor's own key.
        let certified = |of: &Identity| of.certified().expect("a key");
        let shown = Arc::new(CertifiedKey::new(
            certified(&victim).cert.clone(),
            certified(&impostor).key.clone(),
        ));
        let mut client = tls(&impostor).0;
        client.client_auth_cert_resolver = Arc::new(AlwaysResolvesClientRawPublicKeys::new(shown.clone()));
        assert!(shake_hands(client, tls(&honest).1).is_err(), "it dials");
        let mut server = tls(&impostor).1;
        server.cert_resolver = Arc::new(AlwaysResolvesServerRawPublicKeys::new(shown));
        assert!(shake_hands(tls(&honest).0, server).is_err(), "it is dialed");
    }

    #[test]
    fn a_peer_is_read_from_exactly_an_ed25519_key() {
        let identity = Identity::from_secret(&[1; 32]);
        let spki = [SPKI_PREFIX.as_slice(), &identity.peer().0].concat();
        assert_eq!(peer_in(&spki), Some(identity.peer()));
        assert_eq!(peer_in(&spki[..43]), None);
        // The same length, and a key of another kind (X25519).
        let mut other = spki.clone();
        other[8] = 0x6e;
        assert_eq!(peer_in(&other), None);
        assert_eq!(peer_in(&[spki.as_slice(), &[0]].concat()), None);
    }
}
