//! The key of a request, hashed.

use std::borrow::Cow;

use crate::hash::xxh64;
use crate::mesh::{Balancing, HashKey};
use crate::route::RequestLine;

/// The hash of a request for a backend that balances so; `None`: it does not hash, or the request has none of its keys.
/// `source` is the SPIFFE id of the workload that it comes from.
#[must_use]
pub fn request_hash(balancing: &Balancing, line: &RequestLine<'_>, source: Option<&str>) -> Option<u64> {
    let Balancing::Hash(hashing) = balancing else { return None };
    hashing.keys.iter().find_map(|key| {
        let value: Cow<'_, str> = match key {
            HashKey::Header(name) => (line.header)(name)?,
            HashKey::Cookie(name) => cookie(&(line.header)("cookie")?, name)?.to_owned().into(),
            HashKey::Query(name) => query(line.query?, name)?.into(),
            HashKey::Path => line.path.into(),
            HashKey::Source => source?.into(),
        };
        Some(xxh64(value.as_bytes(), 0))
    })
}

/// The value of a cookie (RFC 6265 §4.2.1); several lines of the header are joined by `,` or `;`.
fn cookie<'c>(header: &'c str, name: &str) -> Option<&'c str> {
    let pairs = header.split([';', ',']).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find_map(|(key, value)| (key == name).then_some(value.trim_matches('"')))
}

fn query<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{HashTable, Hashing, WhenDown};

    #[track_caller]
    fn check(keys: &[HashKey], want: Option<&str>) {
        let header = |name: &str| -> Option<Cow<'_, str>> {
            match name {
                "x-user" => Some("alice".into()),
                "cookie" => Some("a=1; session=\"s 7\"; b=2".into()),
                _ => None,
            }
        };
        let line = RequestLine {
            authority: "cart",
            method: "GET",
            path: "/items/4",
            query: Some("size=L&user=bob&user=eve&flag"),
            header: &header,
        };
        let hashing =
            Hashing { table: HashTable::RING, keys: keys.to_vec(), bound_percent: None, when_down: WhenDown::Next };
        let got = request_hash(&Balancing::Hash(hashing), &line, Some("spiffe://mesh/ns/a/sa/b"));
        assert_eq!(got, want.map(|value| xxh64(value.as_bytes(), 0)), "{keys:?}");
    }

    #[test]
    fn the_first_key_that_is_there_counts() {
        let header = |name: &str| HashKey::Header(name.into());
        check(&[header("x-user")], Some("alice"));
        check(&[header("x-none")], None);
        check(&[header("x-none"), HashKey::Path], Some("/items/4"));
        check(&[HashKey::Path, header("x-user")], Some("/items/4"));
        check(&[HashKey::Cookie("session".into())], Some("s 7"));
        check(&[HashKey::Cookie("sess".into())], None);
        check(&[HashKey::Query("user".into())], Some("bob"));
        check(&[HashKey::Query("flag".into())], Some(""));
        check(&[HashKey::Query("fla".into())], None);
        check(&[HashKey::Source], Some("spiffe://mesh/ns/a/sa/b"));
    }

    #[test]
    fn who_does_not_balance_by_hash_needs_none() {
        let header = |_: &str| None;
        let line = RequestLine { authority: "cart", method: "GET", path: "/", query: None, header: &header };
        assert_eq!(request_hash(&Balancing::RoundRobin, &line, None), None);
    }
}
