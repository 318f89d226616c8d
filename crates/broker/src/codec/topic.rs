//! Bytes of the commands on topics, and of what can be set on topics and subscriptions.

use crate::{
    attributes::{
        Acknowledge, BodyFormat, Endpoint, Filter, FilterKind, SubscriptionAttributes,
        TopicAttributes, TopicChanges,
    },
    codec::{
        Error,
        command::{write_bodies, write_receipts, write_seen},
        kind,
        wire::{Reader, Sink},
    },
    command::{Command, CreateTopic, Subscribe},
    id::{SubscriptionId, TopicId},
    labels::{BindingKey, Tag},
    name::{SubscriptionName, TopicName},
    op::{DeadLetterQueueChange, EndpointName, SubscriptionChanges},
    retry::RetryStrategy,
};

/// Writes a command; false if it is not about topics.
pub(super) fn write(command: &Command, sink: &mut impl Sink) -> bool {
    match command {
        Command::CreateTopic(create) => {
            let acknowledge = create.attributes.acknowledge;
            sink.u8(if acknowledge.is_default() {
                kind::CREATE_TOPIC
            } else {
                kind::CREATE_TOPIC_ACKNOWLEDGED
            });
            sink.u64(create.account.0);
            sink.short_text(create.name.as_str());
            sink.topic_attributes(&create.attributes);
            sink.u64(create.topics_max);
            sink.u64(create.reuse_after.0);
            sink.shards(&create.avoid);
            if !acknowledge.is_default() {
                sink.acknowledge(acknowledge);
            }
        }
        Command::DeleteTopic { account, name } => {
            sink.u8(kind::DELETE_TOPIC);
            sink.u64(account.0);
            sink.short_text(name.as_str());
        }
        Command::SetTopicAttributes {
            account,
            name,
            changes,
        } => {
            sink.u8(match changes.acknowledge {
                None => kind::SET_TOPIC_ATTRIBUTES,
                Some(_) => kind::SET_TOPIC_ACKNOWLEDGED,
            });
            sink.u64(account.0);
            sink.short_text(name.as_str());
            sink.option(changes.body_bytes_max.as_ref(), |sink, value| {
                sink.u32(*value);
            });
            sink.option(changes.retention.as_ref(), |sink, value| sink.u64(value.0));
            if let Some(acknowledge) = changes.acknowledge {
                sink.acknowledge(acknowledge);
            }
        }
        Command::Subscribe(subscribe) => write_subscribe(subscribe, sink),
        Command::SetSubscriptionAttributes {
            account,
            topic,
            name,
            changes,
        } => {
            sink.u8(kind::SET_SUBSCRIPTION_ATTRIBUTES);
            sink.u64(account.0);
            sink.short_text(topic.as_str());
            sink.short_text(name.as_str());
            write_changes(changes, sink);
        }
        Command::Unsubscribe {
            account,
            topic,
            name,
        } => {
            sink.u8(kind::UNSUBSCRIBE);
            sink.u64(account.0);
            sink.short_text(topic.as_str());
            sink.short_text(name.as_str());
        }
        home_command => return write_home_command(home_command, sink),
    }
    true
}

fn write_home_command(command: &Command, sink: &mut impl Sink) -> bool {
    match command {
        Command::PutTopic {
            topic,
            revision,
            attributes,
        } => {
            let acknowledge = attributes.acknowledge;
            sink.u8(if acknowledge.is_default() {
                kind::PUT_TOPIC
            } else {
                kind::PUT_TOPIC_ACKNOWLEDGED
            });
            sink.u64(topic.0);
            sink.u64(*revision);
            sink.topic_attributes(attributes);
            if !acknowledge.is_default() {
                sink.acknowledge(acknowledge);
            }
        }
        Command::DropTopic { topic, floor } => {
            sink.u8(kind::DROP_TOPIC);
            sink.u64(topic.0);
            sink.u64(*floor);
        }
        Command::PutSubscription {
            subscription,
            topic,
            revision,
            attributes,
        } => {
            sink.u8(kind::PUT_SUBSCRIPTION);
            sink.u64(subscription.0);
            sink.u64(topic.0);
            sink.u64(*revision);
            sink.subscription_attributes(attributes);
        }
        Command::DropSubscription {
            subscription,
            floor,
        } => {
            sink.u8(kind::DROP_SUBSCRIPTION);
            sink.u64(subscription.0);
            sink.u64(*floor);
        }
        Command::MoveFailed {
            queue,
            target,
            number,
            wait_max,
        } => {
            sink.u8(kind::MOVE_FAILED);
            sink.u64(queue.0);
            sink.u64(target.0);
            sink.u64(*number);
            sink.u64(wait_max.0);
        }
        message_command => return write_message_command(message_command, sink),
    }
    true
}

fn write_message_command(command: &Command, sink: &mut impl Sink) -> bool {
    match command {
        Command::Publish { topic, bodies } => {
            sink.u8(kind::PUBLISH);
            sink.u64(topic.0);
            write_bodies(bodies, sink);
        }
        Command::AcceptPublished {
            queue,
            source,
            seen,
            first,
            bodies,
        } => {
            sink.u8(kind::ACCEPT_PUBLISHED);
            sink.u64(queue.0);
            sink.u64(source.0);
            write_seen(*seen, sink);
            sink.u64(*first);
            write_bodies(bodies, sink);
        }
        Command::GiveUp { queue, receipts } => {
            sink.u8(kind::GIVE_UP);
            sink.u64(queue.0);
            write_receipts(receipts, sink);
        }
        _ => return false,
    }
    true
}

fn write_subscribe(subscribe: &Subscribe, sink: &mut impl Sink) {
    sink.u8(kind::SUBSCRIBE);
    sink.u64(subscribe.account.0);
    sink.short_text(subscribe.topic.as_str());
    sink.short_text(subscribe.name.as_str());
    match &subscribe.endpoint {
        EndpointName::Http { url } => {
            sink.u8(1);
            sink.slice(url.as_bytes());
        }
        EndpointName::Queue(name) => {
            sink.u8(2);
            sink.short_text(name.as_str());
        }
    }
    sink.u8(retry_number(subscribe.retry));
    sink.u8(format_number(subscribe.format));
    write_tags(&subscribe.tags, sink);
    write_binding_keys(&subscribe.binding_keys, sink);
    sink.option(subscribe.dead_letter.as_ref(), |sink, name| {
        sink.short_text(name.as_str());
    });
    sink.u64(subscribe.subscriptions_max);
}

fn write_changes(changes: &SubscriptionChanges, sink: &mut impl Sink) {
    sink.option(changes.retry.as_ref(), |sink, retry| {
        sink.u8(retry_number(*retry));
    });
    sink.option(changes.format.as_ref(), |sink, format| {
        sink.u8(format_number(*format));
    });
    sink.option(changes.tags.as_ref(), |sink, tags| write_tags(tags, sink));
    sink.option(changes.binding_keys.as_ref(), |sink, keys| {
        write_binding_keys(keys, sink);
    });
    match &changes.dead_letter {
        DeadLetterQueueChange::Keep => sink.u8(0),
        DeadLetterQueueChange::Remove => sink.u8(1),
        DeadLetterQueueChange::Set(name) => {
            sink.u8(2);
            sink.short_text(name.as_str());
        }
    }
}

fn write_tags(tags: &[Tag], sink: &mut impl Sink) {
    sink.count(tags.len());
    for tag in tags {
        sink.short_text(tag.as_str());
    }
}

fn write_binding_keys(keys: &[BindingKey], sink: &mut impl Sink) {
    sink.count(keys.len());
    for key in keys {
        sink.short_text(key.as_str());
    }
}

fn retry_number(retry: RetryStrategy) -> u8 {
    match retry {
        RetryStrategy::BackOff => 1,
        RetryStrategy::ExponentialDecay => 2,
    }
}

fn format_number(format: BodyFormat) -> u8 {
    match format {
        BodyFormat::Json => 1,
        BodyFormat::Simplified => 2,
    }
}

/// Reads a command of this kind; `None` if it is not about topics.
pub(super) fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Option<Command>, Error> {
    Ok(Some(match kind {
        kind::CREATE_TOPIC => Command::CreateTopic(read_create(reader)?),
        kind::CREATE_TOPIC_ACKNOWLEDGED => {
            let mut create = read_create(reader)?;
            create.attributes.acknowledge = reader.acknowledge()?;
            Command::CreateTopic(create)
        }
        kind::DELETE_TOPIC => Command::DeleteTopic {
            account: reader.account()?,
            name: reader.topic_name()?,
        },
        kind::SET_TOPIC_ATTRIBUTES | kind::SET_TOPIC_ACKNOWLEDGED => Command::SetTopicAttributes {
            account: reader.account()?,
            name: reader.topic_name()?,
            changes: TopicChanges {
                body_bytes_max: reader.option(Reader::u32)?,
                retention: reader.option(Reader::millis)?,
                acknowledge: match kind {
                    kind::SET_TOPIC_ACKNOWLEDGED => Some(reader.acknowledge()?),
                    _ => None,
                },
            },
        },
        kind::SUBSCRIBE => Command::Subscribe(Box::new(read_subscribe(reader)?)),
        kind::SET_SUBSCRIPTION_ATTRIBUTES => Command::SetSubscriptionAttributes {
            account: reader.account()?,
            topic: reader.topic_name()?,
            name: reader.subscription_name()?,
            changes: read_changes(reader)?,
        },
        kind::UNSUBSCRIBE => Command::Unsubscribe {
            account: reader.account()?,
            topic: reader.topic_name()?,
            name: reader.subscription_name()?,
        },
        kind::PUT_TOPIC => Command::PutTopic {
            topic: reader.topic()?,
            revision: reader.u64()?,
            attributes: reader.topic_attributes()?,
        },
        kind::PUT_TOPIC_ACKNOWLEDGED => Command::PutTopic {
            topic: reader.topic()?,
            revision: reader.u64()?,
            attributes: reader.acknowledged_topic_attributes()?,
        },
        kind::DROP_TOPIC => Command::DropTopic {
            topic: reader.topic()?,
            floor: reader.u64()?,
        },
        kind::PUT_SUBSCRIPTION => Command::PutSubscription {
            subscription: reader.subscription()?,
            topic: reader.topic()?,
            revision: reader.u64()?,
            attributes: reader.subscription_attributes()?,
        },
        kind::DROP_SUBSCRIPTION => Command::DropSubscription {
            subscription: reader.subscription()?,
            floor: reader.u64()?,
        },
        kind::MOVE_FAILED => Command::MoveFailed {
            queue: reader.queue()?,
            target: reader.queue()?,
            number: reader.u64()?,
            wait_max: reader.millis()?,
        },
        _ => return Ok(None),
    }))
}

fn read_create(reader: &mut Reader<'_>) -> Result<CreateTopic, Error> {
    Ok(CreateTopic {
        account: reader.account()?,
        name: reader.topic_name()?,
        attributes: reader.topic_attributes()?,
        topics_max: reader.u64()?,
        reuse_after: reader.millis()?,
        avoid: reader.shards()?,
    })
}

fn read_subscribe(reader: &mut Reader<'_>) -> Result<Subscribe, Error> {
    Ok(Subscribe {
        account: reader.account()?,
        topic: reader.topic_name()?,
        name: reader.subscription_name()?,
        endpoint: match reader.u8()? {
            1 => EndpointName::Http {
                url: reader.text()?.to_owned(),
            },
            2 => EndpointName::Queue(reader.name()?),
            _ => return Err(Error::BadValue),
        },
        retry: reader.retry()?,
        format: reader.body_format()?,
        tags: reader.tags()?,
        binding_keys: reader.binding_keys()?,
        dead_letter: reader.option(Reader::name)?,
        subscriptions_max: reader.u64()?,
    })
}

fn read_changes(reader: &mut Reader<'_>) -> Result<SubscriptionChanges, Error> {
    Ok(SubscriptionChanges {
        retry: reader.option(Reader::retry)?,
        format: reader.option(Reader::body_format)?,
        tags: reader.option(Reader::tags)?,
        binding_keys: reader.option(Reader::binding_keys)?,
        dead_letter: match reader.u8()? {
            0 => DeadLetterQueueChange::Keep,
            1 => DeadLetterQueueChange::Remove,
            2 => DeadLetterQueueChange::Set(reader.name()?),
            _ => return Err(Error::BadValue),
        },
    })
}

/// What topics and subscriptions have, in bytes.
pub(crate) trait TopicSink: Sink + Sized {
    /// Attributes as a state has them.
    fn whole_topic_attributes(&mut self, attributes: &TopicAttributes) {
        self.topic_attributes(attributes);
        self.acknowledge(attributes.acknowledge);
    }

    /// Attributes without what came later.
    fn topic_attributes(&mut self, attributes: &TopicAttributes) {
        self.u32(attributes.body_bytes_max);
        self.u64(attributes.retention.0);
        self.u8(match attributes.filter {
            FilterKind::Tags => 1,
            FilterKind::RoutingKey => 2,
        });
    }

    fn subscription_attributes(&mut self, attributes: &SubscriptionAttributes) {
        match &attributes.endpoint {
            Endpoint::Http { url } => {
                self.u8(1);
                self.slice(url.as_bytes());
            }
            Endpoint::Queue { name, queue } => {
                self.u8(2);
                self.short_text(name.as_str());
                self.option(queue.as_ref(), |sink, queue| sink.u64(queue.0));
            }
        }
        self.u8(retry_number(attributes.retry));
        self.u8(format_number(attributes.format));
        match &attributes.filter {
            Filter::Tags(tags) => {
                self.u8(1);
                write_tags(tags, self);
            }
            Filter::BindingKeys(keys) => {
                self.u8(2);
                write_binding_keys(keys, self);
            }
        }
        self.option(attributes.dead_letter.as_ref(), |sink, queue| {
            sink.u64(queue.0);
        });
    }
}

impl<S: Sink> TopicSink for S {}

impl Reader<'_> {
    pub(crate) fn topic(&mut self) -> Result<TopicId, Error> {
        self.u64().map(TopicId)
    }

    pub(crate) fn subscription(&mut self) -> Result<SubscriptionId, Error> {
        self.u64().map(SubscriptionId)
    }

    pub(crate) fn topic_name(&mut self) -> Result<TopicName, Error> {
        TopicName::new(self.short_text()?).map_err(|_| Error::BadValue)
    }

    pub(crate) fn subscription_name(&mut self) -> Result<SubscriptionName, Error> {
        SubscriptionName::new(self.short_text()?).map_err(|_| Error::BadValue)
    }

    /// Attributes and what came later.
    pub(crate) fn acknowledged_topic_attributes(&mut self) -> Result<TopicAttributes, Error> {
        let mut attributes = self.topic_attributes()?;
        attributes.acknowledge = self.acknowledge()?;
        Ok(attributes)
    }

    /// Attributes without what came later.
    pub(crate) fn topic_attributes(&mut self) -> Result<TopicAttributes, Error> {
        Ok(TopicAttributes {
            body_bytes_max: self.u32()?,
            retention: self.millis()?,
            filter: match self.u8()? {
                1 => FilterKind::Tags,
                2 => FilterKind::RoutingKey,
                _ => return Err(Error::BadValue),
            },
            acknowledge: Acknowledge::default(),
        })
    }

    pub(crate) fn subscription_attributes(&mut self) -> Result<SubscriptionAttributes, Error> {
        Ok(SubscriptionAttributes {
            endpoint: match self.u8()? {
                1 => Endpoint::Http {
                    url: self.text()?.into(),
                },
                2 => Endpoint::Queue {
                    name: self.name()?,
                    queue: self.option(Reader::queue)?,
                },
                _ => return Err(Error::BadValue),
            },
            retry: self.retry()?,
            format: self.body_format()?,
            filter: match self.u8()? {
                1 => Filter::Tags(self.tags()?.into()),
                2 => Filter::BindingKeys(self.binding_keys()?.into()),
                _ => return Err(Error::BadValue),
            },
            dead_letter: self.option(Reader::queue)?,
        })
    }

    fn retry(&mut self) -> Result<RetryStrategy, Error> {
        match self.u8()? {
            1 => Ok(RetryStrategy::BackOff),
            2 => Ok(RetryStrategy::ExponentialDecay),
            _ => Err(Error::BadValue),
        }
    }

    fn body_format(&mut self) -> Result<BodyFormat, Error> {
        match self.u8()? {
            1 => Ok(BodyFormat::Json),
            2 => Ok(BodyFormat::Simplified),
            _ => Err(Error::BadValue),
        }
    }

    fn tags(&mut self) -> Result<Vec<Tag>, Error> {
        let count = self.count(2)?;
        (0..count)
            .map(|_| Tag::new(self.short_text()?).map_err(|_| Error::BadValue))
            .collect()
    }

    fn binding_keys(&mut self) -> Result<Vec<BindingKey>, Error> {
        let count = self.count(2)?;
        (0..count)
            .map(|_| BindingKey::new(self.short_text()?).map_err(|_| Error::BadValue))
            .collect()
    }
}
