//! What HTTP over the seam does in every world: both versions, plain and over TLS.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Frame};
use squall_net::http::{BodyError, BoxBody, Incoming, Sender, ServeLimits, Version, connect, serve, was_not_sent};
use squall_net::tls::{Acceptor, Connector};
use squall_net::{BoxFuture, Conn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::identities::{CLIENT, SERVER, identities};
use crate::world::{Board, Case, Party, Speech};

/// Each case in each speech it is about.
pub fn cases() -> Vec<Case> {
    const BOTH: &[Version] = &[Version::Http1, Version::Http2];
    let told: [(Case, &[Version]); 8] = [
        (Case::new("one_connection_carries_many_requests", &[serves_echo, asks_many]), BOTH),
        (Case::new("bodies_stream_both_ways", &[serves_echo, streams]), BOTH),
        (Case::new("trailers_go_both_ways", &[serves_trailers, sends_trailers]), BOTH),
        (Case::new("a_cancelled_request_ends_its_service", &[serves_for_ever, cancels_a_request]), BOTH),
        (Case::new("a_dropped_response_ends_its_body", &[serves_an_endless_body, drops_a_response]), BOTH),
        (Case::new("a_drain_lets_requests_finish", &[serves_until_drained, asks_while_draining]), BOTH),
        (Case::new("only_an_unfinished_head_times_out", &[serves_briefly, idles_and_dawdles]), &[Version::Http1]),
        (Case::new("a_drain_takes_one_more_from_a_connection_at_rest", &[serves_patiently, rests]), &[Version::Http1]),
    ];
    let mut cases = Vec::new();
    for (case, versions) in told {
        for version in versions {
            cases.extend([false, true].map(|secure| Case { speech: Speech { version: *version, secure }, ..case }));
        }
    }
    cases
}

/// Accepts one connection and serves it until it ends.
async fn serve_one<S, F, B>(
    party: &Party,
    version: Option<Version>,
    limits: ServeLimits,
    service: S,
) -> Result<(), hyper::Error>
where
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, BodyError>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    let mut listener = party.host.net().listen(SocketAddr::new(party.me, 0)).await.expect("a free port");
    party.board.pin("server", listener.local());
    let mut conn = listener.accept().await.expect("a connection").conn;
    if party.speech.secure {
        let acceptor = Acceptor::new(&party.host, &identities()[0], true, &[]).expect("a good identity");
        let secured = acceptor.accept(conn).await.expect("a client of the mesh");
        assert_eq!(secured.peer_identity.as_deref(), Some(CLIENT));
        conn = secured.conn;
    }
    let drain = party.board.raised("drain");
    serve(&party.host, conn, version, limits, service, drain).await
}

async fn dial(party: &Party) -> Conn {
    let server = party.board.pinned("server").await;
    let conn = party.host.net().connect(server).await.expect("it listens");
    if !party.speech.secure {
        return conn;
    }
    let connector = Connector::new(&party.host, &identities()[1], &[]).expect("a good identity");
    connector.connect(conn, &SERVER.into()).await.expect("the server of the mesh").conn
}

async fn sender(party: &Party) -> Sender<BoxBody> {
    connect(&party.host, dial(party).await, party.speech.version).await.expect("an HTTP connection")
}

fn boxed(body: impl Body<Data = Bytes, Error = Infallible> + Send + 'static) -> BoxBody {
    body.map_err(|never| match never {}).boxed_unsync()
}

/// A request that both versions can send.
fn request(path: &str, body: BoxBody) -> Request<BoxBody> {
    let request = Request::post(format!("http://server{path}")).header("host", "server").header("te", "trailers");
    request.body(body).expect("a good request")
}

/// Raises a signal when dropped.
struct Raises(Board, &'static str);

impl Drop for Raises {
    fn drop(&mut self) {
        self.0.raise(self.1);
    }
}

fn serves_echo(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        serve_one(&party, None, ServeLimits::default(), |request| async move {
            let path = request.uri().path().to_owned();
            Ok(Response::builder().header("path", path).body(request.into_body())?)
        })
        .await
        .expect("nothing is wrong with the connection");
    })
}

async fn ask(mut sender: Sender<BoxBody>, number: usize) -> Sender<BoxBody> {
    let asked = Bytes::from(format!("body of {number}"));
    let response =
        sender.send(request(&format!("/{number}"), boxed(Full::new(asked.clone())))).await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["path"], format!("/{number}"));
    assert!(!response.headers().contains_key("date"), "the date is the caller's");
    let answered = response.into_body().collect().await.expect("a whole body").to_bytes();
    assert_eq!(answered, asked);
    sender
}

fn asks_many(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut sender = sender(&party).await;
        match party.speech.version {
            Version::Http1 => {
                assert!(sender.try_clone().is_none());
                for number in 0..20 {
                    sender = ask(sender, number).await;
                }
            }
            Version::Http2 => {
                let (done, mut all_done) = tokio::sync::mpsc::unbounded_channel();
                for number in 0..100 {
                    let (sender, done) = (sender.try_clone().expect("HTTP/2"), done.clone());
                    party.host.spawn("one of many", async move {
                        ask(sender, number).await;
                        done.send(()).expect("somebody counts");
                    });
                }
                drop(done);
                let mut count = 0;
                while all_done.recv().await.is_some() {
                    count += 1;
                }
                assert_eq!(count, 100);
            }
        }
    })
}

/// Frames that are known from the start.
struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn streams(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut sender = sender(&party).await;
        let chunk = |number: u32| Bytes::from(number.to_be_bytes().repeat(4096));
        let sent = Frames((0..200).map(|number| Frame::data(chunk(number))).collect());
        let response = sender.send(request("/", boxed(sent))).await.expect("an answer");
        let back = response.into_body().collect().await.expect("a whole body").to_bytes();
        assert_eq!(back.len(), 200 * 16_384);
        assert!((0..200).all(|number| back[number as usize * 16_384..][..16_384] == chunk(number)));
    })
}

fn trailers(of: &'static str) -> Frames {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", HeaderValue::from_static(of));
    Frames([Frame::data(Bytes::from_static(b"data")), Frame::trailers(trailers)].into())
}

fn serves_trailers(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        serve_one(&party, Some(party.speech.version), ServeLimits::default(), |request| async move {
            let whole = request.into_body().collect().await?;
            assert_eq!(whole.trailers().map(|trailers| trailers["x-end"].as_bytes()), Some(&b"request"[..]));
            Ok(Response::builder().header("trailer", "x-end").body(trailers("response"))?)
        })
        .await
        .expect("nothing is wrong with the connection");
    })
}

fn sends_trailers(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut sender = sender(&party).await;
        let mut request = request("/", boxed(trailers("request")));
        request.headers_mut().insert("trailer", HeaderValue::from_static("x-end"));
        let response = sender.send(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        let whole = response.into_body().collect().await.expect("a whole body");
        assert_eq!(whole.trailers().map(|trailers| trailers["x-end"].as_bytes()), Some(&b"response"[..]));
        assert_eq!(whole.to_bytes(), b"data"[..]);
    })
}

fn serves_for_ever(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let board = party.board.clone();
        let served = serve_one(&party, Some(party.speech.version), ServeLimits::default(), move |request| {
            let board = board.clone();
            async move {
                if request.uri().path() == "/ever" {
                    let _raises = Raises(board.clone(), "cancelled");
                    board.raise("serving");
                    std::future::pending::<()>().await;
                }
                Ok(Response::new(Empty::<Bytes>::new()))
            }
        })
        .await;
        // HTTP/1.1 can only end it by closing.
        let cut_off = served.is_err_and(|error| error.is_incomplete_message());
        assert_eq!(cut_off, party.speech.version == Version::Http1);
    })
}

fn cancels_a_request(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut sender = sender(&party).await;
        {
            let mut send = std::pin::pin!(sender.send(request("/ever", boxed(Empty::new()))));
            let mut serving = std::pin::pin!(party.board.raised("serving"));
            std::future::poll_fn(|cx| {
                assert!(send.as_mut().poll(cx).is_pending(), "nobody answers");
                serving.as_mut().poll(cx)
            })
            .await;
        }
        party.board.raised("cancelled").await;
        match party.speech.version {
            Version::Http1 => {
                let error = sender.send(request("/", boxed(Empty::new()))).await.expect_err("closed by the cancel");
                assert!(was_not_sent(&error), "{error:?}");
            }
            Version::Http2 => {
                let response = sender.send(request("/", boxed(Empty::new()))).await.expect("the connection lives on");
                assert_eq!(response.status(), 200);
            }
        }
    })
}

/// Data without end.
struct Endless(Bytes, #[expect(dead_code, reason = "its drop is what matters")] Raises);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(self.0.clone()))))
    }
}

fn serves_an_endless_body(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let (board, limits) = (party.board.clone(), ServeLimits::default());
        let service = move |request: Request<Incoming>| {
            let board = board.clone();
            async move {
                let endless = request.uri().path() == "/endless";
                let body = endless.then(|| Endless(Bytes::from(vec![7; 10_000]), Raises(board, "dropped")));
                Ok(Response::new(body.map_or_else(|| boxed(Empty::new()), boxed)))
            }
        };
        // Whether it ends well depends on what is under way when the client goes.
        let _ = serve_one(&party, Some(party.speech.version), limits, service).await;
    })
}

fn drops_a_response(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut sender = sender(&party).await;
        let response = sender.send(request("/endless", boxed(Empty::new()))).await.expect("an answer");
        let mut body = response.into_body();
        for _ in 0..3 {
            body.frame().await.expect("endless").expect("data");
        }
        drop(body);
        party.board.raised("dropped").await;
        // HTTP/1.1 can only end such a body by closing; HTTP/2 resets the stream and goes on.
        let next = sender.send(request("/", boxed(Empty::new()))).await;
        assert_eq!(next.is_ok(), party.speech.version == Version::Http2, "{next:?}");
    })
}

fn serves_until_drained(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let board = party.board.clone();
        serve_one(&party, None, ServeLimits::default(), move |_| {
            let board = board.clone();
            async move {
                board.raise("serving");
                board.raised("go on").await;
                Ok(Response::new(Full::new(Bytes::from_static(b"finished"))))
            }
        })
        .await
        .expect("nothing is wrong with the connection");
        party.board.raise("drained");
    })
}

fn asks_while_draining(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut sender = sender(&party).await;
        let (response, ()) = tokio::join!(sender.send(request("/", boxed(Empty::new()))), async {
            party.board.raised("serving").await;
            party.board.raise("drain");
            party.pause(Duration::from_millis(50)).await;
            party.board.raise("go on");
        });
        let response = response.expect("it was under way");
        if party.speech.version == Version::Http1 {
            assert_eq!(response.headers().get_all("connection").iter().collect::<Vec<_>>(), ["close"]);
        }
        assert_eq!(response.into_body().collect().await.expect("a whole body").to_bytes(), b"finished"[..]);
        party.board.raised("drained").await;
        while !sender.is_closed() {
            party.pause(Duration::from_millis(5)).await;
        }
        let error = sender.send(request("/", boxed(Empty::new()))).await.expect_err("the server is gone");
        assert!(was_not_sent(&error), "{error:?}");
    })
}

const HEAD_TIMEOUT: Duration = Duration::from_millis(100);

fn serves_briefly(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let limits = ServeLimits { head_timeout: HEAD_TIMEOUT, ..ServeLimits::default() };
        let service = |_| async { Ok(Response::new(Empty::<Bytes>::new())) };
        let served = serve_one(&party, None, limits, service).await;
        assert!(served.expect_err("the last head never ended").is_timeout());
    })
}

/// The head of the answer to a request.
async fn answered(conn: &mut Conn) -> String {
    conn.write_all(b"GET / HTTP/1.1\r\nhost: server\r\n\r\n").await.expect("idle connections stay");
    conn.flush().await.expect("idle connections stay");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(conn.read_u8().await.expect("an answer"));
    }
    String::from_utf8(head).expect("it is ASCII")
}

fn serves_patiently(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let limits = ServeLimits { drain_grace: Duration::from_secs(10), ..ServeLimits::default() };
        let service = |_| async { Ok(Response::new(Empty::<Bytes>::new())) };
        serve_one(&party, None, limits, service).await.expect("nothing is wrong with the connection");
    })
}

/// Long enough at rest for the server to have given up its buffers.
fn rests(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = dial(&party).await;
        assert!(!answered(&mut conn).await.contains("connection: close"));
        party.pause(Duration::from_secs(1)).await;
        party.board.raise("drain");
        party.pause(Duration::from_millis(50)).await;
        assert_eq!(answered(&mut conn).await.matches("connection: close").count(), 1);
        let mut rest = Vec::new();
        conn.read_to_end(&mut rest).await.expect("a good end");
        assert_eq!(rest, b"");
    })
}

fn idles_and_dawdles(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = dial(&party).await;
        for _ in 0..2 {
            party.pause(3 * HEAD_TIMEOUT).await;
            assert!(answered(&mut conn).await.starts_with("HTTP/1.1 200 OK\r\n"));
        }
        conn.write_all(b"GET / HT").await.expect("the server reads");
        conn.flush().await.expect("the server reads");
        let mut rest = Vec::new();
        let _ = conn.read_to_end(&mut rest).await;
        assert_eq!(String::from_utf8_lossy(&rest), "");
    })
}
