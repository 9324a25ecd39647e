//! Issues identities: a root, and short-lived leaves from signing requests.

use std::sync::Arc;
use std::time::Duration;

use squall_net::tls::{Identity, KeyAlgorithm};
use squall_net::{Host, Wall};
use squall_policy::Rng;

/// The certificate authority of a mesh.
#[derive(Debug)]
pub struct Authority {}

/// Why a certificate was not issued, or an authority not made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The signing request is malformed or not self-signed.
    #[error("bad signing request: {0}")]
    BadRequest(String),
    /// The request asks for another identity than the token proves.
    #[error("the token proves {proven}, the request asks for {asked}")]
    WrongIdentity {
        /// By the token.
        proven: String,
        /// By the request.
        asked: String,
    },
    /// The token is unknown.
    #[error("the token is unknown")]
    UnknownToken,
    /// Key or certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Crypto(String),
}

/// An issued certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    /// When the leaf ends, seconds since 1970.
    pub not_after_s: u64,
}

impl Authority {
    /// A new root. Ed25519 keys come from `rng`, so that scenarios repeat; P-256 keys from the machine's entropy.
    ///
    /// # Errors
    /// [`AuthorityError::Crypto`].
    pub fn new(algorithm: KeyAlgorithm, wall: Arc<dyn Wall>, rng: Rng, ttl: Duration) -> Result<Self, AuthorityError> {
        let _ = (algorithm, wall, rng, ttl);
        todo!()
    }

    /// The roots that every proxy must know before its first connection, DER.
    #[must_use]
    pub fn roots(&self) -> Vec<Vec<u8>> {
        todo!()
    }

    /// Which keys it uses.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        todo!()
    }

    /// A leaf for the key in `csr_der`, which must ask for `spiffe_id` and no other.
    ///
    /// # Errors
    /// [`AuthorityError::BadRequest`], [`AuthorityError::WrongIdentity`], [`AuthorityError::Crypto`].
    pub fn sign(&self, csr_der: &[u8], spiffe_id: &str) -> Result<Issued, AuthorityError> {
        let _ = (csr_der, spiffe_id);
        todo!()
    }

    /// Key and certificate at once, for those who live with the authority: the control plane itself, and tests.
    ///
    /// # Errors
    /// [`AuthorityError::Crypto`].
    pub fn identity(&self, host: &Host, spiffe_id: &str) -> Result<Identity, AuthorityError> {
        let _ = (host, spiffe_id);
        todo!()
    }
}
