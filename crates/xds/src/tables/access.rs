//! Who may ask for what.

use super::Shape::{Leaf, Message};
use super::Table;

pub(super) static ACCESS: Table = Table {
    name: "squall.v1alpha1.Access",
    known: &[
        (1, "deny", Message(&RULE)),
        (2, "allows", Leaf),
        (3, "allow", Message(&RULE)),
        (4, "audit", Message(&RULE)),
    ],
    refused: "",
};

static RULE: Table = Table {
    name: "squall.v1alpha1.AccessRule",
    known: &[(1, "name", Leaf), (2, "from", Message(&CALLER)), (3, "to", Message(&OPERATION))],
    refused: "",
};

static CALLER: Table = Table {
    name: "squall.v1alpha1.AccessCaller",
    known: &[
        (1, "principals", Leaf),
        (2, "not_principals", Leaf),
        (3, "namespaces", Leaf),
        (4, "not_namespaces", Leaf),
    ],
    refused: "",
};

static OPERATION: Table = Table {
    name: "squall.v1alpha1.AccessOperation",
    known: &[(1, "methods", Leaf), (2, "not_methods", Leaf), (3, "paths", Leaf), (4, "not_paths", Leaf)],
    refused: "",
};
