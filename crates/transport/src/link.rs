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

/// Requests are numbered when they leave the lane, so that numbers ascend in whatever order they leave.
#[derive(Debug, Default)]
struct Calls {
    up: bool,
    /// Of the last request that was made. In the lane it stands for the number.
    last_ticket: u64,
    /// The last number given out.
    last: u64,
    /// The last one of which a byte may have been sent.
    begun: u64,
    /// By ticket.
    pending: BTreeMap<u64, Pending>,
    /// Tickets by number.
    sent: BTreeMap<u64, u64>,
    /// The ticket of the bulk that has left the lane and has no answer: no other one goes before it has.
    bulk: Option<u64>,
}

#[derive(Debug)]
struct Pending {
    sender: oneshot::Sender<Outcome>,
    /// Once it has left the lane for a batch.
    number: Option<u64>,
}

impl Calls {
    /// Numbers a request that leaves the lane, unless its caller has gone: then it is not sent at all.
    fn take(&mut self, frame: &mut Frame) -> bool {
        let ticket = frame.number;
        let Some(pending) = self.pending.get_mut(&ticket) else {
            return false;
        };
        self.last += 1;
        frame.number = self.last;
        pending.number = Some(self.last);
        self.sent.insert(self.last, ticket);
        true
    }

    /// The request has its outcome, or nobody waits for it. Says whether bulk may go that waited for it.
    fn ends(&mut self, ticket: u64) -> bool {
        self.bulk.take_if(|bulk| *bulk == ticket).is_some()
    }
}

/// A request under way. Dropped, it is cancelled.
#[derive(Debug)]
pub(crate) struct Call {
    link: Arc<Link>,
    ticket: u64,
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
        self.call_by(bytes, Lane::push)
    }

    /// Puts a request into the lane that all others may overtake, and that goes when the bulk before it was
    /// answered.
    pub(crate) fn call_bulk(self: Arc<Self>, bytes: Bytes) -> Result<Call, RequestError> {
        self.call_by(bytes, Lane::push_bulk)
    }

    fn call_by(
        self: Arc<Self>,
        bytes: Bytes,
        push: fn(&Lane, Frame) -> Result<(), Full>,
    ) -> Result<Call, RequestError> {
        if bytes.len() > self.frame_bytes {
            return Err(RequestError::NotSent);
        }
        let mut calls = self.lock();
        if !calls.up {
            return Err(RequestError::NotSent);
        }
        let ticket = calls.last_ticket + 1;
        let frame = Frame::new(Kind::Request, ticket, bytes);
        if push(&self.lane, frame) == Err(Full) {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(RequestError::NotSent);
        }
        let (sender, outcome) = oneshot::channel();
        calls.last_ticket = ticket;
        let number = None;
        calls.pending.insert(ticket, Pending { sender, number });
        drop(calls);
        Ok(Call {
            link: self,
            ticket,
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
        // Numbers go on after this connection: none of its requests is under way any more.
        calls.begun = calls.last;
        calls.sent.clear();
        calls.bulk = None;
        drop(calls);
        for Pending { sender, number } in pending.into_values() {
            let error = if number.is_some_and(|number| number <= begun) {
                RequestError::Lost
            } else {
                RequestError::NotSent
            };
            // Who asked may have gone.
            _ = sender.send(Err(error));
        }
    }

    fn cancel(&self, ticket: u64) {
        let mut calls = self.lock();
        // Not in there: it has its outcome.
        let Some(Pending { number, .. }) = calls.pending.remove(&ticket) else {
            return;
        };
        if let Some(number) = number {
            calls.sent.remove(&number);
            // It must arrive, and there is at most one for each request that was under way.
            _ = self
                .lane
                .push_beyond(Frame::bare(Kind::Cancel, number), usize::MAX);
        }
        if calls.ends(ticket) {
            self.lane.wake.notify_one();
        }
    }

    fn settle(&self, number: u64, outcome: Outcome) -> Result<(), Violation> {
        let mut calls = self.lock();
        if number > calls.begun {
            return Err(Violation::Number);
        }
        // Not in there: it was cancelled.
        let Some(ticket) = calls.sent.remove(&number) else {
            return Ok(());
        };
        let pending = calls.pending.remove(&ticket);
        if calls.ends(ticket) {
            self.lane.wake.notify_one();
        }
        drop(calls);
        if let Some(Pending { sender, .. }) = pending {
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

    fn fill(&self, batch: &mut Batch) {
        let mut calls = self.lock();
        self.lane.fill(batch, |frame| {
            frame.kind != Kind::Request || calls.take(frame)
        });
        if calls.bulk.is_none() {
            let mut taken = None;
            self.lane.fill_bulk(batch, |frame| {
                let ticket = frame.number;
                taken = calls.take(frame).then_some(ticket);
                taken.is_some()
            });
            calls.bulk = taken;
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
        self.link.cancel(self.ticket);
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

    fn bulk(link: &Arc<Link>) -> Call {
        Arc::clone(link)
            .call_bulk(Bytes::from_static(b"bulk"))
            .unwrap()
    }

    /// However much bulk there is, what comes after it waits for one frame of it at most.
    #[tokio::test]
    async fn bulk_goes_last_and_one_at_a_time() {
        let link = link();
        let _up = link.up();
        let (first, second, third) = (bulk(&link), bulk(&link), bulk(&link));
        let short = Arc::clone(&link).call(Bytes::new()).unwrap();
        let batch = taken(&link);
        assert_eq!((batch.frames, batch.last_request()), (2, Some(2)));
        link.begun(2);
        // Bulk is under way: only what is short may follow it.
        link.send(Bytes::new()).unwrap();
        assert_eq!(taken(&link).frames, 1);
        assert_eq!(taken(&link).frames, 0);
        let answer = |number, text: &'static str| {
            Frame::new(Kind::Answer, number, Bytes::from_static(text.as_bytes()))
        };
        link.frame(answer(1, "short")).unwrap();
        assert_eq!(taken(&link).frames, 0);
        link.frame(answer(2, "first")).unwrap();
        // One that was given up makes room too, and one that never went takes none.
        assert_eq!(taken(&link).last_request(), Some(3));
        link.begun(3);
        drop(second);
        let fourth = bulk(&link);
        drop(third);
        let batch = taken(&link);
        assert_eq!((batch.frames, batch.last_request()), (2, Some(4)));
        link.begun(4);
        link.frame(answer(4, "fourth")).unwrap();
        assert_eq!(short.outcome().await, Ok(Bytes::from_static(b"short")));
        assert_eq!(first.outcome().await, Ok(Bytes::from_static(b"first")));
        assert_eq!(fourth.outcome().await, Ok(Bytes::from_static(b"fourth")));
    }

    #[test]
    fn bulk_has_a_bound_of_its_own() {
        let link = link();
        let _up = link.up();
        let call = || Arc::clone(&link).call_bulk(Bytes::from(vec![0; 36]));
        let held: Vec<Call> = (0..20).map_while(|_| call().ok()).collect();
        assert_eq!(held.len(), 10);
        assert_eq!(link.waiting_bytes(), 1_000);
        assert_eq!(link.send(Bytes::from(vec![0; 36])), Ok(()));
        let batch = taken(&link);
        assert_eq!(batch.frames, 2);
        link.lane.release(&batch);
        assert_eq!(link.waiting_bytes(), 900);
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
