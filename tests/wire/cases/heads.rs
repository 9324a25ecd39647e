//! Request heads (RFC 9112 §2, §3, §5): lines, targets, Host, field syntax and limits.

use crate::row::{Row, h1};

const BAD: &str = "400 connection: close, content-length: 0 ;; closed";
/// Refused by the proxy's own look at a head that is well formed.
const NO_AUTHORITY: &str = "400 content-length: 0, squall-reason: no-authority";

fn refused(section: &'static str, claim: &'static str, head: &str) -> Row {
    h1(section, claim).sends(head).got(BAD)
}

fn unfit(section: &'static str, claim: &'static str, head: &str) -> Row {
    h1(section, claim).sends(head).got(NO_AUTHORITY)
}

fn passes(section: &'static str, claim: &'static str, head: &str, seen: &str) -> Row {
    h1(section, claim).sends(head).seen(seen).got_ok()
}

pub fn rows() -> Vec<Row> {
    [lines(), targets(), fields()].concat()
}

fn lines() -> Vec<Row> {
    vec![
        passes("9112 §2.2", "an empty line before the request is ignored", "\n\nGET / HTTP/1.1\nhost: app\n\n", "GET / host: app"),
        h1("9112 §2.2", "a line may end with LF alone; it is passed on with CRLF")
            .raw("GET / HTTP/1.1\nhost: app\n\n")
            .seen("GET / host: app")
            .got_ok(),
        h1("9112 §2.2", "a bare CR in a field is refused")
            .raw("GET / HTTP/1.1\r\nhost: app\r\nx-a: 1\r2\r\n\r\n")
            .got(BAD),
        h1("9112 §2.2", "a bare CR in the request line is refused").raw("GET /\r HTTP/1.1\r\nhost: app\r\n\r\n").got(BAD),
        refused("9112 §2.2", "whitespace between the request line and the first field is refused", "GET / HTTP/1.1\n x-a: 1\nhost: app\n\n"),
        refused("9112 §3", "a request line without a version is refused", "GET /\nhost: app\n\n"),
        refused("9112 §3", "whitespace inside a target is refused", "GET /a b HTTP/1.1\nhost: app\n\n"),
        refused("9112 §3.1", "a method that is no token is refused", "GE(T / HTTP/1.1\nhost: app\n\n"),
        passes("9112 §3.1", "an unknown method passes", "BREW / HTTP/1.1\nhost: app\n\n", "BREW / host: app"),
        passes("9110 §9.1", "a method's case matters", "get / HTTP/1.1\nhost: app\n\n", "get / host: app"),
        refused("9112 §2.3", "a version that is none is refused", "GET / HTTP/x.1\nhost: app\n\n"),
        refused("9112 §2.3", "the name of the protocol has a case", "GET / http/1.1\nhost: app\n\n"),
        refused("9110 §2.5", "HTTP/2.0 in a request line is refused", "GET / HTTP/2.0\nhost: app\n\n"),
        h1("9112 §2.3", "a request of HTTP/1.0 is passed on in our version and its connection not kept")
            .sends("GET / HTTP/1.0\nhost: app\n\n")
            .seen("GET / host: app")
            .got("HTTP/1.0 200 content-length: 2 \"ok\" ;; closed"),
        h1("9112 §9.3", "HTTP/1.0 keeps a connection that asks for it")
            .sends("GET /1 HTTP/1.0\nhost: app\nconnection: keep-alive\n\n")
            .reads(1)
            .sends("GET /2 HTTP/1.0\nhost: app\n\n")
            .seen("GET /1 host: app ;; GET /2 host: app")
            .got(
                "HTTP/1.0 200 connection: keep-alive, content-length: 2 \"ok\" ;; HTTP/1.0 200 content-length: 2 \"ok\" \
                 ;; closed",
            ),
        h1("9112 §2.2", "what is no HTTP at all is refused").raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()).got(BAD),
    ]
}

fn targets() -> Vec<Row> {
    let long = "a".repeat(70_000);
    vec![
        passes(
            "9112 §3.2.1",
            "origin-form passes with its query as it is",
            "GET /a%20b?x=%2F&y=1 HTTP/1.1\nhost: app\n\n",
            "GET /a%20b?x=%2F&y=1 host: app",
        ),
        passes(
            "9112 §3.2.2",
            "absolute-form names the destination, whatever Host says",
            "GET http://app/a HTTP/1.1\nhost: other\n\n",
            "GET /a host: app",
        ),
        passes(
            "9112 §3.2.2",
            "absolute-form without a path asks for /",
            "GET http://app HTTP/1.1\nhost: app\n\n",
            "GET / host: app",
        ),
        passes(
            "9112 §3.2.4",
            "OPTIONS in absolute-form without a path should ask for *, and asks for /",
            "OPTIONS http://app HTTP/1.1\nhost: app\n\n",
            "OPTIONS / host: app",
        )
        .except("the `http` crate gives every absolute URI a path, so that the two forms cannot be told apart"),
        passes(
            "9112 §3.2.4",
            "OPTIONS in absolute-form with the path / asks for /",
            "OPTIONS http://app/ HTTP/1.1\nhost: app\n\n",
            "OPTIONS / host: app",
        ),
        passes("9112 §3.2.4", "OPTIONS * passes", "OPTIONS * HTTP/1.1\nhost: app\n\n", "OPTIONS * host: app"),
        h1("9112 §3.2.4", "asterisk-form is for OPTIONS only")
            .sends("GET * HTTP/1.1\nhost: app\n\n")
            .got("400 content-length: 0, squall-reason: bad-target"),
        h1("9112 §3.2.3", "authority-form is for CONNECT only")
            .sends("GET app:80 HTTP/1.1\nhost: app\n\n")
            .got("400 content-length: 0, squall-reason: bad-target"),
        refused("9112 §3.2", "a target without a slash is refused", "GET a/b HTTP/1.1\nhost: app\n\n"),
        refused("9112 §3.2", "bytes that no target may have are refused", "GET /a<b> HTTP/1.1\nhost: app\n\n"),
        unfit("9112 §3.2", "a request without Host is refused", "GET / HTTP/1.1\nx-a: 1\n\n"),
        unfit(
            "9112 §3.2",
            "a request in absolute-form without Host is refused too",
            "GET http://app/ HTTP/1.1\nx-a: 1\n\n",
        ),
        unfit("9112 §3.2", "two Hosts are refused", "GET / HTTP/1.1\nhost: app\nhost: app\n\n"),
        unfit(
            "9112 §3.2",
            "two Hosts are refused in absolute-form too",
            "GET http://app/ HTTP/1.1\nhost: app\nhost: app\n\n",
        ),
        unfit("9112 §3.2", "an empty Host is refused where a destination is needed", "GET / HTTP/1.1\nhost: \n\n"),
        unfit("9112 §3.2", "a Host that is no host is refused", "GET / HTTP/1.1\nhost: app/x\n\n"),
        unfit("9112 §3.2", "a list is no Host", "GET / HTTP/1.1\nhost: app, other\n\n"),
        unfit("9110 §4.2.4", "user information in Host is refused", "GET / HTTP/1.1\nhost: app@other\n\n"),
        unfit(
            "9110 §4.2.4",
            "user information in a target is refused",
            "GET http://app@other/ HTTP/1.1\nhost: other\n\n",
        ),
        h1("9110 §7.4", "a destination that is not ours is told so")
            .sends("GET / HTTP/1.1\nhost: elsewhere\n\n")
            .got("404 content-length: 0, squall-reason: no-route"),
        h1("9110 §15.5.15", "a target that is too long is refused")
            .sends(&format!("GET /{long} HTTP/1.1\nhost: app\n\n"))
            .got("414 connection: close, content-length: 0 ;; closed")
            .limits(|limits| limits.head_bytes = 128 * 1024),
    ]
}

fn fields() -> Vec<Row> {
    let many: String = (0..150).map(|nth| format!("x-{nth}: 1\n")).collect();
    let large = "a".repeat(70_000);
    let too_large = "431 connection: close, content-length: 0 ;; closed";
    vec![
        refused("9112 §5.1", "whitespace before the colon is refused", "GET / HTTP/1.1\nhost: app\nx-a : 1\n\n"),
        refused("9112 §5.1", "a tab before the colon is refused", "GET / HTTP/1.1\nhost: app\nx-a\t: 1\n\n"),
        refused(
            "9112 §6.1",
            "the same before the colon of Transfer-Encoding",
            "POST / HTTP/1.1\nhost: app\ncontent-length: 5\ntransfer-encoding : chunked\n\n0\n\n",
        ),
        refused("9112 §5.2", "a folded field is refused", "GET / HTTP/1.1\nhost: app\nx-a: 1\n 2\n\n"),
        refused(
            "9112 §5.2",
            "a folded Transfer-Encoding is refused",
            "POST / HTTP/1.1\nhost: app\ntransfer-encoding:\n chunked\n\n0\n\n",
        ),
        refused("9112 §5", "a line without a colon is refused", "GET / HTTP/1.1\nhost: app\nx-a\n\n"),
        refused("9110 §5.1", "a name that is no token is refused", "GET / HTTP/1.1\nhost: app\nx(a): 1\n\n"),
        refused("9112 §5", "a field without a name is refused", "GET / HTTP/1.1\nhost: app\n: 1\n\n"),
        h1("9110 §5.5", "a NUL in a value is refused")
            .raw(b"GET / HTTP/1.1\r\nhost: app\r\nx-a: 1\x002\r\n\r\n".to_vec())
            .got(BAD),
        h1("9110 §5.5", "a control character in a value is refused")
            .raw(b"GET / HTTP/1.1\r\nhost: app\r\nx-a: 1\x7f2\r\n\r\n".to_vec())
            .got(BAD),
        passes(
            "9110 §5.5",
            "whitespace around a value is not part of it",
            "GET / HTTP/1.1\nhost:   app  \nx-a:\t 1 \t\n\n",
            "GET / host: app, x-a: 1",
        ),
        passes(
            "9110 §5.3",
            "the lines of a field keep their order",
            "GET / HTTP/1.1\nhost: app\nx-a: 2\nX-A: 1\n\n",
            "GET / host: app, x-a: 2, x-a: 1",
        ),
        passes(
            "9110 §5.1",
            "unknown fields pass",
            "GET / HTTP/1.1\nhost: app\nx-unknown: \"a, b\"\n\n",
            "GET / host: app, x-unknown: \"a, b\"",
        ),
        passes("9110 §5.5", "an empty value passes", "GET / HTTP/1.1\nhost: app\nx-a:\n\n", "GET / host: app, x-a:"),
        h1("9110 §5.4", "a field that is too large is refused")
            .sends(&format!("GET / HTTP/1.1\nhost: app\nx-a: {large}\n\n"))
            .got(too_large),
        h1("9110 §5.4", "too many fields are refused")
            .sends(&format!("GET / HTTP/1.1\nhost: app\n{many}\n"))
            .got(too_large),
        h1("9110 §5.4", "the limit of a head is the configuration's")
            .sends(&format!("GET / HTTP/1.1\nhost: app\nx-a: {}\n\n", "a".repeat(9000)))
            .got(too_large)
            .limits(|limits| limits.head_bytes = 8192),
    ]
}
