//! The fast model: the same verdicts as the full world, and the right answers where they are known.

#[path = "fast/agreement.rs"]
mod agreement;
#[path = "fast/faults.rs"]
mod faults;
#[path = "world/small.rs"]
mod mesh;
#[path = "fast/queues.rs"]
mod queues;
#[path = "fast/small.rs"]
mod small;
