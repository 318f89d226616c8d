//! Tests of the whole program and of the house: one binary, a module per subject.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod access_keys;
pub(crate) mod chaos;
pub(crate) mod cluster;
mod cmq;
mod formats;
mod fuzz_corpus;
mod https;
mod ports;
mod program;
mod repairing;
mod tidy;
