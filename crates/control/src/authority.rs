//! Issues identities: a root, and short-lived leaves from signing requests.
//!
//! A root is changed without a moment in which somebody does not know whom to trust. `life` is that of a leaf:
//!
//! ```text
//!   the new root is made ── life ──▶ it signs ── life ──▶ the old root is forgotten
//!   both are trusted, the old signs    both are trusted
//! ```
//!
//! Whoever has a certificate that is good has asked for it within the last `life`, and got the roots with it. So everybody knows
//! the new root before the first leaf of it is shown, and the last leaf of the old one has ended before that is forgotten. When
//! which phase begins follows from when the new root was made, which it says itself: a restart forgets nothing.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, date_time_ymd,
};
use squall_net::tls::{Identity, KeyAlgorithm, PrivateKey, make_key};
use squall_net::{Host, Wall, pem};
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
    /// One, or while it is being changed two, the older one first.
    roots: Mutex<Vec<Root>>,
}

struct Root {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    /// When it was made, since 1970.
    born: Duration,
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
    /// The root is being changed already.
    #[error("the root is being changed already, until {until_s} seconds after 1970")]
    Changing {
        /// When the old one is forgotten.
        until_s: u64,
    },
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
        let root = Root::make(algorithm, wall.as_ref(), &mut rng)?;
        Ok(Self { algorithm, wall, ttl, roots: Mutex::new(vec![root]) })
    }

    /// An authority with these roots, which an earlier one made: certificates (DER) with their keys, one or two.
    ///
    /// # Errors
    /// [`AuthorityError::Crypto`]: they cannot be used, or a key is not its certificate's.
    pub fn with_roots(
        roots: Vec<(Vec<u8>, PrivateKey)>,
        algorithm: KeyAlgorithm,
        wall: Arc<dyn Wall>,
        ttl: Duration,
    ) -> Result<Self, AuthorityError> {
        let roots = roots.into_iter().map(|(der, key)| Root::read(der, &key));
        let mut roots = roots.collect::<Result<Vec<_>, _>>()?;
        if !(1..=2).contains(&roots.len()) {
            return Err(AuthorityError::Crypto(format!("{} roots, it must be one or two", roots.len())));
        }
        roots.sort_by_key(|root| root.born);
        Ok(Self { algorithm, wall, ttl, roots: Mutex::new(roots) })
    }

    /// Begins to change the root: a new one is trusted beside the old one from now on, signs after the life of a leaf, and is the
    /// only one after another. Its key is of `rng`, as in [`Authority::new`].
    ///
    /// # Errors
    /// [`AuthorityError::Changing`], [`AuthorityError::Crypto`].
    pub fn change_root(&self, mut rng: Rng) -> Result<(), AuthorityError> {
        let mut roots = self.lock();
        if let [_, new] = roots.as_slice() {
            return Err(AuthorityError::Changing { until_s: self.forgets_at(new).as_secs() });
        }
        roots.push(Root::make(self.algorithm, self.wall.as_ref(), &mut rng)?);
        Ok(())
    }

    /// The roots now: whoever asks after the time of an old one does not find it.
    fn lock(&self) -> MutexGuard<'_, Vec<Root>> {
        let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        if let [_, new] = roots.as_slice()
            && self.wall.since_epoch() >= self.forgets_at(new)
        {
            roots.remove(0);
        }
        roots
    }

    /// When a new root signs. A second more than a life: certificates tell time in whole ones.
    fn signs_at(&self, new: &Root) -> Duration {
        new.born + self.ttl + Duration::from_secs(1)
    }

    /// When the old one is forgotten.
    fn forgets_at(&self, new: &Root) -> Duration {
        self.signs_at(new) + self.ttl + Duration::from_secs(1)
    }

    /// Whether the root is being changed, and until when, since 1970.
    #[must_use]
    pub fn changes_until(&self) -> Option<Duration> {
        self.lock().get(1).map(|new| self.forgets_at(new))
    }

    /// How old the newest root is.
    #[must_use]
    pub fn root_age(&self) -> Duration {
        let born = self.lock().last().map_or(Duration::ZERO, |root| root.born);
        self.wall.since_epoch().saturating_sub(born)
    }

    /// The roots with their keys, the older one first. They are the mesh's greatest secret: whoever has one can be anybody.
    #[must_use]
    pub fn root_keys(&self) -> Vec<(Vec<u8>, PrivateKey)> {
        let key = |root: &Root| PrivateKey::from_pkcs8(root.issuer.key().serialized_der());
        self.lock().iter().map(|root| (root.der.clone(), key(root))).collect()
    }

    /// The roots that every proxy must know before its first connection, DER, the older one first.
    #[must_use]
    pub fn roots(&self) -> Vec<Vec<u8>> {
        self.lock().iter().map(|root| root.der.clone()).collect()
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
        let roots = self.lock();
        let signer = match roots.as_slice() {
            [_, new] if now >= self.signs_at(new) => new,
            [first, ..] => first,
            [] => return Err(AuthorityError::Crypto("there is no root".to_owned())),
        };
        let leaf = params.signed_by(key, &signer.issuer)?;
        Ok(Issued { chain: vec![leaf.der().to_vec()], not_after_s: (now + self.ttl).as_secs() })
    }
}

impl Root {
    fn make(algorithm: KeyAlgorithm, wall: &dyn Wall, rng: &mut Rng) -> Result<Self, AuthorityError> {
        let key = key_pair(&make_key(algorithm, rng)?)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "squall root");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let born = Duration::from_secs(wall.since_epoch().as_secs());
        valid(&mut params, born, ROOT_TTL);
        let der = params.self_signed(&key)?.der().to_vec();
        Ok(Self { der, issuer: Issuer::new(params, key), born })
    }

    fn read(der: Vec<u8>, key: &PrivateKey) -> Result<Self, AuthorityError> {
        let issuer = Issuer::from_ca_cert_der(&der.clone().into(), key_pair(key)?)?;
        let good_from = pem::not_before_s(&der).map_err(|error| AuthorityError::Crypto(error.to_string()))?;
        // The key is the certificate's: its public half stands there, as it would be written here.
        let ours = issuer.key().subject_public_key_info();
        if !der.windows(ours.len()).any(|part| part == ours) {
            return Err(AuthorityError::Crypto("the key is not that of the root certificate".to_owned()));
        }
        Ok(Self { der, issuer, born: Duration::from_secs(good_from) + CLOCK_SLACK })
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
            let with = |roots| Authority::with_roots(roots, algorithm, Arc::new(Noon), TTL);
            let again = with(first.root_keys()).expect("its own root");
            assert_eq!(again.roots(), first.roots());
            assert_eq!(again.root_keys()[0].1.as_pkcs8(), first.root_keys()[0].1.as_pkcs8());
            again.sign(&csr(algorithm, CART), CART).expect("signed");
            let mixed = vec![(first.roots().remove(0), other.root_keys().remove(0).1)];
            assert!(with(mixed).is_err(), "a key of another root");
            assert!(with(Vec::new()).is_err(), "no root");
        }
    }

    /// A clock that is set by hand.
    #[derive(Default)]
    struct Hand(std::sync::atomic::AtomicU64);

    impl Wall for Hand {
        fn since_epoch(&self) -> Duration {
            Duration::from_secs(1_800_000_000 + self.0.load(std::sync::atomic::Ordering::SeqCst))
        }
    }

    #[test]
    fn a_new_root_is_trusted_for_a_life_before_it_signs_and_the_old_one_for_a_life_after() {
        let wall = Arc::new(Hand::default());
        let life = TTL.as_secs();
        let made = Authority::new(KeyAlgorithm::Ed25519, Arc::clone(&wall) as _, Rng::from_seed(1), TTL);
        let mut authority = made.expect("a root");
        let old = authority.roots().remove(0);
        authority.change_root(Rng::from_seed(2)).expect("none is being changed");
        let new = authority.roots().remove(1);
        // Who signed a leaf: the authority with only that root makes the same one.
        let only = |nth: usize, of: &Authority| {
            let kept = vec![of.root_keys().remove(nth)];
            Authority::with_roots(kept, KeyAlgorithm::Ed25519, Arc::clone(&wall) as _, TTL).expect("its own root")
        };
        let (by_old, by_new) = (only(0, &authority), only(1, &authority));
        for (at, trusted, signer) in [
            (0, vec![&old, &new], &by_old),
            (life, vec![&old, &new], &by_old),
            (life + 1, vec![&old, &new], &by_new),
            (2 * life + 1, vec![&old, &new], &by_new),
            (2 * life + 2, vec![&new], &by_new),
            (3 * life, vec![&new], &by_new),
        ] {
            wall.0.store(at, std::sync::atomic::Ordering::SeqCst);
            // A restart changes nothing.
            let again =
                Authority::with_roots(authority.root_keys(), KeyAlgorithm::Ed25519, Arc::clone(&wall) as _, TTL);
            authority = again.expect("its own roots");
            assert_eq!(authority.roots().iter().collect::<Vec<_>>(), trusted, "after {at} s");
            let sign = |by: &Authority| by.sign(&csr(KeyAlgorithm::Ed25519, CART), CART).expect("signed");
            let signs_as = |by: &Authority| issuer_key(&sign(by).chain[0]);
            assert_eq!(signs_as(&authority), signs_as(signer), "after {at} s");
            let is_changing = trusted.len() == 2;
            assert_eq!(authority.changes_until().is_some(), is_changing);
            if is_changing {
                assert!(matches!(authority.change_root(Rng::from_seed(3)), Err(AuthorityError::Changing { .. })));
            }
        }
        assert_eq!(authority.root_age(), TTL * 3);
    }

    /// The authority key identifier of a leaf: 20 bytes behind its OID (2.5.29.35).
    fn issuer_key(leaf: &[u8]) -> Vec<u8> {
        let oid = [0x06, 0x03, 0x55, 0x1d, 0x23];
        let at = leaf.windows(oid.len()).position(|part| part == oid).expect("it names its issuer's key");
        leaf[at + oid.len()..][..24].to_vec()
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
