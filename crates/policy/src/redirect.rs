//! Where a redirected client is to ask.
//!
//! Source: Gateway API, `HTTPRequestRedirectFilter`.

use crate::mesh::{PathMatch, Redirect, RedirectPath};

/// What a client asked for.
#[derive(Clone, Copy, Debug)]
pub struct AskedUri<'a> {
    /// By HTTPS, or in plain.
    pub https: bool,
    /// `Host` or `:authority`, with or without port.
    pub authority: &'a str,
    /// The port that its listener is known by, where the authority may name another; `None`: the authority's.
    pub port: Option<u16>,
    /// Without query.
    pub path: &'a str,
    /// After the `?`.
    pub query: Option<&'a str>,
}

impl Redirect {
    /// The URI for the `Location` of an answer. `matched` is the path that the route looks for.
    #[must_use]
    pub fn location(&self, asked: AskedUri<'_>, matched: &PathMatch) -> String {
        let https = self.https.unwrap_or(asked.https);
        let (host, asked_port) = split(asked.authority);
        let usual = if https { 443 } else { 80 };
        let port = match (self.port, self.https) {
            (Some(port), _) => port,
            (None, Some(_)) => usual,
            (None, None) => asked.port.or(asked_port).unwrap_or(usual),
        };
        let mut uri =
            format!("{}://{}", if https { "https" } else { "http" }, self.hostname.as_deref().unwrap_or(host));
        if mutant!("redirect-names-the-usual-port", port != usual, true) {
            uri.push_str(&format!(":{port}"));
        }
        match &self.path {
            None => uri.push_str(asked.path),
            Some(RedirectPath::Full(path)) => uri.push_str(path),
            Some(RedirectPath::Prefix(prefix)) => {
                let old = match matched {
                    PathMatch::Prefix(old) => old.trim_end_matches('/'),
                    // Refused when the mesh was compiled; the whole is its own longest prefix.
                    PathMatch::Exact(old) => old,
                };
                let rest = asked.path.strip_prefix(old).unwrap_or_default();
                let new = prefix.trim_end_matches('/');
                uri.push_str(new);
                uri.push_str(if new.is_empty() && rest.is_empty() { "/" } else { rest });
            }
        }
        if let Some(query) = asked.query {
            uri.push('?');
            uri.push_str(query);
        }
        uri
    }
}

/// Host and port of an authority.
fn split(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        // Not the last part of an IPv6 address.
        Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => (host, port.parse().ok()),
        Some(_) | None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Redirect = Redirect { https: None, hostname: None, port: None, path: None, status: 302 };

    #[track_caller]
    fn check(redirect: &Redirect, https: bool, port: Option<u16>, authority: &str, want: &str) {
        let asked = AskedUri { https, authority, port, path: "/a/b", query: Some("q=1") };
        let prefix = PathMatch::Prefix("/a".to_owned());
        assert_eq!(redirect.location(asked, &prefix), want, "{redirect:?} {authority}");
    }

    #[test]
    fn what_is_not_said_stays_as_it_was_asked_and_usual_ports_are_not_named() {
        let https = Redirect { https: Some(true), ..NOTHING };
        check(&https, false, Some(80), "shop.example.com", "https://shop.example.com/a/b?q=1");
        check(&https, false, Some(80), "shop.example.com:8080", "https://shop.example.com/a/b?q=1");
        check(&Redirect { port: Some(8443), ..https.clone() }, false, None, "a.b", "https://a.b:8443/a/b?q=1");
        let host = Redirect { hostname: Some("c.d".into()), ..NOTHING };
        check(&host, false, None, "a.b:8080", "http://c.d:8080/a/b?q=1");
        check(&host, false, Some(80), "a.b:8080", "http://c.d/a/b?q=1");
        check(&host, true, Some(443), "a.b", "https://c.d/a/b?q=1");
        check(&host, false, Some(443), "a.b", "http://c.d:443/a/b?q=1");
        check(&https, false, None, "[::1]:80", "https://[::1]/a/b?q=1");
        check(&https, false, None, "[::1]", "https://[::1]/a/b?q=1");
    }

    #[test]
    fn a_path_is_replaced_as_a_whole_or_by_the_prefix_that_was_matched() {
        for (path, matched, asked, want) in [
            (RedirectPath::Full("/x".into()), "/a", "/a/b", "/x"),
            (RedirectPath::Prefix("/x".into()), "/a", "/a/b", "/x/b"),
            (RedirectPath::Prefix("/x".into()), "/a", "/a", "/x"),
            (RedirectPath::Prefix("/x".into()), "/a", "/a/", "/x/"),
            (RedirectPath::Prefix("/".into()), "/a", "/a/b", "/b"),
            (RedirectPath::Prefix("/".into()), "/a", "/a", "/"),
            (RedirectPath::Prefix("/x".into()), "/", "/b", "/x/b"),
            (RedirectPath::Prefix("/x".into()), "/", "/", "/x/"),
        ] {
            let redirect = Redirect { path: Some(path.clone()), ..NOTHING };
            let asked = AskedUri { https: false, authority: "h", port: None, path: asked, query: None };
            let found = redirect.location(asked, &PathMatch::Prefix(matched.to_owned()));
            assert_eq!(found, format!("http://h{want}"), "{path:?} {matched} {asked:?}");
        }
    }
}
