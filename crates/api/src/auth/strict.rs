//! Rules that are stricter than the vendor's, for accounts that an operator chooses; for none by default.
//!
//! A request that is accepted once only is known again by its signature, until its time is too old
//! anyhow. Only what is rightly signed is remembered, so that nobody fills the memory of another account.

use std::{
    collections::{BTreeSet, HashMap},
    str::FromStr,
    sync::Mutex,
};

use anser_broker::{id::AccountId, time::Timestamp};

/// Requests of one account that are remembered; beyond, others are refused until the oldest have ended.
const REMEMBERED_MAX: usize = 1 << 18;
/// Bytes of a signature that tell it from all others.
pub(crate) const MARK_BYTES: usize = 16;

/// Some accounts, or all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    all: bool,
    some: BTreeSet<AccountId>,
}

/// A text is neither the number of an account nor `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an account is a number, and all of them are \"*\"")]
pub struct NoAccount;

impl Accounts {
    /// Each by its number; `*` stands for all.
    pub fn read(texts: &[String]) -> Result<Self, NoAccount> {
        let mut accounts = Self::default();
        for text in texts {
            if text == "*" {
                accounts.all = true;
            } else {
                let number = u64::from_str(text).map_err(|_| NoAccount)?;
                accounts.some.insert(AccountId(number));
            }
        }
        Ok(accounts)
    }

    pub(crate) fn has(&self, account: AccountId) -> bool {
        self.all || self.some.contains(&account)
    }
}

/// Why a request that is rightly signed is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotOnce {
    Repeated,
    /// There were too many to remember another one.
    Full,
}

/// The requests that were accepted and could be repeated.
#[derive(Debug, Default)]
pub(crate) struct Accepted(Mutex<HashMap<AccountId, BTreeSet<Request>>>);

/// When nobody can repeat it any more, and its signature.
type Request = (Timestamp, [u8; MARK_BYTES]);

impl Accepted {
    /// Remembers a request that nobody can repeat after `end`.
    pub(crate) fn accept(
        &self,
        account: AccountId,
        end: Timestamp,
        mark: [u8; MARK_BYTES],
        now: Timestamp,
    ) -> Result<(), NotOnce> {
        let accepted = self.0.lock();
        let mut accepted = accepted.expect("nothing panics while it holds this lock");
        let accepted = accepted.entry(account).or_default();
        while accepted.first().is_some_and(|(end, _)| *end < now) {
            accepted.pop_first();
        }
        if accepted.contains(&(end, mark)) {
            return Err(NotOnce::Repeated);
        }
        if accepted.len() >= REMEMBERED_MAX {
            return Err(NotOnce::Full);
        }
        accepted.insert((end, mark));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: AccountId = AccountId(1);

    #[test]
    fn accounts_are_numbers_or_all() {
        let read = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            Accounts::read(&texts)
        };
        assert!(!read(&[]).unwrap().has(ONE));
        assert!(read(&["2", "1"]).unwrap().has(ONE));
        assert!(!read(&["2"]).unwrap().has(ONE));
        assert!(read(&["2", "*"]).unwrap().has(ONE));
        assert_eq!(read(&["x"]), Err(NoAccount));
    }

    #[test]
    fn a_request_is_accepted_once_until_it_has_ended() {
        let accepted = Accepted::default();
        let accept = |account, end, mark, now| {
            let mark = [mark; MARK_BYTES];
            accepted.accept(AccountId(account), Timestamp(end), mark, Timestamp(now))
        };
        assert_eq!(accept(1, 100, 1, 0), Ok(()));
        assert_eq!(accept(1, 100, 1, 0), Err(NotOnce::Repeated));
        assert_eq!(accept(1, 100, 1, 100), Err(NotOnce::Repeated));
        assert_eq!(accept(1, 100, 2, 100), Ok(()), "another request");
        assert_eq!(accept(2, 100, 1, 100), Ok(()), "another account");
        assert_eq!(accept(1, 200, 1, 101), Ok(()));
        assert_eq!(accepted.0.lock().unwrap()[&ONE].len(), 1);
    }

    #[test]
    fn what_cannot_be_remembered_is_not_accepted() {
        let accepted = Accepted::default();
        let accept = |number: usize, now| {
            let mark = (number as u128).to_le_bytes();
            accepted.accept(ONE, Timestamp(100), mark, Timestamp(now))
        };
        for number in 0..REMEMBERED_MAX {
            assert_eq!(accept(number, 0), Ok(()));
        }
        assert_eq!(accept(REMEMBERED_MAX, 100), Err(NotOnce::Full));
        let later = accepted.accept(ONE, Timestamp(300), [7; MARK_BYTES], Timestamp(101));
        assert_eq!(later, Ok(()));
    }
}
