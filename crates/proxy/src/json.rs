//! JSON as text, for logs and status pages: only what they need, written in the order in which it is said.

/// An object in the making.
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self("{".to_owned())
    }

    /// A field whose value is JSON already.
    pub(crate) fn raw(mut self, name: &str, value: &str) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        quote(&mut self.0, name);
        self.0.push(':');
        self.0.push_str(value);
        self
    }

    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        let mut quoted = String::new();
        quote(&mut quoted, value);
        self.raw(name, &quoted)
    }

    pub(crate) fn number(self, name: &str, value: u64) -> Self {
        self.raw(name, &value.to_string())
    }

    pub(crate) fn flag(self, name: &str, value: bool) -> Self {
        self.raw(name, if value { "true" } else { "false" })
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
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
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            control if control < ' ' => text.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_kind_stays_one_string() {
        let object = Object::new().text("a\"b", "x\\\n\u{1}é").number("n", 3).flag("f", true);
        assert_eq!(object.raw("l", &list(["1".to_owned(), string("z")])).finish(), {
            "{\"a\\\"b\":\"x\\\\\\n\\u0001é\",\"n\":3,\"f\":true,\"l\":[1,\"z\"]}"
        });
    }
}
