//! Messages, requests, answers and cancellations between two nodes.

use anser_transport::{Caller, RequestError, SendError, ask};
use bytes::Bytes;

use crate::rig::{Node, PATIENCE, config, join_config, wait, wait_tokio};

fn pair() -> (Node, Node) {
    let (one, two) = (Node::start(config(1)), Node::start(config(2)));
    one.meet(&[&two]);
    two.meet(&[&one]);
    (one, two)
}

#[test]
fn messages_come_in_order_both_ways() {
    let (one, two) = pair();
    for number in 0..1_000_u32 {
        let bytes = Bytes::copy_from_slice(&number.to_le_bytes());
        one.transport.send(2, bytes.clone()).unwrap();
        two.transport.send(1, bytes).unwrap();
    }
    for number in 0..1_000_u32 {
        let bytes = Bytes::copy_from_slice(&number.to_le_bytes());
        assert_eq!(two.message(), (1, bytes.clone()));
        assert_eq!(one.message(), (2, bytes));
    }
}

#[test]
fn requests_are_answered_both_ways() {
    let (one, two) = pair();
    let requests: Vec<_> = (0..500_u32)
        .map(|number| Bytes::copy_from_slice(&number.to_le_bytes()))
        .map(|bytes| (one.transport.request(2, bytes.clone()), bytes))
        .collect();
    two.check(1);
    for (answer, bytes) in requests {
        assert_eq!(wait(answer), Ok(bytes));
    }
    assert_eq!(
        wait(one.transport.request(2, Bytes::new())),
        Ok(Bytes::new())
    );
}

#[test]
fn the_future_of_a_request_may_go_to_another_thread() {
    let (one, _two) = pair();
    let answer = one.transport.request(2, Bytes::from_static(b"there"));
    let thread = std::thread::spawn(move || wait(answer));
    assert_eq!(thread.join().unwrap().unwrap(), "there");
}

#[test]
fn frames_up_to_the_limit_pass_and_longer_ones_do_not() {
    let (one, two) = pair();
    let limit = config(1).limits.frame_bytes;
    let large = Bytes::from(vec![3; limit]);
    assert!(wait(one.transport.request(2, large.clone())) == Ok(large.clone()));
    one.transport.send(2, large.clone()).unwrap();
    assert!(two.message() == (1, large));
    let longer = Bytes::from(vec![3; limit + 1]);
    assert_eq!(
        one.transport.send(2, longer.clone()),
        Err(SendError::TooLong(limit + 1))
    );
    assert_eq!(
        wait(one.transport.request(2, longer)),
        Err(RequestError::NotSent)
    );
    let asked = one
        .transport
        .request(2, format!("large {}", limit + 1).into());
    assert_eq!(wait(asked), Err(RequestError::Lost));
    one.check(2);
}

#[test]
fn dropping_a_request_drops_it_at_the_peer() {
    let (one, two) = pair();
    let held = one.transport.request(2, Bytes::from_static(b"hold"));
    assert_eq!(two.held.recv_timeout(PATIENCE).unwrap(), Caller::Node(1));
    drop(held);
    two.dropped.recv_timeout(PATIENCE).unwrap();
    one.check(2);
}

#[test]
fn a_request_ends_at_the_peer_with_its_connection() {
    let (one, two) = pair();
    let _held = one.transport.request(2, Bytes::from_static(b"hold"));
    two.held.recv_timeout(PATIENCE).unwrap();
    one.transport.shutdown();
    two.dropped.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn who_joins_may_ask() {
    let two = Node::start(config(2));
    let address = two.address().to_string();
    let answer = wait_tokio(ask(&address, &join_config(), Bytes::from_static(b"hello")));
    assert_eq!(answer.unwrap(), "hello");
    let by_name = format!("localhost:{}", two.address().port());
    let answer = wait_tokio(ask(&by_name, &join_config(), Bytes::from_static(b"hello")));
    assert_eq!(answer.unwrap(), "hello");
}

#[test]
fn a_question_of_who_joins_ends_with_its_future() {
    let two = Node::start(config(2));
    let address = two.address().to_string();
    wait_tokio(async {
        let config = join_config();
        let asking = ask(&address, &config, Bytes::from_static(b"hold"));
        let held = tokio::task::spawn_blocking(move || {
            assert_eq!(two.held.recv_timeout(PATIENCE).unwrap(), Caller::Joining);
            two
        });
        let two = tokio::select! {
            two = held => two.unwrap(),
            answer = asking => panic!("{answer:?}"),
        };
        two.dropped.recv_timeout(PATIENCE).unwrap();
    });
}

#[test]
fn statistics_count_what_passes() {
    let (one, two) = pair();
    one.transport.send(2, vec![0; 10_000].into()).unwrap();
    two.message();
    one.check(2);
    let here = &one.transport.statistics().peers[&2];
    assert!(here.connected);
    assert_eq!(here.connects, 1);
    assert!(here.bytes_out > 10_000 && here.bytes_in > 0, "{here:?}");
    assert!(here.frames_out >= 2 && here.frames_in >= 1, "{here:?}");
    let there = &two.transport.statistics().peers[&1];
    assert!(there.bytes_in > 10_000, "{there:?}");
    assert_eq!(two.transport.statistics().accepted, 1);
}

#[test]
fn bulk_holds_up_nothing_but_bulk() {
    let (one, two) = (Node::start(config(1)), Node::start(config(2)));
    one.meet(&[&two]);
    let bulk = || one.transport.request_bulk(2, Bytes::from_static(b"hold"));
    let (first, second) = (bulk(), bulk());
    assert!(two.held.recv_timeout(PATIENCE).is_ok());
    for _ in 0..10 {
        one.check(2);
    }
    assert!(two.held.try_recv().is_err());
    drop(first);
    assert!(two.held.recv_timeout(PATIENCE).is_ok());
    drop(second);
    let answered = one.transport.request_bulk(2, Bytes::from_static(b"bulk"));
    assert_eq!(wait(answered), Ok(Bytes::from_static(b"bulk")));
}
