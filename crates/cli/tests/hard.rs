//! Processes that are hard to break: nothing left to open a connection with, nowhere to write logs to. Requests go on, or are refused
//! clearly, and what was lost is counted.

#[path = "deploy/stage.rs"]
#[expect(dead_code, reason = "shared with the other tests of processes, which use the rest")]
mod stage;

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use squall_net::http::{Incoming, Sender, Version, connect};
use squall_net::tcp::Tcp;
use squall_net::{Conn, Host, after, process};
use stage::{App, Process, control, directory, get, member, port_of, send, service, slice, try_get, write};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A Service of these two endpoints, the same application.
fn mesh(app: SocketAddr) -> String {
    let policy = "---\napiVersion: squall.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: stock, namespace: shop}\nspec:\n  \
                  targetRefs: [{kind: Service, name: stock}]\n  circuitBreaker: {consecutiveFailures: 2}\n";
    service("stock", "port: 80") + &slice("stock", "stock", "stock-0", app.port()) + policy
}

/// The arguments of a proxy that has the mesh of this directory.
fn of(dir: &Path, app: SocketAddr) -> Vec<String> {
    let file = dir.join("mesh.yaml");
    write(&file, &mesh(app));
    let args = ["--mesh", file.to_str().expect("UTF-8"), "--plaintext", "--service-account", "shop/front"];
    args.map(str::to_owned).to_vec()
}

fn with<'a>(args: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    args.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

/// A value of a page of metrics; 0 if it is not there.
fn metric(page: &str, series: &str) -> u64 {
    let found = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or(0)
}

/// A connection that stays.
struct Client(Sender<Full<Bytes>>);

impl Client {
    async fn open(host: &Host, at: &str) -> Self {
        Self::over(host, dial(host, at).await).await
    }

    async fn over(host: &Host, conn: Conn) -> Self {
        Self(connect(host, conn, Version::Http1).await.expect("HTTP"))
    }

    async fn ask(&mut self, path: &str) -> http::Response<Incoming> {
        let request = Request::get(path).header("host", "stock").body(Full::default()).expect("a request");
        self.0.ready().await.expect("it is open");
        self.0.send(request).await.expect("an answer")
    }

    async fn get(&mut self, path: &str) -> (u16, String) {
        let answer = self.ask(path).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

async fn dial(host: &Host, at: &str) -> Conn {
    host.net().connect(at.parse().expect("an address")).await.expect("the kernel takes it")
}

/// CPU time that a process has had.
fn cpu(id: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    // The name may hold blanks; after it, the fourteenth and fifteenth fields are ticks of 10 ms (proc(5)).
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

#[test]
fn without_descriptors_connections_wait_those_that_are_there_are_served_and_nothing_spins() {
    const LIMIT: usize = 64;
    let dir = directory("hard-descriptors");
    let app = App::start();
    let args = of(&dir, app.address);
    let args = with(&args, &["--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut proxy = Process::start_in(&format!("ulimit -n {LIMIT}; exec \"$0\" \"$@\""), "proxy", &args);
    let listens = proxy.line("the proxy listens");
    let (outbound, admin) = (listens.text("outbound"), listens.text("admin"));
    proxy.line("the proxy is ready");
    let id = proxy.id();
    process::run(async {
        let host = Tcp::host();
        let mut first = Client::open(&host, &outbound).await;
        let mut second = Client::open(&host, &outbound).await;
        let mut pages = Client::open(&host, &admin).await;
        assert_eq!(first.get("/").await.0, 200);
        assert_eq!(second.get("/").await.0, 200, "over the connection that the first has left in the pool");
        assert_eq!(pages.get("/ready").await.0, 200);

        let mut flood = Vec::new();
        for _ in 0..2 * LIMIT {
            flood.push(dial(&host, &outbound).await);
        }
        assert!(proxy.line("cannot accept for now").text("error").contains("os error 24"));
        let (since, had) = (Instant::now(), cpu(id));
        let name = "squall_accept_shortages_total";
        let before = metric(&pages.get("/metrics").await.1, name);
        let mut seen = before;
        while seen < before + 100 {
            assert_eq!(first.get("/").await.0, 200, "who is there is served");
            after(host.clock().as_ref(), Duration::from_millis(20)).await;
            seen = metric(&pages.get("/metrics").await.1, name);
        }
        let (took, used) = (since.elapsed(), cpu(id).saturating_sub(had));
        // Both listeners try again every 10 ms, and not more often.
        let most = 2 * (took.as_millis() / 10 + 2);
        assert!(u128::from(seen - before) <= most, "{} tries in {took:?}", seen - before);
        assert!(used * 2 < took, "{used:?} of CPU time in {took:?}");

        // A request that needs another connection of the proxy's is told so at once. It is not the endpoint's fault: the breaker,
        // which two failures would open, stays closed.
        let held = host.clone();
        let (ended, over) = std::sync::mpsc::channel();
        host.spawn("held", async move {
            let _ = ended.send(first.get("/slow").await.0);
            drop((first, held));
        });
        after(host.clock().as_ref(), Duration::ZERO).await;
        while metric(&pages.get("/metrics").await.1, "squall_requests_in_flight{side=\"outbound\"}") == 0 {}
        for _ in 0..5 {
            let answer = second.ask("/").await;
            let reason = answer.headers().get("squall-reason").map(|reason| reason.to_str().expect("ASCII").to_owned());
            answer.into_body().collect().await.expect("a whole body");
            assert_eq!(reason.as_deref(), Some("connect-failure"));
        }
        let page = pages.get("/metrics").await.1;
        assert_eq!(metric(&page, "squall_attempts_total{backend=\"shop/stock:80\",outcome=\"shortage\"}"), 5, "{page}");
        assert!(!page.contains("to=\"open\""), "{page}");
        app.holds();
        app.release();
        while over.try_recv().map_err(|_| ()) != Ok(200) {
            after(host.clock().as_ref(), Duration::from_millis(1)).await;
        }

        // They go, and all is well again.
        drop(flood);
        let mut late = Client::open(&host, &outbound).await;
        assert_eq!(late.get("/").await.0, 200);
        assert_eq!(second.get("/").await.0, 200);
    })
    .expect("a runtime");
    assert_eq!(get(&outbound, "stock", "/").status, 200);
    let said = proxy.written().iter().filter(|line| line.contains("cannot accept for now")).count();
    assert!(said <= 4, "said {said} times, and is to be said once in ten seconds by each listener");
    proxy.terminate();
    assert_eq!(proxy.ends(), Some(0));
}

fn full_disk() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("Linux has it").into()
}

#[test]
fn an_access_log_on_a_full_disk_or_without_a_reader_is_lost_and_counted_and_requests_go_on() {
    let app = App::start();
    for (name, stdout) in [
        ("hard-full", full_disk()),
        ("hard-closed", {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            writer.into()
        }),
    ] {
        let args = of(&directory(name), app.address);
        let more = ["--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--access-log", "json"];
        let mut proxy = Process::start_to([stdout, Stdio::piped()], "proxy", &with(&args, &more));
        let listens = proxy.line("the proxy listens");
        let (outbound, admin) = (listens.text("outbound"), listens.text("admin"));
        proxy.line("the proxy is ready");
        for _ in 0..20 {
            assert_eq!(get(&outbound, "stock", "/").status, 200, "{name}");
        }
        proxy.line("the access log cannot be written");
        while metric(&get(&admin, "x", "/metrics").body, "squall_access_log_dropped_total") < 20 {}
        let had = cpu(proxy.id());
        assert_eq!(get(&admin, "x", "/ready").status, 200);
        assert_eq!(metric(&get(&admin, "x", "/metrics").body, "squall_access_log_dropped_total"), 20);
        assert!(cpu(proxy.id()) - had < Duration::from_millis(500), "{name}: it spins");
        proxy.terminate();
        proxy.line("the proxy has ended");
        let said = proxy.written().iter().filter(|line| line.contains("cannot be written")).count();
        assert_eq!((said, proxy.ends()), (1, Some(0)), "{name}");
    }
}

/// An address at which nobody else listens: that of a process whose log cannot be read is given.
fn own_address(number: u8, port: u16) -> String {
    let id = std::process::id();
    format!("127.{}.{}.{number}:{port}", 64 + (id >> 8) % 128, id % 256)
}

/// Waits until somebody answers.
fn until_ready(admin: &str) {
    process::run(async {
        let host = Tcp::host();
        while host.net().connect(admin.parse().expect("an address")).await.is_err() {
            after(host.clock().as_ref(), Duration::from_millis(10)).await;
        }
    })
    .expect("a runtime");
    while try_get(admin, "x", "/ready").is_none_or(|answer| answer.status != 200) {}
}

#[test]
fn processes_whose_own_log_has_no_place_go_on_and_count_its_lines() {
    let dir = directory("hard-log");
    let app = App::start();
    let args = of(&dir, app.address);
    let (outbound, admin) = (own_address(1, 15001), own_address(1, 15000));
    let more = ["--outbound", &outbound, "--admin", &admin, "--access-log", "text"];
    let proxy = Process::start_to([full_disk(), full_disk()], "proxy", &with(&args, &more));
    let at = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
    write(&dir.join("tokens"), "");
    let (mesh, tokens, state) = (at("mesh.yaml"), at("tokens"), at("state"));
    let (listen, control_admin) = (own_address(2, 15010), own_address(2, 15014));
    let args =
        ["--from", &mesh, "--tokens", &tokens, "--state", &state, "--listen", &listen, "--admin", &control_admin];
    let control = Process::start_to([full_disk(), full_disk()], "control", &args);
    for (mut process, admin) in [(proxy, &admin), (control, &control_admin)] {
        until_ready(admin);
        for _ in 0..5 {
            assert_eq!(send(http::Method::PUT, admin, "/log-level", "trace").status, 200);
        }
        while metric(&get(admin, "x", "/metrics").body, "squall_log_dropped_total") < 5 {}
        if admin.starts_with(outbound.split(':').next().expect("an address")) {
            for _ in 0..5 {
                assert_eq!(get(&outbound, "stock", "/").status, 200);
            }
        }
        process.terminate();
        assert_eq!(process.ends(), Some(0));
    }
}

#[test]
fn a_reader_of_logs_that_stands_still_stops_neither_requests_nor_the_end() {
    let dir = directory("hard-still");
    let app = App::start();
    let args = of(&dir, app.address);
    let (outbound, admin) = (own_address(3, 15001), own_address(3, 15000));
    let (out_reader, out) = std::io::pipe().expect("a pipe");
    let (log_reader, log) = std::io::pipe().expect("a pipe");
    let more = ["--outbound", &outbound, "--admin", &admin, "--access-log", "json"];
    let mut proxy = Process::start_to([out.into(), log.into()], "proxy", &with(&args, &more));
    until_ready(&admin);
    process::run(async {
        let host = Tcp::host();
        let mut client = Client::open(&host, &outbound).await;
        // Each is a line of more than 500 bytes, and a pipe has room for 64 KiB.
        let path = format!("/{}", "x".repeat(300));
        for _ in 0..400 {
            assert_eq!(client.get(&path).await.0, 200);
        }
    })
    .expect("a runtime");
    for _ in 0..700 {
        assert_eq!(send(http::Method::PUT, &admin, "/log-level", "squall_proxy=info,squall_net=info,info").status, 200);
    }
    proxy.terminate();
    assert_eq!(proxy.ends(), Some(0));
    drop((out_reader, log_reader));
}

/// What a scan of ports says: nothing, nonsense, and beginnings of what it hopes for.
const SAID: [&[u8]; 6] = [
    b"",
    b"\x00\x01\x02\x03 nonsense",
    b"SSH-2.0-OpenSSH_9.9\r\n",
    b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03",
    b"GET / HTTP/1.0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense",
];
/// Connections that say each of these; half of the silent ones are reset.
const EACH: u64 = 50;

/// Scans a port, and has `between` done now and then.
fn scan(at: &str, between: impl Fn()) {
    for round in 0..EACH {
        process::run(async {
            let host = Tcp::host();
            for said in SAID {
                let mut conn = dial(&host, at).await;
                if said.is_empty() && round % 2 == 0 {
                    conn.abort();
                    continue;
                }
                // Whoever is there may have ended it already.
                let _ = conn.write_all(said).await;
                let _ = conn.shutdown().await;
                let _ = conn.read_to_end(&mut Vec::new()).await;
            }
        })
        .expect("a runtime");
        if round % 10 == 0 {
            between();
        }
    }
}

#[test]
fn a_scan_of_all_ports_leaves_few_lines_and_counts_and_service_goes_on() {
    let dir = directory("hard-scan");
    let app = App::start();
    let ports = "port: 80, appProtocol: http";
    write(&dir.join("mesh/services.yaml"), &(service("front", ports) + &service("stock", ports)));
    write(&dir.join("tokens"), "0123456789abcdef0 shop/front\n0123456789abcdef1 shop/stock\n");
    write(&dir.join("front.token"), "0123456789abcdef0\n");
    write(&dir.join("stock.token"), "0123456789abcdef1\n");
    let mut plane = Process::start("control", &control(&dir, "127.0.0.1:0", &[]));
    let plane_admin = plane.line("the admin pages are served").text("at");
    let plane_at = plane.line("the control plane listens").text("at");
    let inbound = format!("127.0.0.1:0={}", app.address);
    let sidecar = |name: &str, more: &[&str]| {
        let pod = format!("{name}-0");
        let own = ["--pod", &pod, "--outbound", "127.0.0.1:0"];
        Process::start("proxy", &member(&dir, &plane_at, name, &[&own[..], more].concat()))
    };
    let (mut front, mut stock) = (sidecar("front", &[]), sidecar("stock", &["--inbound", &inbound]));
    let listens = stock.line("the proxy listens");
    let (inbound, outbound, admin) = (listens.text("inbound"), listens.text("outbound"), listens.text("admin"));
    let asks_at = front.line("the proxy listens").text("outbound");
    front.line("the proxy is ready");
    stock.line("the proxy is ready");
    write(&dir.join("mesh/slices.yaml"), &slice("stock", "stock", "stock-0", port_of(&inbound)));
    while get(&asks_at, "stock", "/").status != 200 {}
    let asks = || assert_eq!(get(&asks_at, "stock", "/").status, 200, "service goes on");
    let refused = |reason: &str| {
        metric(&get(&admin, "x", "/metrics").body, &format!("squall_peers_refused_total{{reason=\"{reason}\"}}"))
    };

    // Mutual TLS only: nothing of this is a handshake. Those that said nothing and were reset may be gone before they are accepted.
    let (before, since) = (stock.written().len() + plane.written().len(), Instant::now());
    scan(&inbound, asks);
    assert!((5 * EACH..=6 * EACH).contains(&refused("tls")), "{}", refused("tls"));
    // HTTP: three of them are none.
    scan(&outbound, asks);
    assert_eq!(refused("malformed"), 3 * EACH);
    // The control plane.
    scan(&plane_at, asks);
    let counted = metric(&get(&plane_admin, "x", "/metrics").body, "squall_control_callers_refused_total");
    assert!((5 * EACH..=6 * EACH).contains(&counted), "{counted}");
    // Admin pages count nobody, and log nobody.
    scan(&admin, asks);
    // What is no TLS of the mesh's is plain, and what is no HTTP then is refused.
    let all = "apiVersion: squall.dev/v1alpha1\nkind: PeerAuthentication\nmetadata: {name: all, namespace: squall}\n\
               spec: {mtls: {mode: PERMISSIVE}}\n";
    write(&dir.join("mesh/peers.yaml"), all);
    while !get(&admin, "x", "/config").body.contains("PERMISSIVE") {}
    scan(&inbound, asks);
    assert_eq!(refused("malformed"), 6 * EACH);

    let said = stock.written().len() + plane.written().len() - before;
    // In ten seconds one for each reason and process, and what is said of the new policy.
    let most = 10 + 3 * (since.elapsed().as_secs() as usize / 10 + 1);
    assert!(said <= most, "{said} lines of {} connections: {:#?} {:#?}", 30 * EACH, stock.written(), plane.written());
    assert!(stock.written().iter().chain(&plane.written()).all(|line| !line.contains("ERROR")));
    asks();
    for process in [&mut front, &mut stock, &mut plane] {
        process.terminate();
        assert_eq!(process.ends(), Some(0));
    }
}
