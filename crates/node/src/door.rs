//! The door: at how many requests of clients a node works at once, and whose they are.
//!
//! It lets in as many as were answered in the last second, so that who is let in waits about that long, but never fewer than
//! it is told to, so that it finds out what the node can do. Whoever comes beyond that is refused at once. Each account can
//! have its share of the places, whoever came first; so there may be up to twice as many. Receives pass without a place: they
//! wait for messages, not for the node. Half of the places at most is held by requests for shards that have had no leader for
//! long: they do not hold up the others.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anser_broker::{error::Error, id::AccountId};

/// What a second is cut into.
const SLICES: usize = 10;
const SLICE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Door {
    begun: Instant,
    places: Mutex<Places>,
}

/// The right to be worked at, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    door: &'a Door,
    account: AccountId,
    /// Nothing was done for it.
    refused: bool,
}

impl Place<'_> {
    /// What was refused as too much does not say what the node can do.
    pub(crate) fn refused(&mut self) {
        self.refused = true;
    }
}

impl Door {
    pub(crate) fn new(least: usize) -> Self {
        Self {
            begun: Instant::now(),
            places: Mutex::new(Places::new(least)),
        }
    }

    pub(crate) fn enter(&self, account: AccountId) -> Result<Place<'_>, Error> {
        let now = self.begun.elapsed();
        if self.lock().enter(account, now) {
            Ok(Place {
                door: self,
                account,
                refused: false,
            })
        } else {
            Err(Error::Busy)
        }
    }

    /// Whether one more request may wait for a leader while so many do.
    pub(crate) fn may_wait(&self, waiting: usize) -> bool {
        let most = self.lock().most(self.begun.elapsed());
        waiting < (most / 2).max(1)
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let now = self.door.begun.elapsed();
        let mut places = self.door.lock();
        if self.refused {
            places.give_back(self.account);
        } else {
            places.leave(self.account, now);
        }
    }
}

#[derive(Debug)]
struct Places {
    least: usize,
    taken: usize,
    /// Of accounts that have some.
    by: HashMap<AccountId, usize>,
    answered: LastSecond,
}

impl Places {
    fn new(least: usize) -> Self {
        Self {
            least,
            taken: 0,
            by: HashMap::new(),
            answered: LastSecond::default(),
        }
    }

    /// Takes a place, if there is one.
    fn enter(&mut self, account: AccountId, now: Duration) -> bool {
        let most = self.most(now);
        let mine = self.by.get(&account).copied().unwrap_or(0);
        let accounts = self.by.len() + usize::from(mine == 0);
        let share = (most / accounts).max(1);
        let has_room = self.taken < most || mine < share;
        if has_room {
            self.taken += 1;
            self.by.insert(account, mine + 1);
        }
        has_room
    }

    fn most(&mut self, now: Duration) -> usize {
        self.least.max(self.answered.count(now))
    }

    fn leave(&mut self, account: AccountId, now: Duration) {
        self.answered.add(now);
        self.give_back(account);
    }

    fn give_back(&mut self, account: AccountId) {
        self.taken -= 1;
        let mine = self.by.get_mut(&account);
        let mine = mine.expect("who leaves has a place");
        *mine -= 1;
        if *mine == 0 {
            self.by.remove(&account);
        }
    }
}

/// How often something happened in the last second, a tenth more or less.
#[derive(Debug, Default)]
struct LastSecond {
    slices: [usize; SLICES],
    /// The number of the newest slice, since the beginning.
    newest: u128,
}

impl LastSecond {
    fn add(&mut self, now: Duration) {
        let place = self.turn(now);
        self.slices[place] += 1;
    }

    fn count(&mut self, now: Duration) -> usize {
        self.turn(now);
        self.slices.iter().sum()
    }

    /// Empties the slices of what is longer ago; the place of the newest.
    fn turn(&mut self, now: Duration) -> usize {
        let slices = SLICES as u128;
        let newest = (now.as_millis() / SLICE.as_millis()).max(self.newest);
        let gone = (newest - self.newest).min(slices);
        for slice in newest + 1 - gone..=newest {
            self.slices[usize::try_from(slice % slices).expect("there are few")] = 0;
        }
        self.newest = newest;
        usize::try_from(newest % slices).expect("there are few")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: AccountId = AccountId(1);
    const OTHER: AccountId = AccountId(2);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// How many of so many are let in at this moment.
    fn let_in(places: &mut Places, account: AccountId, count: usize, now: Duration) -> usize {
        (0..count).filter(|_| places.enter(account, now)).count()
    }

    #[test]
    fn as_many_are_let_in_as_were_answered_in_the_last_second() {
        let mut places = Places::new(10);
        assert_eq!(
            let_in(&mut places, ONE, 100, at(0)),
            10,
            "at first the least"
        );
        for millis in 0..1_000 {
            places.leave(ONE, at(millis));
            assert!(places.enter(ONE, at(millis)));
        }
        assert_eq!(let_in(&mut places, ONE, 2_000, at(999)), 990);
        // Nothing was answered for a second: those who are here wait, and nobody else is let in.
        assert_eq!(let_in(&mut places, ONE, 100, at(2_500)), 0);
        for _ in 0..995 {
            places.leave(ONE, at(2_500));
        }
        assert_eq!(
            let_in(&mut places, ONE, 2_000, at(3_600)),
            5,
            "the least again"
        );
    }

    /// Three times what it can do comes for a minute: nobody who is let in waits much longer than a second.
    #[test]
    fn who_is_let_in_waits_about_a_second_however_much_comes() {
        for (per_milli, least) in [(1, 50), (5, 1_000), (40, 1_000)] {
            let mut places = Places::new(least);
            let mut waiting = std::collections::VecDeque::new();
            let (mut longest, mut done) = (0, 0);
            for millis in 0..60_000 {
                for _ in 0..per_milli * 3 {
                    if places.enter(ONE, at(millis)) {
                        waiting.push_back(millis);
                    }
                }
                for _ in 0..per_milli {
                    let Some(since) = waiting.pop_front() else {
                        break;
                    };
                    places.leave(ONE, at(millis));
                    longest = longest.max(millis - since);
                    done += 1;
                }
            }
            assert!(longest <= 1_100, "{longest} ms");
            assert_eq!(done, per_milli * 60_000, "and it never rests");
        }
    }

    #[test]
    fn an_account_has_its_share_though_another_takes_all_it_can() {
        let mut places = Places::new(100);
        assert_eq!(let_in(&mut places, ONE, 1_000, at(0)), 100);
        assert_eq!(let_in(&mut places, OTHER, 1_000, at(0)), 50, "its half");
        assert_eq!(let_in(&mut places, ONE, 1_000, at(0)), 0);
        for _ in 0..60 {
            places.leave(ONE, at(1));
        }
        assert_eq!(
            let_in(&mut places, ONE, 1_000, at(1)),
            10,
            "of two each half"
        );
        for account in 3..300 {
            assert!(places.enter(AccountId(account), at(1)), "one at least");
        }
    }

    #[test]
    fn places_are_given_back() {
        let door = Door::new(1);
        let place = door.enter(ONE).unwrap();
        assert_eq!(door.enter(ONE).unwrap_err(), Error::Busy);
        let other = door.enter(OTHER).unwrap();
        drop((place, other));
        door.enter(ONE).unwrap();
        assert!(door.lock().by.is_empty());
    }

    #[test]
    fn who_waits_for_a_leader_leaves_half_of_the_places_to_others() {
        let door = Door::new(10);
        assert!(door.may_wait(4) && !door.may_wait(5));
        assert!(Door::new(1).may_wait(0), "one at least");
    }

    /// However many are refused in a second: it could not do the work of as many.
    #[test]
    fn what_is_refused_does_not_count_as_answered() {
        let door = Door::new(10);
        for _ in 0..100 {
            door.enter(ONE).unwrap().refused();
        }
        let entered: Vec<_> = (0..100).map_while(|_| door.enter(ONE).ok()).collect();
        assert_eq!(entered.len(), 10);
    }
}
