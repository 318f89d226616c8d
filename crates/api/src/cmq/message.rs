//! The actions that send, receive and delete messages, one or a batch.

use anser_broker::{
    error::Error,
    id::MessageId,
    op::{self, MessagesDeleted, MessagesReceived, MessagesSent, ReceivedMessage},
};
use bytes::Bytes;
use serde::Serialize;

use super::{
    action::{Action, Answered, Asked, Done, Scope, seconds},
    control::QUEUE,
    errors::{Failure, Fault, Refusal},
    limits,
    parameters::{Arguments, Field, Kind},
    shown::{Digits, Text},
};

pub(crate) const BODY: Field = Field::required("msgBody", Kind::Body);
pub(crate) const BODIES: Field = Field::required("msgBody", Kind::Bodies);
const DELAY: Field = Field::optional(
    "delaySeconds",
    Kind::Integer {
        least: 0,
        most: limits::DELAY_SECONDS_MOST,
        beyond: Fault::DelayOutOfRange,
    },
);
const WAIT: Field = Field::optional("pollingWaitSeconds", Kind::integer(0, u64::MAX));
const COUNT: Field = Field::required("numOfMsg", Kind::integer(1, limits::BATCH_MEMBERS as u64));
const HANDLE: Field = Field::required("receiptHandle", Kind::Raw);
const HANDLES: Field = Field::required("receiptHandle", Kind::RawList);

fn send(arguments: &Arguments<'_>, bodies: Vec<Bytes>) -> op::SendMessages {
    op::SendMessages {
        queue: arguments.queue_name(QUEUE.name),
        bodies,
        delay: arguments.integer(DELAY.name).map(seconds),
        token: None,
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageShown {
    msg_id: Digits,
}

impl MessageShown {
    /// Of an action on one message.
    pub(crate) fn only(messages: &[MessageId]) -> Self {
        let first = messages.first().expect("one message has one id");
        Self::from(*first)
    }
}

impl From<MessageId> for MessageShown {
    fn from(message: MessageId) -> Self {
        let msg_id = Digits(message.number());
        Self { msg_id }
    }
}

pub(crate) struct SendMessage;

impl Action for SendMessage {
    const NAME: &'static str = "SendMessage";
    const FIELDS: &'static [Field] = &[QUEUE, BODY, DELAY];
    type Operation = op::SendMessages;
    type Response = MessageShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        Ok((Self, send(arguments, vec![arguments.body(BODY.name)])))
    }

    fn write(self, output: MessagesSent, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(MessageShown::only(&output.messages))
    }
}

pub(crate) struct BatchSendMessage;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessagesShown {
    msg_list: Vec<MessageShown>,
}

impl From<Vec<MessageId>> for MessagesShown {
    fn from(messages: Vec<MessageId>) -> Self {
        let msg_list = messages.into_iter().map(Into::into).collect();
        Self { msg_list }
    }
}

/// The messages of a batch, which together have a bound.
pub(crate) fn batch(arguments: &Arguments<'_>) -> Result<Vec<Bytes>, Refusal> {
    let bodies = arguments.bodies(BODIES.name);
    if bodies.iter().map(Bytes::len).sum::<usize>() > limits::BATCH_BYTES {
        return Err(Fault::BatchTooLarge.into());
    }
    Ok(bodies)
}

impl Action for BatchSendMessage {
    const NAME: &'static str = "BatchSendMessage";
    const FIELDS: &'static [Field] = &[QUEUE, BODIES, DELAY];
    type Operation = op::SendMessages;
    type Response = MessagesShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        Ok((Self, send(arguments, batch(arguments)?)))
    }

    fn write(self, output: MessagesSent, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(output.messages.into())
    }
}

fn receive(arguments: &Arguments<'_>, max: u32) -> op::ReceiveMessages {
    let wait = arguments.integer(WAIT.name);
    op::ReceiveMessages {
        queue: arguments.queue_name(QUEUE.name),
        max,
        visibility: None,
        wait: wait.map(|wait| seconds(wait.min(limits::WAIT_SECONDS))),
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReceivedShown {
    msg_id: Digits,
    receipt_handle: Digits,
    msg_body: Text,
    enqueue_time: u64,
    first_dequeue_time: u64,
    next_visible_time: u64,
    dequeue_count: u32,
}

impl ReceivedShown {
    fn new(message: ReceivedMessage, scope: &Scope<'_>) -> Self {
        Self {
            msg_id: Digits(message.message.number()),
            receipt_handle: Digits(scope.cipher.seal(message.receipt)),
            msg_body: Text(message.body),
            enqueue_time: message.sent.seconds(),
            first_dequeue_time: message.first_received.seconds(),
            next_visible_time: message.visible_again.seconds(),
            dequeue_count: message.deliveries,
        }
    }
}

pub(crate) struct ReceiveMessage;

impl Action for ReceiveMessage {
    const NAME: &'static str = "ReceiveMessage";
    const FIELDS: &'static [Field] = &[QUEUE, WAIT];
    type Operation = op::ReceiveMessages;
    type Response = ReceivedShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        Ok((Self, receive(arguments, 1)))
    }

    fn write(self, output: MessagesReceived, scope: &Scope<'_>) -> Answered<Self> {
        match output.messages.into_iter().next() {
            Some(message) => Ok(ReceivedShown::new(message, scope)),
            None => Err(Fault::NoMessage.into()),
        }
    }
}

pub(crate) struct BatchReceiveMessage;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchReceivedShown {
    msg_info_list: Vec<ReceivedShown>,
}

impl Action for BatchReceiveMessage {
    const NAME: &'static str = "BatchReceiveMessage";
    const FIELDS: &'static [Field] = &[QUEUE, COUNT, WAIT];
    type Operation = op::ReceiveMessages;
    type Response = BatchReceivedShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let count = arguments.integer(COUNT.name).unwrap_or(1);
        let max = u32::try_from(count).expect("a checked count is at most 16");
        Ok((Self, receive(arguments, max)))
    }

    fn write(self, output: MessagesReceived, scope: &Scope<'_>) -> Answered<Self> {
        if output.messages.is_empty() {
            return Err(Fault::NoMessage.into());
        }
        let messages = output.messages.into_iter();
        let msg_info_list = messages
            .map(|message| ReceivedShown::new(message, scope))
            .collect();
        Ok(BatchReceivedShown { msg_info_list })
    }
}

pub(crate) struct DeleteMessage;

impl Action for DeleteMessage {
    const NAME: &'static str = "DeleteMessage";
    const FIELDS: &'static [Field] = &[QUEUE, HANDLE];
    type Operation = op::DeleteMessages;
    type Response = Done;

    fn read(arguments: &Arguments<'_>, scope: &Scope<'_>) -> Asked<Self> {
        let receipt = scope.cipher.open_text(arguments.raw(HANDLE.name));
        let operation = op::DeleteMessages {
            queue: arguments.queue_name(QUEUE.name),
            receipts: vec![receipt.ok_or(Fault::HandleFormat)?],
        };
        Ok((Self, operation))
    }

    fn write(self, output: MessagesDeleted, _scope: &Scope<'_>) -> Answered<Self> {
        let result = output.results.into_iter().next();
        result.expect("a delete of one receipt has one result")?;
        Ok(Done {})
    }
}

/// The handles as they came in, and for each whether it stands for a receipt.
pub(crate) struct BatchDeleteMessage {
    handles: Vec<(String, bool)>,
}

impl Action for BatchDeleteMessage {
    const NAME: &'static str = "BatchDeleteMessage";
    const FIELDS: &'static [Field] = &[QUEUE, HANDLES];
    type Operation = op::DeleteMessages;
    type Response = Done;

    fn read(arguments: &Arguments<'_>, scope: &Scope<'_>) -> Asked<Self> {
        let mut handles = Vec::with_capacity(limits::BATCH_MEMBERS);
        let mut receipts = Vec::with_capacity(limits::BATCH_MEMBERS);
        for text in arguments.raw_list(HANDLES.name) {
            let receipt = scope.cipher.open_text(text);
            handles.push((shown_handle(text), receipt.is_some()));
            receipts.extend(receipt);
        }
        let request = Self { handles };
        if receipts.is_empty() {
            // Nothing to ask the core for: no handle can be a receipt.
            return Err(request.outcome(Vec::new()).expect_err("all handles failed"));
        }
        let queue = arguments.queue_name(QUEUE.name);
        Ok((request, op::DeleteMessages { queue, receipts }))
    }

    fn write(self, output: MessagesDeleted, _scope: &Scope<'_>) -> Answered<Self> {
        self.outcome(output.results)
    }
}

impl BatchDeleteMessage {
    /// Merges the core's results with the handles that it was not asked about.
    fn outcome(self, results: Vec<Result<(), Error>>) -> Result<Done, Refusal> {
        let count = self.handles.len();
        let mut results = results.into_iter();
        let mut failures = Vec::new();
        for (handle, is_receipt) in self.handles {
            let fault = if is_receipt {
                let result = results.next().expect("each receipt has a result");
                result.err().map(Fault::from)
            } else {
                Some(Fault::HandleFormat)
            };
            failures.extend(fault.map(|fault| Failure {
                code: fault.code(),
                message: Refusal::from(fault).to_string(),
                receipt_handle: handle,
            }));
        }
        match failures.len() {
            0 => Ok(Done {}),
            failed if failed < count => {
                Err(Refusal::with_failures(Fault::DeletePartlyFailed, failures))
            }
            _ => Err(Refusal::with_failures(Fault::BatchDeleteFailed, failures)),
        }
    }
}

/// A client's handle in an answer, cut to what a handle can be.
fn shown_handle(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().take(limits::TEXT_BYTES).collect()
}
