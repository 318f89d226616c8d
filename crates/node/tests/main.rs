//! Whole nodes on real files: what their clients rely on across restarts, recycled logs, shards and a
//! disk that fills up. Time is a manual clock.

mod clocks;
mod dead_letters;
mod durability;
mod frozen;
mod house;
mod receiving;
mod topics;
