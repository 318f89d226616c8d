//! The places of the admin port's connections. There are few, and who comes when all are taken gets the
//! place of the connection that has asked for nothing for longest, so that nobody shuts others out by
//! being connected.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::oneshot;

#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// The number of the next event.
    next: u64,
    by_connection: BTreeMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    is_answered: bool,
    /// The event since which it is, or is not, answered.
    since: u64,
    /// Dropped, it tells the connection that it has lost its place.
    _kept: oneshot::Sender<()>,
}

/// A connection's place, free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    connection: u64,
}

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        let taken = Mutex::default();
        Arc::new(Self { max, taken })
    }

    /// A place, and what ends when another connection gets it.
    pub(super) fn take(self: &Arc<Self>) -> (Place, oneshot::Receiver<()>) {
        let (kept, lost) = oneshot::channel();
        let mut taken = self.lock();
        if taken.by_connection.len() >= self.max {
            taken.end_one();
        }
        let connection = taken.event();
        let opened = Connection {
            is_answered: false,
            since: connection,
            _kept: kept,
        };
        taken.by_connection.insert(connection, opened);
        drop(taken);
        let places = Arc::clone(self);
        (Place { places, connection }, lost)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        let taken = self.taken.lock();
        taken.expect("nothing panics while it holds this lock")
    }
}

impl Taken {
    fn event(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Ends the one that has been idle for longest; if none is, the one whose answer takes longest.
    fn end_one(&mut self) {
        let order =
            |(_, connection): &(&u64, &Connection)| (connection.is_answered, connection.since);
        let last = self.by_connection.iter().min_by_key(order);
        if let Some(connection) = last.map(|(connection, _)| *connection) {
            self.by_connection.remove(&connection);
        }
    }
}

impl Place {
    /// A request came, or was answered.
    pub(super) fn is_answered(&self, is_answered: bool) {
        let mut taken = self.places.lock();
        let since = taken.event();
        if let Some(connection) = taken.by_connection.get_mut(&self.connection) {
            (connection.is_answered, connection.since) = (is_answered, since);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().by_connection.remove(&self.connection);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn is_kept(lost: &mut oneshot::Receiver<()>) -> bool {
        lost.try_recv() == Err(TryRecvError::Empty)
    }

    #[test]
    fn one_more_gets_the_place_of_who_has_been_idle_for_longest() {
        let places = Places::new(3);
        let (first, mut first_lost) = places.take();
        let (second, mut second_lost) = places.take();
        let (third, mut third_lost) = places.take();
        first.is_answered(true);
        second.is_answered(true);
        second.is_answered(false);
        // The first is being answered, and the second asked after the third came.
        let (_fourth, mut fourth_lost) = places.take();
        assert!(!is_kept(&mut third_lost));
        let (_fifth, mut fifth_lost) = places.take();
        assert!(!is_kept(&mut second_lost));
        assert!(is_kept(&mut first_lost) && is_kept(&mut fourth_lost) && is_kept(&mut fifth_lost));
        // Who has no place has none to give back.
        drop((second, third));
        drop(first);
        let (_sixth, _sixth_lost) = places.take();
        assert!(is_kept(&mut fourth_lost) && is_kept(&mut fifth_lost));
    }

    #[test]
    fn if_all_are_answered_the_longest_answer_ends() {
        let places = Places::new(2);
        let (first, mut first_lost) = places.take();
        let (second, mut second_lost) = places.take();
        second.is_answered(true);
        first.is_answered(true);
        let _third = places.take();
        assert!(!is_kept(&mut second_lost) && is_kept(&mut first_lost));
    }
}
