//! Rates, off by default: messages for each queue or topic and class of operation, and for each account together;
//! control operations for each account.
//!
//! A bucket fills at the rate up to a second's worth. Who comes while it is not empty may take what
//! the request needs, even into debt: so a batch is never too large to pass, and a receive, whose
//! size is known only afterwards, pays afterwards. What is over the rate in one second is refused in
//! the next. Each node counts for itself.
//!
//! Receives that come together are all let in before the first of them has paid, and may leave their account in
//! debt for longer than a lease. So deletes, and what changes leases, count for the account and are never refused for
//! it: they end what was received, which would be given out again otherwise.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use anser_broker::{
    id::AccountId,
    op::{Class, Operation, Resource},
};
use lru::LruCache;

/// Buckets of one account that are not full; beyond, names that have none share one of each rate.
const BUCKETS_MAX: usize = 16_384;
/// Buckets that a new one looks at in search of full ones, so that nobody waits for long.
const LOOKS: usize = 2;

/// Rates that one node allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// For each queue, and for each of send, receive and delete; for each topic, what is published.
    pub messages_per_second: u32,
    /// For each account, in all directions together.
    pub account_messages_per_second: u32,
    /// For each account.
    pub control_per_second: u32,
}

/// The rate is exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OverRate;

#[derive(Debug)]
pub(crate) struct Limiter {
    rates: Option<Rates>,
    /// Of each account for itself, so that no other one's names take its place. A bucket that is
    /// full is like none.
    buckets: Mutex<HashMap<AccountId, Buckets>>,
}

/// The one that was used longest ago is the most likely to be full.
type Buckets = LruCache<Key, Bucket>;

/// What is counted: a queue or topic by its folded name, or with no name an account, or those that have no
/// bucket of their own. A topic and a queue of one name differ in the class of what is done to them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    account: AccountId,
    counted: Counted,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Counted {
    Of(Class),
    /// All messages of an account together: no operation is counted against it alone.
    Account,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Limiter {
    pub(crate) fn new(rates: Option<Rates>) -> Self {
        Self {
            rates,
            buckets: Mutex::default(),
        }
    }

    /// Lets an operation pass or refuses it. A receive passes for free and comes back with the key to be charged.
    pub(crate) fn admit<O: Operation>(
        &self,
        account: AccountId,
        operation: &O,
    ) -> Result<Option<Key>, OverRate> {
        if self.rates.is_none() {
            return Ok(None);
        }
        let name = match operation.resource() {
            Resource::Queue(queue) if O::CLASS != Class::Control => queue.folded(),
            Resource::Topic(topic) if O::CLASS != Class::Control => topic.folded(),
            _ => String::new(),
        };
        let key = Key {
            account,
            counted: Counted::Of(O::CLASS),
            name,
        };
        let count = match O::CLASS {
            Class::Control => 1,
            Class::Receive => 0,
            _ => operation.messages(),
        };
        self.take(&key, count, Instant::now())?;
        Ok((O::CLASS == Class::Receive).then_some(key))
    }

    pub(crate) fn charge(&self, key: &Key, messages: usize) {
        let Some(rates) = self.rates else {
            return;
        };
        let (mut accounts, now) = (self.lock(), Instant::now());
        bucket(&mut accounts, key, rates, now).tokens -= count(messages);
        if let Some(whole) = key.of_account(rates) {
            bucket(&mut accounts, &whole, rates, now).tokens -= count(messages);
        }
    }

    fn take(&self, key: &Key, messages: usize, now: Instant) -> Result<(), OverRate> {
        let Some(rates) = self.rates else {
            return Ok(());
        };
        let mut accounts = self.lock();
        let whole = key.of_account(rates);
        let ends_leases = matches!(key.counted, Counted::Of(Class::Delete | Class::Lease));
        if let Some(whole) = whole.as_ref().filter(|_| !ends_leases)
            && bucket(&mut accounts, whole, rates, now).tokens < 1.0
        {
            return Err(OverRate);
        }
        let own = bucket(&mut accounts, key, rates, now);
        if own.tokens < 1.0 {
            return Err(OverRate);
        }
        own.tokens -= count(messages);
        if let Some(whole) = &whole {
            bucket(&mut accounts, whole, rates, now).tokens -= count(messages);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, Buckets>> {
        self.buckets
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

/// The bucket that counts for a key, as full as it is now.
fn bucket<'a>(
    accounts: &'a mut HashMap<AccountId, Buckets>,
    key: &Key,
    rates: Rates,
    now: Instant,
) -> &'a mut Bucket {
    let per_second = rates.per_second(key.counted);
    let buckets = accounts
        .entry(key.account)
        .or_insert_with(LruCache::unbounded);
    let mut key = key.clone();
    if !buckets.contains(&key) && !has_room(buckets, rates, now) {
        key.name.clear();
    }
    let full = Bucket {
        tokens: per_second,
        filled: now,
    };
    let bucket = buckets.get_or_insert_mut(key, || full);
    bucket.tokens = bucket.tokens_at(per_second, now);
    bucket.filled = now;
    bucket
}

/// Whether there is a place for one more, after a look for buckets that are full. Those that are not are looked at
/// again after all others.
fn has_room(buckets: &mut Buckets, rates: Rates, now: Instant) -> bool {
    for _ in 0..LOOKS {
        let Some((key, bucket)) = buckets.pop_lru() else {
            break;
        };
        let per_second = rates.per_second(key.counted);
        if bucket.tokens_at(per_second, now) < per_second {
            buckets.put(key, bucket);
        }
    }
    buckets.len() < BUCKETS_MAX
}

impl Rates {
    fn per_second(self, counted: Counted) -> f64 {
        f64::from(match counted {
            Counted::Of(Class::Control) => self.control_per_second,
            Counted::Of(_) => self.messages_per_second,
            Counted::Account => self.account_messages_per_second,
        })
    }
}

impl Key {
    /// What counts the messages of the whole account, if they have a rate.
    fn of_account(&self, rates: Rates) -> Option<Self> {
        let is_message = self.counted != Counted::Of(Class::Control);
        let is_counted = is_message && rates.account_messages_per_second < u32::MAX;
        is_counted.then(|| Self {
            account: self.account,
            counted: Counted::Account,
            name: String::new(),
        })
    }
}

impl Bucket {
    fn tokens_at(&self, per_second: f64, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        (self.tokens + elapsed * per_second).min(per_second)
    }
}

fn count(messages: usize) -> f64 {
    f64::from(u32::try_from(messages).expect("a batch is small"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SEND: Counted = Counted::Of(Class::Send);
    const RECEIVE: Counted = Counted::Of(Class::Receive);
    const DELETE: Counted = Counted::Of(Class::Delete);
    const PUBLISH: Counted = Counted::Of(Class::Publish);
    const CONTROL: Counted = Counted::Of(Class::Control);

    fn limiter() -> Limiter {
        Limiter::new(Some(Rates {
            messages_per_second: 10,
            account_messages_per_second: u32::MAX,
            control_per_second: 1,
        }))
    }

    fn key(counted: Counted) -> Key {
        Key {
            account: AccountId(1),
            counted,
            name: "q".to_owned(),
        }
    }

    #[test]
    fn a_batch_counts_each_message() {
        let (limiter, start) = (limiter(), Instant::now());
        assert_eq!(limiter.take(&key(SEND), 8, start), Ok(()));
        assert_eq!(limiter.take(&key(SEND), 8, start), Ok(()));
        let refused = limiter.take(&key(SEND), 1, start);
        assert_eq!(refused, Err(OverRate));
        assert_eq!(limiter.take(&key(DELETE), 1, start), Ok(()));
        let later = start + Duration::from_secs(1);
        assert_eq!(limiter.take(&key(SEND), 1, later), Ok(()));
    }

    #[test]
    fn a_topic_and_a_queue_of_one_name_are_counted_apart() {
        let (limiter, start) = (limiter(), Instant::now());
        assert_eq!(limiter.take(&key(SEND), 100, start), Ok(()));
        let topic = key(PUBLISH);
        assert_eq!(limiter.take(&topic, 100, start), Ok(()));
        let refused = limiter.take(&topic, 1, start);
        assert_eq!(refused, Err(OverRate));
    }

    #[test]
    fn a_receive_pays_for_what_it_got() {
        let (limiter, start) = (limiter(), Instant::now());
        for _ in 0..100 {
            assert_eq!(limiter.take(&key(RECEIVE), 0, start), Ok(()));
        }
        limiter.charge(&key(RECEIVE), 10);
        let refused = limiter.take(&key(RECEIVE), 0, start);
        assert_eq!(refused, Err(OverRate));
    }

    #[test]
    fn security_finding_15_names_beyond_all_buckets_are_counted_together_and_harm_no_other_account()
    {
        let (limiter, start) = (limiter(), Instant::now());
        let named = |account, name: usize| Key {
            account: AccountId(account),
            counted: SEND,
            name: format!("q{name}"),
        };
        for name in 0..BUCKETS_MAX {
            assert_eq!(limiter.take(&named(1, name), 1, start), Ok(()));
        }
        let beyond = (0..100).map(|name| limiter.take(&named(1, BUCKETS_MAX + name), 1, start));
        assert_eq!(beyond.flatten().count(), 10, "as one queue");
        assert_eq!(limiter.take(&named(1, 0), 9, start), Ok(()), "has its own");
        assert_eq!(limiter.take(&named(1, 0), 1, start), Err(OverRate));
        assert_eq!(limiter.take(&named(2, 0), 10, start), Ok(()));
        assert_eq!(limiter.take(&named(2, 0), 1, start), Err(OverRate));
        // Full ones make room, and what is in debt does not.
        let later = start + Duration::from_secs(1);
        for name in 0..10 {
            assert_eq!(
                limiter.take(&named(1, 2 * BUCKETS_MAX + name), 10, later),
                Ok(())
            );
        }
        assert!(limiter.lock()[&AccountId(1)].len() <= BUCKETS_MAX + 1);
    }

    #[test]
    fn a_debt_is_not_forgotten_for_new_names() {
        let (limiter, start) = (limiter(), Instant::now());
        assert_eq!(limiter.take(&key(SEND), 100, start), Ok(()));
        let later = start + Duration::from_secs(5);
        for name in 0..100 {
            let other = Key {
                name: format!("other-{name}"),
                ..key(SEND)
            };
            assert_eq!(limiter.take(&other, 1, later), Ok(()));
        }
        let refused = limiter.take(&key(SEND), 1, later);
        assert_eq!(refused, Err(OverRate));
    }

    #[test]
    fn security_finding_4_all_queues_and_directions_of_an_account_together_have_a_rate() {
        let limiter = Limiter::new(Some(Rates {
            messages_per_second: u32::MAX,
            account_messages_per_second: 100,
            control_per_second: u32::MAX,
        }));
        let start = Instant::now();
        let named = |account, name: usize| Key {
            account: AccountId(account),
            counted: [SEND, RECEIVE, PUBLISH][name % 3],
            name: format!("q{name}"),
        };
        let passed = (0..200).filter(|name| limiter.take(&named(1, *name), 1, start).is_ok());
        assert_eq!(passed.count(), 100);
        assert_eq!(
            limiter.take(&named(2, 0), 1, start),
            Ok(()),
            "another account"
        );
        assert_eq!(limiter.take(&key(CONTROL), 1, start), Ok(()));
        let later = start + Duration::from_secs(1);
        assert_eq!(limiter.take(&named(1, 0), 1, later), Ok(()));
    }

    fn limiter_of_accounts() -> Limiter {
        Limiter::new(Some(Rates {
            messages_per_second: 10_000,
            account_messages_per_second: 100,
            control_per_second: u32::MAX,
        }))
    }

    #[test]
    fn receives_in_debt_keep_no_one_from_deleting_what_they_brought() {
        let (limiter, start) = (limiter_of_accounts(), Instant::now());
        for _ in 0..200 {
            assert_eq!(limiter.take(&key(RECEIVE), 0, start), Ok(()));
        }
        for _ in 0..200 {
            limiter.charge(&key(RECEIVE), 16);
        }
        let refused = limiter.take(&key(SEND), 1, start);
        assert_eq!(refused, Err(OverRate));
        let delete = key(DELETE);
        for _ in 0..200 {
            assert_eq!(limiter.take(&delete, 16, start), Ok(()));
        }
        // They count nevertheless: 3,200 were received and 3,200 deleted, at 100 a second.
        let later = start + Duration::from_secs(60);
        assert_eq!(limiter.take(&key(SEND), 1, later), Err(OverRate));
        let later = start + Duration::from_secs(65);
        assert_eq!(limiter.take(&key(SEND), 1, later), Ok(()));
    }

    #[test]
    fn one_name_in_debt_does_not_keep_full_buckets_of_others_in_memory() {
        let (limiter, start) = (limiter(), Instant::now());
        assert_eq!(limiter.take(&key(SEND), 1_000_000, start), Ok(()));
        let named = |name: usize| Key {
            name: format!("q{name}"),
            ..key(SEND)
        };
        for name in 1..BUCKETS_MAX {
            assert_eq!(limiter.take(&named(name), 1, start), Ok(()));
        }
        let later = start + Duration::from_secs(1);
        for name in 0..100 {
            assert_eq!(limiter.take(&named(BUCKETS_MAX + name), 10, later), Ok(()));
        }
        let refused = limiter.take(&key(SEND), 1, later);
        assert_eq!(refused, Err(OverRate), "its debt is known still");
    }

    #[test]
    fn control_has_a_rate_of_its_own() {
        let (limiter, start) = (limiter(), Instant::now());
        assert_eq!(limiter.take(&key(CONTROL), 1, start), Ok(()));
        let refused = limiter.take(&key(CONTROL), 1, start);
        assert_eq!(refused, Err(OverRate));
    }
}
