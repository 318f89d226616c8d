//! A sole voter's replica, driven by hand: the test is the disk, the clock and the clients.

mod harness;
mod serving;
