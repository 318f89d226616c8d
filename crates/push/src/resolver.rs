//! Names into addresses.

use std::{fmt, io, net::IpAddr, pin::Pin};

/// The addresses of a name, when they are known.
pub type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Who turns names into addresses. Asked anew for each connection.
pub trait Resolver: fmt::Debug + Send + Sync {
    fn resolve(&self, name: &str) -> Addresses;
}

/// The system's resolver, with its hosts file and its settings.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str) -> Addresses {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}
