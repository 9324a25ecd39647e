//! Join tokens: what a proxy shows for its first certificate, and whom each proves.
//!
//! A file has one a line, the token and the service account that may use it; `#` begins a comment:
//!
//! ```text
//! 4f0c2a9be1d37785c6a1 shop/front    # the pods that run as `front` in namespace `shop`
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Mistake, Mistakes, Place, spiffe_id};

/// A token of fewer characters is too easily guessed.
const LENGTH_MIN: usize = 16;

/// Reads a file of tokens: the SPIFFE id that each proves.
///
/// # Errors
/// Every mistake with its place. No mistake shows a token.
pub fn read(file: &str, text: &str) -> Result<BTreeMap<String, String>, Vec<Mistake>> {
    let mistakes = Mistakes::new();
    let mut tokens = BTreeMap::new();
    let mut first: BTreeMap<&str, Place> = BTreeMap::new();
    let mut start = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let said = line.split('#').next().unwrap_or_default();
        let mut words = said.split_whitespace();
        let at = |word: &str| place(file, number, line, start, word);
        if let Some(token) = words.next() {
            match (words.next(), words.next()) {
                (Some(account), None) => match identity(account) {
                    Some(_) if token.chars().count() < LENGTH_MIN => {
                        let message = format!("the token has fewer than {LENGTH_MIN} characters");
                        mistakes.push(Mistake::new(&at(token), message).help("make one: openssl rand -hex 16"));
                    }
                    Some(id) => {
                        if let Some(first) = first.insert(token, at(token)) {
                            let mistake = Mistake::new(&at(token), "the token is given twice");
                            mistakes.push(mistake.label(&first, "first given here"));
                        }
                        tokens.insert(token.to_owned(), id);
                    }
                    None => {
                        // Not shown: who wrote the two the other way round has the token here.
                        let message = "the second word is not NAMESPACE/SERVICE-ACCOUNT";
                        mistakes.push(Mistake::new(&at(account), message).help("such as `shop/front`"));
                    }
                },
                (None, _) => {
                    let message = "the token proves nobody";
                    mistakes.push(Mistake::new(&at(token), message).help("write TOKEN NAMESPACE/SERVICE-ACCOUNT"));
                }
                (Some(_), Some(more)) => {
                    let message = "there is more after token and service account";
                    mistakes.push(Mistake::new(&at(more), message).help("one token a line"));
                }
            }
        }
        start += line.len();
    }
    mistakes.check(tokens)
}

/// The SPIFFE id of `NAMESPACE/SERVICE-ACCOUNT`.
fn identity(account: &str) -> Option<String> {
    let (namespace, name) = account.split_once('/')?;
    let good = |part: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        !part.is_empty() && part.len() <= 253 && part.bytes().all(inner)
    };
    (good(namespace) && good(name)).then(|| spiffe_id(namespace, name))
}

fn place(file: &str, number: usize, line: &str, start: usize, word: &str) -> Place {
    // A word is a part of its line, and may stand in it elsewhere too.
    let offset = word.as_ptr().addr() - line.as_ptr().addr();
    Place {
        file: Arc::from(file),
        line: number,
        column: line[..offset].chars().count() + 1,
        length: word.chars().count().max(1),
        start: start + offset,
        end: start + offset + word.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_proves_its_service_account() {
        let text = "# ours\n\n0123456789abcdef shop/front # the front\n  fedcba9876543210\tshop/stock\n";
        let tokens = read("tokens", text).expect("no mistake");
        let want = [
            ("0123456789abcdef", "spiffe://cluster.local/ns/shop/sa/front"),
            ("fedcba9876543210", "spiffe://cluster.local/ns/shop/sa/stock"),
        ];
        assert_eq!(tokens.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), want);
    }

    #[test]
    fn every_mistake_has_its_place_and_none_shows_a_token() {
        let text = "0123456789abcdef\nshort shop/front\n0123456789abcdef front\n0123456789abcdef a/b c\n";
        let mistakes = read("tokens", text).expect_err("four mistakes");
        let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "tokens:1:1: the token proves nobody (write TOKEN NAMESPACE/SERVICE-ACCOUNT)",
                "tokens:2:1: the token has fewer than 16 characters (make one: openssl rand -hex 16)",
                "tokens:3:18: the second word is not NAMESPACE/SERVICE-ACCOUNT (such as `shop/front`)",
                "tokens:4:22: there is more after token and service account (one token a line)",
            ]
        );
        let twice = read("tokens", "0123456789abcdef a/b\n0123456789abcdef a/c\n").expect_err("given twice");
        assert_eq!(twice[0].to_string(), "tokens:2:1: the token is given twice");
    }
}
