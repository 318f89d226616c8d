//! Replicas driven by hand: the test is the disk, the clock, the network and the clients.

mod chaos;
mod cluster;
mod disk;
mod forgetting;
mod harness;
mod members;
mod messages;
mod policies;
mod receives;
mod replication;
mod serving;
mod snapshots;
mod suspects;
