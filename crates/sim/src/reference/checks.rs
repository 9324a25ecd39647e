//! The fields of a scenario about what goes wrong, what must hold and what is known.

use squall_control::reference::Kind::{Choice, FinePercent, List, Other, Span, Truth, Whole};
use squall_control::reference::{Field, Kind};

use super::scenario::DISTRIBUTED;

const TARGET: Kind = Other("a target: `front`, `reviews/v2`, `\"catalog[0]\"`, a load, `control`, `{zone: a}`");
const CEL: Kind = Other("a CEL expression");
const AT: &[(&str, &str)] = &[("faults.at", "10s")];
const SLOW: &[(&str, &str)] = &[("faults.slow", "{target: front, by: 20x}")];
const THAT: &[(&str, &str)] = &[("expect.that", "successRate >= 0.99")];
const DOWN: &[(&str, &str)] =
    &[("faults", "[{at: 5s, for: 5s, slow: {target: front, by: 20x}}]"), ("expect.that", "successRate >= 0.99")];
const ANSWERED: &[(&str, &str)] =
    &[("suite", "validate"), ("answers", "[{case: a, source: b, that: successRate, expected: 1.0, tolerance: 1%}]")];
const MEASURED: &[(&str, &str)] = &[
    ("suite", "validate"),
    ("answers.that", "successRate"),
    ("answers.expected", "0.99"),
    ("answers.tolerance", "1%"),
];
const VALIDATE: &[(&str, &str)] = &[("suite", "validate"), ("answers.expected", "1.0"), ("answers.tolerance", "1%")];
const EXACT: &[(&str, &str)] = &[("suite", "validate")];
const PATHWISE: &[(&str, &str)] = &[("suite", "validate"), ("services", "{front: {slots: 1}}")];

pub(super) const FIELDS: &[Field] = &[
    // Faults.
    Field::group(
        "faults",
        "none",
        "What goes wrong, and when: each has `at` or `afterRequest`, one kind, and most have `for`. A fault that touched nothing fails the run",
    )
    .of(List),
    Field::optional("faults.at", Span("0s", ""), "this or `afterRequest`", "10s", "When it begins").with(SLOW),
    Field::optional(
        "faults.afterRequest",
        Whole(1, u64::MAX),
        "this or `at`",
        "50",
        "It begins when the loads have had answers to so many requests",
    )
    .with(SLOW),
    Field::optional("faults.for", Span("1ns", ""), "to the end", "30s", "How long it lasts; it ends within `duration`")
        .with(&[("faults.at", "10s"), ("faults.slow", "{target: front, by: 20x}")]),
    Field::group("faults.slow", "another kind", "Service times grow. One of `by`, `add` and `to`").with(AT),
    Field::required("faults.slow.target", TARGET, "front", "Whose")
        .with(&[("faults.at", "10s"), ("faults.slow.by", "20x")]),
    Field::optional("faults.slow.by", Other("a factor of more than 1: 20x"), "this, `add` or `to`", "20x", "Times this").with(AT),
    Field::optional("faults.slow.add", Span("1ns", "24h"), "this, `by` or `to`", "100ms", "This on top").with(AT),
    Field::optional("faults.slow.to", Span("1ns", "24h"), "this, `by` or `add`", "2s", "This instead").with(AT),
    Field::group("faults.errors", "another kind", "Requests fail, after their time and without their steps").with(AT),
    Field::required("faults.errors.target", TARGET, "front", "Whose").with(AT),
    Field::required("faults.errors.rate", FinePercent("0.0001%", "100%"), "10%", "So many, on top of the service's own errors").with(AT),
    Field::usual("faults.errors.status", Whole(400, 599), "500", "503", "The status. gRPC: 14 (unavailable) for 503, else 13").with(AT),
    Field::group("faults.outage", "another kind", "Takes no new requests, while what is inside is served").with(AT),
    Field::required("faults.outage.target", TARGET, "front", "Whose").with(AT),
    Field::required(
        "faults.outage.arrivals",
        Choice(&["held", "refused", "lost"]),
        "refused",
        "`held`: requests arrive at its end, in order, also those whose callers have gone; `refused`: answered at once; `lost`: never \
         answered",
    )
    .with(AT),
    Field::usual("faults.outage.status", Whole(400, 599), "503", "429", "The status of those that are refused")
        .with(&[("faults.at", "10s"), ("faults.outage.arrivals", "refused")]),
    Field::group(
        "faults.crash",
        "another kind",
        "Processes end, and boot again when the fault ends. A target alone is `{target: …}`",
    )
    .with(AT),
    Field::required("faults.crash.target", TARGET, "front", "Whose").with(AT),
    Field::usual("faults.crash.mode", Choice(&["reset", "silent"]), "reset", "silent", "Peers see resets, or nothing").with(AT),
    Field::optional("faults.pause", TARGET, "another kind", "front", "Stands still (SIGSTOP)").with(AT),
    Field::group("faults.controlDown", "another kind", "The control plane is gone; needs no value").with(AT),
    Field::usual("faults.controlDown.mode", Choice(&["reset", "silent"]), "reset", "silent", "As of `crash`").with(AT),
    Field::group(
        "faults.rollingRestart",
        "another kind",
        "Pod by pod: its endpoint drains, its process ends, it boots again. A target alone is `{target: …}`. Without `for`",
    )
    .with(AT),
    Field::required("faults.rollingRestart.target", TARGET, "front", "Whose").with(AT),
    Field::usual("faults.rollingRestart.drain", Span("0s", ""), "5s", "10s", "From draining to the end of the process").with(AT),
    Field::usual("faults.rollingRestart.down", Span("0s", ""), "1s", "3s", "From the end of the process to its next start").with(AT),
    Field::usual("faults.rollingRestart.gap", Span("0s", ""), "1s", "2s", "From the start of a pod to the draining of the next").with(AT),
    Field::group("faults.partition", "another kind", "Nothing gets through. Its ends: `between`, `from` and `to`, `target` or `zone`").with(AT),
    Field::optional("faults.partition.between", Other("a list of two targets"), "other ends", "[front, stock]", "Both ways between two").with(AT),
    Field::optional("faults.partition.from", TARGET, "other ends", "front", "One way: from here (to everyone else without `to`)").with(AT),
    Field::optional("faults.partition.to", TARGET, "other ends", "stock", "One way: to there (from everyone else without `from`)").with(AT),
    Field::optional("faults.partition.target", TARGET, "other ends", "stock", "Both ways between this and everyone else").with(AT),
    Field::optional("faults.partition.zone", Other("a zone"), "other ends", "b", "Both ways between this zone and the others")
        .with(&[("faults.at", "10s"), ("network.zones", "[a, b]")]),
    Field::group("faults.latency", "another kind", "Links take longer; without ends all of them").with(AT).like("faults.partition", &[]),
    Field::required("faults.latency.add", DISTRIBUTED, "50ms", "Added to what they take").with(AT),
    Field::group("faults.jitter", "another kind", "Links jitter more; without ends all of them").with(AT).like("faults.partition", &[]),
    Field::required("faults.jitter.add", Span("1ns", "24h"), "5ms", "Added to their jitter").with(AT),
    Field::group("faults.loss", "another kind", "Links lose packets; without ends all of them").with(AT).like("faults.partition", &[]),
    Field::required("faults.loss.rate", FinePercent("0.0001%", "100%"), "1%", "The larger of this and the link's own counts").with(AT),
    Field::group("faults.bandwidth", "another kind", "Links are narrow; without ends all of them").with(AT).like("faults.partition", &[]),
    Field::required("faults.bandwidth.limit", Other("10Gbps, 100Mbps, 64kbps"), "1Mbps", "The smaller of this and the link's own counts").with(AT),
    // Expectations.
    Field::group(
        "expect",
        "required, unless there are `answers`",
        "What must hold: a window and a CEL expression over the measures (`squall explain measures`). A request belongs to the window in which \
         it arrived. Latencies are over all requests, failures included",
    )
    .of(List)
    .needed("[{overall: successRate >= 0.99}]"),
    Field::optional("expect.overall", CEL, "another window", "amplification <= 1.2", "Of the whole run"),
    Field::optional("expect.always", CEL, "another window", "inFlight <= 600", "At every instant, every 10 ms; gauges only"),
    Field::optional("expect.duringFaults", CEL, "another window", "successRate >= 0.9", "While any fault is active")
        .with(&[("faults", "[{at: 5s, for: 5s, slow: {target: front, by: 20x}}]")]),
    Field::optional("expect.afterFaults", Span("0s", ""), "another window", "10s", "With `that`: from so long after the end of the last fault to the end")
        .with(DOWN),
    Field::optional("expect.from", Span("0s", ""), "0s, with `to`", "5s", "With `that`: from here").with(THAT),
    Field::optional("expect.to", Span("1ns", ""), "the end, with `from`", "15s", "With `that`: to before this").with(THAT),
    Field::optional("expect.that", CEL, "goes with `from`, `to` and `afterFaults`", "p99 < duration(\"120ms\")", "The expression")
        .with(&[("expect.from", "0s")]),
    // Known answers.
    Field::group("layers", "one replication in each", "How often a scenario with `answers` runs in each layer of `squall validate`").with(ANSWERED),
    Field::usual("layers.warmUp", Span("0s", ""), "0s", "10s", "Answers are measured from here on, unless they have `from`").with(ANSWERED),
    Field::group("layers.fast", "one replication", "Policy core and service model, without bytes").with(ANSWERED),
    Field::usual("layers.fast.replications", Whole(1, 100_000), "1", "40", "Independent runs, on the seeds 1, 2, 3 …").with(ANSWERED),
    Field::optional("layers.fast.duration", Span("1ns", ""), "the scenario's", "30s", "Shorter than the scenario's").with(ANSWERED),
    Field::usual("layers.fast.slow", Truth, "false", "true", "Left out by `squall validate --quick`").with(ANSWERED),
    Field::optional("layers.fast.exempt", Other("a text"), "it runs", "no bytes", "Not in this layer, for this reason").with(ANSWERED),
    Field::group("layers.full", "one replication", "Real proxies over the event engine").with(ANSWERED).like("layers.fast", &[]),
    Field::group("answers", "none", "What is known: a case, its source, and what must be measured. Only with `suite: validate`").of(List),
    Field::required("answers.case", Other("a text, unique over all files"), "\"M/M/1: W\"", "What is asked, for people").with(MEASURED),
    Field::required("answers.source", Other("a text"), "Kleinrock (1975)", "Where the answer is from").with(MEASURED),
    Field::optional("answers.that", CEL, "this, `pathwise` or `littlesLaw`", "successRate", "A number, a duration, or true or false").with(VALIDATE),
    Field::optional("answers.from", Span("0s", ""), "the warm-up", "5s", "Its window begins").with(MEASURED),
    Field::optional("answers.to", Span("1ns", ""), "the end", "15s", "Its window ends").with(MEASURED),
    Field::optional(
        "answers.expected",
        Other("a value in the unit of `that` (0.711, 71.1%, 5s, true), or the mapping below"),
        "needed with `that`",
        "0.99",
        "What it must be",
    )
    .with(&[("suite", "validate"), ("answers.that", "successRate"), ("answers.tolerance", "1%")]),
    Field::optional("answers.expected.atMost", Other("a value"), "a value", "0.99", "This or less")
        .with(&[("suite", "validate"), ("answers.that", "successRate"), ("answers.tolerance", "1%")]),
    Field::optional("answers.expected.atLeast", Other("a value"), "a value", "0.99", "This or more")
        .with(&[("suite", "validate"), ("answers.that", "successRate"), ("answers.tolerance", "1%")]),
    Field::group("answers.expected.rank", "a value", "A place in an order that spans scenarios: means ascend with the places")
        .with(&[("suite", "validate"), ("answers.that", "successRate")]),
    Field::required("answers.expected.rank.in", Other("a name"), "depths", "The order").with(&[("suite", "validate"), ("answers.that", "successRate")]),
    Field::required("answers.expected.rank.place", Whole(1, 1000), "2", "The place").with(&[("suite", "validate"), ("answers.that", "successRate")]),
    Field::optional(
        "answers.tolerance",
        Other("`1%` of the value, `0.2 points` of a share, an amount in its unit, or `exact`"),
        "needed with `that`",
        "2%",
        "The mean may be off by 1.5 × this and `statedError`; `{fast: 1%, full: 3%}`: by layer",
    )
    .with(&[("suite", "validate"), ("answers.that", "successRate"), ("answers.expected", "0.99")]),
    Field::required("answers.tolerance.fast", Other("a tolerance"), "1%", "In the fast layer")
        .with(&[("suite", "validate"), ("answers.that", "successRate"), ("answers.expected", "0.99")]),
    Field::required("answers.tolerance.full", Other("a tolerance"), "3%", "In the full layer")
        .with(&[("suite", "validate"), ("answers.that", "successRate"), ("answers.expected", "0.99")]),
    Field::optional("answers.statedError", Other("a value"), "0", "0.001", "How far off the expected value itself may be, by its source's own account")
        .with(MEASURED),
    Field::group("answers.control", "none", "A control variate: another measure of the same run and window, whose mean is known too").with(MEASURED),
    Field::required("answers.control.that", CEL, "goodput", "That measure").with(MEASURED),
    Field::required("answers.control.expected", Other("a value"), "100", "Its mean").with(MEASURED),
    Field::optional(
        "answers.pathwise",
        Other("a service, or the mapping below"),
        "this, `that` or `littlesLaw`",
        "front",
        "Every request of a service with `slots` and without steps against Lindley's or Kiefer and Wolfowitz' recursion, to the nanosecond",
    )
    .with(PATHWISE),
    Field::required("answers.pathwise.service", Other("a service"), "front", "Whose requests").with(PATHWISE),
    Field::optional("answers.pathwise.from", Other("a load"), "the stay alone", "load", "Also the way there and back of requests of this load")
        .with(PATHWISE),
    Field::optional(
        "answers.pathwise.limit",
        Whole(1, 1_000_000),
        "`slots`",
        "10",
        "Of a service without `slots` to which the mesh lets in so many at once",
    )
    .with(EXACT),
    Field::optional("answers.littlesLaw", Truth, "this, `that` or `pathwise`", "true", "L = λ·W for every load, service, queue and link, in integers")
        .with(EXACT),
    Field::optional("answers.only", Choice(&["fast", "full"]), "both layers", "fast", "Not asked in the other layer")
        .with(&[("suite", "validate"), ("answers.that", "successRate"), ("answers.expected", "0.99"), ("answers.tolerance", "1%"), ("answers.because", "no bytes")]),
    Field::optional("answers.because", Other("a text"), "goes with `only`", "no bytes", "Why")
        .with(&[("suite", "validate"), ("answers.that", "successRate"), ("answers.expected", "0.99"), ("answers.tolerance", "1%"), ("answers.only", "fast")]),
];
