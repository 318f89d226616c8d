//! What is known of each host and port: how many pushes are under way, and the connections that wait
//! for the next one.

use std::{
    cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc, sync::Arc, time::Duration,
};

use anser_broker::id::SubscriptionId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    config::Config,
    connection::Connection,
    endpoint::{Endpoint, Security},
    fair::{FairPlace, FairPlaces},
    peers::Peers,
};

/// Lookups of one name at once. A name that is slow to resolve shall not take all lookups there are.
const LOOKUPS_MAX: usize = 4;

#[derive(Debug)]
pub(crate) struct Hosts {
    known: RefCell<HashMap<String, Rc<Host>>>,
    pushes: usize,
    idle_places: Arc<Semaphore>,
    times: Times,
    peers: Rc<Peers>,
}

/// How long connections are kept.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// Since they were used.
    idle: Duration,
    /// Since they were opened.
    all: Duration,
}

#[derive(Debug)]
pub(crate) struct Host {
    places: Rc<FairPlaces>,
    lookups: Arc<Semaphore>,
    idle: RefCell<Vec<Idle>>,
    idle_places: Arc<Semaphore>,
    times: Times,
    peers: Rc<Peers>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Idle {
    fn is_usable(&self, now: Instant) -> bool {
        now < self.until && self.connection.is_ready()
    }
}

impl Hosts {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            known: RefCell::default(),
            pushes: config.host_pushes,
            idle_places: Arc::new(Semaphore::new(config.idle_connections)),
            times: Times {
                idle: config.idle_time,
                all: config.connection_time,
            },
            peers: Rc::new(Peers::new(config)),
        }
    }

    /// The host of an endpoint. Endpoints that cannot be read share one.
    pub(crate) fn of(&self, endpoint: Option<&Endpoint>) -> Rc<Host> {
        let name = endpoint.map_or(String::new(), |endpoint| {
            format!("{}:{}", endpoint.host, endpoint.port)
        });
        let mut known = self.known.borrow_mut();
        let host = known.entry(name).or_insert_with(|| {
            Rc::new(Host {
                places: FairPlaces::new(self.pushes),
                lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
                idle: RefCell::default(),
                idle_places: Arc::clone(&self.idle_places),
                times: self.times,
                peers: Rc::clone(&self.peers),
            })
        });
        Rc::clone(host)
    }

    /// Closes connections that were not used for long, and forgets hosts and addresses that nobody
    /// uses.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.known.borrow_mut().retain(|_, host| {
            let mut idle = host.idle.borrow_mut();
            idle.retain(|idle| idle.is_usable(now));
            !idle.is_empty() || Rc::strong_count(host) > 1 || host.is_looked_up()
        });
        self.peers.sweep();
    }

    pub(crate) fn idle_time(&self) -> Duration {
        self.times.idle
    }
}

impl Host {
    pub(crate) async fn place(&self, subscription: SubscriptionId) -> FairPlace {
        self.places.take(subscription).await
    }

    pub(crate) fn place_now(&self, subscription: SubscriptionId) -> Option<FairPlace> {
        self.places.take_now(subscription)
    }

    /// A place at one of its addresses, which other names may have, too.
    pub(crate) async fn place_at(&self, peer: SocketAddr) -> OwnedSemaphorePermit {
        self.peers.place(peer).await
    }

    pub(crate) async fn place_to_look_up(&self) -> OwnedSemaphorePermit {
        acquire(&self.lookups).await
    }

    fn is_looked_up(&self) -> bool {
        self.lookups.available_permits() < LOOKUPS_MAX
    }

    /// A connection that was used before. The one used last is the least likely to be closed by the
    /// other side.
    pub(crate) fn idle_connection(&self, security: Security) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let now = Instant::now();
        idle.retain(|idle| idle.is_usable(now));
        let fits = |idle: &Idle| idle.connection.security == security;
        let found = idle.iter().rposition(fits)?;
        Some(idle.remove(found).connection)
    }

    /// Keeps a connection for the next push, or closes it if it is old or there are too many.
    pub(crate) fn keep(&self, mut connection: Connection) {
        connection.place = None;
        let until = Instant::now() + self.times.idle;
        let until = until.min(connection.opened + self.times.all);
        if let Ok(place) = Arc::clone(&self.idle_places).try_acquire_owned() {
            self.idle.borrow_mut().push(Idle {
                connection,
                until,
                _place: place,
            });
        }
    }
}

pub(crate) async fn acquire(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(places)
        .acquire_owned()
        .await
        .expect("places are never closed")
}
