//! A pusher between outboxes in memory and receivers on loopback. No test needs the internet, and
//! time passes when a test says so: the clock of leases is moved by hand.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod crowds;
mod documents;
mod fuzz;
mod guard;
mod limits;
mod memory;
mod pushes;
mod receiver;
mod retries;
mod rig;
mod tenants;
mod tls;
