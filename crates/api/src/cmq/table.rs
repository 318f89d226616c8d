//! The table of actions, and the one way in which each of them is carried out.

use std::{future::Future, marker::PhantomData, pin::Pin, sync::Arc};

use anser_broker::{op::Operation, service::Service, time::Timestamp};
use bytes::Bytes;

use super::{
    action::{Action, Rate, Scope},
    ambiguity, control,
    dialect::Dialect,
    envelope::Envelope,
    errors::{Fault, Refusal},
    message,
    parameters::Arguments,
    publish, queue, route, subscription, subscription_attributes, topic,
};
use crate::{auth::host::Host, codec::form::Form, http::Presence, key::AccessKey, memory::Full};

/// Bytes of the largest answer that a connection has room for anyhow.
const UNCOUNTED: usize = 4 << 10;

/// The answer of an action.
pub(crate) type Outcome = Result<Bytes, Refusal>;

/// A signed request for an action.
#[derive(Debug)]
pub(crate) struct Call<'a, S> {
    pub(crate) dialect: &'a Dialect<S>,
    pub(crate) form: &'a Form,
    pub(crate) envelope: &'a Envelope,
    pub(crate) host: &'a Host<'a>,
    pub(crate) presence: &'a Presence,
    pub(crate) key: Arc<AccessKey>,
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
    let dialect = call.dialect;
    let account = call.key.account();
    let scope = Scope {
        config: &dialect.config,
        cipher: &dialect.cipher,
        account,
        host: call.host,
        now: call.now,
    };
    let (action, operation, counted, queue) = {
        let arguments = Arguments::read(call.form, A::FIELDS)?;
        let (action, operation) = A::read(&arguments, &scope)?;
        ambiguity::check(call.form, A::FIELDS)?;
        let messages = action.messages(&operation);
        let counted = dialect.rates.admit::<A>(account, &arguments, messages)?;
        let queue = match A::RATE {
            Rate::Receive(field) => Some(arguments.queue_name(field)),
            _ => None,
        };
        (action, operation, counted, queue)
    };
    // A receive may wait for long and find nothing, so it does not hold the memory of all that it
    // could bring: it looks whether there is room, and takes what it needs once the bodies are there.
    if !dialect.answers.has_room(account, A::bytes_most(&operation)) {
        return Err(Fault::Throttled.into());
    }
    let execution = dialect.service.execute(account, operation);
    let output = if queue.is_some() {
        let mut stop = dialect.stop.clone();
        tokio::select! {
            biased;
            output = execution => output?,
            // The wait ends as if its time were up; what it might have got goes back.
            _ = stop.wait_for(Option::is_some) => return Err(Fault::NoMessage.into()),
            () = call.presence.lost() => return Err(Fault::NoMessage.into()),
        }
    } else {
        execution.await?
    };
    if let Some(counted) = counted {
        dialect.rates.charge(&counted, A::received(&output));
    }
    let back = queue.and_then(|queue| A::give_back(queue, &output));
    let answer = answer(&call, &scope, action, output);
    if answer.is_err()
        && let Some(operation) = back
    {
        // If this fails the messages come back when their leases end.
        dialect.service.execute(account, operation).await.ok();
    }
    answer
}

/// What the client hears, unless it is no longer allowed to, or what others of its account have not
/// read yet takes all memory.
fn answer<A: Action, S: Service>(
    call: &Call<'_, S>,
    scope: &Scope<'_>,
    action: A,
    output: <A::Operation as Operation>::Output,
) -> Outcome {
    let dialect = call.dialect;
    if matches!(A::RATE, Rate::Receive(_)) {
        // It may have waited for long, and the key's time may have ended meanwhile.
        dialect.authenticator.check_again(&call.key)?;
    }
    let mut memory = dialect.answers.nothing(scope.account);
    memory.hold(A::bytes(&output))?;
    let json = call.envelope.success(&action.write(output, scope)?);
    if json.capacity() <= UNCOUNTED {
        return Ok(json.into());
    }
    memory.hold(json.capacity())?;
    Ok(memory.into_bytes(json))
}

impl From<Full> for Refusal {
    fn from(_: Full) -> Self {
        Fault::Throttled.into()
    }
}
