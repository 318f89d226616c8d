//! Endpoints that are no good: one that refuses connections, and one that never answers.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::{
    io,
    net::{TcpListener, TcpSocket},
    task::JoinSet,
};

/// A port that nobody else can have and that refuses connections: bound, but not listening.
#[derive(Debug)]
pub(super) struct Refusing {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl Refusing {
    pub(super) fn new() -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket
            .bind((Ipv4Addr::LOCALHOST, 0).into())
            .context("cannot take a port")?;
        Ok(Self {
            address: socket.local_addr()?,
            _socket: socket,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// A port that accepts connections, reads what comes and never answers. Ends when dropped.
#[derive(Debug)]
pub(super) struct Silent {
    address: SocketAddr,
    _listening: JoinSet<()>,
}

impl Silent {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("cannot take a port")?;
        let address = listener.local_addr()?;
        let mut listening = JoinSet::new();
        listening.spawn(listen(listener));
        Ok(Self {
            address,
            _listening: listening,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// Ends only by being dropped, or when nothing can be accepted any more.
async fn listen(listener: TcpListener) {
    let mut open = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        while open.try_join_next().is_some() {}
        open.spawn(async move {
            // How it ends does not matter.
            io::copy(&mut stream, &mut io::sink()).await.ok();
        });
    }
}
