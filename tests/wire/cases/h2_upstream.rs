//! Upstreams that speak HTTP/2: what they are sent, and what is made of what they send.

use crate::frames::{self, END_HEADERS, END_STREAM};
use crate::row::{Row, SOON, h1, h2};

/// What an upstream sees of a GET.
const GET: &str = ":authority: app, :method: GET, :path: /, :scheme: http";
const POST: &str = ":authority: app, :method: POST, :path: /, :scheme: http";
const RESET: &str = "503 content-length: 0, squall-reason: reset";

fn asks(section: &'static str, claim: &'static str) -> Row {
    h1(section, claim).into_h2().sends("GET / HTTP/1.1\nhost: app\n\n").seen(GET)
}

/// An answer that is malformed, or breaks the connection.
fn wrong(section: &'static str, claim: &'static str, answer: &[Vec<u8>]) -> Row {
    asks(section, claim).answers_frames(answer).got(RESET)
}

/// As [`wrong`], and the upstream is told which error it is.
fn reset(section: &'static str, claim: &'static str, answer: &[Vec<u8>], error: &str) -> Row {
    asks(section, claim).answers_frames(answer).seen(format!("{GET} rst {error}")).got(RESET)
}

pub fn rows() -> Vec<Row> {
    [requests(), answers(), refusals()].concat()
}

fn requests() -> Vec<Row> {
    vec![
        asks("9113 §8.3.1", "a request line and Host become pseudo-headers").got("204"),
        h1("9113 §8.3.1", "so does a target in absolute-form").into_h2().sends("GET http://app/a?b HTTP/1.1\nhost: other\n\n").seen(":authority: app, :method: GET, :path: /a?b, :scheme: http").got("204"),
        h1("9113 §8.3.1", "OPTIONS * stays *").into_h2().sends("OPTIONS * HTTP/1.1\nhost: app\n\n").seen(":authority: app, :method: OPTIONS, :path: *, :scheme: http, content-length: 0").got("204"),
        h1("9113 §8.2.2", "fields of a connection do not reach HTTP/2")
            .into_h2()
            .sends("GET / HTTP/1.1\nhost: app\nconnection: x-hop, keep-alive\nx-hop: 1\nkeep-alive: timeout=5\nproxy-connection: x\nupgrade: h2c\nte: gzip\n\n")
            .seen(GET)
            .got("204"),
        h1("9113 §8.2.2", "TE: trailers reaches HTTP/2").into_h2().sends("GET / HTTP/1.1\nhost: app\nte: trailers, gzip\nconnection: te\n\n").seen(format!("{GET}, te: trailers")).got("204"),
        h1("9113 §8.2", "names are sent in lower case").into_h2().sends("GET / HTTP/1.1\nHOST: app\nX-Loud: YES\n\n").seen(format!("{GET}, x-loud: YES")).got("204"),
        h1("9113 §8.1", "chunks become DATA").into_h2().sends("POST / HTTP/1.1\nhost: app\ntransfer-encoding: chunked\n\n3\nhel\n2\nlo\n0\n\n").seen(format!("{POST} \"hello\"")).got("204"),
        h1("9113 §8.1.1", "a length is kept").into_h2().sends("POST / HTTP/1.1\nhost: app\ncontent-length: 5\n\nhello").seen(format!("{POST}, content-length: 5 \"hello\"")).got("204"),
        h1("9113 §8.1", "trailers pass").into_h2().sends("POST / HTTP/1.1\nhost: app\ntransfer-encoding: chunked\n\n5\nhello\n0\nx-sum: 1\n\n").seen(format!("{POST} \"hello\" +x-sum: 1")).got("204"),
        h1("9113 §8.2.2", "framing and fields of a connection in trailers do not pass")
            .into_h2()
            .sends("POST / HTTP/1.1\nhost: app\ntransfer-encoding: chunked\n\n5\nhello\n0\ntransfer-encoding: x\ncontent-length: 7\nconnection: x\nhost: b\nx-sum: 1\n\n")
            .seen(format!("{POST} \"hello\" +x-sum: 1"))
            .got("204"),
        h1("9112 §8", "a body that breaks off is a reset, not an end")
            .into_h2()
            .sends("POST / HTTP/1.1\nhost: app\ntransfer-encoding: chunked\n\n5\nhello\n")
            .when_upstream_has_heads(1)
            .half_closes()
            .seen(format!("{POST} \"hello\" rst INTERNAL_ERROR"))
            .got("closed"),
        h2("9113 §8.3.1", "HTTP/2 in, HTTP/2 out").into_h2().get(1, "").seen(GET).got("1: 204"),
        h2("9113 §8.1", "trailers pass from end to end")
            .into_h2()
            .post(1, "te: trailers")
            .frames(&[frames::data(1, 0, b"hello"), frames::headers(1, END_STREAM, "x-sum: 1")])
            .answers_frames(&[frames::headers(1, 0, ":status: 200"), frames::data(1, 0, b"ok"), frames::headers(1, END_STREAM, "grpc-status: 0")])
            .seen(format!("{POST}, te: trailers \"hello\" +x-sum: 1"))
            .got("1: 200 \"ok\" +grpc-status: 0"),
        h2("9113 §5.4.2", "a caller's reset is passed on")
            .into_h2()
            .post(1, "")
            .frames(&[frames::data(1, 0, b"hello")])
            .when_upstream_has_heads(1)
            .frames(&[frames::reset(1, 8), frames::headers(3, END_STREAM, ":method: GET\n:scheme: http\n:authority: app\n:path: /")])
            .seen(format!("{POST} \"hello\" rst CANCEL ;; {GET}"))
            .got("3: 204"),
    ]
}

fn answers() -> Vec<Row> {
    let head = |lines: &str| frames::headers(1, 0, lines);
    vec![
        asks("9113 §8.3.2", "a status and DATA become an answer of HTTP/1.1")
            .answers_frames(&[head(":status: 200\ncontent-length: 2"), frames::data(1, END_STREAM, b"ok")])
            .got("200 content-length: 2 \"ok\""),
        asks("9113 §8.1", "DATA without a length become chunks")
            .answers_frames(&[head(":status: 200"), frames::data(1, 0, b"hel"), frames::data(1, END_STREAM, b"lo")])
            .got("200 transfer-encoding: chunked \"hello\""),
        asks("9113 §8.1", "interim responses are dropped")
            .answers_frames(&[
                head(":status: 103\nlink: </a>"),
                head(":status: 200\ncontent-length: 2"),
                frames::data(1, END_STREAM, b"ok"),
            ])
            .got("200 content-length: 2 \"ok\"")
            .except("RFC 9110 §15.2 wants them forwarded; hyper's HTTP/2 client gives no access to them"),
        wrong("9113 §8.3.2", "an answer without :status is malformed", &[frames::headers(1, END_STREAM, "x-a: 1")]),
        asks("9113 §8.3.2", "a request's pseudo-header in an answer is malformed")
            .answers_frames(&[frames::headers(1, END_STREAM, ":status: 200\n:path: /")])
            .got("200 content-length: 0")
            .except("`h2` drops it instead of refusing the answer; it reaches nobody"),
        reset(
            "9113 §8.2.2",
            "Connection in an answer is malformed",
            &[frames::headers(1, END_STREAM, ":status: 200\nconnection: close")],
            "PROTOCOL_ERROR",
        ),
        reset(
            "9113 §8.2.2",
            "Transfer-Encoding in an answer is malformed",
            &[frames::headers(1, END_STREAM, ":status: 200\ntransfer-encoding: chunked")],
            "PROTOCOL_ERROR",
        ),
        wrong(
            "9113 §8.2.1",
            "a value with CRLF in an answer is malformed",
            &[frames::headers(1, END_STREAM, ":status: 200\nx-a: 1\r\nset-cookie: evil")],
        ),
        wrong(
            "9113 §8.2",
            "a name in upper case in an answer is malformed",
            &[frames::headers(1, END_STREAM, ":status: 200\nX-A: 1")],
        ),
        wrong("9113 §8.1", "DATA before a head is an error", &[frames::data(1, END_STREAM, b"ok")]),
        asks("9113 §8.1.1", "more DATA than Content-Length says reaches the client as broken")
            .answers_frames(&[
                head(":status: 200\ncontent-length: 2"),
                frames::data(1, END_STREAM, b"okHTTP/1.1 200 OK\r\n\r\n"),
            ])
            .seen(format!("{GET} rst PROTOCOL_ERROR"))
            .got("closed"),
        asks("9113 §8.1.1", "less DATA than Content-Length says reaches the client as broken")
            .answers_frames(&[head(":status: 200\ncontent-length: 10"), frames::data(1, END_STREAM, b"hello")])
            .seen(format!("{GET} rst PROTOCOL_ERROR"))
            .got("closed"),
        asks("9113 §5.4.2", "a reset in the middle reaches the client as broken")
            .answers_frames(&[head(":status: 200"), frames::data(1, 0, b"hello"), frames::reset(1, 2)])
            .got("closed"),
        asks("9110 §15.2.2", "101 has no place in HTTP/2")
            .answers_frames(&[frames::headers(1, END_STREAM, ":status: 101")])
            .got(RESET),
        asks("9113 §8.1", "an early answer and NO_ERROR are an answer")
            .answers_frames(&[
                head(":status: 200\ncontent-length: 2"),
                frames::data(1, END_STREAM, b"ok"),
                frames::reset(1, 0),
            ])
            .got("200 content-length: 2 \"ok\""),
    ]
}

fn refusals() -> Vec<Row> {
    let goaway =
        |last: u32, code: u32| frames::frame(frames::GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    vec![
        asks("9113 §8.7", "REFUSED_STREAM says that nothing was done")
            .answers_frames(&[frames::reset(1, 7)])
            .got("503 content-length: 0, squall-reason: refused-stream"),
        asks("9113 §6.8", "so does a GOAWAY before the stream")
            .answers_frames_and_closes(&[goaway(0, 0)])
            .got("503 content-length: 0, squall-reason: refused-stream"),
        asks("9113 §6.8", "a GOAWAY behind the stream lets it end")
            .answers_frames_and_closes(&[goaway(1, 0), frames::headers(1, END_STREAM, ":status: 204")])
            .got("204"),
        h1("9113 §6.8", "after a GOAWAY the next request takes another connection")
            .into_h2()
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .reads(1)
            .when_upstream_has_ended(1)
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .answers_frames_and_closes(&[frames::headers(1, END_STREAM, ":status: 204"), goaway(1, 0)])
            .seen(format!("{GET} ;; {GET}"))
            .got("204 ;; 204"),
        wrong(
            "9113 §6.5",
            "a connection error of the upstream is no answer",
            &[frames::frame(frames::SETTINGS, 0, 1, &[])],
        ),
        wrong(
            "9113 §8.4",
            "a PUSH_PROMISE that nobody allowed is a connection error",
            &[frames::frame(
                frames::PUSH_PROMISE,
                END_HEADERS,
                1,
                &[&[0, 0, 0, 2][..], &frames::block(":method: GET\n:scheme: http\n:authority: app\n:path: /x")]
                    .concat(),
            )],
        ),
        wrong("9113 §10.5", "a head of an answer without an end is a connection error", &{
            let mut flood = vec![frames::frame(frames::HEADERS, 0, 1, &frames::block(":status: 200"))];
            flood.extend(vec![frames::frame(frames::CONTINUATION, 0, 1, &[0; 1000]); 2000]);
            flood
        }),
        wrong("9113 §10.5.1", "a head of an answer that is too large is an error", &{
            let block = frames::block(&format!(":status: 200\nx-a: {}", "a".repeat(80_000)));
            let mut parts = block.chunks(16_000);
            let mut head = vec![frames::frame(frames::HEADERS, END_STREAM, 1, parts.next().unwrap_or_default())];
            head.extend(parts.map(|part| frames::frame(frames::CONTINUATION, 0, 1, part)));
            head.push(frames::frame(frames::CONTINUATION, END_HEADERS, 1, &[]));
            head
        }),
        h1("9113 §3.4", "an upstream that does not speak HTTP/2 is no upstream")
            .into_h2()
            .greeting(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec())
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .answers_raw("")
            .seen(GET)
            .got(RESET),
        h1("9113 §5.1.2", "an upstream's limit of streams is kept: the second request waits for the first")
            .into_h2()
            .greeting(frames::settings(&[(1, 0), (3, 1)]))
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .reads(1)
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .seen(format!("{GET} ;; {GET}"))
            .got("204 ;; 204"),
        h1("9113 §6.9", "an upstream that gives no window gets no body, and is given up")
            .into_h2()
            .greeting(frames::settings(&[(1, 0), (4, 0)]))
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .reads(1)
            .sends("POST / HTTP/1.1\nhost: app\ncontent-length: 5\n\nhello")
            .mesh(|mesh| mesh.hosts[0].routes[0].timeouts.request = Some(SOON))
            .seen(format!("{GET} ;; {POST}, content-length: 5 rst CANCEL"))
            .got("204 ;; 504 content-length: 0, squall-reason: deadline-exceeded"),
    ]
}
