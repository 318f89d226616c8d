//! Errands of a node whose other shards answer, refuse or never answer.

mod node;

use std::time::Duration;

use anser_broker::{
    command::{Command, Placed, Query},
    error::Error,
    id::{AccountId, QueueId, Sequence, ShardId},
    name::QueueName,
    time::Millis,
};
use anser_host::{Leaders, Port, Reconciler, Request, Response, Transfers, ask};
use anser_replica::ReceiveRequest;
use tokio::{sync::oneshot, task::JoinHandle};

use node::{Node, SOURCE, WAITING_MAX, lane, placed, run};

const MUTE: ShardId = ShardId(1);
const WELL: ShardId = ShardId(2);

/// Core review, finding 15: sixteen transfers to such a shard took every turn there was.
#[test]
fn a_shard_that_never_answers_holds_up_no_transfer_to_another() {
    run(async {
        let node = Node::new();
        node.mute(MUTE);
        let transfers = Transfers::new(node.clone());
        for number in 0..200 {
            let (source, target) = (QueueId(1_000 + number), QueueId(2_000 + number));
            node.route(target, MUTE);
            node.show(source, vec![lane(target, &[1])]);
            transfers.carry(ShardId(0), source);
        }
        node.route(QueueId(7), WELL);
        node.show(SOURCE, vec![lane(QueueId(7), &[1])]);
        transfers.carry(ShardId(0), SOURCE);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(node.carried(QueueId(7)), 1);
    });
}

#[test]
fn a_lane_that_has_ended_wakes_nobody() {
    run(async {
        let node = Node::new();
        node.mute(MUTE);
        let (gone, rests) = (QueueId(5), QueueId(6));
        node.route(gone, MUTE);
        node.route(rests, MUTE);
        node.show(SOURCE, vec![lane(gone, &[1]), lane(rests, &[1])]);
        let transfers = Transfers::new(node.clone());
        transfers.carry(ShardId(0), SOURCE);
        tokio::time::sleep(Duration::from_secs(30)).await;
        node.show(SOURCE, vec![lane(rests, &[1])]);
        let before = node.looks();
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(
            node.looks() - before < 120,
            "{} looks",
            node.looks() - before
        );
    });
}

/// Core review, finding 12: what stands before a body that cannot be read is carried, other lanes go on, and what is mended
/// goes on by itself. Of dead letters, and of messages of a topic.
#[test]
fn a_lane_with_a_body_that_cannot_be_read_goes_on_when_it_can() {
    for is_delivery in [false, true] {
        run(async {
            let node = Node::new();
            let (damaged, sound) = (QueueId(7), QueueId(8));
            node.route(damaged, WELL);
            node.route(sound, WELL);
            let mut lanes = vec![lane(damaged, &[1, 2, 3]), lane(sound, &[4])];
            for lane in &mut lanes {
                lane.is_delivery = is_delivery;
            }
            node.show(SOURCE, lanes);
            let spoiled = Sequence::new(2, 0);
            node.spoil(spoiled);
            Transfers::new(node.clone()).carry(ShardId(0), SOURCE);
            tokio::time::sleep(Duration::from_secs(600)).await;
            assert_eq!((node.carried(damaged), node.carried(sound)), (1, 1));
            assert_eq!(node.failed_moves(), 0, "it is not given up");
            node.mend(spoiled);
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(node.carried(damaged), 3);
        });
    }
}

#[test]
fn what_is_announced_while_a_look_fails_is_looked_at_again() {
    run(async {
        let node = Node::new();
        node.route(QueueId(7), WELL);
        let transfers = Transfers::new(node.clone());
        node.hold_looks();
        transfers.carry(ShardId(0), SOURCE);
        tokio::time::sleep(Duration::from_millis(1)).await;
        // The replica here was deposed, and leads again: it announces before the task hears that the look failed.
        transfers.carry(ShardId(0), SOURCE);
        node.show(SOURCE, vec![lane(QueueId(7), &[1])]);
        node.fail_held_looks();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(node.carried(QueueId(7)), 1);
    });
}

#[test]
fn what_the_target_has_already_is_not_sent_to_the_dead_letters() {
    run(async {
        let node = Node::new();
        node.route(QueueId(7), WELL);
        let mut overdue = lane(QueueId(7), &[1, 2]);
        overdue.is_delivery = true;
        for next in &mut overdue.moves {
            next.is_overdue = true;
        }
        // It took both, its answer was lost, and it is full of them.
        node.has_room(0, 2);
        node.show(SOURCE, vec![overdue]);
        Transfers::new(node.clone()).carry(ShardId(0), SOURCE);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(node.settled_through(), 2);
        assert_eq!(node.failed_moves(), 0);
    });
}

#[test]
fn nothing_ends_while_nobody_knows_whether_the_target_has_it() {
    run(async {
        let node = Node::new();
        node.mute(MUTE);
        node.route(QueueId(7), MUTE);
        let mut overdue = lane(QueueId(7), &[1]);
        overdue.is_delivery = true;
        overdue.moves[0].is_overdue = true;
        node.show(SOURCE, vec![overdue]);
        Transfers::new(node.clone()).carry(ShardId(0), SOURCE);
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(node.failed_moves(), 0);
    });
}

/// Core review, finding 15: 64 homes that could not be told took every turn there was.
#[test]
fn one_task_tells_a_home_what_is_newest() {
    run(async {
        let node = Node::new();
        node.mute(MUTE);
        let reconciler = Reconciler::new(node.clone());
        for revision in 1..=1_000 {
            reconciler.place(&placed(QueueId(9), MUTE, revision));
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(node.tasks() <= 1, "{} tasks", node.tasks());
        node.unmute(MUTE);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(node.told(QueueId(9)), Some(1_000));
        assert_eq!(node.tasks(), 0);
    });
}

#[test]
fn tasks_end_when_another_node_leads_the_catalog() {
    run(async {
        let node = Node::new();
        node.mute(MUTE);
        let reconciler = Reconciler::new(node.clone());
        reconciler.place(&placed(QueueId(9), MUTE, 1));
        tokio::time::sleep(Duration::from_secs(1)).await;
        node.cluster()
            .unwrap()
            .leaders
            .serves(ShardId::CATALOG, 2, false);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(node.tasks(), 0);
    });
}

/// Two clients change a queue, one after the other, while its home has no leader. The first is not told that its change
/// is in force because the second one's has taken its place: the home knows of neither.
#[test]
fn a_change_is_answered_when_the_home_was_told_it_or_a_newer_one() {
    run(async {
        let node = Node::new();
        node.mute(MUTE);
        let reconciler = Reconciler::new(node.clone());
        let mut changes = Vec::new();
        for revision in 1..=2 {
            node.changes_to(placed(QueueId(9), MUTE, revision));
            let (done, changed) = oneshot::channel();
            reconciler.change(change(), done);
            changes.push(changed);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Another home is told something meanwhile.
        reconciler.place(&placed(QueueId(10), WELL, 1));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(node.told(QueueId(10)), Some(1));
        for changed in &mut changes {
            assert!(changed.try_recv().is_err(), "its home was not told");
        }
        node.refuse_unanswered();
        node.unmute(MUTE);
        for (changed, revision) in changes.into_iter().zip(1..) {
            let answered = changed.await.unwrap().unwrap();
            assert_eq!(answered.revision(), revision);
        }
        assert_eq!(node.told(QueueId(9)), Some(2));
    });
}

/// Core review, finding 15, looked at again: each change of such a home left a task for ever.
/// Who asks for changes of a queue whose home cannot be told hears so in time, and nothing is left of the change but what
/// the home is to be told.
#[test]
fn changes_of_a_home_that_cannot_be_told_leave_one_task() {
    run(async {
        let node = Node::new();
        node.mute(MUTE);
        let reconciler = Reconciler::new(node.clone());
        let mut changes = Vec::new();
        for revision in 1..=100 {
            node.changes_to(placed(QueueId(9), MUTE, revision));
            let (done, changed) = oneshot::channel();
            reconciler.change(change(), done);
            changes.push(changed);
        }
        for changed in changes {
            assert_eq!(changed.await.unwrap(), Err(Error::Unknown));
        }
        assert!(node.tasks() <= 1, "{} tasks", node.tasks());
    });
}

/// A change of the catalog whose home does not answer yet, on a node that leads the catalog no more.
async fn deposed_amid_a_change() -> (Node, oneshot::Receiver<Result<Placed, Error>>) {
    let node = Node::new();
    node.mute(MUTE);
    let reconciler = Reconciler::new(node.clone());
    node.changes_to(placed(QueueId(9), MUTE, 1));
    let (done, changed) = oneshot::channel();
    reconciler.change(change(), done);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let leaders = node.cluster().expect("it is a member").leaders;
    leaders.serves(ShardId::CATALOG, 2, false);
    (node, changed)
}

/// The node leads again at once.
#[test]
fn a_change_that_a_deposed_leader_gave_up_is_not_known_to_be_in_force() {
    run(async {
        let (node, changed) = deposed_amid_a_change().await;
        node.refuse_unanswered();
        tokio::task::yield_now().await;
        let leaders = node.cluster().unwrap().leaders;
        leaders.serves(ShardId::CATALOG, 3, true);
        assert_eq!(changed.await.unwrap(), Err(Error::Unknown));
        assert_eq!(node.told(QueueId(9)), None);
    });
}

#[test]
fn a_change_is_answered_though_another_node_leads_the_catalog_since() {
    run(async {
        let (node, changed) = deposed_amid_a_change().await;
        node.unmute(MUTE);
        node.refuse_unanswered();
        let changed = changed.await.unwrap();
        assert_eq!(changed, Ok(placed(QueueId(9), MUTE, 1)));
        assert_eq!(node.told(QueueId(9)), Some(1));
    });
}

/// It has waited for longer than any request looks for a leader.
#[test]
fn a_long_poll_looks_for_the_next_leader_when_it_has_lost_one() {
    run(async {
        let node = Node::new();
        node.mute(MUTE);
        let begun = tokio::time::Instant::now();
        let (asked, answered) = oneshot::channel();
        let asking = node.clone();
        tokio::task::spawn_local(async move {
            // The test waits for it.
            asked.send(ask(&asking, MUTE, long_poll()).await).ok();
        });
        for term in [2, 4] {
            tokio::time::sleep(Duration::from_secs(12)).await;
            let leaders = node.cluster().unwrap().leaders;
            leaders.serves(MUTE, term, false);
            node.refuse_unanswered();
            tokio::time::sleep(Duration::from_secs(5)).await;
            leaders.serves(MUTE, term + 1, true);
        }
        node.unmute(MUTE);
        node.refuse_unanswered();
        let answered = answered.await.unwrap();
        assert!(
            matches!(answered, Ok(Response::Messages(_))),
            "{answered:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(35));
    });
}

#[test]
fn a_long_poll_that_never_finds_a_leader_is_refused_soon() {
    run(async {
        let node = Node::new();
        let leaders = node.cluster().unwrap().leaders;
        leaders.serves(MUTE, 2, false);
        let begun = tokio::time::Instant::now();
        let asked = ask(&node, MUTE, long_poll()).await;
        assert!(matches!(asked, Err(Error::Unavailable)), "{asked:?}");
        assert!(begun.elapsed() < Duration::from_secs(9));
    });
}

/// However many clients a shard has, none of them is refused because its leader hands over.
#[test]
fn any_number_of_requests_waits_for_a_leader_that_hands_over() {
    run(async {
        let node = Node::new();
        let leaders = node.cluster().unwrap().leaders;
        leaders.serves(MUTE, 2, false);
        let asked = ask_often(&node, 10 * WAITING_MAX);
        tokio::time::sleep(Duration::from_millis(400)).await;
        leaders.serves(MUTE, 3, true);
        for answer in asked {
            assert!(answer.await.unwrap().is_ok());
        }
    });
}

fn ask_often(node: &Node, times: usize) -> Vec<JoinHandle<Result<Response, Error>>> {
    let ask = |_| {
        let node = node.clone();
        tokio::task::spawn_local(async move { ask(&node, MUTE, room()).await })
    };
    (0..times).map(ask).collect()
}

/// As many requests as may wait for a leader do, and those of other shards are answered all the same.
#[test]
fn a_shard_without_a_leader_keeps_few_requests_waiting() {
    run(async {
        let node = Node::new();
        let leaders = node.cluster().unwrap().leaders;
        leaders.serves(MUTE, 2, false);
        let (heard, mut answers) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..100 {
            let (asking, heard) = (node.clone(), heard.clone());
            tokio::task::spawn_local(async move {
                // The test waits for it.
                heard.send(ask(&asking, MUTE, room()).await).ok();
            });
        }
        let begun = tokio::time::Instant::now();
        for _ in WAITING_MAX..100 {
            let answer = answers.recv().await.unwrap();
            assert!(matches!(answer, Err(Error::Busy)), "{answer:?}");
        }
        let late = tokio::time::Instant::now();
        let one_more = ask(&node, MUTE, room()).await;
        assert!(matches!(one_more, Err(Error::Busy)), "{one_more:?}");
        assert!(late.elapsed() < Duration::from_millis(10), "at once");
        let changed = change_of_catalog(&node, leaders).await;
        assert!(matches!(changed, Err(Error::Busy)), "{changed:?}");
        assert!(begun.elapsed() < Duration::from_millis(1_200), "soon");
        assert!(ask(&node, WELL, room()).await.is_ok());
        // A long poll holds no place.
        let polling = node.clone();
        let polled = async move { ask(&polling, MUTE, long_poll()).await };
        let polled = tokio::task::spawn_local(polled);
        tokio::time::sleep(Duration::from_secs(3)).await;
        leaders.serves(MUTE, 3, true);
        for _ in 0..WAITING_MAX {
            assert!(answers.recv().await.unwrap().is_ok());
        }
        assert!(polled.await.unwrap().is_ok());
        // Their places are given back.
        leaders.serves(MUTE, 4, false);
        let waits = ask(&node, MUTE, room()).await;
        assert!(matches!(waits, Err(Error::Unavailable)), "{waits:?}");
    });
}

/// While nobody leads the catalog.
async fn change_of_catalog(node: &Node, leaders: &Leaders) -> Result<Placed, Error> {
    leaders.serves(ShardId::CATALOG, 2, false);
    anser_host::change(node, &change()).await
}

fn room() -> Request {
    Request::Read(Query::Room {
        queue: QueueId(7),
        source: QueueId(8),
    })
}

fn long_poll() -> Request {
    Request::Receive(ReceiveRequest {
        queue: QueueId(7),
        max: 1,
        visibility: None,
        wait: Some(Millis(30_000)),
    })
}

/// What it is does not matter to the tests' catalog.
fn change() -> Command {
    Command::DeleteQueue {
        account: AccountId(1),
        name: QueueName::new("a").expect("a letter"),
    }
}

#[test]
fn a_change_is_not_proposed_where_the_catalog_is_not_led() {
    run(async {
        let node = Node::new();
        node.cluster()
            .unwrap()
            .leaders
            .serves(ShardId::CATALOG, 2, false);
        let reconciler = Reconciler::new(node.clone());
        let (done, changed) = oneshot::channel();
        reconciler.change(Command::ClearQueue { queue: QueueId(1) }, done);
        assert_eq!(changed.await.unwrap(), Err(Error::Unavailable));
        assert_eq!(node.asked(ShardId::CATALOG), 0);
    });
}

/// Core review, finding 15: nothing inside had a deadline.
#[test]
fn a_replica_that_never_answers_is_not_waited_for_without_end() {
    run(async {
        let node = Node::new();
        node.mute(MUTE);
        let begun = tokio::time::Instant::now();
        let asked = anser_host::propose(&node, MUTE, &Command::Settle).await;
        assert_eq!(asked, Err(Error::Unknown));
        assert!(begun.elapsed() < Duration::from_secs(15));
    });
}
