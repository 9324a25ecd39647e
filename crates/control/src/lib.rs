//! The control plane: intent into a mesh, pushed to every proxy; identities.
//!
//! The only crate that reads mesh resources.

mod mistake;
pub mod units;
pub mod yaml;

pub use mistake::{Mistake, Mistakes, Place, closest};
