//! A new connection to an endpoint: TCP, mutual TLS with the endpoint's identity proven, HTTP.

use std::sync::Arc;

use squall_net::http::{Sender, Version};
use squall_policy::{Failure, Protocol};

use crate::body::RequestBody;
use crate::core::Core;
use crate::identity::Secrets;
use crate::judge;
use crate::pool::Key;

/// Connects to `key`. No time limit of its own.
pub(crate) async fn open(
    core: &Core,
    secrets: Option<Arc<Secrets>>,
    key: &Key,
) -> Result<Sender<RequestBody>, Failure> {
    let conn = core.host.net().connect(key.address).await.map_err(|error| judge::connect_failure(&error))?;
    let conn = match &key.identity {
        None => conn,
        Some(expected) => {
            // Without an identity of our own, or without knowing whom to expect, there is no mutual TLS: refused, never
            // sent in the clear.
            let Some(secrets) = secrets.filter(|_| !expected.is_empty()) else { return Err(Failure::Tls) };
            let secured = secrets.connector(key.protocol).connect(conn, expected).await;
            secured.map_err(|error| judge::tls_failure(&error))?.conn
        }
    };
    let version = match key.protocol {
        // A request that is to go there all the same goes as the plainest bytes.
        Protocol::Http1 | Protocol::Tcp => Version::Http1,
        Protocol::Http2 => Version::Http2,
    };
    squall_net::http::connect(&core.host, conn, version).await.map_err(|_| Failure::Reset)
}
