//! The fields of a Tuning.

use squall_control::reference::Kind::{Choice, List, Other, Percent, Whole};
use squall_control::reference::{Field, Reference};

const CEL: squall_control::reference::Kind = Other("CEL over the whole run: a number or a duration");
const KNOB: &[(&str, &str)] = &[("vary.policy", "shop"), ("vary.from", "1"), ("vary.to", "5")];
const CHOICES: &[(&str, &str)] = &[("vary.policy", "shop"), ("vary.field", "loadBalancing.algorithm")];
const ROUTE: &[(&str, &str)] = &[("vary.field", "'rules[0].timeouts.request'"), ("vary.from", "1s"), ("vary.to", "2s")];
const FEWER: &[(&str, &str)] = &[("against", "{fewer: rival.yaml}")];
const P99: &[(&str, &str)] = &[("objectives.minimize", "p99")];

/// `squall.dev/v1alpha1` Tuning.
pub const TUNING: Reference = Reference {
    kind: "Tuning",
    says: "What `squall tune` searches: scenarios, what may vary in the policies they use, what is wanted and what must hold. The search runs on the \
           fast model, everybody on the same seeds; its best then run in the full world, on seeds and scenarios held out. Paths are relative to \
           the file. Meshes of other makers have nothing of the kind.",
    parts: &[FIELDS],
};

const FIELDS: &[Field] = &[
    Field::required(
        "scenarios",
        Other("a list of files, at least one"),
        "[failing.yaml]",
        "What a policy has to stand, all of them",
    ),
    Field::optional(
        "policies",
        Other("a file of manifests, or a list of them"),
        "as the scenarios have them",
        "[rival.yaml]",
        "What is tuned, in place of the scenarios' own policies of the same name or Service",
    ),
    Field::usual(
        "seeds",
        Whole(2, 1000),
        "6",
        "10",
        "Seeds of each scenario in the search: 1 to so many. Everybody runs on the same",
    ),
    Field::group(
        "holdOut",
        "no scenario, 6 seeds",
        "What only the finalists run, to see whether what was found holds elsewhere",
    ),
    Field::optional(
        "holdOut.scenarios",
        Other("a list of files"),
        "none",
        "[other.yaml]",
        "Scenarios that the search does not see",
    ),
    Field::usual(
        "holdOut.seeds",
        Whole(2, 1000),
        "6",
        "10",
        "Seeds that the search does not see: those after the others",
    ),
    Field::group("vary", "the usual settings of every policy, as with `--auto`", "What varies, up to 64 of them")
        .of(List)
        .with(KNOB),
    Field::optional(
        "vary.policy",
        Other("a name or NAMESPACE/NAME, or a list of them"),
        "`route`: one of the two",
        "shop",
        "The TrafficPolicy; of several all have the same value",
    )
    .with(&[("vary.from", "1"), ("vary.to", "5")]),
    Field::optional(
        "vary.route",
        Other("a name or NAMESPACE/NAME, or a list of them"),
        "`policy`: one of the two",
        "shop",
        "The HTTPRoute or GRPCRoute",
    )
    .with(ROUTE),
    Field::required(
        "vary.field",
        Other("a path below `spec`: retries.attempts, rules[0].timeouts.request"),
        "retries.attempts",
        "Which field",
    )
    .with(KNOB),
    Field::optional(
        "vary.from",
        Other("a whole number, a decimal, a duration or a percentage"),
        "required without `choices`",
        "2",
        "The least value",
    )
    .with(&[("vary.policy", "shop"), ("vary.to", "5")]),
    Field::optional("vary.to", Other("as `from`, and more"), "required without `choices`", "7", "The greatest value")
        .with(&[("vary.policy", "shop"), ("vary.from", "1")]),
    Field::usual(
        "vary.scale",
        Choice(&["linear", "log"]),
        "linear",
        "log",
        "How values lie between: evenly, or each so many times the one before",
    )
    .with(&[("vary.policy", "shop"), ("vary.from", "1"), ("vary.to", "500"), ("vary.field", "limits.inFlight")]),
    Field::optional(
        "vary.choices",
        Other("a list of 2 to 256 values; `~` is to leave the field out"),
        "`from` and `to`",
        "[PeakEwma, LeastRequest]",
        "These values, in no order",
    )
    .with(CHOICES),
    Field::optional(
        "vary.absent",
        Other("one of the values; `~` if that is a choice"),
        "nothing is known of it",
        "2",
        "Which value stands for a policy without the field, where the search begins there",
    )
    .with(KNOB),
    Field::group(
        "objectives",
        "successRate, then p99, then amplification",
        "What is wanted, the most important first, up to 6",
    )
    .of(List)
    .with(P99),
    Field::optional("objectives.minimize", CEL, "`maximize`: one of the two", "p95", "The less, the better"),
    Field::optional("objectives.maximize", CEL, "`minimize`: one of the two", "goodput", "The more, the better"),
    Field::usual(
        "objectives.across",
        Choice(&["mean", "worst"]),
        "mean",
        "worst",
        "Of the scenarios: their mean, or the worst of them",
    )
    .with(P99),
    Field::usual(
        "objectives.within",
        Percent("0%", "100%"),
        "0%",
        "5%",
        "Differences up to this share count for nothing, so that the next objective decides",
    )
    .with(P99),
    Field::optional(
        "objectives.margin",
        Other("a number or a duration as the objective is, or a share of the other's value: 2%"),
        "0",
        "2%",
        "For `noWorseThan` and `undominatedBy`: what a difference on one scenario must be more than to count",
    )
    .with(P99),
    Field::optional(
        "constraints",
        Other("a list of CEL over the whole run: true or false"),
        "none; `--auto`: amplification up to 1.2, recovery within 10s",
        "[amplification <= 1.2]",
        "What must hold in every run",
    ),
    Field::optional(
        "against",
        Other("a mapping of names to files of manifests, or to lists of them"),
        "none",
        "{fewer: rival.yaml}",
        "Other policies, run beside the finalists; `current` and `recommended` are taken as names",
    ),
    Field::optional(
        "start",
        Other("a list of names under `against`"),
        "only at what is in use",
        "[fewer]",
        "Policies at which the search begins too, each as near as the knobs come to it",
    )
    .with(FEWER),
    Field::optional(
        "noWorseThan",
        Other("a list of names under `against`"),
        "none",
        "[fewer]",
        "On each scenario worse than these in no objective, by more than its margin; else by how much is a broken constraint",
    )
    .with(FEWER),
    Field::optional(
        "undominatedBy",
        Other("a list of names under `against`"),
        "none",
        "[fewer]",
        "As `noWorseThan`, but worse in something is no matter where something else is better",
    )
    .with(FEWER),
];
