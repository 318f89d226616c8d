//! Long polls on a whole node.

use std::{pin::Pin, time::Duration};

use anser_broker::{error::Error, op::ReturnMessages, service::Service, time::Millis};

use crate::house::{House, bodies, context, queue, receive};

/// What comes of a wait when so much time has passed. It passes again and again, for the wait may only begin.
async fn after<T>(house: &House, millis: u64, mut waiting: Pin<&mut impl Future<Output = T>>) -> T {
    loop {
        house.clock.advance(Millis(millis));
        let ended = tokio::time::timeout(Duration::from_millis(50), waiting.as_mut()).await;
        if let Ok(ended) = ended {
            return ended;
        }
    }
}

#[tokio::test]
async fn a_waiting_receive_gets_the_next_message() {
    let house = House::new();
    house.create("orders").await;
    let waiting = house.node.execute(context(), receive("orders", 1, 20_000));
    let (received, sent) = tokio::join!(waiting, house.send("orders", "a"));
    assert_eq!(bodies(&received.unwrap().messages), ["a"]);
    sent.unwrap();
}

#[tokio::test]
async fn a_wait_ends_with_nothing_when_its_time_is_up() {
    let house = House::new();
    house.create("orders").await;
    let waiting = house.node.execute(context(), receive("orders", 1, 20_000));
    tokio::pin!(waiting);
    let early = tokio::time::timeout(std::time::Duration::from_millis(50), &mut waiting).await;
    assert!(early.is_err(), "the clock stands still");
    assert!(
        after(&house, 20_000, waiting)
            .await
            .unwrap()
            .messages
            .is_empty()
    );
}

#[tokio::test]
async fn a_wait_is_as_long_as_asked_for_on_a_shard_that_slept() {
    let house = House::new();
    house.create("orders").await;
    house.clock.advance(Millis(60_000));
    let waiting = house.node.execute(context(), receive("orders", 1, 20_000));
    tokio::pin!(waiting);
    let early = tokio::time::timeout(std::time::Duration::from_millis(50), &mut waiting).await;
    assert!(early.is_err(), "the wait has just begun");
    assert!(
        after(&house, 20_000, waiting)
            .await
            .unwrap()
            .messages
            .is_empty()
    );
}

#[tokio::test]
async fn a_receive_whose_caller_is_gone_swallows_no_message() {
    let house = House::new();
    house.create("orders").await;
    for _ in 0..20 {
        let waiting = house.node.execute(context(), receive("orders", 1, 20_000));
        let gone = tokio::time::timeout(std::time::Duration::from_millis(1), waiting).await;
        assert!(gone.is_err());
        house.send("orders", "a").await.unwrap();
        let received = house.receive("orders", 1).await;
        assert_eq!(bodies(&received), ["a"]);
        house.delete("orders", &received).await;
    }
}

#[tokio::test]
async fn messages_leased_for_a_caller_who_left_become_visible_at_once() {
    let house = House::new();
    house.create("orders").await;
    house.send("orders", "a").await.unwrap();
    // Dropped after the request was handed in and before its answer was taken.
    let mut receiving = Box::pin(house.node.execute(context(), receive("orders", 1, 0)));
    let polled = futures_poll_once(receiving.as_mut()).await;
    assert!(!polled, "a receive takes longer than one poll");
    house.until("orders", |counts| counts.leased == 1).await;
    drop(receiving);
    house.until("orders", |counts| counts.ready == 1).await;
    // Nobody saw it, so it was not delivered.
    assert_eq!(house.receive("orders", 1).await[0].deliveries, 1);
}

#[tokio::test]
async fn messages_that_are_returned_have_not_been_received() {
    let house = House::new();
    house.create("orders").await;
    house.send("orders", "a").await.unwrap();
    let received = house.receive("orders", 1).await;
    let returned = ReturnMessages {
        queue: queue("orders"),
        receipts: vec![received[0].receipt],
    };
    house.node.execute(context(), returned).await.unwrap();
    assert_eq!(house.receive("orders", 1).await[0].deliveries, 1);
}

#[tokio::test]
async fn a_receipt_of_another_shard_is_invalid_and_does_not_spoil_the_others() {
    let house = House::new();
    house.create("one").await;
    house.create("two").await;
    house.send("one", "a").await.unwrap();
    house.send("two", "b").await.unwrap();
    let one = house.receive("one", 1).await;
    let two = house.receive("two", 1).await;
    assert_eq!(
        house.delete("one", &two).await,
        [Err(Error::ReceiptInvalid)]
    );
    let both = [two[0].clone(), one[0].clone()];
    assert_eq!(
        house.delete("one", &both).await,
        [Err(Error::ReceiptInvalid), Ok(())]
    );
    assert_eq!(house.delete("two", &two).await, [Ok(())]);
}

/// Polls once; whether the future was ready.
async fn futures_poll_once(future: std::pin::Pin<&mut impl Future>) -> bool {
    let mut future = Some(future);
    std::future::poll_fn(|context| {
        let future = future.take().expect("polled once");
        std::task::Poll::Ready(future.poll(context).is_ready())
    })
    .await
}

#[tokio::test]
async fn a_lease_ends_by_the_clock_and_the_message_comes_again() {
    let house = House::new();
    house.create("orders").await;
    house.send("orders", "a").await.unwrap();
    let first = house.receive("orders", 1).await;
    house.clock.advance(Millis(29_999));
    assert!(house.receive("orders", 1).await.is_empty());
    house.clock.advance(Millis(1));
    house.until("orders", |counts| counts.ready == 1).await;
    let second = house.receive("orders", 1).await;
    assert_eq!(second[0].message, first[0].message);
    assert_ne!(second[0].receipt, first[0].receipt);
    assert_eq!(second[0].deliveries, 2);
    assert_eq!(second[0].first_received, first[0].first_received);
}
