//! The control plane: intent into a mesh, pushed to every proxy; identities.
//!
//! The only crate that reads mesh resources.

mod access;
mod authority;
pub mod authorization_policy;
mod check;
mod compile;
mod control;
pub mod fault_injection;
mod gateway;
mod grpc;
mod mistake;
pub mod peer_authentication;
mod peers;
mod push;
mod read;
pub mod reference;
mod registry;
mod report;
mod resources;
mod serve;
mod stream;
mod token_review;
pub mod tokens;
pub mod traffic_policy;
pub mod units;
pub mod watch;
pub mod yaml;

pub use authority::{Authority, AuthorityError, Issued, TTL};
pub use compile::{Coverage, NodeInfo, compile, coverage};
pub use control::{CONTROL_ID, Control, ControlConfig, ControlError, ControlRecord, ControlRecorder};
pub use gateway::{GivenCertificate, WantedCertificate, compile_gateway};
pub use mistake::{Mistake, Mistakes, Place, closest};
pub use registry::{Pod, Registry, RegistrySnapshot, spiffe_id};
pub use report::Report;
pub use resources::Resources;
pub use token_review::{ReviewConfig, SecretSource, TokenReview};
