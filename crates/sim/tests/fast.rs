//! The fast model: the same verdicts as the full world, and the right answers where they are known.

#[path = "fast/queues.rs"]
mod queues;
#[path = "fast/small.rs"]
mod small;
