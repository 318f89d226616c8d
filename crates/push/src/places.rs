//! Places for pushes: a push holds one of its host, one of its account, one of all, and memory for
//! its body.
//!
//! They are waited for before a message is taken, so that no lease runs while its holder waits, and
//! in one order. Who waits for a crowded host or a crowded account holds nothing that others need.

use std::{rc::Rc, sync::Arc};

use anser_broker::{id::SubscriptionId, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    accounts::{Account, Share},
    config::Config,
    fair::FairPlace,
    hosts::{self, Host},
};

const KIB: usize = 1 << 10;
const BODY_BYTES_MAX: usize = limits::BODY_BYTES_MAX as usize;
/// What the largest body takes, in KiB.
const BODY_KIB_MAX: u32 = limits::BODY_BYTES_MAX >> 10;

#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    /// In KiB.
    memory: Arc<Semaphore>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) line: Line,
    pub(crate) memory: Memory,
}

/// The part of a place that a connection needs while it is in use, after the body was sent too.
#[derive(Debug)]
pub(crate) struct Line {
    _host: FairPlace,
    _account: Share,
    _all: OwnedSemaphorePermit,
}

/// The part of a place that a body needs.
#[derive(Debug)]
pub(crate) struct Memory {
    account: Share,
    all: OwnedSemaphorePermit,
}

/// Whose places these are, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'wait> {
    pub(crate) subscription: SubscriptionId,
    pub(crate) host: &'wait Rc<Host>,
    pub(crate) account: &'wait Rc<Account>,
}

/// A place as far as its host and its account are concerned.
struct Entry {
    host: FairPlace,
    line: Share,
    memory: Share,
}

impl Places {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            all: Arc::new(Semaphore::new(config.pushes)),
            memory: Arc::new(Semaphore::new(config.bodies_bytes / KIB)),
        }
    }

    /// Between one and `most` places, as soon as there is one.
    pub(crate) async fn take(&self, wanted: Wanted<'_>, most: usize) -> Vec<Place> {
        let entry = Entry::get(wanted).await;
        let all = hosts::acquire(&self.all).await;
        let memory = Arc::clone(&self.memory)
            .acquire_many_owned(BODY_KIB_MAX)
            .await
            .expect("memory is never closed");
        let mut places = vec![Place::new(entry, all, memory)];
        while places.len() < most {
            let Some(place) = self.take_now(wanted) else {
                break;
            };
            places.push(place);
        }
        places
    }

    fn take_now(&self, wanted: Wanted<'_>) -> Option<Place> {
        let entry = Entry::of(wanted.place_now()?, wanted.account)?;
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let memory = Arc::clone(&self.memory);
        let memory = memory.try_acquire_many_owned(BODY_KIB_MAX).ok()?;
        Some(Place::new(entry, all, memory))
    }
}

impl Wanted<'_> {
    fn place_now(&self) -> Option<FairPlace> {
        self.host.place_now(self.subscription)
    }
}

impl Entry {
    async fn get(wanted: Wanted<'_>) -> Self {
        let account = wanted.account;
        loop {
            let place = wanted.host.place(wanted.subscription).await;
            if let Some(entry) = Self::of(place, account) {
                return entry;
            }
            account.changed().await;
            if let Some(place) = wanted.place_now() {
                if let Some(entry) = Self::of(place, account) {
                    return entry;
                }
            } else {
                // The host is crowded by now: what the account got back is for somebody else.
                account.pass_on(BODY_BYTES_MAX);
            }
        }
    }

    fn of(host: FairPlace, account: &Rc<Account>) -> Option<Self> {
        let (line, memory) = account.share_now(BODY_BYTES_MAX)?;
        Some(Self { host, line, memory })
    }
}

impl Place {
    fn new(entry: Entry, all: OwnedSemaphorePermit, memory: OwnedSemaphorePermit) -> Self {
        Self {
            line: Line {
                _host: entry.host,
                _account: entry.line,
                _all: all,
            },
            memory: Memory {
                account: entry.memory,
                all: memory,
            },
        }
    }
}

impl Memory {
    /// Gives back what a body of this size does not need.
    pub(crate) fn fit(&mut self, body_bytes: usize) {
        let needed = body_bytes.div_ceil(KIB);
        let spare = self.all.num_permits().saturating_sub(needed);
        drop(self.all.split(spare));
        self.account.fit(body_bytes);
    }
}
