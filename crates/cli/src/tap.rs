//! `squall tap`: shows the requests of a running proxy as they end.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use serde_json::Value;
use squall_control::units;
use squall_net::http::{BodyError, Incoming, Version, connect};
use squall_net::process;
use squall_net::tcp::Tcp;
use squall_net::{Host, timeout};

use crate::exit::Exit;
use crate::numbers;
use crate::screen::{Paint, Screen};

/// How long is waited for a proxy to answer at all.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// The longest line that is taken; a proxy's own are far shorter.
const LINE_MAX: usize = 1024 * 1024;
/// How far the lines below a request are set in.
const INDENT: &str = "              ";

/// Watch the requests of a running proxy, as they end
///
/// One line per request that began after you came and fits every filter; below it its tries, if there was more than one or one failed.
/// Connections that are carried as bytes are shown as TCP, with status 0. Queries and headers are not shown: secrets travel in them.
///
/// Names, paths and identities may hold * for any characters, and must fit from beginning to end. Watching costs the proxy some CPU
/// per request that may fit; when lines come faster than they are read, it drops them, and says how many.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  squall tap                                          all requests of the sidecar on this host
  squall tap --side inbound --status 5xx              what it answered with an error
  squall tap --path '/cart*' --slower 250ms --max 20  the next twenty slow ones
  squall tap --backend 'shop/stock*' --json           as JSON lines, for jq
  kubectl exec POD -c squall -- squall tap            in a cluster: the pages are on the pod's loopback
  curl -N 'http://127.0.0.1:15000/tap?status=5xx'     the same, without squall

With --json: the fields of the access log, then
  waited_us          in the queue for a place, if it came to that
  upgraded           websocket, connect or other
  injected_delay_us, injected_abort   a fault that its route injects
  tries              each with endpoint, reused_connection, and status or failed, and latency_us
  retries            what was decided about repeating it, in words
and {\"dropped\":N}: so many lines were lost here

Exit codes:
  0  it was watched: to --max or --for, until the proxy ended, or nobody read on
  2  a filter is wrong
  4  no proxy answers there, or eight watch already")]
pub(crate) struct TapArgs {
    /// The proxy's admin pages
    #[arg(long, value_name = "ADDRESS", env = "SQUALL_ADMIN", default_value = "127.0.0.1:15000")]
    admin: SocketAddr,

    /// Which way: outbound (from the application) or inbound (to it)
    #[arg(long, value_name = "SIDE")]
    side: Option<String>,

    /// Such as GET
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,

    /// The host that was asked for, as it came
    #[arg(long, value_name = "GLOB")]
    authority: Option<String>,

    /// The path, without query
    #[arg(long, value_name = "GLOB")]
    path: Option<String>,

    /// What was answered: 503, or 5xx; 0 for nothing
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,

    /// At least this long from the request's head to its end
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    slower: Option<Duration>,

    /// The route it took
    #[arg(long, value_name = "GLOB")]
    route: Option<String>,

    /// The backend it went to: NAMESPACE/SERVICE:PORT
    #[arg(long, value_name = "GLOB")]
    backend: Option<String>,

    /// An endpoint that was tried
    #[arg(long, value_name = "GLOB")]
    endpoint: Option<String>,

    /// The SPIFFE id that the caller proved
    #[arg(long, value_name = "GLOB")]
    peer: Option<String>,

    /// Why the proxy answered by itself (squall-reason)
    #[arg(long, value_name = "GLOB")]
    reason: Option<String>,

    /// How it ended: complete, local (answered by the proxy), broken, idle, too-long or caller-gone
    #[arg(long, value_name = "HOW")]
    ended: Option<String>,

    /// End after so many requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,

    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
    during: Option<Duration>,

    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &TapArgs, screen: &mut Screen) -> Exit {
    match process::run(watch(args, screen)) {
        Ok(exit) => exit,
        Err(error) => fail(screen, &format!("the machine gives no runtime: {error}"), Exit::Infrastructure),
    }
}

fn fail(screen: &mut Screen, why: &str, exit: Exit) -> Exit {
    screen.aside(&format!("error: {why}"));
    exit
}

/// What is asked of the proxy.
fn uri(args: &TapArgs) -> String {
    let mut query = form_urlencoded::Serializer::new("/tap?".to_owned());
    let micros = args.slower.map(|slower| slower.as_micros().to_string());
    let said = [
        ("side", &args.side),
        ("method", &args.method),
        ("authority", &args.authority),
        ("path", &args.path),
        ("status", &args.status),
        ("slower_us", &micros),
        ("route", &args.route),
        ("backend", &args.backend),
        ("endpoint", &args.endpoint),
        ("peer", &args.peer),
        ("reason", &args.reason),
        ("ended", &args.ended),
    ];
    for (name, value) in said {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

async fn watch(args: &TapArgs, screen: &mut Screen) -> Exit {
    let host = Tcp::host();
    let until = args.during.map(|during| host.now() + during);
    let (status, mut body) = match ask(&host, args).await {
        Ok(answer) => answer,
        Err(why) => {
            let hint = "is a proxy's --admin there? It is on the loopback of the proxy's own host";
            return fail(
                screen,
                &format!("no answer from {}: {why}\n  help: {hint}", args.admin),
                Exit::Infrastructure,
            );
        }
    };
    if status != StatusCode::OK {
        let why = body.collect().await.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
        let why = why.unwrap_or_default();
        let exit = if status == StatusCode::BAD_REQUEST { Exit::BadInput } else { Exit::Infrastructure };
        return fail(screen, &format!("{} says {}: {}", args.admin, status.as_u16(), why.trim_end()), exit);
    }
    screen.aside(&format!("watching {}; Ctrl-C ends it", args.admin));
    let mut shown = Shown { json: args.json, left: args.max, seen: 0, dropped: 0 };
    let mut lines = Lines::default();
    let why = loop {
        let frame = match until {
            Some(until) => match timeout(host.clock().as_ref(), until, body.frame()).await {
                Some(frame) => frame,
                None => break "the time is over",
            },
            None => body.frame().await,
        };
        let bytes = match frame {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(_)) | None => break "the proxy ended",
        };
        let Ok(whole) = lines.take(&bytes) else { break "it sends no lines" };
        if !whole.iter().all(|line| shown.show(screen, line)) {
            break "enough was seen";
        }
    };
    let dropped = if shown.dropped > 0 { format!(", {} more dropped", shown.dropped) } else { String::new() };
    screen.aside(&format!("{} seen{dropped}; {why}", shown.seen));
    Exit::Pass
}

async fn ask(host: &Host, args: &TapArgs) -> Result<(StatusCode, Incoming), String> {
    let asking = async {
        let conn = host.net().connect(args.admin).await.map_err(|error| error.to_string())?;
        let mut sender = connect(host, conn, Version::Http1).await.map_err(|error| error.to_string())?;
        let uri: Uri = uri(args).parse().map_err(|error| format!("{error}"))?;
        let request = Request::get(uri).header("host", args.admin.to_string());
        let request =
            request.body(Empty::<Bytes>::new().map_err(BodyError::from)).map_err(|error| error.to_string())?;
        let answer = sender.send(request).await.map_err(|error| error.to_string())?;
        Ok((answer.status(), answer.into_body()))
    };
    let until = host.now() + ANSWER_TIME;
    let asked = timeout(host.clock().as_ref(), until, asking).await;
    asked.unwrap_or_else(|| Err(format!("none within {}", numbers::span(ANSWER_TIME))))
}

/// Cuts what comes into lines.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// The lines that are whole now; an error if one is too long.
    fn take(&mut self, bytes: &[u8]) -> Result<Vec<String>, ()> {
        let mut whole = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => whole.push(String::from_utf8_lossy(&std::mem::take(&mut self.0)).into_owned()),
                _ if self.0.len() == LINE_MAX => return Err(()),
                byte => self.0.push(*byte),
            }
        }
        Ok(whole)
    }
}

/// What has been shown, and may be.
struct Shown {
    json: bool,
    left: Option<u64>,
    seen: u64,
    dropped: u64,
}

impl Shown {
    /// False: that was enough, or nobody reads on.
    fn show(&mut self, screen: &mut Screen, line: &str) -> bool {
        if self.left == Some(0) {
            return false;
        }
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        let lost = value["dropped"].as_u64();
        let text = match lost {
            _ if self.json => line.to_owned(),
            Some(lost) => format!("{INDENT}{lost} more were dropped here"),
            None => request(screen, &value),
        };
        match lost {
            Some(lost) => self.dropped += lost,
            None => {
                self.seen += 1;
                self.left = self.left.map(|left| left - 1);
            }
        }
        screen.say_if_read(&text) && self.left != Some(0)
    }
}

/// A request as people read it, and its tries, if they tell anything more.
fn request(screen: &Screen, value: &Value) -> String {
    let word = |name: &str| value[name].as_str().unwrap_or_default();
    let time = word("time").split_once('T').map_or("", |(_, time)| time.trim_end_matches('Z'));
    let status = value["status"].as_u64().unwrap_or_default();
    let how = word("ended");
    let bad = status >= 500 || !matches!(how, "complete" | "local");
    let shown_status = format!("{status:>3}");
    let shown_status = if bad { screen.paint(Paint::Bad, &shown_status) } else { shown_status };
    let arrow = if word("side") == "inbound" { "<-" } else { "->" };
    let mut text = format!(
        "{time:<12} {arrow} {shown_status} {:>8}  {} {}{}",
        span(value, "duration_us"),
        word("method"),
        word("authority"),
        word("path")
    );
    for (name, shown) in [("endpoint", "to"), ("peer", "from"), ("reason", "reason"), ("rule", "rule")] {
        let said = word(name);
        if !said.is_empty() {
            text.push_str(&format!("  {shown} {said}"));
        }
    }
    if let Some(grpc) = value["grpc_status"].as_u64() {
        text.push_str(&format!("  grpc {grpc}"));
    }
    if !matches!(how, "complete" | "local") {
        text.push_str(&format!("  {how}"));
    }
    let none = Vec::new();
    let list = |name: &str| value[name].as_array().unwrap_or(&none);
    let (tries, retries) = (list("tries"), list("retries"));
    if let Some(waited) = value["waited_us"].as_u64().filter(|waited| *waited > 0) {
        text.push_str(&format!("\n{INDENT}waited {} for a place", numbers::span(Duration::from_micros(waited))));
    }
    if let Some(delay) = value["injected_delay_us"].as_u64() {
        let abort = value["injected_abort"].as_u64().map_or_else(String::new, |status| format!(", answered {status}"));
        text.push_str(&format!("\n{INDENT}injected: delayed {}{abort}", numbers::span(Duration::from_micros(delay))));
    }
    if tries.len() > 1 || !retries.is_empty() || tries.iter().any(|one| one["failed"].is_string()) {
        for number in 0..tries.len().max(retries.len()) {
            if let Some(one) = tries.get(number) {
                let came = match (&one["status"], &one["failed"]) {
                    (Value::Number(status), _) => status.to_string(),
                    (_, Value::String(failed)) => failed.clone(),
                    (_, _) => "no answer".to_owned(),
                };
                let endpoint = one["endpoint"].as_str().unwrap_or_default();
                let after = span(one, "latency_us");
                text.push_str(&format!("\n{INDENT}try {} {endpoint}: {came} after {after}", number + 1));
            }
            if let Some(note) = retries.get(number).and_then(Value::as_str) {
                text.push_str(&format!("\n{INDENT}{note}"));
            }
        }
    }
    text
}

fn span(value: &Value, name: &str) -> String {
    numbers::span(Duration::from_micros(value[name].as_u64().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_come() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"{\"a\""), Ok(vec![]));
        assert_eq!(lines.take(b":1}\n\n{"), Ok(vec!["{\"a\":1}".to_owned(), String::new()]));
        assert_eq!(lines.take(b"}\n"), Ok(vec!["{}".to_owned()]));
        assert_eq!(lines.take(&vec![b'x'; LINE_MAX + 1]), Err(()));
    }

    #[test]
    fn a_request_is_shown_with_what_became_of_its_tries() {
        let line = r#"{"time":"1994-11-06T08:49:37.250Z","side":"outbound","method":"GET","authority":"stock","path":"/a",
            "status":503,"duration_us":34250,"ended":"local","route":"r","backend":"shop/stock:80","endpoint":"stock-1",
            "attempts":2,"reason":"exhausted","waited_us":1200,
            "tries":[{"endpoint":"stock-0","status":503,"latency_us":1300},{"endpoint":"stock-1","failed":"reset","latency_us":900}],
            "retries":["retry 1 of 1, waits 31ms","exhausted"]}"#;
        let value = serde_json::from_str(line).expect("JSON");
        let want = "\
08:49:37.250 -> 503  34.3 ms  GET stock/a  to stock-1  reason exhausted
              waited 1.20 ms for a place
              try 1 stock-0: 503 after 1.30 ms
              retry 1 of 1, waits 31ms
              try 2 stock-1: reset after 900 µs
              exhausted";
        assert_eq!(request(&Screen::plain(), &value), want);
    }

    #[test]
    fn a_plain_request_is_one_line() {
        let line = r#"{"time":"1994-11-06T08:49:37.250Z","side":"inbound","method":"GET","authority":"stock","path":"/a",
            "status":200,"duration_us":250,"ended":"complete","endpoint":"app","peer":"spiffe://mesh/ns/shop/sa/web",
            "tries":[{"endpoint":"app","status":200,"latency_us":100}],"retries":[]}"#;
        let value = serde_json::from_str(line).expect("JSON");
        let want = "08:49:37.250 <- 200   250 µs  GET stock/a  to app  from spiffe://mesh/ns/shop/sa/web";
        assert_eq!(request(&Screen::plain(), &value), want);
    }
}
