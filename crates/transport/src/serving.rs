//! The side of a connection that a peer dialled: its messages and requests in, answers out.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
};

use bytes::Bytes;
use tokio::task::{AbortHandle, spawn_local};

use crate::{
    batch::Batch,
    config::Limits,
    frame::{ANSWER_LOST, Frame, Kind, Violation, cost},
    handler::{BoxFuture, Caller, Handler},
    lane::{Full, Lane},
    session::Side,
};

/// What refusals may take in the lane beyond its bound.
const REFUSALS_BYTES: usize = 1 << 20;

/// One who joins asks one question at a time.
const JOINING_REQUESTS: usize = 1;

/// Lives as long as its connection, then drops what is under way.
#[derive(Debug)]
pub(crate) struct Serving(Rc<Inner>);

struct Inner {
    caller: Caller,
    handler: Arc<dyn Handler>,
    lane: Lane,
    limits: Limits,
    requests_max: usize,
    /// The number of the last request.
    last: Cell<u64>,
    running: RefCell<BTreeMap<u64, Running>>,
    /// Of the requests that are running.
    bytes: Cell<usize>,
    /// Requests that wait until answers have left.
    held: RefCell<BTreeMap<u64, Waker>>,
}

struct Running {
    task: AbortHandle,
    cost: usize,
}

impl Serving {
    pub(crate) fn new(caller: Caller, handler: Arc<dyn Handler>, limits: Limits) -> Self {
        Self(Rc::new(Inner {
            caller,
            handler,
            lane: Lane::new(limits.queue_bytes),
            limits,
            requests_max: match caller {
                Caller::Node(_) => limits.requests,
                Caller::Joining => JOINING_REQUESTS,
            },
            last: Cell::new(0),
            running: RefCell::default(),
            bytes: Cell::new(0),
            held: RefCell::default(),
        }))
    }

    fn request(&self, number: u64, bytes: Bytes) -> Result<(), Violation> {
        let inner = &self.0;
        if number <= inner.last.get() {
            return Err(Violation::Number);
        }
        inner.last.set(number);
        let cost = cost(bytes.len());
        if !inner.has_room(cost) {
            return inner
                .lane
                .push_beyond(Frame::bare(Kind::Refuse, number), REFUSALS_BYTES)
                .map_err(|Full| Violation::Greedy);
        }
        let answer = inner.handler.request(inner.caller, bytes);
        let shared = Rc::clone(inner);
        let task = spawn_local(async move {
            let answer = shared.drive(number, answer).await;
            shared.finish(number, answer);
        });
        let task = task.abort_handle();
        let running = Running { task, cost };
        inner.bytes.set(inner.bytes.get() + cost);
        inner.running.borrow_mut().insert(number, running);
        Ok(())
    }

    fn cancel(&self, number: u64) -> Result<(), Violation> {
        if number > self.0.last.get() {
            return Err(Violation::Number);
        }
        // Not in there: the answer is on its way.
        if let Some(running) = self.0.remove(number) {
            running.task.abort();
        }
        Ok(())
    }
}

impl Inner {
    /// One request may always run, however large it is.
    fn has_room(&self, cost: usize) -> bool {
        let running = self.running.borrow().len();
        running < self.requests_max
            && (running == 0 || self.bytes.get() + cost <= self.limits.queue_bytes)
    }

    fn remove(&self, number: u64) -> Option<Running> {
        self.held.borrow_mut().remove(&number);
        let running = self.running.borrow_mut().remove(&number)?;
        self.bytes.set(self.bytes.get() - running.cost);
        Some(running)
    }

    /// Lets a request work unless the answers before it do not leave. So at most one answer is
    /// beyond the bound of the lane.
    async fn drive(&self, number: u64, mut answer: BoxFuture<'static, Bytes>) -> Bytes {
        poll_fn(|context| {
            if self.lane.is_full() {
                let waker = context.waker().clone();
                self.held.borrow_mut().insert(number, waker);
                return Poll::Pending;
            }
            answer.as_mut().poll(context)
        })
        .await
    }

    fn finish(&self, number: u64, answer: Bytes) {
        self.remove(number);
        let frame = if answer.len() <= self.limits.frame_bytes {
            Frame::new(Kind::Answer, number, answer)
        } else {
            tracing::error!(bytes = answer.len(), caller = ?self.caller, "an answer is too long for a frame");
            Frame {
                flags: ANSWER_LOST,
                ..Frame::bare(Kind::Refuse, number)
            }
        };
        self.lane
            .push_beyond(frame, usize::MAX)
            .unwrap_or_else(|Full| unreachable!("there is no bound"));
    }
}

impl Side for Serving {
    fn lane(&self) -> &Lane {
        &self.0.lane
    }

    fn fill(&self, batch: &mut Batch) {
        self.0.lane.fill(batch, |_| true);
    }

    fn begun(&self, _: u64) {}

    fn released(&self) {
        if self.0.held.borrow().is_empty() || self.0.lane.is_full() {
            return;
        }
        for waker in self.0.held.take().into_values() {
            waker.wake();
        }
    }

    fn frame(&self, frame: Frame) -> Result<(), Violation> {
        match (frame.kind, self.0.caller) {
            (Kind::Message, Caller::Node(node)) => {
                self.0.handler.message(node, frame.payload);
                Ok(())
            }
            (Kind::Request, _) => self.request(frame.number, frame.payload),
            (Kind::Cancel, _) => self.cancel(frame.number),
            _ => Err(Violation::Direction),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        for running in self.0.running.take().into_values() {
            running.task.abort();
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Serving")
            .field("caller", &self.caller)
            .field("running", &self.running.borrow().len())
            .finish_non_exhaustive()
    }
}
