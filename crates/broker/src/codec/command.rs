//! Writing one command: its kind, then its fields in order.

use bytes::Bytes;

use crate::{
    attributes::AttributeChanges,
    codec::{
        Encoded, cluster, kind, topic,
        view::leases_of,
        wire::{Sink, Size},
    },
    command::{Command, CreateQueue, DeadLetterUpdate, Seen},
    id::{AccountId, Sequence},
    name::QueueName,
    time::Millis,
};

pub(super) fn encode(command: &Command) -> Encoded {
    let mut size = Size::default();
    write(command, &mut size);
    let mut bytes = Vec::with_capacity(size.0);
    write(command, &mut bytes);
    let (messages, leases) = match command {
        Command::SendMessages { bodies, .. }
        | Command::SendMessagesOnce { bodies, .. }
        | Command::AcceptMoved { bodies, .. }
        | Command::Publish { bodies, .. }
        | Command::AcceptPublished { bodies, .. } => (bodies.len(), 0),
        Command::ReceiveMessages { max, .. } => (0, leases_of(*max)),
        _ => (0, 0),
    };
    Encoded {
        bytes: Bytes::from(bytes),
        messages: u32::try_from(messages).unwrap_or(u32::MAX),
        leases,
    }
}

fn write(command: &Command, sink: &mut impl Sink) {
    match command {
        Command::CreateQueue(create) => write_create(create, sink),
        Command::DeleteQueue { account, name } => {
            sink.u8(kind::DELETE_QUEUE);
            sink.u64(account.0);
            sink.name(name);
        }
        Command::SetQueueAttributes {
            account,
            name,
            changes,
            dead_letter,
        } => write_set(*account, name, changes, dead_letter, sink),
        Command::Settled { number, revision } => {
            sink.u8(kind::SETTLED);
            sink.u64(*number);
            sink.u64(*revision);
        }
        Command::PutQueue {
            queue,
            revision,
            attributes,
        } => {
            let acknowledge = attributes.acknowledge;
            sink.u8(if acknowledge.is_default() {
                kind::PUT_QUEUE
            } else {
                kind::PUT_QUEUE_ACKNOWLEDGED
            });
            sink.u64(queue.0);
            sink.u64(*revision);
            sink.attributes(attributes);
            if !acknowledge.is_default() {
                sink.acknowledge(acknowledge);
            }
        }
        Command::DropQueue { queue, floor } => {
            sink.u8(kind::DROP_QUEUE);
            sink.u64(queue.0);
            sink.u64(*floor);
        }
        Command::ClearQueue { queue } => {
            sink.u8(kind::CLEAR_QUEUE);
            sink.u64(queue.0);
        }
        Command::RewindQueue { queue, to } => {
            sink.u8(kind::REWIND_QUEUE);
            sink.u64(queue.0);
            sink.u64(to.0);
        }
        Command::Settle => sink.u8(kind::SETTLE),
        other => {
            if !topic::write(other, sink) && !cluster::write(other, sink) {
                write_message_command(other, sink);
            }
        }
    }
}

fn write_message_command(command: &Command, sink: &mut impl Sink) {
    match command {
        Command::SendMessages {
            queue,
            delay,
            bodies,
        } => {
            sink.u8(kind::SEND_MESSAGES);
            sink.u64(queue.0);
            write_optional_millis(*delay, sink);
            write_bodies(bodies, sink);
        }
        Command::SendMessagesOnce {
            queue,
            token,
            delay,
            bodies,
        } => {
            sink.u8(kind::SEND_MESSAGES_ONCE);
            sink.u64(queue.0);
            sink.put(token);
            write_optional_millis(*delay, sink);
            write_bodies(bodies, sink);
        }
        Command::ReceiveMessages {
            queue,
            max,
            visibility,
        } => {
            sink.u8(kind::RECEIVE_MESSAGES);
            sink.u64(queue.0);
            sink.u32(*max);
            write_optional_millis(*visibility, sink);
        }
        Command::DeleteMessages { queue, receipts } => {
            sink.u8(kind::DELETE_MESSAGES);
            sink.u64(queue.0);
            write_receipts(receipts, sink);
        }
        Command::ChangeVisibility {
            queue,
            receipts,
            visibility,
        } => {
            sink.u8(kind::CHANGE_VISIBILITY);
            sink.u64(queue.0);
            sink.u64(visibility.0);
            write_receipts(receipts, sink);
        }
        other => write_move_command(other, sink),
    }
}

fn write_move_command(command: &Command, sink: &mut impl Sink) {
    match command {
        Command::AcceptMoved {
            queue,
            source,
            seen,
            first,
            bodies,
        } => {
            sink.u8(kind::ACCEPT_MOVED);
            sink.u64(queue.0);
            sink.u64(source.0);
            write_seen(*seen, sink);
            sink.u64(*first);
            write_bodies(bodies, sink);
        }
        Command::MovesSettled {
            queue,
            target,
            through,
        } => {
            sink.u8(kind::MOVES_SETTLED);
            sink.u64(queue.0);
            sink.u64(target.0);
            sink.u64(*through);
        }
        Command::ForgetSource {
            queue,
            source,
            seen,
            through,
        } => {
            sink.u8(kind::FORGET_SOURCE);
            sink.u64(queue.0);
            sink.u64(source.0);
            write_seen(*seen, sink);
            sink.u64(*through);
        }
        Command::LaneEnded {
            queue,
            target,
            through,
        } => {
            sink.u8(kind::LANE_ENDED);
            sink.u64(queue.0);
            sink.u64(target.0);
            sink.u64(*through);
        }
        Command::ReturnLeases { queue, receipts } => {
            sink.u8(kind::RETURN_LEASES);
            sink.u64(queue.0);
            write_receipts(receipts, sink);
        }
        Command::ReturnMoves { queue, target } => {
            sink.u8(kind::RETURN_MOVES);
            sink.u64(queue.0);
            sink.u64(target.0);
        }
        other => unreachable!("{other:?} was written by the caller"),
    }
}

fn write_create(create: &CreateQueue, sink: &mut impl Sink) {
    let acknowledge = create.attributes.acknowledge;
    sink.u8(if acknowledge.is_default() {
        kind::CREATE_QUEUE
    } else {
        kind::CREATE_QUEUE_ACKNOWLEDGED
    });
    sink.u64(create.account.0);
    sink.name(&create.name);
    sink.attributes(&create.attributes);
    sink.option(create.dead_letter.as_ref(), |sink, (name, after)| {
        sink.name(name);
        sink.dead_letter_after(*after);
    });
    sink.u64(create.queues_max);
    sink.u64(create.reuse_after.0);
    sink.shards(&create.avoid);
    if !acknowledge.is_default() {
        sink.acknowledge(acknowledge);
    }
}

fn write_set(
    account: AccountId,
    name: &QueueName,
    changes: &AttributeChanges,
    dead_letter: &DeadLetterUpdate,
    sink: &mut impl Sink,
) {
    sink.u8(match changes.acknowledge {
        None => kind::SET_QUEUE_ATTRIBUTES,
        Some(_) => kind::SET_QUEUE_ACKNOWLEDGED,
    });
    sink.u64(account.0);
    sink.name(name);
    write_changes(changes, sink);
    match dead_letter {
        DeadLetterUpdate::Keep => sink.u8(0),
        DeadLetterUpdate::Remove => sink.u8(1),
        DeadLetterUpdate::Set(name, after) => {
            sink.u8(2);
            sink.name(name);
            sink.dead_letter_after(*after);
        }
    }
    if let Some(acknowledge) = changes.acknowledge {
        sink.acknowledge(acknowledge);
    }
}

fn write_changes(changes: &AttributeChanges, sink: &mut impl Sink) {
    sink.option(changes.backlog_max.as_ref(), |sink, value| sink.u64(*value));
    write_optional_millis(changes.wait, sink);
    write_optional_millis(changes.visibility, sink);
    sink.option(changes.body_bytes_max.as_ref(), |sink, value| {
        sink.u32(*value);
    });
    write_optional_millis(changes.retention, sink);
    write_optional_millis(changes.rewind, sink);
    write_optional_millis(changes.delay, sink);
    write_optional_millis(changes.delay_max, sink);
}

fn write_optional_millis(value: Option<Millis>, sink: &mut impl Sink) {
    sink.option(value.as_ref(), |sink, value| sink.u64(value.0));
}

pub(super) fn write_seen(seen: Seen, sink: &mut impl Sink) {
    sink.u16(seen.shard.0);
    sink.u64(seen.index);
}

pub(super) fn write_bodies(bodies: &[Bytes], sink: &mut impl Sink) {
    sink.count(bodies.len());
    for body in bodies {
        sink.slice(body);
    }
}

pub(super) fn write_receipts(receipts: &[Sequence], sink: &mut impl Sink) {
    sink.count(receipts.len());
    for receipt in receipts {
        sink.u64(receipt.number());
    }
}
