//! Load at a steady rate, whatever the answers do: what was due is sent, and every answer is looked at.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use squall_net::http::{Sender, Version, connect};
use squall_net::tcp::Tcp;
use squall_net::{Host, after, process};

use super::stage::beside;

/// What came of the requests: how often each, by words such as `200` or `POST /cart: 503 no-endpoint`.
pub(crate) type Tally = BTreeMap<String, u64>;

/// Load that runs until it is told to end.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

/// What is asked, in turn.
pub(crate) struct Plan {
    /// The outbound side of a sidecar.
    pub(crate) at: String,
    /// Services that are asked in turn, each with a GET and a POST in turn.
    pub(crate) services: &'static [&'static str],
    /// Requests per second, from all clients together.
    pub(crate) rate: u32,
    /// Connections, each kept alive. One sends nothing while it waits for an answer.
    pub(crate) clients: u32,
    /// Each takes a new connection after so many requests.
    pub(crate) requests_per_connection: usize,
}

impl Load {
    pub(crate) fn start(plan: Plan) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = beside(move || process::run(run(plan, told)).expect("a runtime"));
        Self { over, thread }
    }

    /// Ends it, and says what came of its requests.
    pub(crate) fn end(self) -> Tally {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().expect("no panic")
    }

    /// Ends it. Every request was answered by an application; how many that were.
    #[track_caller]
    pub(crate) fn end_with_none_lost(self) -> u64 {
        let tally = self.end();
        let sent: u64 = tally.values().sum();
        assert_eq!(tally.get("200"), Some(&sent), "{tally:#?}");
        sent
    }
}

async fn run(plan: Plan, over: Arc<AtomicBool>) -> Tally {
    let host = Tcp::host();
    let (plan, tally) = (Arc::new(plan), Arc::new(Mutex::new(Tally::new())));
    let left = Arc::new(AtomicU32::new(plan.clients));
    for number in 0..plan.clients {
        let (of_host, left) = (host.clone(), Arc::clone(&left));
        let (plan, tally, over) = (Arc::clone(&plan), Arc::clone(&tally), Arc::clone(&over));
        host.spawn("a client", async move {
            client(&of_host, &plan, number, &tally, &over).await;
            left.fetch_sub(1, Ordering::SeqCst);
        });
    }
    while left.load(Ordering::SeqCst) > 0 {
        after(host.clock().as_ref(), Duration::from_millis(10)).await;
    }
    tally.lock().expect("nobody panics with it").clone()
}

async fn client(host: &Host, plan: &Plan, number: u32, tally: &Mutex<Tally>, over: &AtomicBool) {
    let address: SocketAddr = plan.at.parse().expect("an address");
    let every = Duration::from_secs(1) * plan.clients / plan.rate;
    let mut due = host.now() + every * number / plan.clients;
    let mut sender: Option<Sender<Full<Bytes>>> = None;
    for turn in number as usize.. {
        if over.load(Ordering::SeqCst) {
            return;
        }
        if due > host.now() {
            host.clock().sleep_until(due).await;
        }
        due = due + every;
        if turn % plan.requests_per_connection == 0 {
            sender = None;
        }
        let service = plan.services[turn / 2 % plan.services.len()];
        let (method, body) = if turn % 2 == 0 { (Method::GET, "") } else { (Method::POST, "three words more") };
        let words = match ask(host, address, &mut sender, &method, service, body).await {
            Ok(answer) if answer == "200" => answer,
            Ok(other) => format!("{method} {service}: {other}"),
            Err(error) => format!("{method} {service}: {error}"),
        };
        *tally.lock().expect("nobody panics with it").entry(words).or_default() += 1;
    }
}

/// One request, on the connection that is there or on a new one; its status, and why, if a proxy answered.
async fn ask(
    host: &Host,
    address: SocketAddr,
    kept: &mut Option<Sender<Full<Bytes>>>,
    method: &Method,
    service: &str,
    body: &'static str,
) -> Result<String, String> {
    let told = |error: &dyn std::error::Error| {
        let mut words = error.to_string();
        let mut error = error;
        while let Some(source) = error.source() {
            words = format!("{words}: {source}");
            error = source;
        }
        words
    };
    let mut sender = match kept.take() {
        Some(sender) if !sender.is_closed() => sender,
        _ => {
            let conn = host.net().connect(address).await.map_err(|error| told(&error))?;
            connect(host, conn, Version::Http1).await.map_err(|error| told(&error))?
        }
    };
    let request = Request::builder().method(method.clone()).uri("/").header("host", service);
    let request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).expect("a request");
    let answer = sender.send(request).await.map_err(|error| told(&error))?;
    let (head, body) = answer.into_parts();
    body.collect().await.map_err(|error| told(&error))?;
    // Nothing is left to read, but the connection may need a turn to see that.
    if sender.ready().await.is_ok() {
        *kept = Some(sender);
    }
    let why = head.headers.get("squall-reason").and_then(|why| why.to_str().ok());
    Ok(match why {
        Some(why) => format!("{} {why}", head.status.as_u16()),
        None => head.status.as_u16().to_string(),
    })
}
