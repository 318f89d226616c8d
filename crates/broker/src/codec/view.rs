//! Reading one command.
//!
//! Applying an entry must not copy bodies, so commands are read as a [`View`]: the frequent kinds
//! borrow their lists from the entry, the rare kinds are whole.

use bytes::Bytes;

use crate::{
    attributes::{AttributeChanges, DeadLetterAfter},
    codec::{Error, cluster, kind, topic, wire::Reader},
    command::{Command, CreateQueue, DeadLetterUpdate, Seen},
    id::{QueueId, Sequence, TopicId},
    limits,
    name::QueueName,
    time::Millis,
};

/// A command that borrows from its bytes.
#[derive(Debug, Clone)]
pub enum View<'a> {
    SendMessages {
        queue: QueueId,
        delay: Option<Millis>,
        bodies: Bodies<'a>,
    },
    SendMessagesOnce {
        queue: QueueId,
        token: [u8; 16],
        delay: Option<Millis>,
        bodies: Bodies<'a>,
    },
    ReceiveMessages {
        queue: QueueId,
        max: u32,
        visibility: Option<Millis>,
    },
    DeleteMessages {
        queue: QueueId,
        receipts: Receipts<'a>,
    },
    ChangeVisibility {
        queue: QueueId,
        receipts: Receipts<'a>,
        visibility: Millis,
    },
    AcceptMoved {
        queue: QueueId,
        source: QueueId,
        seen: Seen,
        first: u64,
        bodies: Bodies<'a>,
    },
    ReturnLeases {
        queue: QueueId,
        receipts: Receipts<'a>,
    },
    Publish {
        topic: TopicId,
        bodies: Bodies<'a>,
    },
    AcceptPublished {
        queue: QueueId,
        source: QueueId,
        seen: Seen,
        first: u64,
        bodies: Bodies<'a>,
    },
    GiveUp {
        queue: QueueId,
        receipts: Receipts<'a>,
    },
    /// Any other kind.
    Rare(Box<Command>),
}

/// The bodies of one command, each with its length before it.
#[derive(Debug, Clone, Copy)]
pub struct Bodies<'a> {
    bytes: &'a [u8],
    count: u32,
}

impl<'a> Bodies<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let count = reader.count(size_of::<u32>())?;
        let bytes = reader.rest();
        for _ in 0..count {
            reader.slice()?;
        }
        let bytes = &bytes[..bytes.len() - reader.remaining()];
        Ok(Self { bytes, count })
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| reader.slice().ok())
    }

    /// Where each body's length stands within the command's bytes.
    pub(super) fn offsets(&self, command: &'a [u8]) -> impl Iterator<Item = usize> + use<'a> {
        // The bodies are a command's last field.
        let mut offset = command.len() - self.bytes.len();
        self.iter().map(move |body| {
            let start = offset;
            offset += size_of::<u32>() + body.len();
            start
        })
    }

    fn to_vec(self, from: &Bytes) -> Vec<Bytes> {
        self.iter().map(|body| from.slice_ref(body)).collect()
    }
}

/// The receipts of one command.
#[derive(Debug, Clone, Copy)]
pub struct Receipts<'a> {
    bytes: &'a [u8],
    count: u32,
}

impl<'a> Receipts<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let count = reader.count(size_of::<u64>())?;
        let bytes = reader.rest();
        for _ in 0..count {
            reader.sequence()?;
        }
        let bytes = &bytes[..bytes.len() - reader.remaining()];
        Ok(Self { bytes, count })
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn iter(&self) -> impl Iterator<Item = Sequence> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| reader.sequence().ok())
    }
}

impl<'a> View<'a> {
    /// The bodies it brings into the entry.
    pub fn bodies(&self) -> Option<&Bodies<'a>> {
        match self {
            View::SendMessages { bodies, .. }
            | View::SendMessagesOnce { bodies, .. }
            | View::AcceptMoved { bodies, .. }
            | View::Publish { bodies, .. }
            | View::AcceptPublished { bodies, .. } => Some(bodies),
            _ => None,
        }
    }

    /// How many leases it may grant.
    pub(super) fn leases(&self) -> u32 {
        match *self {
            View::ReceiveMessages { max, .. } => leases_of(max),
            _ => 0,
        }
    }

    /// The whole command; `bytes` are those that were viewed.
    pub fn to_command(&self, bytes: &Bytes) -> Command {
        match *self {
            View::ReceiveMessages {
                queue,
                max,
                visibility,
            } => Command::ReceiveMessages {
                queue,
                max,
                visibility,
            },
            View::DeleteMessages { queue, receipts } => Command::DeleteMessages {
                queue,
                receipts: receipts.iter().collect(),
            },
            View::ChangeVisibility {
                queue,
                receipts,
                visibility,
            } => Command::ChangeVisibility {
                queue,
                receipts: receipts.iter().collect(),
                visibility,
            },
            View::ReturnLeases { queue, receipts } => Command::ReturnLeases {
                queue,
                receipts: receipts.iter().collect(),
            },
            View::GiveUp { queue, receipts } => Command::GiveUp {
                queue,
                receipts: receipts.iter().collect(),
            },
            View::Rare(ref command) => Command::clone(command),
            View::SendMessages { bodies, .. }
            | View::SendMessagesOnce { bodies, .. }
            | View::AcceptMoved { bodies, .. }
            | View::Publish { bodies, .. }
            | View::AcceptPublished { bodies, .. } => self.with_bodies(bodies.to_vec(bytes)),
        }
    }

    /// The command that this is with bodies of its own. It must be one that has bodies.
    fn with_bodies(&self, bodies: Vec<Bytes>) -> Command {
        match *self {
            View::SendMessages { queue, delay, .. } => Command::SendMessages {
                queue,
                delay,
                bodies,
            },
            View::SendMessagesOnce {
                queue,
                token,
                delay,
                ..
            } => Command::SendMessagesOnce {
                queue,
                token,
                delay,
                bodies,
            },
            View::AcceptMoved {
                queue,
                source,
                seen,
                first,
                ..
            } => Command::AcceptMoved {
                queue,
                source,
                seen,
                first,
                bodies,
            },
            View::Publish { topic, .. } => Command::Publish { topic, bodies },
            View::AcceptPublished {
                queue,
                source,
                seen,
                first,
                ..
            } => Command::AcceptPublished {
                queue,
                source,
                seen,
                first,
                bodies,
            },
            ref other => unreachable!("{other:?} has no bodies"),
        }
    }
}

/// How many leases a receive of up to `max` messages may grant.
pub(super) fn leases_of(max: u32) -> u32 {
    if max as usize <= limits::BATCH_MESSAGES_MAX {
        max
    } else {
        // It is refused when it is applied.
        0
    }
}

pub(super) fn view(bytes: &[u8]) -> Result<View<'_>, Error> {
    let mut reader = Reader::new(bytes);
    let kind = reader.u8()?;
    let view = match kind {
        kind::SEND_MESSAGES => View::SendMessages {
            queue: reader.queue()?,
            delay: reader.option(Reader::millis)?,
            bodies: Bodies::read(&mut reader)?,
        },
        kind::SEND_MESSAGES_ONCE => View::SendMessagesOnce {
            queue: reader.queue()?,
            token: reader.array()?,
            delay: reader.option(Reader::millis)?,
            bodies: Bodies::read(&mut reader)?,
        },
        kind::RECEIVE_MESSAGES => View::ReceiveMessages {
            queue: reader.queue()?,
            max: reader.u32()?,
            visibility: reader.option(Reader::millis)?,
        },
        kind::DELETE_MESSAGES => View::DeleteMessages {
            queue: reader.queue()?,
            receipts: Receipts::read(&mut reader)?,
        },
        kind::CHANGE_VISIBILITY => {
            let queue = reader.queue()?;
            let visibility = reader.millis()?;
            View::ChangeVisibility {
                queue,
                receipts: Receipts::read(&mut reader)?,
                visibility,
            }
        }
        kind::ACCEPT_MOVED => View::AcceptMoved {
            queue: reader.queue()?,
            source: reader.queue()?,
            seen: read_seen(&mut reader)?,
            first: reader.u64()?,
            bodies: Bodies::read(&mut reader)?,
        },
        kind::RETURN_LEASES => View::ReturnLeases {
            queue: reader.queue()?,
            receipts: Receipts::read(&mut reader)?,
        },
        kind::PUBLISH => View::Publish {
            topic: reader.topic()?,
            bodies: Bodies::read(&mut reader)?,
        },
        kind::ACCEPT_PUBLISHED => View::AcceptPublished {
            queue: reader.queue()?,
            source: reader.queue()?,
            seen: read_seen(&mut reader)?,
            first: reader.u64()?,
            bodies: Bodies::read(&mut reader)?,
        },
        kind::GIVE_UP => View::GiveUp {
            queue: reader.queue()?,
            receipts: Receipts::read(&mut reader)?,
        },
        _ => View::Rare(Box::new(read_rare(kind, &mut reader)?)),
    };
    reader.end()?;
    Ok(view)
}

fn read_seen(reader: &mut Reader<'_>) -> Result<Seen, Error> {
    Ok(Seen {
        shard: reader.shard()?,
        index: reader.u64()?,
    })
}

#[expect(clippy::too_many_lines, reason = "a flat table of kinds")]
fn read_rare(kind: u8, reader: &mut Reader<'_>) -> Result<Command, Error> {
    Ok(match kind {
        kind::CREATE_QUEUE => Command::CreateQueue(read_create(reader)?),
        kind::CREATE_QUEUE_ACKNOWLEDGED => {
            let mut create = read_create(reader)?;
            create.attributes.acknowledge = reader.acknowledge()?;
            Command::CreateQueue(create)
        }
        kind::DELETE_QUEUE => Command::DeleteQueue {
            account: reader.account()?,
            name: reader.name()?,
        },
        kind::SET_QUEUE_ATTRIBUTES => read_set(reader)?,
        kind::SET_QUEUE_ACKNOWLEDGED => {
            let mut set = read_set(reader)?;
            if let Command::SetQueueAttributes { changes, .. } = &mut set {
                changes.acknowledge = Some(reader.acknowledge()?);
            }
            set
        }
        kind::SETTLED => Command::Settled {
            number: reader.u64()?,
            revision: reader.u64()?,
        },
        kind::PUT_QUEUE => Command::PutQueue {
            queue: reader.queue()?,
            revision: reader.u64()?,
            attributes: reader.attributes()?,
        },
        kind::PUT_QUEUE_ACKNOWLEDGED => Command::PutQueue {
            queue: reader.queue()?,
            revision: reader.u64()?,
            attributes: reader.acknowledged_attributes()?,
        },
        kind::DROP_QUEUE => Command::DropQueue {
            queue: reader.queue()?,
            floor: reader.u64()?,
        },
        kind::CLEAR_QUEUE => Command::ClearQueue {
            queue: reader.queue()?,
        },
        kind::REWIND_QUEUE => Command::RewindQueue {
            queue: reader.queue()?,
            to: reader.timestamp()?,
        },
        kind::FORGET_SOURCE => Command::ForgetSource {
            queue: reader.queue()?,
            source: reader.queue()?,
            seen: read_seen(reader)?,
            through: reader.u64()?,
        },
        kind::LANE_ENDED => Command::LaneEnded {
            queue: reader.queue()?,
            target: reader.queue()?,
            through: reader.u64()?,
        },
        kind::MOVES_SETTLED => Command::MovesSettled {
            queue: reader.queue()?,
            target: reader.queue()?,
            through: reader.u64()?,
        },
        kind::RETURN_MOVES => Command::ReturnMoves {
            queue: reader.queue()?,
            target: reader.queue()?,
        },
        kind::SETTLE => Command::Settle,
        other => {
            let command = match topic::read(other, reader)? {
                None => cluster::read(other, reader)?,
                some => some,
            };
            return command.ok_or(Error::UnknownKind(other));
        }
    })
}

fn read_create(reader: &mut Reader<'_>) -> Result<CreateQueue, Error> {
    Ok(CreateQueue {
        account: reader.account()?,
        name: reader.name()?,
        attributes: reader.attributes()?,
        dead_letter: reader.option(read_named_policy)?,
        queues_max: reader.u64()?,
        reuse_after: reader.millis()?,
        avoid: reader.shards()?,
    })
}

fn read_set(reader: &mut Reader<'_>) -> Result<Command, Error> {
    Ok(Command::SetQueueAttributes {
        account: reader.account()?,
        name: reader.name()?,
        changes: read_changes(reader)?,
        dead_letter: match reader.u8()? {
            0 => DeadLetterUpdate::Keep,
            1 => DeadLetterUpdate::Remove,
            2 => {
                let (name, after) = read_named_policy(reader)?;
                DeadLetterUpdate::Set(name, after)
            }
            _ => return Err(Error::BadValue),
        },
    })
}

fn read_named_policy(reader: &mut Reader<'_>) -> Result<(QueueName, DeadLetterAfter), Error> {
    Ok((reader.name()?, reader.dead_letter_after()?))
}

fn read_changes(reader: &mut Reader<'_>) -> Result<AttributeChanges, Error> {
    Ok(AttributeChanges {
        backlog_max: reader.option(Reader::u64)?,
        wait: reader.option(Reader::millis)?,
        visibility: reader.option(Reader::millis)?,
        body_bytes_max: reader.option(Reader::u32)?,
        retention: reader.option(Reader::millis)?,
        rewind: reader.option(Reader::millis)?,
        delay: reader.option(Reader::millis)?,
        delay_max: reader.option(Reader::millis)?,
        acknowledge: None,
    })
}
