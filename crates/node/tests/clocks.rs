//! What a start makes of a wall clock that says how long the node was off.

use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex},
};

use anser_broker::time::Millis;
use anser_node::Node;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::with_default,
};

use crate::house::{House, bodies};

const HOUR: u64 = 3_600_000;
const YEAR: u64 = 365 * 24 * HOUR;

/// The warnings that somebody gave.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().expect("no test panics with it").push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").expect("a string takes all");
    }
}

/// A node that was off for so long, by its wall clock, and what it said at the start. A day of that counts.
async fn started_after(off: Millis) -> (House, Vec<String>) {
    let mut house = House::new();
    let create = house.create_with("orders", None, |attributes| {
        attributes.retention = Millis(36 * HOUR);
    });
    create.await.expect("the queue is created");
    house.send("orders", "a").await.expect("there is room");
    house.node.shutdown();
    house.clock.advance(off);
    let warnings = Warnings::default();
    let start = || Node::start(&house.config, house.clock.clone());
    let node = with_default(warnings.clone(), start);
    house.node = node.expect("the folder starts again");
    let said = warnings.0.lock().expect("no test panics with it");
    let said = said.iter().filter(|text| text.contains("wall clock"));
    let said = said.cloned().collect();
    (house, said)
}

/// Users' cases, D1, and core review, finding 4: a clock that was years ahead at boot ended every retention without a word.
#[tokio::test]
async fn a_start_says_that_the_wall_clock_is_far_ahead_and_nothing_ends_for_it() {
    let (house, said) = started_after(Millis(10 * YEAR)).await;
    let [said] = &said[..] else {
        panic!("{said:?}");
    };
    for part in [
        "storage.time_off_seconds",
        "seconds=315360000",
        "counted=86400",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(bodies(&house.receive("orders", 1).await), ["a"]);
}

#[tokio::test]
async fn a_start_after_less_than_counts_says_nothing_of_the_clock() {
    let (house, said) = started_after(Millis(23 * HOUR)).await;
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(bodies(&house.receive("orders", 1).await), ["a"]);
}
