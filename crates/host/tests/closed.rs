//! A shard that cannot be opened, and what becomes of it.

use std::time::Duration;

use anser_broker::{
    id::ShardId,
    time::{Millis, Timestamp},
};
use anser_host::{
    Attempted, Beginning, Closed, Deferred, Event, Job, Mark, Now, Runner, Wound, WriterJob,
};
use anser_log::{Kept, Stored};
use anser_replica::Tombstone;
use bytes::Bytes;

use crate::shell::Shell;

const SHARD: ShardId = ShardId(3);

fn now() -> Now {
    Now {
        elapsed: Duration::from_secs(1),
        beat: Duration::from_secs(1),
        wall: Timestamp(1_000_000),
        is_exact: true,
    }
}

/// Its last entry is the fortieth.
fn runner() -> Runner<u64> {
    let tombstone = Tombstone {
        term: 5,
        vote: 2,
        floor: 40,
    };
    let closed = Closed {
        shard: SHARD,
        tombstone,
        what: "shards/00003/0000000000000007.snapshot is damaged at byte 71: checksum".into(),
    };
    let beginning = Beginning {
        node: 1,
        shards: 4,
        run: 1,
        cache_bytes: 0,
        time_off_max: Millis(0),
        replicas: Vec::new(),
        damaged: Vec::new(),
        closed: vec![closed],
    };
    Runner::new(beginning, &now())
}

#[test]
fn a_closed_shard_is_let_go_of_by_a_decision_behind_what_it_may_have_acknowledged() {
    let mut runner = runner();
    let forget = |decided| Event::Forget {
        shard: SHARD,
        decided,
    };
    runner.take(&now(), forget(39));
    assert!(runner.next_job().is_none(), "the order is late");
    assert_eq!(runner.closed().collect::<Vec<_>>(), [SHARD]);
    runner.take(&now(), forget(41));
    let Some(Job::Write(WriterJob::Defer(deferred))) = runner.next_job() else {
        panic!("it goes off the disk")
    };
    let expected = Deferred::Forget {
        shard: SHARD,
        floor: 41,
        damaged: true,
    };
    assert_eq!(deferred, expected);
    assert_eq!((runner.closed().count(), runner.damaged().count()), (0, 1));
    runner.take(&now(), Event::Forgot { shard: SHARD });
    assert_eq!(runner.damaged().count(), 0, "it may come again");
}

#[test]
fn what_is_damaged_of_a_shard_that_is_not_here_is_no_ones() {
    let mut runner = runner();
    let damaged = Event::Damaged {
        shard: ShardId(1),
        what: "a segment that was here".into(),
        may_pass: false,
        wound: None,
    };
    runner.take(&now(), damaged);
    assert_eq!(runner.damaged().count(), 1, "only the closed one");
}

/// Core review, finding 13: one read that failed ended the node, at each start again.
/// A copy is not given up for a fault of the disk that passes.
#[test]
fn reads_that_fail_are_damage_only_if_they_go_on_failing() {
    let fail = |shell: &mut Shell, times: usize| {
        for _ in 0..times {
            shell.tell(Event::Damaged {
                shard: crate::shell::SHARD,
                what: "could not read wal/0000000000000001.wal".into(),
                may_pass: true,
                wound: None,
            });
        }
        shell.runner.damaged().count()
    };
    let mut shell = Shell::begin(0);
    assert_eq!(fail(&mut shell, 100), 0, "all at once");
    shell.now.beat += Duration::from_secs(601);
    assert_eq!(fail(&mut shell, 1), 0, "long afterwards");
    shell.now.beat += Duration::from_secs(59);
    assert_eq!(fail(&mut shell, 8), 0, "nine within a minute");
    shell.now.beat += Duration::from_secs(1);
    assert_eq!(fail(&mut shell, 1), 1, "ten over a minute");
}

/// What others said may be about a replica that was here before.
#[test]
fn a_replica_is_replaced_for_the_state_that_it_has_and_not_for_one_that_another_had() {
    let mut shell = Shell::begin(0);
    let shard = crate::shell::SHARD;
    let replica = shell.runner.replica(shard).expect("it is here");
    let mark = Mark::from(replica.marks().next().expect("it has applied something"));
    let mut differs = |mark| {
        shell.tell(Event::Differs {
            shard,
            mark,
            what: "the state is another one".into(),
        });
        shell.runner.damaged().count()
    };
    let of_another = Mark {
        fingerprint: mark.fingerprint + 1,
        ..mark
    };
    assert_eq!(differs(of_another), 0);
    assert_eq!(differs(mark), 1);
}

/// What is not applied nobody else gives, and a node that decides alone has nobody else.
#[test]
fn what_a_replica_has_in_memory_is_asked_of_nobody() {
    let mut shell = Shell::begin(0);
    shell.tell(damaged_record());
    let shard = crate::shell::SHARD;
    let replica = shell.runner.replica(shard).expect("it is here");
    let newest = (1..100).rfind(|&index| replica.remembered(index).is_some());
    let newest = newest.expect("its term begins with an entry");
    let needs = |index| Event::Attempted {
        shard,
        wound: wound_of(&damaged_record()),
        attempted: Attempted::Needs(vec![index]),
    };
    shell.tell(needs(newest));
    let given = |job: &Job<u64>| match job {
        Job::Mend { given, .. } => given.keys().copied().collect::<Vec<_>>(),
        other => panic!("nothing is to be done: {other:?}"),
    };
    assert_eq!(given(shell.seen.last().unwrap()), [newest]);
    assert_eq!(shell.runner.damaged().count(), 0);
    shell.tell(needs(newest + 1));
    assert_eq!(shell.runner.damaged().count(), 1, "it has no such entry");
    let asks = |job: &Job<u64>| matches!(job, Job::AskEntries { .. });
    assert!(!shell.seen.iter().any(asks));
}

fn wound_of(damaged: &Event<u64>) -> Wound {
    match damaged {
        Event::Damaged { wound, .. } => wound.clone().expect("its place is known"),
        other => panic!("nothing is damaged: {other:?}"),
    }
}

fn damaged_record() -> Event<u64> {
    let file = "wal/0000000000000001.wal".to_owned();
    Event::Damaged {
        shard: crate::shell::SHARD,
        what: "a record is damaged".into(),
        may_pass: false,
        wound: Some(Wound { file, offset: 64 }),
    }
}

/// Until nobody can give it.
#[test]
fn what_others_may_have_does_not_count_as_damaged() {
    let mut shell = Shell::of_two();
    shell.tell(damaged_record());
    let attempts = |shell: &Shell| {
        let jobs = shell.seen.iter();
        let given = jobs.filter_map(|job| match job {
            Job::Mend { wound, given, .. } => Some((wound.clone(), given.len())),
            _ => None,
        });
        given.collect::<Vec<_>>()
    };
    let (wound, given) = attempts(&shell).remove(0);
    assert_eq!((shell.runner.damaged().count(), given), (0, 0));
    let shard = crate::shell::SHARD;
    let attempted = |attempted| Event::Attempted {
        shard,
        wound: wound.clone(),
        attempted,
    };
    let given = |entries| Event::Given {
        shard,
        wound: wound.clone(),
        node: 2,
        entries,
    };
    shell.tell(attempted(Attempted::Needs(vec![1])));
    let asks =
        |job: &Job<u64>| matches!(job, Job::AskEntries { to: 2, indexes, .. } if indexes == &[1]);
    assert!(shell.seen.iter().any(asks));
    let kept = Kept {
        index: 1,
        term: 1,
        payload: Bytes::new(),
    };
    shell.tell(given(vec![Stored::Kept(kept)]));
    assert_eq!(attempts(&shell).len(), 2);
    shell.tell(attempted(Attempted::Mended));
    assert!(matches!(shell.seen.last(), Some(Job::Mended { .. })));
    assert_eq!(shell.runner.damaged().count(), 0);

    shell.tell(damaged_record());
    shell.tell(attempted(Attempted::Needs(vec![1])));
    shell.tell(given(Vec::new()));
    assert_eq!(shell.runner.damaged().count(), 1);
    shell.tell(damaged_record());
    assert_eq!(attempts(&shell).len(), 3, "it is replaced anyway");
}
