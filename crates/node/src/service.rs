//! The node as a [`Service`]: finds a queue's shard, translates operations to commands and replies to
//! outputs.

use anser_broker::{
    codec,
    command::{
        self, Answer, Command, DeadLetterUpdate, Placed, PlacedQueue, Query, QueueRecord, Reply,
    },
    context::Context,
    error::Error,
    id::{AccountId, MessageId, QueueId, Receipt, Sequence, ShardId},
    limits,
    name::QueueName,
    op::{
        AnyOperation, AnyOutput, ChangeVisibility, Class, ClearQueue, CreateQueue,
        DeadLetterChange, DeleteMessages, DeleteQueue, DescribeQueue, ListDeadLetterSources,
        ListQueues, MessagesDeleted, MessagesReceived, MessagesReturned, MessagesSent,
        NamedDeadLetterPolicy, Operation, QueueChanged, QueueCleared, QueueCounts, QueueCreated,
        QueueDeleted, QueueDescription, QueueRewound, QueuesListed, ReceiveMessages,
        ReturnMessages, RewindQueue, SendMessages, SetQueueAttributes, VisibilityChanged,
    },
    service::Service,
};
use anser_host::Route;
use anser_replica::ReceiveRequest;

use crate::{
    event::{Request, Response},
    node::Node,
};

mod topics;

impl Service for Node {
    async fn execute<O: Operation>(
        &self,
        context: Context,
        operation: O,
    ) -> Result<O::Output, Error> {
        let account = context.owner;
        let operation = operation.into();
        let mut place = if O::CLASS == Class::Receive {
            None
        } else {
            Some(self.door().enter(account)?)
        };
        let performed = self.perform_freshly(account, operation).await;
        if let (Some(place), Err(Error::Busy)) = (&mut place, &performed) {
            place.refused();
        }
        Ok(O::output(performed?).expect("each operation is answered with its own output"))
    }
}

impl Node {
    /// Performs an operation; again, if what it did not find is there once this node's copy of the
    /// catalog has caught up.
    async fn perform_freshly(
        &self,
        account: AccountId,
        operation: AnyOperation,
    ) -> Result<AnyOutput, Error> {
        let Some(cluster) = &self.desk().cluster else {
            return self.perform(account, operation).await;
        };
        let known = self.desk().routes.version();
        let again = operation.clone();
        match Box::pin(self.perform(account, operation)).await {
            Err(error) if is_missing(error) && !cluster.leaders.serves_here(ShardId::CATALOG) => {
                if !anser_host::catch_up(self.desk()).await {
                    return Err(Error::Unavailable);
                }
                if self.desk().routes.version() == known {
                    return Err(error);
                }
                Box::pin(self.perform(account, again)).await
            }
            result => result,
        }
    }

    async fn perform(
        &self,
        account: AccountId,
        operation: AnyOperation,
    ) -> Result<AnyOutput, Error> {
        use AnyOperation as In;
        use AnyOutput as Out;
        Ok(match operation {
            In::CreateQueue(input) => Out::CreateQueue(self.create(account, input).await?),
            In::DeleteQueue(input) => Out::DeleteQueue(self.delete(account, input).await?),
            In::SetQueueAttributes(input) => {
                Out::SetQueueAttributes(self.set(account, input).await?)
            }
            In::DescribeQueue(input) => Out::DescribeQueue(self.describe(account, input).await?),
            In::ListQueues(input) => Out::ListQueues(self.list(account, input).await?),
            In::ListDeadLetterSources(input) => {
                Out::ListDeadLetterSources(self.list_sources(account, input).await?)
            }
            In::ClearQueue(input) => Out::ClearQueue(self.clear(account, input).await?),
            In::RewindQueue(input) => Out::RewindQueue(self.rewind(account, input).await?),
            In::SendMessages(input) => Out::SendMessages(self.send(account, input).await?),
            In::ReceiveMessages(input) => Out::ReceiveMessages(self.receive(account, input).await?),
            In::DeleteMessages(input) => {
                Out::DeleteMessages(self.delete_messages(account, input).await?)
            }
            In::ChangeVisibility(input) => {
                Out::ChangeVisibility(self.change_visibility(account, input).await?)
            }
            In::ReturnMessages(input) => {
                Out::ReturnMessages(self.return_messages(account, input).await?)
            }
            about_topics => return self.perform_on_topics(account, about_topics).await,
        })
    }

    async fn create(&self, account: AccountId, input: CreateQueue) -> Result<QueueCreated, Error> {
        self.check_space(ShardId::CATALOG)?;
        let command = Command::CreateQueue(command::CreateQueue {
            account,
            name: input.name,
            attributes: input.attributes,
            dead_letter: input.dead_letter.map(|policy| (policy.queue, policy.after)),
            queues_max: input.queues_max,
            reuse_after: input.reuse_after,
            avoid: Vec::new(),
        });
        let placed = self.place_queue(command).await?;
        Ok(QueueCreated {
            queue: placed.queue,
        })
    }

    async fn delete(&self, account: AccountId, input: DeleteQueue) -> Result<QueueDeleted, Error> {
        self.place(Command::DeleteQueue {
            account,
            name: input.name,
        })
        .await?;
        Ok(QueueDeleted)
    }

    async fn set(
        &self,
        account: AccountId,
        input: SetQueueAttributes,
    ) -> Result<QueueChanged, Error> {
        let dead_letter = match input.dead_letter {
            DeadLetterChange::Keep => DeadLetterUpdate::Keep,
            DeadLetterChange::Remove => DeadLetterUpdate::Remove,
            DeadLetterChange::Set(policy) => DeadLetterUpdate::Set(policy.queue, policy.after),
        };
        let SetQueueAttributes { name, changes, .. } = input;
        let command = Command::SetQueueAttributes {
            account,
            name,
            changes,
            dead_letter,
        };
        let placed = self.place_queue(command).await?;
        let attributes = placed
            .attributes
            .expect("a queue that was set has attributes");
        Ok(QueueChanged {
            queue: placed.queue,
            attributes,
        })
    }

    async fn place_queue(&self, command: Command) -> Result<PlacedQueue, Error> {
        match self.place(command).await? {
            Placed::Queue(placed) => Ok(placed),
            other => unreachable!("a change of a queue places a queue, not {other:?}"),
        }
    }

    async fn place(&self, command: Command) -> Result<Placed, Error> {
        anser_host::change(self.desk(), &command).await
    }

    async fn describe(
        &self,
        account: AccountId,
        input: DescribeQueue,
    ) -> Result<QueueDescription, Error> {
        let query = Query::Queue {
            account,
            name: input.name,
        };
        let Answer::Queue(record) = self.read(ShardId::CATALOG, query).await? else {
            unreachable!("a query for a queue is answered with a queue")
        };
        let Answer::Counts(counts) = self
            .read(
                record.shard,
                Query::Counts {
                    queue: record.queue,
                },
            )
            .await?
        else {
            unreachable!("a query for counts is answered with counts")
        };
        Ok(description(*record, counts))
    }

    async fn list(&self, account: AccountId, input: ListQueues) -> Result<QueuesListed, Error> {
        let ListQueues {
            search,
            offset,
            limit,
        } = input;
        self.listing(Query::Queues {
            account,
            search,
            offset,
            limit,
        })
        .await
    }

    async fn list_sources(
        &self,
        account: AccountId,
        input: ListDeadLetterSources,
    ) -> Result<QueuesListed, Error> {
        let ListDeadLetterSources {
            name,
            search,
            offset,
            limit,
        } = input;
        self.listing(Query::DeadLetterSources {
            account,
            name,
            search,
            offset,
            limit,
        })
        .await
    }

    async fn listing(&self, query: Query) -> Result<QueuesListed, Error> {
        let Answer::Queues { total, queues } = self.read(ShardId::CATALOG, query).await? else {
            unreachable!("a query for queues is answered with queues")
        };
        Ok(QueuesListed { total, queues })
    }

    async fn clear(&self, account: AccountId, input: ClearQueue) -> Result<QueueCleared, Error> {
        let Route { queue, shard } = self.route(account, &input.name)?;
        anser_host::propose(self.desk(), shard, &Command::ClearQueue { queue }).await?;
        Ok(QueueCleared)
    }

    async fn rewind(&self, account: AccountId, input: RewindQueue) -> Result<QueueRewound, Error> {
        let Route { queue, shard } = self.route(account, &input.name)?;
        let command = Command::RewindQueue {
            queue,
            to: input.to,
        };
        match anser_host::propose(self.desk(), shard, &command).await? {
            Reply::Rewound { messages } => Ok(QueueRewound { messages }),
            other => unreachable!("rewinding is answered with a count, not {other:?}"),
        }
    }

    async fn send(&self, account: AccountId, input: SendMessages) -> Result<MessagesSent, Error> {
        let Route { queue, shard } = self.route(account, &input.queue)?;
        self.check_space(shard)?;
        let SendMessages {
            bodies,
            delay,
            token,
            ..
        } = input;
        check_batch(bodies.len())?;
        let encoded = codec::encode(&match token {
            None => Command::SendMessages {
                queue,
                delay,
                bodies,
            },
            Some(token) => Command::SendMessagesOnce {
                queue,
                token,
                delay,
                bodies,
            },
        });
        match anser_host::ask(self.desk(), shard, Request::Propose(encoded)).await? {
            Response::Reply(Reply::Sent { messages }) => {
                let id = |sequence| MessageId { shard, sequence };
                Ok(MessagesSent {
                    messages: messages.into_iter().map(id).collect(),
                })
            }
            other => unreachable!("a send is answered with its messages, not {other:?}"),
        }
    }

    async fn receive(
        &self,
        account: AccountId,
        input: ReceiveMessages,
    ) -> Result<MessagesReceived, Error> {
        let Route { queue, shard } = self.route(account, &input.queue)?;
        let ReceiveMessages {
            max,
            visibility,
            wait,
            ..
        } = input;
        let request = ReceiveRequest {
            queue,
            max,
            visibility,
            wait,
        };
        match anser_host::ask(self.desk(), shard, Request::Receive(request)).await? {
            Response::Messages(messages) => Ok(MessagesReceived { messages }),
            other => unreachable!("a receive is answered with messages, not {other:?}"),
        }
    }

    async fn delete_messages(
        &self,
        account: AccountId,
        input: DeleteMessages,
    ) -> Result<MessagesDeleted, Error> {
        let route = self.route(account, &input.queue)?;
        let results = self
            .each(route, &input.receipts, |queue, receipts| {
                Command::DeleteMessages { queue, receipts }
            })
            .await?;
        Ok(MessagesDeleted { results })
    }

    async fn change_visibility(
        &self,
        account: AccountId,
        input: ChangeVisibility,
    ) -> Result<VisibilityChanged, Error> {
        let route = self.route(account, &input.queue)?;
        let visibility = input.visibility;
        let results = self
            .each(route, &input.receipts, |queue, receipts| {
                Command::ChangeVisibility {
                    queue,
                    receipts,
                    visibility,
                }
            })
            .await?;
        Ok(VisibilityChanged { results })
    }

    async fn return_messages(
        &self,
        account: AccountId,
        input: ReturnMessages,
    ) -> Result<MessagesReturned, Error> {
        let route = self.route(account, &input.queue)?;
        self.each(route, &input.receipts, |queue, receipts| {
            Command::ReturnLeases { queue, receipts }
        })
        .await?;
        Ok(MessagesReturned)
    }

    /// One command for the receipts of the queue's shard; those of another shard are invalid.
    async fn each(
        &self,
        Route { queue, shard }: Route,
        receipts: &[Receipt],
        command: impl FnOnce(QueueId, Vec<Sequence>) -> Command,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        check_batch(receipts.len())?;
        let ours = || receipts.iter().filter(|receipt| receipt.shard == shard);
        let sequences: Vec<Sequence> = ours().map(|receipt| receipt.sequence).collect();
        if sequences.is_empty() {
            return Ok(vec![Err(Error::ReceiptInvalid); receipts.len()]);
        }
        let results =
            match anser_host::propose(self.desk(), shard, &command(queue, sequences)).await? {
                Reply::Each(results) => results,
                other => unreachable!("receipts are answered one by one, not by {other:?}"),
            };
        let mut results = results.into_iter();
        let result = |receipt: &Receipt| {
            if receipt.shard == shard {
                results.next().expect("one result a receipt")
            } else {
                Err(Error::ReceiptInvalid)
            }
        };
        Ok(receipts.iter().map(result).collect())
    }

    async fn read(&self, shard: ShardId, query: Query) -> Result<Answer, Error> {
        match anser_host::ask(self.desk(), shard, Request::Read(query)).await? {
            Response::Answer(Answer::Refused(error)) => Err(error),
            Response::Answer(answer) => Ok(answer),
            other => unreachable!("a read is answered with an answer, not {other:?}"),
        }
    }

    fn route(&self, account: AccountId, name: &QueueName) -> Result<Route, Error> {
        self.desk()
            .routes
            .find(account, name)
            .ok_or(Error::NoSuchQueue)
    }

    /// Refuses what takes space if a disk with a copy of the shard is nearly full.
    fn check_space(&self, shard: ShardId) -> Result<(), Error> {
        let full = match &self.desk().cluster {
            Some(cluster) => cluster.reports.is_full(shard),
            None => self.counters().is_full(),
        };
        if full {
            Err(Error::StorageFull)
        } else {
            Ok(())
        }
    }
}

fn check_batch(count: usize) -> Result<(), Error> {
    if (1..=limits::BATCH_MESSAGES_MAX).contains(&count) {
        Ok(())
    } else {
        Err(Error::BatchSize)
    }
}

/// Whether a copy of the catalog that lags behind may be the reason.
fn is_missing(error: Error) -> bool {
    matches!(
        error,
        Error::NoSuchQueue | Error::NoSuchTopic | Error::NoSuchSubscription
    )
}

fn description(record: QueueRecord, counts: QueueCounts) -> QueueDescription {
    QueueDescription {
        queue: record.queue,
        name: record.name,
        attributes: record.attributes,
        dead_letter: record
            .dead_letter
            .map(|(queue, policy)| NamedDeadLetterPolicy {
                queue,
                after: policy.after,
            }),
        created: record.created,
        modified: record.modified,
        counts,
    }
}
