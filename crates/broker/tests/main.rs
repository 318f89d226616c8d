//! The tests of the broker as its users see it: one binary.

#![expect(clippy::unwrap_used, reason = "in a test what fails may fail")]

mod catalog;
mod catalog_topics;
mod codec;
mod edges;
mod ends;
mod fingerprint;
mod limits;
mod memory;
mod model;
mod naive;
mod naive_topics;
mod nodes;
mod policies;
mod recovered;
mod sources;
mod stories;
mod tokens;
mod topics_cases;
mod topics_model;
mod versions;
mod words;
