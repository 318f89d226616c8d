//! A request's way: form, action, signature, operation, answer.

use std::{sync::Arc, time::Instant};

use anser_broker::{id::AccountId, service::Service};
use bytes::Bytes;
use serde::Serialize;
use tracing::debug;

use super::{
    Config,
    authenticate::Authenticator,
    envelope::{Envelope, RequestNumbers},
    errors::{Fault, Refusal},
    parameters::find,
    rates::Limiter,
    receipt::ReceiptCipher,
    table::{Call, Outcome, Table},
};
use crate::{
    auth::{host::Host, signature::Signed},
    codec::form::{Form, Malformed},
    http::{Presence, Stop, WallClock},
    key::KeyStore,
    memory::Memory,
};

#[derive(Debug)]
pub(crate) struct Dialect<S> {
    pub(super) service: S,
    pub(super) config: Config,
    pub(super) cipher: ReceiptCipher,
    pub(super) rates: Limiter,
    pub(super) stop: Stop,
    pub(super) authenticator: Authenticator,
    /// Of answers that have not left yet, by the account that asked.
    pub(super) answers: Arc<Memory<AccountId>>,
    clock: Clock,
    numbers: RequestNumbers,
}

struct Clock(WallClock);

impl std::fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Clock")
    }
}

/// The paths that CMQ's clients ask for, endpoints with a trailing slash included. The path is signed
/// between the host and the parameters without marks: each begins with `/` and none holds `?`.
pub(crate) const PATHS: [&str; 4] = [
    "/v2/index.php",
    "//v2/index.php",
    "/v2/index.php/v2/index.php",
    "/",
];

/// A request as HTTP has it.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) post: bool,
    pub(crate) host: Host<'a>,
    /// One of [`PATHS`].
    pub(crate) path: &'a str,
    /// The body of a POST, the query of a GET.
    pub(crate) form: Bytes,
    /// Of who asks.
    pub(crate) presence: &'a Presence,
}

/// An answer, and how it is counted.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) kind: AnswerKind,
    pub(crate) json: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerKind {
    /// An answer of CMQ; the action's place in the table, if there is such an action.
    Action { action: Option<usize>, fault: Fault },
    /// The path is CMQ's only for requests with an `Action`, and this one has none.
    NotOurs,
    /// The request speaks API 3.0.
    NotSpoken,
}

impl<S: Service> Dialect<S> {
    pub(crate) fn new(
        service: S,
        config: Config,
        keys: Arc<dyn KeyStore>,
        clock: WallClock,
        stop: Stop,
        answers: Arc<Memory<AccountId>>,
    ) -> Self {
        Self {
            service,
            cipher: ReceiptCipher::new(config.receipt_key),
            rates: Limiter::new(config.rates),
            stop,
            authenticator: Authenticator::new(&config, keys),
            answers,
            clock: Clock(clock),
            numbers: RequestNumbers::new(),
            config,
        }
    }

    pub(crate) async fn answer(&self, request: Request<'_>) -> Answer {
        let started = Instant::now();
        let envelope = Envelope::new(self.numbers.next());
        let form = match Form::parse(request.form.clone()) {
            Ok(form) => form,
            Err(malformed) => return refuse(&envelope, None, &malformed.into()),
        };
        if request.path == "/"
            && let Some(kind) = other_tongue(&form)
        {
            let json = self.not_spoken();
            return Answer { kind, json };
        }
        let envelope = envelope.answering(&form);
        let (action, outcome) = self.perform(&request, &form, &envelope).await;
        let answer = match outcome {
            Ok(json) => Answer {
                kind: AnswerKind::Action {
                    action,
                    fault: Fault::Success,
                },
                json,
            },
            Err(refusal) => refuse(&envelope, action, &refusal),
        };
        if let AnswerKind::Action { fault, .. } = answer.kind {
            debug!(
                action = action.map(|action| Table::<S>::ROWS[action].name),
                code = fault.code(),
                module = fault.module(),
                request = envelope.request,
                microseconds = started.elapsed().as_micros(),
                "answered"
            );
        }
        answer
    }

    /// The answer to a request that HTTP does not let come in.
    pub(crate) fn refuse(&self, refusal: &Refusal) -> Answer {
        refuse(&Envelope::new(self.numbers.next()), None, refusal)
    }

    /// The answer, in its own envelope, to a request that speaks API 3.0.
    pub(crate) fn not_spoken(&self) -> Bytes {
        let request = self.numbers.next();
        let answer = NotSpoken {
            response: NotSpokenResponse {
                error: NotSpokenError {
                    code: "UnsupportedOperation",
                    message: "API 3.0 is not supported yet",
                },
                request_id: request.to_string(),
            },
        };
        let json = serde_json::to_vec(&answer);
        json.expect("the answer has only text keys").into()
    }

    async fn perform(
        &self,
        request: &Request<'_>,
        form: &Form,
        envelope: &Envelope,
    ) -> (Option<usize>, Outcome) {
        let action = match action::<S>(form) {
            Ok(action) => action,
            Err(refusal) => return (None, Err(refusal)),
        };
        let now = (self.clock.0)();
        let signed = Signed {
            post: request.post,
            host: &request.host,
            public_names: &self.config.public_names,
            path: request.path,
            form,
        };
        let outcome = match self.authenticator.key(&signed, now) {
            Ok(key) => {
                let call = Call {
                    dialect: self,
                    form,
                    envelope,
                    host: &request.host,
                    presence: request.presence,
                    key,
                    now,
                };
                (Table::<S>::ROWS[action].run)(call).await
            }
            Err(refusal) => Err(refusal),
        };
        (Some(action), outcome)
    }
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

/// On the path that several dialects share: whose a request is, if it is not ours.
fn other_tongue(form: &Form) -> Option<AnswerKind> {
    let has = |name| form.pairs().any(|(given, _)| given == name);
    if has(&b"Version"[..]) {
        Some(AnswerKind::NotSpoken)
    } else if has(b"Action") {
        None
    } else {
        Some(AnswerKind::NotOurs)
    }
}

fn refuse(envelope: &Envelope, action: Option<usize>, refusal: &Refusal) -> Answer {
    let fault = refusal.fault;
    Answer {
        kind: AnswerKind::Action { action, fault },
        json: envelope.refusal(refusal),
    }
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

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NotSpoken {
    response: NotSpokenResponse,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NotSpokenResponse {
    error: NotSpokenError,
    request_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NotSpokenError {
    code: &'static str,
    message: &'static str,
}

#[cfg(test)]
mod tests;
