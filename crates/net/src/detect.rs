//! What a connection speaks, by its first bytes.
//!
//! ```text
//!   first bytes ─▶ the HTTP/2 preface?  ─▶ a TLS ClientHello? ─▶ an HTTP/1 request line? ─▶ something else
//!                  each may need more bytes to be told, but never more than LOOK_BYTES
//! ```
//!
//! Nothing is taken away or changed, and whatever the bytes are, an answer comes. The parser of ClientHello (RFC 8446 §4.1.2, RFC 5246
//! §7.4.1.2, `server_name` of RFC 6066 §3, ALPN of RFC 7301 §3.1) reads over several records, and stops when it has both.

use std::sync::Arc;

/// The most bytes that are looked at: a ClientHello of the largest record, which post-quantum key shares do not fill by far. A
/// request line that is longer is no request line.
pub const LOOK_BYTES: usize = 16 * 1024;

/// What begins an HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest method that is believed to be one (`UPDATEREDIRECTREF`, of the IANA registry, has 17 letters).
const METHOD_BYTES: usize = 24;

/// The longest name of a host (RFC 1035 §2.3.4).
const NAME_BYTES: usize = 253;

/// What a connection speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS.
    Tls(ClientHello),
    /// None of these.
    Other,
}

/// What a TLS client says in the clear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The name of the server that it wants (SNI), in lower case; `None`: it names none.
    pub server_name: Option<Arc<str>>,
    /// The protocols that it offers (ALPN), each behind its length as on the wire. At most [`LOOK_BYTES`], as all that is looked at.
    alpn: Arc<[u8]>,
}

impl ClientHello {
    /// Whether it offers this protocol (ALPN).
    #[must_use]
    pub fn offers(&self, protocol: &[u8]) -> bool {
        let mut rest = &self.alpn[..];
        while let Some((length, after)) = rest.split_first() {
            let Some((offered, after)) = after.split_at_checked(usize::from(*length)) else { return false };
            if offered == protocol {
                return true;
            }
            rest = after;
        }
        false
    }
}

/// What can be told of the first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// It speaks this.
    Is(Spoken),
    /// More bytes must come first.
    More,
}

/// Looks at the first bytes of a connection, from its client.
#[must_use]
pub fn detect(first: &[u8]) -> Look {
    let is_all = first.len() >= LOOK_BYTES;
    let first = &first[..first.len().min(LOOK_BYTES)];
    if first.is_empty() {
        return Look::More;
    }
    let look = if first.starts_with(PREFACE) {
        Look::Is(Spoken::Http2)
    } else if PREFACE.starts_with(first) {
        Look::More
    } else if first[0] == HANDSHAKE_RECORD {
        client_hello(first, is_all)
    } else {
        request_line(first)
    };
    match look {
        // A client that says so much without saying what it wants speaks something else.
        Look::More if is_all => Look::Is(Spoken::Other),
        Look::More | Look::Is(_) => look,
    }
}

/// Whether `first` begins with an HTTP/1 request line (RFC 9112 §3). A well-known method and the beginning of a target say
/// enough; of other methods the version at the line's end must be seen, as many protocols begin with a word and a space.
fn request_line(first: &[u8]) -> Look {
    const METHODS: [&[u8]; 8] = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH"];
    let method = first.iter().position(|byte| !is_token(*byte)).unwrap_or(first.len());
    if method == 0 || method > METHOD_BYTES {
        return Look::Is(Spoken::Other);
    }
    let (method, rest) = first.split_at(method);
    match rest {
        [] => return Look::More,
        [b' '] => return Look::More,
        [b' ', b'/' | b'*' | b'h' | b'H', ..] if METHODS.contains(&method) => return Look::Is(Spoken::Http1),
        [b' ', ..] => {}
        _ => return Look::Is(Spoken::Other),
    }
    let end = rest.iter().position(|byte| *byte == b'\n');
    // Looked at before the end too: what was answered of a beginning holds for the whole.
    let is_text = |part: &[u8]| part.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\r');
    if !is_text(&rest[..end.unwrap_or(rest.len())]) {
        return Look::Is(Spoken::Other);
    }
    let Some(end) = end else { return Look::More };
    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    let is_http = line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0");
    Look::Is(if is_http { Spoken::Http1 } else { Spoken::Other })
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const HOST_NAME: u8 = 0;
/// The largest fragment of a plaintext record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 1 << 14;

/// Why a ClientHello is not read to its end.
enum Stop {
    /// It goes on in bytes that have not come.
    Short,
    /// It is none.
    Malformed,
}

fn client_hello(first: &[u8], is_all: bool) -> Look {
    let mut hello = ClientHello::default();
    match read_hello(first, &mut hello) {
        Ok(()) => Look::Is(Spoken::Tls(hello)),
        // It goes on behind what is looked at, but has said whom it wants.
        Err(Stop::Short) if is_all && hello.server_name.is_some() => Look::Is(Spoken::Tls(hello)),
        Err(Stop::Short) => Look::More,
        Err(Stop::Malformed) => Look::Is(Spoken::Other),
    }
}

/// What a ClientHello says, as far as it is there.
fn read_hello(first: &[u8], said: &mut ClientHello) -> Result<(), Stop> {
    let mut wire = Records { wire: first, left: 0 };
    if wire.byte()? != CLIENT_HELLO {
        return Err(Stop::Malformed);
    }
    let length = u32::from(wire.byte()?) << 16 | u32::from(wire.two()?);
    let mut hello = Part { from: &mut wire, left: length as usize };
    if hello.byte()? != 3 {
        return Err(Stop::Malformed);
    }
    hello.byte()?;
    // Random, session id, cipher suites, compression methods.
    hello.skip(32)?;
    let session = hello.byte()?;
    if session > 32 {
        return Err(Stop::Malformed);
    }
    hello.skip(usize::from(session))?;
    let suites = hello.two()?;
    hello.skip(usize::from(suites))?;
    let methods = hello.byte()?;
    hello.skip(usize::from(methods))?;
    if hello.left == 0 {
        // TLS before extensions.
        return Ok(());
    }
    let mut extensions = usize::from(hello.two()?);
    if extensions != hello.left {
        return Err(Stop::Malformed);
    }
    // An extension comes once (RFC 8446 §4.2): of two nothing is believed.
    let (mut has_name, mut has_alpn) = (false, false);
    while extensions > 0 && !(has_name && has_alpn) {
        let (kind, length) = (hello.two()?, usize::from(hello.two()?));
        extensions = extensions.checked_sub(4 + length).ok_or(Stop::Malformed)?;
        let mut extension = Part { from: &mut *hello.from, left: length };
        match kind {
            SERVER_NAME if has_name => return Err(Stop::Malformed),
            SERVER_NAME => (said.server_name, has_name) = (server_name(&mut extension, length)?, true),
            ALPN if has_alpn => return Err(Stop::Malformed),
            ALPN => (said.alpn, has_alpn) = (protocols(&mut extension, length)?, true),
            _ => {}
        }
        let left = extension.left;
        extension.skip(left)?;
        hello.left = hello.left.checked_sub(length).ok_or(Stop::Malformed)?;
    }
    Ok(())
}

/// The list of ALPN, once it is found to be one: protocols with names of 1 to 255 bytes.
fn protocols(extension: &mut Part<'_, '_>, length: usize) -> Result<Arc<[u8]>, Stop> {
    let list = usize::from(extension.two()?);
    if list + 2 != length || list < 2 {
        return Err(Stop::Malformed);
    }
    let mut wire = Vec::with_capacity(list.min(64));
    while extension.left > 0 {
        let name = extension.byte()?;
        if name == 0 {
            return Err(Stop::Malformed);
        }
        wire.push(name);
        for _ in 0..name {
            wire.push(extension.byte()?);
        }
    }
    Ok(wire.into())
}

fn server_name(hello: &mut Part<'_, '_>, length: usize) -> Result<Option<Arc<str>>, Stop> {
    let list = usize::from(hello.two()?);
    if list + 2 != length || list < 3 {
        return Err(Stop::Malformed);
    }
    if hello.byte()? != HOST_NAME {
        // The only kind there is (RFC 6066 §3); another would have a form of its own.
        return Ok(None);
    }
    let length = usize::from(hello.two()?);
    if length + 3 > list {
        return Err(Stop::Malformed);
    }
    if length > NAME_BYTES {
        return Ok(None);
    }
    let mut name = Vec::with_capacity(length);
    for _ in 0..length {
        name.push(hello.byte()?.to_ascii_lowercase());
    }
    Ok(host_name(&name).map(Arc::from))
}

/// The name, if it is one of a host: labels of letters, digits, `-` and `_`; an address is none (RFC 6066 §3).
fn host_name(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    let good = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(inner)
    };
    let is_address = name.parse::<std::net::Ipv4Addr>().is_ok();
    (!is_address && name.split('.').all(good)).then_some(name)
}

/// The bytes of a handshake message, out of the records that carry it.
struct Records<'w> {
    wire: &'w [u8],
    /// Bytes that are left of the record.
    left: usize,
}

impl Records<'_> {
    fn byte(&mut self) -> Result<u8, Stop> {
        if self.left == 0 {
            self.begin_record()?;
        }
        let (byte, rest) = self.wire.split_first().ok_or(Stop::Short)?;
        (self.wire, self.left) = (rest, self.left - 1);
        Ok(*byte)
    }

    fn two(&mut self) -> Result<u16, Stop> {
        Ok(u16::from(self.byte()?) << 8 | u16::from(self.byte()?))
    }

    fn skip(&mut self, mut count: usize) -> Result<(), Stop> {
        while count > 0 {
            if self.left == 0 {
                self.begin_record()?;
            }
            let some = count.min(self.left);
            self.wire = self.wire.get(some..).ok_or(Stop::Short)?;
            (self.left, count) = (self.left - some, count - some);
        }
        Ok(())
    }

    fn begin_record(&mut self) -> Result<(), Stop> {
        // What is there must fit, so that something else is told by its first bytes.
        let head = [HANDSHAKE_RECORD, 3];
        if self.wire.iter().zip(head).any(|(byte, want)| *byte != want) {
            return Err(Stop::Malformed);
        }
        let [_, _, minor, high, low, rest @ ..] = self.wire else { return Err(Stop::Short) };
        let length = usize::from(*high) << 8 | usize::from(*low);
        // Empty fragments of handshakes are not allowed (RFC 8446 §5.1).
        if *minor > 4 || length == 0 || length > RECORD_BYTES {
            return Err(Stop::Malformed);
        }
        (self.wire, self.left) = (rest, length);
        Ok(())
    }
}

/// A part of so many bytes.
struct Part<'p, 'w> {
    from: &'p mut Records<'w>,
    left: usize,
}

impl Part<'_, '_> {
    fn take(&mut self, count: usize) -> Result<(), Stop> {
        self.left = self.left.checked_sub(count).ok_or(Stop::Malformed)?;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        self.take(1)?;
        self.from.byte()
    }

    fn two(&mut self) -> Result<u16, Stop> {
        self.take(2)?;
        self.from.two()
    }

    fn skip(&mut self, count: usize) -> Result<(), Stop> {
        self.take(count)?;
        self.from.skip(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::pki_types::ServerName;

    use super::*;

    /// The ClientHello that rustls sends to `name`.
    fn hello(name: &str) -> Vec<u8> {
        offering(name, &[])
    }

    /// One that offers these protocols.
    fn offering(name: &str, alpn: &[&[u8]]) -> Vec<u8> {
        let mut config =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .expect("the provider's own")
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let server = ServerName::try_from(name.to_owned()).expect("a test's name");
        let mut client = rustls::ClientConnection::new(config.into(), server).expect("a good config");
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("into memory");
        wire
    }

    /// The same handshake in records of at most `most` bytes.
    fn in_records(wire: &[u8], most: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[22, 3, 1, (part.len() >> 8) as u8, part.len() as u8], part].concat();
        wire[5..].chunks(most).flat_map(record).collect()
    }

    fn tls(name: &str) -> Look {
        Look::Is(Spoken::Tls(ClientHello { server_name: Some(name.into()), ..ClientHello::default() }))
    }

    #[test]
    fn a_client_hello_is_told_with_its_name_in_whatever_records() {
        let wire = hello("Stock.Shop.svc");
        assert_eq!(detect(&wire), tls("stock.shop.svc"));
        for most in [1, 2, 7, 100] {
            assert_eq!(detect(&in_records(&wire, most)), tls("stock.shop.svc"), "{most}");
        }
        assert_eq!(detect(&hello("10.0.0.1")), Look::Is(Spoken::Tls(ClientHello::default())), "an address is no name");
    }

    #[test]
    fn what_a_client_offers_is_told_wherever_it_stands_and_in_whatever_records() {
        for name in ["stock", "10.0.0.1"] {
            let wire = offering(name, &[b"h2", b"squall"]);
            for most in [1, 5, 100, RECORD_BYTES] {
                let Look::Is(Spoken::Tls(hello)) = detect(&in_records(&wire, most)) else { panic!("TLS: {most}") };
                let offers = [&b"h2"[..], b"squall", b"h", b"h22", b"", b"2"].map(|protocol| hello.offers(protocol));
                assert_eq!(offers, [true, true, false, false, false, false], "{most}");
                assert_eq!(hello.server_name.is_some(), name == "stock");
            }
        }
    }

    /// A hello with these extensions only.
    fn with(extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let size = |count: usize| [(count >> 8) as u8, count as u8];
        let of = |(kind, body): &(u16, &[u8])| [&kind.to_be_bytes()[..], &size(body.len()), body].concat();
        let all: Vec<u8> = extensions.iter().flat_map(of).collect();
        let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 19, 1, 1, 0], &size(all.len()), &all].concat();
        let message = [&[1, 0][..], &size(body.len()), &body].concat();
        message.chunks(RECORD_BYTES).flat_map(|part| [&[22, 3, 1][..], &size(part.len()), part].concat()).collect()
    }

    #[test]
    fn a_list_of_protocols_that_is_none_is_no_hello_and_one_that_is_too_long_hides_no_name() {
        const ALPN: u16 = super::ALPN;
        for list in [
            &b""[..],
            b"\x00",
            b"\x00\x00",
            b"\x00\x01\x00",
            b"\x00\x03\x02h2\x00",
            b"\x00\x04\x02h2",
            b"\x00\x03\x03h2",
            b"\x00\x04\x02h2\x00",
            b"\x00\x02\x02h2",
        ] {
            assert_eq!(detect(&with(&[(ALPN, list)])), Look::Is(Spoken::Other), "{list:?}");
        }
        let (h2, name) = (&b"\x00\x03\x02h2"[..], &b"\x00\x04\x00\x00\x01a"[..]);
        assert!(matches!(detect(&with(&[(ALPN, h2)])), Look::Is(Spoken::Tls(hello)) if hello.offers(b"h2")));
        assert_eq!(detect(&with(&[(ALPN, h2), (ALPN, h2)])), Look::Is(Spoken::Other));
        assert_eq!(detect(&with(&[(0, name), (0, name)])), Look::Is(Spoken::Other));
        let long = vec![0; LOOK_BYTES];
        assert_eq!(detect(&with(&[(0, name), (21, &long)])[..LOOK_BYTES]), tls("a"));
        assert_eq!(detect(&with(&[(21, &long), (0, name)])[..LOOK_BYTES]), Look::Is(Spoken::Other));
    }

    #[test]
    fn every_beginning_of_something_known_asks_for_more_or_knows_it_already() {
        let preface = PREFACE.to_vec();
        for (wire, want) in [
            (hello("stock"), tls("stock")),
            (preface, Look::Is(Spoken::Http2)),
            (b"GET /a HTTP/1.1\r\n".to_vec(), Look::Is(Spoken::Http1)),
            (b"PROPFIND /a HTTP/1.1\r\n".to_vec(), Look::Is(Spoken::Http1)),
            (b"CONNECT db:80 HTTP/1.1\r\n".to_vec(), Look::Is(Spoken::Http1)),
        ] {
            for end in 0..wire.len() {
                let look = detect(&wire[..end]);
                assert!(look == Look::More || look == want, "{look:?} after {end} bytes of {wire:?}");
            }
            assert_eq!(detect(&wire), want);
        }
    }

    #[test]
    fn what_is_nothing_known_is_told_so() {
        for wire in [
            &b"\x00"[..],
            b"GET \x0f HTTP/1.1\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"PING\r\n",
            b"get key\r\n",
            b"EHLO mail.example.org\r\n",
            b"\x16\x02\x00\x00\x05",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x03",
            b"GET\t/ HTTP/1.1\r\n",
            b" GET / HTTP/1.1\r\n",
            b"UPDATEREDIRECTREFERENCESNOW / HTTP/1.1\r\n",
            b"HELLO \x00",
        ] {
            assert_eq!(detect(wire), Look::Is(Spoken::Other), "{wire:?}");
        }
    }

    #[test]
    fn who_says_much_and_nothing_speaks_something_else() {
        let line = [b"FOO ".as_slice(), &vec![b'a'; LOOK_BYTES]].concat();
        assert_eq!(detect(&line[..LOOK_BYTES - 1]), Look::More);
        assert_eq!(detect(&line[..LOOK_BYTES]), Look::Is(Spoken::Other));
        // A hello that says it has 16 MiB.
        let long = [&[22, 3, 1, 0x40, 0, 1, 255, 255, 255, 3, 3][..], &vec![0; LOOK_BYTES]].concat();
        assert!(matches!(detect(&long), Look::Is(_)));
    }

    proptest! {
        #[test]
        fn whatever_comes_an_answer_comes(wire in prop::collection::vec(any::<u8>(), 0..600)) {
            let look = detect(&wire);
            prop_assert!(look == detect(&wire));
        }

        #[test]
        fn a_broken_hello_is_read_without_harm_and_as_its_beginnings_were(
            at in 0_usize..400, byte in any::<u8>(), most in 1_usize..300, cut in 0_usize..500,
        ) {
            let mut wire = in_records(&offering("stock.shop.svc.cluster.local", &[b"h2", b"squall"]), most);
            let at = at % wire.len();
            wire[at] = byte;
            let whole = detect(&wire);
            // What was told of the beginning holds for the whole.
            let beginning = detect(&wire[..cut.min(wire.len())]);
            prop_assert!(beginning == Look::More || beginning == whole, "{:?}, then {:?}", beginning, whole);
        }

        #[test]
        fn any_list_of_protocols_is_told_as_it_is(
            names in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..256), 1..20), most in 1_usize..600,
            other in prop::collection::vec(any::<u8>(), 0..5),
        ) {
            let list: Vec<u8> = names.iter().flat_map(|name| [&[name.len() as u8][..], name].concat()).collect();
            let body = [&(list.len() as u16).to_be_bytes()[..], &list].concat();
            let wire = with(&[(5, b"x"), (super::ALPN, &body)]);
            let Look::Is(Spoken::Tls(hello)) = detect(&in_records(&wire, most)) else { panic!("it is TLS") };
            prop_assert!(names.iter().all(|name| hello.offers(name)));
            prop_assert_eq!(hello.offers(&other), names.contains(&other));
        }

        #[test]
        fn any_name_of_a_host_is_found(
            labels in prop::collection::vec("[a-z]([a-z0-9-]{0,20}[a-z0-9])?", 1..6), most in 1_usize..600,
        ) {
            let name = labels.join(".");
            prop_assert_eq!(detect(&in_records(&hello(&name), most)), tls(&name));
        }
    }
}
