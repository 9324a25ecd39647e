//! Names that are looked up by how precise they are.
//!
//! ```text
//!  authority ─▶ exact domain ─▶ exact without port ─▶ longest *.suffix ─▶ *      (sorted, binary search)
//! ```
//!
//! Sources: Envoy's domain search order; Gateway API, hostnames of listeners and routes.

use std::borrow::Cow;

/// Domains, each with the number of what it stands for.
#[derive(Debug, Default)]
pub(crate) struct Domains {
    /// Sorted by domain.
    exact: Vec<(String, usize)>,
    /// What follows the `*` of wildcard domains (`.example.com`), sorted.
    suffixes: Vec<(String, usize)>,
    any: Option<usize>,
}

impl Domains {
    /// Of several with one domain the first wins. `*` and the empty domain stand for any name.
    pub(crate) fn new<'d>(domains: impl IntoIterator<Item = (&'d str, usize)>) -> Self {
        let mut table = Self::default();
        for (domain, number) in domains {
            let domain = domain.to_ascii_lowercase();
            if matches!(domain.as_str(), "*" | "") {
                table.any.get_or_insert(number);
            } else if let Some(suffix) = domain.strip_prefix('*') {
                table.suffixes.push((suffix.to_owned(), number));
            } else {
                table.exact.push((domain, number));
            }
        }
        for domains in [&mut table.exact, &mut table.suffixes] {
            domains.sort_by(|a, b| a.0.cmp(&b.0));
            domains.dedup_by(|later, first| later.0 == first.0);
        }
        table
    }

    /// The most precise one for an authority: any case, with or without port.
    pub(crate) fn find(&self, authority: &str) -> Option<usize> {
        let authority = if authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(authority.to_ascii_lowercase())
        } else {
            Cow::Borrowed(authority)
        };
        let bare = without_port(&authority);
        look_up(&self.exact, &authority)
            .or_else(|| look_up(&self.exact, bare))
            .or_else(|| mutant!("suffix-domains-unknown", self.longest_suffix(&authority), None))
            .or_else(|| self.longest_suffix(bare))
            .or(self.any)
    }

    fn longest_suffix(&self, name: &str) -> Option<usize> {
        if self.suffixes.is_empty() {
            return None;
        }
        // From the left, so the longest comes first. The `*` stands for at least one character.
        (1..name.len()).filter(|&at| name.is_char_boundary(at)).find_map(|at| look_up(&self.suffixes, &name[at..]))
    }
}

fn look_up(domains: &[(String, usize)], name: &str) -> Option<usize> {
    domains.binary_search_by(|(domain, _)| domain.as_str().cmp(name)).ok().map(|at| domains[at].1)
}

/// The host of an authority, without port and without the root's dot: `[::1]:80` is `[::1]`.
fn without_port(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => {
            if host.starts_with('[') && !host.ends_with(']') { authority } else { host }
        }
        Some(_) | None => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}
