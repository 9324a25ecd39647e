//! Certificates and keys as files hold them: PEM (RFC 7468).

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use squall_policy::Instant;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tls::{Identity, KeyAlgorithm, PrivateKey};

/// Why a text holds no certificate or key that can be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It is no PEM.
    #[error("not PEM: {0}")]
    Syntax(String),
    /// There is no certificate in it.
    #[error("there is no `BEGIN CERTIFICATE` in it")]
    NoCertificate,
    /// There is no key in it, or none of the only form that is taken.
    #[error("there is no `BEGIN PRIVATE KEY` (PKCS#8) in it")]
    NoKey,
    /// A certificate cannot be parsed.
    #[error("not a certificate: {0}")]
    NotX509(String),
}

/// Every certificate of `text` in its order, DER; at least one.
///
/// # Errors
/// [`PemError::Syntax`], [`PemError::NoCertificate`].
pub fn certificates(text: &str) -> Result<Vec<Vec<u8>>, PemError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|error| PemError::Syntax(format!("{error}")))?;
    if found.is_empty() {
        return Err(PemError::NoCertificate);
    }
    Ok(found.iter().map(|der| der.to_vec()).collect())
}

/// The first PKCS#8 key of `text`.
///
/// # Errors
/// [`PemError::NoKey`].
pub fn private_key(text: &str) -> Result<PrivateKey, PemError> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| PemError::NoKey)?;
    Ok(PrivateKey::from_pkcs8(key.secret_pkcs8_der()))
}

/// From when a certificate (DER) is good, seconds since 1970.
///
/// # Errors
/// [`PemError::NotX509`].
pub fn not_before_s(der: &[u8]) -> Result<u64, PemError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| PemError::NotX509(error.to_string()))?;
    Ok(u64::try_from(certificate.validity().not_before.timestamp()).unwrap_or(0))
}

/// An identity of three files: the chain (leaf first), its key and the trusted roots. `now`: when it was given.
///
/// # Errors
/// [`PemError`].
pub fn identity(chain: &str, key: &str, roots: &str, now: Instant) -> Result<Identity, PemError> {
    let chain = certificates(chain)?;
    let (_, leaf) = X509Certificate::from_der(&chain[0]).map_err(|error| PemError::NotX509(error.to_string()))?;
    let not_after_s = u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or(0);
    Ok(Identity {
        key: private_key(key)?,
        roots: certificates(roots)?,
        // Any key can be used with it: it only leaves the choice of key exchange to the library.
        algorithm: KeyAlgorithm::P256,
        not_after_s,
        issued_at: now,
        chain,
    })
}

/// DER as PEM.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    // 48 bytes are a line of 64 characters.
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
            for place in 0..4 {
                let letter = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
                text.push(if place <= group.len() { char::from(letter) } else { '=' });
            }
        }
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use squall_policy::Rng;

    use super::*;
    use crate::tls::make_key;

    #[test]
    fn what_is_written_is_read_whatever_its_length() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in [1, 2, 3, 47, 48, 49, 255] {
            let text = encode("CERTIFICATE", &bytes[..length]);
            assert_eq!(certificates(&text).expect("PEM"), [bytes[..length].to_vec()], "{text}");
        }
        let key = make_key(KeyAlgorithm::P256, &mut Rng::from_seed(1)).expect("a key");
        let text = encode("PRIVATE KEY", key.as_pkcs8());
        assert_eq!(private_key(&text).expect("a key").as_pkcs8(), key.as_pkcs8());
    }

    #[test]
    fn what_is_missing_is_named() {
        let key = encode("PRIVATE KEY", b"x");
        assert!(matches!(certificates(&key), Err(PemError::NoCertificate)));
        assert!(matches!(private_key(&encode("CERTIFICATE", b"x")), Err(PemError::NoKey)));
        assert!(matches!(identity(&encode("CERTIFICATE", b"x"), &key, "", Instant::ZERO), Err(PemError::NotX509(_))));
    }
}
