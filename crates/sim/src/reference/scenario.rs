//! The fields of a scenario: the mesh, services and load. Faults, expectations and known answers are in [`super::checks`].

use squall_control::reference::Kind::{Choice, Decimal, FinePercent, List, Named, Other, Span, Truth, Whole};
use squall_control::reference::{Field, Kind, Reference};

/// `kind: Scenario`, and what of it an Application shares.
pub const SCENARIO: Reference = Reference {
    kind: "Scenario",
    says: "A question about a mesh, with the answer it must get. The comment at the top of the file is the question. Unknown fields are refused \
           with their place and a suggestion. Durations have units (`250us`, `4ms`, `1.5s`, `1m30s`), shares a percent sign (`5%`, `0.01%`), \
           rates a unit (`300/s`, `90/m`), sizes one (`128`, `64KiB`, `1MB`).",
    parts: &[FIELDS, super::checks::FIELDS],
};

const ANY: u64 = u32::MAX as u64;
pub(super) const DISTRIBUTED: Kind = Other("a distribution (`squall explain Distribution`)");
const SIZE: Kind = Other("a size: 128, 64KiB, 1MB");
const RATE: Kind = Other("requests per second or minute: 300/s, 90/m");
const AT_RATE: &[(&str, &str)] = &[("load.rate", "100/s")];
const ZONES: &[(&str, &str)] = &[("network.zones", "[a, b]")];
const LINK: &[(&str, &str)] = &[("network.links.latency", "2ms")];
const CALL: &[(&str, &str)] = &[("services.steps.call", "stock")];

const FIELDS: &[Field] = &[
    Field::usual(
        "suite",
        Choice(&["test", "validate"]),
        "test",
        "validate",
        "`validate`: runs only with `squall validate`, or when its file is named",
    ),
    Field::optional(
        "base",
        Other("a file of `kind: Application`"),
        "none",
        "app.yaml",
        "An application whose `mesh`, `network`, `control`, `services` and `load` this scenario completes or replaces: services are merged by \
         name and field by field, `mesh` and `load` replace the application's",
    ),
    Field::optional(
        "isotope",
        Other("a file with a MockServiceGraph"),
        "none",
        "graph.yaml",
        "A graph of Istio's isotope in place of `mesh` and `services`",
    ),
    Field::required(
        "mesh",
        Other("a list of files"),
        "[mesh.yaml]",
        "The production manifests: Kubernetes Services (every service of the scenario is selected by one), routes and policies. Paths are \
         relative to this file",
    ),
    Field::required("duration", Span("1ns", "24h"), "60s", "How long load arrives"),
    Field::optional(
        "drain",
        Span("0s", "24h"),
        "the longest `timeout` of `load` and 1s",
        "5s",
        "How long requests in flight may still take then, before they count as lost",
    ),
    Field::optional(
        "resolution",
        Span("1ns", "24h"),
        "no claim",
        "1us",
        "How exact the world's time must be; a coarser engine refuses the scenario",
    ),
    // Network.
    Field::group("network", "one zone, 1ms each way", "Zones, and the links between hosts"),
    Field::usual("network.zones", Other("a list of names"), "[zone]", "[a, b]", "The zones; pods are spread over them in turn"),
    Field::group(
        "network.links",
        "1ms each way, no loss, no limit",
        "What links are like. A rule is about all links, or `within: zone`, `between: zones`, `between: [frontend, db]`, or one way from one \
         to another; later rules win",
    )
    .of(List),
    Field::optional("network.links.within", Choice(&["zone"]), "see `links`", "zone", "Links between hosts of one zone").with(LINK),
    Field::optional(
        "network.links.between",
        Other("`zones`, or a list of two targets"),
        "see `links`",
        "zones",
        "Links between hosts of different zones, or both ways between two targets",
    )
    .with(LINK),
    Field::optional("network.links.from", Other("a target"), "see `links`", "front", "One way: from here")
        .with(&[("network.links.latency", "2ms"), ("network.links.to", "stock")]),
    Field::optional("network.links.to", Other("a target"), "see `links`", "stock", "One way: to there")
        .with(&[("network.links.latency", "2ms"), ("network.links.from", "front")]),
    Field::optional("network.links.latency", DISTRIBUTED, "as it was: 1ms", "{p50: 800us, p99: 3ms}", "Propagation, one way"),
    Field::optional("network.links.jitter", Span("0s", "24h"), "as it was: none", "1ms", "Added to it, uniform from 0").with(LINK),
    Field::optional("network.links.loss", FinePercent("0%", "100%"), "as it was: none", "0.5%", "Packets lost, each sent again after a time-out")
        .with(LINK),
    Field::optional("network.links.bandwidth", Other("10Gbps, 100Mbps, 64kbps"), "as it was: no limit", "100Mbps", "Bits per second").with(LINK),
    Field::group("control", "in the first zone", "The control plane"),
    Field::optional("control.zone", Other("a zone"), "the first", "b", "Where it runs").with(ZONES),
    // Services.
    Field::group("services", "required", "The workloads, by name. Kubernetes Services select them by their labels")
        .of(Named("front"))
        .needed("{front: {entry: true}}"),
    Field::usual("services.replicas", Whole(1, 1000), "1", "3", "Pods"),
    Field::optional("services.zones", Other("a list of zones"), "all", "[b]", "Where its pods are, taken in turn").with(ZONES),
    Field::optional("services.slots", Whole(1, 1_000_000), "no limit", "8", "Requests served at once by one pod, their steps included; the rest wait"),
    Field::optional(
        "services.queue",
        Whole(0, 10_000_000),
        "no limit",
        "64",
        "Requests that wait for a slot, first come, first served; one more is answered with 503 at once. `slots: 1, queue: 9` holds ten, \
         `queue: 0` is a loss system",
    )
    .with(&[("services.slots", "8")]),
    Field::usual("services.time", DISTRIBUTED, "0s", "{p50: 4ms, p99: 40ms}", "Service time, drawn for each request, before the steps"),
    Field::usual("services.errorRate", FinePercent("0%", "100%"), "0%", "0.5%", "Each request fails by itself, after its time and without its steps"),
    Field::usual("services.errorStatus", Whole(400, 599), "500", "503", "The status it fails with. gRPC: 14 (unavailable) for 503, else 13"),
    Field::usual("services.responseSize", SIZE, "128", "64KiB", "Bytes of a good answer"),
    Field::optional(
        "services.contention",
        Other("`optimistic`, or the mapping below"),
        "none",
        "optimistic",
        "A request notes the version of the service's row when it begins, and fails if another committed before its time and steps were \
         over; else it commits",
    ),
    Field::group("services.contention.optimistic", "one row, 409", "With other rows or another status"),
    Field::usual("services.contention.optimistic.rows", Whole(1, ANY), "1", "10", "Each request is about one of so many rows, each as likely"),
    Field::usual("services.contention.optimistic.status", Whole(400, 599), "409", "412", "The status of those who come too late"),
    Field::group("services.steps", "none", "What it does after its time, in order: calls, sleeps, or several at once (a nested list is `parallel`). The first failure that is not optional ends it with 500")
        .of(List),
    Field::optional(
        "services.steps.call",
        Other("a Service: `NAME` or `NAME.NAMESPACE`, with or without `:PORT`"),
        "this, `sleep` or `parallel`",
        "stock",
        "Calls a Service",
    ),
    Field::optional("services.steps.sleep", DISTRIBUTED, "this, `call` or `parallel`", "5ms", "Waits"),
    Field::optional(
        "services.steps.parallel",
        Other("a list of steps, or of lists of steps"),
        "this, `call` or `sleep`",
        "[{call: stock}, {sleep: 1ms}]",
        "Does these at once and waits for all",
    ),
    Field::usual("services.steps.request", Other("`GET /path`, or `/path`"), "GET /", "GET /item", "What it asks for. gRPC: POST by default")
        .with(CALL),
    Field::group("services.steps.headers", "none", "Headers of the call, in lower case: a text, or drawn for each call")
        .of(Named("x-user"))
        .with(CALL),
    Field::optional("services.steps.headers.below", Whole(1, u64::MAX), "a text", "1000", "A whole number from 0 to below this, each as likely")
        .with(CALL),
    Field::optional(
        "services.steps.headers.oneOf",
        Other("a list of texts, or a mapping of texts to weights"),
        "a text",
        "[gold, silver]",
        "One of these",
    )
    .with(CALL),
    Field::usual("services.steps.requestSize", SIZE, "0", "1KiB", "Bytes of the request's body").with(CALL),
    Field::optional("services.steps.timeout", Span("1ns", "24h"), "none", "100ms", "The application's own time-out, per try").with(CALL),
    Field::usual(
        "services.steps.tries",
        Whole(1, 10_000),
        "1",
        "3",
        "The application's own tries, one after the other at once; not the mesh's retries. 429, 500 and more, no answer and time-outs are \
         failures",
    )
    .with(CALL),
    Field::usual("services.steps.optional", Truth, "false", "true", "A failure after all tries is tolerated").with(CALL),
    Field::usual("services.steps.repeat", Whole(1, 10_000), "1", "9", "So often, one after the other").with(CALL),
    Field::usual("services.steps.fanOut", Whole(1, 10_000), "1", "10", "So often at once").with(CALL),
    Field::usual("services.steps.probability", FinePercent("0%", "100%"), "100%", "20%", "How likely the call is made at all").with(CALL),
    Field::group(
        "services.routes",
        "everything, one way",
        "What is done with which requests; the first that matches serves it, without a match the answer is 404",
    )
    .of(List)
    .like("services", NOT_OF_ROUTES),
    Field::required("services.routes.match", Other("`GET /cart`, `/cart`, `POST /cart/*`, `*`"), "\"*\"", "Which requests"),
    Field::usual("services.routes.weight", Whole(0, 1_000_000), "1", "3", "Its share in a load without `mix`")
        .with(&[("load", "[{to: front, rate: 100/s, mix: [{request: GET /}]}]")]),
    Field::group(
        "services.versions",
        "one kind of pods",
        "Kinds of pods, labelled `version: NAME`. A number alone is `replicas`; what a version does not say is as the service says",
    )
    .of(Named("v1"))
    .like("services", NOT_OF_VERSIONS),
    Field::usual("services.entry", Truth, "false", "true", "The target of loads that name none"),
    Field::usual("services.port", Whole(1, 65_535), "80", "8080", "The application's port, its Service's `targetPort`"),
    Field::optional(
        "services.portName",
        Other("a name of a port"),
        "none",
        "web",
        "That port's name in the pod, where its Service's `targetPort` is a name",
    ),
    Field::usual(
        "services.protocol",
        Choice(&["http1", "http2", "grpc", "tcp"]),
        "http1",
        "http2",
        "What it speaks; `tcp` is HTTP/1.1 that the mesh takes for bytes. Its Service's `appProtocol` says the same",
    ),
    Field::optional("services.labels", Other("a mapping of texts"), "app: NAME", "{app: front, tier: web}", "What Services select its pods by"),
    Field::optional("services.namespace", Other("a namespace"), "the mesh's only one", "shop", "Where its pods are"),
    Field::usual(
        "services.endpointWeight",
        Whole(1, 1000),
        "1",
        "4",
        "The weight of each pod in balancing. Refused with `PeakEwma`, which does not weigh",
    ),
    Field::usual(
        "services.abandoned",
        Choice(&["finish", "stop"]),
        "finish",
        "stop",
        "`finish`: goes on with a request whose client has gone, as most applications do; `stop`: frees its slot or place in the queue",
    ),
    Field::optional(
        "services.healthCheck",
        Other("a path, or `grpc`"),
        "none",
        "/healthz",
        "A pod answers health checks there by itself: 200 at once, without a slot and in no measure, or as the faults at work have it. `grpc` \
         where the protocol is: gRPC's health protocol",
    ),
    Field::usual("services.clockAhead", Span("0s", "24h"), "0s", "5s", "How much its pods' clocks run ahead"),
    Field::usual("services.cpuPerPoll", Span("0s", "24h"), "0s", "10us", "CPU time per poll of a task of its pods, on one virtual core"),
    // Load.
    Field::group("load", "required", "Who asks: each is one open loop (`rate` or `trace`) or closed loop (`clients`)")
        .of(List)
        .needed("[{to: front, rate: 100/s}]"),
    Field::usual("load.name", Other("a name"), "load", "shoppers", "Its name in measures and faults").with(AT_RATE),
    Field::optional("load.to", Other("a Service"), "the service with `entry: true`", "front", "Whom it asks").with(AT_RATE),
    Field::optional("load.namespace", Other("a namespace"), "the target's", "shop", "Where its hosts are").with(AT_RATE),
    Field::optional(
        "load.rate",
        Other("300/s, 90/m, or a mapping as below"),
        "this, `clients` or `trace`",
        "200/s",
        "Requests arrive at this rate, whatever the answers do",
    ),
    Field::group("load.rate.steps", "one rate", "One rate after the other; the last may go without `for`").of(List),
    Field::optional("load.rate.steps.for", Other("a duration, more than 0"), "to the end", "60s", "How long").with(&[("load.rate.steps.rate", "50/s")]),
    Field::optional("load.rate.steps.rate", RATE, "this, or `from` and `to`", "50/s", "A rate"),
    Field::optional("load.rate.steps.from", RATE, "`rate`", "50/s", "A ramp from this rate").with(&[("load.rate.steps.to", "90/s")]),
    Field::optional("load.rate.steps.to", RATE, "`rate`", "90/s", "A ramp to this rate").with(&[("load.rate.steps.from", "50/s")]),
    Field::group("load.rate.ramp", "one rate", "From one rate to another, in a straight line"),
    Field::required("load.rate.ramp.from", RATE, "10/s", "At the beginning"),
    Field::required("load.rate.ramp.to", RATE, "500/s", "At the end"),
    Field::group("load.rate.bursts", "one rate", "A base rate with bursts"),
    Field::required("load.rate.bursts.base", RATE, "50/s", "Between bursts"),
    Field::required("load.rate.bursts.peak", RATE, "500/s", "In a burst"),
    Field::required("load.rate.bursts.every", Span("", "24h"), "10s", "From one burst to the next; the burst is at the end of it"),
    Field::required("load.rate.bursts.for", Span("1ns", ""), "1s", "How long a burst lasts, less than `every`"),
    Field::usual(
        "load.arrivals",
        Other("`poisson`, `constant` or `{cv: 0.5}`"),
        "poisson",
        "constant",
        "How arrivals are spaced. `constant`: even gaps, the first request at once",
    )
    .with(AT_RATE),
    Field::required("load.arrivals.cv", Decimal("0.01", "100"), "0.5", "A renewal process with gamma gaps of this coefficient of variation").with(AT_RATE),
    Field::optional(
        "load.trace",
        Other("a list of instants, or a file with one per line"),
        "this, `rate` or `clients`",
        "[0s, 5ms]",
        "Requests arrive at these instants",
    ),
    Field::optional(
        "load.clients",
        Whole(1, 100_000),
        "this, `rate` or `trace`",
        "20",
        "A closed loop: so many clients, of which each thinks, asks, and waits for the answer",
    ),
    Field::usual("load.think", DISTRIBUTED, "0s", "{exponential: 1s}", "The time between an answer and the next request").with(&[("load.clients", "20")]),
    Field::optional("load.requests", Whole(1, u64::MAX), "no limit", "1000", "Stops after so many").with(AT_RATE),
    Field::usual("load.batch", Whole(1, 100_000), "1", "5", "So many requests at each arrival").with(AT_RATE),
    Field::usual("load.from", Span("0s", ""), "0s", "5s", "When it begins").with(AT_RATE),
    Field::optional("load.until", Span("1ns", ""), "the end of `duration`", "50s", "When it ends, not after `duration`").with(AT_RATE),
    Field::usual("load.timeout", Span("1ns", "24h"), "30s", "2s", "After which a client gives up; the request counts as failed, with this as its latency")
        .with(AT_RATE),
    Field::usual("load.hosts", Whole(1, 1000), "1", "3", "Over how many client hosts, each with a sidecar of its own").with(AT_RATE),
    Field::usual(
        "load.spread",
        Choice(&["turn", "random"]),
        "turn",
        "random",
        "Arrivals go to the hosts in `turn`, or to a `random` one (then each has Poisson arrivals of its own)",
    )
    .with(AT_RATE),
    Field::optional("load.zones", Other("a list of zones"), "the first", "[b]", "Where its hosts are")
        .with(&[("load.rate", "100/s"), ("network.zones", "[a, b]")]),
    Field::usual("load.http", Choice(&["http1", "http2"]), "http1", "http2", "What it speaks; `http2` by default if the target speaks gRPC").with(AT_RATE),
    Field::group("load.mix", "the target's routes, by their weights", "What is asked").of(List).with(AT_RATE),
    Field::required("load.mix.request", Other("`GET /path`, or `/path`"), "GET /cart", "A kind of request").with(AT_RATE),
    Field::usual("load.mix.weight", Whole(1, 1_000_000), "1", "3", "Its share: weight ÷ sum of weights").with(AT_RATE),
    Field::optional("load.mix.name", Other("a text"), "the request", "cart", "Its name in reports").with(AT_RATE),
    Field::group("load.mix.headers", "none", "Its headers, in lower case: a text, or drawn for each request")
        .of(Named("x-user"))
        .like("services.steps.headers", &[])
        .with(AT_RATE),
    Field::usual("load.mix.requestSize", SIZE, "0", "1KiB", "Bytes of its body").with(AT_RATE),
];

/// What only services have.
const NOT_OF_VERSIONS: &[&str] = &[
    "zones",
    "slots",
    "queue",
    "versions",
    "entry",
    "port",
    "portName",
    "protocol",
    "labels",
    "namespace",
    "abandoned",
    "healthCheck",
    "clockAhead",
    "cpuPerPoll",
];
/// What only services and versions have.
const NOT_OF_ROUTES: &[&str] = &[
    "replicas",
    "endpointWeight",
    "routes",
    "zones",
    "slots",
    "queue",
    "versions",
    "entry",
    "port",
    "portName",
    "protocol",
    "labels",
    "namespace",
    "abandoned",
    "healthCheck",
    "clockAhead",
    "cpuPerPoll",
];
