//! Tests of the log as others use it, on a simulated and on a real disk.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod basics;
mod carrying;
mod closing;
mod corruption;
mod crash;
mod driver;
mod faults;
mod holes;
mod hooked;
mod lost_proofs;
mod mended;
mod mending;
mod model;
mod random;
mod replication;
mod sabotage;
mod segments;
mod settled;
mod unreadable;
mod write_back;
mod young;
