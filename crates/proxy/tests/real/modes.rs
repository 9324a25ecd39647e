//! A PeerAuthentication that changes under load: client and server learn of it one after the other, in either order, and nobody notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Response;
use squall_net::Host;
use squall_net::http::Version;
use squall_policy::{Mesh, PeerMode, Protocol, Speaks, StreamPolicy};
use squall_proxy::{IdentitySource, Proxy, ProxyConfig};

use crate::bytes::{DB, WEB, connect, echo_bytes, outbound_bytes, say, tcp_mesh};
use crate::ca::Authority;
use crate::common::*;
use crate::peers::{inbound_of, sidecar};

/// From nothing to mutual TLS only and back, by way of both.
const WAY: [PeerMode; 5] =
    [PeerMode::Disable, PeerMode::Permissive, PeerMode::Strict, PeerMode::Permissive, PeerMode::Disable];

/// Who learns of a change first.
#[derive(Clone, Copy, Debug)]
enum First {
    Client,
    Server,
}

/// Clients that ask one after the other until they are stopped.
#[derive(Default)]
struct Load {
    stopped: AtomicBool,
    running: AtomicUsize,
    good: AtomicUsize,
}

impl Load {
    /// `ask` is one client; it counts with [`Load::counts`] and ends when that says so.
    fn spawn<F: Future<Output = ()> + Send + 'static>(self: &Arc<Self>, host: &Host, ask: impl FnOnce(Arc<Self>) -> F) {
        self.running.fetch_add(1, Ordering::Relaxed);
        host.spawn("client", ask(Arc::clone(self)));
    }

    /// Counts an answer. False: it is to end.
    fn counts(&self, story: &Story, answer: Result<(), String>) -> bool {
        match answer {
            Ok(()) => drop(self.good.fetch_add(1, Ordering::Relaxed)),
            Err(why) => {
                story.0.lock().expect("no panic while locked").push(format!("FAILED after {}: {why}", self.good()));
            }
        }
        let goes_on = !self.stopped.load(Ordering::Relaxed);
        if !goes_on {
            self.running.fetch_sub(1, Ordering::Relaxed);
        }
        goes_on
    }

    fn good(&self) -> usize {
        self.good.load(Ordering::Relaxed)
    }

    /// Waits until so many more answers have come: every client has asked in the state that there is now.
    async fn more(&self, host: &Host, story: &Story, answers: usize) {
        let want = self.good() + answers;
        until(host, || self.good() >= want || story.count("FAILED") > 0).await;
        assert_eq!(story.lines("FAILED"), Vec::<String>::new());
    }
}

/// Changes the mode at both ends, all the way, with load between any two changes.
async fn go(
    host: &Host,
    load: &Load,
    failures: &Story,
    first: First,
    client: (&Proxy, impl Fn(PeerMode) -> Mesh),
    server: (&Proxy, impl Fn(PeerMode) -> Mesh),
) {
    const ANSWERS: usize = 60;
    load.more(host, failures, ANSWERS).await;
    for mode in &WAY[1..] {
        let changes = [(client.0, client.1(*mode)), (server.0, server.1(*mode))];
        let order = match first {
            First::Client => [0, 1],
            First::Server => [1, 0],
        };
        for at in order {
            changes[at].0.update(&changes[at].1);
            load.more(host, failures, ANSWERS).await;
        }
    }
    load.stopped.store(true, Ordering::Relaxed);
    until(host, || load.running.load(Ordering::Relaxed) == 0).await;
    assert_eq!(failures.lines("FAILED"), Vec::<String>::new());
}

/// One client that asks over a connection of its own. What it asks is never repeated by itself.
async fn asks(host: Host, at: SocketAddr, version: Version, load: Arc<Load>, failures: Arc<Story>) {
    let mut sender = client(&host, at, version).await;
    loop {
        let ask = request(version, "POST", "/", text("hello"));
        let answer = match sender.send(ask).await {
            Ok(answer) => {
                let answer: Response<_> = whole(answer).await;
                let good = answer.status() == 200 && &answer.body()[..] == b"hello";
                good.then_some(()).ok_or_else(|| format!("{} {}", answer.status(), header(&answer, "squall-reason")))
            }
            Err(error) => Err(error.to_string()),
        };
        if !load.counts(&failures, answer) {
            return;
        }
    }
}

#[test]
fn no_request_fails_while_the_mode_of_a_port_goes_all_the_way_and_back() {
    for (version, protocol) in [(Version::Http1, Protocol::Http1), (Version::Http2, Protocol::Http2)] {
        for first in [First::Client, First::Server] {
            run(|host| async move {
                let authority = Authority::new();
                let app = origin(&host, echo).await;
                let identity = |id| IdentitySource::Static(authority.identity(id));
                let of_server = |mode| inbound_of(app, protocol, Some(mode));
                let (server, inbound, story) = sidecar(&host, app, of_server(WAY[0]), identity(DB), true).await;
                let of_client = |mode: PeerMode| {
                    let mut mesh = mesh(protocol, &[]);
                    policy(&mut mesh).mutual_tls = mode.takes_mutual_tls();
                    mesh.endpoints.insert(backend(), vec![endpoint(inbound, "cart-0", DB)]);
                    mesh
                };
                let config = ProxyConfig {
                    outbound: Some(ANY),
                    identity: identity(WEB),
                    ..config(&Arc::default(), of_client(WAY[0]))
                };
                let client = Proxy::start(&host, config).await.expect("starts");
                client.ready().await;
                let (load, failures) = (Arc::<Load>::default(), Arc::<Story>::default());
                let at = client.outbound().expect("asked for");
                for _ in 0..4 {
                    load.spawn(&host, |load| asks(host.clone(), at, version, load, Arc::clone(&failures)));
                }
                go(&host, &load, &failures, first, (&client, of_client), (&server, of_server)).await;
                let [secure, plain] = [format!("peer: Some({WEB:?})"), "peer: None".to_owned()];
                assert!(story.count(&secure) > 100 && story.count(&plain) > 100, "{first:?}: both were used");
            });
        }
    }
}

#[test]
fn no_connection_of_bytes_fails_while_the_mode_of_a_port_goes_all_the_way_and_back() {
    for first in [First::Client, First::Server] {
        run(|host| async move {
            let authority = Authority::new();
            let app = echo_bytes(&host).await;
            let identity = |id| IdentitySource::Static(authority.identity(id));
            let of_server = |mode| inbound_of(app, Protocol::Tcp, Some(mode));
            let (server, inbound, story) = sidecar(&host, app, of_server(WAY[0]), identity(DB), true).await;
            let of_client = |mode: PeerMode| {
                let mut mesh = tcp_mesh(&[(inbound, DB)], Speaks::Tcp, StreamPolicy::default());
                mesh.backends.values_mut().for_each(|policy| policy.mutual_tls = mode.takes_mutual_tls());
                mesh
            };
            let (client, at, _) = outbound_bytes(&host, of_client(WAY[0]), identity(WEB)).await;
            let (load, failures) = (Arc::<Load>::default(), Arc::<Story>::default());
            for _ in 0..4 {
                let (host, failures) = (host.clone(), Arc::clone(&failures));
                load.spawn(&host.clone(), |load| async move {
                    loop {
                        let heard = say(connect(&host, at).await, b"hello").await;
                        let good = heard.as_deref() == Some("hello goodbye");
                        if !load.counts(&failures, good.then_some(()).ok_or_else(|| format!("{heard:?}"))) {
                            return;
                        }
                    }
                });
            }
            go(&host, &load, &failures, first, (&client, of_client), (&server, of_server)).await;
            let [secure, plain] = [format!("peer: Some({WEB:?})"), "peer: None".to_owned()];
            assert!(story.count(&secure) > 50 && story.count(&plain) > 50, "{first:?}: both were used");
        });
    }
}
