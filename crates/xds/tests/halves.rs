//! The two halves against each other, over a link that delays and breaks at random.

mod common;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use squall_policy::{BackendName, BackendPolicy, Mesh, Route, VirtualHost, WeightedBackend};
use squall_xds::{Feed, FeedEvent, Subscription, SubscriptionEvent};

/// One stream: both directions keep their order, and nothing else is promised.
struct Link {
    client: Subscription,
    feed: Feed,
    up: VecDeque<Bytes>,
    down: VecDeque<Bytes>,
    meshes: Vec<Arc<Mesh>>,
    acked: Vec<u64>,
    pushes: usize,
}

impl Link {
    fn new() -> Self {
        let mut client = Subscription::new("shop/web-0", "web");
        client.on_connect();
        Self {
            client,
            feed: Feed::new(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            meshes: Vec::new(),
            acked: Vec::new(),
            pushes: 0,
        }
    }

    fn reconnect(&mut self, version: u64, mesh: &Mesh) {
        self.up.clear();
        self.down.clear();
        self.feed = Feed::new();
        self.feed.set_mesh(version, mesh);
        self.client.on_connect();
    }

    fn collect(&mut self) {
        while let Some(message) = self.client.poll_send() {
            self.up.push_back(message);
        }
        while let Some(message) = self.feed.poll_send() {
            self.pushes += 1;
            self.down.push_back(message);
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                SubscriptionEvent::Mesh { mesh, .. } => {
                    for route in mesh.hosts.iter().flat_map(|host| &host.routes) {
                        for backend in &route.backends {
                            let known = mesh.backends.contains_key(&backend.backend);
                            assert!(known, "a route leads to {}, which is not there", backend.backend);
                        }
                    }
                    self.meshes.push(mesh);
                }
                SubscriptionEvent::Refused(nack) => panic!("refused: {nack}"),
            }
        }
        while let Some(event) = self.feed.poll_event() {
            match event {
                FeedEvent::Acked { version } => self.acked.push(version),
                FeedEvent::Connected { node_id, cluster } => {
                    assert_eq!((node_id.as_str(), cluster.as_str()), ("shop/web-0", "web"));
                }
                FeedEvent::Nacked { why, .. } => panic!("refused: {why}"),
            }
        }
    }

    /// Delivers one message, upwards or downwards. False: there was none.
    fn deliver(&mut self, upwards: bool) -> bool {
        self.collect();
        let message = if upwards { self.up.pop_front() } else { self.down.pop_front() };
        let Some(message) = message else { return false };
        if upwards {
            self.feed.on_message(&message).expect("the client speaks ADS");
        } else {
            self.client.on_message(&message).expect("the server speaks ADS");
        }
        self.collect();
        true
    }

    fn run(&mut self) {
        while self.deliver(true) || self.deliver(false) {}
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Deliver { upwards: bool },
    Change(Mesh),
    Disconnect,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => any::<bool>().prop_map(|upwards| Happening::Deliver { upwards }),
        1 => common::mesh().prop_map(Happening::Change),
        1 => Just(Happening::Disconnect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_proxy_ends_up_with_the_last_mesh_whatever_happens_on_the_way(
        first in common::mesh(),
        happenings in proptest::collection::vec(happening(), 0..60),
    ) {
        let mut link = Link::new();
        let mut version = 1;
        let mut last = first;
        link.feed.set_mesh(version, &last);
        for happening in happenings {
            match happening {
                Happening::Deliver { upwards } => {
                    link.deliver(upwards);
                }
                Happening::Change(mesh) => {
                    version += 1;
                    last = mesh;
                    link.feed.set_mesh(version, &last);
                }
                Happening::Disconnect => link.reconnect(version, &last),
            }
        }
        link.run();
        prop_assert_eq!(link.client.mesh().map(|mesh| &**mesh), Some(&last));
        prop_assert_eq!(link.acked.last(), Some(&version));
        let pushes = link.pushes;
        link.run();
        prop_assert_eq!(link.pushes, pushes, "an ACK is not answered");
    }
}

fn shop(backends: &[&str], to: &str) -> Mesh {
    let name = |name: &str| BackendName::new("shop", name, 80);
    let route = Route {
        name: "rule 0".into(),
        matches: squall_policy::RouteMatch {
            path: squall_policy::PathMatch::Prefix("/".to_owned()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        },
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        backends: vec![WeightedBackend { backend: name(to), weight: 1 }],
        timeouts: squall_policy::RouteTimeouts::default(),
        retry: None,
        fault: None,
        redirect: None,
    };
    Mesh {
        hosts: vec![VirtualHost {
            name: "catalog".to_owned(),
            domains: vec!["catalog".to_owned()],
            routes: vec![route],
        }],
        backends: backends.iter().map(|backend| (name(backend), BackendPolicy::default())).collect(),
        ..Mesh::default()
    }
}

#[test]
fn only_what_changed_is_pushed() {
    let mut link = Link::new();
    let mut mesh = shop(&["a", "b"], "a");
    link.feed.set_mesh(1, &mesh);
    link.run();
    assert_eq!((link.pushes, link.acked.as_slice()), (4, &[1][..]), "CDS, EDS, LDS, RDS");

    link.feed.set_mesh(2, &mesh);
    link.run();
    assert_eq!((link.pushes, link.acked.as_slice()), (4, &[1, 2][..]), "nothing changed: nothing is sent");

    mesh.backends.get_mut(&BackendName::new("shop", "b", 80)).expect("b").limits.in_flight = 7;
    link.feed.set_mesh(3, &mesh);
    link.run();
    assert_eq!(link.pushes, 5, "CDS alone");
    assert_eq!(link.client.mesh().map(|mesh| &**mesh), Some(&mesh));
}

#[test]
fn the_new_is_made_before_the_old_is_broken() {
    let mut link = Link::new();
    link.feed.set_mesh(1, &shop(&["old"], "old"));
    link.run();
    link.meshes.clear();
    link.feed.set_mesh(2, &shop(&["new"], "new"));
    link.run();
    let seen: Vec<(String, Vec<String>)> = link
        .meshes
        .iter()
        .map(|mesh| {
            let to = mesh.hosts[0].routes[0].backends[0].backend.to_string();
            (to, mesh.backends.keys().map(ToString::to_string).collect())
        })
        .collect();
    let (old, new) = ("shop/old:80".to_owned(), "shop/new:80".to_owned());
    assert_eq!(
        seen,
        [
            (old.clone(), vec![new.clone(), old.clone()]),
            (new.clone(), vec![new.clone(), old]),
            (new.clone(), vec![new]),
        ]
    );
}

#[test]
fn a_refused_mesh_is_reported_once_and_the_last_good_one_stays() {
    let mut link = Link::new();
    let good = shop(&["a"], "a");
    link.feed.set_mesh(1, &good);
    link.run();
    let mut bad = good.clone();
    bad.backends.get_mut(&BackendName::new("shop", "a", 80)).expect("a").limits.in_flight = 0;
    link.feed.set_mesh(2, &bad);
    let mut refused = Vec::new();
    for _ in 0..10 {
        if let Some(message) = link.feed.poll_send() {
            link.client.on_message(&message).expect("it is ADS");
        }
        while let Some(message) = link.client.poll_send() {
            link.feed.on_message(&message).expect("it is ADS");
        }
        refused.extend(std::iter::from_fn(|| link.feed.poll_event()));
    }
    let why = "Cluster shop/a:80: envoy.config.cluster.v3.Cluster.limits.in_flight: limits.in_flight is 0, but must be 1 or more";
    assert_eq!(refused, [FeedEvent::Nacked { version: 2, kind: squall_xds::Kind::Cluster, why: why.to_owned() }]);
    assert_eq!(link.client.mesh().map(|mesh| &**mesh), Some(&good));
    while link.client.poll_event().is_some() {}

    link.feed.set_mesh(3, &shop(&["a", "b"], "b"));
    link.run();
    assert_eq!(link.acked.last(), Some(&3), "the next good one is taken");
}

#[test]
fn the_last_good_mesh_outlives_the_stream() {
    let mut link = Link::new();
    let mesh = shop(&["a"], "a");
    link.feed.set_mesh(1, &mesh);
    link.run();
    link.client.on_connect();
    assert_eq!(link.client.mesh().map(|mesh| &**mesh), Some(&mesh));
}

#[test]
fn messages_that_are_not_ads_end_the_stream() {
    let mut client = Subscription::new("shop/web-0", "web");
    client.on_connect();
    let refused = client.on_message(&[0xff]).expect_err("not protobuf");
    assert_eq!(refused.field, "envoy.service.discovery.v3.DiscoveryResponse");
    let refused = client.on_message(b"\x22\x04what").expect_err("another type");
    assert_eq!(refused.why, "`what` was never asked for");
    let refused = Feed::new().on_message(b"\x22\x04what").expect_err("no node");
    assert_eq!(refused.field, "envoy.service.discovery.v3.DiscoveryRequest.node");
}
