//! Random changes of the catalog against a plain list of queues.

use anser_broker::{
    attributes::{Acknowledge, AttributeChanges, DeadLetterAfter, QueueAttributes, RetentionFrom},
    codec::{self, BatchBuilder},
    command::{Answer, Command, CreateQueue, DeadLetterUpdate, Placed, Query, Reply},
    error::Error,
    id::{AccountId, ShardId},
    limits,
    name::QueueName,
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use proptest::prelude::*;

const SHARDS: u16 = 3;
const QUEUES_MAX: u64 = 8;
const NAMES: [&str; 12] = ["a", "B", "b", "c", "D", "e", "f", "g", "h", "i", "A", "j"];

#[derive(Debug, Clone)]
enum Action {
    Create {
        account: u64,
        name: usize,
        target: Option<usize>,
    },
    Delete {
        account: u64,
        name: usize,
    },
    /// No target: the policy is removed.
    Bind {
        account: u64,
        name: usize,
        target: Option<usize>,
    },
    /// Confirms the latest revision, or the one before.
    Settle {
        queue: u64,
        back: u64,
    },
}

fn an_action() -> impl Strategy<Value = Action> {
    let account = || 1u64..3;
    let name = || 0..NAMES.len();
    let target = || prop::option::of(prop_oneof![2 => 0usize..1, 1 => 0..NAMES.len()]);
    prop_oneof![
        4 => (account(), name(), target())
            .prop_map(|(account, name, target)| Action::Create { account, name, target }),
        1 => (account(), name()).prop_map(|(account, name)| Action::Delete { account, name }),
        2 => (account(), name(), target())
            .prop_map(|(account, name, target)| Action::Bind { account, name, target }),
        2 => (1u64..30, 0u64..2).prop_map(|(queue, back)| Action::Settle { queue, back }),
    ]
}

#[derive(Debug)]
struct Record {
    queue: u64,
    account: u64,
    name: &'static str,
    target: Option<u64>,
    shard: u16,
    revision: u64,
    settled: bool,
    lives: bool,
}

#[derive(Debug, Default)]
struct Naive(Vec<Record>);

impl Naive {
    fn living(&self) -> impl Iterator<Item = &Record> {
        self.0.iter().filter(|record| record.lives)
    }

    fn find(&self, account: u64, name: usize) -> Option<&Record> {
        let is_it = |record: &&Record| {
            record.account == account && record.name.eq_ignore_ascii_case(NAMES[name])
        };
        self.living().find(is_it)
    }

    fn is_target(&self, queue: u64) -> bool {
        self.living().any(|record| record.target == Some(queue))
    }

    fn target(&self, account: u64, name: usize, source: Option<u64>) -> Result<u64, Error> {
        let target = self
            .find(account, name)
            .ok_or(Error::NoSuchDeadLetterQueue)?;
        let source_is_target = source.is_some_and(|source| self.is_target(source));
        if source == Some(target.queue) || target.target.is_some() || source_is_target {
            return Err(Error::DeadLetterNested);
        }
        let sources = self
            .living()
            .filter(|record| record.target == Some(target.queue));
        if sources
            .filter(|record| Some(record.queue) != source)
            .count()
            >= limits::DEAD_LETTER_SOURCES_MAX
        {
            return Err(Error::TooManyDeadLetterSources);
        }
        Ok(target.queue)
    }

    /// What the command should change: the queue's id and revision.
    fn apply(&mut self, action: &Action) -> Result<Option<(u64, u64)>, Error> {
        match *action {
            Action::Create {
                account,
                name,
                target,
            } => {
                if self.find(account, name).is_some() {
                    return Err(Error::QueueExists);
                }
                if self
                    .living()
                    .filter(|record| record.account == account)
                    .count() as u64
                    >= QUEUES_MAX
                {
                    return Err(Error::TooManyQueues);
                }
                let target = target
                    .map(|target| self.target(account, target, None))
                    .transpose()?;
                let load = |shard| self.living().filter(|record| record.shard == shard).count();
                let shard = (0..SHARDS).min_by_key(|shard| load(*shard)).unwrap();
                let queue = self.0.len() as u64 + 1;
                let name = NAMES[name];
                self.0.push(Record {
                    queue,
                    account,
                    name,
                    target,
                    shard,
                    revision: 1,
                    settled: false,
                    lives: true,
                });
                Ok(Some((queue, 1)))
            }
            Action::Delete { account, name } => {
                let queue = self.find(account, name).ok_or(Error::NoSuchQueue)?.queue;
                if self.is_target(queue) {
                    return Err(Error::IsDeadLetterQueue);
                }
                Ok(Some(self.change(queue, |record| {
                    (record.lives, record.target) = (false, None);
                })))
            }
            Action::Bind {
                account,
                name,
                target,
            } => {
                let queue = self.find(account, name).ok_or(Error::NoSuchQueue)?.queue;
                let target = target
                    .map(|target| self.target(account, target, Some(queue)))
                    .transpose()?;
                Ok(Some(self.change(queue, |record| record.target = target)))
            }
            Action::Settle { queue, back } => {
                if let Some(record) = self.0.iter_mut().find(|record| record.queue == queue) {
                    record.settled |= back == 0;
                }
                Ok(None)
            }
        }
    }

    fn change(&mut self, queue: u64, change: impl FnOnce(&mut Record)) -> (u64, u64) {
        let record = self
            .0
            .iter_mut()
            .find(|record| record.queue == queue)
            .unwrap();
        change(record);
        record.revision += 1;
        record.settled = false;
        (queue, record.revision)
    }

    fn command(&self, action: &Action) -> Command {
        let name = |name: usize| QueueName::new(NAMES[name]).unwrap();
        let after = DeadLetterAfter::Receives(1);
        match *action {
            Action::Create {
                account,
                name: number,
                target,
            } => Command::CreateQueue(CreateQueue {
                account: AccountId(account),
                name: name(number),
                attributes: attributes(),
                dead_letter: target.map(|target| (name(target), after)),
                queues_max: QUEUES_MAX,
                reuse_after: Millis(0),
                avoid: Vec::new(),
            }),
            Action::Delete {
                account,
                name: number,
            } => Command::DeleteQueue {
                account: AccountId(account),
                name: name(number),
            },
            Action::Bind {
                account,
                name: number,
                target,
            } => Command::SetQueueAttributes {
                account: AccountId(account),
                name: name(number),
                changes: AttributeChanges::default(),
                dead_letter: match target {
                    Some(target) => DeadLetterUpdate::Set(name(target), after),
                    None => DeadLetterUpdate::Remove,
                },
            },
            Action::Settle { queue, back } => {
                let record = self.0.iter().find(|record| record.queue == queue);
                let revision = record.map_or(1, |record| record.revision) - back;
                Command::Settled {
                    number: queue,
                    revision,
                }
            }
        }
    }
}

fn attributes() -> QueueAttributes {
    QueueAttributes {
        backlog_max: 1,
        wait: Millis(0),
        visibility: Millis(1),
        body_bytes_max: 1,
        retention: Millis(1),
        retention_from: RetentionFrom::Sent,
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: Millis(0),
        delayed_max: 1,
        in_flight_max: 1,
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    }
}

fn apply(shard: &mut Shard, command: &Command) -> Reply {
    let mut batch = BatchBuilder::new(Stamp {
        now: Timestamp(5),
        wall: Timestamp(5),
        ..Stamp::default()
    });
    batch.push(&codec::encode(command));
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    let index = shard.applied() + 1;
    shard
        .apply(index, &batch.finish(), &mut replies, &mut effects)
        .unwrap();
    replies.remove(0)
}

fn check(shard: &Shard, naive: &Naive) {
    let unsettled: Vec<_> = shard
        .unsettled()
        .into_iter()
        .map(|placed| (placed.number(), placed.revision()))
        .collect();
    let expected = naive.0.iter().filter(|record| !record.settled);
    assert_eq!(
        unsettled,
        expected
            .map(|record| (record.queue, record.revision))
            .collect::<Vec<_>>()
    );
    let routes = shard.routes().into_iter();
    let routes: Vec<_> = routes
        .map(|placed| {
            let Placed::Queue(placed) = placed else {
                panic!("{placed:?} is no queue")
            };
            let policy = placed.attributes.unwrap().dead_letter;
            (
                placed.queue.0,
                placed.shard.0,
                placed.name.as_str().to_owned(),
                policy.map(|policy| policy.queue.0),
            )
        })
        .collect();
    let expected = naive.living();
    let expected = expected.map(|record| {
        (
            record.queue,
            record.shard,
            record.name.to_owned(),
            record.target,
        )
    });
    assert_eq!(routes, expected.collect::<Vec<_>>());
    for account in 1..3 {
        let query = Query::Queues {
            account: AccountId(account),
            search: String::new(),
            offset: 1,
            limit: 3,
        };
        let Answer::Queues { total, queues } = shard.query(&query) else {
            panic!("no list")
        };
        let expected: Vec<_> = naive
            .living()
            .filter(|record| record.account == account)
            .map(|record| record.queue)
            .collect();
        assert_eq!(total, expected.len() as u64);
        let expected: Vec<_> = expected.into_iter().skip(1).take(3).collect();
        assert_eq!(
            queues
                .into_iter()
                .map(|queue| queue.queue.0)
                .collect::<Vec<_>>(),
            expected
        );
    }
    check_sources(shard, naive);
}

/// Lists of sources are exactly the queues whose policy leads there.
fn check_sources(shard: &Shard, naive: &Naive) {
    for target in naive.living() {
        let query = Query::DeadLetterSources {
            account: AccountId(target.account),
            name: QueueName::new(target.name).unwrap(),
            search: String::new(),
            offset: 0,
            limit: u64::MAX,
        };
        let Answer::Queues { total, queues } = shard.query(&query) else {
            panic!("no list")
        };
        let sources = naive.living();
        let sources = sources.filter(|record| record.target == Some(target.queue));
        let sources: Vec<u64> = sources.map(|record| record.queue).collect();
        assert_eq!(total, sources.len() as u64);
        let listed: Vec<u64> = queues.into_iter().map(|queue| queue.queue.0).collect();
        assert_eq!(listed, sources);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_catalog_is_a_list_of_queues(actions in prop::collection::vec((an_action(), prop::bool::weighted(0.05)), 1..60)) {
        let mut shard = Shard::new(ShardId(0), SHARDS);
        let mut naive = Naive::default();
        for (action, restore) in actions {
            let command = naive.command(&action);
            let reply = match apply(&mut shard, &command) {
                Reply::Placed(placed) => Ok(Some((placed.number(), placed.revision()))),
                Reply::Done => Ok(None),
                Reply::Refused(error) => Err(error),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(reply, naive.apply(&action), "reply to {:?}", action);
            if restore {
                let mut bytes = Vec::new();
                shard.save(&mut |piece| bytes.extend_from_slice(piece));
                shard = Shard::restore(&bytes).unwrap();
                let mut again = Vec::new();
                shard.save(&mut |piece| again.extend_from_slice(piece));
                prop_assert_eq!(again, bytes);
            }
            check(&shard, &naive);
        }
    }
}

/// Core review, finding 15: one in so many new queues could not be used while a shard was dead.
#[test]
fn a_queue_does_not_go_to_a_shard_that_nobody_leads_if_there_is_another() {
    let mut shard = Shard::new(ShardId::CATALOG, 3);
    let mut create = |name: &str, avoid: &[u16]| {
        let command = Command::CreateQueue(CreateQueue {
            account: AccountId(1),
            name: QueueName::new(name).unwrap(),
            attributes: attributes(),
            dead_letter: None,
            queues_max: 100,
            reuse_after: Millis(0),
            avoid: avoid.iter().copied().map(ShardId).collect(),
        });
        match apply(&mut shard, &command) {
            Reply::Placed(placed) => placed.shard().0,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(create("a", &[0]), 1);
    assert_eq!(create("b", &[0]), 2);
    assert_eq!(create("c", &[0, 2]), 1);
    assert_eq!(create("d", &[]), 0);
    assert_eq!(create("e", &[0, 1, 2]), 0, "none of them is led");
}
