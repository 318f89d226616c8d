//! Places for pushes: a push holds one of its host, one of its account, one of all, and memory for
//! its body.
//!
//! They are waited for before a message is taken, so that no lease runs while its holder waits, and
//! in one order. Who waits for a crowded host or a crowded account holds nothing that others need.

use std::{rc::Rc, sync::Arc};

use anser_broker::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    accounts::{Account, Share},
    config::Config,
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
    _host: OwnedSemaphorePermit,
    _account: Share,
    _all: OwnedSemaphorePermit,
}

/// The part of a place that a body needs.
#[derive(Debug)]
pub(crate) struct Memory {
    account: Share,
    all: OwnedSemaphorePermit,
}

/// A place as far as its host and its account are concerned.
struct Entry {
    host: OwnedSemaphorePermit,
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
    pub(crate) async fn take(
        &self,
        host: &Rc<Host>,
        account: &Rc<Account>,
        most: usize,
    ) -> Vec<Place> {
        let entry = Entry::get(host, account).await;
        let all = hosts::acquire(&self.all).await;
        let memory = Arc::clone(&self.memory)
            .acquire_many_owned(BODY_KIB_MAX)
            .await
            .expect("memory is never closed");
        let mut places = vec![Place::new(entry, all, memory)];
        while places.len() < most {
            let Some(place) = self.take_now(host, account) else {
                break;
            };
            places.push(place);
        }
        places
    }

    fn take_now(&self, host: &Rc<Host>, account: &Rc<Account>) -> Option<Place> {
        let entry = Entry::of(host.place_now()?, account)?;
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let memory = Arc::clone(&self.memory);
        let memory = memory.try_acquire_many_owned(BODY_KIB_MAX).ok()?;
        Some(Place::new(entry, all, memory))
    }
}

impl Entry {
    async fn get(host: &Rc<Host>, account: &Rc<Account>) -> Self {
        loop {
            if let Some(entry) = Self::of(host.place().await, account) {
                return entry;
            }
            account.changed().await;
            if let Some(place) = host.place_now() {
                if let Some(entry) = Self::of(place, account) {
                    return entry;
                }
            } else {
                // The host is crowded by now: what the account got back is for somebody else.
                account.pass_on(BODY_BYTES_MAX);
            }
        }
    }

    fn of(host: OwnedSemaphorePermit, account: &Rc<Account>) -> Option<Self> {
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
