//! A small server of small pages, for people, probes and scrapers: the admin side of proxy and control plane. It takes a few words
//! with a request, and no more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};

use crate::http::{BodyError, Incoming, ServeLimits, serve};
use crate::{BoxFuture, Host, Listener, timeout};

/// The most connections that are served at once; more are closed as they come.
const CONNECTIONS: usize = 64;
/// The most that may come with a request.
const WORDS_BYTES: usize = 4 * 1024;
/// The longest time that it may take.
const WORDS_TIME: Duration = Duration::from_secs(5);

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// HTTP status, 200 to 599.
    pub status: u16,
    /// `content-type`.
    pub kind: &'static str,
    /// The body.
    pub text: String,
    /// For 405: the methods that are allowed.
    pub allow: Option<&'static str>,
}

impl Page {
    /// Plain text.
    #[must_use]
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Self { status, kind: "text/plain; charset=utf-8", text, allow: None }
    }

    /// JSON.
    #[must_use]
    pub fn json(text: String) -> Self {
        Self { kind: "application/json", ..Self::text(200, text) }
    }

    /// Metrics in Prometheus' text format (exposition format 0.0.4).
    #[must_use]
    pub fn metrics(text: String) -> Self {
        Self { kind: "text/plain; version=0.0.4; charset=utf-8", ..Self::text(200, text) }
    }

    /// The path is here, but not with this method.
    #[must_use]
    pub fn wrong_method(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::text(405, format!("only {allow}")) }
    }
}

/// Answers requests: method, path (without query), and the words that came with it: the body, without white space around it.
pub type Answer = Arc<dyn Fn(&Method, &str, &str) -> Page + Send + Sync>;

/// Serves pages on every connection that `listener` accepts, until it dies or this is dropped (connections in progress go on).
pub fn serve_pages(host: Host, mut listener: Box<dyn Listener>, answer: Answer) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let places = Arc::new(());
        loop {
            let accepted = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::error!(%error, at = %listener.local(), "the admin listener has died");
                    return;
                }
            };
            // One count is the loop's own.
            if Arc::strong_count(&places) > CONNECTIONS {
                continue;
            }
            let (place, of_host, answer) = (Arc::clone(&places), host.clone(), Arc::clone(&answer));
            host.spawn("admin connection", async move {
                let _place = place;
                let clock_host = of_host.clone();
                let service = move |request: Request<Incoming>| {
                    let (answer, host) = (Arc::clone(&answer), clock_host.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let page = match words(&host, body).await {
                            Ok(words) => answer(&head.method, head.uri.path(), words.trim()),
                            Err(page) => page,
                        };
                        Ok::<_, BodyError>(respond(page))
                    }
                };
                let limits = ServeLimits { head_bytes: 16 * 1024, streams: 100, ..ServeLimits::default() };
                let served = serve(&of_host, accepted.conn, None, limits, service, std::future::pending()).await;
                if let Err(error) = served {
                    tracing::debug!(%error, "an admin connection ended");
                }
            });
        }
    })
}

/// What came with a request, or what is answered instead.
async fn words(host: &Host, body: Incoming) -> Result<String, Page> {
    let until = host.now() + WORDS_TIME;
    let body = timeout(host.clock().as_ref(), until, Limited::new(body, WORDS_BYTES).collect()).await;
    let body = body.ok_or_else(|| Page::text(408, "the body did not come in time"))?;
    let body = body.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
        true => Page::text(413, format!("at most {WORDS_BYTES} bytes")),
        false => Page::text(400, "the body broke off"),
    })?;
    String::from_utf8(body.to_bytes().into()).map_err(|_| Page::text(400, "the body is not UTF-8"))
}

fn respond(page: Page) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(page.text)));
    *response.status_mut() = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(allow) = page.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}
