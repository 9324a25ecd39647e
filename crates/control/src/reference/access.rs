//! The fields of the policies about who may speak to whom, and how: AuthorizationPolicy and PeerAuthentication; and of FaultInjection.

use squall_xds::retry_on::GRPC;

use super::Kind::{Choice, List, Named, Other, Percent, Span, Whole};
use super::{Field, Reference};

const NAMES: super::Kind = Other("a list of texts: whole, `abc*`, `*abc` or `*`");
const PATHS: super::Kind = Other("a list of paths: whole, `/abc*`, `*abc` or `*`");
const PORTS: super::Kind = Other("a list of ports of the pod");
const MODE: super::Kind = Choice(&["STRICT", "PERMISSIVE", "DISABLE", "UNSET"]);
const WORKLOAD: &[(&str, &str)] = &[("selector.matchLabels", "{app: cart}")];

/// `squall.dev/v1alpha1` AuthorizationPolicy.
pub const AUTHORIZATION_POLICY: Reference = Reference {
    kind: "AuthorizationPolicy",
    says: "Who may ask a workload for what, in Istio's words and meaning. The pod's own sidecar decides, by the identity that the caller's \
           certificate proves: what a `DENY` names is refused; else, if the workload has any `ALLOW`, what none of its rules names is refused too; \
           `AUDIT` is only told. Refused is 403 (gRPC 7), a connection that is not HTTP is reset. A text is compared whole; `abc*` is its beginning, \
           `*abc` its end, `*` any. An `ALLOW` with an empty `spec` allows nobody: it is how to deny by default.",
    parts: &[ACCESS],
};

const ACCESS: &[Field] = &[
    Field::group("targetRefs", "`selector`", "The pods of these Services, at their ports. Not beside `selector`").of(List).peers(&[
        ("Envoy", "RBAC of a listener"),
        ("Istio", "the same; a Service's is the waypoint's"),
        ("Linkerd", "a Server, HTTPRoute or namespace"),
        ("Kuma", "targetRef of a MeshTrafficPermission"),
    ]),
    Field::usual("targetRefs.group", Other("`\"\"`"), "\"\"", "", "The API group: the core one"),
    Field::usual("targetRefs.kind", Other("`Service`"), "Service", "", "Nothing else has pods here"),
    Field::required("targetRefs.name", Other("a name"), "cart", "A Service of the policy's own namespace"),
    Field::optional("targetRefs.namespace", Other("the policy's own namespace"), "the same", "", "No other"),
    Field::group("selector", "every pod of the namespace", "Which pods. Needs to know their labels, so not where only EndpointSlices say which pods there are"),
    Field::required("selector.matchLabels", Other("labels, at least one"), "{app: cart}", "Pods that have all of these"),
    Field::usual("action", Choice(&["ALLOW", "DENY", "AUDIT"]), "ALLOW", "DENY", "What becomes of requests that a rule names")
        .with(&[("rules", "[{from: [{source: {namespaces: [bots]}}]}]")])
        .peers(&[("Istio", "ALLOW; also CUSTOM"), ("Linkerd", "allows; audit by the Server's policy"), ("Kuma", "Allow, Deny, AllowWithShadowDeny"), ("Envoy", "ALLOW, DENY, LOG")]),
    Field::group("rules", "none: an `ALLOW` allows nobody; others need one", "A request fits if one of these does").of(List),
    Field::group("rules.from", "anybody, also without an identity", "Who asks: one of these").of(List),
    Field::group("rules.from.source", "", "All that is given here must fit").needed("{namespaces: [shop]}"),
    Field::optional("rules.from.source.principals", NAMES, "anybody", "[cluster.local/ns/shop/sa/web]", "Identities, without `spiffe://`")
        .peers(&[("Istio", "the same"), ("Linkerd", "MeshTLSAuthentication: names of service accounts"), ("Kuma", "SPIFFE ids")]),
    Field::optional("rules.from.source.notPrincipals", NAMES, "nobody is left out", "['*/sa/bot']", "None of these"),
    Field::optional("rules.from.source.namespaces", NAMES, "any", "[shop]", "The namespace of the identity"),
    Field::optional("rules.from.source.notNamespaces", NAMES, "none is left out", "[bots]", "None of these"),
    Field::group("rules.to", "anything", "What is asked: one of these").of(List),
    Field::group("rules.to.operation", "", "All that is given here must fit").needed("{methods: [GET]}"),
    Field::optional("rules.to.operation.methods", NAMES, "any", "[GET, POST]", "Methods. What is not HTTP has none"),
    Field::optional("rules.to.operation.notMethods", NAMES, "none is left out", "[DELETE]", "None of these"),
    Field::optional(
        "rules.to.operation.paths",
        PATHS,
        "any",
        "[/cart*]",
        "Paths without query, as they came and as a server may understand them (`/a/../b` is `/b`): a `DENY` needs to fit one of the two, an \
         `ALLOW` both",
    )
    .peers(&[("Istio", "normalised by `pathNormalization`, BASE by default"), ("Linkerd", "by an HTTPRoute")]),
    Field::optional("rules.to.operation.notPaths", PATHS, "none is left out", "[/admin*]", "None of these"),
    Field::optional("rules.to.operation.ports", PORTS, "any", "[8080]", "Ports of the pod"),
    Field::optional("rules.to.operation.notPorts", PORTS, "none is left out", "[9090]", "None of these"),
];

/// `squall.dev/v1alpha1` PeerAuthentication.
pub const PEER_AUTHENTICATION: Reference = Reference {
    kind: "PeerAuthentication",
    says: "What the peers of a workload must prove, in Istio's words and precedence. What is nearest decides: the workload's port, the workload, its \
           namespace (no `selector`), the mesh (no `selector`, in namespace `squall`). Where none says anything, sidecars take mutual TLS only. \
           `STRICT` takes mutual TLS only; `PERMISSIVE` also plain connections of peers without an identity; `DISABLE` has clients \
           send plain ones, and still takes mutual TLS from those who have not heard of it. TLS that is not the mesh's goes to the application as it \
           is. `UNSET` leaves it to the next wider policy. To go from `STRICT` to `DISABLE` or back without a lost request, go by way of `PERMISSIVE`.",
    parts: &[PEERS],
};

const PEERS: &[Field] = &[
    Field::group("selector", "the whole namespace; in `squall` the mesh", "Which pods of the namespace"),
    Field::required(
        "selector.matchLabels",
        Other("labels, at least one"),
        "{app: cart}",
        "Pods that have all of these",
    ),
    Field::group("mtls", "`UNSET`", "For all ports"),
    Field::required("mtls.mode", MODE, "STRICT", "What is taken").peers(&[
        ("Istio", "PERMISSIVE"),
        ("Linkerd", "permissive (all-unauthenticated)"),
        ("Envoy", "what the listener says"),
    ]),
    Field::group("portLevelMtls", "none", "For single ports of the pod (not of a Service). Needs a `selector`")
        .of(Named("9090"))
        .with(WORKLOAD),
    Field::required("portLevelMtls.mode", MODE, "DISABLE", "What is taken at this port").with(WORKLOAD).peers(&[
        ("Istio", "the same"),
        ("Linkerd", "the Server of the port"),
        ("Kuma", "none"),
    ]),
];

/// `squall.dev/v1alpha1` FaultInjection.
pub const FAULT_INJECTION: Reference = Reference {
    kind: "FaultInjection",
    says: "Faults that a route injects on purpose, in production as in a rehearsal. A rule of an HTTPRoute or GRPCRoute names it by an `ExtensionRef` \
           filter. Each *try* is hit with these odds, as by a real fault, so that a retry may get through; a delay counts against the \
           time-outs; an abort reaches no endpoint and opens no breaker. One of `delay` and `abort` is needed; a try that meets both is \
           answered after its delay.",
    parts: &[FAULT],
};

const FAULT: &[Field] = &[
    Field::group("match", "all requests", "Only these requests").with(&[("abort.status", "503")]),
    Field::group("match.headers", "", "They have all of these headers, compared whole")
        .of(List)
        .needed("[{name: x-rehearsal, value: \"yes\"}]")
        .with(&[("abort.status", "503")]),
    Field::required(
        "match.headers.name",
        Other("a header's name"),
        "x-rehearsal",
        "Which header; case does not matter",
    )
    .with(&[("abort.status", "503")]),
    Field::required("match.headers.value", Other("text"), "\"yes\"", "Its value").with(&[("abort.status", "503")]),
    Field::group("delay", "none", "The try begins later").peers(&[
        ("Envoy", "once per request, before the retries"),
        ("Istio", "once per request; the route does not retry then"),
        ("Linkerd", "none"),
        ("Kuma", "MeshFaultInjection"),
    ]),
    Field::required("delay.fixed", Span("1ns", "1h"), "2s", "So much later"),
    Field::required("delay.percentage", Percent("0.1%", "100%"), "10%", "How many tries, drawn for each")
        .peers(&[("Istio", "none hit without it"), ("Kuma", "required")]),
    Field::group("abort", "none", "The try is answered without reaching an endpoint").peers(&[
        ("Envoy", "once per request, before the retries"),
        ("Istio", "once per request; the route does not retry then"),
        ("Linkerd", "none; a backend that fails, by weight"),
        ("Kuma", "MeshFaultInjection"),
    ]),
    Field::optional(
        "abort.status",
        Whole(400, 599),
        "`grpc`: one of the two",
        "503",
        "With this status; a gRPC caller gets the gRPC status it stands for",
    )
    .with(&[("abort.percentage", "5%")]),
    Field::optional(
        "abort.grpc",
        Choice(GRPC),
        "`status`: one of the two",
        "unavailable",
        "With this gRPC status; another caller gets the status it stands for",
    )
    .with(&[("abort.percentage", "5%")]),
    Field::required("abort.percentage", Percent("0.1%", "100%"), "5%", "How many tries, drawn apart from the delay")
        .with(&[("abort.status", "503")]),
];
