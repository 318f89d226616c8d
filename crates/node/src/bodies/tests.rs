//! What a reader's thread says of bodies that the disk does not give.

use anser_broker::{
    codec::{self, BatchBuilder},
    command::{Command, Delivery},
    error::Error,
    id::QueueId,
    op::ReceivedMessage,
    time::{Stamp, Timestamp},
};
use anser_log::{
    Entry, EntryKind, HardState, Log, Opened, Options, Write, disk::simulated::SimulatedDisk,
};

use super::*;
use crate::{desk::InFlight, status::read};

const SHARD: ShardId = ShardId(1);
const QUEUE: QueueId = QueueId(9);
const BODIES: [&str; 3] = ["the first", "the second", "the third"];

fn entry_of(index: u64, body: &'static str) -> Entry {
    let mut batch = BatchBuilder::new(Stamp::default());
    batch.push(&codec::encode(&Command::SendMessages {
        queue: QUEUE,
        delay: None,
        bodies: vec![Bytes::from_static(body.as_bytes())],
    }));
    Entry {
        index,
        term: 1,
        kind: EntryKind::Normal,
        data: batch.finish(),
    }
}

/// A log with a message in each of three entries; of these, a bit of the body has flipped.
fn log_with_damage(damaged: &[&str]) -> Opened<SimulatedDisk> {
    let disk = SimulatedDisk::default();
    let options = Options {
        wal_file_bytes: 64 << 10,
        ..Options::default()
    };
    let mut log = Log::open(disk.clone(), options).expect("the disk is empty");
    let entries = (1..).zip(BODIES);
    let write = Write {
        shard: SHARD.0,
        hard_state: Some(HardState {
            term: 1,
            vote: 1,
            commit: 0,
        }),
        entries: entries.map(|(index, body)| entry_of(index, body)).collect(),
    };
    log.appender.append(&[write]).expect("there is room");
    for body in damaged {
        flip(&disk, body.as_bytes());
    }
    log
}

fn flip(disk: &SimulatedDisk, body: &[u8]) {
    let mut flipped = false;
    for path in disk.paths() {
        disk.damage(&path, |bytes| {
            let place = bytes.windows(body.len()).position(|part| part == body);
            if let Some(place) = place {
                bytes[place] ^= 1;
                flipped = true;
            }
        });
    }
    assert!(flipped, "nothing was written");
}

/// Has a reader do one job; what its shard's runner hears, and how many bodies count as unreadable.
fn done(
    log: &Opened<SimulatedDisk>,
    job: impl FnOnce(mpsc::Sender<Event>) -> Job,
) -> (Vec<Event>, u64) {
    let ((jobs, list), (runner, heard)) = (mpsc::channel(), mpsc::channel());
    jobs.send(job(runner)).expect("the list is here");
    drop(jobs);
    let counters: Arc<Counters> = Arc::default();
    Bodies::new(log.reader.clone(), 0, Arc::clone(&counters)).run(&list);
    (heard.iter().collect(), read(&counters.body_errors))
}

fn messages() -> [Sequence; 3] {
    [1, 2, 3].map(|index| Sequence::new(index, 0))
}

/// All three were leased; what their receiver is told.
fn receive(log: &Opened<SimulatedDisk>) -> (Result<Vec<ReceivedMessage>, Error>, Vec<Event>, u64) {
    let deliveries = messages().map(|message| Delivery {
        message,
        receipt: message,
        sent: Timestamp(1),
        first_received: Timestamp(1),
        visible_again: Timestamp(2),
        deliveries: 1,
    });
    let (sender, mut answered) = oneshot::channel();
    let (heard, errors) = done(log, |runner| {
        Job::Deliver(Deliver {
            leases: Leases {
                shard: SHARD,
                queue: QUEUE,
                deliveries: deliveries.into(),
            },
            responder: Responder::new(sender, InFlight::begin(&Arc::default(), 1)),
            runner,
        })
    });
    let answer = answered.try_recv().expect("it was answered");
    let received = answer.map(|response| match response {
        Response::Messages(messages) => messages,
        other => panic!("{other:?}"),
    });
    (received, heard, errors)
}

/// Carries the first of these messages, for a lane to dead letters or to a topic's queue.
fn fetch(log: &Opened<SimulatedDisk>, messages: &[Sequence]) -> (Vec<Bytes>, Vec<Event>, u64) {
    let (responder, mut answered) = oneshot::channel();
    let (heard, errors) = done(log, |runner| Job::Fetch {
        shard: SHARD,
        messages: messages.to_vec(),
        bytes_max: 1 << 20,
        responder,
        runner,
    });
    let bodies = answered.try_recv().expect("it was answered");
    (bodies, heard, errors)
}

/// The runner hears of one place on the disk where something is not what was written, and of nothing else.
fn assert_damage(heard: &[Event]) {
    let is_told = matches!(
        heard,
        [Event::Host(HostEvent::Damaged {
            shard: SHARD,
            may_pass: false,
            wound: Some(_),
            ..
        })]
    );
    assert!(is_told, "{heard:?}");
}

/// Core review, finding 12 (a): it stayed leased and unreadable, and nobody but a log line said so.
#[test]
fn a_body_that_a_receive_cannot_read_is_told_as_damage() {
    let (received, heard, errors) = receive(&log_with_damage(&["the second"]));
    let received = received.unwrap();
    let bodies: Vec<&[u8]> = received.iter().map(|message| &*message.body).collect();
    assert_eq!(bodies, [b"the first".as_slice(), b"the third"]);
    assert_damage(&heard);
    assert_eq!(errors, 1);
}

#[test]
fn a_receive_of_which_no_body_can_be_read_tells_of_each_and_gives_none_back() {
    let (received, heard, errors) = receive(&log_with_damage(&BODIES));
    assert_eq!(received.unwrap_err(), Error::Unknown);
    let damaged = |event: &Event| matches!(event, Event::Host(HostEvent::Damaged { .. }));
    assert!(heard.iter().all(damaged), "{heard:?}");
    assert_eq!((heard.len(), errors), (3, 3));
}

/// Core review, finding 12 (b): a lane stood still for ever, and nobody heard why.
#[test]
fn a_body_that_a_lane_cannot_read_is_told_as_damage_and_those_before_it_are_carried() {
    let log = log_with_damage(&["the second"]);
    let (bodies, heard, errors) = fetch(&log, &messages());
    assert_eq!(bodies, ["the first"]);
    assert_damage(&heard);
    assert_eq!(errors, 1);
    let (bodies, heard, _) = fetch(&log, &messages()[1..]);
    assert_eq!(bodies, [""; 0]);
    assert_damage(&heard);
    let (bodies, heard, errors) = fetch(&log, &messages()[2..]);
    assert_eq!(bodies, ["the third"]);
    assert!(heard.is_empty(), "{heard:?}");
    assert_eq!(errors, 0);
}
