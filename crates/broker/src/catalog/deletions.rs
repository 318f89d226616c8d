//! Names that were in use a moment ago, remembered while their new use may be refused.

use std::collections::{BTreeMap, VecDeque, btree_map::Entry};

use crate::{
    id::AccountId,
    limits,
    time::{Millis, Timestamp},
};

#[derive(Debug, Clone, Default)]
pub(crate) struct Deletions {
    /// In the order of time; a name may stand here more than once.
    pub(super) order: VecDeque<Deletion>,
    by_name: BTreeMap<(AccountId, String), Known>,
}

#[derive(Debug, Clone)]
struct Known {
    /// How often the name stands in `order`: by time alone, two deletions of one millisecond could
    /// not be told apart.
    times: usize,
    last: Timestamp,
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
        let known = self.by_name.entry((account, name.clone()));
        let known = known.or_insert(Known { times: 0, last: at });
        known.times += 1;
        known.last = at;
        self.order.push_back(Deletion { account, name, at });
    }

    pub(super) fn is_recent(
        &self,
        account: AccountId,
        name: &str,
        reuse_after: Millis,
        now: Timestamp,
    ) -> bool {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_planted("names free at once") {
            return false;
        }
        let known = self.by_name.get(&(account, name.to_owned()));
        known.is_some_and(|known| now < known.last + reuse_after.min(limits::REUSE_AFTER_MAX))
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.order.pop_front() else {
            return;
        };
        let Entry::Occupied(mut known) = self.by_name.entry((oldest.account, oldest.name)) else {
            return;
        };
        known.get_mut().times -= 1;
        if known.get().times == 0 {
            known.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_deleted_twice_at_once_is_forgotten_with_the_second_time() {
        let (account, at) = (AccountId(1), Timestamp(5));
        let is_recent = |deletions: &Deletions| {
            deletions.is_recent(account, "twice", limits::REUSE_AFTER_MAX, at)
        };
        let mut running = Deletions::default();
        running.add(account, "twice".into(), at);
        running.add(account, "twice".into(), at);
        for number in 2..limits::DELETED_NAMES_MAX {
            running.add(account, format!("q{number}"), at);
        }
        running.add(account, "one too many".into(), at);
        let mut restored = Deletions::default();
        for Deletion { account, name, at } in running.order.clone() {
            restored.add(account, name, at);
        }
        assert!(is_recent(&running) && is_recent(&restored));
        running.add(account, "and another".into(), at);
        assert!(!is_recent(&running));
    }
}
