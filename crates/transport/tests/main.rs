//! Nodes on loopback, and hand-made peers that speak the protocol from its document alone.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod bounds;
mod breaks;
mod exchange;
mod fuzz;
mod processes;
mod raw;
mod refusals;
mod rig;
mod strangers;
mod throughput;
mod tls;
