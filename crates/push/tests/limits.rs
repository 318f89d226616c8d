//! Every push ends, whatever the other side does, and takes a bounded share of everything.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anser_broker::labels::Labels;
use anser_push::{Addresses, Config, Metrics, Resolver};

use crate::{
    memory::Memory,
    receiver::{Answer, Receiver},
    rig::{Rig, config, eventually, failure_of, hasty, subscriber},
};

const OFTEN: Duration = Duration::from_millis(20);

#[tokio::test]
async fn row_70_an_answer_that_never_comes_ends_with_the_time() {
    let silent = Receiver::start(|_| Answer::Hang(Vec::new())).await;
    let half = Receiver::start(|_| Answer::Hang(b"HTTP/1.1 200 OK\r\n".to_vec())).await;
    let drip = Receiver::start(|_| {
        Answer::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"X: y\r\n".to_vec(), OFTEN)
    })
    .await;
    for receiver in [silent, half, drip] {
        let failure = failure_of(&receiver.url(), hasty()).await;
        assert_eq!(failure.reason, "no answer within 1500 ms");
        assert!(failure.took.0 >= 1_500);
    }
}

#[tokio::test]
async fn row_70_a_body_that_drips_ends_with_the_time() {
    let head = b"HTTP/1.1 500 No\r\nContent-Length: 9999\r\n\r\n".to_vec();
    let receiver =
        Receiver::start(move |_| Answer::Endless(head.clone(), b"x".to_vec(), OFTEN)).await;
    let failure = failure_of(&receiver.url(), hasty()).await;
    assert_eq!(failure.reason, "status 500");
    assert!((1..256).contains(&failure.answer.len()));
}

#[tokio::test]
async fn row_69_an_endless_body_is_not_read_for_long() {
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    for status in [200, 500] {
        let head = format!("HTTP/1.1 {status} So\r\nTransfer-Encoding: chunked\r\n\r\n");
        let (head, chunk) = (head.into_bytes(), chunk.clone().into_bytes());
        let receiver =
            Receiver::start(move |_| Answer::Endless(head.clone(), chunk.clone(), Duration::ZERO))
                .await;
        // The total time is long: what ends the reading is its size.
        let patient = Config {
            total_time: Duration::from_secs(3600),
            ..config()
        };
        let rig = Rig::new(subscriber(1, &receiver.url()), patient);
        rig.publish("a");
        if status == 200 {
            rig.delivered(1).await;
        } else {
            assert_eq!(rig.failure(1).await.answer, "x".repeat(256));
        }
        eventually(|| receiver.closed() == 1).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_not_used_is_closed() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let brief = Config {
        idle_time: Duration::from_millis(50),
        ..config()
    };
    let rig = Rig::new(subscriber(1, &receiver.url()), brief);
    rig.publish("a");
    rig.delivered(1).await;
    eventually(|| receiver.closed() == 1).await;
}

#[tokio::test]
async fn a_connection_is_not_kept_for_ever() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let brief = Config {
        connection_time: Duration::ZERO,
        ..config()
    };
    let rig = Rig::new(subscriber(1, &receiver.url()), brief);
    for number in 1..=3 {
        rig.publish("a");
        rig.delivered(number).await;
    }
    eventually(|| receiver.closed() == 3).await;
    assert_eq!(receiver.connections(), 3);
}

#[tokio::test]
async fn row_69_a_packed_body_stays_packed() {
    let answer =
        b"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00";
    let receiver = Receiver::start(|_| Answer::Bytes(answer.to_vec())).await;
    let failure = failure_of(&receiver.url(), config()).await;
    assert_eq!(&failure.answer[..], b"\x1f\x8b\x08\x00");
}

#[tokio::test]
async fn row_69_an_endless_head_is_not_read_for_long() {
    let line = format!("X: {}\r\n", "y".repeat(1000)).into_bytes();
    let long = Receiver::start(move |_| {
        Answer::Endless(
            b"HTTP/1.1 200 OK\r\n".to_vec(),
            line.clone(),
            Duration::ZERO,
        )
    })
    .await;
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(100)).into_bytes();
    let many = Receiver::start(move |_| Answer::Bytes(many.clone())).await;
    for receiver in [long, many] {
        let failure = failure_of(&receiver.url(), config()).await;
        assert_eq!(failure.reason, "the answer's head is too large");
    }
}

/// As many interim answers as anybody wants to read.
fn interim_without_end() -> Answer {
    let interim = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(400);
    Answer::Endless(interim.clone(), interim, Duration::ZERO)
}

/// Security, finding 7: they held a thread of the pusher for as long as they came.
#[tokio::test]
async fn row_69_interim_answers_without_end_are_not_read_for_long() {
    // What ends the reading is its size, not the time.
    let patient = Config {
        total_time: Duration::from_secs(3600),
        ..config()
    };
    let receiver = Receiver::start(|_| interim_without_end()).await;
    let failure = failure_of(&receiver.url(), patient).await;
    assert_eq!(failure.reason, "the answer has too much before its head");
    eventually(|| receiver.closed() == 1).await;
}

/// Security, finding 7: the same where the bound of a first answer does not count.
#[tokio::test]
async fn interim_answers_over_a_connection_that_was_kept_are_not_asked_for_again() {
    let pushes = AtomicU64::new(0);
    let receiver = Receiver::start(move |_| match pushes.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::status(200),
        _ => interim_without_end(),
    })
    .await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    rig.publish("a");
    rig.delivered(1).await;
    rig.publish("b");
    let failure = rig.failure(1).await;
    assert_eq!(failure.reason, "the answer has too much before its head");
    assert_eq!((receiver.connections(), receiver.requests().len()), (1, 2));
}

#[tokio::test]
async fn a_few_interim_answers_are_passed_over() {
    let mut answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(100);
    answer.extend(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let receiver = Receiver::start(move |_| Answer::Bytes(answer.clone())).await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    // Each answer has an allowance of its own.
    for number in 1..=40 {
        rig.publish("a");
        rig.delivered(number).await;
    }
    assert_eq!(receiver.connections(), 1);
}

#[derive(Debug)]
struct Silent;

impl Resolver for Silent {
    fn resolve(&self, _: &str) -> Addresses {
        Box::pin(std::future::pending::<std::io::Result<Vec<IpAddr>>>())
    }
}

#[tokio::test]
async fn a_lookup_that_hangs_ends_with_the_time_to_connect() {
    let config = Config {
        resolver: Arc::new(Silent),
        ..hasty()
    };
    let failure = failure_of("http://slow.example/", config).await;
    assert_eq!(failure.reason, "no connection within 1200 ms");
}

/// A receiver that notes how many pushes were under way at most.
async fn watching(metrics: &Arc<OnceLock<Arc<Metrics>>>, most: &Arc<AtomicU64>) -> Receiver {
    let (metrics, most) = (Arc::clone(metrics), Arc::clone(most));
    Receiver::start(move |_| {
        most.fetch_max(metrics.wait().in_flight(), Ordering::SeqCst);
        Answer::status(200)
    })
    .await
}

/// How many pushes were under way at most when 40 subscriptions to one host had ten messages each.
async fn most_under_way(config: Config, body: &str) -> u64 {
    let (metrics, most) = (Arc::default(), Arc::default());
    let receiver = watching(&metrics, &most).await;
    let memory = Memory::new();
    for number in 1..=40 {
        let subscriber = subscriber(number, &receiver.url());
        let id = subscriber.subscription;
        memory.subscribe(subscriber);
        for _ in 0..10 {
            memory.publish(id, body.to_owned(), Labels::default());
        }
    }
    let pusher = anser_push::start(memory.clone(), config).unwrap();
    metrics.set(Arc::clone(pusher.metrics())).unwrap();
    memory
        .until(|state| (state.delivered() == 400).then_some(()))
        .await;
    most.load(Ordering::SeqCst)
}

#[tokio::test]
async fn row_74_many_subscriptions_cannot_overrun_one_host() {
    let few = Config {
        host_pushes: 3,
        ..config()
    };
    let most = most_under_way(few, "a").await;
    assert!((1..=3).contains(&most), "{most}");
}

#[tokio::test]
async fn all_pushes_together_have_a_bound() {
    let few = Config {
        pushes: 5,
        ..config()
    };
    let most = most_under_way(few, "a").await;
    assert!((1..=5).contains(&most), "{most}");
}

#[tokio::test]
async fn the_memory_of_bodies_has_a_bound() {
    let little = Config {
        bodies_bytes: 2 << 20,
        ..config()
    };
    let most = most_under_way(little, &"a".repeat(600 << 10)).await;
    assert!((1..=3).contains(&most), "{most}");
}

#[tokio::test]
async fn settings_out_of_range_are_refused() {
    for config in [
        Config {
            subscription_pushes: 0,
            ..config()
        },
        Config {
            subscription_pushes: 65,
            ..config()
        },
        Config {
            host_pushes: 0,
            ..config()
        },
        Config {
            pushes: 0,
            ..config()
        },
        Config {
            bodies_bytes: 1000,
            ..config()
        },
        Config {
            total_time: Duration::ZERO,
            ..config()
        },
        Config {
            total_time: Duration::from_secs(90_000),
            ..config()
        },
        Config {
            roots: Some("/nowhere/roots.pem".into()),
            ..config()
        },
    ] {
        assert!(anser_push::start(Memory::new(), config).is_err());
    }
}
