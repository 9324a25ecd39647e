//! Request heads of HTTP/2 (RFC 9113 §8): what is malformed never becomes a request of HTTP/1.1.

use crate::frames::{self, END_STREAM};
use crate::row::{Row, h2};

/// A malformed request ends its stream.
const MALFORMED: &str = "1: rst PROTOCOL_ERROR";
/// A request that `h2` cannot even read ends the connection.
const FATAL: &str = "goaway PROTOCOL_ERROR ;; closed";
/// Why.
const HARSH: &str =
    "the RFC asks for an error of the stream; `h2` ends the connection: harsher, and nothing is passed on";
const GET: &str = ":method: GET\n:scheme: http\n:authority: app\n:path: /\n";

fn head(section: &'static str, claim: &'static str, lines: &str) -> Row {
    h2(section, claim).frames(&[frames::headers(1, END_STREAM, lines)])
}

fn malformed(section: &'static str, claim: &'static str, lines: &str) -> Row {
    head(section, claim, lines).got(MALFORMED)
}

/// A GET with more fields is malformed.
fn field(section: &'static str, claim: &'static str, more: &str) -> Row {
    malformed(section, claim, &format!("{GET}{more}"))
}

/// A GET with one field of these bytes.
fn bytes(section: &'static str, claim: &'static str, name: &[u8], value: &[u8]) -> Row {
    let mut block = frames::block(GET);
    block.extend(crate::hpack::encode(&[(name, value)]));
    h2(section, claim)
        .frames(&[frames::frame(frames::HEADERS, END_STREAM | frames::END_HEADERS, 1, &block)])
        .got(FATAL)
        .except(HARSH)
}

pub fn rows() -> Vec<Row> {
    [pseudo(), fields(), downgrade()].concat()
}

fn pseudo() -> Vec<Row> {
    vec![
        head("9113 §8.3.1", "the pseudo-headers become a request line and Host", GET).seen("GET / host: app").got_ok(),
        head("9113 §8.3.1", "Host stands for a missing :authority", ":method: GET\n:scheme: http\n:path: /\nhost: app")
            .seen("GET / host: app")
            .got_ok(),
        head("9113 §8.3.1", "Host and :authority may say the same", &format!("{GET}host: app"))
            .seen("GET / host: app")
            .got_ok(),
        head("9113 §8.3.1", "Host and :authority that differ are refused", &format!("{GET}host: other"))
            .got("1: 400 content-length: 0, squall-reason: no-authority"),
        head("9113 §8.3.1", "without either there is no destination", ":method: GET\n:scheme: http\n:path: /\n")
            .got("1: 400 content-length: 0, squall-reason: no-authority"),
        head(
            "9113 §8.3.1",
            "user information in :authority is refused",
            ":method: GET\n:scheme: http\n:authority: app@other\n:path: /\n",
        )
        .got("1: 400 content-length: 0, squall-reason: no-authority"),
        malformed(
            "9113 §8.3.1",
            "a request without :method is malformed",
            ":scheme: http\n:authority: app\n:path: /\n",
        ),
        malformed("9113 §8.3.1", "a request without :scheme is malformed", ":method: GET\n:authority: app\n:path: /\n"),
        malformed(
            "9113 §8.3.1",
            "a request without :path is malformed",
            ":method: GET\n:scheme: http\n:authority: app\n",
        ),
        malformed(
            "9113 §8.3.1",
            "an empty :path is malformed",
            ":method: GET\n:scheme: http\n:authority: app\n:path: \n",
        ),
        malformed("9113 §8.3", "a pseudo-header twice is malformed", &format!("{GET}:path: /b\n")),
        malformed("9113 §8.3", ":method twice is malformed", &format!(":method: POST\n{GET}")),
        malformed(
            "9113 §8.3",
            "a pseudo-header after a field is malformed",
            ":method: GET\n:scheme: http\nx-a: 1\n:authority: app\n:path: /\n",
        ),
        malformed("9113 §8.3", "an unknown pseudo-header is malformed", &format!("{GET}:shape: round\n"))
            .got(FATAL)
            .except(HARSH),
        malformed("9113 §8.3", "a response's pseudo-header in a request is malformed", &format!("{GET}:status: 200\n")),
        malformed(
            "9113 §8.3.1",
            "a :path with whitespace is malformed",
            ":method: GET\n:scheme: http\n:authority: app\n:path: /a b\n",
        ),
        malformed(
            "9113 §8.3.1",
            "a :path that goes on with a version is malformed",
            ":method: GET\n:scheme: http\n:authority: app\n:path: / HTTP/1.1\r\nx: y\n",
        ),
        malformed(
            "9113 §8.3.1",
            "a :method that is no token is malformed",
            ":method: GET / HTTP/1.1\r\nx: y\n:scheme: http\n:authority: app\n:path: /\n",
        )
        .got(FATAL)
        .except(HARSH),
        malformed(
            "9113 §8.3.1",
            "a :scheme that is none is malformed",
            ":method: GET\n:scheme: http://evil/?\n:authority: app\n:path: /\n",
        ),
        malformed(
            "9113 §8.3.1",
            "an :authority that is none is malformed",
            ":method: GET\n:scheme: http\n:authority: app/x y\n:path: /\n",
        ),
        head(
            "9113 §8.3.1",
            "a :path without a slash is refused",
            ":method: GET\n:scheme: http\n:authority: app\n:path: a\n",
        )
        .got("1: rst PROTOCOL_ERROR"),
        head(
            "9113 §8.3.1",
            "a :path that is a whole URI is refused",
            ":method: GET\n:scheme: http\n:authority: app\n:path: http://other/\n",
        )
        .got("1: rst PROTOCOL_ERROR"),
        head("9113 §8.3.1", "OPTIONS * passes", ":method: OPTIONS\n:scheme: http\n:authority: app\n:path: *\n")
            .seen("OPTIONS * host: app")
            .got_ok(),
        head("9113 §8.3.1", "* is for OPTIONS only", ":method: GET\n:scheme: http\n:authority: app\n:path: *\n")
            .got("1: 400 content-length: 0, squall-reason: bad-target"),
        malformed(
            "9113 §8.5",
            "CONNECT with a path is malformed",
            ":method: CONNECT\n:scheme: http\n:authority: app:80\n:path: /\n",
        ),
    ]
}

fn fields() -> Vec<Row> {
    vec![
        bytes("9113 §8.2", "a name in upper case is malformed", b"X-A", b"1"),
        bytes("9113 §8.2.1", "a name with a space is malformed", b"x a", b"1"),
        bytes("9113 §8.2.1", "a name with a colon is malformed", b"x:a", b"1"),
        bytes("9113 §8.2.1", "a name with a line end is malformed", b"x-a: 1\r\nx-b", b"1"),
        bytes("9113 §8.2.1", "an empty name is malformed", b"", b"1"),
        bytes("9113 §8.2.1", "a value with CRLF is malformed", b"x-a", b"1\r\nx-b: 2"),
        bytes("9113 §8.2.1", "a value with LF is malformed", b"x-a", b"1\nx-b: 2"),
        bytes("9113 §8.2.1", "a value with CR is malformed", b"x-a", b"1\r2"),
        bytes("9113 §8.2.1", "a value with NUL is malformed", b"x-a", b"1\x002"),
        bytes("9113 §8.2.1", "a value that begins with a space is malformed", b"x-a", b" 1")
            .seen("GET / host: app, x-a: 1")
            .got_ok()
            .except("`h2` takes the space; in HTTP/1.1 it is not part of the value"),
        bytes("9113 §8.2.1", "a value that ends with a tab is malformed", b"x-a", b"1\t")
            .seen("GET / host: app, x-a: 1")
            .got_ok()
            .except("`h2` takes the space; in HTTP/1.1 it is not part of the value"),
        field("9113 §8.2.2", "Connection is malformed", "connection: close"),
        field("9113 §8.2.2", "Keep-Alive is malformed", "keep-alive: timeout=5"),
        field("9113 §8.2.2", "Proxy-Connection is malformed", "proxy-connection: close"),
        field("9113 §8.2.2", "Transfer-Encoding is malformed", "transfer-encoding: chunked"),
        field("9113 §8.2.2", "Upgrade is malformed", "upgrade: websocket"),
        field("9113 §8.2.2", "TE with anything but trailers is malformed", "te: gzip"),
        head("9113 §8.2.2", "TE: trailers is good", &format!("{GET}te: trailers"))
            .seen("GET / connection: te, host: app, te: trailers")
            .got_ok(),
        head(
            "9113 §8.2.3",
            "the crumbs of a cookie become one line",
            &format!("{GET}cookie: a=1\ncookie: b=2\ncookie: c=3"),
        )
        .seen("GET / cookie: a=1; b=2; c=3, host: app")
        .got_ok(),
        head("9113 §10.5.1", "a head that is too large is refused", &format!("{GET}x-a: {}", "a".repeat(9000)))
            .got("1: 431")
            .limits(|limits| limits.head_bytes = 4096),
        head(
            "9110 §7.6.2",
            "forwards are counted in HTTP/2 too",
            ":method: OPTIONS\n:scheme: http\n:authority: app\n:path: /\nmax-forwards: 3\n",
        )
        .seen("OPTIONS / host: app, max-forwards: 2")
        .got_ok(),
    ]
}

fn downgrade() -> Vec<Row> {
    let post = |lines: &str| {
        frames::headers(1, 0, &format!(":method: POST\n:scheme: http\n:authority: app\n:path: /\n{lines}"))
    };
    vec![
        h2("9113 §8.1", "a body without a length is sent on in chunks")
            .frames(&[post(""), frames::data(1, 0, b"hel"), frames::data(1, END_STREAM, b"lo")])
            .seen("POST / host: app, transfer-encoding: chunked \"hello\"")
            .got_ok(),
        h2("9113 §8.1.1", "a length that fits is kept")
            .frames(&[post("content-length: 5"), frames::data(1, END_STREAM, b"hello")])
            .seen("POST / content-length: 5, host: app \"hello\"")
            .got_ok(),
        h2("9113 §8.1.1", "more DATA than Content-Length says is malformed, and no second request")
            .frames(&[
                post("content-length: 5"),
                frames::data(1, END_STREAM, b"helloGET /smuggled HTTP/1.1\r\nhost: app\r\n\r\n"),
            ])
            .got(MALFORMED),
        h2("9113 §8.1.1", "less DATA than Content-Length says is malformed")
            .frames(&[post("content-length: 10"), frames::data(1, END_STREAM, b"hello")])
            .got(MALFORMED),
        h2("9113 §8.1.1", "no DATA where Content-Length promises some is malformed")
            .frames(&[frames::headers(
                1,
                END_STREAM,
                ":method: POST\n:scheme: http\n:authority: app\n:path: /\ncontent-length: 10\n",
            )])
            .got(MALFORMED),
        h2("9113 §8.1.1", "two different Content-Lengths are malformed")
            .frames(&[post("content-length: 5\ncontent-length: 6"), frames::data(1, END_STREAM, b"hello")])
            .got(MALFORMED),
        h2("9113 §8.1.1", "a Content-Length that is no number is malformed")
            .frames(&[post("content-length: 5x"), frames::data(1, END_STREAM, b"hello")])
            .got(MALFORMED),
        h2("9113 §8.1", "trailers that were announced pass")
            .frames(&[post("trailer: x-sum"), frames::data(1, 0, b"hello"), frames::headers(1, END_STREAM, "x-sum: 1")])
            .seen("POST / host: app, trailer: x-sum, transfer-encoding: chunked \"hello\" +x-sum: 1")
            .got_ok(),
        h2("9113 §8.1", "a pseudo-header in trailers is malformed")
            .frames(&[post(""), frames::data(1, 0, b"hello"), frames::headers(1, END_STREAM, ":path: /b")])
            .seen("POST / host: app, transfer-encoding: chunked \"hello\"")
            .got_ok()
            .except("`h2` drops pseudo-headers in trailers instead of refusing the request; they reach nobody"),
        h2("9113 §8.1", "trailers that do not end the stream are malformed")
            .frames(&[post(""), frames::data(1, 0, b"hello"), frames::headers(1, 0, "x-sum: 1")])
            .got(MALFORMED),
        h2("9113 §8.2.2", "a connection's field in trailers is malformed")
            .frames(&[
                post("trailer: x-sum"),
                frames::data(1, 0, b"hello"),
                frames::headers(1, END_STREAM, "transfer-encoding: chunked"),
            ])
            .got(MALFORMED),
        h2("9110 §10.1.1", "Expect is answered by taking the body")
            .frames(&[post("expect: 100-continue\ncontent-length: 5"), frames::data(1, END_STREAM, b"hello")])
            .seen("POST / content-length: 5, host: app \"hello\"")
            .got_ok(),
        h2("9113 §8.1", "a reset request is cut off at the upstream")
            .frames(&[post(""), frames::data(1, 0, b"hello")])
            .when_upstream_has_heads(1)
            .frames(&[frames::reset(1, 8), frames::headers(3, END_STREAM, GET)])
            .seen("POST / host: app, transfer-encoding: chunked \"hello\" (cut) ;; GET / host: app")
            .got(format!("3: {}", crate::row::GOT_OK)),
    ]
}
