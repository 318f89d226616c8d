//! What an action is: fields to read, an operation they mean, and words for its output.

use anser_broker::{
    id::AccountId,
    op::Operation,
    time::{Millis, Timestamp},
};
use serde::Serialize;

use super::{
    Config,
    errors::Refusal,
    parameters::{Arguments, Field},
};
use crate::{auth::host::Host, receipt::ReceiptCipher};

/// An action; a value of it is what its answer repeats of the request.
pub(crate) trait Action: Sized + Send + 'static {
    const NAME: &'static str;
    const FIELDS: &'static [Field];
    type Operation: Operation;
    type Response: Serialize;

    fn read(arguments: &Arguments<'_>, scope: &Scope<'_>) -> Asked<Self>;

    fn write(
        self,
        output: <Self::Operation as Operation>::Output,
        scope: &Scope<'_>,
    ) -> Answered<Self>;
}

/// What a request asks for.
pub(crate) type Asked<A> = Result<(A, <A as Action>::Operation), Refusal>;

/// What its answer says.
pub(crate) type Answered<A> = Result<<A as Action>::Response, Refusal>;

/// What an action may know besides its parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) config: &'a Config,
    pub(crate) cipher: &'a ReceiptCipher,
    pub(crate) account: AccountId,
    /// As in the `Host` header.
    pub(crate) host: &'a Host<'a>,
    /// By the wall clock.
    pub(crate) now: Timestamp,
}

impl Scope<'_> {
    /// How long the name of a deleted queue or topic stays unusable.
    pub(crate) fn reuse_after(&self) -> Millis {
        let reuse = self.config.name_reuse.as_millis();
        Millis(u64::try_from(reuse).unwrap_or(u64::MAX))
    }
}

/// The answer of an action that says no more than that it was done.
#[derive(Debug, Serialize)]
pub(crate) struct Done {}

pub(crate) fn seconds(count: u64) -> Millis {
    Millis::from_seconds(count)
}
