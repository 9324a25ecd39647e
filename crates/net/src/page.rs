//! A small server of small pages, for people, probes and scrapers: the admin side of proxy and control plane. It takes a few words
//! with a request, and no more.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, Full, Limited};

use crate::http::{BodyError, Incoming, ServeLimits, serve};
use crate::{BoxFuture, Host, Listener, timeout};

/// The most connections that are served at once; more are closed as they come.
const CONNECTIONS: usize = 64;
/// The most that may come with a request.
const WORDS_BYTES: usize = 4 * 1024;
/// The longest time that it may take.
const WORDS_TIME: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, without query.
    pub path: &'a str,
    /// What stands behind the `?`, as it came.
    pub query: &'a str,
    /// What came with the request: its body, without white space around it.
    pub words: &'a str,
}

/// What is answered.
#[derive(Debug)]
pub struct Page {
    /// HTTP status, 200 to 599.
    pub status: u16,
    /// `content-type`.
    pub kind: &'static str,
    /// The body.
    pub body: Body,
    /// For 405: the methods that are allowed.
    pub allow: Option<&'static str>,
}

/// The body of a page.
pub enum Body {
    /// All of it.
    Text(String),
    /// It comes bit by bit, until there is no more.
    Lines(Lines),
}

/// Gives what there is to send next; `None` at the end. Dropped when nobody listens any more.
pub type Lines = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<Bytes>> + Send>;

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.debug_tuple("Text").field(text).finish(),
            Self::Lines(_) => f.write_str("Lines"),
        }
    }
}

impl Page {
    /// Plain text.
    #[must_use]
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Self { status, kind: "text/plain; charset=utf-8", body: Body::Text(text), allow: None }
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

    /// JSON values, each with an end of line, as they come (application/x-ndjson).
    #[must_use]
    pub fn lines(lines: Lines) -> Self {
        Self { status: 200, kind: "application/x-ndjson", body: Body::Lines(lines), allow: None }
    }

    /// The path is here, but not with this method.
    #[must_use]
    pub fn wrong_method(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::text(405, format!("only {allow}")) }
    }
}

/// Answers requests.
pub type Answer = Arc<dyn Fn(&Asked<'_>) -> Page + Send + Sync>;

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
                            Ok(words) => answer(&Asked {
                                method: &head.method,
                                path: head.uri.path(),
                                query: head.uri.query().unwrap_or_default(),
                                words: words.trim(),
                            }),
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

/// A body that comes bit by bit.
struct Coming(Lines);

impl http_body::Body for Coming {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = ready!((self.0)(cx));
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn respond(page: Page) -> Response<Either<Full<Bytes>, Coming>> {
    let mut response = Response::new(match page.body {
        Body::Text(text) => Either::Left(Full::new(Bytes::from(text))),
        Body::Lines(lines) => Either::Right(Coming(lines)),
    });
    *response.status_mut() = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(allow) = page.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}
