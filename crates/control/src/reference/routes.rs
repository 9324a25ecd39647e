//! The fields of HTTPRoute and GRPCRoute (Gateway API), as far as they are followed.

use super::Kind::{Choice, List, Other, Span, Whole};
use super::{Field, Reference};

const PORT: super::Kind = Whole(1, 65_535);
const BACKENDS: &str = "[{name: cart, port: 80}]";
const GATEWAY: &[(&str, &str)] = &[("parentRefs", "[{name: edge}]")];
const TO_CART: &[(&str, &str)] = &[("rules.backendRefs", BACKENDS)];
const REQUEST_HEADERS: &[(&str, &str)] = &[("rules.filters.type", "RequestHeaderModifier")];
const RESPONSE_HEADERS: &[(&str, &str)] = &[("rules.filters.type", "ResponseHeaderModifier")];
const REMOVES: &[(&str, &str)] = &[("rules.filters.requestHeaderModifier.remove", "[x-debug]")];
const EXTENSION: &[(&str, &str)] = &[("rules.filters.type", "ExtensionRef"), ("rules.backendRefs", BACKENDS)];
const REDIRECT: &[(&str, &str)] = &[("rules.filters.type", "RequestRedirect")];
const REDIRECT_PREFIX: &[(&str, &str)] =
    &[("rules.filters.type", "RequestRedirect"), ("rules.filters.requestRedirect.path.type", "ReplacePrefixMatch")];

/// `gateway.networking.k8s.io/v1` HTTPRoute.
pub const HTTP_ROUTE: Reference = Reference {
    kind: "HTTPRoute",
    says: "Where HTTP requests go, and what is done to them on the way: those for a Service (its parent is the Service), and those from \
           outside (its parent is a Gateway). The rule that matches best takes the request: exact paths before prefixes, longer ones before \
           shorter, then those with a method, with more headers, with more query parameters. Of the Gateway API's fields these are \
           followed; any other is refused, none is ignored.",
    parts: &[PARENTS, HTTP_RULES, MATCHED_HEADERS, HTTP_QUERY, FILTERS, REDIRECTS, BACKEND_REFS, HTTP_LIMITS],
};

/// `gateway.networking.k8s.io/v1` GRPCRoute.
pub const GRPC_ROUTE: Reference = Reference {
    kind: "GRPCRoute",
    says: "Where gRPC calls go, by service and method. It is an HTTPRoute in other words: a method is a path, `/SERVICE/METHOD`. Time-outs and \
           retries of gRPC are those of a TrafficPolicy.",
    parts: &[PARENTS, GRPC_RULES, MATCHED_HEADERS, FILTERS, GRPC_FILTERS, BACKEND_REFS],
};

const PARENTS: &[Field] = &[
    Field::group("parentRefs", "", "Whose requests the route is about")
        .of(List)
        .needed("[{group: \"\", kind: Service, name: cart}]"),
    Field::optional(
        "parentRefs.group",
        Other("`\"\"` of a Service, `gateway.networking.k8s.io` of a Gateway"),
        "that of the kind",
        "",
        "The API group of the parent",
    ),
    Field::usual("parentRefs.kind", Other("`Gateway` or `Service`"), "Gateway", "Service", "What the parent is").peers(
        &[
            ("Istio", "the same; a Service with waypoints and sidecars"),
            ("Linkerd", "Service; gateways are others'"),
            ("Kuma", "the same"),
        ],
    ),
    Field::required("parentRefs.name", Other("a name"), "cart", "The parent's name"),
    Field::optional(
        "parentRefs.namespace",
        Other("a namespace"),
        "the route's own",
        "infra",
        "The Gateway's namespace, whose listener must allow it. A Service is one of the route's own",
    ),
    Field::optional("parentRefs.port", PORT, "every port", "8080", "Only requests to this port of the parent"),
    Field::optional(
        "parentRefs.sectionName",
        Other("a listener's name"),
        "every listener",
        "web",
        "Only requests to this listener of the Gateway. A Service has none: use `port`",
    ),
    Field::optional(
        "hostnames",
        Other("a list of host names, `*.example.com` too"),
        "those of the listener",
        "[shop.example.com]",
        "Only requests for these hosts. For Gateways: a Service is reached by its own names",
    )
    .with(GATEWAY),
    Field::group("rules", "", "What happens to which requests")
        .of(List)
        .needed("[{backendRefs: [{name: cart, port: 80}]}]"),
    Field::optional("rules.name", Other("a name"), "none", "", "For people; sets nothing").with(TO_CART),
];

const HTTP_RULES: &[Field] = &[
    Field::group("rules.matches", "every request", "A request fits if one of these does").of(List).with(TO_CART),
    Field::group("rules.matches.path", "every path", "The path, without the query").with(TO_CART),
    Field::usual(
        "rules.matches.path.type",
        Choice(&["Exact", "PathPrefix"]),
        "PathPrefix",
        "Exact",
        "`PathPrefix` is whole segments: `/cart` fits `/cart` and `/cart/7`, not `/carts`",
    )
    .with(TO_CART)
    .peers(&[
        ("Envoy", "also regular expressions, suffixes by them"),
        ("Istio", "also RegularExpression"),
        ("Linkerd", "also RegularExpression"),
    ]),
    Field::usual(
        "rules.matches.path.value",
        Other("a path: begins with `/`, has no `//`, `?` or `#`"),
        "/",
        "/cart",
        "What it is compared with",
    )
    .with(TO_CART),
    Field::optional(
        "rules.matches.method",
        Choice(&["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]),
        "every method",
        "GET",
        "The request's method",
    )
    .with(TO_CART),
    Field::group("rules.matches.headers", "whatever they are", "Headers that a request must have, all of them")
        .of(List)
        .with(TO_CART),
];

const HTTP_QUERY: &[Field] = &[
    Field::group(
        "rules.matches.queryParams",
        "whatever they are",
        "Parameters of the query that a request must have, all of them",
    )
    .of(List)
    .with(TO_CART),
    Field::usual("rules.matches.queryParams.type", Choice(&["Exact"]), "Exact", "", "How the value is compared: whole")
        .with(TO_CART),
    Field::required("rules.matches.queryParams.name", Other("a parameter's name"), "beta", "Which parameter")
        .with(TO_CART),
    Field::required("rules.matches.queryParams.value", Other("text"), "\"1\"", "Its value").with(TO_CART),
];

const GRPC_RULES: &[Field] = &[
    Field::group("rules.matches", "every call", "A call fits if one of these does").of(List).with(TO_CART),
    Field::group("rules.matches.method", "every method", "The service and its method").with(TO_CART),
    Field::usual("rules.matches.method.type", Choice(&["Exact"]), "Exact", "", "How they are compared: whole")
        .with(&[("rules.backendRefs", BACKENDS), ("rules.matches.method.service", "shop.Cart")])
        .peers(&[("Istio", "also RegularExpression"), ("Linkerd", "also RegularExpression")]),
    Field::required(
        "rules.matches.method.service",
        Other("a gRPC service: letters, digits, `.` and `_`"),
        "shop.Cart",
        "The service",
    )
    .with(TO_CART),
    Field::optional(
        "rules.matches.method.method",
        Other("a gRPC method: letters, digits, `.` and `_`"),
        "every method of the service",
        "Add",
        "The method",
    )
    .with(TO_CART),
    Field::group("rules.matches.headers", "whatever it is", "Metadata that a call must have, all of it")
        .of(List)
        .with(TO_CART),
];

/// Of both kinds.
const MATCHED_HEADERS: &[Field] = &[
    Field::usual("rules.matches.headers.type", Choice(&["Exact"]), "Exact", "", "How the value is compared: whole")
        .with(TO_CART),
    Field::required(
        "rules.matches.headers.name",
        Other("a header's name"),
        "x-user",
        "Which header; case does not matter",
    )
    .with(TO_CART),
    Field::required("rules.matches.headers.value", Other("text"), "alice", "Its value").with(TO_CART),
];

const FILTERS: &[Field] = &[
    Field::group("rules.filters", "none", "What is done to requests and answers, at most one of each type").of(List),
    Field::group("rules.filters.requestHeaderModifier", "none", "Changes headers of requests. Each header once")
        .with(REQUEST_HEADERS),
    Field::group("rules.filters.requestHeaderModifier.set", "none", "In place of what is there")
        .of(List)
        .with(REQUEST_HEADERS),
    Field::required("rules.filters.requestHeaderModifier.set.name", Other("a header's name"), "x-shop", "Which")
        .with(REQUEST_HEADERS),
    Field::required("rules.filters.requestHeaderModifier.set.value", Other("text"), "\"yes\"", "Its value")
        .with(REQUEST_HEADERS),
    Field::group("rules.filters.requestHeaderModifier.add", "none", "Beside what is there")
        .of(List)
        .with(REQUEST_HEADERS),
    Field::required("rules.filters.requestHeaderModifier.add.name", Other("a header's name"), "x-shop", "Which")
        .with(REQUEST_HEADERS),
    Field::required("rules.filters.requestHeaderModifier.add.value", Other("text"), "\"yes\"", "Its value")
        .with(REQUEST_HEADERS),
    Field::optional(
        "rules.filters.requestHeaderModifier.remove",
        Other("a list of header names"),
        "none",
        "[x-debug]",
        "Taken away",
    )
    .with(REQUEST_HEADERS),
    Field::group("rules.filters.responseHeaderModifier", "none", "Changes headers of answers")
        .like("rules.filters.requestHeaderModifier", &[])
        .with(RESPONSE_HEADERS),
    Field::group(
        "rules.filters.extensionRef",
        "none",
        "A FaultInjection of the same namespace that hits requests of this rule",
    )
    .with(EXTENSION)
    .peers(&[
        ("Envoy", "the fault filter, per route"),
        ("Istio", "`fault` of a VirtualService, whose routes then do not retry"),
        ("Linkerd", "none"),
        ("Kuma", "MeshFaultInjection"),
    ]),
    Field::required("rules.filters.extensionRef.group", Choice(&["squall.dev"]), "squall.dev", "Its API group")
        .with(EXTENSION),
    Field::required("rules.filters.extensionRef.kind", Choice(&["FaultInjection"]), "FaultInjection", "Its kind")
        .with(EXTENSION),
    Field::required("rules.filters.extensionRef.name", Other("a name"), "sluggish", "Its name").with(EXTENSION),
];

const GRPC_FILTERS: &[Field] = &[Field::required(
    "rules.filters.type",
    Choice(&["RequestHeaderModifier", "ResponseHeaderModifier", "ExtensionRef"]),
    "RequestHeaderModifier",
    "Which one; its own field says how",
)
.with(REMOVES)];

const REDIRECTS: &[Field] = &[
    Field::required(
        "rules.filters.type",
        Choice(&["RequestHeaderModifier", "ResponseHeaderModifier", "ExtensionRef", "RequestRedirect"]),
        "RequestHeaderModifier",
        "Which one; its own field says how",
    )
    .with(REMOVES),
    Field::group(
        "rules.filters.requestRedirect",
        "none",
        "Answers with a redirect; the rule then has no backends, time-outs or retries",
    )
    .with(REDIRECT),
    Field::optional(
        "rules.filters.requestRedirect.scheme",
        Choice(&["http", "https"]),
        "the request's",
        "https",
        "To this scheme",
    )
    .with(REDIRECT),
    Field::optional(
        "rules.filters.requestRedirect.hostname",
        Other("a host name"),
        "the request's",
        "shop.example.com",
        "To this host",
    )
    .with(REDIRECT),
    Field::optional(
        "rules.filters.requestRedirect.port",
        PORT,
        "that of the scheme, if there is one; else the listener's",
        "8443",
        "To this port",
    )
    .with(REDIRECT),
    Field::group("rules.filters.requestRedirect.path", "the request's", "To this path").with(REDIRECT),
    Field::required(
        "rules.filters.requestRedirect.path.type",
        Choice(&["ReplaceFullPath", "ReplacePrefixMatch"]),
        "ReplaceFullPath",
        "Of the path all is replaced, or what a match of `PathPrefix` fits",
    )
    .with(&[("rules.filters.type", "RequestRedirect"), ("rules.filters.requestRedirect.path.replaceFullPath", "/new")])
    .peers(&[("Linkerd", "none"), ("Istio", "both")]),
    Field::optional(
        "rules.filters.requestRedirect.path.replaceFullPath",
        Other("a path without query"),
        "required by `ReplaceFullPath`",
        "/new",
        "The whole path",
    )
    .with(REDIRECT),
    Field::optional(
        "rules.filters.requestRedirect.path.replacePrefixMatch",
        Other("a path without query; empty: `/`"),
        "required by `ReplacePrefixMatch`",
        "/v2",
        "In place of the prefix",
    )
    .with(REDIRECT_PREFIX),
    Field::usual(
        "rules.filters.requestRedirect.statusCode",
        Choice(&["301", "302", "303", "307", "308"]),
        "302",
        "301",
        "The status of the answer",
    )
    .with(&[("rules.filters.type", "RequestRedirect"), ("rules.filters.requestRedirect.scheme", "https")]),
];

const BACKEND_REFS: &[Field] = &[
    Field::group(
        "rules.backendRefs",
        "none: requests are answered with 500",
        "Services that requests go to, by weight",
    )
    .of(List),
    Field::usual("rules.backendRefs.group", Other("`\"\"`"), "\"\"", "", "The API group: the core one"),
    Field::usual("rules.backendRefs.kind", Other("`Service`"), "Service", "", "Nothing else can be asked"),
    Field::required("rules.backendRefs.name", Other("a name"), "cart", "A Service of the route's own namespace"),
    Field::optional(
        "rules.backendRefs.namespace",
        Other("the route's own namespace"),
        "the same",
        "",
        "No other: references between namespaces are refused",
    ),
    Field::required("rules.backendRefs.port", PORT, "80", "A port of the Service"),
    Field::usual(
        "rules.backendRefs.weight",
        Whole(0, 1_000_000),
        "1",
        "9",
        "Its share of the rule's requests: weight ÷ sum of weights. 0: none",
    )
    .peers(&[("Istio", "1"), ("Linkerd", "1"), ("Kuma", "1")]),
];

const HTTP_LIMITS: &[Field] = &[
    Field::group("rules.timeouts", "those of the TrafficPolicy", "How long requests may take. Where both say it, these win").with(TO_CART),
    Field::optional(
        "rules.timeouts.request",
        Span("0s", ""),
        "`timeouts.request` of the TrafficPolicy",
        "2s",
        "The whole request, over all tries and waits between them. 0s: no limit",
    )
    .with(TO_CART)
    .peers(&[("Envoy", "15s"), ("Istio", "none"), ("Linkerd", "none"), ("Kuma", "15s")]),
    Field::optional(
        "rules.timeouts.backendRequest",
        Span("0s", ""),
        "`timeouts.perTry` of the TrafficPolicy",
        "500ms",
        "One try. 0s: no limit. At most `request`",
    )
    .with(TO_CART)
    .peers(&[
        ("Envoy", "none; the request's, which then leaves no time to retry"),
        ("Istio", "none; the same"),
        ("Linkerd", "none"),
        ("Kuma", "16s"),
    ]),
    Field::group(
        "rules.retry",
        "the TrafficPolicy's `retries`",
        "Which tries are repeated (GEP-1731): those whose connection fails, is reset or refused, that take too long, and those with `codes`. Not beside the \
         TrafficPolicy's `retries`",
    ).with(TO_CART),
    Field::usual("rules.retry.codes", Other("a list of statuses, 400 to 599"), "[]", "[502, 503]", "Answers with these statuses too").with(TO_CART),
    Field::usual("rules.retry.attempts", Whole(1, 1000), "1", "3", "Tries after the first")
        .with(TO_CART)
        .peers(&[("Envoy", "1 where retries are on; off"), ("Istio", "2"), ("Linkerd", "1 where retries are on; off"), ("Kuma", "5")]),
    Field::usual("rules.retry.backoff", Span("1ms", "30s"), "25ms", "50ms", "The first wait; each further one is up to twice as long, up to ten times this, with full jitter")
        .with(TO_CART)
        .peers(&[("Envoy", "25ms"), ("Istio", "25ms"), ("Linkerd", "25ms"), ("Kuma", "25ms")]),
];
