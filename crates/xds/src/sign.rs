//! The messages that ask for a workload certificate and give it.

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

/// Asks for a certificate (`squall.v1alpha1.CertificateRequest`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct CertificateRequest {
    /// A PKCS#10 request, DER; its URI SAN is the SPIFFE id that is asked for.
    #[prost(bytes = "bytes", tag = "1")]
    pub csr_der: Bytes,
    /// Proves that the caller is that workload.
    #[prost(string, tag = "2")]
    pub token: String,
}

/// Without the token, which is a secret.
impl fmt::Debug for CertificateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateRequest").field("csr_der", &self.csr_der).finish_non_exhaustive()
    }
}

/// The certificate (`squall.v1alpha1.CertificateResponse`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CertificateResponse {
    /// Leaf first, DER.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub chain: Vec<Bytes>,
    /// The roots of the mesh, DER.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub roots: Vec<Bytes>,
    /// When the leaf ends, seconds since 1970.
    #[prost(uint64, tag = "3")]
    pub not_after_s: u64,
}

/// Bytes that are not the message they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct MalformedMessage(String);

macro_rules! wire {
    ($($name:ident),*) => {$(
        impl $name {
            /// The message on the wire, without gRPC framing.
            #[must_use]
            pub fn to_wire(&self) -> Bytes {
                self.encode_to_vec().into()
            }

            /// The message from the wire, without gRPC framing.
            ///
            /// # Errors
            /// [`MalformedMessage`] if it is none.
            pub fn from_wire(wire: &[u8]) -> Result<Self, MalformedMessage> {
                Self::decode(wire).map_err(|error| MalformedMessage(error.to_string()))
            }
        }
    )*};
}
wire!(CertificateRequest, CertificateResponse);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_shown_for_debugging_shows_no_token() {
        let request = CertificateRequest { csr_der: Bytes::from_static(b"csr"), token: "0123456789abcdef".into() };
        assert_eq!(format!("{request:?}"), "CertificateRequest { csr_der: b\"csr\", .. }");
    }
}
