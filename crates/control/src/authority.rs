//! Issues identities: a root, and short-lived leaves from signing requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, date_time_ymd,
};
use squall_net::tls::{Identity, KeyAlgorithm, PrivateKey, make_key};
use squall_net::{Host, Wall};
use squall_policy::Rng;

/// How long a leaf lives by default.
pub const TTL: Duration = Duration::from_secs(24 * 3600);

/// How long the root lives.
const ROOT_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Certificates are good from so long before they were made, for clocks that are behind.
const CLOCK_SLACK: Duration = Duration::from_secs(600);

/// The certificate authority of a mesh: a root of its own, and leaves with a SPIFFE id as their only name.
pub struct Authority {
    algorithm: KeyAlgorithm,
    wall: Arc<dyn Wall>,
    ttl: Duration,
    root: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("algorithm", &self.algorithm).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

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

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Crypto(error.to_string())
    }
}

impl From<squall_net::tls::TlsError> for AuthorityError {
    fn from(error: squall_net::tls::TlsError) -> Self {
        Self::Crypto(error.to_string())
    }
}

impl Authority {
    /// A new root whose leaves live for `ttl` ([`TTL`] by default). Ed25519 keys come from `rng`, so that scenarios repeat; P-256 keys
    /// from the machine's entropy.
    ///
    /// # Errors
    /// [`AuthorityError::Crypto`].
    pub fn new(
        algorithm: KeyAlgorithm,
        wall: Arc<dyn Wall>,
        mut rng: Rng,
        ttl: Duration,
    ) -> Result<Self, AuthorityError> {
        let key = key_pair(&make_key(algorithm, &mut rng)?)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "squall root");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid(&mut params, wall.since_epoch(), ROOT_TTL);
        let root = params.self_signed(&key)?.der().to_vec();
        Ok(Self { algorithm, wall, ttl, root, issuer: Issuer::new(params, key) })
    }

    /// An authority with this root, which an earlier one made: its certificate (DER) and its key.
    ///
    /// # Errors
    /// [`AuthorityError::Crypto`]: they cannot be used, or the key is not the certificate's.
    pub fn with_root(
        root: Vec<u8>,
        key: &PrivateKey,
        algorithm: KeyAlgorithm,
        wall: Arc<dyn Wall>,
        ttl: Duration,
    ) -> Result<Self, AuthorityError> {
        let key = key_pair(key)?;
        let issuer = Issuer::from_ca_cert_der(&root.clone().into(), key)?;
        let authority = Self { algorithm, wall, ttl, root, issuer };
        if !authority.owns_root()? {
            return Err(AuthorityError::Crypto("the key is not that of the root certificate".to_owned()));
        }
        Ok(authority)
    }

    /// Whether the key is the root certificate's: then its public half stands there, as it would be written here.
    fn owns_root(&self) -> Result<bool, AuthorityError> {
        let ours = self.issuer.key().subject_public_key_info();
        Ok(self.root.windows(ours.len()).any(|part| part == ours))
    }

    /// The root's key. It is the mesh's greatest secret: whoever has it can be anybody.
    #[must_use]
    pub fn root_key(&self) -> PrivateKey {
        PrivateKey::from_pkcs8(self.issuer.key().serialized_der())
    }

    /// The roots that every proxy must know before its first connection, DER.
    #[must_use]
    pub fn roots(&self) -> Vec<Vec<u8>> {
        vec![self.root.clone()]
    }

    /// Which keys it uses.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// A leaf for the key in `csr_der`, which must ask for `spiffe_id` and no other name. Everything else in the request is ignored:
    /// the authority alone decides what a leaf may be used for.
    ///
    /// # Errors
    /// [`AuthorityError::BadRequest`], [`AuthorityError::WrongIdentity`], [`AuthorityError::Crypto`].
    pub fn sign(&self, csr_der: &[u8], spiffe_id: &str) -> Result<Issued, AuthorityError> {
        let bad = |error: rcgen::Error| AuthorityError::BadRequest(error.to_string());
        let request = CertificateSigningRequestParams::from_der(&csr_der.into()).map_err(bad)?;
        let asked: Vec<String> = request
            .params
            .subject_alt_names
            .iter()
            .map(|name| if let SanType::URI(uri) = name { uri.to_string() } else { format!("{name:?}") })
            .collect();
        if asked != [spiffe_id] {
            return Err(AuthorityError::WrongIdentity { proven: spiffe_id.to_owned(), asked: asked.join(", ") });
        }
        self.issue(&request.public_key, spiffe_id)
    }

    /// Key and certificate at once, for those who live with the authority: the control plane itself, and tests.
    ///
    /// # Errors
    /// [`AuthorityError::Crypto`].
    pub fn identity(&self, host: &Host, spiffe_id: &str) -> Result<Identity, AuthorityError> {
        let key = make_key(self.algorithm, &mut host.rng("identity"))?;
        let issued = self.issue(&key_pair(&key)?, spiffe_id)?;
        Ok(Identity {
            chain: issued.chain,
            key,
            roots: self.roots(),
            algorithm: self.algorithm,
            not_after_s: issued.not_after_s,
            issued_at: host.now(),
        })
    }

    fn issue(&self, key: &impl PublicKeyData, spiffe_id: &str) -> Result<Issued, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let now = self.wall.since_epoch();
        valid(&mut params, now, self.ttl);
        let leaf = params.signed_by(key, &self.issuer)?;
        Ok(Issued { chain: vec![leaf.der().to_vec()], not_after_s: (now + self.ttl).as_secs() })
    }
}

fn key_pair(key: &PrivateKey) -> Result<KeyPair, AuthorityError> {
    Ok(KeyPair::try_from(key.as_pkcs8())?)
}

/// To the second, as certificates say it.
fn valid(params: &mut CertificateParams, now: Duration, ttl: Duration) {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now.saturating_sub(CLOCK_SLACK).as_secs());
    params.not_after = epoch + Duration::from_secs((now + ttl).as_secs());
}

#[cfg(test)]
mod tests {
    use squall_net::tls::make_csr;

    use super::*;

    struct Noon;

    impl Wall for Noon {
        fn since_epoch(&self) -> Duration {
            Duration::from_secs(1_800_000_000)
        }
    }

    fn authority(algorithm: KeyAlgorithm, seed: u64) -> Authority {
        Authority::new(algorithm, Arc::new(Noon), Rng::from_seed(seed), TTL).expect("a root")
    }

    fn csr(algorithm: KeyAlgorithm, id: &str) -> Vec<u8> {
        let key = make_key(algorithm, &mut Rng::from_seed(9)).expect("a key");
        make_csr(&key, id).expect("a request")
    }

    const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

    #[test]
    fn a_leaf_is_signed_for_the_identity_that_was_proven_and_asked_for() {
        for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::Ed25519] {
            let issued = authority(algorithm, 1).sign(&csr(algorithm, CART), CART).expect("signed");
            assert_eq!((issued.chain.len(), issued.not_after_s), (1, 1_800_000_000 + 24 * 3600));
        }
    }

    #[test]
    fn another_identity_and_a_broken_request_are_refused() {
        let authority = authority(KeyAlgorithm::Ed25519, 1);
        let other = "spiffe://cluster.local/ns/shop/sa/payment";
        let refused = authority.sign(&csr(KeyAlgorithm::Ed25519, other), CART).expect_err("another identity");
        assert_eq!(refused.to_string(), format!("the token proves {CART}, the request asks for {other}"));
        let mut broken = csr(KeyAlgorithm::Ed25519, CART);
        *broken.last_mut().expect("not empty") ^= 1;
        let refused = authority.sign(&broken, CART).expect_err("a bad signature");
        assert!(matches!(refused, AuthorityError::BadRequest(_)), "{refused}");
        assert!(matches!(authority.sign(b"?", CART), Err(AuthorityError::BadRequest(_))));
    }

    #[test]
    fn a_root_that_was_kept_signs_what_its_proxies_trust_and_another_key_is_refused() {
        for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::Ed25519] {
            let (first, other) = (authority(algorithm, 1), authority(algorithm, 2));
            let root = || first.roots().remove(0);
            let again = Authority::with_root(root(), &first.root_key(), algorithm, Arc::new(Noon), TTL);
            let again = again.expect("its own root");
            assert_eq!(again.roots(), first.roots());
            assert_eq!(again.root_key().as_pkcs8(), first.root_key().as_pkcs8());
            again.sign(&csr(algorithm, CART), CART).expect("signed");
            let refused = Authority::with_root(root(), &other.root_key(), algorithm, Arc::new(Noon), TTL);
            assert!(refused.is_err(), "a key of another root");
        }
    }

    #[test]
    fn with_ed25519_roots_and_leaves_repeat_with_their_seed() {
        let leaf = |seed| {
            let authority = authority(KeyAlgorithm::Ed25519, seed);
            (authority.roots(), authority.sign(&csr(KeyAlgorithm::Ed25519, CART), CART).expect("signed"))
        };
        assert_eq!(leaf(1), leaf(1));
        assert_ne!(leaf(1).0, leaf(2).0);
    }
}
