//! A topic `t` with a subscription `s` over HTTP, and a witness that shows how far the pusher has come.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    answer::Answer,
    caller::Caller,
    receiver::{Push, Receiver},
    world::World,
};

/// Nothing takes this long, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);

/// Looks again and again until there is something, but not for ever.
#[track_caller]
pub(crate) fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it did not come about in time");
        thread::sleep(PAUSE);
    }
}

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) caller: Caller,
    pub(crate) receiver: Receiver,
    witness: Witness,
    pub(crate) world: World,
}

impl Stage {
    pub(crate) fn new(attributes: &[(&str, &str)]) -> Self {
        Self::in_world(World::new(), attributes)
    }

    /// Of an empty world.
    pub(crate) fn in_world(world: World, attributes: &[(&str, &str)]) -> Self {
        let mut caller = world.caller();
        let receiver = world.receiver();
        caller.create_topic("t", &[]);
        let url = receiver.url("/");
        caller.subscribe("t", "s", &url, attributes).done();
        Self {
            caller,
            receiver,
            witness: Witness::new(&world),
            world,
        }
    }

    /// Stops the servers and starts them again on what they left.
    pub(crate) fn restarted(self) -> Self {
        let (receiver, watched) = (self.receiver, self.witness.receiver);
        drop((self.caller, self.witness.caller));
        let world = self.world.restarted();
        Self {
            caller: world.caller(),
            receiver,
            witness: Witness {
                caller: world.caller(),
                receiver: watched,
            },
            world,
        }
    }

    pub(crate) fn subscription(&mut self) -> Answer {
        self.caller.subscription("t", "s")
    }

    #[track_caller]
    pub(crate) fn publish(&mut self, body: &str) -> String {
        self.caller.publish("t", body)
    }

    /// Waits until an attempt to push a message has failed, and until everything that follows from it
    /// has been done.
    #[track_caller]
    pub(crate) fn settle(&mut self, message: &str, attempt: usize) {
        let caller = &mut self.caller;
        wait_for_failure(caller, ("t", "s"), message, attempt);
        self.witness.look();
    }

    /// Asserts that so many pushes have come and that the pusher has no other to make now.
    #[track_caller]
    pub(crate) fn assert_pushes(&mut self, count: usize) -> Vec<Push> {
        self.witness.look();
        let pushes = self.receiver.pushes();
        assert_eq!(pushes.len(), count);
        pushes
    }

    /// Waits until no message waits for the subscription.
    #[track_caller]
    pub(crate) fn wait_until_empty(&mut self) -> Answer {
        wait_until_empty(&mut self.caller, "t", "s")
    }
}

#[track_caller]
pub(crate) fn wait_until_empty(caller: &mut Caller, topic: &str, subscription: &str) -> Answer {
    until(|| {
        let shown = caller.subscription(topic, subscription);
        (shown["msgCount"] == 0).then_some(shown)
    })
}

/// Waits until an attempt to push a message is among the last failures of a subscription.
#[track_caller]
pub(crate) fn wait_for_failure(
    caller: &mut Caller,
    (topic, subscription): (&str, &str),
    message: &str,
    attempt: usize,
) {
    until(|| {
        let shown = caller.subscription(topic, subscription);
        let mut failures = shown["lastFailures"].as_array()?.iter();
        let is_it = |failure: &Value| failure["msgId"] == message && failure["attempt"] == attempt;
        failures.any(is_it).then_some(())
    });
}

/// A subscription that always gets its messages. The pusher does one thing after the other, so when a
/// message has arrived here, what was there to be done before it has been done.
#[derive(Debug)]
pub(crate) struct Witness {
    caller: Caller,
    receiver: Receiver,
}

impl Witness {
    pub(crate) fn new(world: &World) -> Self {
        let mut caller = world.caller();
        let receiver = world.receiver();
        caller.create_topic("witness", &[]);
        let url = receiver.url("/");
        caller.subscribe("witness", "witness", &url, &[]).done();
        Self { caller, receiver }
    }

    /// Waits for this message and no other: one of before comes again if the clock was moved beyond
    /// the end of its lease before the pusher could say that it had arrived.
    #[track_caller]
    pub(crate) fn look(&mut self) {
        let message = self.caller.publish("witness", "x");
        self.receiver.wait_for_message(&message);
    }
}
