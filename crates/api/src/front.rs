//! The door: the only way from a dialect to the [`Service`], the same for all of them.
//!
//! A dialect reads a request in its own order of checks, makes an operation of it, and writes the document for its
//! output. What is between is here: rates, memory for answers, the end of waits, the second look at the key after one,
//! what goes back if the client hears of no message, and the record of each request, whichever way it ended. What
//! is refused here is a [`Refused`], for which each dialect has its word.

use std::sync::Arc;

use anser_broker::{
    context::{Context, Principal},
    error::Error,
    id::AccountId,
    limits,
    name::QueueName,
    op::{Class, Operation, ReceivedMessage, Resource, ReturnMessages},
    service::Service,
    time::Timestamp,
};
use bytes::Bytes;

use crate::{
    clock::{Clock, WallClock},
    dialect::Dialect,
    key::{AccessKey, KeyStore},
    memory::{Full, Memory},
    metrics::{HttpMetrics, add},
    numbers::RequestNumbers,
    presence::Presence,
    rates::{Limiter, OverRate, Rates},
    record::{AccessRecord, Arrival},
    stop::Stop,
};

/// Bytes of the largest answer that a connection has room for anyhow.
const UNCOUNTED: usize = 4 << 10;

#[derive(Debug)]
pub(crate) struct Front<S> {
    service: S,
    keys: Keys,
    rates: Limiter,
    stop: Stop,
    /// Of answers that have not left yet, by the account that asked.
    answers: Arc<Memory<AccountId>>,
    clock: Clock,
    numbers: RequestNumbers,
    metrics: Arc<HttpMetrics>,
}

struct Keys(Arc<dyn KeyStore>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Keys")
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller<'a> {
    /// With which the request proved it.
    pub(crate) key: Arc<AccessKey>,
    pub(crate) presence: &'a Presence,
}

/// What the door shares with nobody, and is told when it is built.
#[derive(Debug)]
pub(crate) struct Settings {
    /// None are checked if there are none.
    pub(crate) rates: Option<Rates>,
    /// Bytes of all answers that have not left yet.
    pub(crate) answers_bytes: usize,
}

/// Why a request ends without the output of its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The account or the resource has more operations of this class than its rate allows.
    Rate(Class),
    /// Answers that have not left yet take as much memory as they may.
    Memory,
    /// The client left or the server stops: as if the time of the wait were up.
    WaitEnded,
    /// The key was there when the wait began.
    NoSuchKey,
    KeyDisabled,
    /// By the service.
    Operation(Error),
}

impl From<Full> for Refused {
    fn from(_: Full) -> Self {
        Self::Memory
    }
}

impl<S: Service> Front<S> {
    pub(crate) fn new(
        service: S,
        keys: Arc<dyn KeyStore>,
        clock: WallClock,
        stop: Stop,
        metrics: Arc<HttpMetrics>,
        settings: &Settings,
    ) -> Self {
        Self {
            service,
            keys: Keys(keys),
            rates: Limiter::new(settings.rates),
            stop,
            answers: Memory::new(settings.answers_bytes),
            clock: Clock(clock),
            numbers: RequestNumbers::new(),
            metrics,
        }
    }

    /// By the wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Begins the record of a request.
    pub(crate) fn arrived(&self, dialect: Dialect, arrival: Arrival) -> AccessRecord {
        AccessRecord::new(dialect, self.numbers.next(), arrival)
    }

    /// Ends the record of a request; `code` is the place of what the client was told among the dialect's codes.
    pub(crate) fn answered(&self, record: &AccessRecord, code: usize) {
        record.end(&self.metrics, code);
    }

    /// Counts a request that is in no dialect.
    pub(crate) fn not_spoken(&self) {
        add(&self.metrics.not_found, 1);
    }

    /// Does an operation for who asks, and gives the bytes of the document that `write` makes of its output; they
    /// count for the account until they have left.
    pub(crate) async fn perform<O: Operation, E: From<Refused>>(
        &self,
        record: &mut AccessRecord,
        caller: &Caller<'_>,
        operation: O,
        write: impl FnOnce(O::Output) -> Result<Vec<u8>, E>,
    ) -> Result<Bytes, E> {
        let owner = caller.key.account();
        record.asks(&caller.key, &operation);
        let counted = match self.rates.admit(owner, &operation) {
            Ok(counted) => counted,
            Err(OverRate) => return Err(Refused::Rate(O::CLASS).into()),
        };
        let queue = awaited(&operation);
        // A receive may wait for long and find nothing, so it does not hold the memory of all that it
        // could bring: it looks whether there is room, and takes what it needs once the bodies are there.
        if queue.is_some() && !self.answers.has_room(owner, bytes_most(&operation)) {
            return Err(Refused::Memory.into());
        }
        let output = self.execute(record, caller, operation).await?;
        let received = O::received(&output);
        record.receives(received.len());
        if let Some(counted) = counted {
            self.rates.charge(&counted, received.len());
        }
        let back = queue.and_then(|queue| given_back(queue, received));
        let answer = self.answer::<O, E>(caller, output, write);
        if answer.is_err()
            && let Some(operation) = back
        {
            let context = context(record, caller);
            // If this fails the messages come back when their leases end.
            self.service.execute(context, operation).await.ok();
        }
        answer
    }

    async fn execute<O: Operation>(
        &self,
        record: &mut AccessRecord,
        caller: &Caller<'_>,
        operation: O,
    ) -> Result<O::Output, Refused> {
        let execution = self.service.execute(context(record, caller), operation);
        let executed = if O::CLASS == Class::Receive {
            let mut stop = self.stop.clone();
            tokio::select! {
                biased;
                executed = execution => executed,
                // What it might have got goes back.
                _ = stop.wait_for(Option::is_some) => return Err(Refused::WaitEnded),
                () = caller.presence.lost() => return Err(Refused::WaitEnded),
            }
        } else {
            execution.await
        };
        executed.map_err(|error| {
            record.refused(error);
            Refused::Operation(error)
        })
    }

    /// What the client hears, unless it is no longer allowed to, or what others of its account have not
    /// read yet takes all memory.
    fn answer<O: Operation, E: From<Refused>>(
        &self,
        caller: &Caller<'_>,
        output: O::Output,
        write: impl FnOnce(O::Output) -> Result<Vec<u8>, E>,
    ) -> Result<Bytes, E> {
        if O::CLASS == Class::Receive {
            // It may have waited for long, and the key's time may have ended meanwhile.
            self.check_again(&caller.key)?;
        }
        let mut memory = self.answers.nothing(caller.key.account());
        let bodies = O::received(&output).iter();
        let bytes = bodies.map(|message| message.body.len()).sum();
        memory.hold(bytes).map_err(Refused::from)?;
        let document = write(output)?;
        if document.capacity() <= UNCOUNTED {
            return Ok(document.into());
        }
        memory.hold(document.capacity()).map_err(Refused::from)?;
        Ok(memory.into_bytes(document))
    }

    /// Whether a key that was good a while ago still is.
    fn check_again(&self, key: &AccessKey) -> Result<(), Refused> {
        match self.keys.0.find(key.id()) {
            None => Err(Refused::NoSuchKey),
            Some(key) if !key.enabled() => Err(Refused::KeyDisabled),
            Some(_) => Ok(()),
        }
    }
}

/// What goes with the operation.
fn context(record: &AccessRecord, caller: &Caller<'_>) -> Context {
    let account = caller.key.account();
    Context {
        owner: account,
        caller: Principal {
            account,
            key: caller.key.shared_id(),
        },
        request: record.request,
        source: Some(record.source()),
    }
}

/// The queue whose messages an operation leases, and may wait for.
fn awaited<O: Operation>(operation: &O) -> Option<QueueName> {
    match operation.resource() {
        Resource::Queue(queue) if O::CLASS == Class::Receive => Some(queue.clone()),
        _ => None,
    }
}

/// The bytes of the bodies that a receive may bring at most.
fn bytes_most<O: Operation>(operation: &O) -> usize {
    let body_bytes = usize::try_from(limits::BODY_BYTES_MAX).unwrap_or(usize::MAX);
    operation.messages().saturating_mul(body_bytes)
}

/// What makes the messages of a receive available to others at once.
fn given_back(queue: QueueName, received: &[ReceivedMessage]) -> Option<ReturnMessages> {
    let receipts: Vec<_> = received.iter().map(|message| message.receipt).collect();
    (!receipts.is_empty()).then_some(ReturnMessages { queue, receipts })
}

#[cfg(test)]
mod tests;
