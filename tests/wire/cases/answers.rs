//! Where an answer ends (RFC 9112 §6.3, §8, §9): what an upstream may do wrong never reaches the client as something whole.

use crate::row::{GOT_OK, Row, SOON, h1};

/// The answer when the upstream's is none.
const RESET: &str = "503 content-length: 0, squall-reason: reset";

fn answer(section: &'static str, claim: &'static str, answer: &str, got: &str) -> Row {
    h1(section, claim).sends("GET / HTTP/1.1\nhost: app\n\n").answers(answer).seen("GET / host: app").got(got)
}

/// The upstream closes after its answer.
fn closing(section: &'static str, claim: &'static str, answer: &str, got: &str) -> Row {
    h1(section, claim)
        .sends("GET / HTTP/1.1\nhost: app\n\n")
        .answers_and_closes(answer)
        .seen("GET / host: app")
        .got(got)
}

pub fn rows() -> Vec<Row> {
    [framing(), broken(), early(), desync()].concat()
}

fn framing() -> Vec<Row> {
    vec![
        answer(
            "9112 §6.3",
            "content-length frames an answer",
            "HTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
            "200 content-length: 5 \"hello\"",
        ),
        answer(
            "9112 §6.1",
            "chunks are passed on as chunks",
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n5;x=y\nhello\n0\n\n",
            "200 transfer-encoding: chunked \"hello\"",
        ),
        answer(
            "9112 §6.1",
            "Transfer-Encoding overrides Content-Length, which is not passed on",
            "HTTP/1.1 200 OK\ncontent-length: 3\ntransfer-encoding: chunked\n\n5\nhello\n0\n\n",
            "200 transfer-encoding: chunked \"hello\"",
        ),
        answer(
            "9112 §6.1",
            "the same in the other order",
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\ncontent-length: 3\n\n5\nhello\n0\n\n",
            "200 transfer-encoding: chunked \"hello\"",
        ),
        closing(
            "9112 §6.3",
            "an answer without framing ends with its connection, and gets framing",
            "HTTP/1.1 200 OK\n\nhello",
            "200 transfer-encoding: chunked \"hello\"",
        ),
        closing(
            "9112 §6.3",
            "an answer of HTTP/1.0 does too",
            "HTTP/1.0 200 OK\n\nhello",
            "200 transfer-encoding: chunked \"hello\"",
        ),
        answer("9110 §15.3.5", "204 has no body and no length", "HTTP/1.1 204 No Content\n\n", "204"),
        answer(
            "9110 §15.4.5",
            "304 has no body, and may leave out the length of what it stands for",
            "HTTP/1.1 304 Not Modified\ncontent-length: 1000\netag: \"x\"\n\n",
            "304 etag: \"x\"",
        ),
        answer(
            "9110 §15",
            "an unknown status passes",
            "HTTP/1.1 299 Odd\ncontent-length: 0\n\n",
            "299 content-length: 0",
        ),
        answer("9112 §4", "a status line without a reason is good", "HTTP/1.1 200\ncontent-length: 2\n\nok", GOT_OK),
        answer(
            "9112 §5.1",
            "whitespace before a colon in an answer is removed",
            "HTTP/1.1 200 OK\nx-a : 1\ncontent-length: 2\n\nok",
            "200 content-length: 2, x-a: 1 \"ok\"",
        ),
        answer(
            "9110 §5.3",
            "each Set-Cookie stays a line of its own",
            "HTTP/1.1 200 OK\nset-cookie: a=1, b\nset-cookie: b=2\ncontent-length: 2\n\nok",
            "200 content-length: 2, set-cookie: a=1, b, set-cookie: b=2 \"ok\"",
        ),
        h1("9110 §6.5", "declared trailers of an answer pass to a client that wants them")
            .sends("GET / HTTP/1.1\nhost: app\nte: trailers\nconnection: te\n\n")
            .answers("HTTP/1.1 200 OK\ntrailer: x-sum\ntransfer-encoding: chunked\n\n5\nhello\n0\nx-sum: 1\n\n")
            .seen("GET / connection: te, host: app, te: trailers")
            .got("200 trailer: x-sum, transfer-encoding: chunked \"hello\" +x-sum: 1"),
        h1("9110 §6.5.1", "a client that did not ask for trailers gets none")
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .answers("HTTP/1.1 200 OK\ntrailer: x-sum\ntransfer-encoding: chunked\n\n5\nhello\n0\nx-sum: 1\n\n")
            .seen("GET / host: app")
            .got("200 trailer: x-sum, transfer-encoding: chunked \"hello\""),
        h1("9112 §6.1", "a client of HTTP/1.0 gets no chunks")
            .sends("GET / HTTP/1.0\nhost: app\n\n")
            .answers("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n5\nhello\n0\n\n")
            .seen("GET / host: app")
            .got("HTTP/1.0 200 \"hello\" ;; closed"),
        answer(
            "9110 §6.6.1",
            "an answer without Date gets one, and one with keeps it",
            "HTTP/1.1 200 OK\ndate: Sun, 06 Nov 1994 08:49:37 GMT\ncontent-length: 2\n\nok",
            GOT_OK,
        ),
    ]
}

fn broken() -> Vec<Row> {
    vec![
        answer(
            "9112 §6.3",
            "two different Content-Lengths of an answer are an error",
            "HTTP/1.1 200 OK\ncontent-length: 5\ncontent-length: 6\n\nhello",
            RESET,
        ),
        answer(
            "9112 §6.3",
            "a Content-Length that is no number is an error",
            "HTTP/1.1 200 OK\ncontent-length: x\n\nhello",
            RESET,
        ),
        closing(
            "9112 §6.1",
            "a coding that is not understood is not passed on undone",
            "HTTP/1.1 200 OK\ntransfer-encoding: gzip, chunked\n\n5\nhello\n0\n\n",
            RESET,
        ),
        closing(
            "9112 §6.1",
            "nor is one that is not chunked at all",
            "HTTP/1.1 200 OK\ntransfer-encoding: gzip\n\nhello",
            RESET,
        ),
        answer(
            "9112 §5.2",
            "a folded field of an answer is an error",
            "HTTP/1.1 200 OK\nx-a: 1\n 2\ncontent-length: 2\n\nok",
            RESET,
        ),
        answer(
            "9112 §5",
            "a field without a colon is an error",
            "HTTP/1.1 200 OK\nx-a\ncontent-length: 2\n\nok",
            RESET,
        ),
        answer("9112 §4", "a status that is no number is an error", "HTTP/1.1 2xx OK\ncontent-length: 2\n\nok", RESET),
        answer("9112 §2.3", "a version that is none is an error", "HTTP/3.1 200 OK\ncontent-length: 2\n\nok", RESET),
        answer("9112 §4", "what is no HTTP is an error", "SSH-2.0-OpenSSH_9.6\n\n", RESET),
        closing("9112 §8", "an upstream that closes without an answer is told from one that answers", "", RESET),
        closing(
            "9112 §8",
            "an upstream that closes inside a head has not answered",
            "HTTP/1.1 200 OK\ncontent-le",
            RESET,
        ),
        closing(
            "9112 §8",
            "a body shorter than its length reaches the client as broken",
            "HTTP/1.1 200 OK\ncontent-length: 10\n\nhello",
            "200 content-length: 10 \"hello\" (cut) ;; closed",
        ),
        closing(
            "9112 §8",
            "chunks without a last one reach the client as broken",
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n5\nhello\n",
            "200 transfer-encoding: chunked \"hello\" (cut) ;; closed",
        ),
        closing(
            "9112 §7.1",
            "a chunk size that is no number reaches the client as broken",
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n5\nhello\nx\n",
            "200 transfer-encoding: chunked \"hello\" (cut) ;; closed",
        ),
        answer(
            "9110 §5.4",
            "a head that is too large is an error",
            &format!("HTTP/1.1 200 OK\nx-a: {}\ncontent-length: 2\n\nok", "a".repeat(70_000)),
            RESET,
        ),
        answer(
            "9110 §5.5",
            "a NUL in a value is an error",
            "HTTP/1.1 200 OK\nx-a: 1\x002\ncontent-length: 2\n\nok",
            RESET,
        ),
        h1("9112 §9.5", "an upstream that resets instead of answering is told so")
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .answers_and_resets("")
            .seen("GET / host: app")
            .got(RESET),
    ]
}

fn early() -> Vec<Row> {
    let post = "POST / HTTP/1.1\nhost: app\ncontent-length: 10\n\nhello";
    vec![
        h1("9112 §9.3", "an answer may come before its request is whole; the rest of the body is still taken")
            .sends(post)
            .reads(1)
            .sends("world")
            .answers_at_head("HTTP/1.1 200 OK\ncontent-length: 2\n\nok")
            .seen("POST / content-length: 10, host: app \"helloworld\"")
            .got_ok(),
        h1("9110 §15.5.14", "a refusal before the body reaches the client at once")
            .sends(post)
            .answers_at_head_and_closes("HTTP/1.1 413 Content Too Large\nconnection: close\ncontent-length: 0\n\n")
            .seen("POST / content-length: 10, host: app \"hello\" (cut)")
            .got("413 connection: close, content-length: 0 ;; closed"),
    ]
}

fn desync() -> Vec<Row> {
    let two = "GET /1 HTTP/1.1\nhost: app\n\n";
    let next = "GET /2 HTTP/1.1\nhost: app\n\n";
    let both = "GET /1 host: app ;; GET /2 host: app";
    vec![
        h1("9112 §9.2", "bytes after an answer are no answer to the next request")
            .sends(two)
            .reads(1)
            .sends(next)
            .answers("HTTP/1.1 200 OK\ncontent-length: 2\n\nokHTTP/1.1 200 OK\ncontent-length: 4\n\nevil")
            .seen(both)
            .got(format!("{GOT_OK} ;; {GOT_OK}")),
        h1("9110 §15.4.5", "a body after 304 is no answer to the next request")
            .sends(two)
            .reads(1)
            .sends(next)
            .answers("HTTP/1.1 304 Not Modified\ncontent-length: 42\n\nHTTP/1.1 200 OK\ncontent-length: 4\n\nevil")
            .seen(both)
            .got(format!("304 ;; {GOT_OK}")),
        h1("9110 §15.3.5", "a body after 204 is no answer to the next request")
            .sends(two)
            .reads(1)
            .sends(next)
            .answers("HTTP/1.1 204 No Content\ncontent-length: 42\n\nHTTP/1.1 200 OK\ncontent-length: 4\n\nevil")
            .seen(both)
            .got(format!("204 ;; {GOT_OK}")),
        h1("9112 §9.3", "connections are kept both sides: two requests, one connection")
            .sends(two)
            .reads(1)
            .sends(next)
            .seen(both)
            .got(format!("{GOT_OK} ;; {GOT_OK}")),
        h1("9112 §9.3.2", "pipelined requests are answered in their order")
            .sends("GET /1 HTTP/1.1\nhost: app\n\nPOST /2 HTTP/1.1\nhost: app\ncontent-length: 5\n\nhelloGET /3 HTTP/1.1\nhost: app\n\n")
            .answers("HTTP/1.1 200 OK\ncontent-length: 1\n\n1")
            .answers("HTTP/1.1 200 OK\ncontent-length: 1\n\n2")
            .answers("HTTP/1.1 200 OK\ncontent-length: 1\n\n3")
            .seen("GET /1 host: app ;; POST /2 content-length: 5, host: app \"hello\" ;; GET /3 host: app")
            .got("200 content-length: 1 \"1\" ;; 200 content-length: 1 \"2\" ;; 200 content-length: 1 \"3\""),
        h1("9112 §9.3", "a client that has half-closed is taken for gone")
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .when_upstream_has_heads(1)
            .half_closes()
            .answers("")
            .seen("GET / host: app")
            .got("closed")
            .except("RFC 9112 §9.6 lets a client half-close; as in Envoy a FIN ends what runs, so that nobody works for a caller who left"),
        h1("9112 §9.6", "while draining, the answer to a request in flight says that it is the last")
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .when_upstream_has_heads(1)
            .answers("")
            .drains()
            .seen("GET / host: app")
            .got("closed")
            .mesh(|mesh| mesh.hosts[0].routes[0].timeouts.request = Some(SOON))
            .got("504 connection: close, content-length: 0, squall-reason: deadline-exceeded ;; closed"),
        h1("9112 §9.6", "while draining, a request that was on its way on an idle connection is answered, with the word that it is the last")
            .sends(two)
            .reads(1)
            .drains()
            .sends(next)
            .seen(both)
            .got(format!("{GOT_OK} ;; 200 connection: close, content-length: 2 \"ok\" ;; closed"))
            .limits(|limits| limits.drain_grace = std::time::Duration::from_secs(3)),
        h1("9112 §9.6", "while draining, an idle connection is closed after the grace")
            .sends(two)
            .reads(1)
            .drains()
            .seen("GET /1 host: app")
            .got(format!("{GOT_OK} ;; closed"))
            .limits(|limits| limits.drain_grace = SOON),
        h1("9112 §9.5", "a head that does not get whole in time is given up")
            .sends("GET / HTTP/1.1\nhost: a")
            .got("closed")
            .limits(|limits| limits.head_timeout = SOON),
        h1("9112 §9.5", "an idle connection is no slow head")
            .sends(two)
            .reads(1)
            .sends("")
            .seen("GET /1 host: app")
            .got(GOT_OK)
            .limits(|limits| limits.head_timeout = SOON),
        h1("9110 §15.5.9", "a body that stands still is given up")
            .sends("POST / HTTP/1.1\nhost: app\ncontent-length: 10\n\nhello")
            .seen("POST / content-length: 10, host: app \"hello\" (cut)")
            .got("408 content-length: 0, squall-reason: idle-timeout ;; closed")
            .mesh(|mesh| mesh.hosts[0].routes[0].timeouts.idle = Some(SOON)),
        h1("9110 §15.6.5", "an upstream that does not answer is given up")
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .answers("")
            .seen("GET / host: app")
            .got("504 content-length: 0, squall-reason: deadline-exceeded")
            .mesh(|mesh| mesh.hosts[0].routes[0].timeouts.request = Some(SOON)),
        h1("9112 §9.5", "an upstream that stands still in its answer is given up")
            .sends("GET / HTTP/1.1\nhost: app\n\n")
            .answers("HTTP/1.1 200 OK\ncontent-length: 10\n\nhello")
            .seen("GET / host: app")
            .got("200 content-length: 10 \"hello\" (cut) ;; closed")
            .mesh(|mesh| mesh.hosts[0].routes[0].timeouts.idle = Some(SOON)),
    ]
}
