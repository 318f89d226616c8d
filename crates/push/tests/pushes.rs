//! What a push looks like on the wire, and what is a success.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anser_broker::{
    attributes::BodyFormat,
    error::Error,
    id::SubscriptionId,
    labels::{Labels, Tag},
    outboxes::Subscriber,
    retry::RetryStrategy,
};
use tokio::sync::Notify;

use crate::{
    memory::{EPOCH, State},
    receiver::{Answer, Receiver},
    rig::{FIRST, Rig, config, eventually, failure_of, hasty, subscriber},
};

#[tokio::test]
async fn a_bare_push_has_exactly_these_headers() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let url = format!("{}a/../b?x=%41&推=送", receiver.url());
    let rig = Rig::new(subscriber(1, &url), config());
    let message = rig.publish(&b"\x00\xffbody"[..]);
    rig.delivered(1).await;
    let request = &receiver.requests()[0];
    assert_eq!(request.line(), "POST /a/../b?x=%41&推=送 HTTP/1.1");
    assert_eq!(request.body, b"\x00\xffbody");
    assert_eq!(
        request.header_names(),
        [
            "content-length",
            "content-type",
            "host",
            "user-agent",
            "x-cmq-message-id",
            "x-cmq-request-id",
        ]
    );
    let header = |name| request.header(name).unwrap();
    assert_eq!(header("content-type"), "text/plain");
    assert_eq!(header("user-agent"), "Qcloud Notification Service Agent");
    assert_eq!(header("host"), receiver.address.to_string());
    assert_eq!(header("content-length"), "6");
    assert_eq!(header("x-cmq-message-id"), message.to_string());
    assert!(header("x-cmq-request-id").parse::<u64>().is_ok());
}

#[tokio::test]
async fn tags_are_joined_in_one_header() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    let labels = Labels {
        tags: vec![Tag::new("red").unwrap(), Tag::new("红").unwrap()],
        routing_key: None,
    };
    rig.memory.publish(FIRST, "a", labels);
    rig.delivered(1).await;
    let requests = receiver.requests();
    assert_eq!(requests[0].header("x-cmq-message-tag"), Some("red, 红"));
}

#[tokio::test]
async fn a_json_push_is_the_envelope_of_cmq() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let json = Subscriber {
        format: BodyFormat::Json,
        ..subscriber(1, &receiver.url())
    };
    let rig = Rig::new(json, config());
    let message = rig.publish(&b"\"\xff\n"[..]);
    rig.delivered(1).await;
    let request = &receiver.requests()[0];
    assert_eq!(request.header("content-type"), Some("text/plain"));
    assert_eq!(
        request.text(),
        format!(
            "{{\"TopicOwner\":1250000000,\"topicName\":\"orders\",\
             \"subscriptionName\":\"billing\",\"msgId\":\"{message}\",\
             \"msgBody\":\"\\\"\u{fffd}\\n\",\"publishTime\":{}}}",
            EPOCH / 1000
        )
    );
}

#[tokio::test]
async fn every_2xx_is_a_success_and_nothing_else() {
    for status in [200, 201, 202, 204, 206, 299] {
        let receiver = Receiver::start(move |_| match status {
            204 => Answer::Bytes(b"HTTP/1.1 204 No\r\n\r\n".to_vec()),
            status => Answer::with_body(status, "no matter"),
        })
        .await;
        let rig = Rig::new(subscriber(1, &receiver.url()), config());
        rig.publish("a");
        rig.delivered(1).await;
        assert_eq!(rig.pusher.metrics().successes(), 1);
    }
    for status in [300, 304, 400, 401, 404, 408, 429, 500, 503, 599] {
        let receiver = Receiver::start(move |_| Answer::status(status)).await;
        let failure = failure_of(&receiver.url(), config()).await;
        assert_eq!(failure.status, Some(status));
        assert!(failure.reason.starts_with(&format!("status {status}")));
        assert_eq!(failure.attempt, 1);
    }
}

#[tokio::test]
async fn a_failure_keeps_the_beginning_of_the_answer() {
    let receiver = Receiver::start(|_| Answer::with_body(500, &"wrong".repeat(100))).await;
    let failure = failure_of(&receiver.url(), config()).await;
    assert_eq!(failure.reason, "status 500");
    assert_eq!(failure.answer, "wrong".repeat(100).as_bytes()[..256]);
}

#[tokio::test]
async fn row_65_redirects_are_not_followed() {
    let elsewhere = Receiver::start(|_| Answer::status(200)).await;
    for status in [301, 302, 303, 307, 308] {
        for location in [elsewhere.url(), "file:///etc/passwd".into(), "/".into()] {
            let answer = format!(
                "HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            );
            let receiver =
                Receiver::start(move |_| Answer::Bytes(answer.clone().into_bytes())).await;
            let failure = failure_of(&receiver.url(), config()).await;
            assert_eq!(
                failure.reason,
                format!("status {status}: redirects are not followed")
            );
            assert_eq!(receiver.requests().len(), 1);
        }
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn connections_are_used_again_with_a_new_request_id() {
    let receiver = Receiver::start(|_| Answer::with_body(200, "thanks")).await;
    let back_off = Subscriber {
        retry: RetryStrategy::BackOff,
        ..subscriber(1, &receiver.url())
    };
    let rig = Rig::new(back_off, config());
    for number in 1..=5 {
        rig.publish("a");
        rig.delivered(number).await;
    }
    let requests = receiver.requests();
    assert!(receiver.connections() < 5, "{}", receiver.connections());
    let ids: BTreeSet<_> = requests
        .iter()
        .map(|request| request.header("x-cmq-request-id"))
        .collect();
    assert_eq!(ids.len(), 5);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_costs_no_attempt() {
    let receiver = Receiver::start(|request| match request.text() {
        "first" => Answer::status(200),
        // The second push of a connection finds it closed, without an answer.
        _ if request.connection == 0 => Answer::Last(Vec::new()),
        _ => Answer::status(200),
    })
    .await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    rig.publish("first");
    rig.delivered(1).await;
    rig.publish("second");
    rig.delivered(2).await;
    assert_eq!(rig.pusher.metrics().attempts(), 2);
    rig.memory
        .look(|state| assert!(state.only().failures.is_empty()));
}

#[tokio::test]
async fn a_refused_or_broken_connection_says_so() {
    let (closed, listener) = Receiver::bind("127.0.0.1:0", |_| Answer::status(200)).await;
    drop(listener);
    let failure = failure_of(&closed.url(), config()).await;
    assert_eq!(failure.reason, "connection refused");
    assert_eq!(failure.status, None);

    for beginning in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let receiver = Receiver::start(move |_| Answer::Last(beginning.into())).await;
        let failure = failure_of(&receiver.url(), config()).await;
        assert_eq!(
            failure.reason,
            "the connection was closed before the answer"
        );
    }
    let receiver = Receiver::start(|_| Answer::Last(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec())).await;
    let failure = failure_of(&receiver.url(), config()).await;
    assert_eq!(failure.reason, "the answer is not HTTP");
}

#[tokio::test]
async fn an_answer_that_breaks_off_after_a_good_head_is_a_success() {
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthan".to_vec();
    let receiver = Receiver::start(move |_| Answer::Last(cut.clone())).await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    rig.publish("a");
    rig.delivered(1).await;
}

#[tokio::test]
async fn what_is_published_during_a_push_does_not_wait_for_it() {
    let answer = Arc::new(Notify::new());
    let awaited = Arc::clone(&answer);
    let receiver = Receiver::start(move |request| match request.text() {
        "slow" => Answer::When(Arc::clone(&awaited), 200),
        _ => Answer::status(200),
    })
    .await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    rig.publish("slow");
    let found_nothing = |state: &State| {
        let mut takes = state.only().takes.iter();
        takes.any(|take| take.taken.is_empty()).then_some(())
    };
    rig.memory.until(found_nothing).await;
    let next = rig.publish("next");
    rig.delivered(1).await;
    rig.memory
        .look(|state| assert_eq!(state.only().delivered, [next]));
    answer.notify_one();
    rig.delivered(2).await;
}

#[tokio::test]
async fn trouble_of_the_outbox_passes() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    rig.memory.change(|state| {
        state.take_errors.extend([Error::Unavailable, Error::Busy]);
        state
            .settle_errors
            .extend([Error::Unknown, Error::Unavailable]);
    });
    rig.publish("a");
    rig.delivered(1).await;
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_subscription_that_is_gone_is_left_alone() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    rig.publish("a");
    rig.delivered(1).await;
    rig.memory
        .change(|state| state.take_errors.push_back(Error::NoSuchSubscription));
    rig.publish("b");
    rig.memory
        .until(|state| state.take_errors.is_empty().then_some(()))
        .await;
    rig.memory.unsubscribe(FIRST);
    rig.memory.subscribe(subscriber(2, &receiver.url()));
    let second = SubscriptionId(2);
    rig.memory.publish(second, "c", Labels::default());
    rig.delivered(1).await;
    assert_eq!(receiver.requests().last().unwrap().text(), "c");
}

/// An outbox may not be there yet when it is announced first. What is announced while pushes of before are under way is not
/// announced again.
#[tokio::test]
async fn a_subscription_that_is_there_again_is_pushed_though_its_loop_has_closed() {
    let answer = Arc::new(Notify::new());
    let awaited = Arc::clone(&answer);
    let receiver = Receiver::start(move |request| match request.text() {
        "first" => Answer::When(Arc::clone(&awaited), 200),
        _ => Answer::status(200),
    })
    .await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    rig.publish("first");
    eventually(|| receiver.requests().len() == 1).await;
    rig.memory
        .change(|state| state.take_errors.push_back(Error::NoSuchQueue));
    rig.memory.change(|state| state.announce_again(FIRST));
    rig.publish("second");
    let is_gone = |state: &State| state.take_errors.is_empty().then_some(());
    rig.memory.until(is_gone).await;
    rig.memory.change(|state| state.announce_again(FIRST));
    eventually(|| rig.memory.look(State::is_heard)).await;
    answer.notify_one();
    rig.delivered(2).await;
}

#[tokio::test]
async fn pushes_under_way_end_when_the_pusher_stops() {
    let receiver = Receiver::start(|_| Answer::Hang(Vec::new())).await;
    let rig = Rig::new(subscriber(1, &receiver.url()), hasty());
    rig.publish("a");
    eventually(|| !receiver.requests().is_empty()).await;
    let Rig { memory, pusher } = rig;
    let metrics = Arc::clone(pusher.metrics());
    tokio::task::spawn_blocking(move || pusher.shutdown(Duration::from_secs(60)))
        .await
        .unwrap();
    assert_eq!(metrics.in_flight(), 0);
    memory.look(|state| assert_eq!(state.only().returned.len(), 1));
}

#[tokio::test]
async fn a_closed_pusher_takes_no_more_and_ends_what_it_began() {
    let answer = Arc::new(Notify::new());
    let awaited = Arc::clone(&answer);
    let receiver = Receiver::start(move |_| Answer::When(Arc::clone(&awaited), 200)).await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    let first = rig.publish("first");
    let found_nothing = |state: &State| {
        let mut takes = state.only().takes.iter();
        takes.any(|take| take.taken.is_empty()).then_some(())
    };
    rig.memory.until(found_nothing).await;
    eventually(|| receiver.requests().len() == 1).await;
    rig.pusher.close();
    rig.pusher.close();
    rig.publish("second");
    answer.notify_one();
    rig.delivered(1).await;
    rig.pusher.shutdown(Duration::from_secs(60));
    rig.memory
        .look(|state| assert_eq!(state.only().delivered, [first]));
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_pusher_without_grace_leaves_leases_that_end_by_themselves() {
    let receiver = Receiver::start(|request| match request.connection {
        0 => Answer::Hang(Vec::new()),
        _ => Answer::status(200),
    })
    .await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    rig.publish("a");
    eventually(|| !receiver.requests().is_empty()).await;
    let Rig { memory, pusher } = rig;
    pusher.shutdown(Duration::ZERO);
    memory.look(|state| assert!(state.only().returned.is_empty()));
    // The take found one, so that the subscription stays announced for whoever comes next.
    memory.change(|state| state.announce_again(FIRST));
    memory.pass_time().await;
    let _next = anser_push::start(memory.clone(), config()).unwrap();
    memory
        .until(|state| (state.delivered() == 1).then_some(()))
        .await;
}

#[tokio::test]
async fn the_pusher_ends_when_the_node_stops() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    rig.publish("a");
    rig.delivered(1).await;
    rig.memory.stop();
    rig.pusher.shutdown(Duration::from_secs(60));
}
