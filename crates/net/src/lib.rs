//! The machine: sockets, clocks, entropy, tasks, TLS and HTTP plumbing, behind traits that the simulator implements too.
//!
//! Nothing above this crate opens a socket or reads a clock. One binary holds the real world ([`tcp::Tcp`]) and the
//! simulated ones (in `squall-sim`); the proxy and the control plane cannot tell which they run in.

pub mod detect;
pub mod edge;
pub mod exposition;
mod host;
pub mod http;
mod hyper_rt;
mod interim;
mod io;
mod keys;
pub mod loopback;
pub mod page;
pub mod pem;
mod prefixed;
pub mod process;
pub mod proxy_protocol;
mod relay;
mod seldom;
mod splice;
pub mod tcp;
pub mod tls;
pub mod upgrade;

pub use host::{Clock, Host, Task, Tasks, Wall, after, catch_panic, in_drop, timeout};
pub use io::{Accepted, BoxFuture, Conn, Io, Listener, Net, Relayed, Shortage};
pub use prefixed::prefixed;
pub use relay::{Carried, RelayEnd, RelayLimits, RelayOutcome, relay};
pub use seldom::Seldom;
pub use splice::Kernel;
