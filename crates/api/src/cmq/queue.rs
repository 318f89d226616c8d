//! The actions that look at queues, and the one that turns a queue back.

use anser_broker::{
    name::QueueName,
    op::{self, QueueDescription, QueueRewound, QueuesListed},
    time::Timestamp,
};
use serde::Serialize;

use super::{
    action::{Action, Answered, Asked, Done, Scope},
    attributes::AttributesShown,
    control::QUEUE,
    errors::Fault,
    limits,
    page::{LIMIT, OFFSET, Page, SEARCH},
    parameters::{Arguments, Field, Kind},
    resource_id::ResourceText,
};

const DEAD_LETTER_QUEUE: Field = Field::required("deadLetterQueueName", Kind::QueueName);
const REWIND_TO: Field = Field::required(
    "startConsumeTime",
    Kind::Integer {
        least: 0,
        most: u64::MAX / 1000,
        beyond: Fault::RewindTime,
    },
);

pub(crate) struct GetQueueAttributes;

/// Beyond the numbers of the documents: what the classic service calls its rates.
pub(crate) const REQUESTS_PER_SECOND: u32 = 5_000;
const BYTES_PER_SECOND: u32 = 52_428_800;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueAttributesShown {
    #[serde(flatten)]
    attributes: AttributesShown,
    queue_name: String,
    create_time: u64,
    last_modify_time: u64,
    active_msg_num: u64,
    inactive_msg_num: u64,
    delay_msg_num: u64,
    rewind_msg_num: u64,
    /// The same number as some clients spell it.
    #[serde(rename = "rewindmsgNum")]
    rewindmsg_num: u64,
    min_msg_time: u64,
    create_uin: u64,
    #[serde(rename = "Bps")]
    bytes_per_second: u32,
    qps: u32,
    tags: [(); 0],
}

impl Action for GetQueueAttributes {
    const NAME: &'static str = "GetQueueAttributes";
    const FIELDS: &'static [Field] = &[QUEUE];
    type Operation = op::DescribeQueue;
    type Response = QueueAttributesShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let name = arguments.queue_name(QUEUE.name);
        Ok((Self, op::DescribeQueue { name }))
    }

    fn write(self, output: QueueDescription, scope: &Scope<'_>) -> Answered<Self> {
        let counts = output.counts;
        Ok(QueueAttributesShown {
            attributes: AttributesShown::new(ResourceText::from(output.queue), &output.attributes),
            queue_name: output.name.as_str().to_owned(),
            create_time: output.created.seconds(),
            last_modify_time: output.modified.seconds(),
            active_msg_num: counts.ready,
            inactive_msg_num: counts.leased,
            delay_msg_num: counts.delayed,
            rewind_msg_num: counts.retired,
            rewindmsg_num: counts.retired,
            min_msg_time: counts.oldest.unwrap_or(scope.now).seconds(),
            create_uin: scope.account.0,
            bytes_per_second: BYTES_PER_SECOND,
            qps: REQUESTS_PER_SECOND,
            tags: [],
        })
    }
}

/// A page of a list of queues.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueuesShown {
    total_count: u64,
    queue_list: Vec<QueueListed>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueListed {
    queue_id: ResourceText,
    queue_name: String,
}

impl From<QueuesListed> for QueuesShown {
    fn from(output: QueuesListed) -> Self {
        let queues = output.queues.into_iter().map(|listing| QueueListed {
            queue_id: ResourceText::from(listing.queue),
            queue_name: listing.name.as_str().to_owned(),
        });
        Self {
            total_count: output.total,
            queue_list: queues.collect(),
        }
    }
}

pub(crate) struct ListQueue;

impl Action for ListQueue {
    const NAME: &'static str = "ListQueue";
    const FIELDS: &'static [Field] = &[SEARCH, OFFSET, LIMIT];
    type Operation = op::ListQueues;
    type Response = QueuesShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let Page {
            search,
            offset,
            limit,
        } = Page::read(arguments, limits::PAGE_MOST);
        let operation = op::ListQueues {
            search,
            offset,
            limit,
        };
        Ok((Self, operation))
    }

    fn write(self, output: QueuesListed, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(output.into())
    }
}

pub(crate) struct ListDeadLetterSourceQueues;

impl Action for ListDeadLetterSourceQueues {
    const NAME: &'static str = "ListDeadLetterSourceQueues";
    const FIELDS: &'static [Field] = &[DEAD_LETTER_QUEUE, SEARCH, OFFSET, LIMIT];
    type Operation = op::ListDeadLetterSources;
    type Response = QueuesShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let Page {
            search,
            offset,
            limit,
        } = Page::read(arguments, limits::PAGE_MOST);
        let operation = op::ListDeadLetterSources {
            name: arguments.queue_name(DEAD_LETTER_QUEUE.name),
            search,
            offset,
            limit,
        };
        Ok((Self, operation))
    }

    fn write(self, output: QueuesListed, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(output.into())
    }
}

pub(crate) struct RewindQueue;

impl Action for RewindQueue {
    const NAME: &'static str = "RewindQueue";
    const FIELDS: &'static [Field] = &[QUEUE, REWIND_TO];
    type Operation = op::RewindQueue;
    type Response = Done;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let name: QueueName = arguments.queue_name(QUEUE.name);
        let to = match arguments.integer(REWIND_TO.name) {
            Some(milliseconds) if milliseconds >= limits::MILLISECONDS_FROM => milliseconds,
            seconds => seconds.unwrap_or(0) * 1000,
        };
        let to = Timestamp(to);
        Ok((Self, op::RewindQueue { name, to }))
    }

    fn write(self, _output: QueueRewound, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(Done {})
    }
}
