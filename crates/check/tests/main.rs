//! The checker's own tests: bad histories that it must flag, good ones that it must not.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod ages;
mod bad;
mod fan_out;
mod good;
mod leaps;
mod queues;
mod speed;
mod story;
