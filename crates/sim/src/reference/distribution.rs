//! How a span of time that is drawn anew for each request is written.

use squall_control::reference::Kind::{Decimal, List, Other, Span, Whole};
use squall_control::reference::{Field, Reference};

/// A distribution of times. A duration alone (`4ms`) is always that.
pub const DISTRIBUTION: Reference = Reference {
    kind: "Distribution",
    says: "A span of time that is drawn anew for each request: `time` of a service, `think` of a load, `sleep` of a step, `latency` of a link. \
           A duration alone (`4ms`) is always that; else it is one of these, such as `{p50: 4ms, p99: 40ms}`. Links take a duration, \
           `uniform`, `normal`, `exponential` and `p50` with `p99`.",
    parts: &[FIELDS],
};

const MEAN: &str = "The mean";
const CV: &str = "The coefficient of variation: standard deviation ÷ mean (cv² = 4 is `cv: 2`)";
const POSITIVE: squall_control::reference::Kind = Span("1ns", "24h");

const FIELDS: &[Field] = &[
    Field::optional(
        "p50",
        Other("a duration, more than 0"),
        "another form",
        "4ms",
        "Lognormal by two percentiles: the median",
    )
    .with(&[("p99", "40ms")]),
    Field::optional(
        "p99",
        Other("a duration, up to 24h"),
        "another form",
        "40ms",
        "Lognormal by two percentiles: the 99th, not less than `p50`",
    )
    .with(&[("p50", "4ms")]),
    Field::optional("exponential", POSITIVE, "another form", "4ms", "Exponential with this mean"),
    Field::group("normal", "another form", "Normal, cut at 0"),
    Field::required("normal.mean", Span("0s", "24h"), "10ms", MEAN),
    Field::required("normal.deviation", Span("0s", "24h"), "2ms", "The standard deviation"),
    Field::group("lognormal", "another form", "Lognormal by mean and coefficient of variation"),
    Field::required("lognormal.mean", POSITIVE, "4ms", MEAN),
    Field::required("lognormal.cv", Decimal("0", "100"), "2", CV),
    Field::group("uniform", "another form", "Any time between two, each as likely"),
    Field::required("uniform.from", Span("0s", ""), "1ms", "The least"),
    Field::required("uniform.to", Span("0s", "24h"), "3ms", "The most, not less than `from`")
        .with(&[("uniform.from", "0s")]),
    Field::group("gamma", "another form", "Gamma by mean and coefficient of variation"),
    Field::required("gamma.mean", POSITIVE, "4ms", MEAN),
    Field::required("gamma.cv", Decimal("0.01", "100"), "0.5", CV),
    Field::group("erlang", "another form", "Erlang: so many exponential stages, one after the other"),
    Field::required("erlang.mean", POSITIVE, "4ms", "The mean of all stages together"),
    Field::required("erlang.stages", Whole(1, 1000), "3", "How many stages"),
    Field::group("hyperexponential", "another form", "Two exponentials with balanced means"),
    Field::required("hyperexponential.mean", POSITIVE, "4ms", MEAN),
    Field::required("hyperexponential.cv", Decimal("1", "100"), "2", CV),
    Field::group("weibull", "another form", "Weibull"),
    Field::required("weibull.scale", POSITIVE, "4ms", "The 63.2th percentile"),
    Field::required("weibull.shape", Decimal("0.1", "100"), "0.5", "Below 1 the tail is longer than exponential"),
    Field::group("pareto", "another form", "Pareto"),
    Field::required("pareto.least", POSITIVE, "1ms", "The least"),
    Field::required(
        "pareto.shape",
        Decimal("1.001", "100"),
        "2.5",
        "The larger, the shorter the tail; above 1, so that there is a mean",
    ),
    Field::group("bimodal", "another form", "One of several distributions, by weight; two or more").of(List),
    Field::required("bimodal.weight", Whole(1, 1_000_000), "99", "Its weight"),
    Field::required("bimodal.time", Other("a distribution, but not `bimodal`"), "1ms", "What is drawn then"),
    Field::optional(
        "empirical",
        Other("a list of durations"),
        "another form",
        "[1ms, 2ms, 9ms]",
        "One of these, each as likely",
    ),
    Field::optional(
        "percentiles",
        Other("a mapping of percentiles from 0 to 100 to durations, both ascending"),
        "another form",
        "{0: 1ms, 50: 4ms, 99.9: 80ms, 100: 1s}",
        "Straight lines between these",
    ),
];
