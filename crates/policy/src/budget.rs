//! How many retries, and hedges, a backend gets: several kinds of budget, each in a file, that may be combined.
//!
//! | kind | counts | forgets |
//! |---|---|---|
//! | [`window`] | a share of first tries, and so many per second | after its window |
//! | [`share`] | a share of the requests under way | at once |
//! | [`bucket`] | a deposit per first try | never |
//! | [`grpc`] | failures against successes | by successes |
//! | [`breaker`] | failures against first tries | never, or after its window |

mod all;
mod breaker;
mod bucket;
mod grpc;
mod share;
pub(crate) mod slices;
#[cfg(test)]
mod trials;
mod window;

pub(crate) use all::{Budgets, Refused};
