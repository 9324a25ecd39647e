//! The messages that ask for a workload certificate and give it.

use bytes::Bytes;
use prost::Message as _;

/// Asks for a certificate (`squall.v1alpha1.CertificateRequest`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CertificateRequest {
    /// A PKCS#10 request, DER; its URI SAN is the SPIFFE id that is asked for.
    #[prost(bytes = "bytes", tag = "1")]
    pub csr_der: Bytes,
    /// Proves that the caller is that workload.
    #[prost(string, tag = "2")]
    pub token: String,
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
