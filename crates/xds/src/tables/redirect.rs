//! Redirects.

use super::Shape::Leaf;
use super::Table;

pub(super) static REDIRECT_ACTION: Table = Table {
    name: "envoy.config.route.v3.RedirectAction",
    known: &[
        (1, "host_redirect", Leaf),
        (2, "path_redirect", Leaf),
        (3, "response_code", Leaf),
        (5, "prefix_rewrite", Leaf),
        (7, "scheme_redirect", Leaf),
        (8, "port_redirect", Leaf),
    ],
    refused: "4 https_redirect, 6 strip_query, 9 regex_rewrite",
};
