//! The fields of what requests are for: Service; and of where they come in from outside: Gateway.

use super::Kind::{Choice, List, Other, Whole};
use super::{Field, Reference};

const PORT: super::Kind = Whole(1, 65_535);
const HTTPS: &[(&str, &str)] = &[("listeners.protocol", "HTTPS")];

/// `gateway.networking.k8s.io/v1` Gateway.
pub const GATEWAY: Reference = Reference {
    kind: "Gateway",
    says: "Where requests come in from outside the mesh: listeners of `squall gateway`, to which HTTPRoutes and GRPCRoutes belong by their \
           `parentRefs`. Of several listeners of a port the one with the longest host name that fits takes a request. The annotation \
           `squall.dev/service-account` says as whom it runs (the Gateway's name by default).",
    parts: &[EDGE],
};

const EDGE: &[Field] = &[
    Field::required("gatewayClassName", Choice(&["squall"]), "squall", "Gateways of other classes are others' to run")
        .peers(&[("Istio", "istio"), ("Linkerd", "none: it has no gateway of its own"), ("Kuma", "kuma")]),
    Field::group("listeners", "", "What it listens for, at least one")
        .of(List)
        .needed("[{name: web, port: 80, protocol: HTTP}]"),
    Field::required("listeners.name", Other("a name"), "web", "Each once; routes may ask for it by `sectionName`"),
    Field::optional(
        "listeners.hostname",
        Other("a host name, `*.example.com` too"),
        "every host",
        "shop.example.com",
        "Only requests for this host",
    ),
    Field::required(
        "listeners.port",
        PORT,
        "80",
        "The port that clients ask; `squall gateway --listen` says at which address",
    ),
    Field::required("listeners.protocol", Choice(&["HTTP", "HTTPS"]), "HTTP", "`HTTPS` ends TLS here")
        .peers(&[("Istio", "also TLS (passed through), TCP"), ("Kuma", "also TLS, TCP")]),
    Field::group("listeners.tls", "required by `HTTPS`", "The certificates it shows").with(HTTPS),
    Field::usual("listeners.tls.mode", Choice(&["Terminate"]), "Terminate", "", "TLS ends here").with(HTTPS),
    Field::group(
        "listeners.tls.certificateRefs",
        "",
        "Secrets with certificates, picked by the name that a client asks for",
    )
    .of(List)
    .needed("[{name: web-tls}]")
    .with(HTTPS),
    Field::usual("listeners.tls.certificateRefs.group", Other("`\"\"`"), "\"\"", "", "The API group: the core one")
        .with(HTTPS),
    Field::usual(
        "listeners.tls.certificateRefs.kind",
        Other("`Secret`"),
        "Secret",
        "",
        "Nothing else holds certificates",
    )
    .with(HTTPS),
    Field::required(
        "listeners.tls.certificateRefs.name",
        Other("a name"),
        "web-tls",
        "A Secret of the Gateway's own namespace, or of `--certificate`",
    )
    .with(HTTPS),
    Field::optional(
        "listeners.tls.certificateRefs.namespace",
        Other("the Gateway's own namespace"),
        "the same",
        "",
        "No other",
    )
    .with(HTTPS),
    Field::group("listeners.allowedRoutes", "routes of the Gateway's namespace", "Which routes may belong to it"),
    Field::group("listeners.allowedRoutes.namespaces", "the Gateway's own", "Of which namespaces"),
    Field::usual(
        "listeners.allowedRoutes.namespaces.from",
        Choice(&["Same", "All", "None"]),
        "Same",
        "All",
        "The Gateway's own, all or none. Namespaces have no labels here, so that there is no `Selector`",
    )
    .peers(&[("Istio", "Same; also Selector"), ("Kuma", "Same; also Selector")]),
    Field::group("listeners.allowedRoutes.kinds", "both", "Of which kinds").of(List),
    Field::usual(
        "listeners.allowedRoutes.kinds.group",
        Choice(&["gateway.networking.k8s.io"]),
        "gateway.networking.k8s.io",
        "",
        "The API group",
    ),
    Field::required("listeners.allowedRoutes.kinds.kind", Choice(&["HTTPRoute", "GRPCRoute"]), "HTTPRoute", "The kind"),
];

/// `v1` Service.
pub const SERVICE: Reference = Reference {
    kind: "Service",
    says: "What requests are for: a name and ports, and the pods behind them. Its names (`cart`, `cart.shop`, `cart.shop.svc.cluster.local`) and \
           its address are where clients ask. What would send requests past the mesh (`externalName`, `externalIPs` …) is refused.",
    parts: &[SERVED],
};

const SERVED: &[Field] = &[
    Field::optional(
        "selector",
        Other("labels"),
        "its EndpointSlices say where its pods are",
        "{app: cart}",
        "Pods of its namespace that have all of these",
    ),
    Field::group("ports", "", "Where clients ask, at least one").of(List).needed("[{name: http, port: 80}]"),
    Field::optional(
        "ports.name",
        Other("a name"),
        "none; needed where there are several",
        "web",
        "Its name. What it speaks may stand before a `-`: `grpc-api`",
    )
    .with(&[("ports.targetPort", "8080")]),
    Field::required("ports.port", PORT, "80", "The number that clients ask"),
    Field::optional(
        "ports.targetPort",
        Other("a number, or a port's name of the pod"),
        "as `port`",
        "8080",
        "The port of the pod",
    ),
    Field::usual("ports.protocol", Choice(&["TCP"]), "TCP", "", "UDP is not carried"),
    Field::optional(
        "ports.appProtocol",
        Choice(&SPOKEN),
        "by the port's name, else by well-known numbers, else by what comes first",
        "grpc",
        "What it speaks. `tcp` and what is like it is carried as bytes",
    )
    .peers(&[
        ("Istio", "the same, else sniffing"),
        ("Linkerd", "the same, else sniffing for up to 10s"),
        ("Kuma", "the same, else tcp"),
    ]),
    Field::usual(
        "type",
        Choice(&["ClusterIP", "NodePort", "LoadBalancer"]),
        "ClusterIP",
        "",
        "What the cluster does with it outside the mesh; sets nothing here",
    ),
    Field::optional(
        "clusterIP",
        Other("an IP address, or `None`"),
        "none",
        "10.0.0.80",
        "Its address, where intercepted clients ask",
    ),
    Field::optional("clusterIPs", Other("a list of IP addresses"), "`clusterIP`", "[10.0.0.80]", "All its addresses"),
    Field::usual("sessionAffinity", Choice(&["None"]), "None", "", "No other: a TrafficPolicy hashes by a key"),
    Field::usual("internalTrafficPolicy", Choice(&["Cluster"]), "Cluster", "", "No other: zones prefer what is near"),
    Field::optional("ipFamilies", Other("a list"), "the cluster's", "", "What the cluster gave it; sets nothing here"),
    Field::optional(
        "ipFamilyPolicy",
        Other("a word"),
        "the cluster's",
        "",
        "What the cluster gave it; sets nothing here",
    ),
];

/// What a port may speak, as [`crate::stream`] reads it.
const SPOKEN: [&str; 13] = [
    "http",
    "http2",
    "grpc",
    "grpc-web",
    "kubernetes.io/h2c",
    "kubernetes.io/ws",
    "kubernetes.io/wss",
    "https",
    "tls",
    "tcp",
    "mongo",
    "mysql",
    "redis",
];
