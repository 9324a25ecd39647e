//! Keys and signing requests of workloads.

use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls::pki_types::PrivatePkcs8KeyDer;
use squall_policy::Rng;

use crate::tls::{KeyAlgorithm, PrivateKey, TlsError};

/// What stands before the 32 bytes of an Ed25519 key in PKCS#8 (RFC 8410 §7).
const ED25519_PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A new key. Ed25519 keys come from `rng`, so that scenarios repeat; P-256 keys from the machine's entropy.
///
/// # Errors
/// [`TlsError::BadIdentity`] if the machine cannot make one.
pub fn make_key(algorithm: KeyAlgorithm, rng: &mut Rng) -> Result<PrivateKey, TlsError> {
    match algorithm {
        KeyAlgorithm::P256 => {
            let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(bad_key)?;
            Ok(PrivateKey::from_pkcs8(pair.serialized_der()))
        }
        KeyAlgorithm::Ed25519 => {
            let mut der = ED25519_PKCS8.to_vec();
            for _ in 0..4 {
                der.extend_from_slice(&rng.bits().to_le_bytes());
            }
            Ok(PrivateKey::from_pkcs8(&der))
        }
    }
}

/// A PKCS#10 request (DER), signed with `key`, for a certificate whose only name is `spiffe_id` (a URI SAN).
///
/// # Errors
/// [`TlsError::BadIdentity`] if the key cannot be used or the id is no URI.
pub fn make_csr(key: &PrivateKey, spiffe_id: &str) -> Result<Vec<u8>, TlsError> {
    let pair = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key.as_pkcs8())).map_err(bad_key)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into().map_err(bad_key)?)];
    let request = params.serialize_request(&pair).map_err(bad_key)?;
    Ok(request.der().to_vec())
}

fn bad_key(error: rcgen::Error) -> TlsError {
    TlsError::BadIdentity { why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::extensions::{GeneralName, ParsedExtension};
    use x509_parser::prelude::FromDer;

    use super::*;

    #[test]
    fn a_request_asks_for_just_one_name_with_either_key() {
        for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::Ed25519] {
            let key = make_key(algorithm, &mut Rng::from_seed(1)).expect("a key");
            let der = make_csr(&key, "spiffe://cluster.local/ns/shop/sa/cart").expect("a request");
            let (_, request) = X509CertificationRequest::from_der(&der).expect("PKCS#10");
            let names: Vec<_> = request
                .requested_extensions()
                .into_iter()
                .flatten()
                .flat_map(|extension| {
                    let ParsedExtension::SubjectAlternativeName(names) = extension else {
                        panic!("asks for {extension:?} as well");
                    };
                    &names.general_names
                })
                .collect();
            assert!(matches!(names[..], [GeneralName::URI("spiffe://cluster.local/ns/shop/sa/cart")]), "{names:?}");
            assert_eq!(request.certification_request_info.subject.iter().count(), 0);
        }
    }

    #[test]
    fn ed25519_keys_repeat_with_their_dice_and_others_do_not() {
        let key = |algorithm, seed| make_key(algorithm, &mut Rng::from_seed(seed)).expect("a key").as_pkcs8().to_vec();
        assert_eq!(key(KeyAlgorithm::Ed25519, 1), key(KeyAlgorithm::Ed25519, 1));
        assert_ne!(key(KeyAlgorithm::Ed25519, 1), key(KeyAlgorithm::Ed25519, 2));
        assert_ne!(key(KeyAlgorithm::P256, 1), key(KeyAlgorithm::P256, 1));
    }
}
