//! JSON as text, for logs and status pages: only what they need, written in the order in which it is said.

/// An object in the making.
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self("{".to_owned())
    }

    /// With room for so many bytes.
    pub(crate) fn with_room(bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes);
        text.push('{');
        Self(text)
    }

    /// What comes before a value.
    fn name(&mut self, name: &'static str) {
        debug_assert!(is_plain(name), "{name:?}");
        self.0.push_str(if self.0.len() > 1 { ",\"" } else { "\"" });
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    /// A field whose value is JSON already.
    pub(crate) fn raw(mut self, name: &'static str, value: &str) -> Self {
        self.name(name);
        self.0.push_str(value);
        self
    }

    pub(crate) fn text(mut self, name: &'static str, value: &str) -> Self {
        self.name(name);
        quote(&mut self.0, value);
        self
    }

    pub(crate) fn number(mut self, name: &'static str, value: u64) -> Self {
        self.name(name);
        push_number(&mut self.0, value);
        self
    }

    pub(crate) fn flag(self, name: &'static str, value: bool) -> Self {
        self.raw(name, if value { "true" } else { "false" })
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// The digits of a number.
pub(crate) fn push_number(text: &mut String, number: u64) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// A list of values that are JSON already.
pub(crate) fn list(values: impl IntoIterator<Item = String>) -> String {
    let mut text = "[".to_owned();
    for (number, value) in values.into_iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&value);
    }
    text.push(']');
    text
}

/// A string (RFC 8259 §7).
pub(crate) fn string(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    quote(&mut text, value);
    text
}

fn quote(text: &mut String, value: &str) {
    text.push('"');
    if is_plain(value) {
        text.push_str(value);
    } else {
        for letter in value.chars() {
            match letter {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                control if control < ' ' => text.push_str(&format!("\\u{:04x}", u32::from(control))),
                other => text.push(other),
            }
        }
    }
    text.push('"');
}

/// Whether nothing in it is to be escaped, as in most text: eight bytes are looked at together.
fn is_plain(value: &str) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // The high bit of some byte is set if one is below `than`, which is 128 at most.
    let below = |bytes: u64, than: u64| bytes.wrapping_sub(ONES * than) & !bytes & (ONES * 0x80);
    let odd = |bytes: [u8; 8]| {
        let bytes = u64::from_le_bytes(bytes);
        let [quotes, slashes] = [b'"', b'\\'].map(|one| bytes ^ (ONES * u64::from(one)));
        below(bytes, 0x20) | below(quotes, 1) | below(slashes, 1)
    };
    let (eights, rest) = value.as_bytes().as_chunks::<8>();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    eights.iter().chain([&last]).fold(0, |found, bytes| found | odd(*bytes)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_escaped_is_seen_wherever_it_stands() {
        for byte in 0..=0x7f_u8 {
            let odd = byte < b' ' || matches!(byte, b'"' | b'\\');
            for (before, after) in (0..17).flat_map(|before| (0..9).map(move |after| (before, after))) {
                let text = "é ~\u{7f}!#[]^".repeat(3).chars().take(before).collect::<String>()
                    + &char::from(byte).to_string()
                    + &"\u{80}".repeat(after);
                assert_eq!(is_plain(&text), !odd, "{text:?}");
            }
        }
    }

    #[test]
    fn text_of_any_kind_stays_one_string() {
        let object = Object::new().text("a", "a\"b x\\\n\u{1}é").number("n", 3).flag("f", true);
        assert_eq!(object.raw("l", &list(["1".to_owned(), string("z")])).finish(), {
            "{\"a\":\"a\\\"b x\\\\\\n\\u0001é\",\"n\":3,\"f\":true,\"l\":[1,\"z\"]}"
        });
    }
}
