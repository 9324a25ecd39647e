//! The sidecar: moves users' bytes and decides nothing. The same code runs in production and in the simulator; it knows the
//! machine only as a [`squall_net::Host`], and every decision is a [`squall_policy::Step`] it carries out.
//!
//! The files tell the life of a connection: `accept` → `serve` → `route` → `admit` → `attempt` → `connect` → `judge` →
//! `respond`; what is no HTTP or was intercepted: `intercept` → `reach` → `stream`; what comes from outside the mesh: `outside`; beside them `subscribe`, `snapshot`, `pool`, `body`, `headers`, `identity`, `drain`, `record`;
//! what is made of records in production: `metrics`, `access_log`, `lifecycle`, `tap`, `spans` (which `export` takes to a collector), and `admin`, which shows it.

mod accept;
mod access;
mod access_log;
mod admin;
mod admit;
mod alarm;
mod attempt;
mod b3;
mod backoff;
mod balancer;
mod body;
mod config;
mod connect;
mod control;
mod core;
mod deadline;
mod drain;
mod export;
mod headers;
mod health;
mod identity;
mod intercept;
mod json;
mod judge;
mod lifecycle;
mod line;
mod metrics;
mod outside;
mod pool;
mod proxy;
mod reach;
mod record;
mod respond;
mod route;
mod seen;
mod serve;
mod snapshot;
mod spans;
mod stream;
mod subscribe;
mod tap;
mod trace;
mod tunnel;

pub use access_log::{AccessLog, AccessLogFormat};
pub use admin::{pages, probes};
pub use config::{
    ControlSource, Entrance, IdentitySource, InboundListener, Interception, Node, ProxyConfig, Source, TokenSource,
};
pub use export::{Collector, Exporter};
pub use lifecycle::Lifecycle;
pub use metrics::Metrics;

pub use proxy::{Proxy, StartError};
pub use reach::Strangers;
pub use record::{HowEnded, Ignore, Record, Recorder, Refusal, RequestNumber, Several, Side};
pub use snapshot::application_policy;
pub use spans::Spans;
pub use tap::Tap;
pub use trace::Sampling;
