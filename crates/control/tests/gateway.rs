//! Gateways, the routes that are attached to them, and what of both cannot be.

use squall_control::{RegistrySnapshot, Resources, compile_gateway};
use squall_policy::{Mesh, PathMatch, RedirectPath};

const SERVICES: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: other}
spec: {ports: [{port: 80}]}
---
";

/// A Gateway `edge` of these listeners.
fn gateway(listeners: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec:\n  \
         gatewayClassName: squall\n  listeners:\n{listeners}---\n"
    )
}

/// An HTTPRoute that says this beside its rule.
fn route(name: &str, namespace: &str, said: &str) -> String {
    let backend = if namespace == "shop" { "web" } else { "far" };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{said}  \
         rules: [{{backendRefs: [{{name: {backend}, port: 80}}]}}]\n---\n"
    )
}

const PLAIN: &str = "    - {name: http, port: 80, protocol: HTTP}\n";
const NAMED: &str = concat!(
    "    - {name: http, port: 80, protocol: HTTP, hostname: \"*.example.com\"}\n",
    "    - {name: all, port: 443, protocol: HTTPS, allowedRoutes: {namespaces: {from: All}}, tls: {certificateRefs: [{name: tls}]}}\n",
);

fn compiled(text: &str, account: &str) -> Mesh {
    let resources = Resources::read(&[("mesh.yaml", text)]).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    compile_gateway(&resources, &RegistrySnapshot::default(), "shop", account)
}

/// The listeners, each with its domains and the routes of each.
fn shown(mesh: &Mesh) -> Vec<String> {
    let listeners = mesh.gateway.iter().map(|listener| {
        let hosts = listener.hosts.iter().map(|host| {
            let routes: Vec<&str> = host.routes.iter().map(|route| &*route.name).collect();
            format!("{}={}", host.domains.join(","), routes.join("+"))
        });
        format!("{} {:?}: {}", listener.name, listener.hostname, hosts.collect::<Vec<_>>().join(" "))
    });
    listeners.collect()
}

#[test]
fn a_route_serves_the_names_that_it_has_in_common_with_each_listener() {
    let text = [
        SERVICES,
        &gateway(NAMED),
        &route("a", "shop", "  parentRefs: [{name: edge}]\n  hostnames: [shop.example.com, shop.org]\n"),
        &route("b", "shop", "  parentRefs: [{name: edge, sectionName: http}]\n"),
        &route("c", "other", "  parentRefs: [{name: edge, namespace: shop, port: 443}]\n  hostnames: [\"*.org\"]\n"),
    ]
    .concat();
    assert_eq!(
        shown(&compiled(&text, "edge")),
        [
            "shop/edge all \"\": *.org=other/c rule 0 shop.example.com=shop/a rule 0 shop.org=shop/a rule 0",
            "shop/edge http \"*.example.com\": *.example.com=shop/b rule 0 shop.example.com=shop/a rule 0",
        ]
    );
    let mesh = compiled(&text, "edge");
    assert_eq!(mesh.gateway[0].certificates.as_deref().map(|names| &*names[0]), Some("shop/tls"));
    assert!(compiled(&text, "front").gateway.is_empty(), "only who runs as its account has it");
}

#[test]
fn rules_of_one_host_are_in_the_order_of_the_gateway_api_whatever_route_they_are_of() {
    let rules = "  parentRefs: [{name: edge}]\n  rules:\n    - {matches: [{path: {value: /a}}, {path: {type: Exact, value: /a}}]}\n---\n";
    let first = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: z, namespace: shop}}\nspec:\n{rules}"
    );
    let grpc = "\
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: g, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
    - matches: [{method: {service: shop.Cart}}, {method: {service: shop.Cart, method: Add}, headers: [{name: V, value: \"2\"}]}]
      backendRefs: [{name: web, port: 80}]
---
";
    let text =
        [SERVICES, &gateway(PLAIN), &first, grpc, &route("y", "shop", "  parentRefs: [{name: edge}]\n")].concat();
    let mesh = compiled(&text, "edge");
    let paths: Vec<&PathMatch> = mesh.gateway[0].hosts[0].routes.iter().map(|route| &route.matches.path).collect();
    let exact = |path: &str| PathMatch::Exact(path.into());
    let prefix = |path: &str| PathMatch::Prefix(path.into());
    let want = [exact("/shop.Cart/Add"), exact("/a"), prefix("/shop.Cart"), prefix("/a"), prefix("/")];
    assert_eq!(paths, want.iter().collect::<Vec<_>>());
    assert_eq!(mesh.gateway[0].hosts[0].routes[0].matches.headers[0].name, "v");
}

#[test]
fn a_rule_has_the_time_outs_and_retries_of_the_policy_that_its_backends_share() {
    let policy = "\
apiVersion: squall.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: \"\", kind: Service, name: web}]
  timeouts: {request: 3s}
  retries: {attempts: 2, on: [5xx]}
---
";
    let text = [SERVICES, policy, &gateway(PLAIN), &route("a", "shop", "  parentRefs: [{name: edge}]\n")].concat();
    let mesh = compiled(&text, "edge");
    let route = &mesh.gateway[0].hosts[0].routes[0];
    assert_eq!(route.timeouts.request, Some(std::time::Duration::from_secs(3)));
    assert_eq!(route.retry.as_ref().map(|retry| retry.retries), Some(2));
}

#[test]
fn a_gateway_may_run_as_another_account() {
    let text =
        gateway(PLAIN).replace("namespace: shop}", "namespace: shop, annotations: {squall.dev/service-account: door}}");
    assert!(compiled(&text, "edge").gateway.is_empty());
    assert_eq!(compiled(&text, "door").gateway.len(), 1);
}

#[track_caller]
fn refused(text: &str, want: &[&str]) {
    let found = Resources::read(&[("mesh.yaml", text)]).expect_err("it has mistakes");
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), want.len(), "{shown:#?}");
    for (shown, want) in shown.iter().zip(want) {
        assert!(shown.contains(want), "{shown}\nwanted: {want}");
    }
}

#[test]
fn listeners_that_cannot_be_are_refused() {
    let tls = "tls: {certificateRefs: [{name: tls}]}";
    for (listeners, want) in [
        ("    - {name: a, port: 80, protocol: TCP}\n".to_owned(), "`TCP` is not supported"),
        (format!("    - {{name: a, port: 443, protocol: TLS, {tls}}}\n"), "`TLS` is not supported"),
        ("    - {name: a, port: 443, protocol: HTTPS}\n".to_owned(), "needs `tls`"),
        (format!("    - {{name: a, port: 80, protocol: HTTP, {tls}}}\n"), "has no `tls`"),
        (
            "    - {name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough, certificateRefs: [{name: b}]}}\n"
                .to_owned(),
            "`Passthrough` is not supported",
        ),
        ("    - {name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: []}}\n".to_owned(), "needs a certificate"),
        (
            "    - {name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: b, namespace: other}]}}\n"
                .to_owned(),
            "another namespace",
        ),
        ("    - {name: a, port: 80, protocol: HTTP, hostname: Shop.com}\n".to_owned(), "is not a host name"),
        ("    - {name: a, port: 80, protocol: HTTP, hostname: 10.0.0.1}\n".to_owned(), "is an address"),
        ("    - {name: a, port: 80, protocol: HTTP, hostname: \"*\"}\n".to_owned(), "is not a host name"),
        (
            "    - {name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector}}}\n".to_owned(),
            "`Selector` is not supported",
        ),
        (format!("{PLAIN}    - {{name: http, port: 81, protocol: HTTP}}\n"), "two listeners are named `http`"),
        (
            format!("{PLAIN}    - {{name: b, port: 80, protocol: HTTP}}\n"),
            "two listeners of port 80 are for every host",
        ),
        (
            format!("{PLAIN}    - {{name: b, port: 80, protocol: HTTPS, hostname: a.b, {tls}}}\n"),
            "port 80 cannot speak HTTP and HTTPS",
        ),
    ] {
        refused(&gateway(&listeners), &[want]);
    }
    refused(&gateway(PLAIN).replace("Name: squall", "Name: nginx"), &["`nginx` is not supported"]);
    let two = [
        gateway(PLAIN),
        gateway(PLAIN)
            .replace("edge,", "door,")
            .replace("shop}", "shop, annotations: {squall.dev/service-account: edge}}"),
    ];
    refused(&two.concat(), &["two Gateways run as `shop/edge`"]);
}

#[test]
fn routes_that_no_listener_takes_are_refused_with_the_listener_that_does_not() {
    for (name, namespace, said, want) in [
        (
            "a",
            "shop",
            "  parentRefs: [{name: egde}]\n",
            "`egde`, which is not a Gateway in namespace `shop` (did you mean `edge`?)",
        ),
        ("a", "shop", "  parentRefs: [{name: web}]\n", "for the Service of that name write"),
        (
            "a",
            "shop",
            "  parentRefs: [{name: edge, sectionName: htpp}]\n",
            "has no listener `htpp` (did you mean `http`?)",
        ),
        (
            "a",
            "shop",
            "  parentRefs: [{name: edge, port: 81}]\n",
            "no listener of Gateway `edge` is meant by this port",
        ),
        (
            "a",
            "other",
            "  parentRefs: [{name: edge, namespace: shop, sectionName: http}]\n",
            "does not take HTTPRoutes of namespace `other`",
        ),
        (
            "a",
            "shop",
            "  parentRefs: [{name: edge, sectionName: http}]\n  hostnames: [shop.org]\n",
            "none of the route's host names",
        ),
        (
            "a",
            "shop",
            "  parentRefs: [{kind: Service, group: \"\", name: web}]\n  hostnames: [a.b]\n",
            "`hostnames` of a route of a Service",
        ),
        ("a", "shop", "  parentRefs: [{kind: Service, group: \"\", name: web, sectionName: x}]\n", "use `port`"),
    ] {
        refused(&[SERVICES, &gateway(NAMED), &route(name, namespace, said)].concat(), &[want]);
    }
    let said = "  parentRefs: [{name: edge}]\n";
    let twice = [SERVICES, &gateway(PLAIN), &route("a", "shop", said), &route("b", "shop", said)].concat();
    refused(&twice, &["`*` has this match already at Gateway `edge`"]);
    let only_grpc = PLAIN.replace("HTTP}", "HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}");
    refused(&[SERVICES, &gateway(&only_grpc), &route("a", "shop", said)].concat(), &["does not take HTTPRoutes"]);
}

#[test]
fn what_is_in_a_secret_is_never_part_of_a_mistake() {
    let secret = |said: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: tls, namespace: shop}}\n{said}---\n{}", gateway(NAMED))
    };
    let good = "type: kubernetes.io/tls\ndata: {tls.crt: Zm9v, tls.key: YmFy}\n";
    let resources = Resources::read(&[("mesh.yaml", &secret(good))]).unwrap_or_else(|found| panic!("{found:#?}"));
    let given: Vec<_> = resources.given_certificates().map(|given| (given.name, given.chain, given.key)).collect();
    assert_eq!(given, [("shop/tls".to_owned(), "foo", "bar")]);
    assert!(!format!("{resources:?}").contains("bar"));
    for (said, want) in [
        ("type: Opaque\ndata: {tls.crt: Zm9v, tls.key: hush}\n", "`Opaque` is not supported"),
        ("data: {tls.crt: Zm9v, tls.key: hush}\n", "Secret needs `type`"),
        ("type: kubernetes.io/tls\ndata: {tls.crt: Zm9v, tls.key: \"hush!\"}\n", "expected text in Base64"),
        ("type: kubernetes.io/tls\ndata: {tls.crt: Zm9v, tls.key: [hush]}\n", "expected text in Base64"),
        ("type: kubernetes.io/tls\nstringData: {tls.key: hush}\n", "needs `tls.crt`"),
        ("type: kubernetes.io/tls\nstringData: {tls.crt: x, tls.key: hush, more: hush}\n", "`more` in the data"),
    ] {
        let found = Resources::read(&[("mesh.yaml", &secret(said))]).expect_err(said);
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(shown[0].contains(want) && !shown.concat().contains("hush"), "{shown:?}");
    }
    let unused = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: tls, namespace: shop}}\n{good}");
    refused(&unused, &["no listener names `tls`: it has no effect"]);
}

/// A route whose only rule has these filters and nothing else, but `more`.
fn redirecting(filters: &str, more: &str) -> String {
    let route = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: up, namespace: shop}}\nspec:\n  \
         parentRefs: [{{name: edge}}]\n  rules: [{{filters: [{filters}]{more}}}]\n"
    );
    [SERVICES, &gateway(PLAIN), &route].concat()
}

#[test]
fn a_rule_may_send_its_clients_elsewhere_and_nothing_else() {
    let to = |what: &str| format!("{{type: RequestRedirect, requestRedirect: {{{what}}}}}");
    let mesh = compiled(&redirecting(&to("scheme: https, statusCode: 301"), ""), "edge");
    let redirect = mesh.gateway[0].hosts[0].routes[0].redirect.clone().expect("it is one");
    assert_eq!((redirect.https, redirect.status, redirect.hostname), (Some(true), 301, None));
    let mesh = compiled(&redirecting(&to("path: {type: ReplacePrefixMatch, replacePrefixMatch: /x/}"), ""), "edge");
    let redirect = mesh.gateway[0].hosts[0].routes[0].redirect.clone().expect("it is one");
    assert_eq!((redirect.path, redirect.status), (Some(RedirectPath::Prefix("/x".into())), 302));
    let https = to("scheme: https");
    for (filters, more, want) in [
        (to(""), "", "would send clients where they came from"),
        (to("scheme: ftp"), "", "`ftp` is not supported here"),
        (to("scheme: https, statusCode: 200"), "", "`200` is not supported here"),
        (to("hostname: \"*.a.b\""), "", "nobody can be sent to a wildcard"),
        (to("path: {type: ReplaceFullPath, replaceFullPath: \"/a?b\"}"), "", "is not a path"),
        (https.clone(), ", backendRefs: [{name: web, port: 80}]", "backendRefs beside it has no effect"),
        (https.clone(), ", timeouts: {request: 1s}", "timeouts beside it has no effect"),
        (
            to("path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}"),
            ", matches: [{path: {type: Exact, value: /a}}]",
            "needs a match of `PathPrefix`",
        ),
    ] {
        refused(&redirecting(&filters, more), &[want]);
    }
}
