//! Other protocols than HTTP: Upgrade (RFC 9110 §7.8), CONNECT (§9.3.6, RFC 9113 §8.5), and WebSockets over HTTP/2 (RFC 8441).
//! Behind its 101 the upstream sends each line back, and `bye` when the other side has ended.

use squall_policy::Mesh;

use crate::frames::{self, END_STREAM};
use crate::row::{GOT_OK, Row, SOON, h1, h2};

const ASK: &str = "GET / HTTP/1.1\nhost: app\nconnection: upgrade\nupgrade: chat/2\n\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\nconnection: upgrade\nupgrade: chat/2\n\n";
const ASKED: &str = "GET / connection: upgrade, host: app, upgrade: chat/2";
const AGREED: &str = "101 connection: upgrade, upgrade: chat/2";
const WEBSOCKET: &str =
    ":method: CONNECT\n:protocol: websocket\n:scheme: http\n:authority: app\n:path: /chat\nsec-websocket-version: 13\n";
const ACCEPT: &str =
    "HTTP/1.1 101 Switching Protocols\nconnection: upgrade\nupgrade: websocket\nsec-websocket-accept: {accept}\n\n";
const KEYED: &str =
    "GET /chat connection: upgrade, host: app, sec-websocket-key: KEY, sec-websocket-version: 13, upgrade: websocket";

pub fn rows() -> Vec<Row> {
    [upgrades(), ends(), connects(), websockets()].concat()
}

fn upgrades() -> Vec<Row> {
    vec![
        h1("9110 §7.8", "an upgrade is offered on, and what the server agrees to holds")
            .sends(ASK)
            .reads(1)
            .raw("one\n")
            .reads(2)
            .raw("two\n")
            .answers(AGREE)
            .seen(format!("{ASKED} ;; \"one\\n\" ;; \"two\\n\""))
            .got(format!("{AGREED} ;; \"echo one\\n\" ;; \"echo two\\n\"")),
        h1("9110 §7.8", "a server may speak the other protocol right behind its 101")
            .sends(ASK)
            .answers(&format!("{AGREE}first\nsecond\n"))
            .seen(ASKED)
            .got(format!("{AGREED} ;; \"first\\r\\n\" ;; \"second\\r\\n\"")),
        h1("9110 §7.8", "what a client sends right behind its request comes after the 101")
            .sends(&format!("{ASK}early\n"))
            .answers(AGREE)
            .seen(format!("{ASKED} ;; \"early\\r\\n\""))
            .got(format!("{AGREED} ;; \"echo early\\r\\n\"")),
        h1("9110 §7.8", "a server may ignore an upgrade, and the connection goes on")
            .sends(ASK)
            .reads(1)
            .sends("GET /2 HTTP/1.1\nhost: app\n\n")
            .seen(format!("{ASKED} ;; GET /2 host: app"))
            .got(format!("{GOT_OK} ;; {GOT_OK}")),
        h1("9110 §7.8", "a protocol that was not asked for is not believed")
            .sends(ASK)
            .answers_and_closes("HTTP/1.1 101 Switching Protocols\nconnection: upgrade\nupgrade: chat/3\n\n")
            .seen(ASKED)
            .got("503 content-length: 0, squall-reason: reset"),
        h1("9110 §7.8", "several protocols are offered on, without those of one hop")
            .sends("GET / HTTP/1.1\nhost: app\nconnection: upgrade, http2-settings\nupgrade: h2c, chat/2, TLS/1.0\nhttp2-settings: AAMAAABkAAQAAP__\n\n")
            .answers(AGREE)
            .seen(ASKED)
            .got(AGREED),
        h1("9110 §7.8", "an upgrade in HTTP/1.0 is ignored")
            .sends("GET / HTTP/1.0\nhost: app\nconnection: upgrade\nupgrade: chat/2\n\n")
            .seen("GET / host: app")
            .got(format!("HTTP/1.0 {GOT_OK} ;; closed")),
        h1("9110 §7.8", "an upgrade that Connection does not name is none")
            .sends("GET / HTTP/1.1\nhost: app\nupgrade: chat/2\n\n")
            .seen("GET / host: app")
            .got_ok(),
        h1("9110 §7.8", "an upgrade with content is ignored")
            .sends("POST / HTTP/1.1\nhost: app\nconnection: upgrade\nupgrade: chat/2\ncontent-length: 2\n\nhi")
            .seen("POST / content-length: 2, host: app \"hi\"")
            .got_ok(),
        h1("9110 §15.5.22", "426 says what it wants instead")
            .sends("GET / HTTP/1.1\nhost: app\nconnection: upgrade\nupgrade: chat/1\n\n")
            .answers("HTTP/1.1 426 Upgrade Required\nconnection: upgrade\nupgrade: chat/2\ncontent-length: 0\n\n")
            .seen("GET / connection: upgrade, host: app, upgrade: chat/1")
            .got("426 connection: upgrade, content-length: 0, upgrade: chat/2"),
        h1("6455 §4.1", "a WebSocket's handshake passes untouched")
            .sends("GET /chat HTTP/1.1\nhost: app\nconnection: keep-alive, Upgrade\nupgrade: websocket\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\nsec-websocket-version: 13\n\n")
            .reads(1)
            .raw("hi\n")
            .answers("HTTP/1.1 101 Switching Protocols\nconnection: Upgrade\nupgrade: websocket\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n\n")
            .seen("GET /chat connection: upgrade, host: app, sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==, sec-websocket-version: 13, upgrade: websocket ;; \"hi\\n\"")
            .got("101 connection: upgrade, sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=, upgrade: websocket ;; \"echo hi\\n\""),
    ]
}

fn ends() -> Vec<Row> {
    let agreed = |claim| h1("9110 §7.8", claim).sends(ASK).reads(1).answers(AGREE);
    vec![
        agreed("a client that has ended is told the rest")
            .raw("one\n")
            .reads(2)
            .half_closes()
            .seen(format!("{ASKED} ;; \"one\\n\""))
            .got(format!("{AGREED} ;; \"echo one\\n\" ;; \"bye\\n\" ;; closed")),
        h1("9110 §7.8", "a server that has ended can still be told something")
            .sends(ASK)
            .answers_and_closes(AGREE)
            .reads(1)
            .raw("last\n")
            .half_closes()
            .seen(format!("{ASKED} ;; \"last\\n\""))
            .got(format!("{AGREED} ;; closed")),
        agreed("while draining, the other protocol goes on")
            .raw("one\n")
            .reads(2)
            .drains()
            .raw("two\n")
            .reads(3)
            .half_closes()
            .seen(format!("{ASKED} ;; \"one\\n\" ;; \"two\\n\""))
            .got(format!("{AGREED} ;; \"echo one\\n\" ;; \"echo two\\n\" ;; \"bye\\n\" ;; closed")),
        agreed("silence ends it after the route's idle time-out")
            .mesh(|mesh| mesh.hosts[0].routes[0].timeouts.idle = Some(SOON))
            .seen(ASKED)
            .got(format!("{AGREED} ;; closed")),
        agreed("however it moves, it ends with the route's stream time-out")
            .mesh(|mesh| mesh.hosts[0].routes[0].timeouts.stream = Some(SOON * 4))
            .raw("one\n")
            .seen(format!("{ASKED} ;; \"one\\n\""))
            .got(format!("{AGREED} ;; \"echo one\\n\" ;; closed")),
    ]
}

/// Its route is one for CONNECT.
fn allowed(mesh: &mut Mesh) {
    mesh.hosts[0].routes[0].matches.method = Some("CONNECT".into());
}

fn connects() -> Vec<Row> {
    let refused = "content-length: 0, squall-reason: connect";
    let bad = "400 content-length: 0, squall-reason: bad-target";
    vec![
        h1("9110 §9.3.6", "CONNECT is refused where no route names it")
            .sends("CONNECT app:80 HTTP/1.1\nhost: app:80\n\n")
            .got(format!("501 {refused}")),
        h1("9110 §9.3.6", "CONNECT is passed on where a route names it, and its success makes a tunnel")
            .mesh(allowed)
            .sends("CONNECT app:80 HTTP/1.1\nhost: app:80\n\n")
            .when_upstream_has_heads(1)
            .raw("one\n")
            .answers("HTTP/1.1 200 OK\n\n")
            .half_closes()
            .seen("CONNECT app:80 host: app:80 ;; \"one\\n\"")
            .got("200 \"echo one\\nbye\\n\" ;; closed"),
        h1("9110 §9.3.6", "a tunnel that is refused is an answer like others")
            .mesh(allowed)
            .sends("CONNECT app:80 HTTP/1.1\nhost: app:80\n\n")
            .answers("HTTP/1.1 403 Forbidden\ncontent-length: 2\n\nno")
            .seen("CONNECT app:80 host: app:80")
            .got("403 content-length: 2 \"no\""),
        h1("9110 §9.3.6", "CONNECT without a port is refused")
            .mesh(allowed)
            .sends("CONNECT app HTTP/1.1\nhost: app\n\n")
            .got(bad),
        h1("9110 §9.3.6", "CONNECT with content is refused")
            .mesh(allowed)
            .sends("CONNECT app:80 HTTP/1.1\nhost: app:80\ncontent-length: 2\n\nhi")
            .got(bad),
        h2("9113 §8.5", "CONNECT is refused where no route names it")
            .frames(&[frames::headers(1, END_STREAM, ":method: CONNECT\n:authority: app:80\n")])
            .got(format!("1: 501 {refused}")),
        h2("9113 §8.5", "CONNECT over HTTP/2 is passed on where a route names it")
            .mesh(allowed)
            .frames(&[frames::headers(1, 0, ":method: CONNECT\n:authority: app:80\n")])
            .when_upstream_has_heads(1)
            .frames(&[frames::data(1, 0, b"one\n")])
            .answers("HTTP/1.1 200 OK\n\n")
            .reads_data(9)
            .frames(&[frames::data(1, END_STREAM, b"")])
            .seen("CONNECT app:80 host: app:80 ;; \"one\\n\"")
            .got("1: 200 \"echo one\\nbye\\n\""),
    ]
}

fn websockets() -> Vec<Row> {
    let asks = |claim| h2("8441 §5", claim).frames(&[frames::headers(1, 0, WEBSOCKET)]).when_upstream_has_heads(1);
    vec![
        asks("a WebSocket over HTTP/2 goes on as an upgrade, with a key and its proof")
            .frames(&[frames::data(1, 0, b"one\n")])
            .answers(ACCEPT)
            .reads_data(9)
            .frames(&[frames::data(1, END_STREAM, b"")])
            .seen(format!("{KEYED} ;; \"one\\n\""))
            .got("1: 200 \"echo one\\nbye\\n\""),
        asks("a WebSocket takes an HTTP/1.1 hop, whatever the Service speaks")
            .mesh(|mesh| mesh.backends.values_mut().for_each(|backend| backend.protocol = squall_policy::Protocol::Http2))
            .frames(&[frames::data(1, END_STREAM, b"one\n")])
            .answers(ACCEPT)
            .seen(format!("{KEYED} ;; \"one\\n\""))
            .got("1: 200 \"echo one\\nbye\\n\""),
        asks("a server that refuses is heard")
            .answers("HTTP/1.1 403 Forbidden\ncontent-length: 0\n\n")
            .seen(KEYED)
            .got("1: 403 content-length: 0 ;; 1: rst NO_ERROR"),
        asks("a server that proves nothing is not believed")
            .answers_and_closes("HTTP/1.1 101 Switching Protocols\nconnection: upgrade\nupgrade: websocket\nsec-websocket-accept: x\n\n")
            .seen(KEYED)
            .got("1: 503 content-length: 0, squall-reason: reset ;; 1: rst NO_ERROR"),
        asks("a success without a switch is none: it would mean a WebSocket to the client")
            .seen(KEYED)
            .got("1: 503 content-length: 0, squall-reason: reset ;; 1: rst NO_ERROR"),
        h2("8441 §4", "another protocol than WebSocket is offered on too")
            .frames(&[frames::headers(1, 0, &WEBSOCKET.replace("websocket\n", "chat/2\n").replace("sec-websocket-version: 13\n", ""))])
            .when_upstream_has_heads(1)
            .frames(&[frames::data(1, END_STREAM, b"one\n")])
            .answers(AGREE)
            .seen("GET /chat connection: upgrade, host: app, upgrade: chat/2 ;; \"one\\n\"")
            .got("1: 200 \"echo one\\nbye\\n\""),
        h2("8441 §4", "an ordinary request beside it is none of its concern")
            .frames(&[frames::headers(1, 0, WEBSOCKET)])
            .when_upstream_has_heads(1)
            .get(3, "")
            .answers(ACCEPT)
            .reads(1)
            .frames(&[frames::data(1, END_STREAM, b"one\n")])
            .seen(format!("{KEYED} ;; GET / host: app ;; \"one\\n\""))
            .got(format!("1: 200 \"echo one\\nbye\\n\" ;; 3: {GOT_OK}")),
    ]
}
