//! Places of which nobody takes all: a subscription takes another one only while it has fewer than are
//! free.
//!
//! So one that is slow leaves as many to the others as it has, ten of them leave a tenth, and whoever has
//! none gets one at once until there are as many slow ones as places. All of this is on one thread.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use anser_broker::id::SubscriptionId;
use tokio::sync::oneshot;

#[derive(Debug)]
pub(crate) struct FairPlaces {
    free: Cell<usize>,
    /// How many each has, if it has any.
    held: RefCell<HashMap<SubscriptionId, usize>>,
    /// In the order of coming. While there is a free place, none of these may take it.
    waiting: RefCell<VecDeque<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    who: SubscriptionId,
    granted: oneshot::Sender<FairPlace>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct FairPlace {
    who: SubscriptionId,
    places: Rc<FairPlaces>,
}

impl FairPlaces {
    pub(crate) fn new(count: usize) -> Rc<Self> {
        Rc::new(Self {
            free: Cell::new(count),
            held: RefCell::default(),
            waiting: RefCell::default(),
        })
    }

    /// A place, as soon as there is one that this one may take.
    pub(crate) async fn take(self: &Rc<Self>, who: SubscriptionId) -> FairPlace {
        if let Some(place) = self.take_now(who) {
            return place;
        }
        let (granted, grant) = oneshot::channel();
        self.waiting.borrow_mut().push_back(Waiter { who, granted });
        grant.await.expect("who waits is not forgotten")
    }

    pub(crate) fn take_now(self: &Rc<Self>, who: SubscriptionId) -> Option<FairPlace> {
        if !self.may_take(who) {
            return None;
        }
        self.free.update(|free| free - 1);
        *self.held.borrow_mut().entry(who).or_default() += 1;
        Some(FairPlace {
            who,
            places: Rc::clone(self),
        })
    }

    fn may_take(&self, who: SubscriptionId) -> bool {
        self.held(who) < self.free.get()
    }

    fn held(&self, who: SubscriptionId) -> usize {
        self.held.borrow().get(&who).copied().unwrap_or_default()
    }

    fn give_back(self: &Rc<Self>, who: SubscriptionId) {
        self.free.update(|free| free + 1);
        let left = self.held(who) - 1;
        let mut held = self.held.borrow_mut();
        if left > 0 {
            held.insert(who, left);
        } else {
            held.remove(&who);
        }
        drop(held);
        while let Some(waiter) = self.next() {
            if let Some(place) = self.take_now(waiter.who) {
                // Who has gone meanwhile gives it back.
                _ = waiter.granted.send(place);
            }
        }
    }

    /// The first that waits and may take a place. Few who may not are before it: they have places.
    fn next(&self) -> Option<Waiter> {
        if self.free.get() == 0 {
            return None;
        }
        let mut waiting = self.waiting.borrow_mut();
        let mut place = 0;
        while let Some(waiter) = waiting.get(place) {
            if waiter.granted.is_closed() {
                waiting.remove(place);
            } else if self.may_take(waiter.who) {
                return waiting.remove(place);
            } else {
                place += 1;
            }
        }
        None
    }
}

impl Drop for FairPlace {
    fn drop(&mut self) {
        self.places.give_back(self.who);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use super::*;

    const SLOW: SubscriptionId = SubscriptionId(1);
    const FAST: SubscriptionId = SubscriptionId(2);

    /// All that may be taken at once.
    fn take_all(places: &Rc<FairPlaces>, who: SubscriptionId) -> Vec<FairPlace> {
        std::iter::from_fn(|| places.take_now(who)).collect()
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn each_takes_half_of_what_is_left() {
        let places = FairPlaces::new(64);
        let taken: Vec<Vec<FairPlace>> = (1..=9)
            .map(|number| take_all(&places, SubscriptionId(number)))
            .collect();
        let counts: Vec<usize> = taken.iter().map(Vec::len).collect();
        assert_eq!(counts, [32, 16, 8, 4, 2, 1, 1, 0, 0]);
        drop(taken);
        assert_eq!(places.free.get(), 64);
        assert!(places.held.borrow().is_empty());
    }

    #[test]
    fn a_single_place_is_for_whoever_has_none() {
        let places = FairPlaces::new(1);
        let place = places.take_now(SLOW).unwrap();
        assert!(places.take_now(SLOW).is_none() && places.take_now(FAST).is_none());
        drop(place);
        assert!(places.take_now(FAST).is_some());
    }

    #[test]
    fn who_has_fewer_gets_what_is_given_back_before_those_who_came_earlier() {
        let places = FairPlaces::new(4);
        let mut slow = take_all(&places, SLOW);
        let other = places.take_now(SubscriptionId(3)).unwrap();
        let last = places.take_now(SubscriptionId(4)).unwrap();
        assert_eq!((slow.len(), places.free.get()), (2, 0));
        let mut again = pin!(places.take(SLOW));
        let mut first = pin!(places.take(FAST));
        assert!(poll(again.as_mut()).is_pending() && poll(first.as_mut()).is_pending());
        slow.pop();
        let Poll::Ready(first) = poll(first.as_mut()) else {
            panic!("who has none is served");
        };
        assert!(poll(again.as_mut()).is_pending());
        drop((other, last, first));
        assert!(poll(again.as_mut()).is_ready());
    }

    #[test]
    fn who_no_longer_waits_is_passed_over() {
        let places = FairPlaces::new(1);
        let place = places.take_now(SLOW).unwrap();
        {
            let mut gone = pin!(places.take(FAST));
            assert!(poll(gone.as_mut()).is_pending());
        }
        let mut granted = Box::pin(places.take(FAST));
        let mut waits = pin!(places.take(FAST));
        assert!(poll(granted.as_mut()).is_pending() && poll(waits.as_mut()).is_pending());
        drop(place);
        // It was granted a place and has not looked.
        drop(granted);
        assert!(poll(waits.as_mut()).is_ready());
        assert_eq!(places.free.get(), 1);
        assert!(places.waiting.borrow().is_empty());
    }
}
