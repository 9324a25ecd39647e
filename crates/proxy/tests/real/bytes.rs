//! Connections that are no HTTP, or that were meant for somebody else's address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall_net::{Accepted, BoxFuture, Conn, Host, Listener, Net};
use squall_policy::{
    BackendName, BackendPolicy, Balancing, Destination, Inbound, Limits, Mesh, Protocol, Rng, Speaks, StreamPolicy,
};
use squall_proxy::{IdentitySource, InboundListener, Interception, Proxy, ProxyConfig, Strangers};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::ca::Authority;
use crate::common::*;

pub(crate) const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
pub(crate) const DB: &str = "spiffe://cluster.local/ns/shop/sa/db";
/// A Service's address.
pub(crate) const CLUSTER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10));

/// Answers all that it reads, then says goodbye.
pub(crate) async fn echo_bytes(host: &Host) -> SocketAddr {
    let mut listener = host.net().listen(ANY).await.expect("a free port");
    let (at, of_task) = (listener.local(), host.clone());
    host.spawn("echo", async move {
        while let Ok(accepted) = listener.accept().await {
            of_task.spawn("echo connection", async move {
                let (mut reader, mut writer) = tokio::io::split(accepted.conn);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.write_all(b" goodbye").await;
                let _ = writer.shutdown().await;
            });
        }
    });
    at
}

/// Says it, ends, and hears all; `None`: it broke.
pub(crate) async fn say(mut conn: Conn, what: &[u8]) -> Option<String> {
    conn.write_all(what).await.ok()?;
    // A client of HTTP that half-closes is taken for gone.
    if !what.starts_with(b"GET") {
        conn.shutdown().await.ok()?;
    }
    let mut heard = Vec::new();
    conn.read_to_end(&mut heard).await.ok()?;
    Some(String::from_utf8_lossy(&heard).into_owned())
}

fn db() -> BackendName {
    BackendName::new("shop", "db", 5432)
}

fn destination(speaks: Speaks, stream: StreamPolicy) -> Destination {
    Destination {
        backend: db(),
        addresses: vec![CLUSTER],
        port: 5432,
        names: vec!["db".into(), "db.shop.svc.cluster.local".into()],
        speaks,
        stream,
    }
}

/// A mesh with one backend of TCP.
pub(crate) fn tcp_mesh(endpoints: &[(SocketAddr, &str)], speaks: Speaks, stream: StreamPolicy) -> Mesh {
    let mutual_tls = endpoints.iter().any(|(_, identity)| !identity.is_empty());
    let balancing = Balancing::RoundRobin;
    let protocol = if speaks == Speaks::Tcp { Protocol::Tcp } else { Protocol::Http1 };
    let policy = BackendPolicy { protocol, balancing, mutual_tls, ..BackendPolicy::default() };
    let endpoints = endpoints.iter().enumerate().map(|(n, (at, id))| endpoint(*at, &format!("db-{n}"), id));
    Mesh {
        backends: [(db(), policy)].into(),
        endpoints: [(db(), endpoints.collect())].into(),
        destinations: vec![destination(speaks, stream)],
        ..Mesh::default()
    }
}

pub(crate) async fn started(host: &Host, config: ProxyConfig) -> Proxy {
    let proxy = Proxy::start(host, config).await.expect("starts");
    proxy.ready().await;
    proxy
}

/// A proxy with one listener for connections to the database.
pub(crate) async fn outbound_bytes(
    host: &Host,
    mesh: Mesh,
    identity: IdentitySource,
) -> (Proxy, SocketAddr, Arc<Story>) {
    let story = Arc::<Story>::default();
    let config = ProxyConfig { streams: vec![(ANY, db())], identity, ..config(&story, mesh) };
    let proxy = started(host, config).await;
    let at = proxy.streams()[0];
    (proxy, at, story)
}

async fn inbound_bytes(
    host: &Host,
    app: SocketAddr,
    (protocol, detect): (Protocol, bool),
    identity: IdentitySource,
) -> (Proxy, SocketAddr, Arc<Story>) {
    let story = Arc::<Story>::default();
    let treated =
        Inbound { limits: Limits::default(), rate: None, protocol, detect, access: Default::default(), peers: None };
    let mesh = Mesh { inbound: [(app.port(), treated)].into(), ..Mesh::default() };
    let inbound = vec![InboundListener { listen: ANY, mutual_tls: true, app }];
    let proxy = started(host, ProxyConfig { inbound, identity, ..config(&story, mesh) }).await;
    let at = proxy.inbound()[0];
    (proxy, at, story)
}

pub(crate) async fn connect(host: &Host, at: SocketAddr) -> Conn {
    host.net().connect(at).await.expect("it listens")
}

#[test]
fn bytes_go_both_ways_over_mutual_tls_and_each_end_is_passed_on() {
    run(|host| async move {
        let authority = Authority::new();
        let app = echo_bytes(&host).await;
        let identity = |id| IdentitySource::Static(authority.identity(id));
        let (_in, in_at, in_story) = inbound_bytes(&host, app, (Protocol::Tcp, false), identity(DB)).await;
        let mesh = tcp_mesh(&[(in_at, DB)], Speaks::Tcp, StreamPolicy::default());
        let (_out, at, story) = outbound_bytes(&host, mesh, identity(WEB)).await;
        assert_eq!(say(connect(&host, at).await, b"hello").await.as_deref(), Some("hello goodbye"));
        for story in [&story, &in_story] {
            story.saw(&host, "bytes_up: 5, bytes_down: 13, how: Complete").await;
        }
        assert_eq!(in_story.count(&format!("peer: Some({WEB:?})")), 1);
        assert_eq!(story.count("Started"), 0, "no request was seen");
    });
}

#[test]
fn bytes_do_not_get_to_a_port_that_speaks_http_but_to_one_of_which_nobody_said_so() {
    for (port, passes) in
        [((Protocol::Http1, false), false), ((Protocol::Http2, false), false), ((Protocol::Http1, true), true)]
    {
        run(|host| async move {
            let authority = Authority::new();
            let app = echo_bytes(&host).await;
            let identity = |id| IdentitySource::Static(authority.identity(id));
            let (_in, in_at, in_story) = inbound_bytes(&host, app, port, identity(DB)).await;
            let mesh = tcp_mesh(&[(in_at, DB)], Speaks::Tcp, StreamPolicy::default());
            let (_out, at, _) = outbound_bytes(&host, mesh, identity(WEB)).await;
            let heard = say(connect(&host, at).await, b"hello").await;
            assert_eq!(heard.is_some_and(|heard| heard == "hello goodbye"), passes, "{port:?}");
            assert_eq!(in_story.count("PeerRefused"), usize::from(!passes), "{port:?}");
        });
    }
}

#[test]
fn a_connection_that_does_not_come_about_is_made_elsewhere_and_none_is_a_reset() {
    run(|host| async move {
        let nobody = {
            let gone = host.net().listen(ANY).await.expect("a free port");
            gone.local()
        };
        let app = echo_bytes(&host).await;
        let mesh = tcp_mesh(&[(nobody, ""), (app, "")], Speaks::Tcp, StreamPolicy::default());
        let (_proxy, at, story) = outbound_bytes(&host, mesh, IdentitySource::None).await;
        for _ in 0..4 {
            assert_eq!(say(connect(&host, at).await, b"x").await.as_deref(), Some("x goodbye"));
        }
        assert!(story.count("failure: ConnectRefused") >= 2, "{:?}", story.lines("AttemptFailed"));
        let once = StreamPolicy { retries: 0, ..StreamPolicy::default() };
        let (_proxy, at, story) =
            outbound_bytes(&host, tcp_mesh(&[(nobody, "")], Speaks::Tcp, once), IdentitySource::None).await;
        assert_eq!(say(connect(&host, at).await, b"x").await, None, "reset");
        story.saw(&host, "how: Local").await;
        assert_eq!(story.count("reason: \"connect-failure\""), 1, "{:?}", story.lines("Replied"));
    });
}

#[test]
fn silence_ends_a_connection_and_so_does_the_end_of_a_drain() {
    run(|host| async move {
        let app = echo_bytes(&host).await;
        let idle = StreamPolicy { idle: Some(Duration::from_millis(20)), ..StreamPolicy::default() };
        let (_proxy, at, story) =
            outbound_bytes(&host, tcp_mesh(&[(app, "")], Speaks::Tcp, idle), IdentitySource::None).await;
        let mut conn = connect(&host, at).await;
        assert!(conn.read(&mut [0]).await.is_err(), "reset");
        story.saw(&host, "how: Idle").await;
        let mesh = tcp_mesh(&[(app, "")], Speaks::Tcp, StreamPolicy::default());
        let (proxy, at, story) = outbound_bytes(&host, mesh, IdentitySource::None).await;
        let mut conn = connect(&host, at).await;
        conn.write_all(b"x").await.expect("open");
        conn.read_exact(&mut [0]).await.expect("open");
        proxy.drain(Duration::from_millis(20)).await;
        assert!(conn.read(&mut [0]).await.is_err(), "reset");
        assert_eq!(story.count("how: CallerGone"), 1);
    });
}

#[test]
fn a_full_backend_lets_connections_wait_and_one_that_leaves_makes_room() {
    run(|host| async move {
        let app = echo_bytes(&host).await;
        let mut mesh = tcp_mesh(&[(app, "")], Speaks::Tcp, StreamPolicy::default());
        let policy = mesh.backends.get_mut(&db()).expect("made above");
        policy.limits = Limits { in_flight: 1, pending: 1, ..Limits::default() };
        let (_proxy, at, story) = outbound_bytes(&host, mesh, IdentitySource::None).await;
        let mut first = connect(&host, at).await;
        first.write_all(b"1").await.expect("open");
        first.read_exact(&mut [0]).await.expect("open");
        let second = connect(&host, at).await;
        story.saw(&host, "Queued").await;
        assert_eq!(say(connect(&host, at).await, b"3").await, None, "one too many");
        assert_eq!(story.count("Replied"), 1, "{:?}", story.lines("Replied"));
        host.spawn("first", async move {
            say(first, b"").await;
        });
        let heard = say(second, b"2").await;
        assert_eq!(heard.as_deref(), Some("2 goodbye"));
    });
}

/// A network in which every accepted connection was meant for the address that the test says.
struct Redirecting {
    net: Arc<dyn Net>,
    meant: Arc<Mutex<Option<SocketAddr>>>,
}

struct Redirected(Box<dyn Listener>, Arc<Mutex<Option<SocketAddr>>>);

impl Net for Redirecting {
    fn connect(&self, to: SocketAddr) -> BoxFuture<'_, std::io::Result<Conn>> {
        self.net.connect(to)
    }

    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, std::io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = self.net.listen(at).await?;
            Ok(Box::new(Redirected(listener, Arc::clone(&self.meant))) as Box<dyn Listener>)
        })
    }

    fn resolve(&self, _name: &str) -> BoxFuture<'_, std::io::Result<Vec<IpAddr>>> {
        unreachable!("no proxy looks names up")
    }
}

impl Listener for Redirected {
    fn accept(&mut self) -> BoxFuture<'_, std::io::Result<Accepted>> {
        Box::pin(async move {
            let accepted = self.0.accept().await?;
            let meant = *self.1.lock().expect("no panic while locked");
            Ok(Accepted { dialed: meant.unwrap_or(accepted.dialed), ..accepted })
        })
    }

    fn local(&self) -> SocketAddr {
        self.0.local()
    }
}

/// A host whose connections are redirected, and where they were meant to go (`None`: to the proxy itself).
pub(crate) fn redirected(host: &Host) -> (Host, Arc<Mutex<Option<SocketAddr>>>) {
    let meant = Arc::<Mutex<Option<SocketAddr>>>::default();
    let net = Redirecting { net: Arc::clone(host.net()), meant: Arc::clone(&meant) };
    let (clock, wall, tasks) = (Arc::clone(host.clock()), Arc::clone(host.wall()), Arc::clone(host.tasks()));
    (Host::new(Arc::new(net), clock, wall, tasks, Rng::from_seed(1)), meant)
}

/// A ClientHello to `db.shop.svc.cluster.local`, as short as one can be.
pub(crate) fn hello(name: &str) -> Vec<u8> {
    let size = |count: usize| [(count >> 8) as u8, count as u8];
    let entry = [&[0][..], &size(name.len()), name.as_bytes()].concat();
    let list = [&size(entry.len())[..], &entry].concat();
    let extension = [&[0, 0][..], &size(list.len()), &list].concat();
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 19, 1, 1, 0], &size(extension.len()), &extension].concat();
    let message = [&[1, 0][..], &size(body.len()), &body].concat();
    [&[22, 3, 1][..], &size(message.len()), &message].concat()
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: somewhere\r\nconnection: close\r\n\r\n";

/// What becomes of a connection that was meant for `to` and says `what`.
async fn intercepted(
    mesh: Mesh,
    strangers: Strangers,
    to: Option<SocketAddr>,
    what: &[u8],
) -> (Option<String>, Arc<Story>) {
    let (host, meant) = redirected(&squall_net::tcp::Tcp::host());
    *meant.lock().expect("no panic while locked") = to;
    let story = Arc::<Story>::default();
    let interception = Some(Interception { outbound: vec![ANY], inbound: vec![ANY], strangers });
    let detect_timeout = Duration::from_millis(30);
    let proxy = started(&host, ProxyConfig { interception, detect_timeout, ..config(&story, mesh) }).await;
    let at = proxy.intercepted()[0];
    let heard = say(connect(&host, at).await, what).await;
    (heard, story)
}

#[test]
fn an_intercepted_connection_goes_to_the_service_whose_address_was_meant() {
    for (speaks, what) in [
        (Speaks::Tcp, b"hello".to_vec()),
        (Speaks::Tcp, b"PUT / HTTP/1.1\r\n\r\n".to_vec()),
        (Speaks::Unknown, b"hello there\n".to_vec()),
        (Speaks::Unknown, hello("elsewhere.example.org")),
        (Speaks::Unknown, b"*1\r\n".to_vec()),
    ] {
        run(|host| async move {
            let mesh = tcp_mesh(&[(echo_bytes(&host).await, "")], speaks, StreamPolicy::default());
            let to = Some(SocketAddr::new(CLUSTER, 5432));
            let (heard, story) = intercepted(mesh, Strangers::Refuse, to, &what).await;
            let want = format!("{} goodbye", String::from_utf8_lossy(&what));
            assert_eq!(heard, Some(want), "{speaks:?} {what:?} {:?}", story.lines(""));
            assert_eq!(story.count("route: \"shop/db:5432\""), 1);
        });
    }
}

#[test]
fn a_pod_that_was_meant_itself_is_the_one_that_is_reached() {
    run(|host| async move {
        let (other, meant) = (echo_bytes(&host).await, echo_bytes(&host).await);
        for _ in 0..4 {
            let mesh = tcp_mesh(&[(other, ""), (meant, "")], Speaks::Tcp, StreamPolicy::default());
            let (heard, story) = intercepted(mesh, Strangers::Refuse, Some(meant), b"x").await;
            assert_eq!(heard.as_deref(), Some("x goodbye"));
            assert_eq!(story.count("name: \"db-1\""), 1, "{:?}", story.lines("Picked"));
        }
    });
}

#[test]
fn a_client_hello_goes_by_its_name_wherever_it_was_meant_to_go() {
    run(|host| async move {
        let mesh = tcp_mesh(&[(echo_bytes(&host).await, "")], Speaks::Tcp, StreamPolicy::default());
        let stranger = Some(SocketAddr::from(([192, 0, 2, 1], 5432)));
        let mut strange = mesh.clone();
        // Not a port that is known to be of TCP, at which nobody looks.
        strange.destinations[0].port = 8443;
        let stranger = stranger.map(|at| SocketAddr::new(at.ip(), 8443));
        let hello = hello("DB.shop.svc.cluster.local");
        let (heard, story) = intercepted(strange, Strangers::Refuse, stranger, &hello).await;
        assert_eq!(heard, Some(format!("{} goodbye", String::from_utf8_lossy(&hello))), "{:?}", story.lines(""));
    });
}

#[test]
fn strangers_are_passed_on_or_refused_as_is_said() {
    run(|host| async move {
        let app = echo_bytes(&host).await;
        let mesh = || tcp_mesh(&[], Speaks::Tcp, StreamPolicy::default());
        // The last one says nothing that tells, and nothing more: after a while it is bytes.
        for what in [&b"\x00\x01"[..], b"FOO "] {
            let (heard, story) = intercepted(mesh(), Strangers::Pass, Some(app), what).await;
            assert_eq!(heard, Some(format!("{} goodbye", String::from_utf8_lossy(what))));
            assert_eq!(story.count("backend: passthrough"), 1, "{:?}", story.lines("Routed"));
            let (heard, story) = intercepted(mesh(), Strangers::Refuse, Some(app), what).await;
            assert_eq!((heard, story.count("StrangerRefused")), (None, 1));
        }
        let app = origin(&host, echo).await;
        let (heard, _) = intercepted(mesh(), Strangers::Pass, Some(app), REQUEST).await;
        assert!(heard.is_some_and(|heard| heard.starts_with("HTTP/1.1 200")), "by its address");
        let (heard, _) = intercepted(mesh(), Strangers::Refuse, Some(app), REQUEST).await;
        assert!(heard.is_some_and(|heard| heard.starts_with("HTTP/1.1 404")), "no route");
    });
}

#[test]
fn requests_go_by_their_host_else_by_the_address_that_was_meant() {
    run(|host| async move {
        let app = origin(&host, echo).await;
        let mut mesh = mesh(Protocol::Http1, &[app]);
        mesh.hosts[0].domains.push("app.shop.svc.cluster.local:80".into());
        mesh.destinations.push(Destination {
            backend: backend(),
            addresses: vec![CLUSTER],
            port: 80,
            names: vec!["app.shop.svc.cluster.local".into()],
            speaks: Speaks::Unknown,
            stream: StreamPolicy::default(),
        });
        for to in [SocketAddr::new(CLUSTER, 80), app] {
            let (heard, story) = intercepted(mesh.clone(), Strangers::Refuse, Some(to), REQUEST).await;
            assert!(heard.is_some_and(|heard| heard.starts_with("HTTP/1.1 200")), "{to}");
            assert_eq!(story.count("Started"), 1);
        }
        // Not redirected: as without interception.
        let by_host = b"GET / HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n";
        let (heard, _) = intercepted(mesh.clone(), Strangers::Refuse, None, by_host).await;
        assert!(heard.is_some_and(|heard| heard.starts_with("HTTP/1.1 200")));
        let (heard, _) = intercepted(mesh, Strangers::Refuse, None, REQUEST).await;
        assert!(heard.is_some_and(|heard| heard.starts_with("HTTP/1.1 404")));
    });
}

#[test]
fn intercepted_callers_reach_the_port_that_they_meant_and_prove_themselves() {
    run(|host| async move {
        let authority = Authority::new();
        let identity = |id| IdentitySource::Static(authority.identity(id));
        let app = echo_bytes(&host).await;
        let (inner, meant) = redirected(&host);
        *meant.lock().expect("no panic while locked") = Some(SocketAddr::new(CLUSTER, app.port()));
        let treated = Inbound {
            limits: Limits::default(),
            rate: None,
            protocol: Protocol::Tcp,
            detect: false,
            access: Default::default(),
            peers: None,
        };
        let mesh = Mesh { inbound: [(app.port(), treated)].into(), ..Mesh::default() };
        let in_story = Arc::<Story>::default();
        let interception = Some(Interception { outbound: vec![], inbound: vec![ANY], strangers: Strangers::Pass });
        let settings = ProxyConfig { interception, identity: identity(DB), ..config(&in_story, mesh) };
        let proxy = started(&inner, settings).await;
        let in_at = proxy.inbound()[0];
        let mesh = tcp_mesh(&[(in_at, DB)], Speaks::Tcp, StreamPolicy::default());
        let (_out, at, _) = outbound_bytes(&host, mesh, identity(WEB)).await;
        assert_eq!(say(connect(&host, at).await, b"hello").await.as_deref(), Some("hello goodbye"));
        let heard = say(connect(&host, in_at).await, b"plain text, and more of it").await;
        assert!(heard.is_none_or(|heard| !heard.contains("goodbye")), "strict");
        in_story.saw(&host, "PeerRefused").await;
        // Whoever was not redirected means no application.
        *meant.lock().expect("no panic while locked") = None;
        let _ = say(connect(&host, in_at).await, b"hello").await;
        assert_eq!(in_story.count("NotRedirected"), 1, "{:?}", in_story.lines("PeerRefused"));
    });
}
