//! Access logs: how often requests arrive, by path, how many fail, and how long they take.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use squall_control::units;

use super::tally::{Bad, Spread, TOOK_MAX, lines, rate_milli, share};
use super::{Imported, expected, open, tally::count, time};
use crate::draft::{Draft, Load, Service, label};
use crate::new::rate_text;

/// The most services, and kinds of requests of one; what comes after them is put together.
const SERVICES: usize = 100;
const KINDS: usize = 100;

/// What a line says of a request.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// When it arrived, since 1970.
    at: Duration,
    inbound: bool,
    /// Whom it was for; empty: not said.
    host: String,
    method: String,
    path: String,
    status: u16,
    took: Option<Duration>,
}

/// The formats, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Squall,
    Envoy,
    Common,
}

impl Format {
    const ALL: [Self; 3] = [Self::Squall, Self::Envoy, Self::Common];

    fn name(self) -> &'static str {
        match self {
            Self::Squall => "Squall's JSON",
            Self::Envoy => "Envoy's default format",
            Self::Common => "the common or combined log format",
        }
    }

    fn read(self, line: &str) -> Result<Request, String> {
        let request = match self {
            Self::Squall => squall(line),
            Self::Envoy => envoy(line),
            Self::Common => common(line),
        }?;
        // What no scenario could say is no request: one such line must not spoil the rest.
        if request.method.is_empty() || !request.method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(format!("`{}` is no method such as GET", request.method));
        }
        match request.took {
            Some(took) if took > TOOK_MAX => Err(format!("it took {took:?}, more than a day")),
            Some(_) | None => Ok(request),
        }
    }
}

fn squall(line: &str) -> Result<Request, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
    let text = |name: &str| value.get(name).and_then(Value::as_str).ok_or_else(|| format!("no `{name}`"));
    let number = |name: &str| value.get(name).and_then(Value::as_u64).ok_or_else(|| format!("no `{name}`"));
    let ended = time::rfc3339(text("time")?).ok_or("`time` is no time")?;
    let took = Duration::from_micros(number("duration_us")?);
    Ok(Request {
        at: ended.saturating_sub(took),
        inbound: text("side")? == "inbound",
        host: text("authority")?.to_owned(),
        method: text("method")?.to_owned(),
        path: text("path")?.to_owned(),
        status: u16::try_from(number("status")?).ok().filter(is_status).ok_or("`status` is no status")?,
        took: Some(took),
    })
}

/// The words of a line: quoted, in brackets, or up to a space.
fn words(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' => quoted(&rest[1..]),
            '[' => rest[1..].split_once(']').unwrap_or((&rest[1..], "")),
            _ => rest.split_once(' ').unwrap_or((rest, "")),
        };
        found.push(word);
        rest = after.trim_start();
    }
    found
}

/// Up to the next quote without a backslash before it.
fn quoted(text: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return (&text[..at], &text[at + 1..]),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    (text, "")
}

/// `GET /cart HTTP/1.1`.
fn request_line(text: &str) -> Result<(String, String), String> {
    let mut parts = text.split(' ');
    match (parts.next(), parts.next()) {
        (Some(method), Some(path))
            if !method.is_empty() && (path.starts_with('/') || path == "*" || path.contains("://")) =>
        {
            Ok((method.to_owned(), path.to_owned()))
        }
        _ => Err(format!("`{text}` is no request such as `GET / HTTP/1.1`")),
    }
}

/// 0: there was no answer.
fn is_status(status: &u16) -> bool {
    *status == 0 || (100..=599).contains(status)
}

fn status(text: Option<&&str>) -> Result<u16, String> {
    let found = text.and_then(|text| text.parse().ok()).filter(is_status);
    found.ok_or_else(|| format!("`{}` is no status", text.unwrap_or(&"")))
}

/// `[START] "METHOD PATH PROTOCOL" STATUS FLAGS RECEIVED SENT DURATION UPSTREAM "XFF" "UA" "ID" "AUTHORITY" "UPSTREAM"`.
fn envoy(line: &str) -> Result<Request, String> {
    if !line.starts_with('[') {
        return Err("a line of Envoy begins with `[`".to_owned());
    }
    let words = words(line);
    let at = words.first().and_then(|text| time::rfc3339(text)).ok_or("no time such as [2026-11-23T03:00:00.250Z]")?;
    let (method, path) = request_line(words.get(1).copied().unwrap_or_default())?;
    let took = words.get(6).and_then(|text| text.parse().ok()).map(Duration::from_millis);
    Ok(Request {
        at,
        inbound: false,
        host: words.get(11).filter(|host| **host != "-").copied().unwrap_or_default().to_owned(),
        method,
        path,
        status: status(words.get(2))?,
        took: Some(took.ok_or("no duration in its place")?),
    })
}

/// `HOST IDENT USER [TIME] "METHOD PATH PROTOCOL" STATUS BYTES`, and what may follow.
fn common(line: &str) -> Result<Request, String> {
    let words = words(line);
    let at = words.get(3).and_then(|text| time::common(text)).ok_or("no time such as [10/Oct/2000:13:55:36 -0700]")?;
    let (method, path) = request_line(words.get(4).copied().unwrap_or_default())?;
    Ok(Request { at, inbound: false, host: String::new(), method, path, status: status(words.get(5))?, took: None })
}

/// Requests of one kind.
#[derive(Default)]
struct Kind {
    requests: u64,
    statuses: BTreeMap<u16, u64>,
    took: Spread,
}

#[derive(Default)]
struct Tally {
    kinds: BTreeMap<(String, String), Kind>,
    first: Option<Duration>,
    last: Duration,
}

impl Tally {
    fn add(&mut self, request: &Request) -> bool {
        let mut key = (request.method.clone(), template(&request.path));
        let fits = self.kinds.len() < KINDS || self.kinds.contains_key(&key);
        if !fits {
            key.1 = "/other".to_owned();
        }
        let kind = self.kinds.entry(key).or_default();
        kind.requests += 1;
        *kind.statuses.entry(request.status).or_default() += 1;
        if let Some(took) = request.took {
            kind.took.add(took);
        }
        self.first = Some(self.first.map_or(request.at, |first| first.min(request.at)));
        self.last = self.last.max(request.at);
        fits
    }

    fn requests(&self) -> u64 {
        self.kinds.values().map(|kind| kind.requests).sum()
    }
}

/// A path without its query, in which what looks like an identifier is `id`.
fn template(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    let is_id = |part: &str| {
        let hex = part.bytes().filter(u8::is_ascii_hexdigit).count();
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        !part.is_empty()
            && (digits == part.len() || part.len() >= 12 && digits > 0 && hex + part.matches('-').count() == part.len())
    };
    let safe = |part: &str| -> String {
        part.chars().map(|c| if c.is_ascii_alphanumeric() || "-._~".contains(c) { c } else { '-' }).collect()
    };
    let parts: Vec<String> =
        path.split('/').map(|part| if is_id(part) { "id".to_owned() } else { safe(part) }).collect();
    let path = parts.join("/");
    if path.starts_with('/') { path } else { format!("/{path}") }
}

#[derive(Default)]
struct Log {
    /// By side (inbound: true) and host.
    hosts: BTreeMap<(bool, String), Tally>,
    bad: Bad,
    /// Requests put together with others because there were too many kinds or hosts.
    lumped: u64,
    /// Connections that were carried as bytes.
    streams: u64,
    read: u64,
}

impl Log {
    fn add(&mut self, request: Request) {
        self.read += 1;
        if request.method == "TCP" {
            self.streams += 1;
            return;
        }
        let mut key = (request.inbound, host_of(&request.host));
        if self.hosts.len() >= SERVICES && !self.hosts.contains_key(&key) {
            key.1 = "other".to_owned();
            self.lumped += 1;
        }
        if !self.hosts.entry(key).or_default().add(&request) {
            self.lumped += 1;
        }
    }
}

/// The service of an authority: `cart.shop.svc.cluster.local:80` is `cart`.
fn host_of(authority: &str) -> String {
    let host =
        authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(authority, |(host, _)| host);
    let is_address = host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[');
    let first = if is_address { host } else { host.split('.').next().unwrap_or(host) };
    if first.is_empty() { "server".to_owned() } else { label(first) }
}

pub(super) fn import(files: &[PathBuf], rate: Option<u64>) -> Result<Imported, String> {
    let mut log = Log::default();
    let mut format: Option<Format> = None;
    for path in files {
        read(path, &mut log, &mut format)?;
    }
    let Some(format) = format else {
        let why = log.bad.note("line").unwrap_or_else(|| "there are no lines".to_owned());
        let known: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
        return Err(format!("this is no access log that is known ({}): {why}", known.join("; ")));
    };
    let mut notes = vec![format!("read {} of {}", count(log.read, "request"), format.name())];
    notes.extend(log.bad.note("line"));
    // A sidecar's log has both sides; what arrives is the inbound one.
    let has_inbound = log.hosts.keys().any(|(inbound, _)| *inbound);
    let left: u64 =
        log.hosts.iter().filter(|((inbound, _), _)| *inbound != has_inbound).map(|(_, tally)| tally.requests()).sum();
    if left > 0 {
        notes.push(format!(
            "left out what the sidecar's own application asked ({}): only what arrives is imported",
            count(left, "request")
        ));
    }
    if log.streams > 0 {
        notes.push(format!("left out {} of other protocols", count(log.streams, "connection")));
    }
    if log.lumped > 0 {
        notes.push(format!(
            "put {} together as `other`: more than {SERVICES} hosts or {KINDS} kinds of requests",
            count(log.lumped, "request")
        ));
    }
    let hosts: Vec<(&String, &Tally)> = log
        .hosts
        .iter()
        .filter(|((inbound, _), _)| *inbound == has_inbound)
        .map(|((_, host), tally)| (host, tally))
        .collect();
    if hosts.is_empty() {
        return Err("there are no requests in it".to_owned());
    }
    Ok(Imported { draft: draft(&hosts, rate), notes })
}

fn read(path: &Path, log: &mut Log, format: &mut Option<Format>) -> Result<(), String> {
    let mut reader = open(path)?;
    let mut bad = std::mem::take(&mut log.bad);
    let result = lines(path, &mut reader, &mut bad, |number, line, bad| {
        let place = || format!("{}:{number}", path.display());
        let found = match *format {
            Some(format) => format.read(line),
            // The first good line says which format it is.
            None => match Format::ALL.into_iter().find_map(|known| Some((known, known.read(line).ok()?))) {
                Some((known, request)) => {
                    *format = Some(known);
                    Ok(request)
                }
                None if line.starts_with('{') => Format::Squall.read(line),
                None if line.starts_with('[') => Format::Envoy.read(line),
                None => Format::Common.read(line),
            },
        };
        match found {
            Ok(request) => log.add(request),
            Err(why) => bad.add(place, why),
        }
    });
    log.bad = bad;
    result
}

fn draft(hosts: &[(&String, &Tally)], rate: Option<u64>) -> Draft {
    let mut draft = Draft { duration: "30s".to_owned(), ..Draft::default() };
    draft.question = vec!["What does the traffic of the access log look like, and what would become of it?".to_owned()];
    let (mut failed, mut all, mut worst) = (0, 0, Duration::ZERO);
    for (host, tally) in hosts {
        let during = tally.last.saturating_sub(tally.first.unwrap_or_default()).max(Duration::from_secs(1));
        let requests = tally.requests();
        let measured = rate_milli(requests, during);
        let mut lines = vec![("routes:".to_owned(), String::new())];
        for ((method, path), kind) in &tally.kinds {
            let (fields, bad) = kind_fields(kind);
            failed += bad;
            worst = worst.max(kind.took.percentile(990));
            lines.push((
                format!("  - {{match: \"{method} {path}\", weight: {}{fields}}}", kind.requests.min(1_000_000)),
                statuses(kind),
            ));
        }
        all += requests;
        let notes = match tally.kinds.values().any(|kind| kind.took.total() > 0) {
            true => "Times are those that the proxy measured, calls of the service to others included.",
            false => "This format does not say how long requests take: give `time`, such as {p50: 4ms, p99: 40ms}.",
        };
        draft.services.push(Service {
            name: (*host).clone(),
            notes: vec![
                notes.to_owned(),
                "`slots` (requests at once, per pod) and `replicas` are not in the log: give them.".to_owned(),
            ],
            replicas: 1,
            port: 8080,
            entry: hosts.len() == 1,
            fields: lines,
            retries: false,
            ..Service::default()
        });
        draft.loads.push(Load {
            to: (*host).clone(),
            arrivals: format!("rate: {}", rate_text(rate.unwrap_or(measured))),
            mix: Vec::new(),
            note: format!(
                "{} in {}: {} on average.",
                count(requests, "request"),
                units::show(super::tally::rounded(during)),
                rate_text(measured)
            ),
        });
    }
    let limit = super::tally::rounded((worst * 3).max(Duration::from_millis(100)));
    draft.expect = vec![
        ("As good as in the log, but for two percent.".to_owned(), expected(all - failed, all, &draft.loads)),
        (
            "Three times the slowest path's 99th percentile.".to_owned(),
            format!("{{overall: 'p99 < duration(\"{}\")'}}", units::show(limit)),
        ),
    ];
    draft
}

/// The fields of a route, and how many of its requests failed.
fn kind_fields(kind: &Kind) -> (String, u64) {
    let mut fields = String::new();
    if kind.took.total() > 0 {
        fields.push_str(&format!(", time: {}", kind.took.distribution()));
    }
    let errors: BTreeMap<u16, u64> =
        kind.statuses.iter().filter(|(status, _)| **status >= 500).map(|(a, b)| (*a, *b)).collect();
    let failed: u64 = errors.values().sum();
    if let Some(rate) = share(failed, kind.requests) {
        let status = errors.iter().max_by_key(|(_, count)| **count).map_or(500, |(status, _)| *status);
        fields.push_str(&format!(", errorRate: {rate}, errorStatus: {status}"));
    }
    (fields, failed)
}

/// `200 98.2%, 404 1.5%, 503 0.3%`, the most frequent first, at most five.
fn statuses(kind: &Kind) -> String {
    let mut all: Vec<(u16, u64)> = kind.statuses.iter().map(|(status, count)| (*status, *count)).collect();
    all.sort_by_key(|(status, count)| (std::cmp::Reverse(*count), *status));
    let shown: Vec<String> = all
        .iter()
        .take(5)
        .map(|(status, count)| {
            let share = share(*count, kind.requests).unwrap_or_else(|| "<0.01%".to_owned());
            if *status == 0 { format!("no answer {share}") } else { format!("{status} {share}") }
        })
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_says_what_a_request_was() {
        let own = r#"{"time":"1994-11-06T08:49:37.250Z","side":"outbound","method":"GET","authority":"stock","path":"/items","status":200,"duration_us":4213,"ended":"complete"}"#;
        let found = Format::Squall.read(own).expect("it is one of ours");
        assert_eq!((found.took, found.status, found.inbound), (Some(Duration::from_micros(4213)), 200, false));
        assert_eq!(found.at, Duration::from_micros(784_111_777_250_000 - 4213));
        let envoy = r#"[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "cc21d9b0" "locations" "tcp://10.0.2.1:80""#;
        let found = Format::Envoy.read(envoy).expect("it is Envoy's");
        assert_eq!(
            (found.took, found.host.as_str(), found.path.as_str()),
            (Some(Duration::from_millis(226)), "locations", "/api/v1/locations")
        );
        let combined = r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif?x=1 HTTP/1.0" 200 2326 "http://a/\"b\"" "Mozilla/4.08 [en]""#;
        let found = Format::Common.read(combined).expect("it is the combined format");
        assert_eq!((found.took, found.status, found.at), (None, 200, Duration::from_secs(971_211_336)));
        for (format, line) in
            [(Format::Squall, "{}"), (Format::Envoy, "[now] x"), (Format::Common, "x"), (Format::Common, envoy)]
        {
            assert!(format.read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn paths_with_identifiers_are_of_one_kind() {
        for (path, want) in [
            ("/items/42?sort=up", "/items/id"),
            ("/u/3f2504e0-4f89-11d3-9a0c-0305e82c3301/cart", "/u/id/cart"),
            ("/v1/cart", "/v1/cart"),
            ("http://shop/x y", "/x-y"),
            ("*", "/-"),
            ("/", "/"),
        ] {
            assert_eq!(template(path), want);
        }
        assert_eq!(host_of("cart.shop.svc.cluster.local:80"), "cart");
        assert_eq!(host_of(""), "server");
    }
}
