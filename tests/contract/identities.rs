//! Two workloads of one mesh.

use std::sync::OnceLock;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ED25519, SanType, date_time_ymd};
use squall_net::tls::{Identity, KeyAlgorithm, PrivateKey};
use squall_policy::Instant;

pub const SERVER: &str = "spiffe://mesh/ns/test/sa/server";
pub const CLIENT: &str = "spiffe://mesh/ns/test/sa/client";

/// The server's and the client's, the same for the whole process.
pub fn identities() -> &'static [Identity; 2] {
    static MADE: OnceLock<[Identity; 2]> = OnceLock::new();
    MADE.get_or_init(|| {
        let mut params = params();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("the OS has entropy");
        let root = params.self_signed(&key).expect("a root of good parameters").der().to_vec();
        let issuer = Issuer::new(params, key);
        [SERVER, CLIENT].map(|id| issue(id, &root, &issuer))
    })
}

/// Worlds may begin in 1970.
fn params() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("no names to be wrong");
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(2500, 1, 1);
    params
}

fn issue(id: &str, root: &[u8], issuer: &Issuer<'_, KeyPair>) -> Identity {
    let mut params = params();
    params.subject_alt_names.push(SanType::URI(id.try_into().expect("ASCII")));
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("the OS has entropy");
    let leaf = params.signed_by(&key, issuer).expect("a leaf of good parameters");
    Identity {
        chain: vec![leaf.der().to_vec()],
        key: PrivateKey::from_pkcs8(&key.serialize_der()),
        roots: vec![root.to_vec()],
        algorithm: KeyAlgorithm::Ed25519,
        not_after_s: u64::MAX,
        issued_at: Instant::ZERO,
    }
}
