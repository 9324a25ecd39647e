//! An authority for tests, and a control plane of the smallest kind.

use rcgen::SanType;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use squall_net::tls::{Identity, KeyAlgorithm, PrivateKey};
use squall_policy::Instant;

pub(crate) struct Authority {
    pub(crate) root: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("the OS has entropy");
        let root = params.self_signed(&key).expect("a root of good parameters").der().to_vec();
        Self { root, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn identity(&self, uri: &str) -> Identity {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("ASCII"))];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("the OS has entropy");
        let leaf = params.signed_by(&key, &self.issuer).expect("a leaf of good parameters");
        Identity {
            chain: vec![leaf.der().to_vec()],
            key: PrivateKey::from_pkcs8(&key.serialize_der()),
            roots: vec![self.root.clone()],
            algorithm: KeyAlgorithm::P256,
            not_after_s: u64::MAX,
            issued_at: Instant::ZERO,
        }
    }

    /// A certificate for a server of this name, DER, and its key, PEM.
    pub(crate) fn server(&self, name: &str) -> (Vec<u8>, String) {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a good name");
        let key = KeyPair::generate().expect("the OS has entropy");
        let leaf = params.signed_by(&key, &self.issuer).expect("a leaf of good parameters");
        (leaf.der().to_vec(), key.serialize_pem())
    }

    /// Signs whatever is asked for.
    pub(crate) fn sign(&self, csr_der: &[u8]) -> Vec<u8> {
        let csr = CertificateSigningRequestParams::from_der(&csr_der.into()).expect("PKCS#10");
        csr.signed_by(&self.issuer).expect("a leaf").der().to_vec()
    }
}
