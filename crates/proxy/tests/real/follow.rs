//! A proxy follows its control plane, and stands on its own when that is gone.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::common::*;
use crate::plane::{CONTROL, Plane};
use squall_net::Host;
use squall_policy::{Inbound, Limits, Mesh, Protocol};
use squall_proxy::{ControlSource, IdentitySource, InboundListener, Proxy, ProxyConfig, Source};

const HOUR_S: u64 = 3600;

fn followed(plane: &Plane, at: SocketAddr, story: &Arc<Story>) -> ProxyConfig {
    let control = ControlSource {
        address: at,
        identity: CONTROL.into(),
        roots: vec![plane.authority.root.clone()],
        token: Some(Arc::new(|| Ok("app-0's token".to_owned()))),
    };
    ProxyConfig {
        outbound: Some(ANY),
        source: Source::Control(control),
        identity: IdentitySource::FromControl,
        ..config(story, Mesh::default())
    }
}

async fn follow(host: &Host, plane: &Plane, at: SocketAddr) -> (Proxy, SocketAddr, Arc<Story>) {
    let story = Arc::<Story>::default();
    let proxy = Proxy::start(host, followed(plane, at, &story)).await.expect("starts");
    let at = proxy.outbound().expect("asked for");
    (proxy, at, story)
}

#[test]
fn a_proxy_gets_its_certificate_and_its_mesh_and_follows_changes() {
    run(|host| async move {
        let (a, b) = (origin(&host, echo).await, origin(&host, echo).await);
        let plane = Plane::new(&host, &mesh(Protocol::Http1, &[a]), HOUR_S);
        let at = plane.listen(ANY).await;
        let (proxy, proxy_at, story) = follow(&host, &plane, at).await;
        proxy.ready().await;
        assert_eq!(plane.tokens(), ["app-0's token"]);
        assert_eq!(plane.nodes(), ["sidecar~127.0.0.1~app-0.shop~shop.svc.cluster.local"]);
        assert_eq!(story.count("identity: \"spiffe://cluster.local/ns/shop/sa/app\""), 1);
        assert_eq!(get(&host, proxy_at, "/").await.status(), 200);

        let applied = story.count("MeshApplied");
        plane.push(&mesh(Protocol::Http2, &[b]));
        until(&host, || story.count("MeshApplied") > applied).await;
        // The change may come in parts; the last one brings HTTP/2.
        loop {
            let response = get(&host, proxy_at, "/").await;
            assert_eq!(response.status(), 200, "make before break");
            if header(&response, "saw-line").starts_with("HTTP/2.0") {
                break;
            }
        }
    });
}

#[test]
fn two_followers_reach_each_other_by_the_identities_they_were_given() {
    run(|host| async move {
        let app = origin(&host, echo).await;
        let plane = Plane::new(&host, &Mesh::default(), HOUR_S);
        let at = plane.listen(ANY).await;
        let in_story = Arc::<Story>::default();
        let listener = InboundListener { listen: ANY, mutual_tls: true, app };
        let config = ProxyConfig { inbound: vec![listener], outbound: None, ..followed(&plane, at, &in_story) };
        let callee = Proxy::start(&host, config).await.expect("starts");
        let mut mesh = mesh(Protocol::Http2, &[]);
        policy(&mut mesh).mutual_tls = true;
        let endpoint = endpoint(callee.inbound()[0], "app-0", "spiffe://cluster.local/ns/shop/sa/app");
        mesh.endpoints.insert(backend(), vec![endpoint]);
        mesh.inbound.insert(
            app.port(),
            Inbound {
                limits: Limits::default(),
                rate: None,
                protocol: Protocol::Http1,
                detect: false,
                access: Default::default(),
                peers: None,
            },
        );
        plane.push(&mesh);
        let (caller, proxy_at, _) = follow(&host, &plane, at).await;
        caller.ready().await;
        callee.ready().await;
        loop {
            // The callee may still have the mesh without its port.
            let response = get(&host, proxy_at, "/").await;
            if response.status() == 200 {
                let caller = "URI=spiffe://cluster.local/ns/shop/sa/app";
                assert_eq!(header(&response, "saw-x-forwarded-client-cert"), caller);
                break;
            }
            assert_eq!(header(&response, "squall-reason"), "unknown-port");
        }
    });
}

#[test]
fn without_its_control_plane_a_proxy_keeps_the_last_mesh_and_comes_back() {
    run(|host| async move {
        let (a, b) = (origin(&host, echo).await, origin(&host, echo).await);
        let plane = Plane::new(&host, &mesh(Protocol::Http1, &[a]), HOUR_S);
        let at = plane.listen(ANY).await;
        let (proxy, proxy_at, story) = follow(&host, &plane, at).await;
        proxy.ready().await;
        plane.stop();
        until(&host, || story.count("ControlLost") >= 3).await;
        assert_eq!(get(&host, proxy_at, "/").await.status(), 200);
        plane.push(&mesh(Protocol::Http2, &[b]));
        let applied = story.count("MeshApplied");
        plane.listen(at).await;
        until(&host, || story.count("MeshApplied") > applied && story.count("ControlConnected") == 2).await;
        assert_eq!(get(&host, proxy_at, "/").await.status(), 200);
    });
}

#[test]
fn a_mesh_that_cannot_be_obeyed_is_refused_by_name_and_the_last_one_stays() {
    run(|host| async move {
        let at = origin(&host, echo).await;
        let good = mesh(Protocol::Http1, &[at]);
        let plane = Plane::new(&host, &good, HOUR_S);
        let control_at = plane.listen(ANY).await;
        let (proxy, proxy_at, story) = follow(&host, &plane, control_at).await;
        proxy.ready().await;
        let mut bad = squall_xds::encode(&good);
        // An unknown field of the cluster: number 1000, a varint.
        for cluster in bad.clusters.values_mut() {
            *cluster = [&cluster[..], &[0xc0, 0x3e, 0x01]].concat().into();
        }
        plane.push_resources(bad);
        story.saw(&host, "MeshRefused").await;
        until(&host, || !plane.nacks().is_empty()).await;
        assert!(plane.nacks()[0].contains("1000"), "{:?}", plane.nacks());
        assert_eq!(get(&host, proxy_at, "/").await.status(), 200);
        // And the stream lives.
        let applied = story.count("MeshApplied");
        plane.push(&mesh(Protocol::Http2, &[at]));
        until(&host, || story.count("MeshApplied") > applied).await;
    });
}

#[test]
fn a_certificate_is_renewed_at_half_its_life() {
    run(|host| async move {
        let plane = Plane::new(&host, &Mesh::default(), 2);
        let at = plane.listen(ANY).await;
        let (proxy, _, story) = follow(&host, &plane, at).await;
        proxy.ready().await;
        until(&host, || story.count("CertificateIssued") >= 2).await;
        assert!(plane.tokens().len() >= 2);
    });
}

#[test]
fn a_control_plane_that_proves_to_be_someone_else_is_not_followed() {
    run(|host| async move {
        let plane = Plane::new(&host, &Mesh::default(), HOUR_S);
        let at = plane.listen(ANY).await;
        let story = Arc::<Story>::default();
        let mut config = followed(&plane, at, &story);
        let Source::Control(source) = &mut config.source else { unreachable!("made so above") };
        source.identity = "spiffe://cluster.local/ns/squall/sa/other".into();
        let proxy = Proxy::start(&host, config).await.expect("starts");
        until(&host, || story.count("ControlLost") >= 2).await;
        assert!(story.lines("ControlLost")[0].contains("expected spiffe://cluster.local/ns/squall/sa/other"));
        assert!(!proxy.is_ready() && plane.tokens().is_empty());
    });
}
