//! A receive under way on this node.

use anser_broker::{
    error::Error,
    id::{QueueId, ShardId},
};
use anser_replica::{ReceiveRequest, Ticket};

use crate::{
    event::{Request, Response},
    port::{Answered, Port},
};

/// Dropped before its end it is cancelled, and what it got is given back.
pub(super) struct Receiving<'a, P: Port> {
    port: &'a P,
    shard: ShardId,
    queue: QueueId,
    ticket: Ticket,
    answered: Option<Answered>,
}

impl<'a, P: Port> Receiving<'a, P> {
    pub(super) fn begin(
        port: &'a P,
        shard: ShardId,
        request: ReceiveRequest,
    ) -> Result<Self, Error> {
        let queue = request.queue;
        let (ticket, answered) = port.submit(shard, Request::Receive(request))?;
        Ok(Self {
            port,
            shard,
            queue,
            ticket,
            answered: Some(answered),
        })
    }

    pub(super) async fn end(mut self) -> Result<Response, Error> {
        let answered = self
            .answered
            .as_mut()
            .expect("a receive is waited for once");
        let response = answered.await.unwrap_or(Err(Error::Unknown));
        self.answered = None;
        response
    }
}

impl<P: Port> Drop for Receiving<'_, P> {
    fn drop(&mut self) {
        let Some(mut answered) = self.answered.take() else {
            return;
        };
        answered.close();
        match answered.try_recv() {
            Ok(Ok(Response::Messages(messages))) if !messages.is_empty() => {
                let receipts = messages
                    .iter()
                    .map(|message| message.receipt.sequence)
                    .collect();
                self.port.give_back(self.shard, self.queue, receipts);
            }
            Ok(_) => {}
            Err(_) => self.port.cancel(self.shard, self.ticket),
        }
    }
}
