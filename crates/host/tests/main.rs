//! A runner with its disk and no threads: what the shell around it may rely on.

mod closed;
mod errands;
mod shell;

use anser_broker::{
    codec,
    command::{Command, CreateQueue, Reply},
    error::Error,
    id::{AccountId, ShardId},
    name::QueueName,
    op::ReceivedMessage,
    time::Millis,
};
use anser_host::{Event, Job, Request, Response, WriterJob};
use anser_replica::{MembershipChange, MembershipStep, ReceiveRequest};
use bytes::Bytes;

use shell::{QUEUE, SHARD, Shell, attributes};

fn send(body: &'static str) -> Request {
    Request::Propose(codec::encode(&Command::SendMessages {
        queue: QUEUE,
        delay: None,
        bodies: vec![Bytes::from_static(body.as_bytes())],
    }))
}

fn receive() -> Request {
    Request::Receive(ReceiveRequest {
        queue: QUEUE,
        max: 10,
        visibility: None,
        wait: Some(Millis(0)),
    })
}

fn bodies(response: Result<Response, Error>) -> Vec<Bytes> {
    match response {
        Ok(Response::Messages(messages)) => {
            let body = |message: ReceivedMessage| message.body;
            messages.into_iter().map(body).collect()
        }
        other => panic!("not messages: {other:?}"),
    }
}

#[test]
fn what_was_sent_is_received_from_memory_and_from_the_disk() {
    for cache_bytes in [1 << 20, 0] {
        let mut shell = Shell::begin(cache_bytes);
        assert!(matches!(
            shell.ask(SHARD, send("one")),
            Ok(Response::Reply(Reply::Sent { .. }))
        ));
        assert_eq!(bodies(shell.ask(SHARD, receive())), ["one"]);
        assert_eq!(shell.read_from_disk, usize::from(cache_bytes == 0));
    }
}

#[test]
fn what_nobody_takes_is_visible_again_at_once() {
    let mut shell = Shell::begin(1 << 20);
    shell.ask(SHARD, send("one")).unwrap();
    shell.nobody_waits = true;
    shell.ask(SHARD, receive()).unwrap();
    shell.nobody_waits = false;
    assert_eq!(bodies(shell.ask(SHARD, receive())), ["one"]);
}

#[test]
fn a_restarted_node_has_what_was_acknowledged() {
    let mut shell = Shell::begin(1 << 20);
    shell.ask(SHARD, send("one")).unwrap();
    let mut shell = shell.restart();
    assert_eq!(bodies(shell.ask(SHARD, receive())), ["one"]);
    assert_eq!(shell.read_from_disk, 1);
}

/// Whoever hears that there is something to do asks first whether this node leads: a pusher that was told before the node was
/// known to lead found nothing, and was told no more. Messages of a subscription waited until something else was published.
#[test]
fn it_is_known_who_leads_before_it_is_said_what_is_to_be_done() {
    let mut shell = Shell::begin(0);
    let create = Command::CreateQueue(CreateQueue {
        account: AccountId(1),
        name: QueueName::new("orders").unwrap(),
        attributes: attributes(),
        dead_letter: None,
        queues_max: 1,
        reuse_after: Millis(0),
        avoid: Vec::new(),
    });
    shell
        .ask(SHARD, Request::Propose(codec::encode(&create)))
        .unwrap();
    let seen = shell.restart().seen;
    let place = |is_meant: fn(&Job<u64>) -> bool| seen.iter().position(is_meant).unwrap();
    let leads = place(|job| matches!(job, Job::Leadership { leads: true, .. }));
    let effect = place(|job| matches!(job, Job::Effect { .. }));
    assert!(leads < effect, "{seen:?}");
}

#[test]
fn a_shard_that_is_not_here_is_unavailable() {
    let mut shell = Shell::begin(0);
    let refused = shell.ask(ShardId(1), send("one"));
    assert!(matches!(refused, Err(Error::Unavailable)));
}

#[test]
fn a_runner_sleeps_until_something_is_due() {
    let mut shell = Shell::begin(0);
    assert_eq!(
        shell.runner.next_wake(),
        None,
        "a sole voter needs no ticks"
    );
    let delayed = Command::SendMessages {
        queue: QUEUE,
        delay: Some(Millis(5_000)),
        bodies: vec![Bytes::from_static(b"late")],
    };
    let began = shell.now.elapsed;
    shell
        .ask(SHARD, Request::Propose(codec::encode(&delayed)))
        .unwrap();
    let at = shell.runner.next_wake().expect("a delay will end");
    assert_eq!(at, began + std::time::Duration::from_secs(5));
    shell.pass(at.saturating_sub(began));
    assert_eq!(bodies(shell.ask(SHARD, receive())), ["late"]);
}

#[test]
fn a_shard_that_leaves_the_disk_does_not_begin_anew_before_it_has_left() {
    let mut shell = Shell::follower();
    shell.tell(Shell::heartbeat());
    assert!(shell.runner.replica(SHARD).is_some(), "its leader said so");
    shell.tell(Event::Forget {
        shard: SHARD,
        decided: 1_000,
    });
    assert!(shell.runner.replica(SHARD).is_none());
    let is_forget = |job: &Job<u64>| matches!(job, Job::Write(WriterJob::Defer(_)));
    assert!(shell.seen.iter().any(is_forget));
    shell.tell(Shell::heartbeat());
    assert!(shell.runner.replica(SHARD).is_none(), "it still leaves");
    shell.tell(Event::Forgot { shard: SHARD });
    shell.tell(Shell::heartbeat());
    assert!(shell.runner.replica(SHARD).is_some());
}

#[test]
fn a_sole_voter_that_gets_a_learner_speaks_to_it_and_ticks() {
    let mut shell = Shell::begin(0);
    shell.tell(Event::Change {
        shard: SHARD,
        change: MembershipChange {
            steps: vec![MembershipStep::AddLearner(2)],
        },
    });
    shell.pass(std::time::Duration::from_millis(200));
    let to_learner = |job: &Job<u64>| matches!(job, Job::Send { to: 2, .. });
    assert!(shell.seen.iter().any(to_learner));
    assert!(shell.runner.next_tick().is_some());
}
