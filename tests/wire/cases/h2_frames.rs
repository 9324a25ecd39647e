//! Frames, streams and connections of HTTP/2 (RFC 9113 §3 to §7), and peers who abuse them (§10.5).

use crate::frames::{self, ACK, END_HEADERS, END_STREAM, PREFACE};
use crate::row::{GOT_OK, Row, SOON, h2};

const GET: &str = ":method: GET\n:scheme: http\n:authority: app\n:path: /\n";

/// Why an error has another code.
const CODE: &str = "the connection ends as the RFC asks; `h2` says PROTOCOL_ERROR of every frame that it cannot read";
/// Why the connection ends.
const HARSH: &str =
    "the RFC asks for an error of the stream; `h2` ends the connection: harsher, and nothing is passed on";

/// The connection ends, with PROTOCOL_ERROR whatever the code should be.
fn fatal_somehow(section: &'static str, claim: &'static str, bytes: Vec<u8>) -> Row {
    fatal(section, claim, bytes, "PROTOCOL_ERROR").except(CODE)
}

/// The connection ends with this error.
fn fatal(section: &'static str, claim: &'static str, bytes: Vec<u8>, error: &str) -> Row {
    h2(section, claim).raw(bytes).got(format!("goaway {error} ;; closed"))
}

fn get(stream: u32) -> Vec<u8> {
    frames::headers(stream, END_STREAM, GET)
}

fn post(stream: u32) -> Vec<u8> {
    frames::headers(stream, 0, &GET.replace("GET", "POST"))
}

pub fn rows() -> Vec<Row> {
    [openings(), sizes(), streams(), windows(), endings(), floods()].concat()
}

fn openings() -> Vec<Row> {
    vec![
        h2("9113 §3.4", "SETTINGS and their acknowledgement come before anything is asked")
            .reads_acks(0)
            .get(1, "")
            .seen("GET / host: app")
            .got_ok(),
        h2("9113 §3.4", "a preface without SETTINGS is a connection error")
            .opening(PREFACE.to_vec())
            .get(1, "")
            .seen("GET / host: app")
            .got_ok()
            .except("`h2` serves a client that never sends SETTINGS, with their defaults"),
        h2("9113 §3.4", "a preface that stops halfway is given up")
            .opening(PREFACE[..10].to_vec())
            .limits(|limits| limits.head_timeout = SOON)
            .got("closed"),
        fatal_somehow(
            "9113 §6.5",
            "SETTINGS with ACK and a payload are of a wrong size",
            frames::frame(frames::SETTINGS, ACK, 0, &[0; 6]),
        ),
        fatal("9113 §6.5", "SETTINGS of a stream", frames::frame(frames::SETTINGS, 0, 1, &[]), "PROTOCOL_ERROR"),
        fatal_somehow(
            "9113 §6.5",
            "SETTINGS whose size is no multiple of six",
            frames::frame(frames::SETTINGS, 0, 0, &[0; 5]),
        ),
        fatal("9113 §6.5.2", "ENABLE_PUSH that is neither 0 nor 1", frames::settings(&[(2, 2)]), "PROTOCOL_ERROR"),
        fatal_somehow("9113 §6.5.2", "a window beyond 2^31-1", frames::settings(&[(4, 0x8000_0000)])),
        fatal("9113 §6.5.2", "a MAX_FRAME_SIZE below 16,384", frames::settings(&[(5, 16_383)]), "PROTOCOL_ERROR"),
        fatal("9113 §6.5.2", "a MAX_FRAME_SIZE of 2^24", frames::settings(&[(5, 1 << 24)]), "PROTOCOL_ERROR"),
        h2("9113 §6.5.2", "unknown settings are ignored")
            .frames(&[frames::settings(&[(0xaa, 7)]), get(1)])
            .seen("GET / host: app")
            .got_ok(),
        h2("9113 §4.1", "unknown frames are ignored")
            .frames(&[frames::frame(0xbe, 0xff, 0, b"grease"), get(1)])
            .seen("GET / host: app")
            .got_ok(),
        h2("9113 §6.7", "PING is answered")
            .frames(&[frames::frame(frames::PING, ACK, 0, &[0; 8]), frames::frame(frames::PING, 0, 0, &[7; 8])])
            .reads_acks(2)
            .get(1, "")
            .seen("GET / host: app")
            .got_ok(),
    ]
}

fn sizes() -> Vec<Row> {
    vec![
        fatal(
            "9113 §4.2",
            "HEADERS beyond the frame size that we allow",
            frames::frame(frames::HEADERS, END_HEADERS | END_STREAM, 1, &[0; 16_385]),
            "FRAME_SIZE_ERROR",
        ),
        fatal_somehow("9113 §6.7", "PING that is not eight bytes", frames::frame(frames::PING, 0, 0, &[0; 7])),
        fatal("9113 §6.7", "PING of a stream", frames::frame(frames::PING, 0, 1, &[0; 8]), "PROTOCOL_ERROR"),
        fatal_somehow(
            "9113 §6.9",
            "WINDOW_UPDATE that is not four bytes",
            frames::frame(frames::WINDOW_UPDATE, 0, 0, &[0; 3]),
        ),
        fatal_somehow(
            "9113 §6.4",
            "RST_STREAM that is not four bytes",
            [post(1), frames::frame(frames::RST_STREAM, 0, 1, &[0; 3])].concat(),
        ),
        fatal("9113 §6.8", "GOAWAY of a stream", frames::frame(frames::GOAWAY, 0, 1, &[0; 8]), "PROTOCOL_ERROR"),
        fatal("9113 §6.1", "DATA of no stream", frames::data(0, 0, b"x"), "PROTOCOL_ERROR"),
        fatal("9113 §6.2", "HEADERS of no stream", frames::headers(0, END_STREAM, GET), "PROTOCOL_ERROR"),
        fatal(
            "9113 §6.1",
            "padding as long as its frame",
            [post(1), frames::frame(frames::DATA, 8, 1, &[5, 0, 0])].concat(),
            "PROTOCOL_ERROR",
        ),
        h2("9113 §6.1", "padding is no content")
            .frames(&[post(1), frames::frame(frames::DATA, 8 | END_STREAM, 1, b"\x03hello\0\0\0")])
            .seen("POST / host: app, transfer-encoding: chunked \"hello\"")
            .got_ok(),
        h2("9113 §6.2", "padding and priority of HEADERS are skipped")
            .frames(&[frames::frame(
                frames::HEADERS,
                END_HEADERS | END_STREAM | 8 | 32,
                1,
                &[&[2, 0, 0, 0, 0, 16][..], &frames::block(GET), &[0, 0]].concat(),
            )])
            .seen("GET / host: app")
            .got_ok(),
        fatal_somehow(
            "9113 §4.3",
            "a block that is no header compression",
            frames::frame(frames::HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]),
        ),
        fatal_somehow(
            "7541 §2.3.3",
            "an index beyond both tables",
            frames::frame(frames::HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0x80, 0x01]),
        ),
        fatal_somehow(
            "7541 §5.2",
            "Huffman padding that is not all ones",
            frames::frame(frames::HEADERS, END_HEADERS | END_STREAM, 1, &[0, 0x81, 0x18, 0]),
        ),
    ]
}

fn streams() -> Vec<Row> {
    let split = |flags: u8| {
        let block = frames::block(GET);
        let (first, second) = block.split_at(20);
        [frames::frame(frames::HEADERS, END_STREAM, 1, first), frames::frame(frames::CONTINUATION, flags, 1, second)]
            .concat()
    };
    vec![
        h2("9113 §5.1.1", "streams are answered side by side").frames(&[get(1), get(3)]).seen("GET / host: app ;; GET / host: app").got(format!("1: {GOT_OK} ;; 3: {GOT_OK}")),
        fatal("9113 §5.1.1", "a stream with an even number", get(2), "PROTOCOL_ERROR"),
        h2("9113 §5.1.1", "a stream number that goes back is a connection error")
            .frames(&[get(5)])
            .reads(1)
            .frames(&[get(3)])
            .seen("GET / host: app")
            .got(format!("5: {GOT_OK} ;; goaway PROTOCOL_ERROR ;; closed")),
        fatal("9113 §5.1", "DATA on a stream that was never opened", frames::data(1, 0, b"x"), "PROTOCOL_ERROR"),
        fatal("9113 §5.1", "WINDOW_UPDATE on a stream that was never opened", frames::window(1, 1), "PROTOCOL_ERROR"),
        fatal("9113 §6.4", "RST_STREAM of a stream that was never opened", frames::reset(1, 8), "PROTOCOL_ERROR"),
        h2("9113 §5.1", "DATA after the end of a stream is an error of that stream")
            .frames(&[get(1), frames::data(1, 0, b"x")])
            .got("goaway PROTOCOL_ERROR ;; closed")
            .except(HARSH),
        h2("9113 §6.10", "a head may come in several frames").raw(split(END_HEADERS)).seen("GET / host: app").got_ok(),
        fatal("9113 §6.10", "another frame inside a head", [split(0), frames::frame(frames::PING, 0, 0, &[0; 8])].concat(), "PROTOCOL_ERROR"),
        fatal("9113 §6.10", "CONTINUATION of another stream", [split(0), frames::frame(frames::CONTINUATION, END_HEADERS, 3, &[])].concat(), "PROTOCOL_ERROR"),
        fatal("9113 §6.10", "CONTINUATION without a head", frames::frame(frames::CONTINUATION, END_HEADERS, 1, &[]), "PROTOCOL_ERROR"),
        fatal("9113 §6.6", "PUSH_PROMISE from a client", frames::frame(frames::PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), "PROTOCOL_ERROR"),
        h2("9113 §5.3", "PRIORITY is ignored").frames(&[frames::frame(2, 0, 1, &[0, 0, 0, 0, 16]), get(1)]).seen("GET / host: app").got_ok(),
        h2("9113 §5.1.2", "streams beyond the limit are refused")
            .frames(&[post(1), post(3), post(5)])
            .limits(|limits| limits.streams = 2)
            .reads(1)
            .frames(&[frames::data(1, END_STREAM, b"a"), frames::data(3, END_STREAM, b"b")])
            .seen("POST / host: app, transfer-encoding: chunked \"a\" ;; POST / host: app, transfer-encoding: chunked \"b\"")
            .got(format!("1: {GOT_OK} ;; 3: {GOT_OK} ;; 5: rst REFUSED_STREAM")),
    ]
}

fn windows() -> Vec<Row> {
    let large = format!("HTTP/1.1 200 OK\ncontent-length: 100000\n\n{}", "a".repeat(100_000));
    vec![
        h2("9113 §6.9", "an answer larger than the window comes as the window is given back")
            .get(1, "")
            .answers(&large)
            .seen("GET / host: app")
            .got("1: 200 content-length: 100000 <100000 bytes>"),
        h2("9113 §6.9", "no more is sent than the window allows, until more is given")
            .stingy()
            .get(1, "")
            .answers(&large)
            .reads_data(65_535)
            .frames(&[frames::window(0, 100_000), frames::window(1, 100_000)])
            .seen("GET / host: app")
            .got("1: 200 content-length: 100000 <100000 bytes>"),
        h2("9113 §6.9.2", "a window of nothing takes a head and no body, until it grows")
            .opening([PREFACE, &frames::settings(&[(1, 0), (4, 0)])].concat())
            .get(1, "")
            .when_upstream_has_heads(1)
            .frames(&[frames::settings(&[(4, 10)])])
            .seen("GET / host: app")
            .got_ok(),
        h2("9113 §6.9", "a reader who never gives window is given up: the upstream is free, and the answer broken")
            .opening([PREFACE, &frames::settings(&[(1, 0), (4, 0)])].concat())
            .get(1, "")
            .answers(&large)
            .mesh(|mesh| mesh.hosts[0].routes[0].timeouts.idle = Some(SOON))
            .when_upstream_has_ended(1)
            .frames(&[frames::settings(&[(4, 1000)])])
            .seen("GET / host: app")
            .got("1: 200 content-length: 100000 rst INTERNAL_ERROR"),
        h2("9113 §6.9", "a window update of nothing is an error of its stream")
            .frames(&[post(1), frames::window(1, 0)])
            .got("goaway PROTOCOL_ERROR ;; closed")
            .except(HARSH),
        fatal("9113 §6.9", "a window update of nothing for the connection", frames::window(0, 0), "PROTOCOL_ERROR"),
        fatal(
            "9113 §6.9.1",
            "a connection's window beyond 2^31-1",
            frames::window(0, 0x7fff_ffff),
            "FLOW_CONTROL_ERROR",
        ),
        h2("9113 §6.9.1", "a stream's window beyond 2^31-1 is an error of that stream")
            .frames(&[post(1), frames::window(1, 0x7fff_ffff)])
            .got("1: rst FLOW_CONTROL_ERROR"),
        h2("9113 §5.2", "a body larger than our window is taken as the upstream takes it")
            .frames(&[post(1)])
            .frames(&vec![frames::data(1, 0, &[b'a'; 10_000]); 6])
            .frames(&[frames::data(1, END_STREAM, b"z")])
            .seen("POST / host: app, transfer-encoding: chunked <60001 bytes>")
            .got_ok(),
    ]
}

fn endings() -> Vec<Row> {
    vec![
        h2("9113 §6.8", "a drain says goodbye twice, and lets what runs end")
            .get(1, "")
            .when_upstream_has_heads(1)
            .answers("")
            .drains()
            .mesh(|mesh| mesh.hosts[0].routes[0].timeouts.request = Some(SOON))
            .seen("GET / host: app")
            .got("1: 504 content-length: 0, squall-reason: deadline-exceeded ;; goaway NO_ERROR soon ;; goaway NO_ERROR ;; closed"),
        h2("9113 §6.8", "a request that crosses the first goodbye is answered")
            .rude()
            .get(1, "")
            .reads(1)
            .drains()
            .reads(2)
            .get(3, "")
            .seen("GET / host: app ;; GET / host: app")
            .got(format!("1: {GOT_OK} ;; 3: {GOT_OK} ;; goaway NO_ERROR soon")),
        h2("9113 §6.8", "after a client's GOAWAY what runs is answered")
            .frames(&[get(1), frames::frame(frames::GOAWAY, 0, 0, &[0; 8])])
            .seen("GET / host: app")
            .got(format!("1: {GOT_OK} ;; goaway NO_ERROR ;; closed")),
        h2("9113 §8.1", "an upstream that breaks off reaches the client as a reset")
            .get(1, "")
            .answers_and_closes("HTTP/1.1 200 OK\ncontent-length: 10\n\nhello")
            .seen("GET / host: app")
            .got("1: 200 content-length: 10 \"hello\" rst INTERNAL_ERROR"),
        h2("9113 §8.1", "an early answer ends the stream, and the body that still comes is not needed")
            .frames(&[post(1), frames::data(1, 0, b"hello")])
            .answers_at_head_and_closes("HTTP/1.1 413 Content Too Large\nconnection: close\ncontent-length: 0\n\n")
            .seen("POST / host: app, transfer-encoding: chunked \"hello\" (cut)")
            .got("1: 413 content-length: 0 ;; 1: rst NO_ERROR"),
        h2("9113 §8.2.2", "fields of a connection do not come out of an HTTP/1.1 answer")
            .get(1, "")
            .answers("HTTP/1.1 200 OK\nconnection: x-hop\nx-hop: 1\nkeep-alive: timeout=5\nproxy-connection: close\ncontent-length: 2\n\nok")
            .seen("GET / host: app")
            .got_ok(),
        h2("9113 §8.1", "chunks and their trailers become DATA and trailers")
            .get(1, "te: trailers")
            .answers("HTTP/1.1 200 OK\ntrailer: x-sum\ntransfer-encoding: chunked\n\n5\nhello\n0\nx-sum: 1\n\n")
            .seen("GET / connection: te, host: app, te: trailers")
            .got("1: 200 trailer: x-sum \"hello\" +x-sum: 1"),
        h2("9113 §8.1", "interim responses are dropped")
            .get(1, "")
            .answers("HTTP/1.1 103 Early Hints\nlink: </a>\n\nHTTP/1.1 200 OK\ncontent-length: 2\n\nok")
            .seen("GET / host: app")
            .got_ok()
            .except("RFC 9110 §15.2 wants them forwarded; hyper's HTTP/2 server cannot send a head before the final one"),
    ]
}

fn floods() -> Vec<Row> {
    let resets: Vec<Vec<u8>> = (0..500).flat_map(|nth| [get(2 * nth + 1), frames::reset(2 * nth + 1, 8)]).collect();
    let block = frames::frame(frames::CONTINUATION, 0, 1, &[0; 1000]);
    let endless: Vec<Vec<u8>> = std::iter::once(frames::frame(frames::HEADERS, END_STREAM, 1, &frames::block(GET)))
        .chain(std::iter::repeat_n(block, 2000))
        .collect();
    let pings = vec![frames::frame(frames::PING, 0, 0, &[7; 8]); 5000];
    let settings = vec![frames::settings(&[(3, 100)]); 5000];
    let empty: Vec<Vec<u8>> =
        std::iter::once(post(1)).chain(std::iter::repeat_n(frames::data(1, 0, b""), 5000)).collect();
    vec![
        h2("9113 §10.5", "requests that are reset at once end the connection (rapid reset, CVE-2023-44487)")
            .frames(&resets)
            .got("goaway ENHANCE_YOUR_CALM ;; closed"),
        h2("9113 §10.5", "a head without an end ends the connection (CONTINUATION flood, CVE-2024-27316)")
            .frames(&endless)
            .got("goaway ENHANCE_YOUR_CALM ;; closed"),
        h2("9113 §10.5", "a flood of PING is answered no faster than it is read, and harms nobody")
            .frames(&pings)
            .reads_acks(5000)
            .get(1, "")
            .seen("GET / host: app")
            .got_ok(),
        h2("9113 §10.5", "a flood of SETTINGS is answered no faster than it is read, and harms nobody")
            .frames(&settings)
            .reads_acks(5000)
            .get(1, "")
            .seen("GET / host: app")
            .got_ok(),
        h2("9113 §10.5", "a flood of empty DATA ends the connection")
            .frames(&empty)
            .got("goaway ENHANCE_YOUR_CALM ;; closed"),
    ]
}
