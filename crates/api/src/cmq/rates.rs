//! Rates, off by default: messages for each queue or topic and direction, control actions for each
//! account.
//!
//! A bucket fills at the rate up to a second's worth. Who comes while it is not empty may take what
//! the request needs, even into debt: so a batch is never too large to pass, and a receive, whose
//! size is known only afterwards, pays afterwards. What is over the rate in one second is refused in
//! the next. Each node counts for itself.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use anser_broker::id::AccountId;

use super::{
    Rates,
    action::{Action, Rate},
    errors::Fault,
    parameters::Arguments,
};

/// Buckets kept; beyond, requests pass uncounted.
const BUCKETS_MAX: usize = 65_536;

#[derive(Debug)]
pub(crate) struct Limiter {
    rates: Option<Rates>,
    buckets: Mutex<HashMap<Key, Bucket>>,
}

/// What is counted: a queue or topic by its folded name, or with no name an account. A topic and a
/// queue of one name differ in the field that named them.
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
            Rate::Control => String::new(),
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
        if let Some(bucket) = self.lock().get_mut(key) {
            bucket.tokens -= count(messages);
        }
    }

    fn take(&self, key: &Key, messages: usize, now: Instant) -> Result<(), Fault> {
        let Some(rates) = self.rates else {
            return Ok(());
        };
        let (per_second, fault) = match key.rate {
            Rate::Control => (rates.control_per_second, Fault::ControlThrottled),
            _ => (rates.messages_per_second, Fault::Throttled),
        };
        let per_second = f64::from(per_second);
        let mut buckets = self.lock();
        if !buckets.contains_key(key) {
            if buckets.len() >= BUCKETS_MAX {
                buckets.retain(|_, bucket| now.duration_since(bucket.filled).as_secs() < 2);
            }
            if buckets.len() >= BUCKETS_MAX {
                return Ok(());
            }
            let full = Bucket {
                tokens: per_second,
                filled: now,
            };
            buckets.insert(key.clone(), full);
        }
        let bucket = buckets.get_mut(key).expect("it was there or put there");
        let elapsed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + elapsed * per_second).min(per_second);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return Err(fault);
        }
        bucket.tokens -= count(messages);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Bucket>> {
        self.buckets
            .lock()
            .expect("nothing panics while it holds this lock")
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
    fn control_has_its_own_word() {
        let (limiter, start) = (limiter(), Instant::now());
        assert_eq!(limiter.take(&key(Rate::Control), 1, start), Ok(()));
        let refused = limiter.take(&key(Rate::Control), 1, start);
        assert_eq!(refused, Err(Fault::ControlThrottled));
    }
}
