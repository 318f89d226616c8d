//! The command line: one module a command, and what they share.

pub mod bench;
pub mod cluster;
pub mod config;
pub mod dev;
mod explain;
pub mod key;
pub mod queue;
pub mod repair;
pub mod serve;
pub mod subscription;
pub mod topic;

use anser_node::Failure;
use anyhow::Result;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    exit::Exit,
    logs,
    server::{self, Server},
    system,
};

/// A durable message queue that a team can own.
#[derive(Debug, Parser)]
#[command(name = "anser", version, max_term_width = 100)]
pub struct Arguments {
    /// How logs are written on standard error.
    #[arg(long, global = true, value_enum)]
    log_format: Option<logs::Format>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve one node, or a whole cluster, for development: no configuration, a ready-made key.
    Dev(dev::Arguments),
    /// Serve as configured.
    Serve(serve::Arguments),
    /// Show a cluster, take nodes out of it, make its token.
    Cluster(cluster::Arguments),
    /// Check a configuration file, or print what can be configured.
    Config(config::Arguments),
    /// Say what is damaged in the data of a server that does not run, and what is lost by it; repair it.
    Repair(repair::Arguments),
    /// Make, list, disable and delete access keys.
    Key(key::Arguments),
    /// Use queues: create, list, show, set, delete, clear, rewind, send, receive.
    Queue(queue::Arguments),
    /// Use topics: create, list, show, set, delete, publish.
    Topic(topic::Arguments),
    /// Say who gets what is published: create, list, show, set, delete.
    Subscription(subscription::Arguments),
    /// Measure throughput, latency, CPU and memory.
    Bench(bench::Arguments),
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        let format = self.log_format;
        match self.command {
            Command::Dev(arguments) => dev::run(arguments, format),
            Command::Serve(arguments) => serve::run(&arguments, format),
            Command::Cluster(arguments) => runtime()?.block_on(cluster::run(arguments)),
            Command::Config(arguments) => config::run(&arguments),
            Command::Repair(arguments) => {
                logs::start(format.unwrap_or(logs::Format::Text), "warn")?;
                repair::run(&arguments)
            }
            Command::Key(arguments) => {
                logs::start(format.unwrap_or(logs::Format::Text), "warn")?;
                system::keep_memory_private();
                key::run(&arguments)
            }
            Command::Queue(arguments) => runtime()?.block_on(queue::run(arguments)),
            Command::Topic(arguments) => runtime()?.block_on(topic::run(arguments)),
            Command::Subscription(arguments) => runtime()?.block_on(subscription::run(arguments)),
            Command::Bench(arguments) => runtime()?.block_on(bench::run(arguments)),
        }
    }
}

/// A runtime for commands that are clients.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// Why a server ends.
enum Ending {
    Asked,
    Failed(Failure),
    OtherKeys,
}

/// Serves until asked to stop or until it cannot serve on. `ready` runs when stopping works.
fn serve_until_stopped(server: Server, ready: impl FnOnce(&Server)) -> Result<()> {
    let runtime = runtime()?;
    let ending = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let say_ready = async {
            server.wait_until_useful().await;
            if server.node().failure().is_none() {
                ready(&server);
            }
            std::future::pending::<()>().await;
        };
        anyhow::Ok(tokio::select! {
            _ = terminate.recv() => Ending::Asked,
            _ = interrupt.recv() => Ending::Asked,
            reason = server.node().failed() => Ending::Failed(reason),
            () = server.needs_restart() => Ending::OtherKeys,
            () = say_ready => Ending::Asked,
        })
    })?;
    let Failure { kind, reason } = match ending {
        Ending::Failed(failure) => failure,
        Ending::Asked => {
            tracing::info!("stopping");
            server.shutdown();
            return Ok(());
        }
        Ending::OtherKeys => {
            let reason = "this node had begun without the cluster's access keys and has them now: start it again, so \
                          that its receipt handles and signatures of pushes are those of the others";
            tracing::error!(reason, "this node ends");
            server.shutdown();
            return Err(Exit::Unreachable.error(reason));
        }
    };
    let exit = server::exit_of_failure(kind);
    if exit != Exit::Storage {
        tracing::error!(reason, "this node is not let into its cluster and ends");
        server.shutdown();
        return Err(exit.error(reason));
    }
    tracing::error!(reason, "the storage failed; this process ends at once");
    // What is in memory may be ahead of a disk that can no longer be trusted: no flush, no goodbye.
    #[expect(
        clippy::exit,
        reason = "nothing that runs may run on after a failed fsync"
    )]
    std::process::exit(i32::from(Exit::Storage as u8))
}
