//! The PROXY protocol: what a load balancer says before a client's own bytes of where the client connected from.
//!
//! ```text
//!   PROXY TCP4 198.51.100.7 203.0.113.1 56324 443\r\n                version 1: a line, at most 107 bytes
//!   \r\n\r\n\0\r\nQUIT\n  0x21  0x11  length  addresses  TLVs …      version 2: 16 bytes, then as many as they say
//! ```
//!
//! Source: `doc/proxy-protocol.txt` of HAProxy, both versions, told apart by their first bytes. Nothing proves what stands there: only a
//! network that lets none but the balancer connect makes it worth believing, and so it is read only where it was asked for, and must come.
//!
//! Pure: bytes in, an answer out, which holds for all that begins with the same bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The most bytes of a header of version 1, with its line's end (§2.1).
pub const V1_BYTES: usize = 107;

/// The most bytes of a header of version 2 that is taken: the format allows for 65,551. Addresses take 232 at most; the rest is for TLVs, which
/// are skipped, and of which a client's certificate is the largest that balancers send.
pub const V2_BYTES: usize = 8 * 1024;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The fixed part of version 2: signature, version and command, family and protocol, length.
const V2_HEAD: usize = 16;

/// Of a `sockaddr_un` twice (§2.2).
const UNIX_BYTES: usize = 216;

/// What can be told of the first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A header, and where the client's own bytes begin.
    Is {
        /// Where the client connected from, and where to. `None`: the header names nobody (`LOCAL`, as health checks of balancers are;
        /// `UNKNOWN`; another family than IP; no stream), and the connection's own addresses hold.
        proxied: Option<Proxied>,
        /// How many bytes it has.
        bytes: usize,
    },
    /// More bytes must come first.
    More,
}

/// The connection that the client made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// Why it is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHeader {
    /// It begins as neither version does.
    #[error("it does not begin with a header of the PROXY protocol")]
    Signature,
    /// A line of version 1 that does not end in time, or not with CR LF.
    #[error("its line of the PROXY protocol does not end with CR LF within {V1_BYTES} bytes")]
    LineEnd,
    /// A line of version 1 with other words.
    #[error(
        "its line of the PROXY protocol is not `PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT` or `PROXY UNKNOWN …`"
    )]
    Line,
    /// A binary header of another version.
    #[error("its header of the PROXY protocol has version {0}, not 2")]
    Version(u8),
    /// Neither `LOCAL` nor `PROXY`.
    #[error("its header of the PROXY protocol has the command {0}, neither LOCAL (0) nor PROXY (1)")]
    Command(u8),
    /// A family or protocol that is not specified.
    #[error("its header of the PROXY protocol has the address family and protocol {0:#04x}, which are not specified")]
    Family(u8),
    /// Fewer bytes than its addresses take.
    #[error("its header of the PROXY protocol is too short for its addresses: {0} bytes")]
    Short(u16),
    /// More bytes than are taken.
    #[error("its header of the PROXY protocol has {0} bytes of addresses and TLVs; at most {max} are taken", max = V2_BYTES - V2_HEAD)]
    Long(u16),
}

/// Looks at the first bytes of a connection, from its client.
///
/// # Errors
/// [`NoHeader`], as soon as nothing that follows could make it one.
pub fn look(first: &[u8]) -> Result<Look, NoHeader> {
    let begins = |signature: &[u8]| {
        let both = signature.len().min(first.len());
        first[..both] == signature[..both]
    };
    if first.is_empty() {
        Ok(Look::More)
    } else if begins(V1) {
        version_1(first)
    } else if begins(V2) {
        version_2(first)
    } else {
        Err(NoHeader::Signature)
    }
}

fn version_1(first: &[u8]) -> Result<Look, NoHeader> {
    let line = &first[..first.len().min(V1_BYTES)];
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        return if line.len() < V1_BYTES { Ok(Look::More) } else { Err(NoHeader::LineEnd) };
    };
    let words = line[..end].strip_suffix(b"\r").ok_or(NoHeader::LineEnd)?;
    let words = words.strip_prefix(V1).ok_or(NoHeader::Line)?;
    let bytes = end + 1;
    // What follows this word is to be ignored (§2.1).
    if words == b"UNKNOWN" || words.starts_with(b"UNKNOWN ") {
        return Ok(Look::Is { proxied: None, bytes });
    }
    let proxied = std::str::from_utf8(words).ok().and_then(addresses).ok_or(NoHeader::Line)?;
    Ok(Look::Is { proxied: Some(proxied), bytes })
}

/// `TCP4 198.51.100.7 203.0.113.1 56324 443`, with exactly one space between two words.
fn addresses(words: &str) -> Option<Proxied> {
    let mut words = words.split(' ');
    let is_v4 = match words.next()? {
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let mut address = || {
        let word = words.next()?;
        if is_v4 {
            word.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        } else {
            word.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
    };
    let (source, destination) = (address()?, address()?);
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    let proxied = Proxied { source: SocketAddr::new(source, from), destination: SocketAddr::new(destination, to) };
    words.next().is_none().then_some(proxied)
}

/// Without a sign and heading zeroes (§2.1).
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    is_plain.then(|| word.parse().ok()).flatten()
}

fn version_2(first: &[u8]) -> Result<Look, NoHeader> {
    let Some(head) = first.get(V2.len()..) else { return Ok(Look::More) };
    let Some(&[version_and_command, rest @ ..]) = head.first_chunk::<4>() else {
        // Each byte that is there must fit, so that what was answered of a beginning holds for the whole.
        return if let Some(byte) = head.first() { command(*byte).map(|_| Look::More) } else { Ok(Look::More) };
    };
    let is_local = command(version_and_command)?;
    let [family, high, low] = rest;
    let length = u16::from_be_bytes([high, low]);
    let bytes = V2_HEAD + usize::from(length);
    if bytes > V2_BYTES {
        return Err(NoHeader::Long(length));
    }
    // Of a connection of the balancer's own the rest is to be ignored, the family too (§2.2).
    let needed = if is_local { 0 } else { address_bytes(family)? };
    if usize::from(length) < needed {
        return Err(NoHeader::Short(length));
    }
    let Some(block) = first.get(V2_HEAD..bytes) else { return Ok(Look::More) };
    let proxied = if is_local { None } else { of_block(family, block) };
    Ok(Look::Is { proxied, bytes })
}

/// Whether it is `LOCAL`.
fn command(version_and_command: u8) -> Result<bool, NoHeader> {
    match (version_and_command >> 4, version_and_command & 0xf) {
        (2, 0) => Ok(true),
        (2, 1) => Ok(false),
        (2, other) => Err(NoHeader::Command(other)),
        (other, _) => Err(NoHeader::Version(other)),
    }
}

/// How many bytes the addresses take; the families are UNSPEC, INET, INET6 and UNIX, the protocols UNSPEC, STREAM and DGRAM.
fn address_bytes(family: u8) -> Result<usize, NoHeader> {
    match (family >> 4, family & 0xf) {
        (0, 0..=2) => Ok(0),
        (1, 0..=2) => Ok(12),
        (2, 0..=2) => Ok(36),
        (3, 0..=2) => Ok(UNIX_BYTES),
        _ => Err(NoHeader::Family(family)),
    }
}

/// The addresses at the beginning of the block, if they are those of a stream over IP. Of others the connection's own hold, as HAProxy has it.
fn of_block(family: u8, block: &[u8]) -> Option<Proxied> {
    let port = |at: usize| Some(u16::from_be_bytes(*block.get(at..)?.first_chunk()?));
    let (source, destination, ports) = match family {
        0x11 => {
            let address = |at: usize| Some(IpAddr::from(*block.get(at..)?.first_chunk::<4>()?));
            (address(0)?, address(4)?, 8)
        }
        0x21 => {
            let address = |at: usize| Some(IpAddr::from(*block.get(at..)?.first_chunk::<16>()?));
            (address(0)?, address(16)?, 32)
        }
        _ => return None,
    };
    let (from, to) = (port(ports)?, port(ports + 2)?);
    Some(Proxied { source: SocketAddr::new(source, from), destination: SocketAddr::new(destination, to) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).expect("a test's block").to_be_bytes();
        [V2, &[0x20 | command, family], &length, block].concat()
    }

    fn proxied(source: &str, destination: &str) -> Option<Proxied> {
        let parse = |text: &str| text.parse().expect("a test's address");
        Some(Proxied { source: parse(source), destination: parse(destination) })
    }

    const V4_BLOCK: [u8; 12] = [198, 51, 100, 7, 203, 0, 113, 1, 0xdc, 0x04, 0x01, 0xbb];

    fn v6_block() -> Vec<u8> {
        let (a, b) = (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7), Ipv6Addr::LOCALHOST);
        [&a.octets()[..], &b.octets(), &[0xdc, 0x04, 0x01, 0xbb]].concat()
    }

    #[track_caller]
    fn is(wire: &[u8], want: Option<Proxied>) {
        let with_more = [wire, b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(look(&with_more), Ok(Look::Is { proxied: want, bytes: wire.len() }), "{wire:?}");
    }

    #[test]
    fn lines_of_version_1_are_read_as_specified() {
        let v4 = proxied("198.51.100.7:56324", "203.0.113.1:443");
        is(b"PROXY TCP4 198.51.100.7 203.0.113.1 56324 443\r\n", v4);
        is(
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            proxied("255.255.255.255:65535", "255.255.255.255:65535"),
        );
        is(b"PROXY TCP6 2001:db8::7 ::1 0 443\r\n", proxied("[2001:db8::7]:0", "[::1]:443"));
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        is(
            format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n").as_bytes(),
            proxied(&format!("[{longest}]:65535"), &format!("[{longest}]:65535")),
        );
        is(b"PROXY UNKNOWN\r\n", None);
        let longest = format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n");
        assert_eq!(longest.len(), V1_BYTES);
        is(longest.as_bytes(), None);
    }

    #[test]
    fn lines_that_are_none_of_version_1_are_refused() {
        for (line, why) in [
            ("PROXY TCP4 198.51.100.7 203.0.113.1 56324 443\n", NoHeader::LineEnd),
            ("PROXY TCP4 198.51.100.7 203.0.113.1 56324\r\n", NoHeader::Line),
            ("PROXY TCP4 198.51.100.7 203.0.113.1 56324 443 \r\n", NoHeader::Line),
            ("PROXY TCP4 198.51.100.7 203.0.113.1 56324 443 1\r\n", NoHeader::Line),
            ("PROXY TCP4  198.51.100.7 203.0.113.1 56324 443\r\n", NoHeader::Line),
            ("PROXY TCP4\t198.51.100.7 203.0.113.1 56324 443\r\n", NoHeader::Line),
            ("PROXY TCP4 198.51.100.07 203.0.113.1 56324 443\r\n", NoHeader::Line),
            ("PROXY TCP4 198.51.100.7 203.0.113.1 056324 443\r\n", NoHeader::Line),
            ("PROXY TCP4 198.51.100.7 203.0.113.1 +5 443\r\n", NoHeader::Line),
            ("PROXY TCP4 198.51.100.7 203.0.113.1 65536 443\r\n", NoHeader::Line),
            ("PROXY TCP4 198.51.100.7 203.0.113.1  443\r\n", NoHeader::Line),
            ("PROXY TCP4 ::1 ::1 1 2\r\n", NoHeader::Line),
            ("PROXY TCP6 198.51.100.7 203.0.113.1 1 2\r\n", NoHeader::Line),
            ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", NoHeader::Line),
            ("PROXY UDP4 198.51.100.7 203.0.113.1 1 2\r\n", NoHeader::Line),
            ("PROXY tcp4 198.51.100.7 203.0.113.1 1 2\r\n", NoHeader::Line),
            ("PROXY UNKNOWNS\r\n", NoHeader::Line),
            ("PROXY \r\n", NoHeader::Line),
            ("PROXY\r\n", NoHeader::Signature),
            ("PROXYTCP4 1.1.1.1 1.1.1.1 1 2\r\n", NoHeader::Signature),
            ("proxy TCP4 1.1.1.1 1.1.1.1 1 2\r\n", NoHeader::Signature),
            (" PROXY TCP4 1.1.1.1 1.1.1.1 1 2\r\n", NoHeader::Signature),
            ("GET / HTTP/1.1\r\n\r\n", NoHeader::Signature),
        ] {
            assert_eq!(look(line.as_bytes()), Err(why), "{line:?}");
        }
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'a'; 200], b"\r\n"].concat();
        assert_eq!(look(&long), Err(NoHeader::LineEnd));
        assert_eq!(look(&long[..V1_BYTES - 1]), Ok(Look::More));
        assert_eq!(look(&long[..V1_BYTES]), Err(NoHeader::LineEnd));
        assert_eq!(look(b"PROXY TCP4 \xff\xff\r\n"), Err(NoHeader::Line));
    }

    #[test]
    fn headers_of_version_2_are_read_as_specified() {
        is(&binary(1, 0x11, &V4_BLOCK), proxied("198.51.100.7:56324", "203.0.113.1:443"));
        is(&binary(1, 0x21, &v6_block()), proxied("[2001:db8::7]:56324", "[::1]:443"));
        // TLVs are skipped, whatever they say: ALPN, CRC, and what has no end.
        let tlvs = [&V4_BLOCK[..], &[1, 0, 2, b'h', b'2', 3, 0, 4, 0, 0, 0, 0, 0x20, 255, 255]].concat();
        is(&binary(1, 0x11, &tlvs), proxied("198.51.100.7:56324", "203.0.113.1:443"));
        // The balancer's own connection, with whatever block; a stream of no IP; what is no stream.
        for block in [&[][..], &V4_BLOCK, &[0; 3]] {
            for family in [0x00, 0x11, 0x21, 0x31, 0xff] {
                is(&binary(0, family, block), None);
            }
        }
        is(&binary(1, 0x00, &[]), None);
        is(&binary(1, 0x00, &[9; 40]), None);
        is(&binary(1, 0x31, &[0; UNIX_BYTES]), None);
        is(&binary(1, 0x12, &V4_BLOCK), None);
        let most = [&V4_BLOCK[..], &vec![7; V2_BYTES - V2_HEAD - V4_BLOCK.len()]].concat();
        is(&binary(1, 0x11, &most), proxied("198.51.100.7:56324", "203.0.113.1:443"));
    }

    #[test]
    fn headers_that_are_none_of_version_2_are_refused() {
        let most = vec![7; V2_BYTES - V2_HEAD + 1];
        for (wire, why) in [
            ([V2, &[0x11, 0x11, 0, 12]].concat(), NoHeader::Version(1)),
            ([V2, &[0x31]].concat(), NoHeader::Version(3)),
            (binary(2, 0x11, &V4_BLOCK), NoHeader::Command(2)),
            (binary(15, 0x11, &V4_BLOCK), NoHeader::Command(15)),
            (binary(1, 0x41, &V4_BLOCK), NoHeader::Family(0x41)),
            (binary(1, 0x13, &V4_BLOCK), NoHeader::Family(0x13)),
            (binary(1, 0x11, &V4_BLOCK[..11]), NoHeader::Short(11)),
            (binary(1, 0x21, &v6_block()[..35]), NoHeader::Short(35)),
            (binary(1, 0x31, &[0; UNIX_BYTES - 1]), NoHeader::Short(215)),
            (binary(1, 0x11, &most), NoHeader::Long(8177)),
            (binary(0, 0x00, &most), NoHeader::Long(8177)),
            (b"\r\n\r\n\0\r\nQUIT\r\n".to_vec(), NoHeader::Signature),
            (b"\r\nGET / HTTP/1.1\r\n".to_vec(), NoHeader::Signature),
        ] {
            assert_eq!(look(&wire), Err(why), "{wire:?}");
        }
        // Known by the length alone: nothing of the rest is waited for.
        assert_eq!(look(&[V2, &[0x21, 0x11, 255, 255]].concat()), Err(NoHeader::Long(65_535)));
    }

    /// Whole headers and almost headers.
    fn wire() -> impl Strategy<Value = Vec<u8>> {
        let line = "PROXY (TCP4|TCP6|UNKNOWN|TCP5)( [0-9a-f.:]{1,20}){0,5}\r?\n?";
        let block = prop::collection::vec(any::<u8>(), 0..300);
        let binary = (0_u8..4, prop_oneof![Just(0x11_u8), Just(0x21), any::<u8>()], block)
            .prop_map(|(command, family, block)| super::tests::binary(command, family, &block));
        let good = (any::<[u8; 4]>(), any::<[u8; 4]>(), any::<u16>(), any::<u16>()).prop_map(|(a, b, from, to)| {
            format!("PROXY TCP4 {} {} {from} {to}\r\n", Ipv4Addr::from(a), Ipv4Addr::from(b)).into_bytes()
        });
        prop_oneof![line.prop_map(String::into_bytes), binary, good, prop::collection::vec(any::<u8>(), 0..120)]
    }

    proptest! {
        #[test]
        fn bytes_in_any_cut_give_the_same_answer(
            wire in wire(), more in prop::collection::vec(any::<u8>(), 0..20), at in any::<prop::sample::Index>(), byte in any::<Option<u8>>(),
        ) {
            let mut wire = [wire, more].concat();
            if let (Some(byte), false) = (byte, wire.is_empty()) {
                let at = at.index(wire.len());
                wire[at] = byte;
            }
            let whole = look(&wire);
            for end in 0..wire.len() {
                let beginning = look(&wire[..end]);
                prop_assert!(beginning == Ok(Look::More) || beginning == whole, "{:?} after {} bytes, then {:?}", beginning, end, whole);
            }
            if let Ok(Look::Is { bytes, .. }) = whole {
                prop_assert!(bytes <= wire.len() && bytes <= V2_BYTES);
                prop_assert_eq!(look(&wire[..bytes - 1]), Ok(Look::More), "no byte too many");
            }
        }

        #[test]
        fn any_two_addresses_are_read_as_they_were_written(
            (a, b) in prop_oneof![
                (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
                (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
            ],
            from in any::<u16>(), to in any::<u16>(),
        ) {
            let want = Some(Proxied { source: SocketAddr::new(a, from), destination: SocketAddr::new(b, to) });
            let kind = if a.is_ipv4() { "TCP4" } else { "TCP6" };
            is(format!("PROXY {kind} {a} {b} {from} {to}\r\n").as_bytes(), want);
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            let block = [octets(a), octets(b), from.to_be_bytes().to_vec(), to.to_be_bytes().to_vec()].concat();
            is(&binary(1, if a.is_ipv4() { 0x11 } else { 0x21 }, &block), want);
        }
    }
}
