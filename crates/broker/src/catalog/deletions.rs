//! Names that were in use a moment ago, remembered while their new use may be refused.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    id::AccountId,
    limits,
    time::{Millis, Timestamp},
};

#[derive(Debug, Clone, Default)]
pub(crate) struct Deletions {
    /// In the order of time; a name may stand here more than once.
    pub(super) order: VecDeque<Deletion>,
    /// The last deletion of each name.
    last: BTreeMap<(AccountId, String), Timestamp>,
}

#[derive(Debug, Clone)]
pub(crate) struct Deletion {
    pub(super) account: AccountId,
    /// Folded.
    pub(super) name: String,
    pub(super) at: Timestamp,
}

impl Deletions {
    pub(super) fn add(&mut self, account: AccountId, name: String, at: Timestamp) {
        while let Some(oldest) = self.order.front() {
            let is_needed = at < oldest.at + limits::REUSE_AFTER_MAX
                && self.order.len() < limits::DELETED_NAMES_MAX;
            if is_needed {
                break;
            }
            self.forget_oldest();
        }
        self.last.insert((account, name.clone()), at);
        self.order.push_back(Deletion { account, name, at });
    }

    pub(super) fn is_recent(
        &self,
        account: AccountId,
        name: &str,
        reuse_after: Millis,
        now: Timestamp,
    ) -> bool {
        let last = self.last.get(&(account, name.to_owned()));
        last.is_some_and(|at| now < *at + reuse_after.min(limits::REUSE_AFTER_MAX))
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.order.pop_front() else {
            return;
        };
        let key = (oldest.account, oldest.name);
        if self.last.get(&key) == Some(&oldest.at) {
            self.last.remove(&key);
        }
    }
}
