//! The dialled connection to one peer, as the rest of the node sees it: up or not, what waits for it,
//! and the requests that wait for an answer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use crate::{
    batch::Batch,
    config::Limits,
    counters::Counters,
    error::{RequestError, SendError},
    frame::{ANSWER_LOST, Frame, Kind, Violation},
    lane::{Full, Lane},
    session::Side,
};

type Outcome = Result<Bytes, RequestError>;

#[derive(Debug)]
pub(crate) struct Link {
    calls: Mutex<Calls>,
    lane: Lane,
    frame_bytes: usize,
    pub(crate) counters: Arc<Counters>,
    /// The peer has connected to this node, so it is there: worth a dial before its time.
    pub(crate) arrived: Notify,
}

/// Requests have ascending numbers, and go out in their order.
#[derive(Debug, Default)]
struct Calls {
    up: bool,
    /// The last number given out.
    last: u64,
    /// The last one that left the lane for a batch.
    taken: u64,
    /// The last one of which a byte may have been sent.
    begun: u64,
    pending: BTreeMap<u64, oneshot::Sender<Outcome>>,
}

/// A request under way. Dropped, it is cancelled.
#[derive(Debug)]
pub(crate) struct Call {
    link: Arc<Link>,
    number: u64,
    outcome: oneshot::Receiver<Outcome>,
}

/// Keeps a link up; dropped when its connection has ended.
#[derive(Debug)]
pub(crate) struct Up<'link>(&'link Link);

impl Link {
    pub(crate) fn new(limits: &Limits, counters: Arc<Counters>) -> Self {
        Self {
            calls: Mutex::default(),
            lane: Lane::new(limits.queue_bytes),
            frame_bytes: limits.frame_bytes,
            counters,
            arrived: Notify::new(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.lock().up
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.lane.bytes()
    }

    pub(crate) fn send(&self, bytes: Bytes) -> Result<(), SendError> {
        if bytes.len() > self.frame_bytes {
            return Err(SendError::TooLong(bytes.len()));
        }
        let calls = self.lock();
        if !calls.up {
            return Err(SendError::NotConnected);
        }
        let pushed = self.lane.push(Frame::new(Kind::Message, 0, bytes));
        drop(calls);
        pushed.map_err(|Full| {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            SendError::Full
        })
    }

    /// Puts a request into the lane.
    pub(crate) fn call(self: Arc<Self>, bytes: Bytes) -> Result<Call, RequestError> {
        if bytes.len() > self.frame_bytes {
            return Err(RequestError::NotSent);
        }
        let mut calls = self.lock();
        if !calls.up {
            return Err(RequestError::NotSent);
        }
        let number = calls.last + 1;
        let frame = Frame::new(Kind::Request, number, bytes);
        if self.lane.push(frame) == Err(Full) {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(RequestError::NotSent);
        }
        let (sender, outcome) = oneshot::channel();
        calls.last = number;
        calls.pending.insert(number, sender);
        drop(calls);
        Ok(Call {
            link: self,
            number,
            outcome,
        })
    }

    /// Opens the link for a new connection.
    pub(crate) fn up(&self) -> Up<'_> {
        self.lock().up = true;
        self.counters.connects.fetch_add(1, Ordering::Relaxed);
        Up(self)
    }

    fn down(&self) {
        let mut calls = self.lock();
        calls.up = false;
        self.lane.clear();
        let pending = std::mem::take(&mut calls.pending);
        let begun = calls.begun;
        // Numbers go on after this connection: none of its requests is taken any more.
        calls.taken = calls.last;
        calls.begun = calls.last;
        drop(calls);
        for (number, sender) in pending {
            let error = if number <= begun {
                RequestError::Lost
            } else {
                RequestError::NotSent
            };
            // Who asked may have gone.
            _ = sender.send(Err(error));
        }
    }

    fn cancel(&self, number: u64) {
        let mut calls = self.lock();
        // Not in there: it has its outcome.
        if calls.pending.remove(&number).is_some() && number <= calls.taken {
            // It must arrive, and there is at most one for each request that was under way.
            _ = self
                .lane
                .push_beyond(Frame::bare(Kind::Cancel, number), usize::MAX);
        }
    }

    fn settle(&self, number: u64, outcome: Outcome) -> Result<(), Violation> {
        let mut calls = self.lock();
        if number > calls.begun {
            return Err(Violation::Number);
        }
        let sender = calls.pending.remove(&number);
        drop(calls);
        if let Some(sender) = sender {
            // Who asked may have gone.
            _ = sender.send(outcome);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Side for Link {
    fn lane(&self) -> &Lane {
        &self.lane
    }

    /// A request whose caller has gone is not sent at all.
    fn fill(&self, batch: &mut Batch) {
        let mut calls = self.lock();
        self.lane.fill(batch, |frame| {
            frame.kind != Kind::Request || calls.pending.contains_key(&frame.number)
        });
        if let Some(number) = batch.last_request() {
            calls.taken = number;
        }
    }

    fn begun(&self, request: u64) {
        self.lock().begun = request;
    }

    fn frame(&self, frame: Frame) -> Result<(), Violation> {
        match frame.kind {
            Kind::Answer => self.settle(frame.number, Ok(frame.payload)),
            Kind::Refuse if frame.flags == ANSWER_LOST => {
                self.settle(frame.number, Err(RequestError::Lost))
            }
            Kind::Refuse => self.settle(frame.number, Err(RequestError::NotSent)),
            _ => Err(Violation::Direction),
        }
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.down();
    }
}

impl Call {
    pub(crate) async fn outcome(mut self) -> Outcome {
        (&mut self.outcome).await.unwrap_or(Err(RequestError::Lost))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.link.cancel(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Arc<Link> {
        let limits = Limits {
            frame_bytes: 100,
            queue_bytes: 1_000,
            ..Limits::default()
        };
        Arc::new(Link::new(&limits, Arc::default()))
    }

    fn taken(link: &Link) -> Batch {
        let mut batch = Batch::default();
        link.fill(&mut batch);
        batch
    }

    #[tokio::test]
    async fn what_was_begun_is_lost_and_the_rest_was_not_sent() {
        let link = link();
        let up = link.up();
        let mut calls = (0..3).map(|_| Arc::clone(&link).call(Bytes::new()).unwrap());
        let (first, second, third) = (
            calls.next().unwrap(),
            calls.next().unwrap(),
            calls.next().unwrap(),
        );
        let mut batch = taken(&link);
        link.begun(batch.begun_within(1).unwrap());
        drop(up);
        assert_eq!(first.outcome().await, Err(RequestError::Lost));
        assert_eq!(second.outcome().await, Err(RequestError::NotSent));
        assert_eq!(third.outcome().await, Err(RequestError::NotSent));
        assert_eq!(link.send(Bytes::new()), Err(SendError::NotConnected));
    }

    #[test]
    fn a_cancelled_request_that_waits_is_not_sent() {
        let link = link();
        let _up = link.up();
        drop(
            Arc::clone(&link)
                .call(Bytes::from_static(b"never"))
                .unwrap(),
        );
        assert_eq!(taken(&link).frames, 0);
        assert_eq!(link.waiting_bytes(), 0);
    }

    #[test]
    fn a_cancelled_request_that_was_taken_is_followed_by_its_cancellation() {
        let link = link();
        let _up = link.up();
        let call = Arc::clone(&link).call(Bytes::new()).unwrap();
        assert_eq!(taken(&link).last_request(), Some(1));
        drop(call);
        assert_eq!(taken(&link).frames, 1);
    }

    #[test]
    fn an_answer_to_what_was_not_asked_is_a_violation() {
        let link = link();
        let _up = link.up();
        let _call = Arc::clone(&link).call(Bytes::new()).unwrap();
        let answer = Frame::new(Kind::Answer, 1, Bytes::new());
        assert_eq!(link.frame(answer), Err(Violation::Number));
        let message = Frame::new(Kind::Message, 0, Bytes::new());
        assert_eq!(link.frame(message), Err(Violation::Direction));
    }

    #[test]
    fn the_lane_is_bounded() {
        let link = link();
        let _up = link.up();
        let message = Bytes::from(vec![0; 36]);
        let taken = (0..20).take_while(|_| link.send(message.clone()).is_ok());
        assert_eq!(taken.count(), 10);
        assert_eq!(link.send(message.clone()), Err(SendError::Full));
        assert_eq!(
            Arc::clone(&link).call(message).unwrap_err(),
            RequestError::NotSent
        );
        assert_eq!(link.send(vec![0; 101].into()), Err(SendError::TooLong(101)));
    }
}
