//! New connections: resolve, judge, dial, and agree on TLS, all within one time limit.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    task::spawn_local,
    time::{self, Instant},
};

use crate::{
    config::Config,
    connection::{Connection, Peer},
    endpoint::{Endpoint, Security},
    failure::{Failure, Kind},
    guard::Guard,
    hosts::Host,
    prelude::{Counted, Prelude},
    resolver::Resolver,
    sender::To,
    trust::Trust,
};

/// How many of a name's addresses are tried.
const ADDRESSES_MAX: usize = 4;

type Stream = Counted<TcpStream>;

pub(crate) struct Connector {
    guard: Guard,
    resolver: Arc<dyn Resolver>,
    trust: Trust,
    time: Duration,
}

impl Connector {
    pub(crate) fn new(config: &Config, trust: Trust) -> Self {
        Self {
            guard: Guard::new(config),
            resolver: Arc::clone(&config.resolver),
            trust,
            time: config.connect_time,
        }
    }

    pub(crate) async fn connect(&self, to: To<'_>) -> Result<Connection, Failure> {
        time::timeout(self.time, self.open(to))
            .await
            .unwrap_or_else(|_| Err(Failure::no_connection(self.time)))
    }

    /// A place at an address, for a connection that is used again. Who waits has a message already,
    /// so that it waits for half the time to connect at most.
    pub(crate) async fn place_at(
        &self,
        peer: SocketAddr,
        host: &Host,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        place_within(self.time / 2, peer, host).await
    }

    async fn open(&self, to: To<'_>) -> Result<Connection, Failure> {
        let endpoint = to.endpoint;
        // Before its name is looked up, or the failure would tell whether there is such a name.
        self.guard.judge_port(endpoint.port)?;
        let addresses = match endpoint.address() {
            Ok(address) => vec![address],
            Err(name) => self.resolve(name, to).await?,
        };
        self.guard.judge(&addresses, endpoint.port)?;
        let (stream, peer) = self.dial(&addresses, to).await?;
        let connection = match endpoint.security {
            Security::Plain => Connection::new(stream, Security::Plain, peer).await,
            Security::Tls => {
                let stream = self.secure(stream, endpoint).await?;
                Connection::new(stream, Security::Tls, peer).await
            }
        };
        connection.map_err(|error| Failure::broken(&error))
    }

    /// The lookup goes on if nobody waits for it any more, and keeps its places until it ends: the
    /// system's resolver cannot be interrupted.
    async fn resolve(&self, name: &str, to: To<'_>) -> Result<Vec<IpAddr>, Failure> {
        // In this order, so that an account with slow names holds no place of a name of others.
        let account_place = to.account.place_to_look_up().await;
        let places = (account_place, to.host.place_to_look_up().await);
        let lookup = self.resolver.resolve(name);
        let lookup = spawn_local(async move {
            let found = lookup.await;
            drop(places);
            found
        });
        match lookup
            .await
            .map_err(io::Error::other)
            .and_then(|found| found)
        {
            Ok(addresses) if addresses.is_empty() => {
                Err(Failure::no_address(Kind::Resolve, "its name has none"))
            }
            Ok(addresses) => Ok(addresses),
            Err(error) => Err(Failure::no_address(Kind::Resolve, error)),
        }
    }

    /// Tries the addresses in turn, each for its share of the time.
    async fn dial(&self, addresses: &[IpAddr], to: To<'_>) -> Result<(Stream, Peer), Failure> {
        let addresses = &addresses[..addresses.len().min(ADDRESSES_MAX)];
        let share = self.time / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let mut last = Failure::no_connection(self.time);
        for address in addresses {
            let address = SocketAddr::new(*address, to.endpoint.port);
            match self.dial_one(address, share, to.host).await {
                Ok(dialled) => return Ok(dialled),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn dial_one(
        &self,
        address: SocketAddr,
        share: Duration,
        host: &Host,
    ) -> Result<(Stream, Peer), Failure> {
        let end = Instant::now() + share;
        let place = place_within(share / 2, address, host).await?;
        let stream = time::timeout_at(end, TcpStream::connect(address))
            .await
            .map_err(|_| Failure::no_connection(self.time))?
            .map_err(|error| Failure::connect(&error))?;
        // Only a matter of speed.
        _ = stream.set_nodelay(true);
        let prelude = Prelude::default();
        let peer = Peer {
            address,
            place,
            prelude: prelude.clone(),
        };
        Ok((Counted::new(stream, prelude), peer))
    }

    async fn secure(
        &self,
        stream: Stream,
        endpoint: &Endpoint,
    ) -> Result<tokio_rustls::client::TlsStream<Stream>, Failure> {
        let failed = |reason: String| Failure::new(Kind::Tls, reason);
        let connector = self.trust.0.as_ref().ok_or_else(|| {
            failed("there are no root certificates to check the host's by".into())
        })?;
        let name = match endpoint.address() {
            Ok(address) => ServerName::from(address),
            Err(name) => ServerName::try_from(name.to_owned()).map_err(|_| {
                failed("the host's name is none that a certificate can have".into())
            })?,
        };
        connector
            .agree(name, stream)
            .await
            .map_err(|error| failed(format!("TLS: {error}")))
    }
}

async fn place_within(
    length: Duration,
    peer: SocketAddr,
    host: &Host,
) -> Result<OwnedSemaphorePermit, Failure> {
    time::timeout(length, host.place_at(peer))
        .await
        .map_err(|_| Failure::crowded(peer))
}

#[cfg(test)]
mod tests {
    use anser_broker::id::AccountId;
    use tokio::{net::TcpListener, task::LocalSet};

    use super::*;
    use crate::{accounts::Accounts, hosts::Hosts};

    #[tokio::test]
    async fn https_without_roots_says_what_is_missing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let endpoint = Endpoint::parse(&url).unwrap();
        let config = Config {
            allow: vec!["127.0.0.1".parse().unwrap()],
            ..Config::default()
        };
        let host = Hosts::new(&config).of(Some(&endpoint));
        let to = To {
            endpoint: &endpoint,
            host: &host,
            account: &Accounts::new(&config).of(AccountId(1)),
        };
        let connector = Connector::new(&config, Trust(None));
        let failure = LocalSet::new()
            .run_until(connector.connect(to))
            .await
            .unwrap_err();
        assert_eq!(failure.kind, Kind::Tls);
        assert_eq!(
            failure.reason,
            "there are no root certificates to check the host's by"
        );
    }
}
