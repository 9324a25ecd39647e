//! The proxy over real loopback TCP.

mod access;
mod bytes;
mod ca;
mod common;
mod drain;
mod follow;
mod forward;
mod gateway;
mod hard;
mod health;
mod hops;
mod local;
mod modes;
mod own_tls;
mod peers;
mod plane;
mod retry;
mod secure;
mod stream;
mod traces;
mod upgrade;
