//! Kubernetes service-account tokens: the API server says whose they are, by a `TokenReview` of `authentication.k8s.io/v1`.
//!
//! ```text
//!   proxy ── CSR, token ─▶ control plane ── TokenReview (HTTPS, the server's name is checked) ─▶ API server
//!                                └─ authenticated, for our audience, a service account ─▶ its SPIFFE id is signed
//! ```
//!
//! Nothing is remembered: a token that Kubernetes takes back (its pod is gone) proves nothing from then on. There are few reviews, one
//! per start and one per half life of a certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::{Deserialize, Serialize};
use squall_net::edge::EdgeConnector;
use squall_net::http::{Version, connect};
use squall_net::tls::{KeyAlgorithm, TlsError};
use squall_net::{Host, timeout};

use crate::spiffe_id;

/// How long the API server may take for one answer. Less than the 5 s that a proxy waits for ours, so that it hears why.
const PATIENCE: Duration = Duration::from_secs(3);
/// Reviews at once; more are to come again.
const AT_ONCE: usize = 64;
/// The longest answer that is read.
const ANSWER_BYTES: usize = 256 * 1024;
/// Longer ones are none: those of Kubernetes have some thousand bytes.
const TOKEN_BYTES: usize = 16 * 1024;

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const VERSION: &str = "authentication.k8s.io/v1";
const KIND: &str = "TokenReview";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Gives a secret anew each time, since it may change: a file that Kubernetes rotates. `Err`: why there is none, without a word of it.
pub type SecretSource = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// An API server that reviews tokens.
pub struct ReviewConfig {
    /// Its name or address, which its certificate must show.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who signs its certificate, DER.
    pub roots: Vec<Vec<u8>>,
    /// The control plane's own token for it; it needs leave to `create` `tokenreviews`.
    pub own_token: SecretSource,
    /// The audience that tokens must be for, `squall`.
    pub audience: String,
}

/// Asks an API server whose tokens are.
pub struct TokenReview {
    host: Host,
    config: ReviewConfig,
    connector: EdgeConnector,
    under_way: AtomicUsize,
}

/// Why a token proves nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ReviewError {
    /// It never will.
    #[error("{0}")]
    Unproven(String),
    /// It may later.
    #[error("the API server cannot be asked: {0}")]
    Away(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    api_version: &'static str,
    kind: &'static str,
    spec: AskedSpec<'a>,
}

#[derive(Serialize)]
struct AskedSpec<'a> {
    token: &'a str,
    audiences: [&'a str; 1],
}

#[derive(Default, Deserialize)]
struct Answered {
    #[serde(default)]
    status: Reviewed,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reviewed {
    authenticated: bool,
    user: User,
    audiences: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
}

impl TokenReview {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// [`TlsError::BadIdentity`] if a root cannot be used.
    pub fn new(host: &Host, config: ReviewConfig) -> Result<Self, TlsError> {
        let connector = EdgeConnector::new(host, KeyAlgorithm::P256, &config.roots, &[b"http/1.1"])?;
        Ok(Self { host: host.clone(), config, connector, under_way: AtomicUsize::new(0) })
    }

    /// The SPIFFE id of the service account whose token it is.
    pub(crate) async fn proven_by(&self, token: &str) -> Result<String, ReviewError> {
        if !is_jwt(token) {
            return Err(ReviewError::Unproven("the token is unknown, and none of a service account".to_owned()));
        }
        let _counted = Counted::enter(&self.under_way)
            .ok_or_else(|| ReviewError::Away(format!("{AT_ONCE} reviews are under way")))?;
        let until = self.host.now() + PATIENCE;
        let asked = timeout(self.host.clock().as_ref(), until, self.ask(token)).await;
        let answer =
            asked.unwrap_or_else(|| Err(format!("no answer within {PATIENCE:?}"))).map_err(ReviewError::Away)?;
        self.judge(&answer.status)
    }

    fn judge(&self, review: &Reviewed) -> Result<String, ReviewError> {
        let unproven = |why: &str| Err(ReviewError::Unproven(why.to_owned()));
        if !review.authenticated {
            return unproven("the API server does not know the token");
        }
        // A server that knows no audiences names none, and would take any token for us.
        if !review.audiences.contains(&self.config.audience) {
            let why = format!("the token is not for the audience `{}`", self.config.audience);
            return Err(ReviewError::Unproven(why));
        }
        let account = review.user.username.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':'));
        match account.filter(|(namespace, name)| is_name(namespace) && is_name(name)) {
            Some((namespace, name)) => Ok(spiffe_id(namespace, name)),
            None => unproven("the token is none of a service account"),
        }
    }

    async fn ask(&self, token: &str) -> Result<Answered, String> {
        let ReviewConfig { host: name, port, own_token, audience, .. } = &self.config;
        let spec = AskedSpec { token, audiences: [audience] };
        let body = serde_json::to_vec(&Asked { api_version: VERSION, kind: KIND, spec });
        let body = body.map_err(|error| error.to_string())?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", own_token()?))
            .map_err(|_| "its own token for it is no header value".to_owned())?;
        bearer.set_sensitive(true);
        let authority = if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") };
        let request = Request::post(PATH)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("squall/", env!("CARGO_PKG_VERSION")))
            .header(AUTHORIZATION, bearer)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;

        let address = match name.parse() {
            Ok(address) => address,
            Err(_) => {
                let found = self.host.net().resolve(name).await.map_err(|error| format!("{name}: {error}"))?;
                *found.first().ok_or_else(|| format!("{name} has no address"))?
            }
        };
        let at = SocketAddr::new(address, *port);
        let conn = self.host.net().connect(at).await.map_err(|error| format!("{at}: {error}"))?;
        let secured = self.connector.connect(conn, name).await.map_err(|error| format!("{name}: {error}"))?;
        let sender = connect(&self.host, secured.conn, Version::Http1).await;
        let response = sender.map_err(|error| error.to_string())?.send(request).await;
        let (head, body) = response.map_err(|error| error.to_string())?.into_parts();
        if !matches!(head.status, StatusCode::OK | StatusCode::CREATED) {
            let hint = match head.status {
                StatusCode::UNAUTHORIZED => ": it does not know the control plane's own token",
                StatusCode::FORBIDDEN => ": the control plane's service account may not create tokenreviews",
                _ => "",
            };
            return Err(format!("it answers {}{hint}", head.status));
        }
        let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| error.to_string())?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| format!("its answer is no {KIND}: {error}"))
    }
}

/// One of the reviews under way.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        // Made before it is looked at, so that it is counted back in any case.
        let (counted, before) = (Self(count), count.fetch_add(1, Ordering::Relaxed));
        (before < AT_ONCE).then_some(counted)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether it looks like a JSON Web Token (RFC 7519): three parts of base64url. Others need not be asked about.
fn is_jwt(token: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    token.len() <= TOKEN_BYTES && token.split('.').count() == 3 && token.split('.').all(is_part)
}

/// A name of Kubernetes' (RFC 1123): nothing that could be something else in a SPIFFE id.
fn is_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    !name.is_empty() && name.len() <= 253 && name.bytes().all(is_good) && !name.starts_with('.') && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_token_of_kubernetes_is_asked_about() {
        for (token, want) in [
            ("eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJzIn0.c2ln_-", true),
            ("0123456789abcdef", false),
            ("a.b", false),
            ("a.b.c.d", false),
            ("a..c", false),
            ("a.b.c\n", false),
            ("", false),
        ] {
            assert_eq!(is_jwt(token), want, "{token:?}");
        }
        assert!(!is_jwt(&format!("a.b.{}", "c".repeat(TOKEN_BYTES))));
    }

    #[test]
    fn no_name_can_be_another_path_of_an_id() {
        for (name, want) in
            [("shop", true), ("a-1.b", true), ("", false), ("..", false), ("a/b", false), ("A", false), ("a..b", false)]
        {
            assert_eq!(is_name(name), want, "{name:?}");
        }
    }
}
