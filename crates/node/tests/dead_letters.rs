//! Dead letters cross shards exactly once, also when the node stops on the way.

use anser_broker::{
    attributes::{AttributeChanges, DeadLetterAfter},
    error::Error,
    op::{DeadLetterChange, DeleteQueue, NamedDeadLetterPolicy, SetQueueAttributes},
    service::Service,
    time::Millis,
};

use crate::house::{House, bodies, context, queue};

fn to(name: &str, after: DeadLetterAfter) -> NamedDeadLetterPolicy {
    NamedDeadLetterPolicy {
        queue: queue(name),
        after,
    }
}

#[tokio::test]
async fn a_message_received_too_often_is_found_once_in_the_dead_letter_queue() {
    let house = House::new();
    house.create("dead").await;
    let policy = to("dead", DeadLetterAfter::Receives(2));
    house
        .create_with("orders", Some(policy), |_| {})
        .await
        .unwrap();
    for body in ["a", "b", "c"] {
        house.send("orders", body).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!(house.receive("orders", 10).await.len(), 3);
        house.clock.advance(Millis(30_000));
        house.until("orders", |counts| counts.leased == 0).await;
    }
    house.until("dead", |counts| counts.ready == 3).await;
    house.until("orders", |counts| counts.moving == 0).await;
    assert_eq!(house.counts("orders").await.totals.dead_lettered, 3);
    assert_eq!(bodies(&house.receive("dead", 10).await), ["a", "b", "c"]);
    assert!(house.receive("orders", 10).await.is_empty());
}

#[tokio::test]
async fn dead_letters_on_their_way_survive_restarts() {
    let mut house = House::new();
    house.create("dead").await;
    let policy = to("dead", DeadLetterAfter::Age(Millis(300_000)));
    house
        .create_with("orders", Some(policy), |_| {})
        .await
        .unwrap();
    for number in 0..100 {
        house.send("orders", &number.to_string()).await.unwrap();
    }
    house.clock.advance(Millis(300_000));
    for _ in 0..5 {
        house.restart();
    }
    house
        .until("orders", |counts| counts.moving == 0 && counts.ready == 0)
        .await;
    house.until("dead", |counts| counts.ready == 100).await;
    let mut found: Vec<u32> = Vec::new();
    while found.len() < 100 {
        let received = house.receive("dead", 16).await;
        found.extend(
            bodies(&received)
                .iter()
                .map(|body| body.parse::<u32>().unwrap()),
        );
        house.delete("dead", &received).await;
    }
    assert_eq!(found, (0..100).collect::<Vec<_>>());
    assert_eq!(house.counts("dead").await.totals.sent, 100);
}

#[tokio::test]
async fn a_full_dead_letter_queue_takes_the_rest_when_it_has_room() {
    let house = House::new();
    house
        .create_with("dead", None, |attributes| attributes.backlog_max = 2)
        .await
        .unwrap();
    let policy = to("dead", DeadLetterAfter::Age(Millis(300_000)));
    house
        .create_with("orders", Some(policy), |_| {})
        .await
        .unwrap();
    for body in ["a", "b", "c"] {
        house.send("orders", body).await.unwrap();
    }
    house.clock.advance(Millis(300_000));
    house.until("dead", |counts| counts.ready == 2).await;
    // What has arrived is let go of a moment later.
    house.until("orders", |counts| counts.moving == 1).await;
    let received = house.receive("dead", 10).await;
    assert_eq!(bodies(&received), ["a", "b"]);
    house.delete("dead", &received).await;
    house.until("dead", |counts| counts.ready == 1).await;
    assert_eq!(bodies(&house.receive("dead", 10).await), ["c"]);
}

#[tokio::test]
async fn a_policy_must_name_a_queue_that_can_take_dead_letters() {
    let house = House::new();
    let policy = || to("dead", DeadLetterAfter::Receives(1));
    let missing = house.create_with("orders", Some(policy()), |_| {}).await;
    assert_eq!(missing, Err(Error::NoSuchDeadLetterQueue));
    house.create("dead").await;
    house
        .create_with("orders", Some(policy()), |_| {})
        .await
        .unwrap();
    let nested = to("orders", DeadLetterAfter::Receives(1));
    let refused = house.create_with("more", Some(nested), |_| {}).await;
    assert_eq!(refused, Err(Error::DeadLetterNested));
}

#[tokio::test]
async fn dead_letters_too_large_to_travel_together_travel_one_after_another() {
    let house = House::new();
    house.create("dead").await;
    let policy = to("dead", DeadLetterAfter::Age(Millis(300_000)));
    house
        .create_with("orders", Some(policy), |_| {})
        .await
        .unwrap();
    let body = "x".repeat(65_536);
    for _ in 0..16 {
        house.send("orders", &body).await.unwrap();
    }
    house.clock.advance(Millis(300_000));
    house.until("dead", |counts| counts.ready == 16).await;
    house.until("orders", |counts| counts.moving == 0).await;
}

#[tokio::test]
async fn dead_letters_whose_queue_is_gone_come_back() {
    let house = House::new();
    house
        .create_with("dead", None, |attributes| attributes.backlog_max = 1)
        .await
        .unwrap();
    let policy = to("dead", DeadLetterAfter::Age(Millis(300_000)));
    house
        .create_with("orders", Some(policy), |_| {})
        .await
        .unwrap();
    for body in ["a", "b"] {
        house.send("orders", body).await.unwrap();
    }
    house.clock.advance(Millis(300_000));
    house.until("dead", |counts| counts.ready == 1).await;
    let unbind = SetQueueAttributes {
        name: queue("orders"),
        changes: AttributeChanges::default(),
        dead_letter: DeadLetterChange::Remove,
    };
    house.node.execute(context(), unbind).await.unwrap();
    let delete = DeleteQueue {
        name: queue("dead"),
    };
    house.node.execute(context(), delete).await.unwrap();
    house.until("orders", |counts| counts.ready == 1).await;
    assert_eq!(bodies(&house.receive("orders", 10).await), ["b"]);
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_leave_half_a_queue() {
    let house = House::new();
    for number in 0..20 {
        let name = format!("orders-{number}");
        let create = house.create_with(&name, None, |_| {});
        let patience = std::time::Duration::from_micros(number * 50);
        let _: Result<_, _> = tokio::time::timeout(patience, create).await;
        // Either nobody heard of it, or it can be used.
        house.create_with(&name, None, |_| {}).await.ok();
        house.send(&name, "a").await.unwrap();
    }
}
