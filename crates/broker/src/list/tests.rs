//! The list against an ordered map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::codec::wire::Reader;

#[derive(Debug, Clone)]
enum Step {
    /// Sends this many in one entry, after skipping some entries and some time.
    Send {
        messages: u32,
        entries: u64,
        time: u64,
    },
    Pop(u32),
    /// Takes some from the front and puts them back in another order.
    Return(u32),
    /// Puts one in between that was skipped when sending.
    InsertSkipped(u16),
    DropBefore(u16),
    /// Moves the newest to another list and back.
    SplitAndAbsorb(u16),
    /// Moves the newest to another list, sends and puts the others back.
    SplitSendAbsorb(u16),
    SaveAndRestore,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u32..40, 1u64..40, 0u64..300).prop_map(|(messages, entries, time)| Step::Send {
            messages,
            entries,
            time,
        }),
        3 => (0u32..200).prop_map(Step::Pop),
        2 => (0u32..20).prop_map(Step::Return),
        4 => any::<u16>().prop_map(Step::InsertSkipped),
        1 => any::<u16>().prop_map(Step::DropBefore),
        1 => any::<u16>().prop_map(Step::SplitAndAbsorb),
        1 => any::<u16>().prop_map(Step::SplitSendAbsorb),
        1 => Just(Step::SaveAndRestore),
    ]
}

#[derive(Debug, Default)]
struct Pair {
    list: MessageList,
    naive: BTreeMap<Sequence, Timestamp>,
    index: u64,
    now: u64,
    skipped: Vec<Waiting>,
}

impl Pair {
    fn put(&mut self, message: Waiting) {
        self.list.insert(message);
        assert_eq!(self.naive.insert(message.sequence, message.sent), None);
    }

    fn pop(&mut self) -> Option<Waiting> {
        let popped = self.list.pop_first();
        let expected = self.naive.pop_first();
        assert_eq!(
            popped,
            expected.map(|(sequence, sent)| Waiting { sequence, sent })
        );
        popped
    }

    fn send(&mut self, messages: u32, entries: u64, time: u64) {
        self.index += entries;
        self.now += time;
        for ordinal in 0..messages {
            let message = Waiting {
                sequence: Sequence::new(self.index, ordinal),
                sent: Timestamp(self.now),
            };
            if ordinal % 7 == 3 {
                self.skipped.push(message);
            } else {
                self.put(message);
            }
        }
    }

    fn some_time(&self, random: u16) -> Timestamp {
        Timestamp(self.now * u64::from(random) / u64::from(u16::MAX))
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send {
                messages,
                entries,
                time,
            } => self.send(messages, entries, time),
            Step::Pop(messages) => {
                for _ in 0..messages {
                    self.pop();
                }
            }
            Step::Return(messages) => {
                let popped: Vec<_> = (0..messages).filter_map(|_| self.pop()).collect();
                let (odd, even): (Vec<_>, Vec<_>) = popped
                    .into_iter()
                    .partition(|message| message.sent.0 % 2 == 1);
                for message in odd.into_iter().chain(even.into_iter().rev()) {
                    self.put(message);
                }
            }
            Step::InsertSkipped(random) => {
                for _ in 0..5.min(self.skipped.len()) {
                    let place = usize::from(random) % self.skipped.len();
                    let message = self.skipped.swap_remove(place);
                    self.put(message);
                }
            }
            Step::DropBefore(random) => {
                let time = self.some_time(random / 2);
                let before = self.naive.len();
                self.naive.retain(|_, sent| *sent >= time);
                let dropped = (before - self.naive.len()) as u64;
                assert_eq!(self.list.drop_sent_before(time).len(), dropped);
            }
            Step::SplitAndAbsorb(random) | Step::SplitSendAbsorb(random) => {
                let time = self.some_time(random);
                let taken = self.list.split_sent_from(time);
                let expected = self.naive.values().filter(|sent| **sent >= time).count();
                assert_eq!(taken.len(), expected as u64);
                assert!(taken.iter().all(|message| message.sent >= time));
                if let Step::SplitSendAbsorb(_) = step {
                    for _ in 0..3 {
                        // Between those that were taken out.
                        if let Some(message) = self.skipped.pop() {
                            self.put(message);
                        }
                    }
                    self.send(3, 1, 1);
                }
                self.list.absorb(taken);
            }
            Step::SaveAndRestore => {
                let mut bytes = Vec::new();
                self.list.save(&mut bytes);
                let mut reader = Reader::new(&bytes);
                self.list = MessageList::restore(&mut reader).unwrap();
                reader.end().unwrap();
                let mut again = Vec::new();
                self.list.save(&mut again);
                assert_eq!(again, bytes);
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.list.len(), self.naive.len() as u64);
        let first = self.naive.first_key_value().map(|(sequence, _)| *sequence);
        assert_eq!(self.list.first().map(|first| first.sequence), first);
        let last = self.naive.last_key_value().map(|(sequence, _)| *sequence);
        assert_eq!(self.list.last().map(|last| last.sequence), last);
        let listed: Vec<_> = self
            .list
            .iter()
            .map(|one| (one.sequence, one.sent))
            .collect();
        let naive: Vec<_> = self.naive.iter().map(|(key, sent)| (*key, *sent)).collect();
        assert_eq!(listed, naive);
    }

    fn check_between(&self, first: u64, last: u64) {
        let first = Sequence::new(self.index * first / 100, 2);
        let last = Sequence::new(self.index * last / 100 + 1, 5);
        let found: Vec<_> = self
            .list
            .between(first, last)
            .map(|one| one.sequence)
            .collect();
        let expected = self.naive.range(first..=last.max(first));
        let expected: Vec<_> = expected
            .map(|(key, _)| *key)
            .filter(|key| *key <= last)
            .collect();
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_list_is_an_ordered_map(
        steps in prop::collection::vec(step(), 0..300),
        first in 0u64..100,
        last in 0u64..100,
    ) {
        let mut pair = Pair::default();
        for (number, step) in steps.iter().enumerate() {
            pair.step(step);
            if number % 16 == 0 {
                pair.check();
            }
        }
        pair.check();
        pair.check_between(first, last);
    }

    #[test]
    fn any_bytes_restore_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = MessageList::restore(&mut Reader::new(&bytes));
        let _ = Packed::from_bytes(&bytes);
    }
}

#[test]
fn an_emptied_list_gives_its_memory_back() {
    let mut list = MessageList::default();
    for index in 1..=100_000 {
        list.insert(Waiting {
            sequence: Sequence::new(index, 0),
            sent: Timestamp(index),
        });
    }
    assert!(
        list.memory_bytes() < 300_000,
        "{} bytes",
        list.memory_bytes()
    );
    while list.pop_first().is_some() {}
    assert!(list.memory_bytes() <= 1024, "{} bytes", list.memory_bytes());
}
