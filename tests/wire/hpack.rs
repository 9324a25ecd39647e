//! Header compression (RFC 7541) for a test peer: it writes literals only, without Huffman and without touching the dynamic
//! table, and reads everything a peer may send to somebody who announced a table of no bytes.

/// A header as it is on the wire; nothing about it is checked.
pub type Field = (Vec<u8>, Vec<u8>);

/// Literals without indexing, new names (§6.2.2), raw strings.
pub fn encode(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// A length with a 7-bit prefix (§5.1).
fn integer(block: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        block.push(u8::try_from(value).expect("below 127"));
        return;
    }
    block.push(127);
    value -= 127;
    while value >= 128 {
        block.push(u8::try_from(value % 128).expect("below 128") | 128);
        value /= 128;
    }
    block.push(u8::try_from(value).expect("below 128"));
}

/// The fields of a whole block. `None`: it is not one that we allowed.
pub fn decode(block: &[u8]) -> Option<Vec<Field>> {
    let mut reader = Reader { block, at: 0 };
    let mut fields = Vec::new();
    while let Some(first) = reader.peek() {
        if first & 0x80 != 0 {
            let (name, value) = entry(reader.integer(7)?)?;
            fields.push((name.into(), value.into()));
        } else if first & 0xe0 == 0x20 {
            reader.integer(5)?;
        } else {
            let index = reader.integer(if first & 0x40 != 0 { 6 } else { 4 })?;
            let name = if index == 0 { reader.string()? } else { entry(index)?.0.into() };
            fields.push((name, reader.string()?));
        }
    }
    Some(fields)
}

struct Reader<'b> {
    block: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.block.get(self.at).copied()
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn integer(&mut self, prefix: u32) -> Option<usize> {
        let most = (1_usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Some(value);
        }
        let mut shift = 0;
        loop {
            let byte = usize::from(self.byte()?);
            value = value.checked_add((byte & 127).checked_shl(shift)?)?;
            shift += 7;
            if byte & 128 == 0 {
                return Some(value);
            }
        }
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        let packed = self.peek()? & 0x80 != 0;
        let length = self.integer(7)?;
        let text = self.block.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        if packed { unpack(text) } else { Some(text.to_vec()) }
    }
}

/// Huffman (§5.2). The code is canonical: within a length, codes count up with the symbol, so the lengths say it all.
fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let (mut code, mut bits) = (0_u32, 0_u8);
    for byte in packed {
        for place in (0..8).rev() {
            code = code << 1 | u32::from(byte >> place & 1);
            bits += 1;
            if let Some(symbol) = symbol(code, bits) {
                text.push(symbol);
                (code, bits) = (0, 0);
            }
            if bits > 30 {
                return None;
            }
        }
    }
    // What is left is padding: fewer than eight ones.
    (bits < 8 && code == (1 << bits) - 1).then_some(text)
}

fn symbol(code: u32, bits: u8) -> Option<u8> {
    let (mut first, mut length) = (0_u32, 0_u8);
    // The first code of each length, from the counts of the shorter ones.
    while length < bits {
        let count = LENGTHS.iter().filter(|of| **of == length && length > 0).count();
        first = (first + u32::try_from(count).expect("at most 256")) << 1;
        length += 1;
    }
    let nth = usize::try_from(code.checked_sub(first)?).ok()?;
    let with_length = LENGTHS.iter().enumerate().filter(|(_, of)| **of == bits).nth(nth)?;
    u8::try_from(with_length.0).ok()
}

/// Bits of each symbol's code (RFC 7541, Appendix B).
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26,
];

/// An entry of the static table (RFC 7541, Appendix A).
fn entry(index: usize) -> Option<(&'static str, &'static str)> {
    STATIC.get(index.checked_sub(1)?).copied()
}

const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[test]
fn reads_the_examples_of_rfc_7541() {
    // C.2.2 and C.4.1.
    let plain = b"\x04\x0c/sample/path";
    assert_eq!(decode(plain), Some(vec![(b":path".to_vec(), b"/sample/path".to_vec())]));
    let packed = [0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
    assert_eq!(decode(&packed), Some(vec![(b":authority".to_vec(), b"www.example.com".to_vec())]));
    let long = "x".repeat(1000);
    assert_eq!(decode(&encode(&[(b"a", long.as_bytes())])), Some(vec![(b"a".to_vec(), long.into_bytes())]));
}
