//! Listeners of a gateway over the wire.

use std::collections::BTreeMap;

use squall_policy::{
    BackendName, BackendPolicy, GatewayListener, HeaderChange, Mesh, PathMatch, Redirect, RedirectPath, Route,
    RouteMatch, RouteTimeouts, VirtualHost, WeightedBackend,
};
use squall_xds::{decode, encode};

fn listener(name: &str, port: u16, hostname: &str, certificates: Option<&[&str]>) -> GatewayListener {
    let route = Route {
        name: "shop/web rule 0".into(),
        matches: RouteMatch {
            path: PathMatch::Prefix("/a".into()),
            method: Some("GET".into()),
            headers: Vec::new(),
            query: Vec::new(),
        },
        request_headers: vec![HeaderChange::Set { name: "x-edge".into(), value: "100%".into() }],
        response_headers: Vec::new(),
        backends: vec![WeightedBackend { backend: BackendName::new("shop", "web", 80), weight: 3 }],
        timeouts: RouteTimeouts::default(),
        retry: None,
        fault: None,
        redirect: None,
    };
    let host = |domain: &str| VirtualHost {
        name: format!("{name} {domain}"),
        domains: vec![domain.into()],
        routes: vec![route.clone()],
    };
    GatewayListener {
        name: name.into(),
        port,
        hostname: hostname.into(),
        certificates: certificates.map(|names| names.iter().map(|name| (*name).into()).collect()),
        hosts: vec![host("*.shop.example.com"), host("shop.example.com")],
    }
}

fn mesh(gateway: Vec<GatewayListener>) -> Mesh {
    let backends = BTreeMap::from([(BackendName::new("shop", "web", 80), BackendPolicy::default())]);
    Mesh { gateway, backends, ..Mesh::default() }
}

#[test]
fn what_is_encoded_is_decoded() {
    let mesh = mesh(vec![
        listener("shop/edge http", 80, "", None),
        listener("shop/edge rest", 443, "*.example.com", Some(&["shop/rest"])),
        listener("shop/edge shop", 443, "shop.example.com", Some(&["shop/rsa", "shop/ecdsa"])),
    ]);
    assert_eq!(decode(&encode(&mesh)), Ok(mesh));
}

#[test]
fn redirects_are_decoded_as_they_were_encoded() {
    let redirect = Redirect { https: Some(true), hostname: None, port: None, path: None, status: 301 };
    for redirect in [
        redirect.clone(),
        Redirect {
            https: Some(false),
            hostname: Some("a.b".into()),
            port: Some(8443),
            status: 308,
            ..redirect.clone()
        },
        Redirect { https: None, path: Some(RedirectPath::Full("/x".into())), status: 302, ..redirect.clone() },
        Redirect { https: None, path: Some(RedirectPath::Prefix("/".into())), status: 307, ..redirect },
    ] {
        let mut listener = listener("shop/edge http", 80, "", None);
        let route = &mut listener.hosts[0].routes[0];
        *route = Route { redirect: Some(redirect), backends: Vec::new(), request_headers: Vec::new(), ..route.clone() };
        let hosts = vec![listener.hosts[0].clone()];
        let mesh = Mesh { hosts, ..mesh(vec![listener]) };
        assert_eq!(decode(&encode(&mesh)), Ok(mesh));
    }
}

#[test]
fn a_mesh_whose_gateway_leads_to_an_unknown_backend_is_not_whole() {
    let mut mesh = mesh(vec![listener("shop/edge http", 80, "", None)]);
    mesh.backends.clear();
    let nack = decode(&encode(&mesh)).expect_err("the cluster is missing");
    assert!(nack.why.contains("missing"), "{nack}");
}

#[test]
fn listeners_that_cannot_be_are_refused_by_their_field() {
    let good = || listener("a", 443, "", Some(&["shop/a"]));
    for (what, listeners, field) in [
        ("port 0", vec![GatewayListener { port: 0, ..good() }], "port"),
        ("upper case", vec![GatewayListener { hostname: "A".into(), ..good() }], "hostname"),
        ("no name", vec![GatewayListener { name: "".into(), ..good() }], "name"),
        ("one name twice", vec![good(), GatewayListener { port: 444, ..good() }], "name"),
        ("one host twice", vec![good(), GatewayListener { name: "b".into(), ..good() }], "hostname"),
        ("no certificate", vec![GatewayListener { certificates: Some(Vec::new()), ..good() }], "certificates"),
        (
            "TLS and none at one port",
            vec![good(), GatewayListener { certificates: None, hostname: "b".into(), name: "b".into(), ..good() }],
            "secure",
        ),
    ] {
        let nack = decode(&encode(&mesh(listeners))).expect_err(what);
        assert_eq!(nack.field, format!("squall.v1alpha1.GatewayListener.{field}"), "{what}: {nack}");
    }
}
