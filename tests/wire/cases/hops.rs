//! What concerns one connection stays on it (RFC 9110 §7.6, §7.8, §10.1): Connection, Expect, Upgrade, Max-Forwards, 1xx.

use crate::row::{GOT_OK, Row, h1};

fn passes(section: &'static str, claim: &'static str, lines: &str, seen: &str) -> Row {
    h1(section, claim).sends(&format!("GET / HTTP/1.1\nhost: app\n{lines}\n\n")).seen(format!("GET / {seen}")).got_ok()
}

pub fn rows() -> Vec<Row> {
    [fields(), methods(), informational()].concat()
}

fn fields() -> Vec<Row> {
    vec![
        passes("9110 §7.6.1", "a field that Connection names does not pass", "connection: x-hop\nx-hop: 1", "host: app"),
        passes(
            "9110 §7.6.1",
            "names in Connection have no case, and several lines are one list",
            "connection: X-One , x-two\nconnection: x-three\nx-one: 1\nx-two: 2\nX-Three: 3\nx-four: 4",
            "host: app, x-four: 4",
        ),
        passes(
            "9110 §7.6.1",
            "the old fields of one hop do not pass, though nobody names them",
            "keep-alive: timeout=5\nproxy-connection: keep-alive\nupgrade: h2c\nhttp2-settings: AAMAAABkAAQAAP__",
            "host: app",
        ),
        passes("9110 §7.6.1", "Connection cannot take Host away", "connection: host", "host: app"),
        passes("9110 §11.7.2", "credentials for a proxy are this hop's", "proxy-authorization: Basic eDp5", "host: app"),
        passes("9110 §10.1.4", "TE is this hop's, but trailers are welcome behind us too", "te: gzip, trailers\nconnection: te", "connection: te, host: app, te: trailers"),
        passes("9110 §10.1.4", "TE without trailers does not pass", "te: gzip\nconnection: te", "host: app"),
        h1("9110 §7.6.1", "the same holds for responses")
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .answers("HTTP/1.1 200 OK\nconnection: x-hop\nx-hop: 1\nkeep-alive: timeout=5\nproxy-connection: close\ncontent-length: 2\n\nok")
            .seen("GET / host: app")
            .got_ok(),
        h1("9112 §9.6", "close is obeyed after the answer, and what follows is not served")
            .sends("GET /1 HTTP/1.1\nhost: app\nconnection: close\n\nGET /2 HTTP/1.1\nhost: app\n\n")
            .seen("GET /1 host: app")
            .got("200 connection: close, content-length: 2 \"ok\" ;; closed"),
        h1("9112 §9.6", "an upstream's close is not the caller's")
            .sends("GET /1 HTTP/1.1\nhost: app\n\n")
            .reads(1)
            .when_upstream_has_ended(1)
            .sends("GET /2 HTTP/1.1\nhost: app\n\n")
            .answers_and_closes("HTTP/1.1 200 OK\nconnection: close\ncontent-length: 2\n\nok")
            .seen("GET /1 host: app ;; GET /2 host: app")
            .got(format!("{GOT_OK} ;; {GOT_OK}")),
        h1("9110 §7.6.3", "Via is not added")
            .sends("GET / HTTP/1.1\nhost: app\nvia: 1.0 before\n\n")
            .seen("GET / host: app, via: 1.0 before")
            .got_ok()
            .except(
                "a sidecar is part of its application, not a hop of its own, and servers (nginx `gzip_proxied`) answer \
                 requests with Via differently; Envoy adds none either. Loops are ended by Max-Forwards and deadlines",
            ),
    ]
}

fn methods() -> Vec<Row> {
    vec![
        h1("9110 §7.6.2", "TRACE is passed on with one forward less")
            .sends("TRACE / HTTP/1.1\nhost: app\nmax-forwards: 10\n\n")
            .seen("TRACE / host: app, max-forwards: 9")
            .got_ok(),
        h1("9110 §7.6.2", "OPTIONS is passed on with one forward less")
            .sends("OPTIONS / HTTP/1.1\nhost: app\nmax-forwards: 1\n\n")
            .seen("OPTIONS / host: app, max-forwards: 0")
            .got_ok(),
        h1("9110 §7.6.2", "OPTIONS without forwards left is answered here")
            .sends("OPTIONS / HTTP/1.1\nhost: app\nmax-forwards: 0\n\n")
            .got("200 content-length: 0, squall-reason: max-forwards"),
        h1("9110 §7.6.2", "TRACE without forwards left is not passed on")
            .sends("TRACE / HTTP/1.1\nhost: app\nmax-forwards: 0\n\n")
            .got("501 content-length: 0, squall-reason: max-forwards"),
        h1("9110 §7.6.2", "other methods keep their Max-Forwards")
            .sends("GET / HTTP/1.1\nhost: app\nmax-forwards: 0\n\n")
            .seen("GET / host: app, max-forwards: 0")
            .got_ok(),
        h1("9110 §9.3.2", "an answer to HEAD keeps its Content-Length and has no body")
            .into_head()
            .sends("HEAD /1 HTTP/1.1\nhost: app\n\n")
            .reads(1)
            .sends("HEAD /2 HTTP/1.1\nhost: app\n\n")
            .answers("HTTP/1.1 200 OK\ncontent-length: 1000\n\n")
            .answers("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n")
            .seen("HEAD /1 host: app ;; HEAD /2 host: app")
            .got("200 content-length: 1000 ;; 200"),
    ]
}

fn informational() -> Vec<Row> {
    vec![
        h1("9110 §15.2", "informational responses are forwarded")
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .answers("HTTP/1.1 103 Early Hints\nlink: </a.css>\nconnection: x-hop\nx-hop: 1\n\nHTTP/1.1 200 OK\ncontent-length: 2\n\nok")
            .seen("GET / host: app")
            .got(format!("103 link: </a.css> ;; {GOT_OK}")),
        h1("9110 §15.2", "several of them are, in their order, before a request behind them is answered")
            .sends("GET /1 HTTP/1.1\nhost: app\n\nGET /2 HTTP/1.1\nhost: app\n\n")
            .answers("HTTP/1.1 102 Processing\n\nHTTP/1.1 103 Early Hints\nlink: </a>\n\nHTTP/1.1 200 OK\ncontent-length: 2\n\nok")
            .answers("HTTP/1.1 103 Early Hints\nlink: </b>\n\nHTTP/1.1 200 OK\ncontent-length: 2\n\nok")
            .seen("GET /1 host: app ;; GET /2 host: app")
            .got(format!("102 ;; 103 link: </a> ;; {GOT_OK} ;; 103 link: </b> ;; {GOT_OK}")),
        h1("9110 §15.2", "a client of HTTP/1.0 gets none")
            .sends("GET / HTTP/1.0\nhost: app\n\n")
            .answers("HTTP/1.1 103 Early Hints\nlink: </a.css>\n\nHTTP/1.1 200 OK\ncontent-length: 2\n\nok")
            .seen("GET / host: app")
            .got("HTTP/1.0 200 content-length: 2 \"ok\" ;; closed"),
        h1("9110 §15.2.2", "an upstream that switches protocols unasked is not believed")
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .answers("HTTP/1.1 101 Switching Protocols\nconnection: upgrade\nupgrade: chat\n\nhello")
            .seen("GET / host: app")
            .got("503 content-length: 0, squall-reason: reset"),
        h1("9110 §10.1.1", "Expect: 100-continue is answered before the body is sent")
            .sends("POST / HTTP/1.1\nhost: app\nexpect: 100-continue\ncontent-length: 5\n\n")
            .reads(1)
            .sends("hello")
            .seen("POST / content-length: 5, host: app \"hello\"")
            .got(format!("100 ;; {GOT_OK}"))
            .except(
                "the RFC lets an origin's 100 through; here, as in Envoy, the proxy says 100 itself when the upstream is ready \
                 to take the body, and passes no Expect on",
            ),
        h1("9110 §10.1.1", "a final answer may come instead of 100")
            .sends("POST / HTTP/1.1\nhost: elsewhere\nexpect: 100-continue\ncontent-length: 5\n\n")
            .got("404 content-length: 0, squall-reason: no-route ;; closed"),
        h1("9110 §10.1.1", "HTTP/1.0 gets no 100")
            .sends("POST / HTTP/1.0\nhost: app\nexpect: 100-continue\ncontent-length: 5\n\nhello")
            .seen("POST / content-length: 5, host: app \"hello\"")
            .got("HTTP/1.0 200 content-length: 2 \"ok\" ;; closed"),
        h1("9110 §10.1.1", "another expectation is passed on, for whom it concerns")
            .sends("GET / HTTP/1.1\nhost: app\nexpect: magic\n\n")
            .seen("GET / expect: magic, host: app")
            .got_ok(),
    ]
}
