//! The actions that make, change and end queues.

use anser_broker::{
    attributes::AttributeChanges,
    op::{self, DeadLetterChange, QueueChanged, QueueCleared, QueueCreated, QueueDeleted},
};
use serde::Serialize;

use super::{
    action::{Action, Answered, Asked, Done, Scope},
    attributes::{self, AttributesShown},
    parameters::{Arguments, Field, Kind},
    policy,
    resource_id::ResourceText,
};

pub(crate) const QUEUE: Field = Field::required("queueName", Kind::QueueName);
const SETTINGS: &[Field] = &[
    QUEUE,
    attributes::BACKLOG,
    attributes::WAIT,
    attributes::VISIBILITY,
    attributes::MESSAGE_BYTES,
    attributes::RETENTION,
    attributes::REWIND,
    attributes::POLICY,
    attributes::ACKNOWLEDGE,
];

/// The answer of an action that names the queue's id.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueShown {
    queue_id: ResourceText,
}

pub(crate) struct CreateQueue;

impl Action for CreateQueue {
    const NAME: &'static str = "CreateQueue";
    const FIELDS: &'static [Field] = SETTINGS;
    type Operation = op::CreateQueue;
    type Response = QueueShown;

    fn read(arguments: &Arguments<'_>, scope: &Scope<'_>) -> Asked<Self> {
        let changes = attributes::changes(arguments, scope)?;
        let policy = arguments.text(attributes::POLICY.name);
        let operation = op::CreateQueue {
            name: arguments.queue_name(QUEUE.name),
            attributes: attributes::defaults(scope).with(&changes),
            dead_letter: policy.map(policy::read).transpose()?,
            queues_max: scope.config.queues_max,
            reuse_after: scope.reuse_after(),
        };
        Ok((Self, operation))
    }

    fn write(self, output: QueueCreated, _scope: &Scope<'_>) -> Answered<Self> {
        let queue_id = ResourceText::from(output.queue);
        Ok(QueueShown { queue_id })
    }
}

pub(crate) struct SetQueueAttributes;

impl Action for SetQueueAttributes {
    const NAME: &'static str = "SetQueueAttributes";
    const FIELDS: &'static [Field] = SETTINGS;
    type Operation = op::SetQueueAttributes;
    type Response = AttributesShown;

    fn read(arguments: &Arguments<'_>, scope: &Scope<'_>) -> Asked<Self> {
        let policy = arguments.text(attributes::POLICY.name);
        let dead_letter = match policy.map(policy::read).transpose()? {
            Some(policy) => DeadLetterChange::Set(policy),
            None => DeadLetterChange::Keep,
        };
        let operation = op::SetQueueAttributes {
            name: arguments.queue_name(QUEUE.name),
            changes: attributes::changes(arguments, scope)?,
            dead_letter,
        };
        Ok((Self, operation))
    }

    fn write(self, output: QueueChanged, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(AttributesShown::new(
            ResourceText::from(output.queue),
            &output.attributes,
        ))
    }
}

pub(crate) struct UnbindDeadLetterQueue;

impl Action for UnbindDeadLetterQueue {
    const NAME: &'static str = "UnbindDeadLetterQueue";
    const FIELDS: &'static [Field] = &[QUEUE];
    type Operation = op::SetQueueAttributes;
    type Response = QueueShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let operation = op::SetQueueAttributes {
            name: arguments.queue_name(QUEUE.name),
            changes: AttributeChanges::default(),
            dead_letter: DeadLetterChange::Remove,
        };
        Ok((Self, operation))
    }

    fn write(self, output: QueueChanged, _scope: &Scope<'_>) -> Answered<Self> {
        let queue_id = ResourceText::from(output.queue);
        Ok(QueueShown { queue_id })
    }
}

pub(crate) struct DeleteQueue;

impl Action for DeleteQueue {
    const NAME: &'static str = "DeleteQueue";
    const FIELDS: &'static [Field] = &[QUEUE];
    type Operation = op::DeleteQueue;
    type Response = Done;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let name = arguments.queue_name(QUEUE.name);
        Ok((Self, op::DeleteQueue { name }))
    }

    fn write(self, _output: QueueDeleted, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(Done {})
    }
}

pub(crate) struct ClearQueue;

impl Action for ClearQueue {
    const NAME: &'static str = "ClearQueue";
    const FIELDS: &'static [Field] = &[QUEUE];
    type Operation = op::ClearQueue;
    type Response = Done;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let name = arguments.queue_name(QUEUE.name);
        Ok((Self, op::ClearQueue { name }))
    }

    fn write(self, _output: QueueCleared, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(Done {})
    }
}
