//! `v1` Secret of type `kubernetes.io/tls`: a certificate that a gateway shows. Nothing of what is in it is ever part of a message.

use super::{Metadata, optional};
use crate::Mistake;
use crate::gateway::Secret;
use crate::yaml::{Fields, Value};

/// The type of Secrets that hold a certificate with its key.
const TYPE: &str = "kubernetes.io/tls";

pub(super) fn read(metadata: Metadata, fields: &Fields<'_>) -> Option<Secret> {
    fields.required("type").and_then(|value| value.choice(&[(TYPE, ())]))?;
    optional(fields, "immutable", |value| value.boolean())?;
    let parts = [("data", true), ("stringData", false)].map(|(name, coded)| {
        // No suggestions and no values: what stands there is a secret.
        optional(fields, name, |value| {
            value
                .entries()?
                .into_iter()
                .map(|(key, value)| Some((key.name.clone(), text(value, coded)?)))
                .collect::<Option<Vec<_>>>()
        })
    });
    let mut entries = Vec::new();
    for part in parts {
        entries.extend(part?.unwrap_or_default());
    }
    let mut take = |name: &str| {
        let at = entries.iter().position(|(known, _)| known == name);
        if at.is_none() {
            let mistake =
                Mistake::new(&metadata.place, format!("a Secret of type `{TYPE}` needs `{name}` in its data"));
            fields.whole().mistakes().push(mistake);
        }
        at.map(|at| entries.swap_remove(at).1)
    };
    let (chain, key) = (take("tls.crt"), take("tls.key"));
    // What cert-manager puts beside them; it proves nothing to clients that do not have it already.
    if let Some((name, _)) = entries.iter().find(|(name, _)| name != "ca.crt") {
        let mistake =
            Mistake::new(&metadata.place, format!("`{name}` in the data of a Secret of type `{TYPE}` has no meaning"));
        fields.whole().mistakes().push(mistake.help("only tls.crt, tls.key and ca.crt are known"));
        return None;
    }
    Some(Secret { id: metadata.id, place: metadata.place, chain: chain?, key: key? })
}

fn text(value: Value<'_>, coded: bool) -> Option<String> {
    let text = value.is_scalar().then(|| value.scalar()).flatten();
    let text = match (text, coded) {
        (Some(text), true) => decode(text),
        (text, _) => text.map(str::to_owned),
    };
    if text.is_none() {
        value
            .mistakes()
            .push(Mistake::new(value.place(), if coded { "expected text in Base64" } else { "expected text" }));
    }
    text
}

/// Base64 (RFC 4648 §4), perhaps with line breaks, of text.
fn decode(text: &str) -> Option<String> {
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(text.len() / 4 * 3), 0_u32, 0_u32);
    let mut letters = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).peekable();
    while let Some(letter) = letters.next_if(|letter| *letter != b'=') {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xFF_FFFF;
        count += 1;
        if count % 4 != 1 {
            let shift = 6 - 2 * ((count - 1) % 4);
            bytes.push((bits >> shift & 0xFF) as u8);
        }
    }
    // Nothing but padding may follow, and of one letter alone no byte can be made.
    (letters.all(|letter| letter == b'=') && count % 4 != 1).then(|| String::from_utf8(bytes).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_it_is_written_elsewhere() {
        // RFC 4648 §10.
        for (coded, want) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYg==", Some("foob")),
            ("Zm9v\nYmE=", Some("fooba")),
            ("Zm9vYmFy", Some("foobar")),
            ("Pz8/Pj4+", Some("???>>>")),
            ("Zm9vY", None),
            ("Zg=x", None),
            ("Zm-v", None),
            ("/w==", None),
        ] {
            assert_eq!(decode(coded).as_deref(), want, "{coded}");
        }
    }
}
