//! A receive under way on this node.

use anser_broker::{
    error::Error,
    id::{QueueId, ShardId},
};
use anser_replica::{ReceiveRequest, Ticket};

use crate::{
    desk::{Answered, Desk},
    event::{HostEvent, Request, Response},
};

/// Dropped before its end it is cancelled, and what it got is given back.
pub(crate) struct Receiving<'a> {
    desk: &'a Desk,
    shard: ShardId,
    queue: QueueId,
    ticket: Ticket,
    answered: Option<Answered>,
}

impl<'a> Receiving<'a> {
    pub(crate) fn begin(
        desk: &'a Desk,
        shard: ShardId,
        request: ReceiveRequest,
    ) -> Result<Self, Error> {
        let queue = request.queue;
        let (ticket, answered) = desk.hand_in(shard, Request::Receive(request))?;
        Ok(Self {
            desk,
            shard,
            queue,
            ticket,
            answered: Some(answered),
        })
    }

    pub(crate) async fn end(mut self) -> Result<Response, Error> {
        let answered = self
            .answered
            .as_mut()
            .expect("a receive is waited for once");
        let response = answered.await.unwrap_or(Err(Error::Unknown));
        self.answered = None;
        response
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        let Some(mut answered) = self.answered.take() else {
            return;
        };
        answered.close();
        let event = match answered.try_recv() {
            Ok(Ok(Response::Messages(messages))) if !messages.is_empty() => {
                let receipts = messages
                    .iter()
                    .map(|message| message.receipt.sequence)
                    .collect();
                HostEvent::GiveBack {
                    shard: self.shard,
                    queue: self.queue,
                    receipts,
                }
            }
            Ok(_) => return,
            Err(_) => HostEvent::Cancel {
                shard: self.shard,
                ticket: self.ticket,
            },
        };
        // A runner that is gone has no lease to end.
        self.desk.send(self.shard, event.into()).ok();
    }
}
