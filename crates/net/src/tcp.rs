//! The real world: TCP by tokio, the OS clock, OS entropy.

use squall_policy::Rng;

use crate::Host;

/// Real TCP sockets through tokio. Must be used inside a tokio runtime with I/O and time enabled.
#[derive(Debug, Default)]
pub struct Tcp {}

impl Tcp {
    /// A host on this machine: real TCP, the OS clock, tokio tasks, dice from the OS.
    #[must_use]
    pub fn host() -> Host {
        todo!()
    }

    /// As [`Tcp::host`], with these dice.
    #[must_use]
    pub fn host_with(rng: Rng) -> Host {
        let _ = rng;
        todo!()
    }
}
