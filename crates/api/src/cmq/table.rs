//! The table of actions, and what CMQ adds to each on its way to the door and back.

use std::{future::Future, marker::PhantomData, pin::Pin};

use anser_broker::{service::Service, time::Timestamp};
use bytes::Bytes;

use super::{
    action::{Action, Scope},
    ambiguity, control,
    dialect::Cmq,
    envelope::Envelope,
    errors::Refusal,
    message,
    parameters::Arguments,
    publish, queue, route, subscription, subscription_attributes, topic,
};
use crate::{
    auth::host::Host,
    codec::form::Form,
    front::{Caller, Front},
    record::AccessRecord,
};

/// The answer of an action.
pub(crate) type Outcome = Result<Bytes, Refusal>;

/// A signed request for an action.
#[derive(Debug)]
pub(crate) struct Call<'a, S> {
    pub(crate) cmq: &'a Cmq,
    pub(crate) front: &'a Front<S>,
    pub(crate) record: &'a mut AccessRecord,
    pub(crate) form: &'a Form,
    pub(crate) envelope: &'a Envelope,
    pub(crate) host: &'a Host<'a>,
    pub(crate) caller: Caller<'a>,
    pub(crate) now: Timestamp,
}

type Run<S> = for<'a> fn(Call<'a, S>) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// One action by its name.
pub(crate) struct Row<S> {
    pub(crate) name: &'static str,
    pub(crate) run: Run<S>,
}

pub(crate) struct Table<S>(PhantomData<S>);

impl<S: Service> Table<S> {
    /// The ones asked for most come first.
    pub(crate) const ROWS: &'static [Row<S>] = &[
        row::<message::SendMessage, S>(),
        row::<message::ReceiveMessage, S>(),
        row::<message::DeleteMessage, S>(),
        row::<message::BatchSendMessage, S>(),
        row::<message::BatchReceiveMessage, S>(),
        row::<message::BatchDeleteMessage, S>(),
        row::<publish::PublishMessage, S>(),
        row::<publish::BatchPublishMessage, S>(),
        row::<queue::GetQueueAttributes, S>(),
        row::<queue::ListQueue, S>(),
        row::<queue::ListDeadLetterSourceQueues, S>(),
        row::<queue::RewindQueue, S>(),
        row::<control::CreateQueue, S>(),
        row::<control::SetQueueAttributes, S>(),
        row::<control::DeleteQueue, S>(),
        row::<control::ClearQueue, S>(),
        row::<control::UnbindDeadLetterQueue, S>(),
        row::<topic::GetTopicAttributes, S>(),
        row::<topic::ListTopic, S>(),
        row::<topic::CreateTopic, S>(),
        row::<topic::SetTopicAttributes, S>(),
        row::<topic::DeleteTopic, S>(),
        row::<subscription_attributes::GetSubscriptionAttributes, S>(),
        row::<subscription::ListSubscriptionByTopic, S>(),
        row::<subscription::Subscribe, S>(),
        row::<subscription::SetSubscriptionAttributes, S>(),
        row::<subscription::ClearSubscriptionFilterTags, S>(),
        row::<subscription::Unsubscribe, S>(),
        row::<route::QueryQueueRoute, S>(),
        row::<route::QueryTopicRoute, S>(),
    ];

    pub(crate) fn names() -> Vec<&'static str> {
        Self::ROWS.iter().map(|row| row.name).collect()
    }

    /// The place of an action in the table; its letter case does not matter.
    pub(crate) fn find(name: &[u8]) -> Option<usize> {
        Self::ROWS
            .iter()
            .position(|row| row.name.as_bytes().eq_ignore_ascii_case(name))
    }
}

const fn row<A: Action, S: Service>() -> Row<S> {
    Row {
        name: A::NAME,
        run: |call| Box::pin(run::<A, S>(call)),
    }
}

async fn run<A: Action, S: Service>(call: Call<'_, S>) -> Outcome {
    let scope = Scope {
        config: &call.cmq.config,
        cipher: &call.cmq.cipher,
        account: call.caller.key.account(),
        host: call.host,
        now: call.now,
    };
    let (action, operation) = {
        let arguments = Arguments::read(call.form, A::FIELDS)?;
        let asked = A::read(&arguments, &scope)?;
        ambiguity::check(call.form, A::FIELDS)?;
        asked
    };
    let performed = call
        .front
        .perform(call.record, &call.caller, operation, |output| {
            let shown = action.write(output, &scope)?;
            Ok(call.envelope.success(&shown))
        });
    performed.await
}
