//! How requests failed, by kind: which of these a client may simply repeat is documented.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use anser::client::Error;

/// Codes after which the dialect lets a client try again.
const CODE_BUSY: i64 = 4420;
const TRY_AGAIN: &str = "6000 (10050)";
const BROKEN: &str = "the connection broke";
const LATE: &str = "no answer in time";

/// How often requests failed in each way. Nothing to receive and a lease that has ended are no failures.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<BTreeMap<String, u64>>);

impl Failures {
    /// A request that never left is none either: its client asks another node.
    pub(crate) fn note(&self, error: &Error) {
        match error {
            Error::Refused { code, message } => self.note_code(*code, message),
            Error::Unknown(text) if text.starts_with("(10050)") => self.add(TRY_AGAIN.into()),
            Error::Unknown(text) if text.starts_with(BROKEN) => self.add(BROKEN.into()),
            Error::Unknown(text) if text.starts_with("no answer") => self.add(LATE.into()),
            Error::Unknown(text) => self.add(text.clone()),
            Error::Unreachable { .. } | Error::Endpoint(_) => {}
        }
    }

    pub(crate) fn note_code(&self, code: i64, message: &str) {
        if code == CODE_BUSY {
            self.add(code.to_string());
        } else {
            self.add(format!("{code} {message}"));
        }
    }

    /// How many there were of all kinds.
    pub(crate) fn total(&self) -> u64 {
        self.lock().values().sum()
    }

    /// Those that no client should have to see.
    pub(crate) fn final_ones(&self) -> Vec<String> {
        let busy = CODE_BUSY.to_string();
        let may_be_repeated = [busy.as_str(), TRY_AGAIN, BROKEN, LATE];
        let kinds = self.lock();
        let kinds = kinds.keys();
        let rest = kinds.filter(|kind| !may_be_repeated.contains(&kind.as_str()));
        rest.cloned().collect()
    }

    /// Those besides answers that did not come in time and "too busy", which a server that has too much to do may give.
    pub(crate) fn besides_overload(&self) -> Vec<String> {
        let busy = CODE_BUSY.to_string();
        let kinds = self.lock();
        let others = kinds
            .iter()
            .filter(|(kind, _)| **kind != busy && *kind != LATE);
        others
            .map(|(kind, times)| format!("{kind}: {times}"))
            .collect()
    }

    /// Those besides connections that broke, and how many did. A server can end a connection just when a request is on
    /// its way; HTTP/1.1 has no word for it.
    pub(crate) fn besides_broken(&self) -> (Vec<String>, u64) {
        let kinds = self.lock();
        let others = kinds.keys().filter(|kind| *kind != BROKEN);
        let broken = kinds.get(BROKEN).copied().unwrap_or_default();
        (others.cloned().collect(), broken)
    }

    fn add(&self, kind: String) {
        *self.lock().entry(kind).or_default() += 1;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.lock();
        if kinds.is_empty() {
            return formatter.write_str("none");
        }
        let kinds: Vec<String> = kinds
            .iter()
            .map(|(kind, times)| format!("{kind}: {times}"))
            .collect();
        formatter.write_str(&kinds.join(", "))
    }
}
