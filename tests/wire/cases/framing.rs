//! Where a request ends (RFC 9112 §6, §7): what two readers could see differently is refused or made unambiguous.

use crate::row::{GOT_OK, Row, h1};

/// The answer to what is no message, after which nothing of the connection can be trusted.
const BAD: &str = "400 connection: close, content-length: 0 ;; closed";

/// What a request of a POST that must be refused is followed by: a request that must not be seen.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\nhost: app\n\n";

fn refused(section: &'static str, claim: &'static str, lines: &str, body: &str) -> Row {
    h1(section, claim).sends(&format!("POST / HTTP/1.1\nhost: app\n{lines}\n\n{body}{SMUGGLED}")).got(BAD)
}

fn passes(section: &'static str, claim: &'static str, lines: &str, body: &str, seen: &str) -> Row {
    h1(section, claim).sends(&format!("POST / HTTP/1.1\nhost: app\n{lines}\n\n{body}")).seen(seen).got_ok()
}

pub fn rows() -> Vec<Row> {
    vec![
        h1("9112 §6.3", "a request without framing has no body")
            .sends("POST / HTTP/1.1\nhost: app\n\n")
            .seen("POST / host: app")
            .got_ok(),
        passes(
            "9112 §6.2",
            "content-length frames a body",
            "content-length: 5",
            "hello",
            "POST / content-length: 5, host: app \"hello\"",
        ),
        passes(
            "9112 §6.1",
            "chunked frames a body",
            "transfer-encoding: chunked",
            "5\nhello\n0\n\n",
            "POST / host: app, transfer-encoding: chunked \"hello\"",
        ),
        passes(
            "9112 §6.1",
            "the name of a coding has no case",
            "transfer-encoding: Chunked",
            "5\nhello\n0\n\n",
            "POST / host: app, transfer-encoding: chunked \"hello\"",
        ),
        passes(
            "9112 §7.1",
            "chunk sizes are hexadecimal in either case",
            "transfer-encoding: chunked",
            "A\n0123456789\nb\n0123456789a\n0\n\n",
            "POST / host: app, transfer-encoding: chunked \"01234567890123456789a\"",
        ),
        passes(
            "9112 §7.1.1",
            "unknown chunk extensions are ignored and not passed on",
            "transfer-encoding: chunked",
            "5;name=value;other=\"quoted\"\nhello\n0;last\n\n",
            "POST / host: app, transfer-encoding: chunked \"hello\"",
        ),
        h1("9112 §6.1", "Transfer-Encoding overrides Content-Length, which is not passed on; the connection is not kept")
            .sends("POST / HTTP/1.1\nhost: app\ncontent-length: 40\ntransfer-encoding: chunked\n\n5\nhello\n0\n\n")
            .sends(SMUGGLED)
            .seen("POST / host: app, transfer-encoding: chunked \"hello\"")
            .got("200 connection: close, content-length: 2 \"ok\" ;; closed"),
        h1("9112 §6.1", "the same in the other order")
            .sends("POST / HTTP/1.1\nhost: app\ntransfer-encoding: chunked\ncontent-length: 40\n\n5\nhello\n0\n\n")
            .sends(SMUGGLED)
            .seen("POST / host: app, transfer-encoding: chunked \"hello\"")
            .got("200 connection: close, content-length: 2 \"ok\" ;; closed"),
        passes(
            "9112 §6.3",
            "the same Content-Length twice may be taken as one",
            "content-length: 5\ncontent-length: 5",
            "hello",
            "POST / content-length: 5, host: app \"hello\"",
        ),
        refused(
            "9112 §6.3",
            "two different Content-Lengths are refused",
            "content-length: 5\ncontent-length: 6",
            "hello",
        ),
        refused("9112 §6.3", "a list of different Content-Lengths is refused", "content-length: 5, 6", "hello"),
        refused("9112 §6.2", "a negative Content-Length is refused", "content-length: -5", "hello"),
        refused("9112 §6.2", "a signed Content-Length is refused", "content-length: +5", "hello"),
        refused("9112 §6.2", "a hexadecimal Content-Length is refused", "content-length: 0x5", "hello"),
        refused("9112 §6.2", "a broken Content-Length is refused", "content-length: 5 5", "hello"),
        refused("9112 §6.2", "an empty Content-Length is refused", "content-length: ", "hello"),
        refused(
            "9110 §8.6",
            "a Content-Length beyond all integers is refused",
            "content-length: 99999999999999999999",
            "hello",
        ),
        refused(
            "9112 §6.3",
            "a final coding that is not chunked is refused",
            "transfer-encoding: chunked, gzip",
            "5\nhello\n0\n\n",
        ),
        refused("9112 §6.3", "a coding that only looks like chunked is refused", "transfer-encoding: xchunked", ""),
        refused("9112 §6.3", "identity is no coding any more", "transfer-encoding: identity", ""),
        h1("9112 §6.1", "a coding that is not understood is answered with 501 and not passed on undone")
            .sends("POST / HTTP/1.1\nhost: app\ntransfer-encoding: gzip, chunked\n\n5\nhello\n0\n\n")
            .got("501 content-length: 0, squall-reason: transfer-coding"),
        h1("9112 §7.1", "chunked twice is a coding that is not understood")
            .sends("POST / HTTP/1.1\nhost: app\ntransfer-encoding: chunked\ntransfer-encoding: chunked\n\n0\n\n")
            .got("501 content-length: 0, squall-reason: transfer-coding"),
        refused(
            "9112 §6.1",
            "an empty Transfer-Encoding is refused",
            "transfer-encoding: \ncontent-length: 5",
            "hello",
        ),
        h1("9112 §6.1", "HTTP/1.0 has no Transfer-Encoding")
            .sends("POST / HTTP/1.0\nhost: app\ntransfer-encoding: chunked\n\n5\nhello\n0\n\n")
            .got(BAD),
        h1("9112 §7.1", "a chunk size that is no number is never passed on as a whole message")
            .sends("POST / HTTP/1.1\nhost: app\ntransfer-encoding: chunked\n\n5x\nhello\n0\n\n")
            .got("closed"),
        h1("9112 §7.1", "a chunk size beyond all integers is never passed on as a whole message")
            .sends("POST / HTTP/1.1\nhost: app\ntransfer-encoding: chunked\n\nfffffffffffffffff\nhello\n0\n\n")
            .got("closed"),
        h1("9112 §7.1", "a chunk that is longer than its size is never passed on as a whole message")
            .sends("POST / HTTP/1.1\nhost: app\ntransfer-encoding: chunked\n\n3\nhello\n0\n\n")
            .seen("POST / host: app, transfer-encoding: chunked \"hel\" (cut)")
            .got("closed"),
        h1("9112 §7.1.1", "a line feed inside a chunk extension is never passed on as a whole message")
            .raw("POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n")
            .got("closed"),
        h1("9112 §2.2", "a chunk size ended by a bare LF is never passed on as a whole message")
            .raw("POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n")
            .got("closed"),
        h1("9112 §7.1.1", "endless chunk extensions end the message unfinished")
            .sends("POST / HTTP/1.1\nhost: app\ntransfer-encoding: chunked\n\n")
            .raw(format!("5;{}", "a".repeat(20_000)))
            .got("closed"),
        h1("9112 §8", "a body shorter than its Content-Length is an incomplete message")
            .sends("POST / HTTP/1.1\nhost: app\ncontent-length: 10\n\nhello")
            .when_upstream_has_heads(1)
            .half_closes()
            .seen("POST / content-length: 10, host: app \"hello\" (cut)")
            .got("closed"),
        h1("9112 §8", "a chunked body without its last chunk is an incomplete message")
            .sends("POST / HTTP/1.1\nhost: app\ntransfer-encoding: chunked\n\n5\nhello\n")
            .when_upstream_has_heads(1)
            .half_closes()
            .seen("POST / host: app, transfer-encoding: chunked \"hello\" (cut)")
            .got("closed"),
        h1("9112 §6.3", "what follows a body is the next request")
            .sends("POST /1 HTTP/1.1\nhost: app\ncontent-length: 5\n\nhelloGET /2 HTTP/1.1\nhost: app\n\n")
            .seen("POST /1 content-length: 5, host: app \"hello\" ;; GET /2 host: app")
            .got(format!("{GOT_OK} ;; {GOT_OK}")),
        h1("9112 §6.3", "what follows a last chunk is the next request")
            .sends("POST /1 HTTP/1.1\nhost: app\ntransfer-encoding: chunked\n\n5\nhello\n0\n\n")
            .sends("GET /2 HTTP/1.1\nhost: app\n\n")
            .seen("POST /1 host: app, transfer-encoding: chunked \"hello\" ;; GET /2 host: app")
            .got(format!("{GOT_OK} ;; {GOT_OK}")),
        h1("9110 §9.3.1", "a GET may have a body, framed like any other")
            .sends("GET / HTTP/1.1\nhost: app\ncontent-length: 5\n\nhello")
            .seen("GET / content-length: 5, host: app \"hello\"")
            .got_ok(),
        h1("9110 §7.6.1", "Connection cannot take the framing away")
            .sends("POST / HTTP/1.1\nhost: app\nconnection: content-length\ncontent-length: 5\n\nhello")
            .sends(SMUGGLED)
            .seen("POST / content-length: 5, host: app \"hello\" ;; GET /smuggled host: app")
            .got(format!("{GOT_OK} ;; {GOT_OK}")),
        h1("9110 §6.5", "declared trailers pass to an upstream that is sent chunks")
            .sends("POST / HTTP/1.1\nhost: app\ntrailer: x-sum\ntransfer-encoding: chunked\n\n5\nhello\n0\nx-sum: 1\n\n")
            .seen("POST / host: app, trailer: x-sum, transfer-encoding: chunked \"hello\" +x-sum: 1")
            .got_ok(),
        h1("9110 §6.5.1", "trailers that nobody announced may be dropped, and are not merged into the head")
            .sends("POST / HTTP/1.1\nhost: app\ntransfer-encoding: chunked\n\n5\nhello\n0\nx-sum: 1\n\n")
            .seen("POST / host: app, transfer-encoding: chunked \"hello\"")
            .got_ok(),
        h1("9110 §6.5.1", "framing in trailers is dropped")
            .sends("POST / HTTP/1.1\nhost: app\ntrailer: content-length, transfer-encoding, host, x-sum\n")
            .sends("transfer-encoding: chunked\n\n5\nhello\n0\ncontent-length: 9\ntransfer-encoding: x\nhost: b\nx-sum: 1\n\n")
            .seen(
                "POST / host: app, trailer: content-length, transfer-encoding, host, x-sum, transfer-encoding: chunked \
                 \"hello\" +x-sum: 1",
            )
            .got_ok(),
        h1("9112 §7.1.2", "endless trailers end the message unfinished")
            .sends("POST / HTTP/1.1\nhost: app\ntransfer-encoding: chunked\n\n5\nhello\n0\n")
            .raw(format!("x-sum: {}\r\n", "a".repeat(100_000)))
            .seen("POST / host: app, transfer-encoding: chunked \"hello\" (cut)")
            .got("closed"),
    ]
}
