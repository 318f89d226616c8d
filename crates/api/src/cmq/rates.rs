//! Rates, off by default: messages for each queue or topic and direction, and for each account together;
//! control actions for each account.
//!
//! A bucket fills at the rate up to a second's worth. Who comes while it is not empty may take what
//! the request needs, even into debt: so a batch is never too large to pass, and a receive, whose
//! size is known only afterwards, pays afterwards. What is over the rate in one second is refused in
//! the next. Each node counts for itself.
//!
//! Receives that come together are all let in before the first of them has paid, and may leave their account in
//! debt for longer than a lease. So deletes count for the account and are never refused for it: they end what
//! was received, which would be given out again otherwise.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use anser_broker::id::AccountId;
use lru::LruCache;

use super::{
    Rates,
    action::{Action, Rate},
    errors::Fault,
    parameters::Arguments,
};

/// Buckets of one account that are not full; beyond, names that have none share one of each rate.
const BUCKETS_MAX: usize = 16_384;
/// Buckets that a new one looks at in search of full ones, so that nobody waits for long.
const LOOKS: usize = 2;

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
/// bucket of their own. A topic and a queue of one name differ in the field that named them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    account: AccountId,
    rate: Rate,
    name: String,
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

    /// Lets a request of so many messages pass or refuses it. A receive passes for free and comes
    /// back with the key to be charged.
    pub(crate) fn admit<A: Action>(
        &self,
        account: AccountId,
        arguments: &Arguments<'_>,
        messages: usize,
    ) -> Result<Option<Key>, Fault> {
        if self.rates.is_none() {
            return Ok(None);
        }
        let name = match A::RATE {
            Rate::Control | Rate::Account => String::new(),
            Rate::Send(field) | Rate::Receive(field) | Rate::Delete(field) => {
                arguments.folded_name(field)
            }
        };
        let key = Key {
            account,
            rate: A::RATE,
            name,
        };
        let pays_later = matches!(A::RATE, Rate::Receive(_));
        let count = if pays_later { 0 } else { messages };
        self.take(&key, count, Instant::now())?;
        Ok(pays_later.then_some(key))
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

    fn take(&self, key: &Key, messages: usize, now: Instant) -> Result<(), Fault> {
        let Some(rates) = self.rates else {
            return Ok(());
        };
        let fault = match key.rate {
            Rate::Control => Fault::ControlThrottled,
            _ => Fault::Throttled,
        };
        let mut accounts = self.lock();
        let whole = key.of_account(rates);
        let is_delete = matches!(key.rate, Rate::Delete(_));
        if let Some(whole) = whole.as_ref().filter(|_| !is_delete)
            && bucket(&mut accounts, whole, rates, now).tokens < 1.0
        {
            return Err(fault);
        }
        let own = bucket(&mut accounts, key, rates, now);
        if own.tokens < 1.0 {
            return Err(fault);
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
    let per_second = rates.per_second(key.rate);
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
        let per_second = rates.per_second(key.rate);
        if bucket.tokens_at(per_second, now) < per_second {
            buckets.put(key, bucket);
        }
    }
    buckets.len() < BUCKETS_MAX
}

impl Rates {
    fn per_second(self, rate: Rate) -> f64 {
        f64::from(match rate {
            Rate::Control => self.control_per_second,
            Rate::Account => self.account_messages_per_second,
            Rate::Send(_) | Rate::Receive(_) | Rate::Delete(_) => self.messages_per_second,
        })
    }
}

impl Key {
    /// What counts the messages of the whole account, if they have a rate.
    fn of_account(&self, rates: Rates) -> Option<Self> {
        let is_counted = self.rate != Rate::Control && rates.account_messages_per_second < u32::MAX;
        is_counted.then(|| Self {
            account: self.account,
            rate: Rate::Account,
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

    const SEND: Rate = Rate::Send("queueName");
    const RECEIVE: Rate = Rate::Receive("queueName");

    fn limiter() -> Limiter {
        Limiter::new(Some(Rates {
            messages_per_second: 10,
            account_messages_per_second: u32::MAX,
            control_per_second: 1,
        }))
    }

    fn key(rate: Rate) -> Key {
        Key {
            account: AccountId(1),
            rate,
            name: "q".to_owned(),
        }
    }

    #[test]
    fn a_batch_counts_each_message() {
        let (limiter, start) = (limiter(), Instant::now());
        assert_eq!(limiter.take(&key(SEND), 8, start), Ok(()));
        assert_eq!(limiter.take(&key(SEND), 8, start), Ok(()));
        let refused = limiter.take(&key(SEND), 1, start);
        assert_eq!(refused, Err(Fault::Throttled));
        assert_eq!(
            limiter.take(&key(Rate::Delete("queueName")), 1, start),
            Ok(())
        );
        let later = start + Duration::from_secs(1);
        assert_eq!(limiter.take(&key(SEND), 1, later), Ok(()));
    }

    #[test]
    fn a_topic_and_a_queue_of_one_name_are_counted_apart() {
        let (limiter, start) = (limiter(), Instant::now());
        assert_eq!(limiter.take(&key(SEND), 100, start), Ok(()));
        let topic = key(Rate::Send("topicName"));
        assert_eq!(limiter.take(&topic, 100, start), Ok(()));
        let refused = limiter.take(&topic, 1, start);
        assert_eq!(refused, Err(Fault::Throttled));
    }

    #[test]
    fn a_receive_pays_for_what_it_got() {
        let (limiter, start) = (limiter(), Instant::now());
        for _ in 0..100 {
            assert_eq!(limiter.take(&key(RECEIVE), 0, start), Ok(()));
        }
        limiter.charge(&key(RECEIVE), 10);
        let refused = limiter.take(&key(RECEIVE), 0, start);
        assert_eq!(refused, Err(Fault::Throttled));
    }

    #[test]
    fn security_finding_15_names_beyond_all_buckets_are_counted_together_and_harm_no_other_account()
    {
        let (limiter, start) = (limiter(), Instant::now());
        let named = |account, name: usize| Key {
            account: AccountId(account),
            rate: SEND,
            name: format!("q{name}"),
        };
        for name in 0..BUCKETS_MAX {
            assert_eq!(limiter.take(&named(1, name), 1, start), Ok(()));
        }
        let beyond = (0..100).map(|name| limiter.take(&named(1, BUCKETS_MAX + name), 1, start));
        assert_eq!(beyond.flatten().count(), 10, "as one queue");
        assert_eq!(limiter.take(&named(1, 0), 9, start), Ok(()), "has its own");
        assert_eq!(limiter.take(&named(1, 0), 1, start), Err(Fault::Throttled));
        assert_eq!(limiter.take(&named(2, 0), 10, start), Ok(()));
        assert_eq!(limiter.take(&named(2, 0), 1, start), Err(Fault::Throttled));
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
        assert_eq!(refused, Err(Fault::Throttled));
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
            rate: [SEND, RECEIVE, Rate::Send("topicName")][name % 3],
            name: format!("q{name}"),
        };
        let passed = (0..200).filter(|name| limiter.take(&named(1, *name), 1, start).is_ok());
        assert_eq!(passed.count(), 100);
        assert_eq!(
            limiter.take(&named(2, 0), 1, start),
            Ok(()),
            "another account"
        );
        assert_eq!(limiter.take(&key(Rate::Control), 1, start), Ok(()));
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
        assert_eq!(refused, Err(Fault::Throttled));
        let delete = key(Rate::Delete("queueName"));
        for _ in 0..200 {
            assert_eq!(limiter.take(&delete, 16, start), Ok(()));
        }
        // They count nevertheless: 3,200 were received and 3,200 deleted, at 100 a second.
        let later = start + Duration::from_secs(60);
        assert_eq!(limiter.take(&key(SEND), 1, later), Err(Fault::Throttled));
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
        assert_eq!(refused, Err(Fault::Throttled), "its debt is known still");
    }

    #[test]
    fn control_has_its_own_word() {
        let (limiter, start) = (limiter(), Instant::now());
        assert_eq!(limiter.take(&key(Rate::Control), 1, start), Ok(()));
        let refused = limiter.take(&key(Rate::Control), 1, start);
        assert_eq!(refused, Err(Fault::ControlThrottled));
    }
}
