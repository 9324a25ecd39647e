//! Decides whether a caller may have what it asks for.
//!
//! ```text
//!   a deny rule fits? ── yes ─▶ refused, by that rule
//!        │ no
//!   are there allow rules? ── no ─▶ allowed
//!        │ yes
//!   one of them fits? ── yes ─▶ allowed          no ─▶ refused, by default
//! ```
//!
//! A path is looked at as it came and as a server may understand it: with its percent-codes decoded, its dot segments removed, its
//! slashes merged, backslashes taken for slashes. A deny rule must fit only one of the two, an allow rule both, so that `/public/..%2fadmin`
//! opens nothing. Only what needs it is rewritten; an ordinary path costs no allocation.
//!
//! What is not HTTP has no method and no path. Rules about these deny such a connection, and do not allow it, as in Istio.
//!
//! Source: Istio's AuthorizationPolicy; RFC 3986 §5.2.4 and §6.2.2.

use std::borrow::Cow;

use crate::mesh::{AccessRule, Authorization, Caller, Operation, TextMatch};

/// What is asked, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The SPIFFE id that the caller proved.
    pub peer: Option<&'a str>,
    /// Method and path without query; `None`: the connection is not HTTP.
    pub http: Option<(&'a str, &'a str)>,
}

/// A decision, with the rules it is by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access<'r> {
    /// It may go on.
    pub allowed: bool,
    /// The rule that decided; `None`: no rule fits.
    pub by: Option<&'r str>,
    /// The first audit rule that fits.
    pub audited: Option<&'r str>,
}

impl Authorization {
    /// Decides.
    #[must_use]
    pub fn decide(&self, asked: Asked<'_>) -> Access<'_> {
        let plain = asked.http.map(|(_, path)| normal(path));
        let other = match (asked.http, &plain) {
            (Some((method, _)), Some(Cow::Owned(path))) => Some(Asked { http: Some((method, path)), ..asked }),
            (_, _) => None,
        };
        let either = |rule: &&AccessRule| rule.fits(asked, true) || other.is_some_and(|other| rule.fits(other, true));
        let both = |rule: &&AccessRule| rule.fits(asked, false) && other.is_none_or(|other| rule.fits(other, false));
        let audited = self.audit.iter().find(either).map(|rule| rule.name.as_str());
        if let Some(rule) = self.deny.iter().find(either) {
            return Access { allowed: false, by: Some(&rule.name), audited };
        }
        let Some(allow) = &self.allow else { return Access { allowed: true, by: None, audited } };
        let by = allow.iter().find(both).map(|rule| rule.name.as_str());
        Access { allowed: mutant!("default-deny-allows", by.is_some(), true), by, audited }
    }
}

impl AccessRule {
    /// `unknown`: what a rule about HTTP says of what is not HTTP.
    fn fits(&self, asked: Asked<'_>, unknown: bool) -> bool {
        let from = self.from.is_empty() || self.from.iter().any(|caller| caller.is(asked.peer));
        from && (self.to.is_empty() || self.to.iter().any(|operation| operation.is(asked.http, unknown)))
    }
}

impl Caller {
    fn is(&self, peer: Option<&str>) -> bool {
        let principal = peer.map(|peer| peer.strip_prefix("spiffe://").unwrap_or(peer));
        let namespace = principal.and_then(namespace);
        one_of(&self.principals, principal)
            && none_of(&self.not_principals, principal)
            && one_of(&self.namespaces, namespace)
            && none_of(&self.not_namespaces, namespace)
    }
}

/// `shop` of `cluster.local/ns/shop/sa/web`.
fn namespace(principal: &str) -> Option<&str> {
    let mut parts = principal.split('/').skip(1);
    let (name, value) = (parts.next()?, parts.next()?);
    (name == "ns").then_some(value)
}

impl Operation {
    fn is(&self, http: Option<(&str, &str)>, unknown: bool) -> bool {
        let Some((method, path)) = http else {
            let lists = [&self.methods, &self.not_methods, &self.paths, &self.not_paths];
            return unknown || lists.iter().all(|list| list.is_empty());
        };
        one_of(&self.methods, Some(method))
            && none_of(&self.not_methods, Some(method))
            && one_of(&self.paths, Some(path))
            && none_of(&self.not_paths, Some(path))
    }
}

fn one_of(list: &[TextMatch], text: Option<&str>) -> bool {
    list.is_empty() || text.is_some_and(|text| list.iter().any(|one| one.fits(text)))
}

fn none_of(list: &[TextMatch], text: Option<&str>) -> bool {
    !text.is_some_and(|text| list.iter().any(|one| one.fits(text)))
}

impl TextMatch {
    /// Whether a text is so.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(whole) => text == whole,
            Self::Prefix(start) => text.starts_with(start.as_str()),
            Self::Suffix(end) => text.ends_with(end.as_str()),
        }
    }
}

/// A path as a server may understand it; borrowed if that is how it came.
fn normal(path: &str) -> Cow<'_, str> {
    let bytes = path.as_bytes();
    let odd = bytes.iter().any(|byte| matches!(byte, b'%' | b'\\'))
        || bytes.windows(2).any(|pair| matches!(pair, b"//" | b"/."));
    if mutant!("paths-are-taken-as-they-come", !odd, true) {
        return Cow::Borrowed(path);
    }
    let mut decoded = path.to_owned();
    // Until nothing changes: servers behind servers decode more than once.
    for _ in 0..4 {
        let next = decode(&decoded);
        if next == decoded {
            break;
        }
        decoded = next;
    }
    let mut kept: Vec<&str> = Vec::new();
    let segments = || decoded.split(['/', '\\']);
    for segment in segments() {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let ends = segments().next_back().is_some_and(|last| matches!(last, "" | "." | "..")) && !kept.is_empty();
    Cow::Owned(format!("/{}{}", kept.join("/"), if ends { "/" } else { "" }))
}

/// Without its percent-codes; what is none stays.
fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

    fn texts(list: &[&str]) -> Vec<TextMatch> {
        list.iter().map(|text| text_of(text)).collect()
    }

    fn text_of(text: &str) -> TextMatch {
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(""), _) => TextMatch::Any,
            (Some(end), _) => TextMatch::Suffix(end.into()),
            (None, Some(start)) => TextMatch::Prefix(start.into()),
            (None, None) => TextMatch::Exact(text.into()),
        }
    }

    fn rule(name: &str, principals: &[&str], methods: &[&str], paths: &[&str]) -> AccessRule {
        let from = Caller { principals: texts(principals), ..Caller::default() };
        let to = Operation { methods: texts(methods), paths: texts(paths), ..Operation::default() };
        let to = if methods.is_empty() && paths.is_empty() { Vec::new() } else { vec![to] };
        AccessRule { name: name.into(), from: if principals.is_empty() { Vec::new() } else { vec![from] }, to }
    }

    fn ask<'a>(peer: Option<&'a str>, method: &'a str, path: &'a str) -> Asked<'a> {
        Asked { peer, http: Some((method, path)) }
    }

    #[test]
    fn denying_goes_before_allowing_and_who_is_not_allowed_is_refused() {
        let mut access = Authorization {
            deny: vec![rule("no-admin", &[], &[], &["/admin*"])],
            allow: Some(vec![rule("web-reads", &["*/sa/web"], &["GET"], &[])]),
            audit: vec![rule("deletes", &[], &["DELETE"], &[])],
        };
        for (asked, allowed, by, audited) in [
            (ask(Some(WEB), "GET", "/cart"), true, Some("web-reads"), None),
            (ask(Some(WEB), "GET", "/admin/x"), false, Some("no-admin"), None),
            (ask(Some(WEB), "DELETE", "/cart"), false, None, Some("deletes")),
            (ask(Some("spiffe://cluster.local/ns/shop/sa/bot"), "GET", "/cart"), false, None, None),
            (ask(None, "GET", "/cart"), false, None, None),
            (Asked { peer: Some(WEB), http: None }, false, Some("no-admin"), Some("deletes")),
        ] {
            assert_eq!(access.decide(asked), Access { allowed, by, audited }, "{asked:?}");
        }
        access.allow = None;
        assert!(access.decide(ask(None, "DELETE", "/cart")).allowed, "nobody says who may");
        access.allow = Some(Vec::new());
        assert!(!access.decide(ask(Some(WEB), "GET", "/cart")).allowed, "nobody may");
        access = Authorization { allow: Some(vec![rule("web", &["*/sa/web"], &[], &[])]), ..Authorization::default() };
        assert!(access.decide(Asked { peer: Some(WEB), http: None }).allowed, "who it is, is known without HTTP");
    }

    #[test]
    fn namespaces_are_those_of_identities() {
        let shop = Caller { namespaces: texts(&["shop"]), ..Caller::default() };
        let others = Caller { not_namespaces: texts(&["shop"]), ..Caller::default() };
        for (peer, is_shop) in [
            (Some(WEB), true),
            (Some("spiffe://cluster.local/ns/shopping/sa/web"), false),
            (Some("spiffe://cluster.local/sa/shop"), false),
            (None, false),
        ] {
            assert_eq!((shop.is(peer), others.is(peer)), (is_shop, !is_shop), "{peer:?}");
        }
    }

    #[test]
    fn a_path_is_what_a_server_may_make_of_it() {
        for (path, want) in [
            ("/a/b", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("//a///b/", "/a/b/"),
            ("/public/..%2fadmin", "/admin"),
            ("/%61dmin", "/admin"),
            ("/%2561dmin", "/admin"),
            ("/..\\admin", "/admin"),
            ("/a/..", "/"),
            ("/100%", "/100%"),
            ("/.well-known/x", "/.well-known/x"),
        ] {
            assert_eq!(normal(path), want, "{path}");
        }
        assert!(matches!(normal("/a/b.c?"), Cow::Borrowed(_)));
    }

    #[test]
    fn no_spelling_gets_around_a_rule() {
        let deny = Authorization { deny: vec![rule("d", &[], &[], &["/admin*"])], ..Authorization::default() };
        let allow =
            Authorization { allow: Some(vec![rule("a", &[], &[], &["/public/*"])]), ..Authorization::default() };
        for path in ["/admin", "//admin", "/%61dmin", "/public/../admin", "/public/%2e%2e/admin", "/public/..%5cadmin"]
        {
            assert!(!deny.decide(ask(None, "GET", path)).allowed, "{path}");
            assert!(!allow.decide(ask(None, "GET", path)).allowed, "{path}");
        }
        assert!(allow.decide(ask(None, "GET", "/public/a%20b")).allowed);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        const TEXTS: &[&str] =
            &["*", "a", "a*", "*a", "/a", "/a*", "/ab", "*b", "GET", "c/ns/a/sa/b", "c/ns/*", "*/sa/b"];
        const PEERS: &[Option<&str>] =
            &[None, Some("spiffe://c/ns/a/sa/b"), Some("spiffe://c/ns/b/sa/b"), Some("spiffe://c/ns/a/sa/a")];

        fn list() -> impl Strategy<Value = Vec<&'static str>> {
            prop::collection::vec(prop::sample::select(TEXTS), 0..3)
        }

        type Said = (Vec<[Vec<&'static str>; 4]>, Vec<[Vec<&'static str>; 4]>);

        fn said() -> impl Strategy<Value = Vec<Said>> {
            let four = || prop::collection::vec([list(), list(), list(), list()], 0..3);
            prop::collection::vec((four(), four()), 0..3)
        }

        /// As a person reads it: by wildcards, in lists of lists.
        fn model(said: &Said, peer: Option<&str>, method: &str, path: &str) -> bool {
            let glob = |pattern: &str, text: &str| match pattern.split_once('*') {
                None => pattern == text,
                Some((start, end)) => text.len() >= pattern.len() - 1 && text.starts_with(start) && text.ends_with(end),
            };
            let holds = |yes: &[&str], no: &[&str], text: Option<&str>| {
                let any = |list: &[&str]| list.iter().any(|pattern| text.is_some_and(|text| glob(pattern, text)));
                (yes.is_empty() || any(yes)) && !any(no)
            };
            let principal = peer.map(|peer| &peer["spiffe://".len()..]);
            let space = principal.map(|principal| principal.split('/').nth(2).expect("of this form"));
            let from = said.0.iter().any(|[p, np, n, nn]| holds(p, np, principal) && holds(n, nn, space));
            let to = said.1.iter().any(|[m, nm, p, np]| holds(m, nm, Some(method)) && holds(p, np, Some(path)));
            (said.0.is_empty() || from) && (said.1.is_empty() || to)
        }

        fn rule_of(number: usize, said: &Said) -> AccessRule {
            let caller = |[p, np, n, nn]: &[Vec<&'static str>; 4]| Caller {
                principals: texts(p),
                not_principals: texts(np),
                namespaces: texts(n),
                not_namespaces: texts(nn),
            };
            let operation = |[m, nm, p, np]: &[Vec<&'static str>; 4]| Operation {
                methods: texts(m),
                not_methods: texts(nm),
                paths: texts(p),
                not_paths: texts(np),
            };
            let (from, to) = (said.0.iter().map(caller).collect(), said.1.iter().map(operation).collect());
            AccessRule { name: number.to_string(), from, to }
        }

        proptest! {
            #[test]
            fn decides_as_a_person_reads_it(
                deny in said(),
                allow in prop::option::of(said()),
                audit in said(),
                peer in prop::sample::select(PEERS),
                method in prop::sample::select(&["GET", "a"][..]),
                path in prop::sample::select(&["/a", "/ab", "/b", "/"][..]),
            ) {
                let rules = |list: &[Said]| list.iter().enumerate().map(|(n, said)| rule_of(n, said)).collect::<Vec<_>>();
                let first = |list: &[Said]| list.iter().position(|said| model(said, peer, method, path)).map(|n| n.to_string());
                let access = Authorization {
                    deny: rules(&deny),
                    allow: allow.as_deref().map(rules),
                    audit: rules(&audit),
                };
                let found = access.decide(ask(peer, method, path));
                let denied = first(&deny);
                let allowed = allow.as_deref().map(first);
                prop_assert_eq!(found.allowed, denied.is_none() && allowed.as_ref().is_none_or(Option::is_some));
                let by = denied.or_else(|| allowed.flatten());
                prop_assert_eq!(found.by, by.as_deref());
                let audited = first(&audit);
                prop_assert_eq!(found.audited, audited.as_deref());
            }

            /// However a path is spelt, who is let through to it is let through to what it means, and the other way round not.
            #[test]
            fn a_normal_path_stays_as_it_is(path in "(/|%2f|\\.|%2e|\\\\|a|%61|%25){0,12}") {
                let once = normal(&path).into_owned();
                if once.starts_with('/') && !once.contains('%') {
                    prop_assert_eq!(normal(&once), once.as_str());
                    prop_assert!(!once.split('/').any(|segment| matches!(segment, "." | "..")), "{}", once);
                }
            }
        }
    }
}
