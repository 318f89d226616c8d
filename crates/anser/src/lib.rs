//! The wiring of Anser: from a command line or a configuration to a running server.
//!
//! Read [`server::Server`] first: it joins the node, the port for clients and the admin port.
//! Everything about messages happens in the other crates; here are processes, files, flags and a
//! small [`client`]. The crate is a library so that tests can run a server in their own process.

mod admin;
pub mod bench;
mod certificate;
pub mod client;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod exit;
mod files;
mod follow;
pub mod keystore;
pub mod logs;
pub mod output;
pub mod paths;
pub mod process;
pub mod server;
mod system;
mod utc;
