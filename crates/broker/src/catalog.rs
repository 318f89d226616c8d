//! The catalog: names, accounts and placement. It lives on shard 0.
//!
//! It says what queues, topics and subscriptions there should be; the home of each is told by its
//! revisions. It is unsettled until its home has confirmed the latest one, the deletion included.

use std::sync::Arc;

use crate::{
    attributes::{AttributeChanges, DeadLetterAfter, DeadLetterPolicy, QueueAttributes},
    command::{Command, CreateQueue, DeadLetterUpdate, Effect, Placed, PlacedQueue, Reply},
    error::Error,
    id::{AccountId, QueueId, ShardId},
    limits,
    name::QueueName,
    sorted::SortedMap,
    time::Timestamp,
    turn::Turn,
};

mod deletions;
mod listing;
mod nodes;
mod recovered;
mod state;
mod summary;
mod topics;

use deletions::Deletions;
use nodes::{Nodes, Place};
use topics::Topics;

#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    /// The number of the next queue, topic or subscription.
    next: u64,
    /// The living ones. Ids ascend, so this is the order of creation.
    queues: SortedMap<QueueId, Arc<Record>>,
    /// By account and folded name.
    names: SortedMap<(AccountId, String), QueueId>,
    accounts: SortedMap<AccountId, SortedMap<QueueId, ()>>,
    /// How many queues and topics each shard has.
    loads: Vec<u64>,
    /// The queues that have this one as their dead-letter queue.
    sources: SortedMap<QueueId, SortedMap<QueueId, ()>>,
    unsettled: SortedMap<QueueId, ()>,
    /// Deleted queues whose home has not confirmed it.
    ending: SortedMap<QueueId, PlacedQueue>,
    deletions: Arc<Deletions>,
    topics: Topics,
    nodes: Nodes,
}

#[derive(Debug, Clone)]
struct Record {
    account: AccountId,
    name: QueueName,
    shard: ShardId,
    revision: u64,
    attributes: QueueAttributes,
    created: Timestamp,
    modified: Timestamp,
}

impl Catalog {
    pub(crate) fn new(shards: u16) -> Self {
        assert!(shards > 0, "a cluster has a shard");
        Self {
            next: 1,
            queues: SortedMap::default(),
            names: SortedMap::default(),
            accounts: SortedMap::default(),
            loads: vec![0; usize::from(shards)],
            sources: SortedMap::default(),
            unsettled: SortedMap::default(),
            ending: SortedMap::default(),
            deletions: Arc::default(),
            topics: Topics::default(),
            nodes: Nodes::default(),
        }
    }

    /// Applies a command that is for the catalog.
    pub(crate) fn apply(&mut self, command: &Command, turn: &mut Turn<'_>) -> Reply {
        match command {
            Command::CreateQueue(create) => self.create(create, turn),
            Command::DeleteQueue { account, name } => self.delete(*account, name, turn),
            Command::SetQueueAttributes {
                account,
                name,
                changes,
                dead_letter,
            } => self.set_attributes(*account, name, changes, dead_letter, turn),
            Command::Settled { number, revision } => self.settled(*number, *revision),
            Command::CreateTopic(create) => self.create_topic(create, turn),
            Command::DeleteTopic { account, name } => self.delete_topic(*account, name, turn),
            Command::SetTopicAttributes {
                account,
                name,
                changes,
            } => self.set_topic_attributes(*account, name, changes, turn),
            Command::Subscribe(subscribe) => self.subscribe(subscribe, turn),
            Command::SetSubscriptionAttributes {
                account,
                topic,
                name,
                changes,
            } => self.set_subscription_attributes(*account, topic, name, changes, turn),
            Command::Unsubscribe {
                account,
                topic,
                name,
            } => self.unsubscribe(*account, topic, name, turn),
            Command::AddNode {
                incarnation,
                start,
                address,
                host,
                zone,
            } => {
                let place = Place {
                    address,
                    host,
                    zone,
                };
                let added = self.nodes.add(*incarnation, *start, &place, turn);
                added.map_or_else(Reply::Refused, Reply::Node)
            }
            Command::SetNodeState {
                node,
                state,
                removed,
            } => {
                let set = self.nodes.set_state(*node, *state, *removed, turn);
                set.map_or_else(Reply::Refused, Reply::Node)
            }
            Command::ClusterFormed { cluster } => self.nodes.form(*cluster, turn),
            Command::SetClusterVersion { version, nodes } => {
                self.nodes.set_version(*version, *nodes, turn)
            }
            other => unreachable!("{other:?} is not for the catalog"),
        }
    }

    fn create(&mut self, create: &CreateQueue, turn: &mut Turn<'_>) -> Reply {
        match self.check_create(create, turn.now) {
            Ok(attributes) => {
                let record = Record {
                    account: create.account,
                    name: create.name.clone(),
                    shard: self.emptiest_shard(&create.avoid),
                    revision: 1,
                    attributes,
                    created: turn.now,
                    modified: turn.now,
                };
                let queue = QueueId(self.next);
                self.next += 1;
                let placed = record.placed(queue);
                self.insert(queue, record);
                self.unsettled.insert_new(queue, ());
                let placed = Placed::Queue(placed);
                turn.effect(Effect::RouteChanged(placed.clone()));
                turn.effect(Effect::Unsettled(placed.clone()));
                self.retarget(create.account, &create.name, Some(queue), turn);
                Reply::Placed(placed)
            }
            Err(error) => Reply::Refused(error),
        }
    }

    fn check_create(&self, create: &CreateQueue, now: Timestamp) -> Result<QueueAttributes, Error> {
        let policy_of = |queue| {
            let after = create.dead_letter.as_ref().map(|(_, after)| *after);
            after.map(|after| DeadLetterPolicy { queue, after })
        };
        let mut attributes = create.attributes.clone();
        attributes.dead_letter = policy_of(QueueId(0));
        attributes.check()?;
        if self.find(create.account, &create.name).is_some() {
            return Err(Error::QueueExists);
        }
        let name = create.name.folded();
        if self
            .deletions
            .is_recent(create.account, &name, create.reuse_after, now)
        {
            return Err(Error::QueueRecentlyDeleted);
        }
        let held = self.accounts.get(&create.account).map_or(0, SortedMap::len);
        if held as u64 >= create.queues_max {
            return Err(Error::TooManyQueues);
        }
        if let Some((target, _)) = &create.dead_letter {
            let target = self.dead_letter_target(create.account, target, None)?;
            attributes.dead_letter = policy_of(target);
        }
        Ok(attributes)
    }

    fn delete(&mut self, account: AccountId, name: &QueueName, turn: &mut Turn<'_>) -> Reply {
        let Some(queue) = self.find(account, name) else {
            return Reply::Refused(Error::NoSuchQueue);
        };
        if self.sources.contains(&queue) || self.topics.is_dead_letter_queue(queue) {
            return Reply::Refused(Error::IsDeadLetterQueue);
        }
        let record = self.remove(queue);
        let deletions = Arc::make_mut(&mut self.deletions);
        deletions.add(account, record.name.folded(), turn.now);
        let placed = PlacedQueue {
            revision: record.revision + 1,
            attributes: None,
            ..record.placed(queue)
        };
        self.ending.insert(queue, placed.clone());
        self.unsettled.insert_new(queue, ());
        let placed = self.with_floor(Placed::Queue(placed));
        turn.effect(Effect::RouteChanged(placed.clone()));
        turn.effect(Effect::Unsettled(placed.clone()));
        self.retarget(account, name, None, turn);
        Reply::Placed(placed)
    }

    fn set_attributes(
        &mut self,
        account: AccountId,
        name: &QueueName,
        changes: &AttributeChanges,
        dead_letter: &DeadLetterUpdate,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let Some(queue) = self.find(account, name) else {
            return Reply::Refused(Error::NoSuchQueue);
        };
        match self.check_changes(queue, changes, dead_letter) {
            Ok(attributes) => {
                self.bind(queue, attributes.dead_letter);
                let record = self.queues.own(&queue).expect("a named queue lives");
                record.attributes = attributes;
                record.revision += 1;
                record.modified = turn.now;
                self.unsettled.insert_new(queue, ());
                let placed = Placed::Queue(record.placed(queue));
                turn.effect(Effect::Unsettled(placed.clone()));
                Reply::Placed(placed)
            }
            Err(error) => Reply::Refused(error),
        }
    }

    fn check_changes(
        &self,
        queue: QueueId,
        changes: &AttributeChanges,
        dead_letter: &DeadLetterUpdate,
    ) -> Result<QueueAttributes, Error> {
        let record = &self.queues[&queue];
        let mut attributes = record.attributes.with(changes);
        let policy = |queue: QueueId, after: &DeadLetterAfter| {
            Some(DeadLetterPolicy {
                queue,
                after: *after,
            })
        };
        match dead_letter {
            DeadLetterUpdate::Keep => {}
            DeadLetterUpdate::Remove => attributes.dead_letter = None,
            DeadLetterUpdate::Set(_, after) => attributes.dead_letter = policy(queue, after),
        }
        attributes.check()?;
        if let DeadLetterUpdate::Set(target, after) = dead_letter {
            let target = self.dead_letter_target(record.account, target, Some(queue))?;
            attributes.dead_letter = policy(target, after);
        }
        Ok(attributes)
    }

    /// The queue to which a policy may lead from `source`, which may be still to come.
    fn dead_letter_target(
        &self,
        account: AccountId,
        name: &QueueName,
        source: Option<QueueId>,
    ) -> Result<QueueId, Error> {
        let target = self
            .find(account, name)
            .ok_or(Error::NoSuchDeadLetterQueue)?;
        let target_has_policy = self.queues[&target].attributes.dead_letter.is_some();
        let source_is_target = source.is_some_and(|source| self.sources.contains(&source));
        if source == Some(target) || target_has_policy || source_is_target {
            return Err(Error::DeadLetterNested);
        }
        let others = self.sources.get(&target).map_or(0, |sources| {
            sources.len() - usize::from(source.is_some_and(|source| sources.contains(&source)))
        });
        if others >= limits::DEAD_LETTER_SOURCES_MAX {
            return Err(Error::TooManyDeadLetterSources);
        }
        Ok(target)
    }

    fn settled(&mut self, number: u64, revision: u64) -> Reply {
        self.topics.settled(number, revision);
        let queue = QueueId(number);
        let living = self.queues.get(&queue).map(|record| record.revision);
        let latest = living.or_else(|| self.ending.get(&queue).map(|placed| placed.revision));
        if latest.is_some_and(|latest| revision >= latest) {
            self.unsettled.remove(&queue);
            self.ending.remove(&queue);
        }
        Reply::Done
    }

    #[cfg(feature = "sabotage")]
    pub(crate) fn spoil(&mut self) {
        let first = self.queues.first().map(|(queue, _)| *queue);
        if let Some(record) = first.and_then(|queue| self.queues.own(&queue)) {
            record.modified.0 += 1;
        }
    }

    pub(crate) fn unsettled(&self) -> Vec<Placed> {
        let placed = self
            .unsettled
            .keys()
            .map(|queue| match self.queues.get(queue) {
                Some(record) => record.placed(*queue),
                None => self.ending[queue].clone(),
            });
        let topics = self.topics.unsettled();
        let floors = self.floors();
        let all = placed.map(Placed::Queue).chain(topics);
        let all = all.map(|mut placed| {
            placed.set_floor(&floors);
            placed
        });
        all.collect()
    }

    fn with_floor(&self, mut placed: Placed) -> Placed {
        if placed.is_end() {
            placed.set_floor(&self.floors());
        }
        placed
    }

    /// For each shard, below which number nothing is still to come there: what lives has been confirmed.
    fn floors(&self) -> Vec<u64> {
        let queues = self.unsettled.keys();
        let queues = queues.filter_map(|id| Some((self.queues.get(id)?.shard, id.0)));
        let mut floors = vec![self.next; self.loads.len()];
        for (shard, number) in queues.chain(self.topics.awaited()) {
            let floor = &mut floors[usize::from(shard.0)];
            *floor = number.min(*floor);
        }
        floors
    }

    pub(crate) fn routes(&self) -> Vec<Placed> {
        let queues = self.queues.iter();
        let queues = queues.map(|(queue, record)| Placed::Queue(record.placed(*queue)));
        queues.chain(self.topics.all_placed()).collect()
    }

    pub(crate) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    fn find(&self, account: AccountId, name: &QueueName) -> Option<QueueId> {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_planted("account left out of names") {
            let folded = name.folded();
            let mut names = self.names.iter();
            return names.find_map(|((_, of), queue)| (*of == folded).then_some(*queue));
        }
        self.names.get(&(account, name.folded())).copied()
    }

    /// The shard with the fewest things, of those that are not to be avoided if there are others.
    fn emptiest_shard(&self, avoid: &[ShardId]) -> ShardId {
        let shards = (0u16..).zip(&self.loads);
        let is_avoided = |shard| avoid.binary_search(&ShardId(shard)).is_ok();
        let emptiest = shards.min_by_key(|(shard, load)| (is_avoided(*shard), **load, *shard));
        let (shard, _) = emptiest.expect("a cluster has a shard");
        ShardId(shard)
    }

    fn insert(&mut self, queue: QueueId, record: Record) {
        let name = (record.account, record.name.folded());
        self.names.insert(name, queue);
        self.accounts.entry(&record.account).insert(queue, ());
        self.loads[usize::from(record.shard.0)] += 1;
        if let Some(policy) = record.attributes.dead_letter {
            self.sources.entry(&policy.queue).insert_new(queue, ());
        }
        self.queues.insert(queue, Arc::new(record));
    }

    fn remove(&mut self, queue: QueueId) -> Arc<Record> {
        self.bind(queue, None);
        let record = self.queues.remove(&queue).expect("a named queue lives");
        self.names.remove(&(record.account, record.name.folded()));
        self.loads[usize::from(record.shard.0)] -= 1;
        if let Some(queues) = self.accounts.get_mut(&record.account) {
            queues.remove(&queue);
            if queues.is_empty() {
                self.accounts.remove(&record.account);
            }
        }
        record
    }

    /// Moves a queue from the sources of its dead-letter queue to those of another.
    fn bind(&mut self, queue: QueueId, policy: Option<DeadLetterPolicy>) {
        let old = self.queues[&queue].attributes.dead_letter;
        if let Some(old) = old
            && let Some(sources) = self.sources.get_mut(&old.queue)
        {
            sources.remove(&queue);
            if sources.is_empty() {
                self.sources.remove(&old.queue);
            }
        }
        if let Some(policy) = policy {
            self.sources.entry(&policy.queue).insert_new(queue, ());
        }
    }
}

impl Record {
    fn placed(&self, queue: QueueId) -> PlacedQueue {
        PlacedQueue {
            account: self.account,
            name: self.name.clone(),
            queue,
            shard: self.shard,
            revision: self.revision,
            attributes: Some(self.attributes.clone()),
            floor: 0,
        }
    }
}
