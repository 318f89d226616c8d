//! A request's way: form, action, signature, operation, answer.

use std::sync::Arc;

use anser_broker::service::Service;
use bytes::Bytes;

use super::{
    Config,
    authenticate::Authenticator,
    envelope::Envelope,
    errors::{Fault, Refusal},
    parameters::find,
    table::{Call, Outcome, Table},
};
use crate::{
    auth::{host::Host, signature::Signed},
    codec::form::{Form, Malformed},
    dialect::Dialect,
    front::{Caller, Front},
    key::KeyStore,
    metrics::Vocabulary,
    presence::Presence,
    receipt::ReceiptCipher,
    record::{AccessRecord, Arrival},
};

/// What the dialect knows beside the door.
#[derive(Debug)]
pub(crate) struct Cmq {
    pub(super) config: Config,
    pub(super) cipher: ReceiptCipher,
    authenticator: Authenticator,
}

/// A request beside its form.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) post: bool,
    pub(crate) host: &'a Host<'a>,
    /// One of those that are recognised as this dialect's.
    pub(crate) path: &'a str,
    /// Of who asks.
    pub(crate) presence: &'a Presence,
    pub(crate) arrival: Arrival,
}

impl Cmq {
    pub(crate) fn new(config: Config, keys: Arc<dyn KeyStore>) -> Self {
        Self {
            cipher: ReceiptCipher::new(config.receipt_key),
            authenticator: Authenticator::new(&config, keys),
            config,
        }
    }

    /// What is counted.
    pub(crate) fn vocabulary<S: Service>() -> Vocabulary {
        Vocabulary {
            dialect: Dialect::Cmq,
            actions: Table::<S>::names(),
            codes: Fault::CODES,
        }
    }

    /// The answer to a request; `form` is the body of a POST, the query of a GET.
    pub(crate) async fn answer<S: Service>(
        &self,
        front: &Front<S>,
        request: &Request<'_>,
        form: Result<Form, Malformed>,
    ) -> Bytes {
        let mut record = front.arrived(Dialect::Cmq, request.arrival);
        let envelope = Envelope::new(record.request);
        let form = match form {
            Ok(form) => form,
            Err(malformed) => return refuse(front, &record, &envelope, &malformed.into()),
        };
        let envelope = envelope.answering(&form);
        let outcome = self
            .perform(front, &mut record, request, &form, &envelope)
            .await;
        match outcome {
            Ok(json) => {
                front.answered(&record, Fault::Success as usize);
                json
            }
            Err(refusal) => refuse(front, &record, &envelope, &refusal),
        }
    }

    async fn perform<S: Service>(
        &self,
        front: &Front<S>,
        record: &mut AccessRecord,
        request: &Request<'_>,
        form: &Form,
        envelope: &Envelope,
    ) -> Outcome {
        let action = action::<S>(form)?;
        record.action = Some(action);
        let now = front.now();
        let signed = Signed {
            post: request.post,
            host: request.host,
            public_names: &self.config.public_names,
            path: request.path,
            form,
        };
        let key = self.authenticator.key(&signed, now)?;
        let call = Call {
            cmq: self,
            front,
            record,
            form,
            envelope,
            host: request.host,
            caller: Caller {
                key,
                presence: request.presence,
            },
            now,
        };
        (Table::<S>::ROWS[action].run)(call).await
    }
}

/// The answer to a request that is not looked at any further.
pub(crate) fn refuse_unread<S: Service>(
    front: &Front<S>,
    arrival: Arrival,
    refusal: &Refusal,
) -> Bytes {
    let record = front.arrived(Dialect::Cmq, arrival);
    refuse(front, &record, &Envelope::new(record.request), refusal)
}

fn refuse<S: Service>(
    front: &Front<S>,
    record: &AccessRecord,
    envelope: &Envelope,
    refusal: &Refusal,
) -> Bytes {
    front.answered(record, refusal.fault as usize);
    envelope.refusal(refusal)
}

/// The action's place in the table.
fn action<S: Service>(form: &Form) -> Result<usize, Refusal> {
    let place = find(form, "Action")?.ok_or(Fault::ActionMissing)?;
    let name = form.value(place);
    if name.is_empty() {
        return Err(Fault::ActionMissing.into());
    }
    Table::<S>::find(name).ok_or_else(|| Refusal::about(Fault::NoSuchAction, name))
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::TooManyPairs => Self::about(Fault::Unparsable, b"parameters"),
            Malformed::Name(name) => Self::about(Fault::KeyFormat, &name),
            Malformed::Value(name) => Self::about(Fault::Unparsable, &name),
        }
    }
}

#[cfg(test)]
mod tests;
