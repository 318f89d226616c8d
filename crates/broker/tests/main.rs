//! The tests of the broker as its users see it: one binary.

#![expect(clippy::unwrap_used, reason = "in a test what fails may fail")]

mod catalog;
mod codec;
mod memory;
mod model;
mod naive;
mod scenarios;
