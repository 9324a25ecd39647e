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
    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        quote(&mut self.0, name);
        self.0.push(':');
    }

    /// A field whose value is JSON already.
    pub(crate) fn raw(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.0.push_str(value);
        self
    }

    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        quote(&mut self.0, value);
        self
    }

    pub(crate) fn number(mut self, name: &str, value: u64) -> Self {
        self.name(name);
        push_number(&mut self.0, value);
        self
    }

    pub(crate) fn flag(self, name: &str, value: bool) -> Self {
        self.raw(name, if value { "true" } else { "false" })
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// The digits of a number.
pub(crate) fn push_number(text: &mut String, number: u64) {
    let (mut room, mut left, mut place) = ([b'0'; 20], number, 20);
    loop {
        place -= 1;
        room[place] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    text.push_str(std::str::from_utf8(&room[place..]).expect("digits"));
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
    let mut rest = value;
    // Most text has nothing to escape.
    while let Some(place) = rest.bytes().position(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        text.push_str(&rest[..place]);
        match rest.as_bytes()[place] {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            control => text.push_str(&format!("\\u{control:04x}")),
        }
        rest = &rest[place + 1..];
    }
    text.push_str(rest);
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_their_digits() {
        for number in [0, 7, 10, 4_213, u64::MAX] {
            let mut text = String::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string());
        }
    }

    #[test]
    fn text_of_any_kind_stays_one_string() {
        let object = Object::new().text("a\"b", "x\\\n\u{1}é").number("n", 3).flag("f", true);
        assert_eq!(object.raw("l", &list(["1".to_owned(), string("z")])).finish(), {
            "{\"a\\\"b\":\"x\\\\\\n\\u0001é\",\"n\":3,\"f\":true,\"l\":[1,\"z\"]}"
        });
    }
}
