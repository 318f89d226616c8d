//! The tests of the broker as its users see it: one binary.

mod codec;

mod model;
mod naive;
mod scenarios;
